//! Listening sockets of the process, and how many connections wait in each: what `ss -lt` shows.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// A listening TCP socket of the process, at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerDump {
    /// The address it listens on.
    pub address: SocketAddr,
    /// Connections that have been made and wait for an `accept`: the length of the accept queue. Its limit is the backlog
    /// that the listener asked for, or `net.core.somaxconn` if that is less.
    pub waiting: u64,
}

/// The listening TCP sockets of the process, of ringloop's and of others, by their addresses. Those in the network
/// namespace of this thread.
///
/// It reads the links in `/proc/self/fd`, about a microsecond for each open descriptor, and `/proc/thread-self/net/tcp`. Connections
/// that wait for long say that the tasks which accept cannot keep up, or have ended.
///
/// asyncio: has none.
///
/// # Errors
///
/// Those of reading `/proc`, which has to be mounted.
///
/// The format is that of proc_net_tcp in the kernel's documentation.
///
/// ```
/// use ringloop::{introspect, net::{TcpListener, TcpStream}};
///
/// ringloop::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
///     let address = listener.local_addr().unwrap();
///     let _client = TcpStream::connect(address).await.unwrap();
///     let all = introspect::listeners().unwrap();
///     let found = all.iter().find(|listener| listener.address == address).unwrap();
///     assert_eq!(found.waiting, 1);
/// });
/// ```
pub fn listeners() -> io::Result<Vec<ListenerDump>> {
    let own = own_sockets()?;
    let mut found = Vec::new();
    for file in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        match File::open(file) {
            Ok(file) => listening(BufReader::new(file), &own, &mut found)?,
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_by_key(|listener| listener.address);
    Ok(found)
}

/// How many connections have been dropped since the start of the network namespace because an accept queue was full.
pub(super) fn overflows() -> Option<u64> {
    overflows_in(&fs::read_to_string("/proc/thread-self/net/netstat").ok()?)
}

/// The inodes of the process' sockets.
fn own_sockets() -> io::Result<HashSet<u64>> {
    let mut own = HashSet::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        // It may have been closed meanwhile.
        let Ok(link) = fs::read_link(entry?.path()) else { continue };
        let inode = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'));
        own.extend(inode.and_then(|inode| inode.parse::<u64>().ok()));
    }
    Ok(own)
}

/// Adds those of `own` that listen. The file has all listening sockets first, then possibly very many others.
fn listening(
    file: impl BufRead,
    own: &HashSet<u64>,
    found: &mut Vec<ListenerDump>,
) -> io::Result<()> {
    for line in file.lines().skip(1) {
        let line = line?;
        let Some((address, state, waiting, inode)) = parse(&line) else { continue };
        if state != LISTEN {
            break;
        }
        if own.contains(&inode) {
            found.push(ListenerDump { address, waiting });
        }
    }
    Ok(())
}

/// TCP_LISTEN.
const LISTEN: u8 = 10;

/// The address, the state, the bytes or connections that were received and not taken, and the inode of a socket.
fn parse(line: &str) -> Option<(SocketAddr, u8, u64, u64)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let address = address(fields.next()?)?;
    let state = u8::from_str_radix(fields.nth(1)?, 16).ok()?;
    let (_, waiting) = fields.next()?.split_once(':')?;
    let waiting = u64::from_str_radix(waiting, 16).ok()?;
    let inode = fields.nth(4)?.parse().ok()?;
    Some((address, state, waiting, inode))
}

/// `0100007F:1F90` is 127.0.0.1:8080: words of four bytes in the order of the machine, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |at: usize| {
        let word = u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// The counter in the text of `/proc/net/netstat`, where a line has the names and the next one the numbers.
fn overflows_in(netstat: &str) -> Option<u64> {
    let mut lines = netstat.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let mut pairs = names.split_ascii_whitespace().zip(numbers.split_ascii_whitespace());
    pairs.find(|(name, _)| *name == "ListenOverflows")?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_of_the_process_are_read() {
        let line = |at, address, state, waiting, inode| {
            format!(
                "{at:4}: {address} 00000000:0000 {state} 00000000:{waiting} 00:00000000 00000000  1000  0 {inode} 1 x\n"
            )
        };
        // In the order of a little-endian machine.
        let v6 = "00000000000000000000000001000000:01BB";
        let text = [
            "  sl  local_address rem_address   st tx_queue rx_queue\n".to_owned(),
            line(0, "0100007F:1F90", "0A", "00000011", 7),
            line(1, "0100007F:1F91", "0A", "00000001", 8),
            line(2, v6, "0A", "00000000", 9),
            line(3, "0100007F:1F90", "01", "00000005", 10),
        ];
        let mut found = Vec::new();
        listening(text.concat().as_bytes(), &HashSet::from([7, 9, 10]), &mut found).unwrap();
        if cfg!(target_endian = "little") {
            let addresses: Vec<_> = found.iter().map(|it| it.address.to_string()).collect();
            assert_eq!(addresses, ["127.0.0.1:8080", "[::1]:443"]);
        }
        assert_eq!(found.iter().map(|it| it.waiting).collect::<Vec<_>>(), [17, 0]);
    }

    #[test]
    fn dropped_connections_are_counted_by_the_kernel() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 23 4\nIpExt: A\nIpExt: 5\n";
        assert_eq!(overflows_in(text), Some(23));
        assert_eq!(overflows_in("TcpExt: A\n"), None);
    }
}
