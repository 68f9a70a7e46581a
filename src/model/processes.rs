//! [`process::state`](crate::process) with a kernel of the model's.
#![allow(missing_docs)]

use std::{
    io,
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    task::{Poll, ready},
};

use crate::process::state as inner;

/// A pidfd of the model's.
pub trait Pidfd {
    /// The status as wait(2) has it, which is given once.
    fn reap(&self) -> Option<i32>;

    fn signal(&self, signal: i32);
}

struct Adapter<P>(P);

impl<P: Pidfd> inner::Pidfd for Adapter<P> {
    fn reap(&self) -> io::Result<Option<ExitStatus>> {
        Ok(self.0.reap().map(ExitStatus::from_raw))
    }

    fn signal(&self, signal: i32) -> io::Result<()> {
        self.0.signal(signal);
        Ok(())
    }
}

/// [`inner::State`].
pub struct State<P>(inner::State<Adapter<P>>);

impl<P: Pidfd> State<P> {
    pub fn new(pidfd: P) -> Self {
        Self(inner::State::new(Adapter(pidfd)))
    }

    pub fn poll_wait(&mut self, reap: impl FnOnce(&P) -> Poll<i32>) -> Poll<i32> {
        let reap = |pidfd: &Adapter<P>| reap(&pidfd.0).map(|raw| Ok(ExitStatus::from_raw(raw)));
        let status = ready!(self.0.poll_wait(reap)).expect("the model has no errors");
        Poll::Ready(status.into_raw())
    }

    pub fn try_wait(&mut self) -> Option<i32> {
        let status = self.0.try_wait().expect("the model has no errors");
        status.map(ExitStatus::into_raw)
    }

    pub fn send(&self, signal: i32) {
        self.0.send(signal).expect("the model has no errors");
    }

    pub fn leave(&mut self, kill: bool) -> Option<P> {
        self.0.leave(kill).map(|pidfd| pidfd.0)
    }
}

/// The children that the thread waits for.
pub struct Waits<P>(Vec<Adapter<P>>);

#[allow(clippy::new_without_default)]
impl<P> Waits<P> {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    pub fn iter(&self) -> impl Iterator<Item = &P> {
        self.0.iter().map(|pidfd| &pidfd.0)
    }
}

/// [`inner::Orphanage`].
pub struct Orphanage<P, B>(inner::Orphanage<Adapter<P>, B>);

#[allow(clippy::new_without_default)]
impl<P: Pidfd, B> Orphanage<P, B> {
    pub fn new() -> Self {
        Self(inner::Orphanage::default())
    }

    pub fn admit(&mut self, pidfd: P, ring: impl FnOnce(&B), start: impl FnOnce() -> Option<B>) {
        self.0.admit(Adapter(pidfd), ring, start);
    }

    pub fn look(&mut self, waits: &mut Waits<P>) -> bool {
        self.0.look(&mut waits.0)
    }
}
