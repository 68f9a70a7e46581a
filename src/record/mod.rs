//! The flight recorder: what the workers of a runtime did last, in memory of a fixed size.
//!
//! Each worker has a [ring] of events that it alone writes; threads that are no workers share
//! one more, behind a lock that nobody waits for. A reader takes no lock: it copies a ring, and leaves
//! out what may have been overwritten meanwhile. While the recorder is off, each hook is a load of a
//! field of the worker and a branch.

mod event;
mod pen;
mod recorder;
mod recording;
pub(crate) mod ring;
mod ticks;
mod trace;

pub(crate) use self::{
    event::Kind,
    pen::{Pen, job, spawned_elsewhere},
    recorder::{Alarm, Switch, alarm, note_elsewhere, rings},
    recording::Collector,
};
pub use self::{
    event::{Event, EventKind},
    recording::{Recording, Track},
};
