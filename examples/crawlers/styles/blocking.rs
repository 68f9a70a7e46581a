//! One page after the other, on the thread that calls.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::{Found, links, request};

pub fn crawl(site: SocketAddr, start: Vec<String>) -> io::Result<Found> {
    let mut found: Found = start.iter().cloned().collect();
    let mut queue = VecDeque::from(start);
    while let Some(path) = queue.pop_front() {
        let mut stream = TcpStream::connect(site)?;
        stream.write_all(&request(&path))?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response)?;
        for link in links(&response)? {
            if found.insert(link.clone()) {
                queue.push_back(link);
            }
        }
    }
    Ok(found)
}
