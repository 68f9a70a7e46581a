//! The mutants of workers: how they sleep, are woken and end.

use crate::run::Mutant;

/// By protocol.
#[rustfmt::skip]
pub const WORKERS: &[Mutant] = &[
    // Push and park.
    Mutant {
        name: "park: no fence before the final check",
        file: "scheduler/idle.rs",
        text: "        fence(Ordering::SeqCst);
        if !has_work() {",
        replacement: "        if !has_work() {",
        model: "push_and_park::two_pushers",
    },
    Mutant {
        name: "park: the final check comes before the bit",
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
        name: "advance: only one worker is rung",
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
    Mutant {
        name: "close: the phase comes before the deadline",
        file: "scheduler/hub.rs",
        text: "        self.deadline.store(deadline, Ordering::Relaxed);
        self.advance(Phase::Closing);",
        replacement: "        self.advance(Phase::Closing);
        self.deadline.store(deadline, Ordering::Relaxed);",
        model: "doorbell_shutdown::deadline_is_known_when_the_end_begins",
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
        name: "patrol: given up although others are busy",
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
        name: "patrol: kept by a worker that runs tasks",
        file: "scheduler/idle.rs",
        text: ".then(|| word.with_holder(PATROL_SHIFT, None))",
        replacement: ".then_some(word)",
        model: "patrol::patroller_gets_stuck",
    },
    Mutant {
        name: "patrol: no worker is named",
        file: "scheduler/idle.rs",
        text: "        self.claim(PATROL_SHIFT)",
        replacement: "        None",
        model: "patrol::wake_up_alone",
    },
    // Inbox and final check.
    Mutant {
        name: "take: two at once",
        file: "scheduler/inbox.rs",
        text: "        let _taking = self.taking.lock();
",
        replacement: "",
        model: "inbox_final_check::owner_against_patrol",
    },
    Mutant {
        name: "take: sees nothing of what came before a push",
        file: "scheduler/inbox.rs",
        text: "NonNull::new(self.oldest.load(Ordering::Acquire))",
        replacement: "NonNull::new(self.oldest.load(Ordering::Relaxed))",
        model: "inbox_final_check::two_pushers",
    },
    Mutant {
        name: "take: sees nothing of what came before a link",
        file: "task/header.rs",
        text: "NonNull::new(self.next.link().load(Ordering::Acquire))",
        replacement: "NonNull::new(self.next.link().load(Ordering::Relaxed))",
        model: "inbox_final_check::two_pushers",
    },
    Mutant {
        name: "take: takes the newest although a push is about to link to it",
        file: "scheduler/inbox.rs",
        text: "        if alone.is_err() {",
        replacement: "        if alone.is_err() && false {",
        model: "inbox_final_check::two_pushers",
    },
    Mutant {
        name: "take: forgets the oldest after the queue was empty",
        file: "scheduler/inbox.rs",
        text: "        if alone.is_err() {",
        replacement: "        if alone.is_ok() {
            self.oldest.store(ptr::null_mut(), Ordering::Relaxed);
        }
        if alone.is_err() {",
        model: "inbox_final_check::two_pushers",
    },
    Mutant {
        name: "take: drops tasks beyond its limit",
        file: "scheduler/inbox.rs",
        text: "                    self.oldest.store(next.as_ptr(), Ordering::Relaxed);
                    return",
        replacement: "                    self.oldest.store(ptr::null_mut(), Ordering::Relaxed);
                    let _ = next;
                    return",
        model: "inbox_final_check::one_at_a_time",
    },
    Mutant {
        name: "is_empty: reads the end at which a patrol takes",
        file: "scheduler/inbox.rs",
        text: "self.newest.load(Ordering::Relaxed).is_null()",
        replacement: "self.oldest.load(Ordering::Relaxed).is_null()",
        model: "inbox_final_check::owner_against_patrol",
    },
    Mutant {
        name: "push: publishes nothing",
        file: "scheduler/inbox.rs",
        text: "self.oldest.store(task.as_ptr(), Ordering::Release)",
        replacement: "self.oldest.store(task.as_ptr(), Ordering::Relaxed)",
        model: "inbox_final_check::two_pushers",
    },
    Mutant {
        name: "push: links and publishes nothing",
        file: "task/header.rs",
        text: "self.next.link().store(next.as_ptr().cast(), Ordering::Release)",
        replacement: "self.next.link().store(next.as_ptr().cast(), Ordering::Relaxed)",
        model: "inbox_final_check::two_pushers",
    },
    Mutant {
        name: "push: two pushes follow the same task",
        file: "scheduler/inbox.rs",
        text: "NonNull::new(self.newest.swap(task.as_ptr(), Ordering::AcqRel))",
        replacement: "NonNull::new({
            let before = self.newest.load(Ordering::Acquire);
            self.newest.swap(task.as_ptr(), Ordering::AcqRel);
            before
        })",
        model: "inbox_final_check::two_pushers",
    },
    // Work for a worker that is held, and its name.
    Mutant {
        name: "choose: takes a worker that is held",
        file: "scheduler/idle.rs",
        text: "!word.is_parked(*worker) && !is_held(*worker)",
        replacement: "!word.is_parked(*worker) && (!is_held(*worker) || true)",
        model: "push_and_park::push_past_a_held_worker",
    },
    Mutant {
        name: "running: the place before the task",
        file: "scheduler/block.rs",
        text: "self.running.store(task.id().0, Ordering::Release)",
        replacement: "self.running.store(task.id().0, Ordering::Relaxed)",
        model: "hog_report::names_are_of_one_task",
    },
    Mutant {
        name: "running: a place without the end of the task before",
        file: "scheduler/block.rs",
        text: "cast_mut(), Ordering::Release);",
        replacement: "cast_mut(), Ordering::Relaxed);",
        model: "hog_report::names_are_of_one_task",
    },
    Mutant {
        name: "running: the task is not read again",
        file: "scheduler/block.rs",
        text: "let still = id != 0 && self.running.load(Ordering::Relaxed) == id;",
        replacement: "let still = id != 0;",
        model: "hog_report::names_are_of_one_task",
    },
    Mutant {
        name: "running: sees a task without its place",
        file: "scheduler/block.rs",
        text: "self.running.load(Ordering::Acquire)",
        replacement: "self.running.load(Ordering::Relaxed)",
        model: "hog_report::names_are_of_one_task",
    },
    Mutant {
        name: "running: the place is read without what was done before its store",
        file: "scheduler/block.rs",
        text: "self.running_at.load(Ordering::Acquire)",
        replacement: "self.running_at.load(Ordering::Relaxed)",
        model: "hog_report::names_are_of_one_task",
    },
    Mutant {
        name: "running_in: the tick is not read again",
        file: "scheduler/block.rs",
        text: "self.running().filter(|_| self.tick() == tick)",
        replacement: "(self.tick() == tick).then(|| self.running()).flatten()",
        model: "hog_report::hog_that_ends_is_not_taken_for_the_next",
    },
    Mutant {
        name: "has_mail: one inbox only",
        file: "scheduler/block.rs",
        text: "!self.inbox.is_empty() || !self.local_inbox.is_empty()",
        replacement: "!self.inbox.is_empty()",
        model: "inbox_final_check::two_pushers",
    },
    Mutant {
        name: "LIFO slot: put over another task",
        file: "scheduler/block.rs",
        text: "        if !self.lifo.load(Ordering::Relaxed).is_null() {
            return Some(task);
        }
        // Release: pairs with `take_lifo`.",
        replacement: "",
        model: "inbox_final_check::lifo_slot",
    },
    Mutant {
        name: "LIFO slot: taken without seeing the task",
        file: "scheduler/block.rs",
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
        name: "gate: the last passer does not check",
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
        name: "gate: a passer publishes nothing as it leaves",
        file: "util/gate.rs",
        text: "self.0.fetch_sub(PASSER, Ordering::Release)",
        replacement: "self.0.fetch_sub(PASSER, Ordering::Relaxed)",
        model: "doorbell_shutdown::gate_closes_behind_passers",
    },
    Mutant {
        name: "gate: a close publishes nothing",
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
        name: "doorbell: closed without the gate",
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
    // Rescue.
    Mutant {
        name: "rescue: a ring that was for the owner is not seen",
        file: "reactor/epoll.rs",
        text: "            DOORBELL => rung = true,",
        replacement: "            DOORBELL => {}",
        model: "unit test scheduler::worker::tests::ring_that_a_rescuer_takes_is_repeated",
    },
    Mutant {
        name: "rescue: a ring that was for the owner is lost",
        file: "scheduler/patrol.rs",
        text: "            block.doorbell.ring();",
        replacement: "",
        model: "unit test scheduler::worker::tests::ring_that_a_rescuer_takes_is_repeated",
    },
    // Generated models.
    Mutant {
        name: "drawn: notify without a fence",
        file: "scheduler/idle.rs",
        text: "        // N2. Pairs with P2.
        fence(Ordering::SeqCst);
",
        replacement: "",
        model: "generated::idle",
    },
    Mutant {
        name: "drawn: a worker that has woken leaves its bit set",
        file: "scheduler/idle.rs",
        text: "        let next = word.with_parked(me, false);
            (next != word).then_some(next)",
        replacement: "        Some(word)",
        model: "generated::idle",
    },
    Mutant {
        name: "drawn: two threads take from an inbox at once",
        file: "scheduler/inbox.rs",
        text: "        let _taking = self.taking.lock();
",
        replacement: "",
        model: "generated::inbox",
    },
    Mutant {
        name: "drawn: an owner sleeps without a fence before the check of its mail",
        file: "reactor/uring/mailbox.rs",
        text: "        fence(Ordering::SeqCst);
        self.is_empty()",
        replacement: "        self.is_empty()",
        model: "generated::doorbell",
    },
    Mutant {
        name: "drawn: a late ring does not pass the gate",
        file: "reactor/doorbell.rs",
        text: "        self.gate.pass(ring, || self.close_fd());",
        replacement: "        ring();",
        model: "generated::doorbell",
    },
];
