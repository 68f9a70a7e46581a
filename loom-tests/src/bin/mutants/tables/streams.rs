//! The mutants of what waits to be sent by streams and transports, and of a server's connections.

use crate::run::Mutant;

/// By protocol.
#[rustfmt::skip]
pub const STREAMS: &[Mutant] = &[
    Mutant {
        name: "outgoing: a write gets ahead of the pump",
        file: "io/outgoing.rs",
        text: "        if !self.pumping {
            if let Err(error) = self.write_now",
        replacement: "        if true {
            if let Err(error) = self.write_now",
        model: "outgoing::write_against_the_end_of_the_pump",
    },
    Mutant {
        name: "outgoing: the end of a pump wakes nobody",
        file: "io/outgoing.rs",
        text: "        self.wake_owner();
        Poll::Ready(())",
        replacement: "        Poll::Ready(())",
        model: "outgoing::close_against_data",
    },
    Mutant {
        name: "outgoing: a queue below its low mark still counts as above the high one",
        file: "io/outgoing.rs",
        text: "                self.is_above = false;
                self.wake_owner();",
        replacement: "                self.wake_owner();",
        model: "outgoing::pause_against_room",
    },
    Mutant {
        name: "outgoing: the pump of a dropped owner does not close the stream",
        file: "io/outgoing.rs",
        text: "            self.closing = Closing::Asked;
            self.wake_pump();",
        replacement: "            self.wake_pump();",
        model: "outgoing::drop_against_the_pump",
    },
    Mutant {
        name: "outgoing: the pump does not see that the stream is lost",
        file: "io/outgoing.rs",
        text: "        if self.lost.is_some() {
            return Poll::Ready(());
        }
        let Poll::Ready(sent)",
        replacement: "        let Poll::Ready(sent)",
        model: "outgoing::abort_against_the_pump",
    },
    Mutant {
        name: "outgoing: a pump that has ended gives the stream up when it is dropped",
        file: "io/outgoing.rs",
        text: "        self.ended = polled.is_ready();",
        replacement: "",
        model: "outgoing::write_against_the_end_of_the_pump",
    },
    Mutant {
        name: "server: the last connection ends without a word",
        file: "net/server/clients.rs",
        text: "        let is_last = state.running.is_empty();",
        replacement: "        let is_last = false;",
        model: "server_drain::drain_against_ends",
    },
    Mutant {
        name: "server: a listener closes without a word",
        file: "net/server/clients.rs",
        text: "        self.0.state.lock().listening -= 1;
        self.0.changed.notify_waiters();",
        replacement: "        self.0.state.lock().listening -= 1;",
        model: "server_drain::drain_against_accept",
    },
    Mutant {
        name: "server: a connection that has ended still counts for its peer",
        file: "net/server/clients.rs",
        text: "            *count -= 1;",
        replacement: "",
        model: "server_drain::limit_of_a_peer_against_the_end_of_its_connection",
    },
];
