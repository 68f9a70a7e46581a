//! Writers queue bytes on a socket, and its home, or the writers themselves, send them.
//!
//! Code: `reactor/socket/outbound.rs` as it is; a writer waits from 6 bytes on. The kernel is a
//! list of bytes, and takes one byte of each first send.
//!
//! Properties:
//!
//! * no two sends are in the kernel at once (S14);
//! * each writer's bytes arrive once and in order;
//! * the kernel has them when a flush is done;
//! * an error is returned once (that of bytes that were given up, each time), and before anything
//!   else is sent;
//! * a writer that waits for room, and one that flushes, is woken, else loom sees it wait for
//!   ever;
//! * the write side is shut once, after all bytes.
//!
//! Actors: the home; one or two writers.
//!
//! Bound: 3 threads, four chunks.

use std::{
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
};

use loom::{
    sync::{
        Condvar, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};
use loom_tests::explore;
use ringloop::model::socket::{Chunk, Direct, Next, Outbound, Queued};

use crate::tasks::wait_for;

/// An errno.
const BROKEN: i32 = 32;

struct Socket {
    outbound: Outbound,
    sending: AtomicBool,
    /// The bytes that the kernel has taken.
    wire: Mutex<Vec<u8>>,
    /// The bytes that it had taken when the write side was shut.
    shut: Mutex<Vec<Vec<u8>>>,
    /// Messages to the home.
    mail: Mutex<Mail>,
    heard: Condvar,
}

/// A fault of the first send.
#[derive(Clone, Copy)]
enum Fault {
    Broken,
    /// It is sent in full, but the bytes behind it are given up.
    GivenUp,
}

#[derive(Default)]
struct Mail {
    dirty: bool,
    writers: usize,
}

impl Socket {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            outbound: Outbound::new(),
            sending: AtomicBool::new(false),
            wire: Mutex::default(),
            shut: Mutex::default(),
            mail: Mutex::default(),
            heard: Condvar::new(),
        })
    }

    /// A writer's thread; the home goes on until all writers have ended.
    fn writer(self: &Arc<Self>, write: impl FnOnce(&Self) + 'static) -> JoinHandle<()> {
        let socket = self.clone();
        self.mail.lock().unwrap().writers += 1;
        thread::spawn(move || {
            write(&socket);
            socket.tell(|mail| mail.writers -= 1);
        })
    }

    fn tell(&self, tell: impl FnOnce(&mut Mail)) {
        tell(&mut self.mail.lock().unwrap());
        self.heard.notify_one();
    }

    /// A send in the kernel, from its begin to its end.
    fn send(&self, bytes: &[u8]) {
        assert!(!self.sending.swap(true, Relaxed), "two sends at once");
        self.wire.lock().unwrap().extend(bytes);
        self.sending.store(false, Relaxed);
    }

    /// Writes at once, or not at all.
    fn write_directly(&self, bytes: &[u8]) -> Direct<()> {
        self.outbound.send_directly(|| self.send(bytes))
    }

    /// Writes when there is room.
    fn write(&self, bytes: &[u8]) -> Result<(), i32> {
        let mut chunk = Some(Chunk::new(bytes));
        wait_for(poll_fn(|cx| {
            let next = chunk.take().expect("it was not taken");
            match self.outbound.push(next, cx.waker()) {
                Queued::Full(next) => {
                    chunk = Some(next);
                    return Poll::Pending;
                }
                Queued::Failed(error) => return Poll::Ready(Err(error)),
                Queued::First => self.tell(|mail| mail.dirty = true),
                Queued::Behind => {}
            }
            Poll::Ready(Ok(()))
        }))
    }

    fn flush(&self) -> Result<(), i32> {
        wait_for(poll_fn(|cx| match self.outbound.flushed(cx.waker()) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }))
    }

    fn shut(&self) {
        let had = self.wire();
        self.shut.lock().unwrap().push(had);
    }

    /// The home, until all writers have ended.
    fn serve(&self, mut fault: Option<Fault>) {
        loop {
            {
                let mut mail = self.mail.lock().unwrap();
                while !mail.dirty && mail.writers > 0 {
                    mail = self.heard.wait(mail).unwrap();
                }
                if !mail.dirty {
                    return;
                }
                mail.dirty = false;
            }
            let mut next = self.outbound.start();
            let mut takes = 1;
            while let Some(chunk) = next {
                let fault = fault.take();
                let len = chunk.bytes().len();
                let result = match fault {
                    Some(Fault::Broken) => Err(BROKEN),
                    Some(Fault::GivenUp) => Ok(len),
                    None => Ok(takes.min(len)),
                };
                takes = usize::MAX;
                let sent = result.unwrap_or(0);
                self.send(&chunk.bytes()[..sent]);
                if let Some(Fault::GivenUp) = fault {
                    self.outbound.abandon();
                }
                let mut wakes = Vec::new();
                next = match self.outbound.completed(chunk, result, &mut wakes) {
                    Next::Send(_) if fault.is_some() => panic!("goes on after a fault"),
                    Next::Send(chunk) => Some(chunk),
                    Next::Idle { shut } => {
                        shut.then(|| self.shut());
                        None
                    }
                    // The connection is reset.
                    Next::GaveUp => None,
                };
                wakes.into_iter().for_each(Waker::wake);
            }
        }
    }

    fn wire(&self) -> Vec<u8> {
        self.wire.lock().unwrap().clone()
    }
}

/// One writer queues and flushes, the other sends by itself if it may.
#[test]
fn direct_send_against_queue() {
    explore(|| {
        let socket = Socket::new();
        let writers = [
            socket.writer(|socket| {
                socket.write(&[1, 2]).unwrap();
                socket.write(&[3, 4]).unwrap();
                socket.flush().unwrap();
                let wire = socket.wire();
                assert!(wire.ends_with(&[4]) || wire.ends_with(&[4, 9]), "flushed: {wire:?}");
            }),
            socket.writer(|socket| {
                if let Direct::Busy = socket.write_directly(&[9]) {
                    socket.write(&[9]).unwrap();
                }
            }),
        ];
        socket.serve(None);
        for writer in writers {
            writer.join().unwrap();
        }
        let mut wire = socket.wire();
        let nines = wire.extract_if(.., |byte| *byte == 9).count();
        assert_eq!((nines, wire), (1, vec![1, 2, 3, 4]));
    });
}

/// There is no room for the third chunk.
#[test]
fn writer_waits_for_room() {
    explore(|| {
        let socket = Socket::new();
        let writer = socket.writer(|socket| {
            for bytes in [[1, 2, 3], [4, 5, 6], [7, 8, 9]] {
                socket.write(&bytes).unwrap();
            }
        });
        socket.serve(None);
        writer.join().unwrap();
        assert_eq!(socket.wire(), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    });
}

/// There is room for two chunks, and two writers have two each.
#[test]
fn two_wait_for_room() {
    explore(|| {
        let socket = Socket::new();
        let writers = [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [10, 11, 12]]].map(|chunks| {
            socket.writer(move |socket| {
                chunks.iter().for_each(|bytes| socket.write(bytes).unwrap());
            })
        });
        socket.serve(None);
        for writer in writers {
            writer.join().unwrap();
        }
        let mut wire = socket.wire();
        let other: Vec<_> = wire.extract_if(.., |byte| *byte >= 7).collect();
        assert_eq!((wire, other), ((1..7).collect(), (7..13).collect()));
    });
}

/// The first send fails, when more is queued, or before that.
#[test]
fn error_against_writer() {
    explore(|| {
        let socket = Socket::new();
        let writer = socket.writer(|socket| {
            socket.write(&[1, 2, 3]).unwrap();
            assert!(!socket.outbound.is_idle(), "an error that was not returned");
            let direct = match socket.write_directly(&[4]) {
                Direct::Done(()) => panic!("sent behind a gap"),
                Direct::Busy => Ok(()),
                Direct::Failed(error) => Err(error),
            };
            let results = [direct, socket.write(&[4, 5, 6]), socket.flush(), socket.flush()];
            let errors = results.iter().filter(|result| **result == Err(BROKEN)).count();
            assert_eq!(errors, 1, "{results:?}");
            assert!(matches!(socket.write_directly(&[7]), Direct::Done(())));
            let sent: &[u8] = if direct.is_err() { &[4, 5, 6, 7] } else { &[7] };
            assert_eq!(socket.wire(), sent);
        });
        socket.serve(Some(Fault::Broken));
        writer.join().unwrap();
    });
}

/// The bytes that are queued behind the first send are given up.
#[test]
fn given_up_against_writer() {
    explore(|| {
        let socket = Socket::new();
        let writer = socket.writer(|socket| {
            socket.write(&[1, 2, 3]).unwrap();
            let results = [socket.write(&[4, 5, 6]), socket.flush(), socket.flush()];
            match results.iter().position(Result::is_err) {
                Some(first) => assert!(results[first..].iter().all(Result::is_err)),
                None => assert_eq!(socket.wire(), [1, 2, 3, 4, 5, 6]),
            }
        });
        socket.serve(Some(Fault::GivenUp));
        writer.join().unwrap();
    });
}

/// A home ends: if bytes are left to be sent, none can be sent any more; else another home goes on.
#[test]
fn orphaned_against_writer() {
    explore(|| {
        let socket = Socket::new();
        let writer = socket.writer(|socket| {
            socket.write(&[1, 2, 3]).unwrap();
            let results = [socket.flush(), socket.flush()];
            let sent: &[u8] = if results[0].is_ok() { &[1, 2, 3] } else { &[] };
            assert_eq!(socket.wire(), sent);
            assert_eq!(results[1], results[0]);
        });
        let mut wakes = Vec::new();
        socket.outbound.orphaned(&mut wakes);
        wakes.into_iter().for_each(Waker::wake);
        socket.serve(None);
        writer.join().unwrap();
        assert!(socket.outbound.shut(), "something is in flight");
    });
}

/// A writer finds no home that it could notify, beside a writer that does: the other's bytes are
/// sent, or its flush returns that they are not.
#[test]
fn taken_back_against_writer() {
    explore(|| {
        let socket = Socket::new();
        let homeless = socket.writer(|socket| {
            if let Queued::First = socket.outbound.push(Chunk::new(&[9]), Waker::noop()) {
                let mut wakes = Vec::new();
                socket.outbound.take_back(&mut wakes);
                wakes.into_iter().for_each(Waker::wake);
            }
        });
        let writer = socket.writer(|socket| {
            let results = [socket.write(&[1, 2]), socket.flush()];
            let wire = socket.wire();
            match results {
                [Ok(()), Ok(())] => assert!(wire.starts_with(&[1, 2]) || wire == [9, 1, 2]),
                _ => assert_eq!(wire, []),
            }
        });
        socket.serve(None);
        homeless.join().unwrap();
        writer.join().unwrap();
    });
}

/// A thread shuts the write side while the last bytes are sent.
#[test]
fn shut_against_sends() {
    explore(|| {
        let socket = Socket::new();
        socket.outbound.push(Chunk::new(&[1, 2]), Waker::noop());
        socket.tell(|mail| mail.dirty = true);
        let writer = socket.writer(|socket| {
            if socket.outbound.shut() {
                socket.shut();
            }
        });
        socket.serve(None);
        writer.join().unwrap();
        assert_eq!(*socket.shut.lock().unwrap(), [[1, 2]]);
    });
}
