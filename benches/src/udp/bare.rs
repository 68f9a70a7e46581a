//! The limit: one level-triggered epoll loop, without a runtime or a task.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use super::{BUFFER, HELLO, Sockets};
use crate::harness::child::announce;

/// Datagrams of one socket between two looks at the others.
const TURN: usize = 64;

pub fn serve(sockets: Sockets) -> io::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut all = HashMap::new();
    let watch = |socket: UdpSocket, all: &mut HashMap<u64, UdpSocket>| -> io::Result<u64> {
        socket.set_nonblocking(true)?;
        let key = socket.as_raw_fd() as u64;
        epoll::add(&epoll, &socket, EventData::new_u64(key), EventFlags::IN)?;
        all.insert(key, socket);
        Ok(key)
    };
    let first = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    announce(first.local_addr()?);
    let first = watch(first, &mut all)?;
    let mut events = Vec::with_capacity(256);
    let mut buffer = vec![0; BUFFER];
    loop {
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Err(Errno::INTR) => continue,
            found => found?,
        };
        for event in events.drain(..) {
            let key = event.data.u64();
            let socket = &all[&key];
            if sockets != Sockets::PerClient {
                drained(echo(socket, &mut buffer))?;
            } else if key != first {
                drained(echo_connected(socket, &mut buffer))?;
            } else {
                let (_, peer) = socket.recv_from(&mut buffer)?;
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
                socket.connect(peer)?;
                socket.send(HELLO)?;
                watch(socket, &mut all)?;
            }
        }
    }
}

fn echo(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<()> {
    for _ in 0..TURN {
        let (len, peer) = socket.recv_from(buffer)?;
        socket.send_to(&buffer[..len], peer)?;
    }
    Ok(())
}

fn echo_connected(socket: &UdpSocket, buffer: &mut [u8]) -> io::Result<()> {
    for _ in 0..TURN {
        let len = socket.recv(buffer)?;
        socket.send(&buffer[..len])?;
    }
    Ok(())
}

/// Nothing is left to read.
fn drained(turn: io::Result<()>) -> io::Result<()> {
    match turn {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => other,
    }
}
