//! The mutants of queues, channels and futures of one value.

use crate::run::Mutant;

/// By primitive.
#[rustfmt::skip]
pub const QUEUES: &[Mutant] = &[
    Mutant {
        name: "SpinLock: taken without seeing what was done while it was held",
        file: "loom/spin.rs",
        text: "compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed)",
        replacement: "compare_exchange(false, true, Ordering::Relaxed, Ordering::Relaxed)",
        model: "spin_lock::two_add",
    },
    Mutant {
        name: "SpinLock: taken by a second try whether it is free or not",
        file: "loom/spin.rs",
        text: "if !self.locked.load(Ordering::Relaxed) && self.try_take() {",
        replacement: "if !self.locked.swap(true, Ordering::Acquire) || rounds > 1 {",
        model: "spin_lock::two_add",
    },
    Mutant {
        name: "oneshot: a wait is not woken",
        file: "sync/oneshot.rs",
        text: "                if let Waiter::Task(waker) = waiter {
                    panic::contain(|| waker.wake());
                }",
        replacement: "                let _ = waiter;",
        model: "sync_oneshot::set_against_wait",
    },
    Mutant {
        name: "oneshot: no second check after the waker was cloned",
        file: "sync/oneshot.rs",
        text: "            if !matches!(state.outcome, Outcome::Pending) {
                if !current::budget_spend() {",
        replacement: "            if new.is_none() && !matches!(state.outcome, Outcome::Pending) {
                if !current::budget_spend() {",
        model: "sync_oneshot::break_against_wait",
    },
    Mutant {
        name: "oneshot: the promise is not woken",
        file: "sync/oneshot.rs",
        text: "        if let Some(waker) = promise {
            panic::contain(|| waker.wake());
        }",
        replacement: "        let _ = promise;",
        model: "sync_oneshot::leave_against_cancelled",
    },
    Mutant {
        name: "oneshot: a value is set though it cannot be taken",
        file: "sync/oneshot.rs",
        text: "        if !matches!(state.outcome, Outcome::Pending) {
            drop(state);
            return Err(result.ok());
        }",
        replacement: "",
        model: "sync_oneshot::leave_against_cancelled",
    },
    Mutant {
        name: "SharedFuture: decided twice",
        file: "sync/shared_future.rs",
        text: "        if state.outcome.is_some() {
            drop(state);
            drop(outcome);
            return false;
        }",
        replacement: "",
        model: "sync_shared_future::set_against_cancel",
    },
    Mutant {
        name: "SharedFuture: no second check after the waker was cloned",
        file: "sync/shared_future.rs",
        text: "            if let Some(outcome) = state.outcome.clone() {",
        replacement: "            if let (None, Some(outcome)) = (&new, state.outcome.clone()) {",
        model: "sync_shared_future::set_against_waits",
    },
    Mutant {
        name: "SharedFuture: keeps a deferred that is done",
        file: "sync/shared_future.rs",
        text: "let theirs: Weak<Shared<T>> = Arc::downgrade(&shared);",
        replacement: "let theirs: Weak<Shared<T>> = Arc::downgrade(&shared);
        std::mem::forget(shared.clone());",
        model: "sync_shared_future::leave_against_cancelled",
    },
    Mutant {
        name: "queue: a granted getter that is dropped passes nothing on",
        file: "sync/queue/exchange.rs",
        text: "            state.promised_items -= 1;
            waker = state.promise_item();",
        replacement: "            state.promised_items -= 1;",
        model: "sync_queue::getter_leaves",
    },
    Mutant {
        name: "queue: a granted putter that is dropped passes nothing on",
        file: "sync/queue/exchange.rs",
        text: "            state.promised_room -= 1;
            waker = state.promise_room();",
        replacement: "            state.promised_room -= 1;",
        model: "sync_queue::putter_leaves",
    },
    Mutant {
        name: "queue: a newcomer takes a reserved item",
        file: "sync/queue/exchange.rs",
        text: "        if self.items.len() > self.promised_items {",
        replacement: "        if self.items.len() > 0 {",
        model: "sync_queue::newcomer_against_granted",
    },
    Mutant {
        name: "queue: no second check after the waker was cloned",
        file: "sync/queue/exchange.rs",
        text: "            match state.take_free(current::budget_spend) {",
        replacement: "            match if new.is_some() { Taken::Nothing } else { state.take_free(current::budget_spend) } {",
        model: "sync_queue::new_waker_against_put",
    },
    Mutant {
        name: "queue: free room is not given to a putter",
        file: "sync/queue/exchange.rs",
        text: "        Ok((item, self.promise_room()))",
        replacement: "        Ok((item, None))",
        model: "sync_queue::putter_leaves",
    },
    Mutant {
        name: "queue: getters are not woken when it has drained",
        file: "sync/queue/exchange.rs",
        text: "        if drained {
            self.refuse_all();
        }",
        replacement: "        let _ = drained;",
        model: "sync_queue::shutdown_against_leaver",
    },
    Mutant {
        name: "queue: reserved room is used after the shutdown",
        file: "sync/queue/exchange.rs",
        text: "        state.promised_room -= 1;
        if state.closed {
            drop(state);
            return Err(item);
        }",
        replacement: "        state.promised_room -= 1;",
        model: "sync_queue::shutdown_against_put_and_get",
    },
    Mutant {
        name: "queue: items that are taken out stay unfinished",
        file: "sync/queue/exchange.rs",
        text: "            work.write_off(items.len());",
        replacement: "            let _ = work;",
        model: "sync_queue::clear_against_put_and_get",
    },
    Mutant {
        name: "join: the last item is counted without the lock",
        file: "sync/queue/work.rs",
        text: "self.count_done(items, |left| left > 0).is_some()",
        replacement: "self.count_done(items, |_| true).is_some()",
        model: "sync_queue::join_sees_the_work",
    },
    Mutant {
        name: "join: does not see the work",
        file: "sync/queue/work.rs",
        text: "                Ordering::AcqRel,
                Ordering::Acquire,",
        replacement: "                Ordering::Relaxed,
                Ordering::Acquire,",
        model: "sync_queue::join_sees_the_work",
    },
    Mutant {
        name: "join: a round that is over ends a later join",
        file: "sync/queue/work.rs",
        text: "*joiner.as_mut().value_mut() = joiners.round;",
        replacement: "*joiner.as_mut().value_mut() = 0;
        joiners.round += 1;",
        model: "sync_queue::join_of_the_next_round",
    },
    Mutant {
        name: "join: no second check under the lock",
        file: "sync/queue/work.rs",
        text: "        // Not under the lock of the last one, the count does not come down to zero.
        if self.unfinished() == 0 {",
        replacement: "        if false {",
        model: "sync_queue::joiner_leaves",
    },
    Mutant {
        name: "join: wakes with the lock held",
        file: "sync/queue/work.rs",
        text: "            drop(joiners);
            wakers.wake_all();
            if !more {",
        replacement: "            wakers.wake_all();
            drop(joiners);
            if !more {",
        model: "sync_queue::wakers_use_the_queue",
    },
    Mutant {
        name: "unfinished: reads the count of puts before the count of done items",
        file: "sync/queue/work.rs",
        text: "        let done = self.done.load(Ordering::Acquire);
        // Relaxed: a caller sees what it has put itself.
        self.put.load(Ordering::Relaxed).wrapping_sub(done)",
        replacement: "        let put = self.put.load(Ordering::Relaxed);
        put.wrapping_sub(self.done.load(Ordering::Acquire))",
        model: "sync_queue::unfinished_is_not_negative",
    },
    Mutant {
        name: "queue: a get that panics keeps its reserved item",
        file: "sync/queue/exchange.rs",
        text: "                let waker = state.promise_item();
                drop(state);
                wake(waker);
                resume_unwind(payload);",
        replacement: "                drop(state);
                resume_unwind(payload);",
        model: "sync_queue::a_get_that_panics_passes_on_its_promise",
    },
    Mutant {
        name: "join: releases one batch and no more",
        file: "sync/queue/work.rs",
        text: "            if !more {
                return;",
        replacement: "            if !more || more {
                return;",
        model: "sync_queue::joiner_leaves",
    },
    Mutant {
        name: "shutdown: refuses one batch of putters and no more",
        file: "sync/queue/exchange.rs",
        text: "            if !more {
                return;",
        replacement: "            if !more || more {
                return;",
        model: "sync_queue::shutdown_against_putter_that_leaves",
    },
    Mutant {
        name: "shutdown: refuses one batch of getters and no more",
        file: "sync/queue/exchange.rs",
        text: "            if !more {
                return;",
        replacement: "            if !more || more {
                return;",
        model: "sync_queue::shutdown_against_getter_that_leaves",
    },
    Mutant {
        name: "shutdown: refuses getters beside an item",
        file: "sync/queue/exchange.rs",
        text: "self.closed && self.items.len() == 0 && !self.getters.is_empty()",
        replacement: "self.closed && !self.getters.is_empty()",
        model: "sync_queue::shutdown_against_getter_that_leaves",
    },
    Mutant {
        name: "stream: a stream that is dropped keeps its item",
        file: "sync/queue/futures.rs",
        text: "            self.exchange.drop_get(getter.as_mut());",
        replacement: "            if getter.status() == crate::sync::wait_list::Status::Queued {
                self.exchange.drop_get(getter.as_mut());
            }",
        model: "sync_channel::stream_leaves",
    },
    Mutant {
        name: "rendezvous: senders are not woken by the drop of the last receiver",
        file: "sync/queue/exchange.rs",
        text: "let waker = state.putters.refuse_front().or_else(|| {",
        replacement: "let waker = None.or_else(|| {",
        model: "sync_channel::rendezvous_last_receiver_leaves",
    },
    Mutant {
        name: "channel: the last sender closes nothing",
        file: "sync/channel.rs",
        text: "            self.shared.exchange.close();",
        replacement: "",
        model: "sync_channel::last_sender_leaves",
    },
    Mutant {
        name: "channel: the last receiver closes nothing",
        file: "sync/channel.rs",
        text: "            let left = self.shared.exchange.clear();",
        replacement: "            let left = ();",
        model: "sync_channel::last_receiver_leaves",
    },
    Mutant {
        name: "rendezvous: the sender is not woken when its item was taken",
        file: "sync/queue/exchange.rs",
        text: "            let wake = self.putters.grant_front();
            return Taken::Item",
        replacement: "            let wake = self.putters.grant_front().filter(|_| false);
            return Taken::Item",
        model: "sync_channel::rendezvous",
    },
    Mutant {
        name: "rendezvous: a sender that is dropped after its item was taken gives room back",
        file: "sync/queue/exchange.rs",
        text: "putter.status() == Status::Granted && state.capacity > 0",
        replacement: "putter.status() == Status::Granted",
        model: "sync_channel::rendezvous_sender_leaves",
    },
    Mutant {
        name: "channel: a sender that waits for the end is not woken by a close",
        file: "sync/channel.rs",
        text: "        let closed = self.shared.exchange.close();
        self.shared.closed.set();",
        replacement: "        let closed = self.shared.exchange.close();",
        model: "sync_channel::reserved_against_close",
    },
    Mutant {
        name: "channel: a weak sender reopens a closed channel",
        file: "sync/channel.rs",
        text: "if senders == 0 { None } else { Some(senders + 1) }",
        replacement: "Some(senders + 1)",
        model: "sync_channel::upgrade_against_last_sender",
    },
    Mutant {
        name: "reserve: room that is given up goes to no other task",
        file: "sync/queue/exchange/room.rs",
        text: "        let waker = state.promise_room();",
        replacement: "        let waker = None;",
        model: "sync_channel::reserver_leaves",
    },
    Mutant {
        name: "reserve: a granted wait for room that is dropped keeps it",
        file: "sync/queue/exchange.rs",
        text: "putter.status() == Status::Granted && state.capacity > 0",
        replacement: "putter.status() == Status::Granted && putter.value_mut().is_some()",
        model: "sync_channel::reserver_leaves",
    },
    Mutant {
        name: "reserve: no second check after the waker was cloned",
        file: "sync/queue/exchange/room.rs",
        text: "        } else if state.has_room() {",
        replacement: "        } else if false {",
        model: "sync_channel::reserve_against_recv",
    },
    Mutant {
        name: "reserve: reserved room is used after the close",
        file: "sync/queue/exchange.rs",
        text: "        state.promised_room -= 1;
        if state.closed {
            drop(state);
            return Err(item);
        }",
        replacement: "        state.promised_room -= 1;",
        model: "sync_channel::reserved_against_close",
    },
    Mutant {
        name: "recv_many: senders are not woken for the room",
        file: "sync/queue/exchange/room.rs",
        text: "waker.into_iter().for_each(|waker| wakers.push(waker));",
        replacement: "drop(waker);",
        model: "sync_channel::many_at_once",
    },
    Mutant {
        name: "broadcast: a receiver that waits is not woken",
        file: "sync/broadcast.rs",
        text: "        if waiting {
            tell(&self.shared.state, ());
        }",
        replacement: "        let _ = waiting;",
        model: "sync_broadcast::send_is_told",
    },
    Mutant {
        name: "broadcast: the end wakes no receiver",
        file: "sync/broadcast.rs",
        text: "        if last {
            tell(&self.shared.state, ());
        }",
        replacement: "        let _ = last;",
        model: "sync_broadcast::receiver_leaves",
    },
    Mutant {
        name: "broadcast: a dropped receiver still counts for the items",
        file: "sync/broadcast.rs",
        text: "        let end = state.end;",
        replacement: "        let end = 0;",
        model: "sync_broadcast::what_all_have_seen_goes",
    },
    Mutant {
        name: "broadcast: a dropped receiver counts off items that are sent meanwhile",
        file: "sync/broadcast.rs",
        text: "                match state.leave(&mut self.next, end) {",
        replacement: "                let end = state.end;
                match state.leave(&mut self.next, end) {",
        model: "sync_broadcast::leaver_against_send",
    },
    Mutant {
        name: "broadcast: an item that all have seen removes the first one in its place",
        file: "sync/broadcast.rs",
        text: "        let seen = if gone && index == 0 {",
        replacement: "        let seen = if gone {",
        model: "sync_broadcast::leaver_of_many",
    },
    Mutant {
        name: "broadcast: a dropped receiver does not remove items that all have seen",
        file: "sync/broadcast.rs",
        text: "        if let Some(seen) = self.pop_seen() {
            return Some(Some(seen));
        }",
        replacement: "",
        model: "sync_broadcast::two_leavers_of_many",
    },
    Mutant {
        name: "broadcast: a dropped receiver releases the lock before it reads for which items it counts",
        file: "sync/broadcast.rs",
        text: "        // What is sent from now on does not count on it.
        let end",
        replacement: "        drop(state);
        state = self.shared.state.lock();
        let end",
        model: "sync_broadcast::leaver_against_send_leaves_nothing",
    },
    Mutant {
        name: "broadcast: a dropped receiver reads for which items it counts, and releases the lock before it is counted off",
        file: "sync/broadcast.rs",
        text: "        let mut state = self.shared.state.lock();
        state.receivers -= 1;
        // What is sent from now on does not count on it.
        let end = state.end;",
        replacement: "        let end = self.shared.state.lock().end;
        let mut state = self.shared.state.lock();
        state.receivers -= 1;",
        model: "sync_broadcast::leaver_against_send_leaves_nothing",
    },
    Mutant {
        name: "until: no second check after the waker was cloned",
        file: "sync/until.rs",
        text: "        if let Some(found) = look(&mut state) {",
        replacement: "        if let (None, Some(found)) = (&new, look(&mut state)) {",
        model: "sync_broadcast::send_against_receivers",
    },
    Mutant {
        name: "watch: a watcher that waits is not woken",
        file: "sync/watch.rs",
        text: "        if waiting {
            tell(&self.state, List::Changed);
        }",
        replacement: "        let _ = waiting;",
        model: "sync_watch::send_is_told",
    },
    Mutant {
        name: "watch: two changes at once",
        file: "sync/watch.rs",
        text: "        let writing = self.shared.writing.lock();
        value",
        replacement: "        let writing = ();
        value",
        model: "sync_watch::no_change_is_lost",
    },
    Mutant {
        name: "watch: the sender is not woken by the drop of the last receiver",
        file: "sync/watch.rs",
        text: "        if last {
            tell(&self.shared.state, List::Closed);
        }",
        replacement: "        let _ = last;",
        model: "sync_watch::last_receiver_leaves",
    },
];
