//! The patrol of a runtime with one worker: a thread, since there is nobody else.
//!
//! It cannot run the tasks that wait, since only the one worker may; it names the task that hogs
//! the worker. The thread starts when work first queues up behind a running task, and looks every
//! [`PAUSE`] from then on. Once it has found the worker parked, with no tick since the look before,
//! it sleeps without a timeout: an idle runtime has no wakeups.

use std::{sync::Arc, thread, time::Duration};

use parking_lot::Mutex;

use super::{hub::Hub, patrol::Watch};
use crate::{
    loom::atomic::{AtomicU8, Ordering},
    util::{
        clock, current,
        threads::{self, Started},
    },
};

/// A quarter of what counts as a hog.
const PAUSE: Duration = Duration::from_millis(25);

const RESTING: u8 = 0;
const WATCHING: u8 = 1;
const ENDING: u8 = 2;

pub(super) struct Monitor {
    state: Arc<AtomicU8>,
    thread: Mutex<Option<Started>>,
}

impl Monitor {
    pub(super) fn new() -> Self {
        Self { state: Arc::new(AtomicU8::new(RESTING)), thread: Mutex::new(None) }
    }

    /// Work waits behind a running task.
    #[inline]
    pub(super) fn arm(&self, hub: &'static Hub) {
        // Relaxed: a missed arming is made up at the next tick.
        if self.state.load(Ordering::Relaxed) == RESTING {
            self.start(hub);
        }
    }

    #[cold]
    fn start(&self, hub: &'static Hub) {
        // Relaxed: the state carries nothing but itself.
        self.state.store(WATCHING, Ordering::Relaxed);
        let mut thread = self.thread.lock();
        if let Some(thread) = &*thread {
            return thread.unpark();
        }
        let (state, role) = (self.state.clone(), current::helper_role());
        let watch = move || {
            current::set_role(role);
            watch(hub, &state);
        };
        // Refused: then nobody watches, which loses nothing but a name.
        *thread = threads::spawn("ringloop-monitor".to_owned(), watch).ok();
    }

    /// The worker ends. The thread may be in the error hook, which may block: at the deadline it is
    /// left to itself. It finds the hub, which is never freed, and does nothing to it.
    pub(super) fn end(&self, deadline: u64) {
        self.state.store(ENDING, Ordering::Relaxed);
        if let Some(thread) = self.thread.lock().take() {
            thread.unpark();
            if thread.ends_by(deadline) {
                thread.join();
            }
        }
    }
}

fn watch(hub: &'static Hub, state: &AtomicU8) {
    let mut watch = Watch::default();
    loop {
        match state.load(Ordering::Relaxed) {
            ENDING => return,
            RESTING => thread::park(),
            _ => thread::park_timeout(PAUSE),
        }
        let ticked = watch.look(hub.block(0));
        if hub.idle.is_parked(0) {
            if !ticked {
                // Lost against `end` or another `arm`: then we go on, and look again.
                let _ =
                    state.compare_exchange(WATCHING, RESTING, Ordering::Relaxed, Ordering::Relaxed);
            }
        } else if !ticked {
            watch.report(hub, 0, clock::machine());
        }
    }
}
