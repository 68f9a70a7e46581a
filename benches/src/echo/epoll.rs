//! The limit: level-triggered epoll loops, one per thread, without a runtime or a task.
//!
//! The first loop also accepts and passes connections to the loops in turn. From then on a
//! descriptor belongs to the loop that waits for it. A connection has no other state, except for
//! those whose client does not read: bytes that could not be written wait in a map, and nothing
//! more is read.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, IntoRawFd as _, OwnedFd, RawFd};
use std::sync::Arc;
use std::{process, thread};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags, accept_with, send};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::{Setup, hog};
use crate::harness::child::announce;

/// One buffer per thread, so it may be larger than a task's.
const BUFFER: usize = 64 * 1024;

pub fn serve(setup: Setup) -> io::Result<()> {
    let epoll = || epoll::create(epoll::CreateFlags::CLOEXEC).map(Arc::new);
    let all = (0..setup.workers).map(|_| epoll()).collect::<Result<Vec<_>, _>>()?;
    for epoll in &all[1..] {
        let worker = Loop::new(epoll.clone());
        thread::spawn(|| {
            let Err(error) = worker.run();
            eprintln!("a loop failed: {error}");
            process::exit(1);
        });
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let mut first = Loop::new(all[0].clone());
    first.watch(&listener)?;
    if setup.hog {
        let timer = ticks(hog::PERIOD.subsec_nanos().into())?;
        first.watch(&timer)?;
        first.hog = Some(timer);
    }
    announce(listener.local_addr()?);
    first.door = Some(Door { listener, all, next: 0 });
    match first.run()? {}
}

/// The state of one thread.
struct Loop {
    epoll: Arc<OwnedFd>,
    door: Option<Door>,
    hog: Option<OwnedFd>,
    buffer: Vec<u8>,
    unsent: HashMap<RawFd, Vec<u8>>,
}

/// The listener and the loops that get its connections.
struct Door {
    listener: TcpListener,
    all: Vec<Arc<OwnedFd>>,
    next: usize,
}

impl Loop {
    fn new(epoll: Arc<OwnedFd>) -> Loop {
        let buffer = vec![0; BUFFER];
        Loop { epoll, door: None, hog: None, buffer, unsent: HashMap::new() }
    }

    fn watch(&self, fd: &impl AsFd) -> io::Result<()> {
        add(&self.epoll, fd.as_fd().as_raw_fd())
    }

    fn run(mut self) -> io::Result<std::convert::Infallible> {
        let mut events = Vec::with_capacity(256);
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Err(Errno::INTR) => continue,
                found => found?,
            };
            for event in events.drain(..) {
                let fd = event.data.u64() as RawFd;
                if self.door.as_ref().is_some_and(|door| door.listener.as_raw_fd() == fd) {
                    self.accept()?;
                } else if self.hog.as_ref().is_some_and(|hog| hog.as_raw_fd() == fd) {
                    self.burn()?;
                } else if self.echo(fd).is_err() {
                    self.unsent.remove(&fd);
                    // SAFETY: this loop has owned the descriptor since it was accepted, and it is
                    // used nowhere else; its close ends the events.
                    drop(unsafe { OwnedFd::from_raw_fd(fd) });
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        let Some(door) = &mut self.door else { return Ok(()) };
        loop {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let stream = match accept_with(&door.listener, flags) {
                Err(Errno::AGAIN) => return Ok(()),
                accepted => TcpStream::from(accepted?),
            };
            stream.set_nodelay(true)?;
            let owner = &door.all[door.next];
            door.next = (door.next + 1) % door.all.len();
            add(owner, stream.into_raw_fd())?;
        }
    }

    fn burn(&self) -> io::Result<()> {
        if let Some(timer) = &self.hog {
            rustix::io::read(timer, &mut [0; 8])?;
            hog::burn();
        }
        Ok(())
    }

    /// One read and one write; an error means that the connection is over.
    fn echo(&mut self, fd: RawFd) -> Result<(), Errno> {
        // SAFETY: this loop owns the descriptor and closes it only in `run`.
        let stream = unsafe { BorrowedFd::borrow_raw(fd) };
        if !self.unsent.is_empty()
            && let Some(rest) = self.unsent.remove(&fd)
        {
            return match write(stream, &rest)? {
                sent if sent == rest.len() => modify(&self.epoll, stream, EventFlags::IN),
                sent => {
                    self.unsent.insert(fd, rest[sent..].to_vec());
                    Ok(())
                }
            };
        }
        let len = match rustix::io::read(stream, &mut self.buffer[..]) {
            Err(Errno::AGAIN) => return Ok(()),
            Ok(0) => return Err(Errno::CONNRESET),
            read => read?,
        };
        let sent = write(stream, &self.buffer[..len])?;
        if sent < len {
            self.unsent.insert(fd, self.buffer[sent..len].to_vec());
            modify(&self.epoll, stream, EventFlags::OUT)?;
        }
        Ok(())
    }
}

fn add(epoll: &OwnedFd, fd: RawFd) -> io::Result<()> {
    // SAFETY: it is open; the caller gives it to the loop of `epoll` or keeps it as long as that.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(epoll::add(epoll, borrowed, EventData::new_u64(fd as u64), EventFlags::IN)?)
}

fn modify(epoll: &OwnedFd, stream: BorrowedFd<'_>, flags: EventFlags) -> Result<(), Errno> {
    epoll::modify(epoll, stream, EventData::new_u64(stream.as_raw_fd() as u64), flags)
}

/// Returns how much of `bytes` the socket took.
fn write(stream: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let mut sent = 0;
    while sent < bytes.len() {
        match send(stream, &bytes[sent..], SendFlags::NOSIGNAL) {
            Err(Errno::AGAIN) => break,
            written => sent += written?,
        }
    }
    Ok(sent)
}

fn ticks(period_ns: i64) -> io::Result<OwnedFd> {
    let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    let period = Timespec { tv_sec: 0, tv_nsec: period_ns };
    let times = Itimerspec { it_interval: period, it_value: period };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
    Ok(timer)
}
