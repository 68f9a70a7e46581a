//! The one place that asks the system for the addresses of a name, and for the name of an address.

use std::{
    ffi::CStr,
    fs::File,
    io,
    net::{SocketAddr, ToSocketAddrs},
};

use rustix::io::Errno;
use socket2::SockAddr;

/// Asks the system, as getaddrinfo(3) does, for addresses with the port 0. Blocks.
pub(crate) fn resolve(host: &str) -> io::Result<Vec<SocketAddr>> {
    let found = (host, 0).to_socket_addrs().map(Iterator::collect);
    found.map_err(|error| out_of_descriptors().unwrap_or(error))
}

/// A system that has no descriptor left to open the list of names says that there is no such name.
#[cold]
fn out_of_descriptors() -> Option<io::Error> {
    let error = File::open("/dev/null").err()?;
    let full = matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE));
    full.then(|| {
        let text = format!("{error}; raise the limit of descriptors (ulimit -n), or close some");
        io::Error::new(error.kind(), text)
    })
}

/// The longest names, with the zero behind them (`NI_MAXHOST`, `NI_MAXSERV`).
const HOST: usize = 1025;
const SERVICE: usize = 32;

/// The names of host and service, as getnameinfo(3) tells them: the numbers, where there is no name. Blocks.
pub(crate) fn name_of(addr: SocketAddr) -> io::Result<(String, String)> {
    let addr = SockAddr::from(addr);
    let mut host = [0; HOST];
    let mut service = [0; SERVICE];
    // SAFETY: the address is as long as its length says, and the call writes no more than the buffers have room for.
    let error = unsafe {
        libc::getnameinfo(
            addr.as_ptr().cast(),
            addr.len(),
            host.as_mut_ptr().cast(),
            HOST as libc::socklen_t,
            service.as_mut_ptr().cast(),
            SERVICE as libc::socklen_t,
            0,
        )
    };
    match error {
        0 => Ok((text(&host), text(&service))),
        libc::EAI_SYSTEM => Err(io::Error::last_os_error()),
        error => {
            // SAFETY: it takes any number, and returns a text that lives for ever.
            let why = unsafe { CStr::from_ptr(libc::gai_strerror(error)) };
            Err(io::Error::other(why.to_string_lossy()))
        }
    }
}

/// The text before the zero.
fn text(buffer: &[u8]) -> String {
    let text = CStr::from_bytes_until_nul(buffer).unwrap_or_default();
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_the_name_that_the_system_gives_it() {
        // Goal: a name where there is one, and the number of a port without one.
        let (host, service) = name_of(([127, 0, 0, 1], 1).into()).unwrap();
        assert!(!host.is_empty() && !host.contains('\0'), "{host:?}");
        assert!(!service.is_empty());
        let back = resolve(&host).unwrap();
        assert!(back.iter().any(|addr| addr.ip().is_loopback()), "{host:?}: {back:?}");
    }
}
