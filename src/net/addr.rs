//! From names to addresses.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6},
    panic::Location,
};

use crate::{blocking, runtime::Handle};

/// What can be connected or bound to: addresses, or a name and a port.
///
/// Addresses are used as they are; a name is looked up by the system, on a thread of
/// the blocking pool. Implemented for `SocketAddr` and its kin, `(IpAddr, u16)`,
/// `&[SocketAddr]`, and for `"host:port"` and `("host", port)`.
///
/// This trait is sealed.
pub trait ToSocketAddrs: sealed::Sealed {}

impl<T: sealed::Sealed + ?Sized> ToSocketAddrs for T {}

pub(super) mod sealed {
    use super::{SocketAddr, io};

    pub trait Sealed {
        fn target(&self) -> io::Result<Target>;
    }

    pub enum Target {
        Addrs(Vec<SocketAddr>),
        Name(String, u16),
    }
}

use sealed::{Sealed, Target};

macro_rules! addresses {
    ($($t:ty),*) => {$(
        impl Sealed for $t {
            fn target(&self) -> io::Result<Target> {
                Ok(Target::Addrs(vec![SocketAddr::from(*self)]))
            }
        }
    )*};
}

addresses!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), ([u8; 4], u16), ([u16; 8], u16));

impl Sealed for [SocketAddr] {
    fn target(&self) -> io::Result<Target> {
        Ok(Target::Addrs(self.to_vec()))
    }
}

impl Sealed for str {
    fn target(&self) -> io::Result<Target> {
        if let Ok(addr) = self.parse() {
            return Ok(Target::Addrs(vec![addr]));
        }
        let parsed =
            self.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        match parsed {
            Some((host, port)) => (host, port).target(),
            None => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{self:?} is no address: write it as host:port, such as 127.0.0.1:8080"),
            )),
        }
    }
}

impl Sealed for String {
    fn target(&self) -> io::Result<Target> {
        self.as_str().target()
    }
}

impl Sealed for (&str, u16) {
    fn target(&self) -> io::Result<Target> {
        let (host, port) = *self;
        let literal =
            host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Ok(match literal.parse::<IpAddr>() {
            Ok(ip) => Target::Addrs(vec![SocketAddr::new(ip, port)]),
            Err(_) => Target::Name(host.to_owned(), port),
        })
    }
}

impl Sealed for (String, u16) {
    fn target(&self) -> io::Result<Target> {
        (self.0.as_str(), self.1).target()
    }
}

impl<T: Sealed + ?Sized> Sealed for &T {
    fn target(&self) -> io::Result<Target> {
        (**self).target()
    }
}

/// The addresses of a name, as the system knows it.
///
/// asyncio: `loop.getaddrinfo`.
///
/// # Cancel safety
///
/// Nothing is lost; a look-up that has begun goes on by itself and is forgotten.
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
pub async fn lookup_host(name: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    let target = name.target();
    // Not held across the look-up: it need not be `Send`.
    drop(name);
    match target? {
        Target::Addrs(addrs) => Ok(addrs),
        Target::Name(host, port) => {
            let handle = Handle::try_current().map_err(io::Error::other)?;
            let look_up = move || {
                let addrs = blocking::resolve(&host, port);
                (host, addrs)
            };
            let looked_up = handle.start_blocking(look_up, Location::caller());
            match looked_up.join().await {
                Ok((_, Ok(addrs))) => Ok(addrs),
                Ok((host, Err(error))) => {
                    Err(io::Error::new(error.kind(), format!("cannot look up {host:?}: {error}")))
                }
                Err(error) => Err(io::Error::other(error)),
            }
        }
    }
}
