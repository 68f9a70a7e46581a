//! The mutants of a socket's reports and receives.

use crate::run::Mutant;

/// By protocol.
#[rustfmt::skip]
pub const RECEIVING: &[Mutant] = &[
    // Descriptors.
    Mutant {
        name: "slot: an event since the last check is cleared",
        file: "reactor/slot.rs",
        text: "        if word & !READY_MASK == seen.0 & !READY_MASK {",
        replacement: "        if word >> 32 == seen.0 >> 32 {",
        model: "slot_event::two_events_against_clear",
    },
    Mutant {
        name: "slot: no check after the waker is registered",
        file: "reactor/slot.rs",
        text: "        let mut waiters = self.waiters.lock();
        let is_ready = self.look().is_ready(direction);
        if !is_ready",
        replacement: "        let is_ready = self.look().is_ready(direction);
        let mut waiters = self.waiters.lock();
        if !is_ready",
        model: "slot_event::two_events_against_drained",
    },
    Mutant {
        name: "slot: a read that took all hides a later arrival",
        file: "reactor/slot.rs",
        text: "self.drained.store(seen.0 & !READY_MASK, Ordering::Relaxed)",
        replacement: "self.drained.store(self.look().0 & !READY_MASK, Ordering::Relaxed)",
        model: "slot_event::two_events_against_drained",
    },
    Mutant {
        name: "slot: a second waiter is not woken",
        file: "reactor/slot.rs",
        text: "            wakes.extend(sharers.extract_if(.., woken).map(|waiter| waiter.waker));",
        replacement: "            wakes.extend(sharers.extract_if(.., woken).map(|waiter| waiter.waker).take(1));",
        model: "slot_event::shared_waiters",
    },
    Mutant {
        name: "slot: a second arrival does not count",
        file: "reactor/slot.rs",
        text: "        (known, if is_first { 0 } else { Ready::AGAIN.0 })",
        replacement: "        let _ = is_first;
        (known, 0)",
        model: "slot_urgent::arrivals_told_late",
    },
    Mutant {
        name: "slot: urgent data that was seen does not count",
        file: "reactor/slot.rs",
        text: "if seen.0 & (Ready::URGENT.0 | Ready::AGAIN.0) != 0 =>",
        replacement: "if seen.0 & Ready::AGAIN.0 != 0 =>",
        model: "slot_urgent::arrivals_told_together",
    },
    Mutant {
        name: "slot: an arrival that brings nothing is forgotten",
        file: "reactor/slot.rs",
        text: "|| seen.0 & Ready::ARRIVED.0 != 0 && !took",
        replacement: "|| seen.0 & Ready::ARRIVED.0 != 0 && !took && false",
        model: "slot_urgent::mark_that_is_early",
    },
    Mutant {
        name: "slot: a read that a signal stops at a mark counts as empty",
        file: "reactor/slot.rs",
        text: "seen.0 & (Ready::URGENT.0 | Ready::AGAIN.0) != 0 ||",
        replacement: "seen.0 & Ready::AGAIN.0 != 0 ||",
        model: "slot_urgent::signal_at_the_mark",
    },
    // Leases.
    Mutant {
        name: "lease: the last drop sees nothing of the reads by others",
        file: "reactor/pool.rs",
        text: "users.fetch_sub(1, Ordering::AcqRel)",
        replacement: "users.fetch_sub(1, Ordering::Release)",
        model: "lease_return::two_returns_against_finish",
    },
    Mutant {
        name: "lease: whether it was the last is read later",
        file: "reactor/pool.rs",
        text: "        if users.fetch_sub(1, Ordering::AcqRel) == 1 {",
        replacement: "        users.fetch_sub(1, Ordering::AcqRel);
        if users.load(Ordering::Acquire) == 0 {",
        model: "lease_return::two_returns_against_finish",
    },
    Mutant {
        name: "pool: a buffer is free when its filler is done",
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
        name: "return: reads first whether the owner starves",
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
        name: "return: reads again whether all is back",
        file: "reactor/pool/shared.rs",
        text: "        let new = old | bits;",
        replacement: "        // SAFETY: none.
        let new = unsafe { this.as_ref() }.returns.load(Ordering::Acquire);",
        model: "lease_return::returns_against_the_end",
    },
    Mutant {
        name: "pool: ends without the free buffers",
        file: "reactor/pool.rs",
        text: "self.watch.end(self.free);",
        replacement: "self.watch.end(0);",
        model: "lease_return::returns_against_the_end",
    },
    // Received ahead.
    Mutant {
        name: "inbound: a waker is registered without a second check",
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
        name: "inbound: an arrival wakes no reader",
        file: "reactor/socket/inbound.rs",
        text: "        state.add(lease);
        state.readers.wake(wakes);",
        replacement: "        state.add(lease);",
        model: "inbound::arrivals_against_reader",
    },
    Mutant {
        name: "waiting: a reader's waker replaces another's",
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
        name: "inbound: a read of a part takes all",
        file: "reactor/socket/inbound.rs",
        text: "lease.advance(bytes);",
        replacement: "lease.advance(lease.len());",
        model: "inbound::cap_against_reader",
    },
    Mutant {
        name: "inbound: cancels for each arrival past the cap",
        file: "reactor/socket/receiving.rs",
        text: "Home if full => *self = Stopping,",
        replacement: "Home if full => {}",
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
        name: "inbound: the end comes before queued bytes",
        file: "reactor/socket/inbound.rs",
        text: "        if !self.queue.is_empty() {
            let mut queue",
        replacement: "        if !self.queue.is_empty() && self.end.is_none() {
            let mut queue",
        model: "inbound::error_against_reader",
    },
    Mutant {
        name: "inbound: an error is returned for ever",
        file: "reactor/socket/inbound.rs",
        text: "            self.end = Some(End::Eof);
",
        replacement: "",
        model: "inbound::error_against_reader",
    },
    Mutant {
        name: "inbound: the end of a receive wakes no reader",
        file: "reactor/socket/inbound.rs",
        text: "        state.receiving.ended(starved);
        state.readers.wake(wakes);",
        replacement: "        state.receiving.ended(starved);",
        model: "inbound::starvation_against_reader",
    },
    Mutant {
        name: "inbound: a receive that has ended counts as armed",
        file: "reactor/socket/inbound.rs",
        text: "        state.receiving.ended(starved);
        state.readers.wake(wakes);",
        replacement: "        let _ = starved;
        state.readers.wake(wakes);",
        model: "inbound::starvation_against_reader",
    },
    Mutant {
        name: "inbound: starved for ever",
        file: "reactor/socket/receiving.rs",
        text: "(Starved, true) => (Reader, Answer::Read),",
        replacement: "",
        model: "inbound::starvation_against_reader",
    },
    Mutant {
        name: "inbound: starved, and no reader is sent to read",
        file: "reactor/socket/receiving.rs",
        text: "_ if starved => Starved,",
        replacement: "_ if starved => Reader,",
        model: "inbound::starvation_against_reader",
    },
    Mutant {
        name: "inbound: a reset is forgotten",
        file: "reactor/socket/receiving.rs",
        text: "Last | Final => Final,",
        replacement: "",
        model: "inbound::reset_against_reader",
    },
    // Receiving for a stuck worker.
    Mutant {
        name: "try_borrow: receives also if another thread has it",
        file: "reactor/uring/claim.rs",
        text: "        if taken.is_ok() {
            receive();",
        replacement: "        {
            receive();",
        model: "claim::turns_against_look",
    },
    Mutant {
        name: "take: does not wait for a borrower",
        file: "reactor/uring/claim.rs",
        text: "        if self.0.swap(TAKEN, Ordering::Acquire) == TAKEN {",
        replacement: "        if self.0.swap(TAKEN, Ordering::Acquire) > WITHHELD {",
        model: "claim::turns_against_look",
    },
    Mutant {
        name: "give_back: may be borrowed with completions left behind",
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
        name: "receive_instead: wakes no reader",
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
    Mutant {
        name: "slot: an event leaves the note of a read, and its count comes round",
        file: "reactor/slot.rs",
        text: "        self.drained.store(NEVER, Ordering::Relaxed);
        // Release: what the kernel",
        replacement: "        // Release: what the kernel",
        model: "unit test reactor::slot::tests::note_of_a_read_is_gone_when_the_count_comes_round",
    },
    // Homes that move.
    Mutant {
        name: "moves: a request during a move is forgotten",
        file: "reactor/uring/moves.rs",
        text: "self.leaving[at].requests |= requests & !(FLUSH | STALE_RECV | END_RECV);",
        replacement: "",
        model: "unit test reactor::uring::tests::moves::what_is_asked_for_on_the_way_is_asked_of_the_new_home",
    },
    Mutant {
        name: "moves: operations in flight go on after the move",
        file: "reactor/uring/moves.rs",
        text: "            if leaving.socket.flights.any_wait() {",
        replacement: "            if false {",
        model: "unit test reactor::uring::tests::gifts::homes_that_move_all_the_time_lose_no_byte_and_no_wake",
    },
    Mutant {
        name: "moves: a home that keeps the socket forgets requests to it",
        file: "reactor/uring/moves.rs",
        text: "                _ => self.answer(&socket, requests),",
        replacement: "                _ => {}",
        model: "unit test reactor::uring::tests::gifts::homes_that_move_all_the_time_lose_no_byte_and_no_wake",
    },
    Mutant {
        name: "moves: a request for a socket that has left is answered by the old home",
        file: "reactor/uring/mod.rs",
        text: "            match socket.home_other_than(&shared) {
                // It has left",
        replacement: "            match socket.home_other_than(&shared).filter(|_| false) {
                // It has left",
        model: "unit test reactor::uring::tests::moves::request_that_comes_late_goes_on_to_the_new_home",
    },
    Mutant {
        name: "moves: a rescuer reads for a home that has given the socket away",
        file: "reactor/uring/rescue.rs",
        text: "if !socket.has_left(self) {",
        replacement: "{",
        model: "unit test reactor::uring::tests::moves::who_comes_late_for_a_socket_that_has_left_reads_nothing_of_it",
    },
];
