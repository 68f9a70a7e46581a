//! Crate-private parts under public names, for the models in `loom-tests/`. No logic:
//! each method calls the one of the same name.

use std::os::fd::RawFd;

use crate::{loom::eventfd, reactor, util};

/// Modelled eventfds, by number.
pub mod kernel {
    use super::{RawFd, eventfd};

    /// The kernel gives out `fd`.
    pub fn open(fd: RawFd) {
        eventfd::open(fd);
    }

    /// Sleeps until `fd` has been rung.
    pub fn wait(fd: RawFd) {
        eventfd::wait(fd);
    }
}

/// [`util::gate::Gate`].
pub struct Gate(util::gate::Gate);

#[allow(missing_docs, clippy::new_without_default)]
impl Gate {
    pub fn new() -> Self {
        Self(util::gate::Gate::new())
    }

    pub fn open(&self) -> bool {
        self.0.open()
    }

    pub fn pass<R>(&self, pass: impl FnOnce() -> R, clean: impl FnOnce()) -> Option<R> {
        self.0.pass(pass, clean)
    }

    pub fn close(&self, clean: impl FnOnce()) {
        self.0.close(clean);
    }

    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// [`reactor::Doorbell`].
pub struct Doorbell(reactor::Doorbell);

#[allow(missing_docs, clippy::new_without_default)]
impl Doorbell {
    pub fn new() -> Self {
        Self(reactor::Doorbell::new())
    }

    pub fn open(&self, fd: RawFd) {
        self.0.open_raw(fd);
    }

    pub fn ring(&self) {
        self.0.ring();
    }

    pub fn close(&self) {
        self.0.close();
    }
}

/// [`task`](crate::task) under a scheduler of the model's.
#[allow(missing_docs)]
pub mod task {
    use std::{marker::PhantomData, panic::Location};

    use crate::{
        error::{ErrorEvent, TaskId},
        task::{self, Task},
    };

    pub trait Schedule: 'static {
        fn schedule(task: Runnable);
        fn ended();
        fn report(event: &ErrorEvent);
    }

    struct By<S>(PhantomData<S>);

    impl<S: Schedule> task::Schedule for By<S> {
        fn schedule(task: task::Runnable) {
            S::schedule(Runnable(task));
        }

        fn ended(_task: &task::Header) {
            S::ended();
        }

        fn report(_place: u64, event: &ErrorEvent) {
            S::report(event);
        }
    }

    pub struct Runnable(pub(super) task::Runnable);

    impl Runnable {
        /// The task, if it is to be queued again.
        pub fn run(self) -> Option<Self> {
            match self.0.run() {
                task::Ran::Done => None,
                task::Ran::Again(task) => Some(Self(task)),
            }
        }

        pub fn refuse(self) {
            self.0.refuse();
        }

        pub fn id(&self) -> TaskId {
            self.0.header().id()
        }
    }

    /// The registry's reference.
    #[derive(Clone, Copy)]
    pub struct Registered(pub(super) task::Registered);

    // SAFETY: it is a counted reference, by which any thread may ask the task to end.
    unsafe impl Send for Registered {}

    impl Registered {
        /// # Safety
        ///
        /// The task has not ended.
        pub unsafe fn refer(self) -> TaskRef {
            // SAFETY: the caller's promise.
            TaskRef(unsafe { task::TaskRef::from_registered(self.0.0) })
        }
    }

    pub struct TaskRef(task::TaskRef);

    // SAFETY: as for `Registered`.
    unsafe impl Send for TaskRef {}

    impl TaskRef {
        pub fn request(&self, abort: bool) {
            self.0.request(abort);
        }
    }

    pub fn create<F, S>(future: F, id: u64) -> (Runnable, Registered, Task<F::Output>)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
        S: Schedule,
    {
        let birth = task::Birth { place: 0, id: TaskId(id), spawned_at: Location::caller() };
        let (entry, registered, task) = task::create::<F, By<S>>(future, birth);
        (Runnable(entry), Registered(registered), task)
    }
}
