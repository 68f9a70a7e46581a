//! The mutants of a socket's requests to its ring.

use crate::run::Mutant;

/// By protocol.
#[rustfmt::skip]
pub const SENDING: &[Mutant] = &[
    // Requests to a ring.
    Mutant {
        name: "mailbox: the sender checks without a fence",
        file: "reactor/uring/mailbox.rs",
        text: "        fence(Ordering::SeqCst);
        // Relaxed, both: ordered by the fences.",
        replacement: "        // Relaxed, both.",
        model: "ring_mailbox::one_request_for_each",
    },
    Mutant {
        name: "mailbox: the owner checks without a fence",
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
        name: "mailbox: the end sees nothing of a node's new home",
        file: "reactor/uring/mailbox.rs",
        text: "requests.swap(0, Ordering::AcqRel)",
        replacement: "requests.swap(0, Ordering::Release)",
        model: "ring_mailbox::next_home_against_close",
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
        name: "mailbox: closes without the mark",
        file: "reactor/uring/mailbox.rs",
        text: "        self.closed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);",
        replacement: "        fence(Ordering::SeqCst);",
        model: "ring_mailbox::requests_against_close",
    },
    Mutant {
        name: "mailbox: a closed one seems awake",
        file: "reactor/uring/mailbox.rs",
        text: "return Sent::Closed;",
        replacement: "return Sent::Awake;",
        model: "ring_mailbox::requests_against_close",
    },
    // The send machine.
    Mutant {
        name: "outbound: a direct call without a check of the phase",
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
        name: "outbound: queued bytes go before the rest of a short send",
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
        name: "waiting: a waker is registered after the check",
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
        name: "outbound: the last send wakes no writer",
        file: "reactor/socket/outbound.rs",
        text: "        state.phase = Phase::Idle;
        state.writers.wake(wakes);
        let gave_up",
        replacement: "        state.phase = Phase::Idle;
        let gave_up",
        model: "outbound::writer_waits_for_room",
    },
    Mutant {
        name: "waiting: no waker is registered where there was room a moment ago",
        file: "reactor/socket/waiting.rs",
        text: "    let mut locked = state.locked();
    if has_to_wait(&locked) && ",
        replacement: "    let waits = has_to_wait(&state.locked());
    let mut locked = state.locked();
    if waits && ",
        model: "outbound::two_wait_for_room",
    },
    Mutant {
        name: "waiting: a writer's waker replaces another's",
        file: "reactor/socket/waiting.rs",
        text: "        waiting.wakers.push(waker);
",
        replacement: "        waiting.wakers = [waker].into_iter().collect();
",
        model: "outbound::two_wait_for_room",
    },
    Mutant {
        name: "outbound: an error is not kept",
        file: "reactor/socket/outbound.rs",
        text: "        self.error = Some(error);
",
        replacement: "        let _ = error;
",
        model: "outbound::error_against_writer",
    },
    Mutant {
        name: "outbound: an error is returned again",
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
        name: "outbound: idle with an error that was not returned",
        file: "reactor/socket/outbound.rs",
        text: "state.phase == Phase::Idle && state.error.is_none()",
        replacement: "state.phase == Phase::Idle",
        model: "outbound::error_against_writer",
    },
    Mutant {
        name: "outbound: bytes that were given up are sent",
        file: "reactor/socket/outbound.rs",
        text: "if state.abandoned && unsent(sent)",
        replacement: "if state.abandoned && unsent(sent) && sent < chunk.len()",
        model: "outbound::given_up_against_writer",
    },
    Mutant {
        name: "outbound: the loss of bytes is returned only once",
        file: "reactor/socket/outbound.rs",
        text: "        if self.abandoned {
            self.error = error;
        }
",
        replacement: "",
        model: "outbound::given_up_against_writer",
    },
    Mutant {
        name: "outbound: the end of the home wakes no writer",
        file: "reactor/socket/outbound.rs",
        text: "            state.give_up();
        }
        state.writers.wake(wakes);",
        replacement: "            state.give_up();
        }",
        model: "outbound::orphaned_against_writer",
    },
    Mutant {
        name: "outbound: a send outlives its home",
        file: "reactor/socket/outbound.rs",
        text: "        self.fail(ABANDONED);
        self.phase = Phase::Idle;",
        replacement: "        self.fail(ABANDONED);",
        model: "outbound::orphaned_against_writer",
    },
    Mutant {
        name: "outbound: goes on behind a gap",
        file: "reactor/socket/outbound.rs",
        text: "        self.abandoned = true;
        self.fail(ABANDONED);",
        replacement: "        self.fail(ABANDONED);",
        model: "outbound::orphaned_against_writer",
    },
    Mutant {
        name: "outbound: a chunk is taken back from before others",
        file: "reactor/socket/outbound.rs",
        text: "        if state.queue.len() > 1 {",
        replacement: "        if false {",
        model: "outbound::taken_back_against_writer",
    },
    Mutant {
        name: "outbound: others stay behind a chunk that is taken back",
        file: "reactor/socket/outbound.rs",
        text: "        if state.queue.len() > 1 {
            state.give_up();",
        replacement: "        if state.queue.len() > 1 {
            let _ = state.queue.pop_front();",
        model: "outbound::taken_back_against_writer",
    },
    Mutant {
        name: "outbound: a flush is not woken when a chunk is taken back",
        file: "reactor/socket/outbound.rs",
        text: "        state.phase = Phase::Idle;
        state.writers.wake(wakes);
        TakenBack::Chunk(chunk)",
        replacement: "        state.phase = Phase::Idle;
        TakenBack::Chunk(chunk)",
        model: "outbound::taken_back_against_writer",
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
];
