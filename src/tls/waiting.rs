//! The tasks that wait for room in the stream below.

use std::{
    sync::Arc,
    task::{Wake, Waker},
};

/// The two users of a stream's write direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum User {
    Reader,
    Writer,
}

/// The wakers of tasks that wait for room in the stream below.
#[derive(Default)]
pub(super) struct Waiting {
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Waiting {
    fn slot(&mut self, user: User) -> &mut Option<Waker> {
        match user {
            User::Reader => &mut self.reader,
            User::Writer => &mut self.writer,
        }
    }

    fn other(&mut self, user: User) -> &mut Option<Waker> {
        match user {
            User::Reader => &mut self.writer,
            User::Writer => &mut self.reader,
        }
    }

    /// A waker to register in the stream, if it has to wake another task as well.
    pub(super) fn both(&mut self, user: User, own: &Waker) -> Option<Waker> {
        let other = self.other(user).as_ref().filter(|other| !other.will_wake(own))?;
        Some(Waker::from(Arc::new(Both(own.clone(), other.clone()))))
    }

    pub(super) fn enter(&mut self, user: User, waker: &Waker) {
        match self.slot(user) {
            Some(known) if known.will_wake(waker) => {}
            slot => *slot = Some(waker.clone()),
        }
    }

    pub(super) fn leave(&mut self, user: User) {
        *self.slot(user) = None;
    }

    /// The stream may have forgotten the other's waker.
    pub(super) fn wake_other(&mut self, user: User) {
        if let Some(waker) = self.other(user).take() {
            waker.wake();
        }
    }
}

struct Both(Waker, Waker);

impl Wake for Both {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake_by_ref();
        self.1.wake_by_ref();
    }
}
