//! Which side takes a socket's bytes out of the kernel: every state, and every edge.
//!
//! The *reader* takes them by recv(2), when the socket is ready. Or its *home* does, the worker
//! in whose ring a receive is armed, and queues them for the reader. Never both at once, or the
//! order of the bytes would be lost.
//!
//! | state | [`ask`](Receiving::ask), may arm | [`ask`](Receiving::ask), may not | [`arrived`](Receiving::arrived), full | [`ended`](Receiving::ended) | ... without memory | [`hung_up`](Receiving::hung_up) |
//! |---|---|---|---|---|---|---|
//! | `Reader`: the reader takes them | `Home`, `Arm` | `Read` | - | `Reader` | `Starved` | `Final` |
//! | `Starved`: the home had no memory: the reader takes them once | `Reader`, `Read` | `Read` | - | `Reader` | `Starved` | `Final` |
//! | `Final`: the connection is over: the reader takes what is left | `Read` | `Read` | - | `Final` | `Final` | `Final` |
//! | `Home`: a receive is armed | `Wait` | `Wait` | `Stopping`, `Stop` | `Reader` | `Starved` | `Last` |
//! | `Stopping`: the receive is cancelled, since too much is unread | `Wait` | `Wait` | `Stopping` | `Reader` | `Starved` | `Last` |
//! | `Last`: the receive is cancelled, since the connection is over | `Wait` | `Wait` | `Last`, `Stop` | `Final` | `Final` | `Last` |
//!
//! A dash: no receive is armed, so that none brings anything. `Stop` in `Last` asks for a second
//! cancel: the first may have missed a receive that the kernel was just working on.
//!
//! The other cells of a read, and how each depends on the state:
//!
//! | cell | where | with the state |
//! |---|---|---|
//! | the receive in flight | `InFlight::recv`, home only | is there in `Home`, `Stopping` and `Last`, once the home has heard of it, and in no other state |
//! | the poll in flight | `InFlight::poll`, home only | reports arrivals in `Reader`, `Starved` and `Final` alone: beside a receive it leaves them out |
//! | ready or not | the [slot](crate::reactor::slot) | counts for the reader in `Reader`, `Starved` and `Final` alone |
//! | queued bytes, the end | [`Inbound`](super::Inbound), same lock | any: what is queued comes first, then the end, then the state is asked |
//! | whether a receive was ever armed, whether the last look found nothing | [`Inbound`](super::Inbound), no lock | hints, which save the lock or a clone |

/// Which side takes the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiving {
    Reader,
    Starved,
    Final,
    Home,
    Stopping,
    Last,
}

/// What a reader that finds nothing queued has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Take the bytes itself.
    Read,
    /// Have the home arm a receive.
    Arm,
    /// Wait for what the home receives.
    Wait,
}

use Receiving::{Final, Home, Last, Reader, Starved, Stopping};

impl Receiving {
    /// A reader has found nothing queued. `may_arm`: it wants the home to receive.
    pub(super) fn ask(&mut self, may_arm: bool) -> Answer {
        let (next, answer) = match (*self, may_arm) {
            (Reader, true) => (Home, Answer::Arm),
            (Starved, true) => (Reader, Answer::Read),
            (Reader | Starved | Final, _) => (*self, Answer::Read),
            (Home | Stopping | Last, _) => (*self, Answer::Wait),
        };
        *self = next;
        answer
    }

    /// The receive has brought bytes. `full`: more are unread than may be. `true`: the receive is
    /// to be cancelled.
    pub(super) fn arrived(&mut self, full: bool) -> bool {
        match *self {
            Home if full => *self = Stopping,
            Last if full => {}
            _ => return false,
        }
        true
    }

    /// The receive has ended, or could not be armed. `starved`: for lack of memory.
    pub(super) fn ended(&mut self, starved: bool) {
        *self = match *self {
            Last | Final => Final,
            _ if starved => Starved,
            _ => Reader,
        };
    }

    /// The peer has reset the connection, or both ways are shut: no receive is armed from here on.
    pub(super) fn hung_up(&mut self) {
        *self = if self.is_at_home() { Last } else { Final };
    }

    /// Whether the home takes the bytes, and the reader must not.
    pub(super) fn is_at_home(self) -> bool {
        matches!(self, Home | Stopping | Last)
    }

    /// Whether another thread may receive in the place of a home that is held.
    pub(super) fn may_be_rescued(self) -> bool {
        matches!(self, Home | Last)
    }

    /// Whether the connection is over.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Final | Last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table at the head of this file, row by row.
    #[test]
    fn edges_are_those_of_the_table() {
        use Answer::{Arm, Read, Wait};
        type Row = (
            Receiving,
            (Receiving, Answer),
            (Receiving, Answer),
            Option<(Receiving, bool)>,
            [Receiving; 3],
        );
        let table: [Row; 6] = [
            (Reader, (Home, Arm), (Reader, Read), None, [Reader, Starved, Final]),
            (Starved, (Reader, Read), (Starved, Read), None, [Reader, Starved, Final]),
            (Final, (Final, Read), (Final, Read), None, [Final, Final, Final]),
            (Home, (Home, Wait), (Home, Wait), Some((Stopping, true)), [Reader, Starved, Last]),
            (
                Stopping,
                (Stopping, Wait),
                (Stopping, Wait),
                Some((Stopping, false)),
                [Reader, Starved, Last],
            ),
            (Last, (Last, Wait), (Last, Wait), Some((Last, true)), [Final, Final, Last]),
        ];
        for (state, may_arm, may_not, full, [ended, starved, hung_up]) in table {
            let edge = |f: &dyn Fn(&mut Receiving)| {
                let mut next = state;
                f(&mut next);
                next
            };
            let ask = |may_arm| {
                let mut next = state;
                let answer = next.ask(may_arm);
                (next, answer)
            };
            assert_eq!(ask(true), may_arm, "{state:?} asks, may arm");
            assert_eq!(ask(false), may_not, "{state:?} asks, may not arm");
            if let Some(full) = full {
                let mut next = state;
                assert!(!next.arrived(false) && next == state, "{state:?}: there is room");
                let stops = next.arrived(true);
                assert_eq!((next, stops), full, "{state:?} is full");
            }
            assert_eq!(edge(&|state| state.ended(false)), ended, "{state:?} ends");
            assert_eq!(edge(&|state| state.ended(true)), starved, "{state:?} starves");
            assert_eq!(edge(&Receiving::hung_up), hung_up, "{state:?} hangs up");
        }
    }
}
