//! The mutants.

/// One mistake that a model has to notice.
pub struct Mutant {
    /// What is wrong with it.
    pub name: &'static str,
    /// Below `src/`.
    pub file: &'static str,
    /// Stands there exactly once.
    pub text: &'static str,
    /// What it gives way to.
    pub replacement: &'static str,
    /// The test that has to fail.
    pub model: &'static str,
}

/// All of them, by protocol.
#[rustfmt::skip]
pub const MUTANTS: &[Mutant] = &[
    // Receiving for a stuck worker.
    Mutant {
        name: "try_borrow: whoever has it",
        file: "reactor/uring/claim.rs",
        text: "        if taken.is_ok() {
            receive();",
        replacement: "        {
            receive();",
        model: "claim::turns_against_look",
    },
    Mutant {
        name: "take: does not wait for who has borrowed it",
        file: "reactor/uring/claim.rs",
        text: "        if self.0.swap(TAKEN, Ordering::Acquire) == TAKEN {",
        replacement: "        if self.0.swap(TAKEN, Ordering::Acquire) > WITHHELD {",
        model: "claim::turns_against_look",
    },
    Mutant {
        name: "give_back: lends it with completions left behind",
        file: "reactor/uring/claim.rs",
        text: "self.0.store(if may_borrow { FREE } else { WITHHELD }, Ordering::Release);",
        replacement: "self.0.store(if may_borrow { FREE } else { FREE }, Ordering::Release);",
        model: "claim::late_completion_against_look",
    },
    Mutant {
        name: "ended: takes the place of an error",
        file: "reactor/socket/inbound.rs",
        text: "        if !matches!(state.end, Some(End::Failed(_))) {",
        replacement: "        {",
        model: "claim::reset_against_look",
    },
    Mutant {
        name: "receive_instead: wakes nobody",
        file: "reactor/socket/inbound.rs",
        text: "state.end = Some(End::Failed(code)),
            },
        }
        state.readers.wake(wakes);",
        replacement: "state.end = Some(End::Failed(code)),
            },
        }
        let _ = wakes;",
        model: "claim::looks_against_reader",
    },
    // Tasks.
    Mutant {
        name: "wake: publishes nothing",
        file: "task/state.rs",
        text: "self.0.fetch_or(ACTIVE, Ordering::AcqRel)",
        replacement: "self.0.fetch_or(ACTIVE, Ordering::Acquire)",
        model: "task_state::yield_against_news",
    },
    Mutant {
        name: "wake: does not see the poll before",
        file: "task/state.rs",
        text: "self.0.fetch_or(ACTIVE, Ordering::AcqRel)",
        replacement: "self.0.fetch_or(ACTIVE, Ordering::Release)",
        model: "task_state::run_against_run",
    },
    Mutant {
        name: "wake: a look instead of an RMW",
        file: "task/state.rs",
        text: "        let mut old = self.0.fetch_or(ACTIVE, Ordering::AcqRel);",
        replacement: "        let mut old = match self.0.load(Ordering::Relaxed) {
            now if now & NOTIFIED != 0 => now,
            _ => self.0.fetch_or(ACTIVE, Ordering::AcqRel),
        };",
        model: "task_state::yield_against_news",
    },
    Mutant {
        name: "wake: the task that has just been suspended is left to itself",
        file: "task/state.rs",
        text: "                || self.0.fetch_or(NOTIFIED, Ordering::Relaxed) & (ACTIVE | COMPLETE) != 0",
        replacement: "                || self.0.fetch_or(NOTIFIED, Ordering::Relaxed) != 0",
        model: "task_state::wake_against_wake",
    },
    Mutant {
        name: "wake: an active task is not told",
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
        name: "drop: who was lent nothing gives it back",
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
        name: "request: what is ready is lost",
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
        text: "self.0.fetch_xor(ACTIVE | COMPLETE, Ordering::AcqRel)",
        replacement: "self.0.fetch_xor(ACTIVE | COMPLETE, Ordering::Acquire)",
        model: "task_state::join_against_end",
    },
    Mutant {
        name: "complete: before the result is there",
        file: "task/raw.rs",
        text: "            store(stage, output);
            Poll::Ready(())",
        replacement: "            let _ = task.as_ref().state.complete();
            store(stage, output);
            Poll::Ready(())",
        model: "task_state::join_against_end",
    },
    Mutant {
        name: "complete: still in the registry",
        file: "task/raw.rs",
        text: "    (header.vtable.ended)(header);
    match header.state.complete() {",
        replacement: "    let complete = header.state.complete();
    (header.vtable.ended)(header);
    match complete {",
        model: "task_state::join_against_end",
    },
    Mutant {
        name: "offer_waiter: to a task that has ended",
        file: "task/state.rs",
        text: "self.update(|now| (now & COMPLETE == 0).then_some(now | WAITER)).is_ok()",
        replacement: "self.update(|now| Some(now | WAITER)).is_ok()",
        model: "task_state::join_against_end",
    },
    Mutant {
        name: "reclaim_waiter: from who is taking it",
        file: "task/state.rs",
        text: "self.update(|now| (now & COMPLETE == 0).then_some(now & !WAITER)).is_ok()",
        replacement: "self.update(|now| Some(now & !WAITER)).is_ok()",
        model: "task_state::join_with_another_waker",
    },
    Mutant {
        name: "a waiter looks at its waker while it is offered",
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
        name: "detach: leaves the waker to nobody",
        file: "task/state.rs",
        text: "Ok(old) if old & WAITER != 0 => Detach::DropWaiter,",
        replacement: "Ok(old) if old & WAITER != 0 => Detach::DropOutput,",
        model: "task_state::detach_against_end",
    },
    Mutant {
        name: "drop_refs: frees what others may still use",
        file: "task/state.rs",
        text: "self.0.fetch_sub(count * REF, Ordering::AcqRel)",
        replacement: "self.0.fetch_sub(count * REF, Ordering::Relaxed)",
        model: "task_state::owner_drop_against_late_waker",
    },
    Mutant {
        name: "a late wake keeps its reference",
        file: "task/waker.rs",
        text: "        // SAFETY: the waker's reference is still ours; it ends here.
        unsafe { raw::drop_refs(task, 1) };",
        replacement: "",
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
        name: "a panic without a handle is not told",
        file: "task/state.rs",
        text: "            (false, _) => Complete::DropOutput,",
        replacement: "            (false, _) => Complete::Keep,",
        model: "task_state::panic_against_detach",
    },
    // Push and park.
    Mutant {
        name: "park: no fence before the final look",
        file: "scheduler/idle.rs",
        text: "        fence(Ordering::SeqCst);
        if !has_work() {",
        replacement: "        if !has_work() {",
        model: "push_and_park::two_pushers",
    },
    Mutant {
        name: "park: the final look comes before the bit",
        file: "scheduler/idle.rs",
        text: "        let how = self.enter(me, workers, quiet);",
        replacement: "        let work = has_work();
        let has_work = || work;
        let how = self.enter(me, workers, quiet);",
        model: "push_and_park::push_after_push",
    },
    Mutant {
        name: "notify: no fence after the push",
        file: "scheduler/idle.rs",
        text: "        // N2. Pairs with P2.
        fence(Ordering::SeqCst);
",
        replacement: "",
        model: "push_and_park::two_pushers",
    },
    Mutant {
        name: "notify: without the check of the RMW",
        file: "scheduler/idle.rs",
        text: "        old.is_parked(target)
",
        replacement: "        old.is_parked(target) || true
",
        model: "push_and_park::two_pushers",
    },
    Mutant {
        name: "notify: clears the bits of all",
        file: "scheduler/idle.rs",
        text: "self.word.fetch_and(!(1 << target), Ordering::AcqRel)",
        replacement: "self.word.fetch_and(!PARKED, Ordering::AcqRel)",
        model: "push_and_park::two_workers",
    },
    Mutant {
        name: "push_home: rings first",
        file: "scheduler/hub.rs",
        text: "        self.block(home).local_inbox.push(task);
        let _ = self.ring_if_parked(home);",
        replacement: "        let _ = self.ring_if_parked(home);
        self.block(home).local_inbox.push(task);",
        model: "push_and_park::push_after_push",
    },
    Mutant {
        name: "advance: nobody is rung",
        file: "scheduler/hub.rs",
        text: "            for block in self.blocks() {
                block.doorbell.ring();",
        replacement: "            for block in self.blocks().take(1) {
                block.doorbell.ring();",
        model: "push_and_park::push_to_either_and_stop",
    },
    Mutant {
        name: "advance: publishes nothing",
        file: "scheduler/hub.rs",
        text: "self.phase.fetch_max(phase as u8, Ordering::AcqRel)",
        replacement: "self.phase.fetch_max(phase as u8, Ordering::Relaxed)",
        model: "push_and_park::push_to_either_and_stop",
    },
    // Announce and search.
    Mutant {
        name: "announce: no fence after the push",
        file: "scheduler/idle.rs",
        text: "        // Pairs with P2 and S2, as in `notify`.
        fence(Ordering::SeqCst);
",
        replacement: "",
        model: "announce_search::search_end",
    },
    Mutant {
        name: "search: its end without a fence",
        file: "scheduler/idle.rs",
        text: "        fence(Ordering::SeqCst);
        ended",
        replacement: "        ended",
        model: "announce_search::search_end",
    },
    Mutant {
        name: "search: its end without S2",
        file: "scheduler/idle.rs",
        text: "            if self.end_search(me) && !found {",
        replacement: "            if self.end_search(me) && !found && false {",
        model: "announce_search::search_end",
    },
    Mutant {
        name: "search: keeps the token",
        file: "scheduler/idle.rs",
        text: "                .then(|| word.with_holder(SEARCHER_SHIFT, None))",
        replacement: "                .then_some(word)",
        model: "announce_search::search_end",
    },
    // Patrol.
    Mutant {
        name: "patrol: laid down although others are busy",
        file: "scheduler/idle.rs",
        text: "Some(holder) if holder == me && alone && quiet => {",
        replacement: "Some(holder) if holder == me && quiet => {",
        model: "patrol::wake_up_after_quiet_look",
    },
    Mutant {
        name: "patrol: not taken on parking",
        file: "scheduler/idle.rs",
        text: "None if !alone => next = next.with_holder(PATROL_SHIFT, Some(me)),",
        replacement: "None if !alone => {}",
        model: "patrol::two_sleepers",
    },
    Mutant {
        name: "patrol: kept by who runs tasks",
        file: "scheduler/idle.rs",
        text: ".then(|| word.with_holder(PATROL_SHIFT, None))",
        replacement: ".then_some(word)",
        model: "patrol::patroller_gets_stuck",
    },
    Mutant {
        name: "patrol: nobody is named",
        file: "scheduler/idle.rs",
        text: "        self.claim(PATROL_SHIFT)",
        replacement: "        None",
        model: "patrol::wake_up_alone",
    },
    // Inbox and final check.
    Mutant {
        name: "drain: a load and a store",
        file: "scheduler/inbox.rs",
        text: "NonNull::new(self.head.swap(ptr::null_mut(), Ordering::Acquire))",
        replacement: "NonNull::new(self.head.load(Ordering::Acquire));
        self.head.store(ptr::null_mut(), Ordering::Relaxed)",
        model: "inbox_final_check::two_pushers",
    },
    Mutant {
        name: "drain: sees nothing of what was pushed",
        file: "scheduler/inbox.rs",
        text: "self.head.swap(ptr::null_mut(), Ordering::Acquire)",
        replacement: "self.head.swap(ptr::null_mut(), Ordering::Relaxed)",
        model: "inbox_final_check::two_pushers",
    },
    Mutant {
        name: "drain: the newest first",
        file: "scheduler/inbox.rs",
        text: "        while let Some(task) = newest {
            // SAFETY: I1: the swap made the whole chain ours.
            unsafe {
                newest = task.as_ref().take_next();
                task.as_ref().set_next(oldest);
            }
            oldest = Some(task);
            count += 1;
        }
",
        replacement: "        std::mem::swap(&mut oldest, &mut newest);
        count += usize::from(oldest.is_some());
",
        model: "inbox_final_check::two_pushers",
    },
    Mutant {
        name: "push: publishes nothing",
        file: "scheduler/inbox.rs",
        text: "                Ordering::Release,
                Ordering::Relaxed,",
        replacement: "                Ordering::Relaxed,
                Ordering::Relaxed,",
        model: "inbox_final_check::owner_against_patrol",
    },
    Mutant {
        name: "has_mail: one inbox only",
        file: "scheduler/hub.rs",
        text: "!self.inbox.is_empty() || !self.local_inbox.is_empty()",
        replacement: "!self.inbox.is_empty()",
        model: "inbox_final_check::two_pushers",
    },
    Mutant {
        name: "LIFO slot: put over what is there",
        file: "scheduler/hub.rs",
        text: "        if !self.lifo.load(Ordering::Relaxed).is_null() {
            return Some(task);
        }
        // Release: pairs with `take_lifo`.",
        replacement: "",
        model: "inbox_final_check::lifo_slot",
    },
    Mutant {
        name: "LIFO slot: taken without seeing the task",
        file: "scheduler/hub.rs",
        text: "self.lifo.swap(ptr::null_mut(), Ordering::Acquire)",
        replacement: "self.lifo.swap(ptr::null_mut(), Ordering::Relaxed)",
        model: "inbox_final_check::lifo_slot",
    },
    // Doorbell and shutdown.
    Mutant {
        name: "gate: cleaned up with passers inside",
        file: "util/gate.rs",
        text: "if matches!(old, Ok(word) if word / PASSER == 0) && self.take_closing() {",
        replacement: "if old.is_ok() && (self.take_closing() || true) {",
        model: "doorbell_shutdown::ring_against_close",
    },
    Mutant {
        name: "gate: open again before it was cleaned up",
        file: "util/gate.rs",
        text: "compare_exchange(CLOSING, CLEANING, Ordering::Acquire, Ordering::Relaxed)",
        replacement: "compare_exchange(CLOSING, 0, Ordering::Acquire, Ordering::Relaxed)",
        model: "doorbell_shutdown::ring_against_next_life",
    },
    Mutant {
        name: "gate: the last passer does not look",
        file: "util/gate.rs",
        text: "old == CLOSING | PASSER && self.take_closing()",
        replacement: "old == CLOSING && self.take_closing()",
        model: "doorbell_shutdown::ring_against_close",
    },
    Mutant {
        name: "gate: passes without an RMW of its own",
        file: "util/gate.rs",
        text: "self.0.fetch_add(PASSER, Ordering::Acquire) & OPEN != 0",
        replacement: "let open = self.is_open();
        self.0.fetch_add(PASSER, Ordering::Acquire);
        open",
        model: "doorbell_shutdown::ring_against_close",
    },
    Mutant {
        name: "gate: who leaves publishes nothing",
        file: "util/gate.rs",
        text: "self.0.fetch_sub(PASSER, Ordering::Release)",
        replacement: "self.0.fetch_sub(PASSER, Ordering::Relaxed)",
        model: "doorbell_shutdown::gate_closes_behind_passers",
    },
    Mutant {
        name: "gate: who closes publishes nothing",
        file: "util/gate.rs",
        text: "let old = self.0.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {",
        replacement: "let old = self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, |word| {",
        model: "doorbell_shutdown::ring_against_close",
    },
    Mutant {
        name: "gate: passed when it is closed",
        file: "util/gate.rs",
        text: "let passed = self.enter().then(pass);",
        replacement: "let passed = (self.enter() || true).then(pass);",
        model: "doorbell_shutdown::ring_against_close",
    },
    Mutant {
        name: "doorbell: closed past the gate",
        file: "reactor/doorbell.rs",
        text: "        self.gate.close(|| self.close_fd());",
        replacement: "        self.close_fd();
        self.gate.close(|| ());",
        model: "doorbell_shutdown::ring_against_close",
    },
    Mutant {
        name: "doorbell: open before it has its descriptor",
        file: "reactor/doorbell.rs",
        text: "        self.fd.store(fd, Ordering::Relaxed);
        let opened = self.gate.open();",
        replacement: "        let opened = self.gate.open();
        self.fd.store(fd, Ordering::Relaxed);",
        model: "doorbell_shutdown::two_late_ringers_against_next_life",
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
        name: "registry: files a task that nobody sees",
        file: "scheduler/registry.rs",
        text: "slot.store(task.0.as_ptr(), Ordering::Release);",
        replacement: "slot.store(task.0.as_ptr(), Ordering::Relaxed);",
        model: "live_tasks::list_against_growth",
    },
    Mutant {
        name: "registry: gives a slot away that is not empty yet",
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
    // Descriptors.
    Mutant {
        name: "slot: an event since the look is cleared",
        file: "reactor/slot.rs",
        text: "        if word & !READY_MASK == seen.0 & !READY_MASK {",
        replacement: "        if word >> 32 == seen.0 >> 32 {",
        model: "slot_event::two_events_against_clear",
    },
    Mutant {
        name: "slot: no look after the waker is left",
        file: "reactor/slot.rs",
        text: "        let mut waiters = self.waiters.lock();
        let seen = self.look();
        let is_ready",
        replacement: "        let seen = self.look();
        let mut waiters = self.waiters.lock();
        let is_ready",
        model: "slot_event::two_events_against_drained",
    },
    Mutant {
        name: "slot: a read that took all hides what came meanwhile",
        file: "reactor/slot.rs",
        text: "self.drained.store(seen.0 & !READY_MASK, Ordering::Relaxed)",
        replacement: "self.drained.store(self.look().0 & !READY_MASK, Ordering::Relaxed)",
        model: "slot_event::two_events_against_drained",
    },
    Mutant {
        name: "slot: who shares is not woken",
        file: "reactor/slot.rs",
        text: "            wakes.extend(sharers.extract_if(.., woken).map(|waiter| waiter.waker));",
        replacement: "            wakes.extend(sharers.extract_if(.., woken).map(|waiter| waiter.waker).take(1));",
        model: "slot_event::shared_waiters",
    },
    // Leases.
    Mutant {
        name: "lease: the last sees nothing of what others read",
        file: "reactor/pool.rs",
        text: "users.fetch_sub(1, Ordering::AcqRel)",
        replacement: "users.fetch_sub(1, Ordering::Release)",
        model: "lease_return::two_returns_against_finish",
    },
    Mutant {
        name: "lease: whether it was the last is asked later",
        file: "reactor/pool.rs",
        text: "        if users.fetch_sub(1, Ordering::AcqRel) == 1 {",
        replacement: "        users.fetch_sub(1, Ordering::AcqRel);
        if users.load(Ordering::Acquire) == 0 {",
        model: "lease_return::two_returns_against_finish",
    },
    Mutant {
        name: "pool: free when the filler is done",
        file: "reactor/pool.rs",
        text: "        if buffer.users.fetch_sub(own, Ordering::AcqRel) == own {",
        replacement: "        if buffer.users.fetch_sub(own, Ordering::AcqRel) >= own {",
        model: "lease_return::two_returns_against_finish",
    },
    Mutant {
        name: "pool: collects without seeing what was read",
        file: "reactor/pool.rs",
        text: "fetch_and(!all, Ordering::Acquire)",
        replacement: "fetch_and(!all, Ordering::Relaxed)",
        model: "lease_return::two_returns_against_finish",
    },
    Mutant {
        name: "lease: split without a count",
        file: "reactor/pool.rs",
        text: "            unsafe { buffer.as_ref() }.users.fetch_add(1, Ordering::Relaxed);
        }
        let front",
        replacement: "            let _ = buffer;
        }
        let front",
        model: "lease_return::split_against_last",
    },
    Mutant {
        name: "pool: the last bytes are lent without a count",
        file: "reactor/pool.rs",
        text: "buffer.users.fetch_sub(own - 1, Ordering::Relaxed);",
        replacement: "buffer.users.fetch_sub(own, Ordering::Relaxed);",
        model: "lease_return::split_against_last",
    },
    Mutant {
        name: "pool: lends a count that it also keeps",
        file: "reactor/pool.rs",
        text: "            buffer.own.store(own - 1, Ordering::Relaxed);",
        replacement: "",
        model: "lease_return::two_returns_against_finish",
    },
    Mutant {
        name: "pool: starts at the front again under a lease",
        file: "reactor/pool.rs",
        text: "if buffer.users.load(Ordering::Acquire) == own {",
        replacement: "if buffer.users.load(Ordering::Acquire) >= own {",
        model: "lease_return::return_against_spare",
    },
    Mutant {
        name: "pool: starts at the front again without seeing what was read",
        file: "reactor/pool.rs",
        text: "if buffer.users.load(Ordering::Acquire) == own {",
        replacement: "if buffer.users.load(Ordering::Relaxed) == own {",
        model: "lease_return::return_against_spare",
    },
    Mutant {
        name: "pool: starves by a load and a store",
        file: "reactor/pool.rs",
        text: "returns.fetch_or(STARVED, Ordering::Relaxed);",
        replacement: "let word = returns.load(Ordering::Acquire);
            returns.store(word | STARVED, Ordering::Release);",
        model: "lease_return::returns_against_starvation",
    },
    Mutant {
        name: "return: asks first whether the owner starves",
        file: "reactor/pool/shared.rs",
        text: "        let old = shared.returns.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
            Some((word | bits) & !STARVED)
        });
        let (Ok(old) | Err(old)) = old;",
        replacement: "        let starved = shared.returns.fetch_and(!STARVED, Ordering::AcqRel) & STARVED;
        let old = shared.returns.fetch_or(bits, Ordering::AcqRel) & !STARVED | starved;",
        model: "lease_return::returns_against_starvation",
    },
    Mutant {
        name: "return: rings for every buffer",
        file: "reactor/pool/shared.rs",
        text: "Some((word | bits) & !STARVED)",
        replacement: "Some(word | bits)",
        model: "lease_return::returns_against_starvation",
    },
    Mutant {
        name: "return: publishes nothing",
        file: "reactor/pool/shared.rs",
        text: "let old = shared.returns.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {",
        replacement: "let old = shared.returns.fetch_update(Ordering::Acquire, Ordering::Relaxed, |word| {",
        model: "lease_return::returns_against_the_end",
    },
    Mutant {
        name: "return: sees nothing of the end",
        file: "reactor/pool/shared.rs",
        text: "let old = shared.returns.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {",
        replacement: "let old = shared.returns.fetch_update(Ordering::Release, Ordering::Relaxed, |word| {",
        model: "lease_return::returns_against_the_end",
    },
    Mutant {
        name: "return: asks again whether all is back",
        file: "reactor/pool/shared.rs",
        text: "        let new = old | bits;",
        replacement: "        // SAFETY: none.
        let new = unsafe { this.as_ref() }.returns.load(Ordering::Acquire);",
        model: "lease_return::returns_against_the_end",
    },
    Mutant {
        name: "pool: ends without what is free",
        file: "reactor/pool.rs",
        text: "self.watch.end(self.free);",
        replacement: "self.watch.end(0);",
        model: "lease_return::returns_against_the_end",
    },
    // Requests to a ring.
    Mutant {
        name: "mailbox: the sender looks without a fence",
        file: "reactor/uring/mailbox.rs",
        text: "        fence(Ordering::SeqCst);
        // Relaxed, both: ordered by the fences.",
        replacement: "        // Relaxed, both.",
        model: "ring_mailbox::one_request_for_each",
    },
    Mutant {
        name: "mailbox: the owner looks without a fence",
        file: "reactor/uring/mailbox.rs",
        text: "        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);",
        replacement: "        self.asleep.store(true, Ordering::Relaxed);",
        model: "ring_mailbox::one_request_for_each",
    },
    Mutant {
        name: "mailbox: a push publishes nothing",
        file: "reactor/uring/mailbox.rs",
        text: "compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed)",
        replacement: "compare_exchange_weak(head, node, Ordering::Relaxed, Ordering::Relaxed)",
        model: "ring_mailbox::one_request_for_each",
    },
    Mutant {
        name: "mailbox: every request queues the node",
        file: "reactor/uring/mailbox.rs",
        text: "if node.link().requests.fetch_or(request, Ordering::AcqRel) == 0 {",
        replacement: "node.link().requests.fetch_or(request, Ordering::AcqRel);
        {",
        model: "ring_mailbox::two_requests_for_one",
    },
    Mutant {
        name: "mailbox: a request publishes nothing",
        file: "reactor/uring/mailbox.rs",
        text: "requests.fetch_or(request, Ordering::AcqRel)",
        replacement: "requests.fetch_or(request, Ordering::Acquire)",
        model: "ring_mailbox::two_requests_for_one",
    },
    Mutant {
        name: "mailbox: the owner sees nothing of what came before a request",
        file: "reactor/uring/mailbox.rs",
        text: "requests.swap(0, Ordering::AcqRel)",
        replacement: "requests.swap(0, Ordering::Release)",
        model: "ring_mailbox::two_requests_for_one",
    },
    Mutant {
        name: "mailbox: the successor is read after the word is taken",
        file: "reactor/uring/mailbox.rs",
        text: "            node = taken.link().next.load(Ordering::Relaxed);
            // AcqRel: pairs with `send`.
            let requests = taken.link().requests.swap(0, Ordering::AcqRel);",
        replacement: "            let requests = taken.link().requests.swap(0, Ordering::AcqRel);
            node = taken.link().next.load(Ordering::Relaxed);",
        model: "ring_mailbox::again_while_taken",
    },
    Mutant {
        name: "mailbox: the word is read, then cleared",
        file: "reactor/uring/mailbox.rs",
        text: "let requests = taken.link().requests.swap(0, Ordering::AcqRel);",
        replacement: "let requests = taken.link().requests.load(Ordering::Acquire);
            taken.link().requests.store(0, Ordering::Release);",
        model: "ring_mailbox::again_while_taken",
    },
    Mutant {
        name: "mailbox: closes without a fence",
        file: "reactor/uring/mailbox.rs",
        text: "        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);",
        replacement: "        self.closed.store(true, Ordering::Relaxed);",
        model: "ring_mailbox::requests_against_close",
    },
    Mutant {
        name: "mailbox: closes and does not say so",
        file: "reactor/uring/mailbox.rs",
        text: "        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);",
        replacement: "        fence(Ordering::SeqCst);",
        model: "ring_mailbox::requests_against_close",
    },
    Mutant {
        name: "mailbox: a closed one looks awake",
        file: "reactor/uring/mailbox.rs",
        text: "return Sent::Closed;",
        replacement: "return Sent::Awake;",
        model: "ring_mailbox::requests_against_close",
    },
    // Received ahead.
    Mutant {
        name: "inbound: a waker is left without a second look",
        file: "reactor/socket/inbound.rs",
        text: "        let found = look(&self.state, waker, expects, waits, |state| {
            let found = state.find(arm, get);
            self.quiet.store(u8::from(!state.has_news()), Ordering::Relaxed);
            found
        });",
        replacement: "        let _ = waits;
        if !self.state.lock().has_news() {
            look(&self.state, waker, expects, |_| true, |_| ());
            return Found::Nothing;
        }
        let found = self.state.lock().find(arm, get);",
        model: "inbound::arrivals_against_reader",
    },
    Mutant {
        name: "inbound: an arrival wakes nobody",
        file: "reactor/socket/inbound.rs",
        text: "        state.add(lease);
        state.readers.wake(wakes);",
        replacement: "        state.add(lease);",
        model: "inbound::arrivals_against_reader",
    },
    Mutant {
        name: "waiting: a reader takes the place of another",
        file: "reactor/socket/waiting.rs",
        text: "waiting.wakers.push(waker);",
        replacement: "waiting.wakers = [waker].into_iter().collect();",
        model: "inbound::arrival_against_two_readers",
    },
    Mutant {
        name: "inbound: arrivals come in front",
        file: "reactor/socket/inbound.rs",
        text: "            Some(_) => self.more.push_back(lease),",
        replacement: "            Some(_) => self.more.extend(self.first.replace(lease)),",
        model: "inbound::cap_against_reader",
    },
    Mutant {
        name: "inbound: who takes a part takes all",
        file: "reactor/socket/inbound.rs",
        text: "lease.advance(bytes);",
        replacement: "lease.advance(lease.len());",
        model: "inbound::cap_against_reader",
    },
    Mutant {
        name: "inbound: cancels for each arrival past the cap",
        file: "reactor/socket/inbound.rs",
        text: "            state.arm = Arm::Ending;
            return Flow::Stop;",
        replacement: "            return Flow::Stop;",
        model: "inbound::cap_against_reader",
    },
    Mutant {
        name: "inbound: any number of leases may wait",
        file: "reactor/socket/inbound.rs",
        text: "let full = state.bytes > MAX_BYTES || state.queue.len() > MAX_LEASES;",
        replacement: "let full = state.bytes > MAX_BYTES;",
        model: "inbound::cap_against_reader",
    },
    Mutant {
        name: "inbound: the end comes before what is queued",
        file: "reactor/socket/inbound.rs",
        text: "        if !self.queue.is_empty() {
            let mut queue",
        replacement: "        if !self.queue.is_empty() && self.end.is_none() {
            let mut queue",
        model: "inbound::error_against_reader",
    },
    Mutant {
        name: "inbound: an error is told for ever",
        file: "reactor/socket/inbound.rs",
        text: "            self.end = Some(End::Eof);
",
        replacement: "",
        model: "inbound::error_against_reader",
    },
    Mutant {
        name: "inbound: the end of a receive wakes nobody",
        file: "reactor/socket/inbound.rs",
        text: "        state.starved = starved;
        state.readers.wake(wakes);",
        replacement: "        state.starved = starved;",
        model: "inbound::starvation_against_reader",
    },
    Mutant {
        name: "inbound: a receive that has ended counts as armed",
        file: "reactor/socket/inbound.rs",
        text: "        state.arm = Arm::Off;
        state.starved = starved;",
        replacement: "        state.starved = starved;",
        model: "inbound::starvation_against_reader",
    },
    Mutant {
        name: "inbound: starved for ever",
        file: "reactor/socket/inbound.rs",
        text: "mem::take(&mut self.starved)",
        replacement: "self.starved",
        model: "inbound::starvation_against_reader",
    },
    Mutant {
        name: "inbound: starved, and nobody is told",
        file: "reactor/socket/inbound.rs",
        text: "state.starved = starved;",
        replacement: "let _ = starved;",
        model: "inbound::starvation_against_reader",
    },
    Mutant {
        name: "inbound: a reset is forgotten",
        file: "reactor/socket/inbound.rs",
        text: " || self.hung_up",
        replacement: "",
        model: "inbound::reset_against_reader",
    },
    // The send machine.
    Mutant {
        name: "outbound: a direct call without a look at the phase",
        file: "reactor/socket/outbound.rs",
        text: "        if state.phase != Phase::Idle {
            return Direct::Busy;
        }
",
        replacement: "",
        model: "outbound::direct_send_against_queue",
    },
    Mutant {
        name: "outbound: a direct call without the lock",
        file: "reactor/socket/outbound.rs",
        text: "        Direct::Done(send())",
        replacement: "        drop(state);
        Direct::Done(send())",
        model: "outbound::direct_send_against_queue",
    },
    Mutant {
        name: "outbound: what is queued goes before the rest of a short send",
        file: "reactor/socket/outbound.rs",
        text: "                    chunk.advance(sent);
                    return (Next::Send(chunk), None);",
        replacement: "                    chunk.advance(sent);
                    state.queue.push_back(chunk);
                    let next = state.next().expect(\"it is there\");
                    return (Next::Send(next), None);",
        model: "outbound::direct_send_against_queue",
    },
    Mutant {
        name: "outbound: flushed with a send in flight",
        file: "reactor/socket/outbound.rs",
        text: "None => (state.phase == Phase::Idle).then_some(Ok(()))",
        replacement: "None => state.queue.is_empty().then_some(Ok(()))",
        model: "outbound::direct_send_against_queue",
    },
    Mutant {
        name: "waiting: a waker is left after the look",
        file: "reactor/socket/waiting.rs",
        text: "        let waiting = locked.waiting();
        waiting.wakers.push(waker);",
        replacement: "        let result = f(&mut locked);
        drop(locked);
        state.locked().waiting().wakers.push(waker);
        return result;
        #[allow(unreachable_code)]
        let waiting = locked.waiting();",
        model: "outbound::writer_waits_for_room",
    },
    Mutant {
        name: "outbound: the last send wakes nobody",
        file: "reactor/socket/outbound.rs",
        text: "        state.phase = Phase::Idle;
        state.writers.wake(wakes);
        let gave_up",
        replacement: "        state.phase = Phase::Idle;
        let gave_up",
        model: "outbound::writer_waits_for_room",
    },
    Mutant {
        name: "waiting: no waker is left where there was room a moment ago",
        file: "reactor/socket/waiting.rs",
        text: "    let mut locked = state.locked();
    if has_to_wait(&locked) && ",
        replacement: "    let waits = has_to_wait(&state.locked());
    let mut locked = state.locked();
    if waits && ",
        model: "outbound::two_wait_for_room",
    },
    Mutant {
        name: "waiting: a writer takes the place of another",
        file: "reactor/socket/waiting.rs",
        text: "        waiting.wakers.push(waker);
",
        replacement: "        waiting.wakers = [waker].into_iter().collect();
",
        model: "outbound::two_wait_for_room",
    },
    Mutant {
        name: "outbound: an error does not stick",
        file: "reactor/socket/outbound.rs",
        text: "        self.error = Some(error);
",
        replacement: "        let _ = error;
",
        model: "outbound::error_against_writer",
    },
    Mutant {
        name: "outbound: an error is told again",
        file: "reactor/socket/outbound.rs",
        text: "let error = self.error.take();",
        replacement: "let error = self.error;",
        model: "outbound::error_against_writer",
    },
    Mutant {
        name: "outbound: a direct call past an error",
        file: "reactor/socket/outbound.rs",
        text: "        let mut state = self.state.lock();
        if let Some(error) = state.refuses() {
            return Direct::Failed(error);
        }
",
        replacement: "        let state = self.state.lock();
",
        model: "outbound::error_against_writer",
    },
    Mutant {
        name: "outbound: idle with an error that is still to be told",
        file: "reactor/socket/outbound.rs",
        text: "state.phase == Phase::Idle && state.error.is_none()",
        replacement: "state.phase == Phase::Idle",
        model: "outbound::error_against_writer",
    },
    Mutant {
        name: "outbound: what was given up is sent",
        file: "reactor/socket/outbound.rs",
        text: "if state.abandoned && unsent(sent)",
        replacement: "if state.abandoned && unsent(sent) && sent < chunk.len()",
        model: "outbound::given_up_against_writer",
    },
    Mutant {
        name: "outbound: what was given up is told once",
        file: "reactor/socket/outbound.rs",
        text: "        if self.abandoned {
            self.error = error;
        }
",
        replacement: "",
        model: "outbound::given_up_against_writer",
    },
    Mutant {
        name: "outbound: the end of the home wakes nobody",
        file: "reactor/socket/outbound.rs",
        text: "            state.phase = Phase::Idle;
        }
        state.writers.wake(wakes);",
        replacement: "            state.phase = Phase::Idle;
        }",
        model: "outbound::orphaned_against_writer",
    },
    Mutant {
        name: "outbound: a send outlives its home",
        file: "reactor/socket/outbound.rs",
        text: "            state.fail(ABANDONED);
            state.phase = Phase::Idle;",
        replacement: "            state.fail(ABANDONED);",
        model: "outbound::orphaned_against_writer",
    },
    Mutant {
        name: "outbound: goes on behind a gap",
        file: "reactor/socket/outbound.rs",
        text: "            state.abandoned = true;
            state.fail(ABANDONED);",
        replacement: "            state.fail(ABANDONED);",
        model: "outbound::orphaned_against_writer",
    },
    Mutant {
        name: "outbound: a shutdown is forgotten",
        file: "reactor/socket/outbound.rs",
        text: "Next::Idle { shut: state.shut }",
        replacement: "Next::Idle { shut: false }",
        model: "outbound::shut_against_sends",
    },
    Mutant {
        name: "outbound: shut with a send in flight",
        file: "reactor/socket/outbound.rs",
        text: "state.shut = state.phase != Phase::Idle;",
        replacement: "state.shut = state.phase == Phase::Dirty;",
        model: "outbound::shut_against_sends",
    },
    // The end of a socket.
    Mutant {
        name: "mailbox: a request without a reference",
        file: "reactor/uring/mailbox.rs",
        text: "self.push(Arc::into_raw(node.clone()).cast_mut());",
        replacement: "self.push(Arc::as_ptr(node).cast_mut());",
        model: "socket_close::drop_against_receive",
    },
    Mutant {
        name: "mailbox: keeps the reference",
        file: "reactor/uring/mailbox.rs",
        text: "            f(taken, requests);",
        replacement: "            std::mem::forget(taken.clone());
            f(taken, requests);",
        model: "socket_close::drop_against_receive",
    },
    Mutant {
        name: "mailbox: a later request replaces an earlier",
        file: "reactor/uring/mailbox.rs",
        text: "requests.fetch_or(request, Ordering::AcqRel)",
        replacement: "requests.swap(request, Ordering::AcqRel)",
        model: "socket_close::drop_against_send",
    },
    Mutant {
        name: "outbound: a short send is taken for a whole one",
        file: "reactor/socket/outbound.rs",
        text: "                if sent < chunk.len() {
                    chunk.advance(sent);",
        replacement: "                if sent == 0 {
                    chunk.advance(sent);",
        model: "socket_close::drop_against_send",
    },
    Mutant {
        name: "mailbox: a request outlives the home",
        file: "reactor/uring/mailbox.rs",
        text: "return Sent::Closed;",
        replacement: "return Sent::Awake;",
        model: "socket_close::drop_against_the_end",
    },
    // Timers.
    Mutant {
        name: "timer: polled without a look under the lock",
        file: "reactor/timers/node.rs",
        text: "        let mut kept = self.node.waker.lock();
        // Asked under the lock: see `Node::end`.
        let end = self.node.ended();",
        replacement: "        let end = self.node.ended();
        let mut kept = self.node.waker.lock();",
        model: "timer_ends::poll_against_fire",
    },
    Mutant {
        name: "give_up: takes the waker from under the wheel's hands",
        file: "reactor/timers/node.rs",
        text: "        let waker = node.waker.lock().take();",
        replacement: "        let waker = unsafe { node.waker.with_exclusive(Option::take) };",
        model: "timer_ends::drop_against_fire",
    },
    Mutant {
        name: "give_up: takes a timer that has ended for an armed one",
        file: "reactor/timers/node.rs",
        text: "            && is_armed_in(node, owner, armed, timers.mailbox())",
        replacement: "            && ptr::eq(owner, timers.mailbox())",
        model: "timer_ends::release_against_rescue",
    },
    Mutant {
        name: "timer: fires after it has let go of the lock",
        file: "reactor/timers/node.rs",
        text: "        let mut kept = self.waker.lock();
        let armed",
        replacement: "        let mut kept = self.waker.lock().take();
        let armed",
        model: "timer_ends::poll_against_fire",
    },
    Mutant {
        name: "timer: what is due is freed where it stands",
        file: "reactor/timers/mod.rs",
        text: "                node.cancel();
                node.let_go();",
        replacement: "                self.free(node);",
        model: "timer_ends::drop_of_what_is_due",
    },
    Mutant {
        name: "timer: what was let go of is fired",
        file: "reactor/timers/mod.rs",
        text: "        if place == Place::LET_GO {",
        replacement: "        if place == Place::LET_GO && false {",
        model: "timer_ends::drop_of_what_is_due",
    },
    Mutant {
        name: "timer: the mailbox publishes nothing",
        file: "reactor/timers/pool.rs",
        text: "                Ordering::Release,
                Ordering::Relaxed,",
        replacement: "                Ordering::Relaxed,
                Ordering::Relaxed,",
        model: "timer_ends::drop_against_fire",
    },
];
