//! The name that a client asks for.
//!
//! rustls shows it to the resolver of certificates, and nowhere else in its unbuffered interface. The
//! resolver runs inside of the call that gets the client's first records, on the same thread.

use std::{cell::Cell, sync::Arc};

use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

thread_local! {
    static ASKED_FOR: Cell<Option<Box<str>>> = const { Cell::new(None) };
}

/// The name that was asked for in the call of rustls that has just returned.
pub(super) fn take() -> Option<Box<str>> {
    ASKED_FOR.take()
}

/// A configuration that leaves the name for [`take`].
pub(super) fn watched(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.cert_resolver = Arc::new(Watched(config.cert_resolver));
    Arc::new(config)
}

#[derive(Debug)]
struct Watched(Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for Watched {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        ASKED_FOR.set(hello.server_name().map(Box::from));
        self.0.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.0.only_raw_public_keys()
    }
}
