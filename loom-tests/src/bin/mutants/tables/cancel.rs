//! The rules of cancellation: one mistake for each, which its unit test has to notice.

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
        text: "        if same {
            return;",
        replacement: "        if same || self.0.parent.is_some() {
            return;",
        model: "unit test future::tests::rule_3_region_follows_who_polls_it",
    },
    Mutant {
        name: "cancel: a region is told and not woken",
        file: "task/cancel/region.rs",
        text: "        node.set_waker(cx.waker());
        let Some(told)",
        replacement: "        let Some(told)",
        model: "unit test future::tests::rule_4_regions_are_reached_by_their_own_wakers",
    },
    Mutant {
        name: "cancel: a scope is asked and not woken",
        file: "task/cancel/node.rs",
        text: "        self.wake();
        first",
        replacement: "        first",
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
        name: "cancel: a task that was woken has no further turn",
        file: "task/state.rs",
        text: "        if now & TOLD != 0 || now & ABORT != 0 || !(yielded || now & NOTIFIED != 0) {",
        replacement: "        if now & TOLD == 0 || yielded {",
        model: "unit test future::tests::rule_8_task_that_was_woken_has_one_more_turn",
    },
    Mutant {
        name: "cancel: a region that is held keeps the scope",
        file: "task/cancel/node.rs",
        text: "|links| links.deaf = true",
        replacement: "|_| ()",
        model: "unit test future::tests::rule_9_region_that_nobody_polls_is_passed_over",
    },
    Mutant {
        name: "cancel: an outer region is told with the inner one",
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
        name: "cancel: a region that was told ends though one has appeared inside",
        file: "task/cancel/region.rs",
        text: "        if node.has_below() {",
        replacement: "        if false {",
        model: "unit test future::tests::rule_12_region_that_appears_inside_hears_first",
    },
    Mutant {
        name: "cancel: a consumed request stands",
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
];
