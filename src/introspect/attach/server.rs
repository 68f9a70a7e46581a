//! The thread that answers.
//!
//! Nothing that a process writes makes it wait, or keep more than a bound says. It pauses as long as it has worked, so that
//! processes that ask without end take half a core at most.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, fcntl_dupfd_cloexec},
};

use super::{
    Shared, answer,
    request::{Lines, Request},
    sealed,
};
use crate::{introspect::Observer, util::clock};

/// Requests that wait for their turn. Of more than these nobody hears: it asks again.
const QUEUE: usize = 256;
/// Answers that wait for their reader, and their bytes.
const KEPT: usize = 8;
const KEPT_BYTES: usize = 256 << 20;
/// How long an answer waits, and how long it does while others wait for its place.
const KEEP: Duration = Duration::from_secs(5);
const KEEP_BRIEFLY: Duration = Duration::from_millis(250);
/// A request that has waited for so long is forgotten: nobody waits for its answer.
const STALE: Duration = Duration::from_secs(10);
/// Reads for each look at what is to be answered.
const READS: usize = 16;
/// For how long each poll is timed after a question that wants it.
const OBSERVE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Server {
    shared: Arc<Shared>,
    /// Kept for the moment at which the process has no descriptor left: an answer takes its place.
    spare: Option<OwnedFd>,
    lines: Lines,
    queue: VecDeque<(u64, Request)>,
    kept: VecDeque<Kept>,
    /// Each poll is timed: since when that was last asked for.
    observed: Option<(u64, Observer)>,
}

/// An answer that has not been fetched.
struct Kept {
    id: u64,
    since: u64,
    bytes: usize,
    _file: OwnedFd,
}

impl Server {
    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let spare = spare(&shared)?;
        let (lines, queue, kept, observed) = Default::default();
        Ok(Self { shared, spare: Some(spare), lines, queue, kept, observed })
    }

    pub(super) fn run(mut self) {
        while self.wait() && !self.shared.has_ended() {
            let begun = clock::machine();
            self.read();
            self.expire(begun);
            if self.has_room() {
                self.answer_next();
            }
            let worked = Duration::from_nanos(clock::machine() - begun);
            thread::sleep(worked.min(LONGEST_PAUSE));
        }
    }

    /// Sleeps until there is something to do. `false`: the program has closed the pipe.
    fn wait(&self) -> bool {
        let now = clock::machine();
        let rest =
            |since: u64, limit| since.saturating_add(clock::nanos(limit)).saturating_sub(now);
        let observed = self.observed.as_ref().map(|(since, _)| rest(*since, OBSERVE));
        let waiting = match (self.queue.front(), self.kept.front()) {
            (Some(_), _) if self.has_room() => Some(0),
            (Some(_), Some(kept)) => Some(rest(kept.since, KEEP_BRIEFLY)),
            (None, Some(kept)) => Some(rest(kept.since, KEEP)),
            (_, None) => None,
        };
        let timeout = [waiting, observed].into_iter().flatten().min();
        let timeout = timeout.map(|nanos| Timespec {
            tv_sec: (nanos / 1_000_000_000) as i64,
            tv_nsec: (nanos % 1_000_000_000) as i64,
        });
        let mut pipe = [PollFd::new(&self.shared.ask, PollFlags::IN)];
        match poll(&mut pipe, timeout.as_ref()) {
            Ok(_) => !pipe[0].revents().contains(PollFlags::NVAL),
            Err(error) => error == Errno::INTR,
        }
    }

    fn read(&mut self) {
        let now = clock::machine();
        let mut bytes = [0; 4096];
        for _ in 0..READS {
            let Ok(len @ 1..) = rustix::io::read(&self.shared.ask, &mut bytes) else { return };
            let Self { lines, queue, kept, .. } = self;
            lines.feed(&bytes[..len], |line| {
                let Some(request) = Request::parse(line) else { return };
                let id = request.id;
                let is_known = queue.iter().any(|(_, of)| of.id == id);
                if request.verb == "done" {
                    kept.retain(|answer| answer.id != id);
                    queue.retain(|(_, of)| of.id != id);
                } else if !is_known && kept.iter().all(|of| of.id != id) && queue.len() < QUEUE {
                    queue.push_back((now, request));
                }
            });
        }
    }

    fn expire(&mut self, now: u64) {
        let is_over = |since: u64, limit| now.saturating_sub(since) >= clock::nanos(limit);
        while self.queue.front().is_some_and(|(since, _)| is_over(*since, STALE)) {
            self.queue.pop_front();
        }
        if self.observed.as_ref().is_some_and(|(since, _)| is_over(*since, OBSERVE)) {
            self.observed = None;
        }
        let keep = if self.queue.is_empty() { KEEP } else { KEEP_BRIEFLY };
        while self.kept.front().is_some_and(|kept| is_over(kept.since, keep)) {
            self.kept.pop_front();
        }
    }

    fn has_room(&self) -> bool {
        let bytes: usize = self.kept.iter().map(|kept| kept.bytes).sum();
        self.kept.len() < KEPT && bytes < KEPT_BYTES
    }

    fn answer_next(&mut self) {
        let Some((_, request)) = self.queue.pop_front() else { return };
        if request.is_exact() {
            // The one from before goes once the new one is there.
            self.observed = Some((clock::machine(), Observer::new()));
        }
        let text = answer::to(&request);
        let name = format!("ringloop-{:016x}", request.id);
        let file = sealed(&name, text.as_bytes()).or_else(|error| {
            // Perhaps the process is out of descriptors, which is when people look.
            self.spare.take().ok_or(error)?;
            sealed(&name, text.as_bytes())
        });
        if let Ok(file) = file {
            let (since, bytes) = (clock::machine(), text.len());
            self.kept.push_back(Kept { id: request.id, since, bytes, _file: file });
        }
        if self.spare.is_none() && self.kept.is_empty() {
            self.spare = spare(&self.shared).ok();
        }
    }
}

fn spare(shared: &Shared) -> io::Result<OwnedFd> {
    Ok(fcntl_dupfd_cloexec(shared.ask.as_fd(), 0)?)
}
