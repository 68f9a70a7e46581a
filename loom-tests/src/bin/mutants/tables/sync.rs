//! The mutants of `sync/`, without queues and channels.

use crate::run::Mutant;

/// By file, from the list up.
#[rustfmt::skip]
pub const SYNC: &[Mutant] = &[
    // The list.
    Mutant {
        name: "grant: the waiter is granted before its waker is taken out",
        file: "sync/wait_list.rs",
        text: "        let waker = self.unlink(first);
        // Release: pairs with `Waiter::status`. Nothing of the waiter is touched after it.
        first.status.store(status, Ordering::Release);",
        replacement: "        first.status.store(status, Ordering::Release);
        let waker = self.unlink(first);",
        model: "sync_lock::granted_then_cancelled",
    },
    Mutant {
        name: "grant: publishes nothing",
        file: "sync/wait_list.rs",
        text: "        first.status.store(status, Ordering::Release);",
        replacement: "        first.status.store(status, Ordering::Relaxed);",
        model: "sync_semaphore::new_waker_against_grant",
    },
    Mutant {
        name: "status: sees nothing of what came with the grant",
        file: "sync/wait_list.rs",
        text: "        match self.status.load(Ordering::Acquire) {",
        replacement: "        match self.status.load(Ordering::Relaxed) {",
        model: "sync_semaphore::new_waker_against_grant",
    },
    Mutant {
        name: "poll_queued: keeps the first waker",
        file: "sync/wait_list.rs",
        text: "    if waiter.status() == Status::Queued
        && !list(",
        replacement: "    if false
        && !list(",
        model: "sync_semaphore::new_waker_against_grant",
    },
    Mutant {
        name: "unlink: the list still ends at a removed waiter",
        file: "sync/wait_list.rs",
        text: "            None => self.last = prev,",
        replacement: "            None => {}",
        model: "sync_semaphore::cancel_against_release",
    },
    Mutant {
        name: "remove: removes a waiter that has been granted",
        file: "sync/wait_list.rs",
        text: "        if waiter.status() != Status::Queued {
            return None;
        }
        // W3",
        replacement: "        // W3",
        model: "sync_semaphore::cancel_against_release",
    },
    // Permits.
    Mutant {
        name: "take: sees nothing of what was done with the permit before",
        file: "sync/permits.rs",
        text: "                word - (needed << SHIFT),
                Ordering::Acquire,",
        replacement: "                word - (needed << SHIFT),
                Ordering::Relaxed,",
        model: "sync_semaphore::hand_over",
    },
    Mutant {
        name: "release: publishes nothing",
        file: "sync/permits.rs",
        text: "                word + (count << SHIFT),
                Ordering::Release,",
        replacement: "                word + (count << SHIFT),
                Ordering::Relaxed,",
        model: "sync_semaphore::hand_over",
    },
    Mutant {
        name: "release: overlooks waiters",
        file: "sync/permits.rs",
        text: "        while word & WAITERS == 0 {",
        replacement: "        loop {",
        model: "sync_semaphore::hand_over",
    },
    Mutant {
        name: "join_list: does not mark the word",
        file: "sync/permits.rs",
        text: "            let marked = word & WAITERS != 0",
        replacement: "            let marked = true",
        model: "sync_semaphore::hand_over",
    },
    Mutant {
        name: "join_list: does not check again with the lock",
        file: "sync/permits.rs",
        text: "        while check(word, needed) == Err(Refusal::TooFew) {",
        replacement: "        loop {",
        model: "sync_semaphore::hand_over",
    },
    Mutant {
        name: "check: takes permits that are kept for the first waiter",
        file: "sync/permits.rs",
        text: "    } else if word & WAITERS != 0 && needed > 0 || word >> SHIFT < needed {",
        replacement: "    } else if word >> SHIFT < needed {",
        model: "sync_semaphore::permits_left_in_the_word_publish",
    },
    Mutant {
        name: "grant: what was done with permits in the word is not seen",
        file: "sync/permits.rs",
        text: "        let word = self.word.load(Ordering::Acquire);
        if word & WAITERS == 0 {",
        replacement: "        let word = self.word.load(Ordering::Relaxed);
        if word & WAITERS == 0 {",
        model: "sync_semaphore::permits_left_in_the_word_publish",
    },
    Mutant {
        name: "grant: permits left in the word are not published",
        file: "sync/permits.rs",
        text: "        self.word.store(permits << SHIFT | word & CLOSED | waiters, Ordering::Release);",
        replacement: "        self.word.store(permits << SHIFT | word & CLOSED | waiters, Ordering::Relaxed);",
        model: "sync_semaphore::permits_left_in_the_word_publish",
    },
    Mutant {
        name: "grant: ends with the first batch",
        file: "sync/permits.rs",
        text: "            if !more {
                return;
            }
            count = 0;",
        replacement: "            return;",
        model: "sync_semaphore::batches",
    },
    Mutant {
        name: "grant: adds the permits again with each batch",
        file: "sync/permits.rs",
        text: "            count = 0;
",
        replacement: "",
        model: "sync_semaphore::batches",
    },
    Mutant {
        name: "leave: keeps permits that it was granted meanwhile",
        file: "sync/permits.rs",
        text: "            if waiter.status() == Status::Granted {
                self",
        replacement: "            if false {
                self",
        model: "sync_semaphore::cancel_against_release",
    },
    Mutant {
        name: "leave: gives back permits that it was refused",
        file: "sync/permits.rs",
        text: "            if waiter.status() == Status::Granted {
                self",
        replacement: "            if true {
                self",
        model: "sync_semaphore::close_against_cancel",
    },
    Mutant {
        name: "grant: goes on beside a close",
        file: "sync/permits.rs",
        text: "            let enough = needed <= permits && word & CLOSED == 0;",
        replacement: "            let enough = needed <= permits;",
        model: "sync_semaphore::close_against_cancel",
    },
    Mutant {
        name: "leave: the waiters behind it are not granted",
        file: "sync/permits.rs",
        text: "        let more = self.grant(&mut list, 0, &mut wakers);
        drop(list);
        wakers.wake_all();
        panic",
        replacement: "        let more = false;
        drop(list);
        wakers.wake_all();
        panic",
        model: "sync_semaphore::large_one_leaves",
    },
    Mutant {
        name: "drop: keeps permits that it was granted",
        file: "sync/permits.rs",
        text: "                Status::Granted => this.permits.release(*this.needed),",
        replacement: "                Status::Granted => {}",
        model: "sync_lock::granted_then_cancelled",
    },
    Mutant {
        name: "close: waiters go on waiting",
        file: "sync/permits.rs",
        text: "            while !wakers.is_full()
",
        replacement: "            while false && !wakers.is_full()
",
        model: "sync_semaphore::close_against_acquire_and_release",
    },
    Mutant {
        name: "close: publishes nothing",
        file: "sync/permits.rs",
        text: "            self.word.fetch_or(CLOSED, Ordering::Release);",
        replacement: "            self.word.fetch_or(CLOSED, Ordering::Relaxed);",
        model: "sync_semaphore::close_publishes",
    },
    Mutant {
        name: "leave: gives back one of many granted permits",
        file: "sync/permits.rs",
        text: "            if waiter.status() == Status::Granted {
                self.release(needed);",
        replacement: "            if waiter.status() == Status::Granted {
                self.release(1);",
        model: "sync_semaphore::large_one_leaves_with_what_it_was_granted",
    },
    Mutant {
        name: "leave: wakes with the lock held",
        file: "sync/permits.rs",
        text: "        drop(list);
        wakers.wake_all();
        panic::discard_foreign(waker);",
        replacement: "        wakers.wake_all();
        drop(list);
        panic::discard_foreign(waker);",
        model: "sync_semaphore::waker_uses_the_semaphore",
    },
    Mutant {
        name: "release: ends with the first batch of two",
        file: "sync/permits.rs",
        text: "            if !more {
                return;
            }
            count = 0;",
        replacement: "            return;",
        model: "sync_semaphore::batches_of_two",
    },
    Mutant {
        name: "forget: writes the word without the lock",
        file: "sync/permits.rs",
        text: "        let list = self.waiters.lock();
        let mut forgotten = 0;",
        replacement: "        let list = ();
        let mut forgotten = 0;",
        model: "sync_semaphore::forget_against_release_and_acquire",
    },
    Mutant {
        name: "Permit: merged permits go back twice",
        file: "sync/semaphore.rs",
        text: "        assert!(std::ptr::eq(self.semaphore, other.semaphore), \"permits of two semaphores\");
        self.count += mem::take(&mut other.count);",
        replacement: "        assert!(std::ptr::eq(self.semaphore, other.semaphore), \"permits of two semaphores\");
        self.count += other.count;",
        model: "sync_semaphore::split_and_merge",
    },
    Mutant {
        name: "Permit: split permits go back twice",
        file: "sync/semaphore.rs",
        text: "        self.count = self.count.checked_sub(count)?;
        Some(Self { semaphore: self.semaphore, count })",
        replacement: "        self.count.checked_sub(count)?;
        Some(Self { semaphore: self.semaphore, count })",
        model: "sync_semaphore::split_and_merge",
    },
    Mutant {
        name: "RwLock: a writer that is dropped holds up the readers behind it",
        file: "sync/permits.rs",
        text: "        let more = self.grant(&mut list, 0, &mut wakers);
        drop(list);
        wakers.wake_all();
        panic",
        replacement: "        let more = false;
        drop(list);
        wakers.wake_all();
        panic",
        model: "sync_lock::writer_leaves_while_a_reader_stays",
    },
    // Locks.
    Mutant {
        name: "Lock: free again before its guard is gone",
        file: "sync/lock/guards.rs",
        text: "        let part = NonNull::from(f(&mut guard));
        MappedLockGuard { part, held: guard.held, _part: PhantomData }
    }

    /// A guard for a part of the value, if it is there.",
        replacement: "        let part = NonNull::from(f(&mut guard));
        guard.held.0.release();
        MappedLockGuard { part, held: guard.held, _part: PhantomData }
    }

    /// A guard for a part of the value, if it is there.",
        model: "sync_lock::mapped_and_owned",
    },
    Mutant {
        name: "RwLock: a downgrade lets a writer in",
        file: "sync/rwlock/guards.rs",
        text: "        mem::forget(guard);
        lock.permits.release(WRITE - READ);
        RwLockReadGuard::new(lock)",
        replacement: "        drop(guard);
        lock.permits.try_acquire(READ).ok();
        RwLockReadGuard::new(lock)",
        model: "sync_lock::downgrade",
    },
    Mutant {
        name: "RwLock: a writer takes one permit only",
        file: "sync/rwlock/mod.rs",
        text: "        self.acquire(WRITE).await;
        RwLockWriteGuard::new(self)",
        replacement: "        self.acquire(READ).await;
        RwLockWriteGuard::new(self)",
        model: "sync_lock::readers_and_a_writer",
    },
    // Events.
    Mutant {
        name: "Event: publishes nothing",
        file: "sync/event.rs",
        text: "        raise(&self.set, Ordering::Release);",
        replacement: "        raise(&self.set, Ordering::Relaxed);",
        model: "sync_event::set_against_waits",
    },
    Mutant {
        name: "Event: joins the queue without a check",
        file: "sync/event.rs",
        text: "        if !self.is_set() {
            *waiter",
        replacement: "        if true {
            *waiter",
        model: "sync_event::set_against_waits",
    },
    Mutant {
        name: "Event: set wakes a batch",
        file: "sync/event.rs",
        text: "        while state.waiters.grant_while",
        replacement: "        if state.waiters.grant_while",
        model: "sync_event::set_then_clear",
    },
    Mutant {
        name: "Event: clear sees nothing of what came before the set that it takes back",
        file: "sync/event.rs",
        text: "        self.set.swap(false, Ordering::Acquire);",
        replacement: "        self.set.swap(false, Ordering::Relaxed);",
        model: "sync_event::clear_and_look_against_set",
    },
    Mutant {
        name: "Event: a later load may overtake a clear",
        file: "sync/event.rs",
        text: "        self.set.swap(false, Ordering::Acquire);",
        replacement: "        self.set.store(false, Ordering::Relaxed);",
        model: "sync_event::clear_and_look_against_set",
    },
    // Conditions.
    Mutant {
        name: "Condition: unlocks before it joins the queue",
        file: "sync/condition.rs",
        text: "                self.condition.join_list(self, guard.address(), cx);
                *held = Held::Lock(guard.unlock());",
        replacement: "                let address = guard.address();
                *held = Held::Lock(guard.unlock());
                self.condition.join_list(self, address, cx);",
        model: "sync_condition::notify_against_wait",
    },
    Mutant {
        name: "Condition: keeps the notification when it is dropped",
        file: "sync/condition.rs",
        text: "            this.condition.notify_some(1);",
        replacement: "",
        model: "sync_condition::cancel_against_notify",
    },
    Mutant {
        name: "Condition: uses the notification before it has locked",
        file: "sync/condition.rs",
        text: "        let guard = G::lock_again(held.into_lock()).await;
        // Not before: a notification is used up only when the task can look at the value.
        waiting.finish();",
        replacement: "        waiting.finish();
        let guard = G::lock_again(held.into_lock()).await;",
        model: "sync_condition::cancel_while_it_locks_again",
    },
    Mutant {
        name: "Condition: notify_all wakes one batch only",
        file: "sync/condition.rs",
        text: "        while state.waiters.grant_while",
        replacement: "        if state.waiters.grant_while",
        model: "sync_condition::notify_all_against_cancel",
    },
    Mutant {
        name: "Condition: a wait that gives up keeps an earlier notification",
        file: "sync/condition.rs",
        text: "            end.as_mut().poll(cx).map(|()| waiting.as_mut().give_up())",
        replacement: "            end.as_mut().poll(cx).map(|()| waiting.as_mut().give_up() && false)",
        model: "sync_condition::a_limit_against_notify",
    },
    Mutant {
        name: "Condition: wakes with the lock held",
        file: "sync/condition.rs",
        text: "            let more = self.state.lock().waiters.grant_while(&mut wakers, |_| {
                let some = count > 0;
                count -= usize::from(some);
                some
            });
            wakers.wake_all();",
        replacement: "            let mut state = self.state.lock();
            let more = state.waiters.grant_while(&mut wakers, |_| {
                let some = count > 0;
                count -= usize::from(some);
                some
            });
            wakers.wake_all();
            drop(state);",
        model: "sync_condition::waker_uses_the_condition",
    },
    // Notifications.
    Mutant {
        name: "Notify: nothing is kept for a later wait",
        file: "sync/notify.rs",
        text: "        state.kept |= waker.is_none();",
        replacement: "",
        model: "sync_notify::notify_one_against_wait",
    },
    Mutant {
        name: "Notify: a kept notification is not checked",
        file: "sync/notify.rs",
        text: "        } else if mem::take(&mut state.kept) {",
        replacement: "        } else if false {",
        model: "sync_notify::notify_one_against_wait",
    },
    Mutant {
        name: "Notify: a wait that is dropped keeps its notification",
        file: "sync/notify.rs",
        text: "            if one {
                this",
        replacement: "            if false {
                this",
        model: "sync_notify::granted_then_cancelled",
    },
    Mutant {
        name: "Notify: a wait that is dropped passes on the notification of all",
        file: "sync/notify.rs",
        text: "                Status::Granted => *this.waiter.value_mut() != WITH_ALL,",
        replacement: "                Status::Granted => true,",
        model: "sync_notify::everyone_against_leaver",
    },
    Mutant {
        name: "Notify: notify_waiters wakes one batch only",
        file: "sync/notify.rs",
        text: "        while state.waiters.grant_while",
        replacement: "        if state.waiters.grant_while",
        model: "sync_notify::everyone_against_leaver",
    },
    Mutant {
        name: "Notify: notify_waiters wakes one batch of two only",
        file: "sync/notify.rs",
        text: "        while state.waiters.grant_while",
        replacement: "        if state.waiters.grant_while",
        model: "sync_notify::everyone_in_batches_of_two",
    },
    Mutant {
        name: "Notify: a wait that was made before is not notified with all",
        file: "sync/notify.rs",
        text: "        if state.round != *this.round {",
        replacement: "        if false {",
        model: "sync_notify::made_before_everyone",
    },
    Mutant {
        name: "Notify: wakes with the lock held",
        file: "sync/notify.rs",
        text: "        drop(state);
        if let Some(waker) = waker {
            panic::contain(|| waker.wake());
        }",
        replacement: "        if let Some(waker) = waker {
            panic::contain(|| waker.wake());
        }
        drop(state);",
        model: "sync_notify::waker_uses_it",
    },
    // Barriers.
    Mutant {
        name: "Barrier: a dropped wait is counted",
        file: "sync/barrier.rs",
        text: "                state.arrived -= 1;",
        replacement: "",
        model: "sync_barrier::cancel_against_arrivals",
    },
    Mutant {
        name: "Barrier: all have the same index",
        file: "sync/barrier.rs",
        text: "                index += 1;
",
        replacement: "",
        model: "sync_barrier::three_meet",
    },
    Mutant {
        name: "Barrier: a reset breaks a round that is complete",
        file: "sync/barrier.rs",
        text: "            if slot.is_none() {
                *slot",
        replacement: "            if true {
                *slot",
        model: "sync_barrier::reset_against_completion",
    },
    Mutant {
        name: "Barrier: releases one batch only",
        file: "sync/barrier.rs",
        text: "            if !more {
                return;
            }",
        replacement: "            return;",
        model: "sync_barrier::three_meet",
    },
    // Cells.
    Mutant {
        name: "OnceCell: initialised before its value is stored",
        file: "sync/once_cell.rs",
        text: "        cell.value.with_mut(|place| unsafe { *place = Some(value) });
        cell.permits.close();",
        replacement: "        cell.permits.close();
        cell.value.with_mut(|place| unsafe { *place = Some(value) });",
        model: "sync_once_cell::made_once",
    },
    Mutant {
        name: "OnceCell: a reader sees the word and not the value",
        file: "sync/permits.rs",
        text: "        self.word.load(Ordering::Acquire)
    }",
        replacement: "        self.word.load(Ordering::Relaxed)
    }",
        model: "sync_once_cell::set_against_make_and_get",
    },
    Mutant {
        name: "OnceCell: a dropped initialisation keeps it for ever",
        file: "sync/once_cell.rs",
        text: "        self.0.permits.release(1);",
        replacement: "",
        model: "sync_once_cell::maker_leaves",
    },
];
