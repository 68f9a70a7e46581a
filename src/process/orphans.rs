//! Children whose handles are gone: somebody has to take their statuses, or they stay zombies.
//!
//! A child that has ended by then is reaped by the drop of its handle ([`state`]). For each of the others a
//! task of the runtime at hand waits, by the pidfd, so that the end of one costs the same however many live.
//! Where there is no runtime, or it has ended, one thread waits for all of them; it ends with the last.

use std::{
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::{pidfd::Reap, state};
use crate::{
    io::SocketHandle,
    loom::global::Mutex,
    runtime::{Handle, operation},
    util::{fork::PerProcess, threads},
};

/// Reaps a child once it has ended. It had not when its handle was dropped.
pub(super) fn adopt(pidfd: SocketHandle) {
    let orphan = Orphan(Some(pidfd));
    match Handle::try_current() {
        Ok(handle) => handle.spawn(orphan).detach(),
        Err(_) => drop(orphan),
    }
}

/// Waits for one. Dropped before its end, it leaves that to the thread.
struct Orphan(Option<SocketHandle>);

impl Future for Orphan {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pidfd) = &self.0
            && ready!(operation::poll(pidfd.get(), cx, &mut Reap)).is_ok()
        {
            self.0 = None;
        }
        // After an error the thread looks whether it is there: it may be the reactor's.
        Poll::Ready(())
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        if let Some(pidfd) = self.0.take() {
            leave_to_thread(pidfd);
        }
    }
}

/// The thread's children. A bell is an eventfd.
type Orphanage = state::Orphanage<SocketHandle, OwnedFd>;

fn orphanage() -> &'static Mutex<Orphanage> {
    static ORPHANAGE: PerProcess<Mutex<Orphanage>> = PerProcess::new();
    ORPHANAGE.get(Mutex::default)
}

#[cold]
fn leave_to_thread(pidfd: SocketHandle) {
    let ring = |bell: &OwnedFd| {
        let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
    };
    orphanage().lock().admit(pidfd, ring, start_thread);
}

/// Starts the thread and returns its bell; `None` if the system refuses either.
fn start_thread() -> Option<OwnedFd> {
    let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
    let theirs = bell.try_clone().ok()?;
    let thread = threads::spawn("ringloop-reaper".into(), move || serve(&theirs));
    thread.is_ok().then_some(bell)
}

/// The thread's life.
fn serve(bell: &OwnedFd) {
    let mut waits: Vec<SocketHandle> = Vec::new();
    while orphanage().lock().look(&mut waits) {
        let mut fds: Vec<_> = [bell.as_fd()]
            .into_iter()
            .chain(waits.iter().map(|pidfd| pidfd.get().as_fd()))
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        // After an error, such as a signal, it looks again.
        let _ = poll(&mut fds, None);
        let _ = rustix::io::read(bell, &mut [0; 8]);
    }
}
