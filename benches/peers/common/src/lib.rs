//! Shared by the servers: a listener and a thread for each worker.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;

use socket2::{Domain, Socket, Type};

/// Starts `serve` on a number of threads, each with a listener of its own on one port, and prints
/// the port for the harness once all of them listen. The program's arguments are the number of
/// threads and the size of a connection's buffer, which `serve` gets.
pub fn run(serve: fn(TcpListener, usize) -> io::Result<()>) -> io::Result<()> {
    let numbers: Vec<usize> =
        std::env::args().skip(1).map_while(|text| text.parse().ok()).collect();
    let [workers, buffer] = *numbers else {
        return Err(io::Error::other("usage: echo WORKERS BUFFER"));
    };
    let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut listeners = Vec::new();
    for _ in 0..workers {
        let listener = listen(address)?;
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    println!("port {}", address.port());
    io::stdout().flush()?;
    let threads: Vec<_> = listeners
        .into_iter()
        .map(|listener| thread::spawn(move || serve(listener, buffer)))
        .collect();
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a worker panicked"))??;
    }
    Ok(())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}
