//! What can be connected or bound to.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, netdevice::name_to_index},
};

/// What can be connected or bound to: addresses, or a name and a port.
///
/// Addresses are used as they are; a name is looked up as [`lookup_host`](super::lookup_host) does. Implemented for
/// `SocketAddr` and its kin, for pairs of an IP address and a port, for slices, arrays and vectors of `SocketAddr`, and
/// for `"host:port"` and `("host", port)`.
///
/// An IPv6 address stands in brackets before its port: `"[::1]:80"`. Its zone may be the name
/// of an interface or its number: `"[fe80::1%eth0]:80"`, `("fe80::1%2", 80)`.
///
/// This trait is sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no address to connect to or to listen on",
    label = "not an address with a port"
)]
pub trait ToSocketAddrs: sealed::Sealed {}

impl<T: sealed::Sealed + ?Sized> ToSocketAddrs for T {}

pub(super) mod sealed {
    use super::{SocketAddr, io};

    #[diagnostic::on_unimplemented(
        message = "`{Self}` is no address to connect to or to listen on",
        label = "not an address with a port",
        note = "text has the port in it: `\"localhost:8080\"`; apart from each other they are a pair: `(\"localhost\", 8080)`",
        note = "to listen on a port of all interfaces: `(\"0.0.0.0\", 8080)`, or `(\"::\", 8080)` for IPv6 as well",
        note = "several: `&[SocketAddr]`, `[SocketAddr; N]`, `Vec<SocketAddr>`"
    )]
    pub trait Sealed {
        fn target(&self) -> io::Result<Target>;

        /// The address, where there is one, and nothing has to be looked up.
        fn single(&self) -> Option<SocketAddr> {
            None
        }
    }

    pub enum Target {
        Addrs(Vec<SocketAddr>),
        Name(String, u16),
    }
}

use sealed::{Sealed, Target};

macro_rules! addresses {
    ($($t:ty),* $(,)?) => {$(
        impl Sealed for $t {
            fn target(&self) -> io::Result<Target> {
                Ok(Target::Addrs(vec![SocketAddr::from(*self)]))
            }

            fn single(&self) -> Option<SocketAddr> {
                Some(SocketAddr::from(*self))
            }
        }
    )*};
}

addresses!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16),
    ([u8; 4], u16),
    ([u16; 8], u16),
);

impl Sealed for [SocketAddr] {
    fn target(&self) -> io::Result<Target> {
        Ok(Target::Addrs(self.to_vec()))
    }
}

impl<const N: usize> Sealed for [SocketAddr; N] {
    fn target(&self) -> io::Result<Target> {
        self.as_slice().target()
    }
}

impl Sealed for Vec<SocketAddr> {
    fn target(&self) -> io::Result<Target> {
        self.as_slice().target()
    }
}

impl Sealed for str {
    fn target(&self) -> io::Result<Target> {
        if let Ok(addr) = self.parse() {
            return Ok(Target::Addrs(vec![addr]));
        }
        let Some((host, port)) = self.rsplit_once(':') else {
            return refuse(format!(
                "{self:?} has no port: write host:port, such as 127.0.0.1:8080"
            ));
        };
        if host.contains(':') && !host.starts_with('[') {
            // Read as it stands, "::1:80" is an address without a port.
            let fixed = match (split_zone(host), self.parse::<Ipv6Addr>()) {
                (Some(_), _) => format!("[{host}]:{port}"),
                (None, Ok(_)) => format!("[{self}]:80"),
                (None, Err(_)) => "[::1]:80".to_owned(),
            };
            return refuse(format!(
                "{self:?} is not clear: an IPv6 address stands in brackets before its port, \
                as in {fixed:?}"
            ));
        }
        if host.starts_with('[') && !host.ends_with(']') {
            return refuse(format!("{self:?} has no port behind its bracket: write [::1]:80"));
        }
        let all_digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        match port.parse() {
            Ok(port) if all_digits => (host, port).target(),
            _ if port.is_empty() => {
                refuse(format!("{self:?} has no port: write {host}:8080, or 0 for any free port"))
            }
            _ => refuse(format!("{self:?}: {port:?} is no port: ports are numbers up to 65535")),
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
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let literal = inside.unwrap_or(host);
        if literal.is_empty() {
            return refuse(format!(
                "there is no host before port {port}: \
                every interface is 0.0.0.0 or [::], this machine is localhost"
            ));
        }
        if let Ok(ip) = literal.parse::<IpAddr>() {
            return Ok(Target::Addrs(vec![SocketAddr::new(ip, port)]));
        }
        if let Some((ip, zone)) = split_zone(literal) {
            let addr = SocketAddrV6::new(ip, port, 0, scope_id(literal, zone)?);
            return Ok(Target::Addrs(vec![addr.into()]));
        }
        if inside.is_some() || literal.contains(':') {
            return refuse(format!("{literal:?} is no IPv6 address"));
        }
        Ok(Target::Name(host.to_owned(), port))
    }
}

fn refuse(text: String) -> io::Result<Target> {
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}

/// An IPv6 address and its zone, as in "fe80::1%eth0".
fn split_zone(host: &str) -> Option<(Ipv6Addr, &str)> {
    let (ip, zone) = host.split_once('%').unwrap_or((host, ""));
    Some((ip.parse().ok()?, zone))
}

/// The number of the interface that `zone` gives by number or by name.
fn scope_id(host: &str, zone: &str) -> io::Result<u32> {
    if let Ok(id) = zone.parse() {
        return Ok(id);
    }
    // Any socket will do to ask for interfaces.
    let asks = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    name_to_index(asks, zone).map_err(|error| {
        let text = format!("{host:?}: there is no interface {zone:?} ({error}): see `ip link`");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })
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

    fn single(&self) -> Option<SocketAddr> {
        (**self).single()
    }
}

/// What to do about an address that cannot be bound.
pub(super) fn bind_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process has it, or this one: choose another port, or 0 for any"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrNotAvailable => "; it is not an address of this machine",
        _ => match Errno::from_io_error(error) {
            Some(Errno::AFNOSUPPORT) => "; this machine has no addresses of that family",
            Some(Errno::MFILE) => "; raise the limit of descriptors (ulimit -n), or close some",
            _ => "",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(target: &(impl Sealed + ?Sized)) -> SocketAddr {
        match target.target().unwrap() {
            Target::Addrs(addrs) => addrs[0],
            Target::Name(host, _) => panic!("{host:?} is no name"),
        }
    }

    fn error(target: &(impl Sealed + ?Sized)) -> String {
        match target.target() {
            Ok(_) => panic!("taken for an address"),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                error.to_string()
            }
        }
    }

    /// The number of the loopback interface.
    fn lo() -> u32 {
        std::fs::read_to_string("/sys/class/net/lo/ifindex")
            .map_or(1, |id| id.trim().parse().unwrap())
    }

    #[test]
    fn zones_are_taken_by_name_and_by_number() {
        let link_local = "fe80::1".parse().unwrap();
        let wanted = |scope| SocketAddr::from(SocketAddrV6::new(link_local, 80, 0, scope));
        assert_eq!(addr("[fe80::1%lo]:80"), wanted(lo()));
        assert_eq!(addr(&String::from("[fe80::1%lo]:80")), wanted(lo()));
        assert_eq!(addr(&("fe80::1%lo", 80)), wanted(lo()));
        assert_eq!(addr(&("[fe80::1%lo]", 80)), wanted(lo()));
        assert_eq!(addr(&(String::from("fe80::1%lo"), 80)), wanted(lo()));
        assert_eq!(addr("[fe80::1%7]:80"), wanted(7));
        assert_eq!(addr(&("fe80::1%7", 80)), wanted(7));
        assert_eq!(addr("[fe80::1]:80"), wanted(0));
        for unknown in ["[fe80::1%no-such-one]:80", "[fe80::1%]:80", "[fe80::1%4294967296]:80"] {
            let text = error(unknown);
            assert!(text.contains("there is no interface"), "{text}");
        }
        assert!(error(&("fe80::1%a name far too long", 80)).contains("there is no interface"));
    }

    #[test]
    fn addresses_without_brackets_name_the_fix() {
        for (given, fix) in [
            ("::1:80", "[::1]:80"),
            ("fe80::1%lo:80", "[fe80::1%lo]:80"),
            ("2001:db8::7:443", "[2001:db8::7]:443"),
            ("::1", "[::1]:80"),
            ("1:2:3:4:5:6:7:8", "[1:2:3:4:5:6:7:8]:80"),
            ("1:2:3:4:5:6:7:8:443", "[1:2:3:4:5:6:7:8]:443"),
            ("a:b:80", "[::1]:80"),
        ] {
            let text = error(given);
            assert!(text.contains(&format!("as in {fix:?}")), "{text}");
        }
        assert!(error(&("a:b", 80)).contains("no IPv6 address"));
        assert!(error("[a:b]:80").contains("no IPv6 address"));
        assert!(error("[localhost]:80").contains("no IPv6 address"));
        assert!(error("[::1:80").contains("bracket"));
        assert!(error("[::1]").contains("[::1]:80"));
    }

    #[test]
    fn hosts_and_ports_that_are_missing_or_wrong_are_told() {
        assert!(error("localhost").contains("has no port"));
        assert!(error("").contains("has no port"));
        assert!(error("localhost:").contains("has no port"));
        assert!(error(":80").contains("0.0.0.0"));
        assert!(error("[]:80").contains("0.0.0.0"));
        assert!(error(&("", 80)).contains("0.0.0.0"));
        for port in ["65536", "99999999999", "-1", "+80", "8o", " 80", "80 "] {
            let text = error(&format!("localhost:{port}"));
            assert!(text.contains("is no port"), "{text}");
        }
        assert_eq!(addr("127.0.0.1:65535").port(), 65535);
        assert_eq!(addr("[::1]:0"), "[::1]:0".parse().unwrap());
        assert!(
            matches!("localhost:80".target(), Ok(Target::Name(host, 80)) if host == "localhost")
        );
        assert!(matches!(("localhost", 80).target(), Ok(Target::Name(..))));
    }
}
