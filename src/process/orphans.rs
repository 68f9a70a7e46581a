//! Children whose handles are gone: somebody has to take their statuses, or they stay zombies.
//!
//! One that has ended by then is reaped at once. For the others a task of the runtime at hand waits, by
//! the pidfd: there is one for each, so that the end of one costs the same however many live. Where there
//! is no runtime, or it has ended, one thread waits for all of them; it ends with the last.

use std::{
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::pidfd::{Reap, reap};
use crate::{
    io::SocketHandle,
    loom::global::Mutex,
    runtime::{Handle, operation},
    util::{fork::PerProcess, threads},
};

/// Reaps a child that has ended, or will.
pub(super) fn adopt(pidfd: SocketHandle) {
    // An error says that somebody else has reaped it.
    if !matches!(reap(pidfd.get().as_fd()), Ok(None)) {
        return;
    }
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

/// What the thread waits for.
#[derive(Default)]
struct Orphanage {
    /// Not yet seen by the thread.
    new: Vec<SocketHandle>,
    /// Wakes the thread, while there is one.
    bell: Option<OwnedFd>,
}

fn orphanage() -> &'static Mutex<Orphanage> {
    static ORPHANAGE: PerProcess<Mutex<Orphanage>> = PerProcess::new();
    ORPHANAGE.get(Mutex::default)
}

#[cold]
fn leave_to_thread(pidfd: SocketHandle) {
    let mut orphanage = orphanage().lock();
    orphanage.new.push(pidfd);
    if let Some(bell) = &orphanage.bell {
        let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
        return;
    }
    // Refused, they wait for the next one that comes here.
    let Ok(bell) = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) else { return };
    let Ok(theirs) = bell.try_clone() else { return };
    if threads::spawn("ringloop-reaper".into(), move || serve(&theirs)).is_ok() {
        orphanage.bell = Some(bell);
    }
}

/// The thread's life.
fn serve(bell: &OwnedFd) {
    let mut waits: Vec<SocketHandle> = Vec::new();
    loop {
        {
            let mut orphanage = orphanage().lock();
            waits.append(&mut orphanage.new);
            waits.retain(|pidfd| matches!(reap(pidfd.get().as_fd()), Ok(None)));
            if waits.is_empty() {
                // The next orphan starts another thread: under the lock, no ring for this one is lost.
                orphanage.bell = None;
                return;
            }
        }
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
