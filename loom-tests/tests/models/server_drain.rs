//! The end of a server against a connection that comes, and against one that ends.
//!
//! Code: `net/server/clients.rs` as it is, with `sync/notify.rs`. There are no tasks: a thread of the model's accepts,
//! and others are the connections.
//!
//! Properties: the wait for the end is over when nobody listens and no connection is left, and not before; it does
//! end, else loom reports a deadlock. A peer's connections are counted until they end.
//!
//! Actors: one that accepts and then closes its listener; one or two connections; one that waits.
//!
//! Bound: 4 threads.

use std::net::{IpAddr, Ipv4Addr};

use loom::thread;
use loom_tests::explore;
use ringloop::model::server::Clients;

use crate::tasks::wait_for;

/// The listener accepts a last connection while another task waits for the end.
#[test]
fn drain_against_accept() {
    explore(|| {
        let clients = Clients::new(None);
        let listening = clients.listening();
        let accepts = clients.clone();
        let acceptor = thread::spawn(move || {
            let entry = accepts.enter(None).expect("there is no limit");
            let served = thread::spawn(move || drop(entry));
            drop(listening);
            served.join().unwrap();
        });
        wait_for(clients.all_gone());
        assert!(clients.is_empty() && !clients.is_accepting());
        acceptor.join().unwrap();
    });
}

/// Two connections end at once, and the listener with them.
#[test]
fn drain_against_ends() {
    explore(|| {
        let clients = Clients::new(None);
        let listening = clients.listening();
        let ends: Vec<_> = (0..2)
            .map(|_| {
                let entry = clients.enter(None).expect("there is no limit");
                thread::spawn(move || drop(entry))
            })
            .collect();
        drop(listening);
        wait_for(clients.all_gone());
        assert!(clients.is_empty());
        for end in ends {
            end.join().unwrap();
        }
    });
}

/// A peer at its limit comes again while its connection ends: it is refused, or counted once.
#[test]
fn limit_of_a_peer_against_the_end_of_its_connection() {
    explore(|| {
        let clients = Clients::new(Some(1));
        let peer = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let first = clients.enter(peer).expect("it is the first");
        let end = thread::spawn(move || drop(first));
        let second = clients.enter(peer);
        end.join().unwrap();
        assert_eq!(clients.len(), usize::from(second.is_some()));
        assert_eq!(clients.enter(peer).is_some(), second.is_none());
    });
}
