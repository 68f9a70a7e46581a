//! The operations that are in the kernel, by the number that each carries.
//!
//! An entry holds what the kernel uses: memory, descriptor. It is taken by the operation's terminal
//! completion and by nothing else (S1). Numbers are used again with another generation, so that a
//! late completion is not taken for that of a newer operation (S2).

use std::{os::fd::AsRawFd, sync::Arc};

use io_uring::types::Fd;

use super::owned::Complete;
use crate::reactor::socket::{Chunk, Socket};

/// An operation, and what it keeps alive.
pub(super) enum Flight {
    /// Reports readiness, again and again, to the socket's slot of that generation.
    Poll(Arc<Socket>, u32),
    /// Receives into lent memory, again and again.
    Recv(Arc<Socket>),
    /// Sends a chunk that the operation owns.
    Send(Arc<Socket>, Box<Chunk>),
    /// Waits for room to send the chunk.
    Room(Arc<Socket>, Box<Chunk>),
    /// Works on memory that it owns itself.
    Owned(Arc<dyn Complete>),
    /// In the hands of the code that handles one of its completions.
    InHand,
}

/// How an entry names a socket. One function for all operations, so that registered files would
/// change only this.
pub(super) fn target(socket: &Socket) -> Fd {
    Fd(socket.as_raw_fd())
}

/// What an operation that is over leaves behind, to be dropped where foreign destructors may
/// run.
#[expect(dead_code, reason = "held to be dropped")]
pub(super) enum Spent {
    Flight(Flight),
    Socket(Arc<Socket>, Option<Chunk>),
}

/// The worker's operations. Used by its thread alone.
#[derive(Default)]
pub(super) struct Flights {
    places: Vec<Entry>,
    free: Vec<u32>,
}

/// Two have a cache line: each completion touches one.
#[repr(align(32))]
struct Entry {
    generation: u32,
    flight: Option<Flight>,
}

const _: () = assert!(size_of::<Entry>() == 32);

/// The number of an operation: index and generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlightId(u64);

impl FlightId {
    pub(super) fn from_user_data(user_data: u64) -> Self {
        Self(user_data)
    }

    pub(super) fn user_data(self) -> u64 {
        self.0
    }

    /// The number, or none, as a field of a socket has it.
    pub(crate) fn to_cell(id: Option<Self>) -> u64 {
        id.map_or(0, |id| id.0 + 1)
    }

    pub(crate) fn from_cell(cell: u64) -> Option<Self> {
        cell.checked_sub(1).map(Self)
    }

    fn index(self) -> usize {
        self.0 as u32 as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl Flights {
    /// An operation that is about to be submitted.
    pub(super) fn begin(&mut self, flight: Flight) -> FlightId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Entry { generation: 0, flight: None });
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[index as usize];
        place.flight = Some(flight);
        FlightId(u64::from(place.generation) << 32 | u64::from(index))
    }

    /// The operation of that number, if it is still the same.
    pub(super) fn get(&mut self, id: FlightId) -> Option<&mut Flight> {
        let place = self.places.get_mut(id.index())?;
        if place.generation == id.generation() { place.flight.as_mut() } else { None }
    }

    /// Its terminal completion has come.
    pub(super) fn end(&mut self, id: FlightId) -> Option<Flight> {
        let place = self.places.get_mut(id.index())?;
        if place.generation != id.generation() {
            return None;
        }
        let flight = place.flight.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.index() as u32);
        Some(flight)
    }

    /// Those of what is in flight.
    pub(super) fn each_socket(&self, mut f: impl FnMut(&Arc<Socket>)) {
        for flight in self.places.iter().filter_map(|place| place.flight.as_ref()) {
            match flight {
                Flight::Poll(socket, _)
                | Flight::Recv(socket)
                | Flight::Send(socket, _)
                | Flight::Room(socket, _) => f(socket),
                Flight::Owned(_) | Flight::InHand => {}
            }
        }
    }

    pub(super) fn any_send(&self) -> bool {
        let sends = |flight: &Flight| matches!(flight, Flight::Send(..) | Flight::Room(..));
        self.places.iter().any(|place| place.flight.as_ref().is_some_and(sends))
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reactor::Endpoint;

    fn flight() -> Flight {
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        Flight::Poll(Socket::new(Endpoint::Kernel(socket.into())), 0)
    }

    #[test]
    fn numbers_are_used_again_with_another_generation() {
        let mut flights = Flights::default();
        let first = flights.begin(flight());
        assert_eq!(flights.len(), 1);
        assert!(flights.get(first).is_some());
        assert!(flights.end(first).is_some());
        assert_eq!(flights.len(), 0);
        let second = flights.begin(flight());
        assert_eq!(first.index(), second.index());
        assert!(flights.get(first).is_none());
        assert!(flights.end(first).is_none());
        assert!(flights.end(second).is_some());
        assert!(flights.end(second).is_none());
    }
}
