//! The mutants of homes: requests, answers, moves, and ends.

use crate::run::Mutant;

/// By step.
#[rustfmt::skip]
pub const HOMES: &[Mutant] = &[
    // Requests.
    Mutant {
        name: "homes: two workers become the first home at once",
        file: "reactor/source.rs",
        text: "if let Some(alive) = home.clone().filter(Home::is_alive) {",
        replacement: "if let Some(alive) = home.clone().filter(|_| false) {",
        model: "socket_home::two_first_waits",
    },
    Mutant {
        name: "homes: a first home on another worker is not asked to report",
        file: "reactor/source.rs",
        text: "        return io.confirm(&elsewhere, direction, door);",
        replacement: "        return Ok(());",
        model: "socket_home::first_wait_elsewhere",
    },
    Mutant {
        name: "homes: a worker that has ended becomes the first home of a socket that receives",
        file: "reactor/socket/mod.rs",
        text: "let elsewhere = elsewhere().filter(Home::is_alive);",
        replacement: "let elsewhere = elsewhere();",
        model: "socket_home::first_receive_elsewhere_against_end",
    },
    Mutant {
        name: "homes: a worker that has ended becomes the first home of a socket",
        file: "reactor/source.rs",
        text: "(door.elsewhere)().filter(|home| home.is_alive() && io.register_at(home));",
        replacement: "(door.elsewhere)().filter(|home| io.register_at(home));",
        model: "socket_home::first_wait_elsewhere_against_end",
    },
    Mutant {
        name: "homes: a request is not sent to the home on another worker",
        file: "reactor/socket/mod.rs",
        text: "if !at.upgrade().is_some_and(|home| home.send(self, request, &mut left)) {",
        replacement: "if at.upgrade().is_none() {",
        model: "socket_home::question_against_answer",
    },
    Mutant {
        name: "homes: a request in the mailbox is not answered",
        file: "reactor/uring/mod.rs",
        text: "                None => self.answer(&socket, requests),",
        replacement: "                None => {}",
        model: "socket_home::question_against_answer",
    },
    Mutant {
        name: "homes: a poll that has ended is forgotten only after its waiters are woken",
        file: "reactor/uring/poll.rs",
        text: "            socket.flights.poll.set(None);
        }
        let mut ready = u32::try_from(completion.result()).map_or(Ready::NONE, Ready::from_poll);
        if !more(completion.flags()) {
            // It was for one time, or was ended: a task that waits tries again.
            ready = ready.and(Ready::READABLE).and(Ready::WRITABLE);
        }
        socket.event(generation, ready, wakes);",
        replacement: "        }
        let mut ready = u32::try_from(completion.result()).map_or(Ready::NONE, Ready::from_poll);
        if !more(completion.flags()) {
            // It was for one time, or was ended: a task that waits tries again.
            ready = ready.and(Ready::READABLE).and(Ready::WRITABLE);
        }
        socket.event(generation, ready, wakes);
        if !more(completion.flags()) {
            socket.flights.poll.set(None);
        }",
        model: "socket_home::report_against_end",
    },
    // Moving.
    Mutant {
        name: "homes: a request during a move is forgotten",
        file: "reactor/uring/moves.rs",
        text: "self.leaving[at].requests |= requests & !(FLUSH | STALE_RECV | END_RECV);",
        replacement: "",
        model: "socket_home::receive_against_move",
    },
    Mutant {
        name: "homes: a socket moves with its poll in the old ring",
        file: "reactor/uring/moves.rs",
        text: "            if leaving.socket.flights.any_wait() {",
        replacement: "            if false {",
        model: "socket_home::receive_against_move",
    },
    Mutant {
        name: "homes: the old home answers for a socket that has left",
        file: "reactor/uring/mod.rs",
        text: "            match socket.home_other_than(&shared) {
                // It has left",
        replacement: "            match socket.home_other_than(&shared).filter(|_| false) {
                // It has left",
        model: "socket_home::move_against_question_and_drop",
    },
    Mutant {
        name: "homes: a socket that stays is not answered",
        file: "reactor/uring/moves.rs",
        text: "                _ => self.answer(&socket, requests),",
        replacement: "                _ => {}",
        model: "socket_home::move_against_end_of_the_new_home",
    },
    // Moving on epoll.
    Mutant {
        name: "homes: a socket moves to an epoll instance that has closed",
        file: "reactor/epoll.rs",
        text: "        if self.closed.load(Ordering::Relaxed) {",
        replacement: "        if false {",
        model: "epoll_home::move_against_end_of_the_new_home",
    },
    Mutant {
        name: "homes: an epoll instance closes after it has woken what waits there",
        file: "reactor/epoll.rs",
        text: "            self.shared.closed.store(true, Ordering::Relaxed);
            mem::take(&mut *keys)
        };",
        replacement: "            mem::take(&mut *keys)
        };
        self.shared.closed.store(true, Ordering::Relaxed);",
        model: "epoll_home::first_wait_against_end_of_the_home",
    },
    Mutant {
        name: "homes: a socket that moves stays in the former epoll instance",
        file: "reactor/epoll.rs",
        text: "        self.deregister(fd, key);
",
        replacement: "",
        model: "unit test reactor::epoll::tests::socket_that_is_given_away_is_reported_by_its_new_home_alone",
    },
    // Dropping.
    Mutant {
        name: "homes: waits for a socket go on though its owner is gone",
        file: "reactor/uring/mod.rs",
        text: "        if requests & RETIRE != 0 {
            self.cancel_waits(socket);
            self.linger(socket);
            if socket.flights.any_wait() {
                self.retiring.push(socket.clone());
            }",
        replacement: "        if requests & RETIRE != 0 {
            self.linger(socket);",
        model: "socket_home::question_against_drop",
    },
    Mutant {
        name: "homes: a socket whose owner is gone goes on with its move",
        file: "reactor/uring/moves.rs",
        text: "            self.leaving.swap_remove(at);
            return requests;",
        replacement: "            return 0;",
        model: "socket_home::move_against_receive_and_drop",
    },
    // Ending.
    Mutant {
        name: "homes: a home that has closed leaves requests in its mailbox",
        file: "reactor/uring/mod.rs",
        text: "        self.shared.take_orphans(&mut orphans);",
        replacement: "",
        model: "socket_home::question_against_end",
    },
    Mutant {
        name: "homes: a request to a home that has closed stays there",
        file: "reactor/uring/shared.rs",
        text: "                self.take_orphans(left);
                return false;",
        replacement: "                let _ = left;
                return false;",
        model: "socket_home::question_against_end",
    },
    Mutant {
        name: "homes: no task tries again when a home does not answer",
        file: "reactor/uring/shared.rs",
        text: "    socket.event(socket.generation(), Ready::READABLE.and(Ready::WRITABLE), wakes);",
        replacement: "",
        model: "socket_home::question_against_end",
    },
    Mutant {
        name: "homes: no task tries again when there is no home",
        file: "reactor/socket/mod.rs",
        text: "                        self.event(self.generation(), again, left.wakes());",
        replacement: "                        let _ = again;",
        model: "socket_home::question_against_end",
    },
    Mutant {
        name: "homes: a receive that no home will arm is still waited for",
        file: "reactor/uring/shared.rs",
        text: "        socket.inbound.disarmed(false, wakes);",
        replacement: "",
        model: "socket_home::receive_against_end",
    },
    Mutant {
        name: "homes: a home ends with operations in flight",
        file: "reactor/uring/mod.rs",
        text: "        while self.flights.len() > 0 || self.doorbell.is_armed || self.bridged.is_armed {",
        replacement: "        while self.doorbell.is_armed || self.bridged.is_armed {
            mem::forget(mem::take(&mut self.flights));",
        model: "socket_home::drop_against_end",
    },
];
