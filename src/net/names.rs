//! From names to addresses, and back.

use std::{io, net::SocketAddr, panic::Location};

use super::addr::{ToSocketAddrs, sealed::Target};
use crate::{
    blocking::{self, Kind},
    runtime::{Handle, call_on},
};

/// The addresses of a name, as the system knows it, or the runtime's own [resolver](crate::Builder::resolver).
///
/// The system is asked on a [thread that is kept for that](crate::Builder::name_threads): its call cannot be
/// interrupted, and each server that is silent holds one for ten seconds. Addresses and numeric hosts are
/// returned at once. Tasks that ask for one name at the same time share a call. Nothing is kept beyond that, least of all a failure.
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
    let names = call_on(&handle, Kind::Names, move || blocking::name_of(addr)).await;
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
            // Boxed: whatever connects or binds has room for it, and mostly to no purpose.
            let found = Box::pin(look_up(&host, port)).await;
            let addrs = found.map_err(|error| cannot_look_up(&host, error))?;
            Ok(Found { addrs, by_name: true })
        }
    }
}

async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let handle = Handle::try_current().map_err(io::Error::other)?;
    let mut addrs: Vec<_> = match handle.resolver() {
        Some(resolver) => {
            let ips = resolver.resolve(host).await?;
            ips.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect()
        }
        None => by_system(&handle, host, blocking::resolve).await?,
    };
    addrs.iter_mut().for_each(|addr| addr.set_port(port));
    match addrs.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
        false => Ok(addrs),
    }
}

async fn by_system(
    handle: &Handle,
    host: &str,
    resolve: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
) -> io::Result<Vec<SocketAddr>> {
    let start = |job| handle.start_blocking(Kind::Names, job, Location::caller());
    handle.lookups().join(host, resolve, start).answer().await
}

fn cannot_look_up(what: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot look up {what:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        net::Ipv4Addr,
        sync::{Arc, mpsc},
        time::Duration,
    };

    use super::*;
    use crate::{
        loom::global::{AtomicU64, Ordering},
        runtime::{Builder, spawn, yield_now},
        time::timeout,
    };

    const LIMIT: Duration = Duration::from_secs(20);

    /// A call of the system's that ends when the test says so: what ends it, and how often it was made.
    #[derive(Clone)]
    struct Played {
        ends: Arc<parking_lot::Mutex<mpsc::Receiver<io::Result<Vec<SocketAddr>>>>>,
        calls: Arc<AtomicU64>,
    }

    impl Played {
        fn new() -> (mpsc::Sender<io::Result<Vec<SocketAddr>>>, Self) {
            let (end, ends) = mpsc::channel();
            (end, Self { ends: Arc::new(parking_lot::Mutex::new(ends)), calls: Arc::default() })
        }

        fn calls(&self) -> u64 {
            self.calls.load(Ordering::SeqCst)
        }

        async fn look_up(self, host: &str) -> io::Result<Vec<SocketAddr>> {
            let resolve = move |_: &str| {
                self.calls.fetch_add(1, Ordering::SeqCst);
                self.ends.lock().recv_timeout(LIMIT).expect("the test ends it")
            };
            by_system(&Handle::current(), host, resolve).await
        }
    }

    fn addrs(port: u16) -> Vec<SocketAddr> {
        vec![(Ipv4Addr::LOCALHOST, port).into()]
    }

    async fn until(what: impl Fn() -> bool) {
        timeout(LIMIT, async {
            while !what() {
                yield_now().await;
            }
        })
        .await
        .unwrap();
    }

    #[test]
    fn look_up_that_never_ends_is_not_waited_for() {
        // Goal: a timeout around a look-up ends in time, though the system's call does not, and so does a cancel;
        // method: calls that end only when the rest is over.
        crate::run(async {
            let (end, played) = Played::new();
            let soon = Duration::from_millis(20);
            assert!(timeout(soon, played.clone().look_up("a")).await.is_err());
            let waits = spawn(played.clone().look_up("b"));
            until(|| played.calls() > 0).await;
            waits.cancel();
            assert!(waits.await.unwrap_err().is_cancelled());
            let handle = Handle::current();
            let (sender, receiver) = mpsc::channel::<()>();
            let job = call_on(&handle, Kind::Names, move || Ok(receiver.recv_timeout(LIMIT)));
            assert!(timeout(soon, job).await.is_err());
            // Only now: with a wait for the thread, the job would have ended by itself before.
            sender.send(()).expect("the job still runs");
            let _ = end.send(Ok(addrs(0)));
            let _ = end.send(Ok(addrs(0)));
        });
    }

    #[test]
    fn equal_names_are_looked_up_once_at_a_time() {
        // With one worker all that were spawned have asked when the main looks again.
        let main = async {
            let (end, played) = Played::new();
            let ask = |host: &'static str| spawn(played.clone().look_up(host));
            let [first, second, third] = [ask("a"), ask("a"), ask("a")];
            until(|| played.calls() == 1).await;
            // One that gives up takes nothing from the others.
            second.cancel();
            assert!(second.await.is_err());
            end.send(Ok(addrs(7))).unwrap();
            assert_eq!(first.await.unwrap().unwrap(), addrs(7));
            assert_eq!(third.await.unwrap().unwrap(), addrs(7));
            assert_eq!(played.calls(), 1);

            // Nothing is kept, least of all a failure. All that wait get it.
            let both = [ask("a"), ask("a")];
            until(|| played.calls() == 2).await;
            end.send(Err(io::Error::new(io::ErrorKind::NotFound, "no such host"))).unwrap();
            for waits in both {
                let error = waits.await.unwrap().unwrap_err();
                assert_eq!(
                    (error.kind(), error.to_string()),
                    (io::ErrorKind::NotFound, "no such host".into())
                );
            }
            let (one, other) = (ask("a"), ask("b"));
            until(|| played.calls() == 4).await;
            end.send(Ok(addrs(1))).unwrap();
            end.send(Ok(addrs(2))).unwrap();
            let ports = [one.await.unwrap().unwrap(), other.await.unwrap().unwrap()];
            assert!(ports == [addrs(1), addrs(2)] || ports == [addrs(2), addrs(1)], "{ports:?}");
        };
        Builder::new().workers(1).run(main).unwrap();
    }

    #[test]
    fn name_is_looked_up_anew_where_all_have_given_up() {
        // Goal: a call that nobody waits for any more neither answers nor disturbs a later look-up of its name.
        let main = async {
            let (end, played) = Played::new();
            let (late_end, late) = Played::new();
            let gone = spawn(played.clone().look_up("a"));
            until(|| played.calls() == 1).await;
            gone.cancel();
            assert!(gone.await.is_err());
            let second = spawn(late.clone().look_up("a"));
            until(|| late.calls() == 1).await;
            end.send(Ok(addrs(1))).unwrap();
            until(|| Handle::current().metrics().blocking_jobs == 1).await;
            // The end of the first call does not keep a third task from sharing the second.
            let third = spawn(late.clone().look_up("a"));
            yield_now().await;
            late_end.send(Ok(addrs(2))).unwrap();
            assert_eq!(second.await.unwrap().unwrap(), addrs(2));
            assert_eq!(third.await.unwrap().unwrap(), addrs(2));
            assert_eq!(late.calls(), 1);
        };
        Builder::new().workers(1).run(main).unwrap();
    }

    #[test]
    fn look_ups_that_are_queued_end_with_those_that_wait() {
        // Goal: no thread is spent on a name that nobody waits for; method: one thread for names, and a queue.
        let (end, played) = Played::new();
        let calls = played.clone();
        let runtime = Builder::new().workers(1).name_threads(1).build().unwrap();
        let body = async {
            let first = spawn(played.clone().look_up("a"));
            until(|| played.calls() == 1).await;
            let queued = spawn(played.clone().look_up("b"));
            yield_now().await;
            queued.cancel();
            assert!(queued.await.is_err());
            end.send(Ok(addrs(1))).unwrap();
            first.await.unwrap().unwrap();
            let third = spawn(played.clone().look_up("c"));
            end.send(Ok(addrs(3))).unwrap();
            assert_eq!(third.await.unwrap().unwrap(), addrs(3));
        };
        runtime.run(body).unwrap();
        assert_eq!(calls.calls(), 2, "of a and c");
    }

    #[test]
    fn job_that_does_not_run_is_an_error_that_says_why() {
        crate::run(async {
            let handle = Handle::current();
            let refuse = |job| {
                drop(job);
                let task = spawn(pending());
                task.cancel();
                task
            };
            let resolve = |_: &str| unreachable!("it does not run");
            let error = handle.lookups().join("a", resolve, refuse).answer().await.unwrap_err();
            assert!(error.to_string().contains("cancelled"), "{error}");
            // The next one is not held up by it.
            let (end, played) = Played::new();
            end.send(Ok(addrs(1))).unwrap();
            assert_eq!(played.look_up("a").await.unwrap(), addrs(1));
        });
    }
}
