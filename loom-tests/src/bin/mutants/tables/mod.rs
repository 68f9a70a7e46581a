//! The mutants.

mod blocking;
mod budget;
mod calls;
mod cancel;
mod children;
mod homes;
mod loops;
mod operations;
mod orderings;
mod queues;
mod receiving;
mod recording;
mod sending;
mod signals;
mod streams;
mod sync;
mod tasks;
mod timers;
mod workers;

use crate::run::Mutant;

/// All of them.
pub const TABLES: &[&[Mutant]] = &[
    tasks::TASKS,
    workers::WORKERS,
    receiving::RECEIVING,
    sending::SENDING,
    timers::TIMERS,
    sync::SYNC,
    queues::QUEUES,
    orderings::ORDERINGS,
    budget::BUDGET,
    blocking::BLOCKING,
    calls::CALLS,
    children::CHILDREN,
    signals::SIGNALS,
    streams::STREAMS,
    cancel::CANCEL,
    loops::LOOPS,
    homes::HOMES,
    operations::OPERATIONS,
    recording::RECORDING,
];
