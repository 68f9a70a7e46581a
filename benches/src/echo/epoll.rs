//! The limit: level-triggered epoll loops, one a thread, no runtime and no task.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::thread;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use crate::harness::child::announce;

/// One buffer a thread, so it may be larger than what a task would hold.
const BUFFER: usize = 64 * 1024;

/// A loop of a thread and the connections it serves; the acceptor adds to both.
struct Loop {
    epoll: OwnedFd,
    /// Indexed by the data of the events.
    streams: Mutex<Vec<&'static TcpStream>>,
}

pub fn serve(workers: usize) -> io::Result<()> {
    let mut loops: Vec<&'static Loop> = Vec::new();
    for _ in 0..workers {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let streams = Mutex::new(Vec::new());
        loops.push(Box::leak(Box::new(Loop { epoll, streams })));
    }
    for worker in &loops {
        thread::spawn(|| worker.run());
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    announce(listener.local_addr()?);
    // The client connects before it measures, so a blocking acceptor takes no part in the window.
    for worker in loops.iter().cycle() {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        worker.add(Box::leak(Box::new(stream)))?;
    }
    Ok(())
}

impl Loop {
    fn add(&self, stream: &'static TcpStream) -> io::Result<()> {
        let mut streams = self.streams.lock().expect("no thread panics");
        let data = epoll::EventData::new_u64(streams.len() as u64);
        streams.push(stream);
        Ok(epoll::add(&self.epoll, stream, data, epoll::EventFlags::IN)?)
    }

    fn run(&self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        let mut events = Vec::with_capacity(256);
        loop {
            epoll::wait(&self.epoll, spare_capacity(&mut events), None)?;
            let streams = self.streams.lock().expect("no thread panics");
            for event in events.drain(..) {
                echo(streams[event.data.u64() as usize], &mut buffer, &self.epoll)?;
            }
        }
    }
}

/// One read and one write: the client never leaves more than fits into the socket's buffers.
fn echo(mut stream: &TcpStream, buffer: &mut [u8], epoll: &OwnedFd) -> io::Result<()> {
    match stream.read(buffer) {
        Ok(0) | Err(_) => Ok(epoll::delete(epoll, stream)?),
        Ok(len) => stream.write_all(&buffer[..len]),
    }
}
