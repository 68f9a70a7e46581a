//! The mutants of tasks.

use crate::run::Mutant;

/// By protocol.
#[rustfmt::skip]
pub const TASKS: &[Mutant] = &[
    // Tasks.
    Mutant {
        name: "wake: publishes nothing",
        file: "task/state.rs",
        text: "self.0.fetch_or(ACTIVE, Ordering::AcqRel)",
        replacement: "self.0.fetch_or(ACTIVE, Ordering::Acquire)",
        model: "task_state::yield_against_news",
    },
    Mutant {
        name: "look: a link is taken for a note",
        file: "util/wait.rs",
        text: "        if word & WAIT == 0 {
            return None;
        }
",
        replacement: "        if word == 0 {
            return None;
        }
",
        model: "record_look::look_against_wake",
    },
    Mutant {
        name: "wake: does not see the poll before",
        file: "task/state.rs",
        text: "self.0.fetch_or(ACTIVE, Ordering::AcqRel)",
        replacement: "self.0.fetch_or(ACTIVE, Ordering::Release)",
        model: "task_state::run_against_run",
    },
    Mutant {
        name: "wake: a load in place of an RMW",
        file: "task/state.rs",
        text: "        let mut old = self.0.fetch_or(ACTIVE, Ordering::AcqRel);",
        replacement: "        let mut old = match self.0.load(Ordering::Relaxed) {
            now if now & NOTIFIED != 0 => now,
            _ => self.0.fetch_or(ACTIVE, Ordering::AcqRel),
        };",
        model: "task_state::yield_against_news",
    },
    Mutant {
        name: "wake: a task that has just been suspended is not queued",
        file: "task/state.rs",
        text: "                || self.0.fetch_or(NOTIFIED, Ordering::Relaxed) & (ACTIVE | COMPLETE) != 0",
        replacement: "                || self.0.fetch_or(NOTIFIED, Ordering::Relaxed) != 0",
        model: "task_state::wake_against_wake",
    },
    Mutant {
        name: "wake: an active task is not marked",
        file: "task/state.rs",
        text: "            if old & (NOTIFIED | COMPLETE) != 0",
        replacement: "            if old != 0",
        model: "task_state::wake_against_wake",
    },
    Mutant {
        name: "wake_by_ref: takes no reference for the queue",
        file: "task/state.rs",
        text: "        if push {
            self.add_ref();
        }
        push
",
        replacement: "        push
",
        model: "task_state::wake_against_wake",
    },
    Mutant {
        name: "start: clears what it does not see",
        file: "task/state.rs",
        text: "self.0.fetch_and(!NOTIFIED, Ordering::Acquire)",
        replacement: "self.0.fetch_and(!NOTIFIED, Ordering::Relaxed)",
        model: "task_state::yield_against_news",
    },
    Mutant {
        name: "suspend: forgets that the task was woken",
        file: "task/state.rs",
        text: "        while now & NOTIFIED == 0 {",
        replacement: "        while now != 0 {",
        model: "task_state::wake_against_wake",
    },
    Mutant {
        name: "suspend: publishes nothing of the poll",
        file: "task/state.rs",
        text: "                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Suspend::Idle,",
        replacement: "                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Suspend::Idle,",
        model: "task_state::run_against_run",
    },
    Mutant {
        name: "suspend: gives up the reference that was lent",
        file: "task/state.rs",
        text: "        let own = if lent { 0 } else { REF };",
        replacement: "        let own = REF;",
        model: "task_state::wake_against_wake",
    },
    Mutant {
        name: "finish: gives up the reference that was lent",
        file: "task/raw.rs",
        text: "drop_refs(task, if lent { 1 } else { 2 })",
        replacement: "drop_refs(task, 2)",
        model: "task_state::lent_against_wake_and_drop",
    },
    Mutant {
        name: "run: a task that yields is queued with the reference that was lent",
        file: "task/raw.rs",
        text: "            if turn.lent {
                header",
        replacement: "            if false {
                header",
        model: "task_state::yield_against_news",
    },
    Mutant {
        name: "clone: the runner's reference is lent twice",
        file: "task/waker.rs",
        text: "!current.lent.replace(true)",
        replacement: "!current.lent.replace(false)",
        model: "task_state::wake_against_wake",
    },
    Mutant {
        name: "drop: a reference that was not lent is given back",
        file: "task/waker.rs",
        text: "current.lent.replace(false)",
        replacement: "!current.lent.replace(false)",
        model: "task_state::lent_and_back_against_wake_and_drop",
    },
    Mutant {
        name: "request: publishes nothing",
        file: "task/state.rs",
        text: "self.0.fetch_or(ask | ACTIVE | NOTIFIED, Ordering::AcqRel)",
        replacement: "self.0.fetch_or(ask | ACTIVE | NOTIFIED, Ordering::Relaxed)",
        model: "task_state::wake_against_news_and_cancel",
    },
    Mutant {
        name: "request: a ready value is lost",
        file: "task/state.rs",
        text: "        } else if old & CANCEL != 0 {
            Start::PollCancelled",
        replacement: "        } else if old & CANCEL != 0 {
            Start::Drop",
        model: "task_state::wake_against_news_and_cancel",
    },
    Mutant {
        name: "request: does not queue an idle task",
        file: "task/state.rs",
        text: "        (old & COMPLETE == 0 && old & ask != ask, push)",
        replacement: "        (old & COMPLETE == 0 && old & ask != ask, false)",
        model: "task_state::wake_against_abort",
    },
    Mutant {
        name: "request: queues a running task",
        file: "task/state.rs",
        text: "        let push = old & (ACTIVE | COMPLETE) == 0;",
        replacement: "        let push = old & COMPLETE == 0;",
        model: "task_state::wake_against_cancel",
    },
    Mutant {
        name: "complete: publishes no result",
        file: "task/state.rs",
        text: "self.0.fetch_xor(edge, Ordering::AcqRel)",
        replacement: "self.0.fetch_xor(edge, Ordering::Acquire)",
        model: "task_state::join_against_end",
    },
    Mutant {
        name: "complete: before the result is there",
        file: "task/raw.rs",
        text: "            Poll::Ready(store(stage, output))",
        replacement: "            let _ = task.as_ref().state.complete(End::Value);
            Poll::Ready(store(stage, output))",
        model: "task_state::join_against_end",
    },
    Mutant {
        name: "complete: still in the registry",
        file: "task/raw.rs",
        text: "    (header.vtable.ended)(header, end);
    let before = header.state.complete(end);",
        replacement: "    let before = header.state.complete(end);
    (header.vtable.ended)(header, end);",
        model: "task_state::join_against_end",
    },
    Mutant {
        name: "on_done: marks the task before the callback is stored",
        file: "task/done.rs",
        text: "    let mut callbacks = task.extra().get_or_make().callbacks.lock();
    let number = callbacks.count;
    callbacks.count += 1;
    callbacks.list.push_back((number, callback));
    let start = task.header().state.note_callbacks() && !mem::replace(&mut callbacks.called, true);",
        replacement: "    let complete = task.header().state.note_callbacks();
    let mut callbacks = task.extra().get_or_make().callbacks.lock();
    let number = callbacks.count;
    callbacks.count += 1;
    callbacks.list.push_back((number, callback));
    let start = complete && !mem::replace(&mut callbacks.called, true);",
        model: "task_done::registration_against_the_end",
    },
    Mutant {
        name: "on_done: does not see that the task has ended",
        file: "task/done.rs",
        text: "    let start = task.header().state.note_callbacks() && !mem::replace(&mut callbacks.called, true);",
        replacement: "    let start = !task.header().state.note_callbacks() && mem::replace(&mut callbacks.called, true);",
        model: "task_done::registration_against_the_end",
    },
    Mutant {
        name: "on_done: the end starts a second caller",
        file: "task/done.rs",
        text: "    let start = !callbacks.list.is_empty() && !mem::replace(&mut callbacks.called, true);",
        replacement: "    let start = !callbacks.list.is_empty();",
        model: "task_done::registration_against_the_end",
    },
    Mutant {
        name: "on_done: a caller that has ended is taken for a running one",
        file: "task/done.rs",
        text: "            callbacks.called = false;",
        replacement: "",
        model: "task_done::registration_against_the_end",
    },
    Mutant {
        name: "offer_waiter: a waiter is offered to a task that has ended",
        file: "task/state.rs",
        text: "self.update(|now| (now & COMPLETE == 0).then_some(now | WAITER)).is_ok()",
        replacement: "self.update(|now| Some(now | WAITER)).is_ok()",
        model: "task_state::join_against_end",
    },
    Mutant {
        name: "reclaim_waiter: a waiter is reclaimed while it is taken",
        file: "task/state.rs",
        text: "self.update(|now| (now & COMPLETE == 0).then_some(now & !WAITER)).is_ok()",
        replacement: "self.update(|now| Some(now & !WAITER)).is_ok()",
        model: "task_state::join_with_another_waker",
    },
    Mutant {
        name: "a waiter reads its waker while it is offered",
        file: "task/handle.rs",
        text: "        if header.state.waiter_offered() && !header.state.reclaim_waiter() {
            return false;
        }",
        replacement: "",
        model: "task_state::join_with_another_waker",
    },
    Mutant {
        name: "detach: leaves the result behind",
        file: "task/state.rs",
        text: "Err(_complete) => Detach::DropOutput,",
        replacement: "Err(_complete) => Detach::Nothing,",
        model: "task_state::detach_against_end",
    },
    Mutant {
        name: "detach: does not drop the waker",
        file: "task/state.rs",
        text: "Ok(old) if old & WAITER != 0 => Detach::DropWaiter,",
        replacement: "Ok(old) if old & WAITER != 0 => Detach::DropOutput,",
        model: "task_state::detach_against_end",
    },
    Mutant {
        name: "drop_refs: frees memory in use by others",
        file: "task/state.rs",
        text: "self.0.fetch_sub(count * REF, Ordering::AcqRel)",
        replacement: "self.0.fetch_sub(count * REF, Ordering::Relaxed)",
        model: "task_state::owner_drop_against_late_waker",
    },
    Mutant {
        name: "a late wake keeps its reference",
        file: "task/waker.rs",
        text: "    // SAFETY: the reference is still ours; it ends here.
    unsafe { raw::drop_refs(task, 1) };
    None",
        replacement: "    None",
        model: "task_state::owner_drop_against_late_waker",
    },
    Mutant {
        name: "a task that yields is suspended as well",
        file: "task/raw.rs",
        text: "if turn.yielded { header.state.stay() } else { header.state.suspend(turn.lent) };",
        replacement: "match header.state.suspend(turn.lent) {
            Suspend::Idle if turn.yielded => Suspend::Requeue,
            suspended => suspended,
        };",
        model: "task_state::yield_against_wake_and_abort",
    },
    Mutant {
        name: "an abort is taken for a request",
        file: "task/state.rs",
        text: "if old & ABORT != 0 || (old & CANCEL != 0 && old & POLLED == 0) {",
        replacement: "if old & CANCEL != 0 && old & POLLED == 0 {",
        model: "task_state::wake_against_abort",
    },
    Mutant {
        name: "a panic without a handle is not reported",
        file: "task/state.rs",
        text: "            (false, _) => Complete::DropOutput,",
        replacement: "            (false, _) => Complete::Keep,",
        model: "task_state::panic_against_detach",
    },
    // Live tasks.
    Mutant {
        name: "registry: refers to a task without pinning it",
        file: "scheduler/registry.rs",
        text: "        let pinned = filed.as_ptr().map_addr(|addr| addr | 1);",
        replacement: "        let pinned = filed.as_ptr();",
        model: "live_tasks::list_against_end",
    },
    Mutant {
        name: "registry: forgets a task that is pinned",
        file: "scheduler/registry.rs",
        text: "        while slot
            .compare_exchange_weak(filed, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            hint::spin_loop();
        }",
        replacement: "        let _ = filed;
        slot.store(ptr::null_mut(), Ordering::Release);
        hint::spin_loop();",
        model: "live_tasks::list_against_end",
    },
    Mutant {
        name: "registry: files a task and publishes nothing",
        file: "scheduler/registry.rs",
        text: "slot.store(task.0.as_ptr(), Ordering::Release);",
        replacement: "slot.store(task.0.as_ptr(), Ordering::Relaxed);",
        model: "live_tasks::list_against_growth",
    },
    Mutant {
        name: "registry: reuses a slot that is not empty yet",
        file: "scheduler/registry.rs",
        text: "        let filed = ptr::from_ref(task).cast_mut();",
        replacement: "        self.free.lock().push(index);
        let filed = ptr::from_ref(task).cast_mut();",
        model: "live_tasks::reuse_against_end",
    },
    Mutant {
        name: "live: spawns are read first",
        file: "scheduler/hub.rs",
        text: "        let ended: u64 = self.blocks().map(|block| block.counts.ended.get()).sum();
        let ended = ended + self.ended.get();
        self.total_spawned() - ended",
        replacement: "        let spawned = self.total_spawned();
        let ended: u64 = self.blocks().map(|block| block.counts.ended.get()).sum();
        let ended = ended + self.ended.get();
        spawned.saturating_sub(ended)",
        model: "live_tasks::count_against_spawn",
    },
    Mutant {
        name: "finish: counts the lent reference before the future was dropped",
        file: "task/raw.rs",
        text: "    // SAFETY: the result is stored.
    unsafe { finish(task, turn.lent, end) };",
        replacement: "    let _ = turn;
    unsafe { finish(task, lent, end) };",
        model: "task_state::lent_and_back_with_a_cancelled_future",
    },
    Mutant {
        name: "finish: gives up the reference that was lent as the future was dropped",
        file: "task/raw.rs",
        text: "    // SAFETY: the result is stored.
    unsafe { finish(task, turn.lent, end) };",
        replacement: "    let _ = turn;
    unsafe { finish(task, lent, end) };",
        model: "task_state::lent_by_a_cancelled_future",
    },
    Mutant {
        name: "free: a waker that the handle left is forgotten",
        file: "task/raw.rs",
        text: "        if waiter.is_some() {
            panic::discard_foreign(waiter);
        }
",
        replacement: "        mem::forget(waiter);
",
        model: "task_state::waker_left_behind_against_end",
    },
];
