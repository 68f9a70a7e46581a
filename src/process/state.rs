//! What a handle knows of its child, and the children that are left to the thread that reaps.
//!
//! The kernel stands behind [`Pidfd`], so that a model can take its place.
//!
//! 1. The kernel gives the status of a child once. The call that takes the status keeps it in the handle,
//!    before anything else can happen to the handle.
//! 2. A handle that has the status has no pidfd. So no signal is sent to a child that the handle has reaped,
//!    and the kernel is not asked for the status again.
//! 3. A child whose handle is dropped is reaped: by the drop, if the child has ended by then, else by the
//!    caller of [`State::leave`], which gets the pidfd. The kill comes before the drop looks, since it needs
//!    the pidfd.
//! 4. While the orphanage has a bell, there is a thread that will look into the orphanage once the bell has
//!    rung. The thread takes its bell away under the lock under which it found no child. So an orphan that is
//!    added rings for a thread that will see it, or it starts another thread.
//!
//! There are no atomics: a handle has one owner, and the orphanage is behind the lock of the module
//! `orphans`.

use std::{
    io,
    process::ExitStatus,
    task::{Poll, ready},
};

/// A reference to one child. It never means another process, even if that has got the child's number.
pub(crate) trait Pidfd {
    /// Takes the status, if the child has ended. The kernel does not give it again.
    fn reap(&self) -> io::Result<Option<ExitStatus>>;

    /// Sends a signal. It is no error if the child has ended.
    fn signal(&self, signal: i32) -> io::Result<()>;
}

/// What a handle knows of its child.
#[derive(Debug)]
pub(crate) struct State<P> {
    /// Until the status is known, or the child is left to another caller.
    pidfd: Option<P>,
    status: Option<ExitStatus>,
}

impl<P: Pidfd> State<P> {
    /// Of a child whose status nobody has taken.
    pub(crate) fn new(pidfd: P) -> Self {
        Self { pidfd: Some(pidfd), status: None }
    }

    /// Whether the status is still to be taken.
    pub(crate) fn is_open(&self) -> bool {
        self.pidfd.is_some()
    }

    /// The status, once the child has ended. If it is not known, `reap` takes it from the kernel, or has the
    /// waker woken at the end of the child.
    pub(crate) fn poll_wait(
        &mut self,
        reap: impl FnOnce(&P) -> Poll<io::Result<ExitStatus>>,
    ) -> Poll<io::Result<ExitStatus>> {
        let Some(pidfd) = &self.pidfd else { return Poll::Ready(Ok(self.known())) };
        let status = ready!(reap(pidfd))?;
        Poll::Ready(Ok(self.keep(status)))
    }

    /// The status, if the child has ended.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let Some(pidfd) = &self.pidfd else { return Ok(Some(self.known())) };
        let status = pidfd.reap()?;
        Ok(status.map(|status| self.keep(status)))
    }

    /// Sends a signal, unless the child is known to have ended.
    pub(crate) fn send(&self, signal: i32) -> io::Result<()> {
        self.pidfd.as_ref().map_or(Ok(()), |pidfd| pidfd.signal(signal))
    }

    /// Called by the drop of the handle, which may kill the child. Returns the pidfd if the child has not
    /// ended: then the caller has the child reaped.
    pub(crate) fn leave(&mut self, kill: bool) -> Option<P> {
        if kill {
            // A child that cannot be killed is reaped at its own end.
            let _ = self.send(libc::SIGKILL);
        }
        self.pidfd.take().filter(is_to_be_reaped)
    }

    /// Invariants 1 and 2.
    fn keep(&mut self, status: ExitStatus) -> ExitStatus {
        self.status = Some(status);
        self.pidfd = None;
        status
    }

    fn known(&self) -> ExitStatus {
        self.status.expect("a handle in use has the pidfd or the status")
    }
}

/// Reaps the child if it has ended. `true`: it has not.
fn is_to_be_reaped<P: Pidfd>(pidfd: &P) -> bool {
    // An error says that other code has reaped the child.
    matches!(pidfd.reap(), Ok(None))
}

/// The children that are left to the thread that reaps.
#[derive(Debug)]
pub(crate) struct Orphanage<P, B> {
    /// Those that the thread has not taken yet.
    new: Vec<P>,
    /// Wakes the thread. `None`: there is no thread.
    bell: Option<B>,
}

impl<P, B> Default for Orphanage<P, B> {
    fn default() -> Self {
        Self { new: Vec::new(), bell: None }
    }
}

impl<P: Pidfd, B> Orphanage<P, B> {
    /// Leaves a child to the thread. If there is none, `start` starts it and returns its bell.
    pub(crate) fn admit(
        &mut self,
        pidfd: P,
        ring: impl FnOnce(&B),
        start: impl FnOnce() -> Option<B>,
    ) {
        self.new.push(pidfd);
        match &self.bell {
            Some(bell) => ring(bell),
            // If no thread can be started, the children stay here until the next one is admitted.
            None => self.bell = start(),
        }
    }

    /// Called by the thread: adds the new children to its own, and reaps those that have ended. `false`: no
    /// child is left, and the thread has to end.
    pub(crate) fn look(&mut self, waits: &mut Vec<P>) -> bool {
        waits.append(&mut self.new);
        waits.retain(is_to_be_reaped);
        if waits.is_empty() {
            // Invariant 4.
            self.bell = None;
        }
        !waits.is_empty()
    }
}
