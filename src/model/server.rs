//! [`net::Server`](crate::net::Server)'s record of its connections, without tasks.
#![allow(missing_docs)]

use std::{net::IpAddr, sync::Arc};

use crate::net::server::clients as inner;

/// [`inner::Clients`].
#[derive(Clone)]
pub struct Clients(Arc<inner::Clients>);

/// [`inner::Listening`].
pub struct Listening(#[allow(dead_code, reason = "it is dropped")] inner::Listening);

/// [`inner::Entry`].
pub struct Entry(#[allow(dead_code, reason = "it is dropped")] inner::Entry);

impl Clients {
    /// At most so many connections of one peer.
    pub fn new(per_peer: Option<usize>) -> Self {
        let limits = inner::Limits { connections: None, per_peer };
        Self(Arc::new(inner::Clients::new(limits)))
    }

    pub fn listening(&self) -> Listening {
        Listening(self.0.clone().listening())
    }

    pub fn enter(&self, peer: Option<IpAddr>) -> Option<Entry> {
        self.0.enter(peer, None).map(Entry)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn is_accepting(&self) -> bool {
        self.0.is_accepting()
    }

    pub async fn all_gone(&self) {
        self.0.all_gone().await;
    }
}
