//! From names to addresses, and back.

use std::{io, net::SocketAddr, panic::Location};

use super::addr::{ToSocketAddrs, sealed::Target};
use crate::{
    blocking::{self, Kind},
    runtime::Handle,
    task::Task,
};

/// The addresses of a name, as the system knows it, or the runtime's own [resolver](crate::Builder::resolver).
///
/// The system is asked on a [thread that is kept for that](crate::Builder::name_threads): its call cannot be
/// interrupted, and each server that is silent holds one for ten seconds. Addresses and numeric hosts are
/// returned at once. Nothing is cached, least of all a failure.
///
/// asyncio: `loop.getaddrinfo`.
///
/// # Cancel safety
///
/// Nothing is lost. A look-up by the system that has begun goes on by itself and is forgotten; it is not waited for. That
/// of a resolver is dropped.
///
/// # Errors
///
/// The name has no address, or the text is no `host:port`.
///
/// ```
/// ringloop::run(async {
///     let addrs = ringloop::net::lookup_host("127.0.0.1:80").await.unwrap();
///     assert_eq!(addrs[0].port(), 80);
/// });
/// ```
#[doc(alias = "getaddrinfo")]
pub async fn lookup_host(name: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    Ok(find(name).await?.addrs)
}

/// The names of an address and of a port, as the system knows them: `("localhost", "http")`. Where there is no
/// name, it is the number as text.
///
/// The system is asked on a [thread that is kept for that](crate::Builder::name_threads), also where the runtime has
/// a resolver of its own, which knows names only. The name is what the owner of the address says: look its addresses
/// up before you trust it.
///
/// asyncio: `loop.getnameinfo`.
///
/// # Cancel safety
///
/// Nothing is lost; a look-up that has begun goes on by itself and is forgotten.
///
/// # Errors
///
/// The system's servers for names did not answer.
///
/// ```
/// ringloop::run(async {
///     let (host, service) = ringloop::net::lookup_addr(([127, 0, 0, 1], 80).into()).await.unwrap();
///     assert!(!host.is_empty() && !service.is_empty());
/// });
/// ```
#[doc(alias = "getnameinfo")]
pub async fn lookup_addr(addr: SocketAddr) -> io::Result<(String, String)> {
    let handle = Handle::try_current().map_err(io::Error::other)?;
    let names = on_lane(&handle, move || blocking::name_of(addr)).await;
    names.map_err(|error| cannot_look_up(&addr.ip().to_string(), error))
}

/// What there is to connect or to bind to.
pub(super) struct Found {
    pub(super) addrs: Vec<SocketAddr>,
    /// They are those of a name.
    pub(super) by_name: bool,
}

pub(super) async fn find(name: impl ToSocketAddrs) -> io::Result<Found> {
    let target = name.target();
    // Not held across the look-up: it need not be `Send`.
    drop(name);
    match target? {
        Target::Addrs(addrs) => Ok(Found { addrs, by_name: false }),
        Target::Name(host, port) => {
            let found = look_up(&host, port).await;
            let addrs = found.map_err(|error| cannot_look_up(&host, error))?;
            Ok(Found { addrs, by_name: true })
        }
    }
}

async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let handle = Handle::try_current().map_err(io::Error::other)?;
    let addrs: Vec<_> = match handle.resolver() {
        Some(resolver) => {
            let ips = resolver.resolve(host).await?;
            ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
        }
        None => {
            let name = host.to_owned();
            on_lane(&handle, move || blocking::resolve(&name, port)).await?
        }
    };
    match addrs.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
        false => Ok(addrs),
    }
}

fn cannot_look_up(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot look up {what:?}: {error}"))
}

/// Runs `f` on the threads for names. Dropped, it does not wait for the thread.
async fn on_lane<T: Send + 'static>(
    handle: &Handle,
    f: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let job = handle.start_blocking(Kind::Names, f, Location::caller());
    let mut job = Forgotten(job);
    (&mut job.0).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// A job that is given up with this: it ends if it is still queued, and is left to itself if not. A
/// [`join`](Task::join) would wait for it.
struct Forgotten<T>(Task<T>);

impl<T> Drop for Forgotten<T> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;
    use crate::time::timeout;

    #[test]
    fn look_up_that_never_ends_is_not_waited_for() {
        // Goal: a timeout around a look-up ends in time, though the system's call does not; method: a job on the
        // threads for names that ends when the test says so.
        crate::run(async {
            let handle = Handle::current();
            let (end, ended) = mpsc::channel::<()>();
            let job = on_lane(&handle, move || {
                let _ = ended.recv_timeout(Duration::from_secs(60));
                Ok(())
            });
            assert!(timeout(Duration::from_millis(20), job).await.is_err());
            // Only now: with a wait for the thread, the line above would not have been reached in time.
            end.send(()).expect("the job still runs");
        });
    }
}
