//! The primitives of each peer, and the runtime on which they run.

mod kanal_and_flume;
mod ringloop;
mod smol;
mod tokio;

use std::marker::PhantomData;

use self::kanal_and_flume::{Flume, Kanal};
use self::ringloop::{Channel, SharedQueue};
use self::smol::{AsyncChannel, EventListener};
use self::tokio::{Mpsc, NotifyEvent, SharedMpsc, WatchEvent};
use super::barrier::Meeting;
use super::event::Waiting;
use super::lock::Locking;
use super::queue::Passing;
use super::semaphore::Limited;
use crate::harness::Spec;
use crate::peers::dispatch_on;
use crate::sample::Sample;

/// `None` if `set` has no such primitive.
type Found = Option<Result<Sample, String>>;

pub fn lock(set: &str, runtime: &str, spec: &Spec, tasks: u64) -> Found {
    macro_rules! with {
        ($lock:ty) => {{
            let bench = Locking::<$lock> { tasks, lock: PhantomData };
            dispatch_on(runtime, &bench, spec)
        }};
    }
    Some(match set {
        "tokio" => with!(::tokio::sync::Mutex<u64>),
        "async-lock" => with!(async_lock::Mutex<u64>),
        "ringloop" => with!(::ringloop::sync::Lock<u64>),
        _ => return None,
    })
}

pub fn semaphore(set: &str, runtime: &str, spec: &Spec) -> Found {
    Some(match set {
        "tokio" => dispatch_on(runtime, &Limited::<::tokio::sync::Semaphore>(PhantomData), spec),
        "async-lock" => dispatch_on(runtime, &Limited::<async_lock::Semaphore>(PhantomData), spec),
        "ringloop" => {
            dispatch_on(runtime, &Limited::<::ringloop::sync::Semaphore>(PhantomData), spec)
        }
        _ => return None,
    })
}

pub fn queue(set: &str, runtime: &str, spec: &Spec, producers: u64, consumers: u64) -> Found {
    macro_rules! with {
        ($queue:ty) => {{
            let bench = Passing::<$queue> { producers, consumers, queue: PhantomData };
            dispatch_on(runtime, &bench, spec)
        }};
    }
    Some(match set {
        "tokio" if consumers == 1 => with!(Mpsc),
        "tokio" => with!(SharedMpsc),
        "async-channel" => with!(AsyncChannel),
        "kanal" => with!(Kanal),
        "flume" => with!(Flume),
        "ringloop" => with!(SharedQueue),
        "ringloop-channel" => with!(Channel),
        _ => return None,
    })
}

pub fn event(set: &str, runtime: &str, spec: &Spec) -> Found {
    Some(match set {
        "tokio" => dispatch_on(runtime, &Waiting::<NotifyEvent>(PhantomData), spec),
        "tokio-watch" => dispatch_on(runtime, &Waiting::<WatchEvent>(PhantomData), spec),
        "event-listener" => dispatch_on(runtime, &Waiting::<EventListener>(PhantomData), spec),
        "ringloop" => dispatch_on(runtime, &Waiting::<::ringloop::sync::Event>(PhantomData), spec),
        _ => return None,
    })
}

pub fn barrier(set: &str, runtime: &str, spec: &Spec) -> Found {
    Some(match set {
        "tokio" => dispatch_on(runtime, &Meeting::<::tokio::sync::Barrier>(PhantomData), spec),
        "async-lock" => dispatch_on(runtime, &Meeting::<async_lock::Barrier>(PhantomData), spec),
        "ringloop" => {
            dispatch_on(runtime, &Meeting::<::ringloop::sync::Barrier>(PhantomData), spec)
        }
        _ => return None,
    })
}
