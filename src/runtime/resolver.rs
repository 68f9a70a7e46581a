//! What looks names up, where the program brings it.

use std::{future::Future, io, net::IpAddr, pin::Pin, sync::Arc};

use super::{Builder, Handle};
use crate::blocking::Lookups;

/// Looks names up in place of the system: see [`Builder::resolver`].
///
/// The future runs in the task that asks. It is dropped when that task is cancelled, or its time is over. Nothing is
/// cached: a resolver that is asked again may look again, or have a cache of its own.
///
/// asyncio: an event loop of one's own with another `getaddrinfo`.
///
/// ```
/// use std::{collections::HashMap, io, net::IpAddr, pin::Pin};
/// use ringloop::net::{Resolver, lookup_host};
///
/// /// Knows some names, and no others.
/// struct Table(HashMap<String, IpAddr>);
///
/// impl Resolver for Table {
///     fn resolve<'a>(
///         &'a self,
///         host: &'a str,
///     ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
///         Box::pin(async move {
///             match self.0.get(host) {
///                 Some(ip) => Ok(vec![*ip]),
///                 None => Err(io::Error::new(io::ErrorKind::NotFound, "no such host")),
///             }
///         })
///     }
/// }
///
/// let table = Table([("db".to_owned(), [127, 0, 0, 1].into())].into());
/// ringloop::Builder::new()
///     .resolver(table)
///     .run(async {
///         let addrs = lookup_host("db:5432").await.unwrap();
///         assert_eq!(addrs, ["127.0.0.1:5432".parse().unwrap()]);
///         assert!(lookup_host("unknown:1").await.is_err());
///     })
///     .unwrap();
/// ```
pub trait Resolver: Send + Sync + 'static {
    /// The addresses of `host`, in the order in which to try them. No addresses are an error for the one that asks.
    /// `host` is never a numeric address.
    ///
    /// # Errors
    ///
    /// Why there is no address; the one that asks gets it, with the name.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;
}

impl<R: Resolver + ?Sized> Resolver for Arc<R> {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        (**self).resolve(host)
    }
}

/// What looks names up.
pub(super) struct Names {
    /// In place of the system.
    resolver: Option<Arc<dyn Resolver>>,
    /// What the system is being asked for.
    lookups: Arc<Lookups>,
}

impl Names {
    pub(super) fn new(resolver: Option<Arc<dyn Resolver>>) -> Self {
        Self { resolver, lookups: Arc::default() }
    }
}

impl Builder {
    /// What looks names up for [`lookup_host`](crate::net::lookup_host), and wherever a name is connected or bound to.
    /// Numeric addresses never get there. Default: the system, by getaddrinfo(3) on
    /// [threads of its own](Self::name_threads).
    pub fn resolver(mut self, resolver: impl Resolver) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }
}

impl Handle {
    /// What the program has brought to look names up.
    pub(crate) fn resolver(&self) -> Option<Arc<dyn Resolver>> {
        self.inner.names.resolver.clone()
    }

    /// The names that the system is being asked for.
    pub(crate) fn lookups(&self) -> &Arc<Lookups> {
        &self.inner.names.lookups
    }
}
