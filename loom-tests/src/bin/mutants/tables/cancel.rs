//! The rules of cancellation: one mistake for each, which its unit test must notice. Then mistakes
//! between threads.

use crate::run::Mutant;

pub const CANCEL: &[Mutant] = &[
    Mutant {
        name: "cancel: inner scopes are not searched",
        file: "task/cancel/node.rs",
        text: "                Kind::Scope => child.frontier(into),",
        replacement: "                Kind::Scope => false,",
        model: "unit test future::tests::rule_1_inner_scopes_are_part_of_the_tree",
    },
    Mutant {
        name: "cancel: a panic leaves its frame in the chain",
        file: "task/cancel/frame.rs",
        text: "        let _back = Back { current, frame: outer };
        poll()",
        replacement: "        let polled = poll();
        drop(Back { current, frame: outer });
        polled",
        model: "unit test future::tests::rule_2_panic_leaves_the_chain_in_order",
    },
    Mutant {
        name: "cancel: a region stays where it was first polled",
        file: "task/cancel/node.rs",
        text: "            return;
        }
        if self.0.parent.is_some() {
            self.unlink();",
        replacement: "            return;
        }
        if self.0.parent.is_some() {
            return;",
        model: "unit test future::tests::rule_3_region_follows_who_polls_it",
    },
    Mutant {
        name: "cancel: a region is cancelled and not woken",
        file: "task/cancel/region.rs",
        text: "Node::new_catch(cx.waker())",
        replacement: "Node::new(Kind::Catch)",
        model: "unit test future::tests::rule_4_regions_are_reached_by_their_own_wakers",
    },
    Mutant {
        name: "cancel: a region keeps the waker of its first poll",
        file: "task/cancel/region.rs",
        text: "        node.set_waker(cx.waker());
        let Some(delivery)",
        replacement: "        let Some(delivery)",
        model: "unit test future::tests::rule_4_regions_are_reached_by_their_own_wakers",
    },
    Mutant {
        name: "cancel: a scope is cancelled and not woken",
        file: "future/scope.rs",
        text: "        self.shared.node.wake();
        first && runs",
        replacement: "        first && runs",
        model: "unit test future::tests::rule_5_whoever_asks_wakes_the_scope",
    },
    Mutant {
        name: "cancel: a value wins over a timeout that was delivered",
        file: "task/cancel/scope.rs",
        text: "        self.progress.delivered && !self.is_consumed()",
        replacement: "        false",
        model: "unit test future::tests::rule_6_ready_value_wins_but_not_over_a_timeout_that_was_delivered",
    },
    Mutant {
        name: "cancel: an inner scope acts beside the outer one",
        file: "task/cancel/scope.rs",
        text: "        if frame::is_outer_requested() {
            return Poll::Pending;
        }
",
        replacement: "",
        model: "unit test future::tests::rule_7_outer_scope_acts_first",
    },
    Mutant {
        name: "cancel: a task that was woken has no further poll",
        file: "task/state.rs",
        text: "        if now & LAST_TURN != 0 || now & ABORT != 0 || !(yielded || now & NOTIFIED != 0) {",
        replacement: "        if now & LAST_TURN == 0 || yielded {",
        model: "unit test future::tests::rule_8_task_that_was_woken_has_one_more_turn",
    },
    Mutant {
        name: "cancel: a region that is not polled keeps the scope",
        file: "task/cancel/node.rs",
        text: "|links| links.skipped = true",
        replacement: "|_| ()",
        model: "unit test future::tests::rule_9_region_that_nobody_polls_is_passed_over",
    },
    Mutant {
        name: "cancel: an outer region is cancelled with the inner one",
        file: "task/cancel/node.rs",
        text: "                Kind::Catch if child.frontier(into) => true,",
        replacement: "                Kind::Catch if child.frontier(into) => {
                    into.catches.push(child.clone());
                    true
                }",
        model: "unit test future::tests::rule_10_innermost_region_is_told_first",
    },
    Mutant {
        name: "cancel: a mask is not waited for",
        file: "task/cancel/node.rs",
        text: "                Kind::Mask => {
                    into.masks.push(child.clone());
                    true
                }",
        replacement: "                Kind::Mask => false,",
        model: "unit test future::tests::rule_11_scope_waits_for_the_end_of_a_mask",
    },
    Mutant {
        name: "cancel: a region that was cancelled ends though one has appeared inside",
        file: "task/cancel/region.rs",
        text: "        if node.has_below() || !frame::is_around(&delivery.by) {",
        replacement: "        if !frame::is_around(&delivery.by) {",
        model: "unit test future::tests::rule_12_region_that_appears_inside_hears_first",
    },
    Mutant {
        name: "cancel: a consumed request stays",
        file: "task/cancel/node.rs",
        text: "        self.request.swap(CONSUMED, Ordering::AcqRel);",
        replacement: "",
        model: "unit test future::tests::rule_13_request_stands_until_it_is_consumed",
    },
    Mutant {
        name: "cancel: a mask lets requests from outside through",
        file: "task/cancel/frame.rs",
        text: "            Kind::Mask => return false,",
        replacement: "            Kind::Mask => {}",
        model: "unit test future::tests::rule_14_scopes_inside_a_mask_work_as_always",
    },
    Mutant {
        name: "cancel: cleanup is cancelled",
        file: "future/finally.rs",
        text: "    _ = uncancellable(timeout(limit, cleanup)).await;",
        replacement: "    _ = timeout(limit, cleanup).await;",
        model: "unit test future::tests::rule_15_cleanup_is_not_cancelled_and_runs_after_a_panic",
    },
    Mutant {
        name: "cancel: a group that is cancelled does not wait for its children",
        file: "future/group.rs",
        text: "    uncancellable(shared.idle(false)).await;",
        replacement: "    shared.idle(false).await;",
        model: "unit test future::tests::rule_16_group_joins_its_children_and_the_outer_request_stands",
    },
    // Between threads.
    Mutant {
        name: "scope: checks for a request before it registers its waker",
        file: "future/scope.rs",
        text: "        shared.node.set_waker(cx.waker());
        if !shared.node.is_asked() {",
        replacement: "        let asked = shared.node.is_asked();
        shared.node.set_waker(cx.waker());
        if !asked {",
        model: "cancel_scope::cancel_against_poll",
    },
    Mutant {
        name: "scope: is woken before the request is stored",
        file: "future/scope.rs",
        text: "        let mut noted = self.shared.cause.lock();
        // Under the lock: a thread that finds the request finds its cause.
        let first = self.shared.node.ask();
        if first {
            *noted = Some(cause);
        }
        drop(noted);
        self.shared.node.wake();",
        replacement: "        self.shared.node.wake();
        let mut noted = self.shared.cause.lock();
        let first = self.shared.node.ask();
        if first {
            *noted = Some(cause);
        }
        drop(noted);",
        model: "cancel_scope::cancel_against_poll",
    },
    Mutant {
        name: "scope: the request is stored before its cause",
        file: "future/scope.rs",
        text: "        let mut noted = self.shared.cause.lock();
        // Under the lock: a thread that finds the request finds its cause.
        let first = self.shared.node.ask();",
        replacement: "        let first = self.shared.node.ask();
        let mut noted = self.shared.cause.lock();",
        model: "cancel_scope::regions_are_told_once",
    },
    Mutant {
        name: "scope: the last cause replaces that of the first request",
        file: "future/scope.rs",
        text: "        if first {
            *noted = Some(cause);",
        replacement: "        {
            *noted = Some(cause);",
        model: "cancel_scope::regions_are_told_once",
    },
    Mutant {
        name: "scope: registers no waker once it has consumed a request",
        file: "future/scope.rs",
        text: "        shared.node.set_waker(cx.waker());",
        replacement: "        if !shared.node.is_consumed() {
            shared.node.set_waker(cx.waker());
        }",
        model: "cancel_scope::consume_against_cancel",
    },
    Mutant {
        name: "scope: no request is possible after a consumed one",
        file: "task/cancel/node.rs",
        text: "self.request.fetch_or(ASKED, Ordering::AcqRel) & ASKED == 0",
        replacement: "self.request.fetch_or(ASKED, Ordering::AcqRel) == 0",
        model: "cancel_scope::consume_against_cancel",
    },
    Mutant {
        name: "mask: a scope that waits does not check again",
        file: "task/cancel/scope.rs",
        text: "            if now.masks.len() < frontier.masks.len() {",
        replacement: "            if false {",
        model: "cancel_scope::mask_dropped_elsewhere",
    },
    Mutant {
        name: "mask: its drop wakes no scope",
        file: "task/cancel/node.rs",
        text: "        if self.node().kind() == Kind::Mask {
            // A scope waits",
        replacement: "        if false {
            // A scope waits",
        model: "cancel_scope::mask_dropped_elsewhere",
    },
    Mutant {
        name: "mask: takes the waker of a scope before it is unlinked",
        file: "task/cancel/node.rs",
        text: "        self.unlink();
        // The delivered request refers to the tree, and wakers to tasks: there are no cycles after
        // this.
        let mut links = self.node().links.lock();
        let (delivery, waker) = (links.delivered.take(), links.waker.take());
        drop(links);",
        replacement: "        let mut links = self.node().links.lock();
        let (delivery, waker) = (links.delivered.take(), links.waker.take());
        drop(links);
        self.unlink();",
        model: "cancel_scope::mask_dropped_elsewhere",
    },
    Mutant {
        name: "mask: moves, and the scope that waits for it is not woken",
        file: "task/cancel/node.rs",
        text: "if self.kind() == Kind::Mask { links.waker.take() } else { None }",
        replacement: "if false { links.waker.take() } else { None }",
        model: "cancel_scope::mask_ends_elsewhere",
    },
    Mutant {
        name: "mask: a scope that waits for it is not woken when another one begins to",
        file: "task/cancel/node.rs",
        text: "            && !old.will_wake(waker)
        {",
        replacement: "            && false
        {",
        model: "cancel_scope::mask_moves_and_is_dropped",
    },
    Mutant {
        name: "region: is cancelled by a scope that it has left",
        file: "task/cancel/region.rs",
        text: "if node.has_below() || !frame::is_around(&delivery.by) {",
        replacement: "if node.has_below() {",
        model: "cancel_scope::region_polled_elsewhere",
    },
    Mutant {
        name: "region: is dropped, and refers to the scope that lists it",
        file: "task/cancel/node.rs",
        text: "        self.unlink();
        // The delivered request refers to the tree, and wakers to tasks: there are no cycles after
        // this.
        let mut links = self.node().links.lock();
        let (delivery, waker) = (links.delivered.take(), links.waker.take());",
        replacement: "        let mut links = self.node().links.lock();
        let (delivery, waker) = (None::<Delivery>, links.waker.take());",
        model: "cancel_scope::region_dropped_elsewhere",
    },
    // A task that consumes.
    Mutant {
        name: "consume: a request comes between its cause and its bit",
        file: "task/extra.rs",
        text: "        let requested = state.request(abort);
        drop(first);
        requested",
        replacement: "        drop(first);
        state.request(abort)",
        model: "cancel_task::consume_against_cancel",
    },
    Mutant {
        name: "consume: a request comes between the bit and its cause",
        file: "task/extra.rs",
        text: "        state.consume_request();
        let consumed = noted.take();",
        replacement: "        drop(noted);
        state.consume_request();
        let mut noted = self.get_or_make().noted.lock();
        let consumed = noted.take();",
        model: "cancel_task::consume_against_cancel",
    },
    Mutant {
        name: "consume: a cause that went with another request is not noted again",
        file: "task/extra.rs",
        text: "        if let Some(asked) = asked
            && let Some(extension) = self.get()",
        replacement: "        if let Some(asked) = asked
            && false
            && let Some(extension) = self.get()",
        model: "cancel_task::cause_before_the_extension",
    },
    Mutant {
        name: "consume: a cause is noted again for a request that was consumed",
        file: "task/extra.rs",
        text: "noted.is_none() && state.load().is_cancelled()",
        replacement: "noted.is_none()",
        model: "cancel_task::cause_before_the_extension",
    },
    // Groups.
    Mutant {
        name: "group: takes a late child after its end",
        file: "future/group.rs",
        text: "                    state.closed = Some(Closed::Finished);",
        replacement: "",
        model: "group_exit::late_spawn_against_exit",
    },
    Mutant {
        name: "group: a child is accepted and counted in two steps",
        file: "future/group.rs",
        text: "            return false;
        }
        state.running += 1;",
        replacement: "            return false;
        }
        drop(state);
        let mut state = self.state.lock();
        state.running += 1;",
        model: "group_exit::late_spawn_against_exit",
    },
    Mutant {
        name: "group: checks for children, and registers its waker later",
        file: "future/group.rs",
        text: "            let old = state.waiter.replace(new);
            drop(state);",
        replacement: "            drop(state);
            let old = self.state.lock().waiter.replace(new);",
        model: "group_exit::last_child_against_wait",
    },
    Mutant {
        name: "group: the last child does not wake the group",
        file: "future/group.rs",
        text: "if state.running == 0 { state.waiter.take() } else { None }",
        replacement: "None::<Waker>",
        model: "group_exit::last_child_against_wait",
    },
    Mutant {
        name: "group: a child is listed after the others were cancelled",
        file: "future/group.rs",
        text: "        if let Some(Closed::Cancelled(cause)) = &state.closed {
            return Err(cause.clone());
        }
",
        replacement: "",
        model: "group_exit::cancel_against_first_poll",
    },
    Mutant {
        name: "group: a child that finds the group closed goes on",
        file: "future/group.rs",
        text: "Err(cause) => task::cancel_current(&cause),",
        replacement: "Err(_) => {}",
        model: "group_exit::cancel_against_first_poll",
    },
    Mutant {
        name: "group: closes only after it has cancelled its children",
        file: "future/group.rs",
        text: "        state.closed = Some(Closed::Cancelled(cause.clone()));
        let children = std::mem::take(&mut state.children);
        state.free.clear();
        drop(state);",
        replacement: "        let children = std::mem::take(&mut state.children);
        state.free.clear();
        drop(state);
        self.state.lock().closed = Some(Closed::Cancelled(cause.clone()));",
        model: "group_exit::late_spawn_against_cancel",
    },
    Mutant {
        name: "group: does not cancel its children",
        file: "future/group.rs",
        text: "            child.cancel_by(cause);",
        replacement: "            drop(child);",
        model: "group_exit::late_spawn_against_outer_cancel",
    },
    Mutant {
        name: "group: its future is dropped, and it stays open",
        file: "future/group.rs",
        text: "        self.0.close(&Cause::new(cause));",
        replacement: "        drop(cause);",
        model: "group_exit::late_spawn_against_drop",
    },
    // Shielded tasks.
    Mutant {
        name: "shield: a request ends the shielded task",
        file: "task/cancel/scope.rs",
        text: "        if frontier.catches.is_empty() {",
        replacement: "        if frontier.catches.is_empty() {
            return Poll::Ready(());
        }
        if frontier.catches.is_empty() {",
        model: "shield::cancel_against_end",
    },
    Mutant {
        name: "shield: the result stays after its watcher was dropped",
        file: "task/state.rs",
        text: "Err(_complete) => Detach::DropOutput,",
        replacement: "Err(_complete) => Detach::Nothing,",
        model: "shield::drop_against_end",
    },
    Mutant {
        name: "shield: a panic that no watcher gets is not reported",
        file: "task/state.rs",
        text: "            (false, _) => Complete::DropOutput,",
        replacement: "            (false, _) => Complete::Keep,",
        model: "shield::drop_against_panic",
    },
    Mutant {
        name: "shield: a watcher that waits again registers no new waker",
        file: "task/handle.rs",
        text: "(*waiter).as_ref().is_some_and(|old| old.will_wake(cx.waker()))",
        replacement: "(*waiter).is_some()",
        model: "shield::watcher_gives_up_against_end",
    },
    // Timeouts.
    Mutant {
        name: "timeout: its timer's end is read without the lock",
        file: "reactor/timers/node.rs",
        text: "        let mut kept = self.node.waker.lock();
        // Asked under the lock: see `Node::end`.
        let end = self.node.ended();",
        replacement: "        let end = self.node.ended();
        let mut kept = self.node.waker.lock();",
        model: "timeout_ends::poll_against_fire",
    },
    Mutant {
        name: "timeout: is cancelled, and takes a timer that has fired for an armed one",
        file: "reactor/timers/node.rs",
        text: "            && is_armed_in(node, owner, armed, timers.mailbox())",
        replacement: "            && ptr::eq(owner, timers.mailbox())",
        model: "timeout_ends::cancel_against_fire",
    },
    Mutant {
        name: "timeout: its drop does not disarm its timer",
        file: "runtime/deadline.rs",
        text: "        if self.entry.is_some() {
            self.disarm();
        }",
        replacement: "        std::mem::forget(self.entry.take());",
        model: "timeout_ends::drop_against_fire",
    },
    Mutant {
        name: "timeout: is dropped elsewhere, and takes the waker while the rescuer uses it",
        file: "reactor/timers/node.rs",
        text: "        let waker = node.waker.lock().take();",
        replacement: "        let waker = unsafe { node.waker.with_exclusive(Option::take) };",
        model: "timeout_ends::drop_elsewhere_against_fire",
    },
    Mutant {
        name: "timeout: a timer that has fired counts for the new time",
        file: "runtime/deadline.rs",
        text: "timers.rearm(entry, at)) == Some(true) {",
        replacement: "timers.rearm(entry, at)).is_some() {",
        model: "timeout_ends::reschedule_against_fire",
    },
    Mutant {
        name: "timeout: a new time is set, and the scope that waits for the old one is not woken",
        file: "future/scope.rs",
        text: "        self.shared.node.renew();
        self.shared.node.wake();",
        replacement: "        self.shared.node.renew();",
        model: "timeout_ends::reschedule_to_the_past",
    },
    // Joining.
    Mutant {
        name: "join: registers its waker with a task that has ended meanwhile",
        file: "task/state.rs",
        text: "self.update(|now| (now & COMPLETE == 0).then_some(now | WAITER)).is_ok()",
        replacement: "self.update(|now| Some(now | WAITER)).is_ok()",
        model: "task_state::join_against_cancel_and_end",
    },
];
