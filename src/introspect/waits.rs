//! What a task waits for, in words and as data.

use std::{collections::HashMap, time::Duration};

use super::snapshot::{Dump, TaskDump, WaitDump, WaitKind};
use crate::{
    error::TaskId,
    util::{
        clock,
        descriptors::{self, Face},
        names,
        wait::{self, NAMED, Wait},
    },
};

/// The wait, which has lasted `since`.
pub(super) fn describe(wait: Wait, since: Option<Duration>) -> WaitDump {
    let mut dump = WaitDump {
        kind: public(wait.kind),
        key: wait.key,
        text: String::new(),
        name: None,
        since,
        task: None,
        holder: None,
        fd: None,
        left: None,
    };
    match wait.kind {
        wait::WaitKind::Descriptor | wait::WaitKind::Read | wait::WaitKind::Write => {
            of_descriptor(&mut dump);
        }
        wait::WaitKind::Timer => {
            let left = Duration::from_nanos(wait.key.saturating_sub(clock::now()));
            dump.text = format!("timer {}", in_words(left));
            dump.left = Some(left);
        }
        wait::WaitKind::Task => {
            dump.task = Some(TaskId(wait.key));
            dump.text = format!("join of task {}", wait.key);
        }
        wait::WaitKind::Job => {
            dump.task = Some(TaskId(wait.key));
            dump.text = format!("blocking job {}", wait.key);
        }
        wait::WaitKind::Group => dump.text = format!("the tasks of group {}", wait.key),
        wait::WaitKind::Process => dump.text = format!("process {}", wait.key),
        wait::WaitKind::Operation => dump.text = format!("operation {}", wait.key),
        kind if wait.key & NAMED == 0 => dump.text = format!("{} at {:#x}", verb(kind), wait.key),
        kind => {
            dump.name = names::get(wait.key as u32).map(|name| name.into_owned());
            dump.text = match &dump.name {
                Some(name) => format!("{} `{name}`", verb(kind)),
                None => format!("{} that is gone", verb(kind)),
            };
        }
    }
    dump
}

/// A time as people read it, rounded down: `1.2 s`, `15 ms`, `7 us`.
pub(super) fn in_words(time: Duration) -> String {
    match time.as_nanos() {
        0..1_000 => format!("{} ns", time.as_nanos()),
        1_000..1_000_000 => format!("{} us", time.as_micros()),
        1_000_000..1_000_000_000 => format!("{} ms", time.as_millis()),
        _ => format!("{}.{} s", time.as_secs(), time.subsec_millis() / 100),
    }
}

/// Asks the kernel what the descriptor is. It may have been closed since it was noted, and its number
/// given to another; then the words are wrong, and nothing else.
fn of_descriptor(dump: &mut WaitDump) {
    let fd = dump.key as u32;
    dump.fd = Some(fd);
    let face = descriptors::face(fd);
    dump.text = match face {
        Face::Listener(address) => {
            dump.kind = WaitKind::Accept;
            format!("accept on {address}, fd {fd}")
        }
        Face::Connected(peer) => format!("{} of {peer}, fd {fd}", dump.kind.as_str()),
        Face::Socket(address) => format!("{} of {address}, fd {fd}", dump.kind.as_str()),
        Face::Other => format!("{} of fd {fd}", dump.kind.as_str()),
    };
}

fn public(kind: wait::WaitKind) -> WaitKind {
    use wait::WaitKind as Noted;
    match kind {
        Noted::Descriptor => WaitKind::Descriptor,
        Noted::Timer => WaitKind::Timer,
        Noted::Task => WaitKind::Task,
        Noted::Operation => WaitKind::Operation,
        Noted::Lock => WaitKind::Lock,
        Noted::RwLock => WaitKind::RwLock,
        Noted::Semaphore => WaitKind::Semaphore,
        Noted::Event => WaitKind::Event,
        Noted::Condition => WaitKind::Condition,
        Noted::Barrier => WaitKind::Barrier,
        Noted::Notify => WaitKind::Notify,
        Noted::OnceCell => WaitKind::OnceCell,
        Noted::QueueGet => WaitKind::QueueGet,
        Noted::QueuePut => WaitKind::QueuePut,
        Noted::QueueJoin => WaitKind::QueueJoin,
        Noted::Receiver => WaitKind::ChannelReceive,
        Noted::Sender => WaitKind::ChannelSend,
        Noted::Broadcast => WaitKind::Broadcast,
        Noted::Watch => WaitKind::Watch,
        Noted::Oneshot => WaitKind::Deferred,
        Noted::SharedFuture => WaitKind::SharedFuture,
        Noted::DuplexRead | Noted::Read => WaitKind::Read,
        Noted::DuplexWrite | Noted::Write => WaitKind::Write,
        Noted::Job => WaitKind::Job,
        Noted::Group => WaitKind::Group,
        Noted::Process => WaitKind::Process,
    }
}

/// What the task calls.
fn verb(kind: wait::WaitKind) -> &'static str {
    use wait::WaitKind as Noted;
    match kind {
        Noted::QueueGet => "Queue.get",
        Noted::QueuePut => "Queue.put",
        Noted::QueueJoin => "Queue.join",
        Noted::Receiver => "Receiver.recv",
        Noted::Sender => "Sender.send",
        Noted::Broadcast => "broadcast::Receiver.recv",
        kind => kind.name(),
    }
}

/// Adds the names of the tasks that others wait for, and the holders of locks.
pub(super) fn name_tasks(dump: &mut Dump) {
    let named = |task: &TaskDump| Some((task.id, task.name.clone()?));
    let names: HashMap<TaskId, String> = dump.tasks().filter_map(named).collect();
    let holds = |task: &TaskDump| Some((task.holds?, task.id));
    let holders: HashMap<u64, TaskId> = dump.tasks().filter_map(holds).collect();
    for task in dump.runtimes.iter_mut().flat_map(|runtime| &mut runtime.tasks) {
        let Some(wait) = &mut task.waiting_on else { continue };
        if wait.kind == WaitKind::Lock
            && let Some(holder) = holders.get(&wait.key)
        {
            wait.holder = Some(*holder);
            wait.text.push_str(&format!(", held by task {holder}"));
        }
        if let Some(name) = wait.task.or(wait.holder).and_then(|task| names.get(&task)) {
            wait.text.push_str(&format!(" `{name}`"));
        }
    }
}
