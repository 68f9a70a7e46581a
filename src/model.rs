//! Crate-private parts under public names, for the models in `loom-tests/`. No logic:
//! each method calls the one of the same name.

use std::os::fd::RawFd;

use crate::{loom::eventfd, reactor, util};

pub mod blocking;
pub mod calls;
pub mod condition;
pub mod group;
pub mod inbox;
pub mod look;
pub mod outgoing;
pub mod processes;
pub mod record;
pub mod server;
pub mod signals;
pub mod slot;
pub mod socket;
pub mod uring;
pub mod worker;

/// Has batches take as many, up to two, in this model: else one.
pub fn set_batch(size: usize) {
    crate::loom::set_batch(size);
}

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

    /// Rings it.
    pub fn ring(fd: RawFd) {
        // SAFETY: loom sees whether it is open.
        unsafe { eventfd::ring(fd) };
    }

    /// How often it has been rung.
    pub fn rings(fd: RawFd) -> usize {
        eventfd::rings(fd)
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

/// [`crate::loom::SpinLock`].
pub struct SpinLock(crate::loom::SpinLock<usize>);

#[allow(missing_docs, clippy::new_without_default)]
impl SpinLock {
    pub fn new() -> Self {
        Self(crate::loom::SpinLock::new(0))
    }

    pub fn with<R>(&self, f: impl FnOnce(&mut usize) -> R) -> R {
        f(&mut self.0.lock())
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
        fn ended(task: &Ended<'_>);
        fn report(event: &ErrorEvent);
    }

    struct By<S>(PhantomData<S>);

    impl<S: Schedule> task::Schedule for By<S> {
        fn schedule(task: task::Runnable) {
            S::schedule(Runnable(task));
        }

        fn ended(task: &task::Header, _end: task::End) {
            S::ended(&Ended(task));
        }

        fn report(_place: u64, event: &ErrorEvent) {
            S::report(event);
        }

        fn defer(_place: u64, _at: &'static Location<'static>, caller: task::Caller) {
            // Its destructor calls.
            drop(caller);
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

        /// A new task, that nobody has woken.
        pub fn rest(self) -> Resting {
            Resting(self.0.rest())
        }

        pub fn number(&self) -> u64 {
            self.0.header().id().0
        }
    }

    /// A task in no queue, as blocking jobs are.
    pub struct Resting(task::TaskRef);

    // SAFETY: as for `Registered`.
    unsafe impl Send for Resting {}

    impl Resting {
        pub fn claim(self) -> Option<Runnable> {
            self.0.claim().map(Runnable)
        }

        pub fn is_finished(&self) -> bool {
            self.0.is_finished()
        }
    }

    /// A task whose future is gone.
    pub struct Ended<'a>(pub(super) &'a task::Header);

    impl Ended<'_> {
        pub fn number(&self) -> u64 {
            self.0.id().0
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

    #[track_caller]
    pub fn create<F, S>(future: F, id: u64) -> (Runnable, Registered, Task<F::Output>)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
        S: Schedule,
    {
        let birth = task::Birth { place: 0, id: TaskId(id), origin: Location::caller().into() };
        let (entry, registered, task) = task::create::<F, By<S>>(future, birth);
        (Runnable(entry), Registered(registered), task)
    }
}

/// [`scheduler::Hub`] and what a worker does with it.
#[allow(missing_docs)]
pub mod scheduler {
    use std::os::fd::RawFd;

    use super::task::{Ended, Registered, Runnable};
    use crate::{
        loom::deque,
        scheduler::{
            Hub as Inner, Phase,
            idle::Sleep,
            registry::{self, FreeSlots},
        },
    };

    pub struct Hub(Inner);

    impl Hub {
        pub fn new(workers: usize) -> Self {
            let hub = Inner::new(0);
            hub.begin(workers);
            Self(hub)
        }

        pub fn open_doorbell(&self, worker: usize, fd: RawFd) {
            self.0.block(worker).doorbell.open_raw(fd);
        }

        pub fn ring(&self, worker: usize) {
            self.0.block(worker).doorbell.ring();
        }

        pub fn push_home(&self, task: Runnable, home: usize) {
            self.0.push_home(task.0, home);
        }

        pub fn push_foreign(&self, task: Runnable, favourite: usize) {
            self.0.push_foreign(task.0, favourite);
        }

        /// Of tasks that a patrol may take, `limit` at most.
        pub fn take_mail(&self, worker: usize, limit: usize, mut each: impl FnMut(Runnable)) {
            self.0.block(worker).inbox.take(limit, |task| each(Runnable(task)));
        }

        /// Of tasks that nobody else may run, `limit` at most.
        pub fn take_local(&self, worker: usize, limit: usize, mut each: impl FnMut(Runnable)) {
            self.0.block(worker).local_inbox.take(limit, |task| each(Runnable(task)));
        }

        /// The worker is in a poll that began long ago.
        pub fn hold(&self, worker: usize) {
            self.0.block(worker).begin_run(0);
        }

        pub fn begin_tick(&self, worker: usize) {
            self.0.block(worker).begin_tick();
        }

        pub fn tick(&self, worker: usize) -> u64 {
            self.0.block(worker).tick()
        }

        pub fn set_running(&self, worker: usize, task: &Runnable) {
            self.0.block(worker).set_running(task.0.header());
        }

        pub fn set_idle(&self, worker: usize) {
            self.0.block(worker).set_idle();
        }

        /// The number of the task that is polled, if it is in that tick, and the line where it
        /// was spawned.
        pub fn running_in(&self, worker: usize, tick: u64) -> Option<(u64, u32)> {
            let (task, spawned_at) = self.0.block(worker).running_in(tick)?;
            Some((task.0, spawned_at.line()))
        }

        pub fn put_lifo(&self, worker: usize, task: Runnable) -> Option<Runnable> {
            self.0.block(worker).put_lifo(task.0).map(Runnable)
        }

        pub fn take_lifo(&self, worker: usize) -> Option<Runnable> {
            self.0.block(worker).take_lifo().map(Runnable)
        }

        pub fn has_mail(&self, worker: usize) -> bool {
            self.0.block(worker).has_mail()
        }

        pub fn stop(&self) {
            self.0.advance(Phase::Stopped);
        }

        pub fn close(&self, deadline: u64) {
            self.0.close(deadline);
        }

        /// The deadline, once it is closing.
        pub fn deadline(&self) -> Option<u64> {
            (self.0.phase() >= Phase::Closing).then(|| self.0.deadline())
        }

        pub fn is_stopped(&self) -> bool {
            self.0.phase() == Phase::Stopped
        }

        /// `sleep` hears whether it is for the patrol, and so has a timeout.
        pub fn park(
            &self,
            me: usize,
            quiet: bool,
            has_work: impl FnOnce() -> bool,
            sleep: impl FnOnce(bool),
        ) {
            let sleep = |how| sleep(how == Sleep::Patrol);
            self.0.idle.park(me, self.0.workers(), quiet, has_work, sleep);
        }

        pub fn notify(&self, worker: usize) -> bool {
            self.0.idle.notify(worker)
        }

        pub fn announce(&self) -> Option<usize> {
            self.0.idle.announce()
        }

        pub fn search(&self, me: usize, look: impl FnOnce() -> bool, again: impl FnOnce()) {
            self.0.idle.search(me, look, again);
        }

        pub fn wants_patrol(&self) -> bool {
            self.0.idle.sleepers().is_some_and(|sleepers| sleepers.could_patrol)
        }

        pub fn arm_patrol(&self) -> Option<usize> {
            self.0.idle.arm_patrol()
        }

        pub fn give_up_patrol(&self, me: usize) {
            self.0.idle.give_up_patrol(me);
        }

        pub fn is_patroller(&self, me: usize) -> bool {
            self.0.idle.is_patroller(me)
        }

        pub fn is_parked(&self, worker: usize) -> bool {
            self.0.idle.is_parked(worker)
        }
    }

    /// [`Counter`](crate::scheduler) of tasks spawned and ended, by worker.
    impl Hub {
        pub fn count_spawned(&self, worker: usize) {
            self.0.block(worker).counts.spawned.add(1);
        }

        pub fn count_ended(&self, worker: usize) {
            self.0.block(worker).counts.ended.add(1);
        }

        pub fn count_foreign_spawn(&self) {
            self.0.count_foreign_spawn();
        }

        pub fn count_foreign_end(&self) {
            self.0.count_foreign_end();
        }

        pub fn live(&self) -> u64 {
            self.0.live()
        }
    }

    /// A run queue: the stand-in for crossbeam's deque.
    pub struct Queue<T>(deque::Worker<T>);

    pub struct Stealer<T>(deque::Stealer<T>);

    #[allow(clippy::new_without_default, clippy::len_without_is_empty)]
    impl<T> Queue<T> {
        pub fn new() -> Self {
            Self(deque::Worker::new_fifo())
        }

        pub fn stealer(&self) -> Stealer<T> {
            Stealer(self.0.stealer())
        }

        pub fn push(&self, item: T) {
            self.0.push(item);
        }

        pub fn pop(&self) -> Option<T> {
            self.0.pop()
        }
    }

    #[allow(clippy::len_without_is_empty)]
    impl<T> Stealer<T> {
        pub fn len(&self) -> usize {
            self.0.len()
        }

        pub fn steal_batch(&self, to: &Queue<T>) -> bool {
            matches!(self.0.steal_batch(&to.0), deque::Steal::Success(()))
        }
    }

    /// [`registry::Registry`].
    pub struct Registry(registry::Registry);

    /// A worker's own free slots.
    #[derive(Default)]
    pub struct Slots(FreeSlots);

    #[allow(clippy::new_without_default)]
    impl Registry {
        pub fn new() -> Self {
            Self(registry::Registry::new())
        }

        pub fn take_slot(&self, own: &Slots) -> u32 {
            self.0.take_slot(&own.0)
        }

        pub fn take_slot_foreign(&self) -> u32 {
            self.0.take_slot_foreign()
        }

        pub fn insert(&self, slot: u32, task: Registered) {
            self.0.insert(slot, task.0);
        }

        pub fn remove(&self, slot: u32, task: &Ended<'_>, own: Option<&Slots>) {
            self.0.remove(slot, task.0, own.map(|own| &own.0));
        }

        /// As `Hub::cancel_all` does.
        pub fn request_all(&self, abort: bool) {
            self.0.for_each(|task| task.request(abort));
        }
    }
}

/// [`reactor::Pool`]: memory that is lent.
#[allow(missing_docs)]
pub mod pool {
    use crate::reactor;

    pub use crate::reactor::Lease;

    pub struct Pool(reactor::Pool);

    impl Pool {
        pub fn new(count: usize, size: usize, doorbell: &'static super::Doorbell) -> Self {
            Self(reactor::Pool::new(count, size, &doorbell.0).expect("memory"))
        }

        /// The numbers of the buffers that were free.
        pub fn reclaim(&mut self) -> Vec<u16> {
            let mut ids = Vec::new();
            self.0.reclaim(reactor::MAX_BUFFERS, |id, _, _| ids.push(id));
            ids
        }

        /// Lends bytes of zero.
        pub fn lend(&mut self, id: u16, len: usize, last: bool) -> Lease {
            // SAFETY: nobody fills in a model.
            unsafe { self.0.lend(id, len, last) }
        }

        pub fn finish(&mut self, id: u16) {
            // SAFETY: as in `lend`.
            unsafe { self.0.finish(id) };
        }

        /// How much room there is.
        pub fn spare(&mut self) -> Option<usize> {
            self.0.spare().map(|room| room.len())
        }

        /// Lends bytes of zero.
        pub fn commit(&mut self, len: usize) -> Lease {
            // SAFETY: as in `lend`.
            unsafe { self.0.commit(len) }
        }

        pub fn set_starved(&mut self, starved: bool) {
            self.0.set_starved(starved);
        }
    }
}

/// Requests to the home of a socket, with anything in the socket's place.
#[allow(missing_docs)]
pub mod mailbox {
    use std::{ops::Deref, sync::Arc};

    use super::reactor::uring::mailbox::{self as inner, Link};

    pub struct Node<T> {
        link: Link<Self>,
        value: T,
    }

    // SAFETY: always the same field.
    unsafe impl<T> inner::Node for Node<T> {
        fn link(&self) -> &Link<Self> {
            &self.link
        }
    }

    impl<T> Node<T> {
        pub fn new(value: T) -> Arc<Self> {
            Arc::new(Self { link: Link::new(), value })
        }
    }

    impl<T> Deref for Node<T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.value
        }
    }

    /// What became of a request.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Sent {
        Awake,
        Asleep,
        Closed,
    }

    pub struct Mailbox<T>(inner::Mailbox<Node<T>>);

    #[allow(clippy::new_without_default)]
    impl<T> Mailbox<T> {
        pub fn new() -> Self {
            Self(inner::Mailbox::new())
        }

        pub fn send(&self, node: &Arc<Node<T>>, request: u32) -> Sent {
            match self.0.send(node, request) {
                inner::Sent::Awake => Sent::Awake,
                inner::Sent::Asleep => Sent::Asleep,
                inner::Sent::Closed => Sent::Closed,
            }
        }

        pub fn drain_with(&self, f: impl FnMut(Arc<Node<T>>, u32)) {
            self.0.drain_with(f);
        }

        #[must_use]
        pub fn may_sleep(&self) -> bool {
            self.0.may_sleep()
        }

        pub fn wake(&self) {
            self.0.wake();
        }

        pub fn close(&self) {
            self.0.close();
        }
    }
}

/// [`reactor::timers`] of one worker.
#[allow(missing_docs)]
pub mod timers {
    use std::task::{Context, Poll, Waker};

    use crate::reactor::timers::{self, End, Mailbox, TimerRef, Trim};

    /// Where a worker's timers get cancellations from; serves one after another.
    #[derive(Clone, Copy)]
    pub struct Post(&'static Mailbox);

    #[allow(clippy::new_without_default)]
    impl Post {
        pub fn new() -> Self {
            Self(Box::leak(Box::new(Mailbox::new())))
        }

        /// Below zero if more have ended than were armed.
        pub fn balance(self) -> i64 {
            self.0.balance()
        }

        /// Frees all nodes. Says how many are not there to be freed.
        pub fn end_pool(self) -> usize {
            self.0.end_pool()
        }

        /// What a worker does that has nothing else to do, until there is nothing to give back: a period has
        /// passed since nodes were last wanted.
        pub fn trim_pool(self) {
            let mut now = 0;
            // Until it has been answered three times that it must wait.
            for _ in 0..3 {
                let pause = loop {
                    match self.0.trim_pool(now) {
                        Trim::Nothing => return,
                        Trim::Later(pause) => break pause,
                        Trim::Again => {}
                    }
                };
                now += pause.as_nanos() as u64;
            }
        }
    }

    pub struct Timers(timers::Timers);

    impl Timers {
        pub fn new(post: Post) -> Self {
            Self(timers::Timers::new(post.0, 0))
        }

        pub fn arm(&mut self, deadline: u64, waker: Waker) -> Timer {
            Timer(self.0.arm(deadline, waker))
        }

        /// Fires at most `limit` of what is due.
        pub fn expire(&mut self, now: u64, limit: usize) -> Vec<Waker> {
            let mut wakes = Vec::new();
            self.0.expire(now, limit, &mut wakes);
            wakes
        }

        pub fn drain_mailbox(&mut self) {
            self.0.drain_mailbox();
        }

        /// Gives a timer up, as the owner of these timers may.
        pub fn release(&mut self, timer: Timer) -> Option<Waker> {
            TimerRef::release(&mut Some(timer.0), Some(&mut self.0))
        }

        pub fn close(&mut self) -> Vec<Waker> {
            self.0.close()
        }
    }

    pub struct Timer(TimerRef);

    impl Timer {
        /// Ready with whether its time came.
        pub fn poll(&self, cx: &mut Context<'_>) -> Poll<bool> {
            self.0.poll(cx).map(|end| end == End::Fired)
        }
    }
}
