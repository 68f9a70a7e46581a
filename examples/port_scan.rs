//! Finds the TCP ports that are open at a host, some hundred at a time.
//!
//! ```text
//! cargo run --release --example port_scan -- --host localhost --ports 1-1024
//! ```

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    process::ExitCode,
    time::Duration,
};

use ringloop::{
    net::{Connect, lookup_host},
    race, signal, task_group,
};

use common::{Failure, Options, parse};

#[allow(dead_code, reason = "other examples use the rest")]
#[path = "common/mod.rs"]
mod common;

fn main() -> ExitCode {
    common::exit(
        "port_scan",
        "\n    --host NAME                  what is looked at (default: localhost)\
         \n    --ports FROM-TO              (default: 1-1024)\
         \n    --at-once N                  attempts at once, each with a descriptor (default: 200)\
         \n    --wait MS                    for one answer (default: 1000)",
        run(),
    )
}

struct Scan {
    host: String,
    ports: RangeInclusive<u16>,
    at_once: usize,
    wait: Duration,
}

fn run() -> Result<(), Failure> {
    let mut scan = Scan {
        host: "localhost".to_owned(),
        ports: 1..=1024,
        at_once: 200,
        wait: Duration::from_millis(1000),
    };
    let none = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let options = Options::from_command_line(none, |name, value| {
        match name {
            "--host" => scan.host = value.to_owned(),
            "--ports" => {
                let (from, to) = value.split_once('-').unwrap_or((value, value));
                scan.ports = parse(name, from)?..=parse(name, to)?;
            }
            "--at-once" => {
                scan.at_once = parse::<std::num::NonZero<usize>>(name, value)?.get();
            }
            "--wait" => scan.wait = Duration::from_millis(parse(name, value)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    options.builder().run(async {
        let stopped = race!(signal::ctrl_c(), signal::terminate());
        let stopped = async { stopped.await.map_err(Failure::from) };
        race!(stopped, scan.run()).await
    })?
}

impl Scan {
    async fn run(&self) -> Result<(), Failure> {
        let mut addrs = lookup_host((self.host.as_str(), 0)).await?.into_iter();
        let Some(addr) = addrs.next() else {
            return Err(format!("{} has no address", self.host).into());
        };
        // Ports come out in order: the tasks are joined in the order in which they were spawned.
        let attempts = task_group(async |group| {
            let few = group.with_limit(self.at_once);
            let mut attempts = Vec::new();
            for port in self.ports.clone() {
                let at = SocketAddr::new(addr.ip(), port);
                attempts.push((port, few.spawn(is_open(at, self.wait)).await));
            }
            attempts
        });
        let (mut open, mut failed) = (0, 0);
        for (port, attempt) in attempts.await? {
            match attempt.await? {
                Ok(true) => {
                    println!("{port} open");
                    open += 1;
                }
                Ok(false) => {}
                Err(error) => {
                    eprintln!("port_scan: {port}: {error}");
                    failed += 1;
                }
            }
        }
        println!("{} ports of {}: {open} open", self.ports.len(), addr.ip());
        match failed {
            0 => Ok(()),
            _ => {
                Err(format!("{failed} ports could not be tried; a lower --at-once may help").into())
            }
        }
    }
}

/// An error is one of this machine, such as too few descriptors.
async fn is_open(addr: SocketAddr, wait: Duration) -> io::Result<bool> {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut};
    match Connect::new().timeout(wait).connect(addr).await {
        Ok(_) => Ok(true),
        Err(error) => match io::Error::from(error) {
            error if matches!(error.kind(), ConnectionRefused | TimedOut) => Ok(false),
            error if matches!(error.kind(), HostUnreachable | NetworkUnreachable) => Ok(false),
            error => Err(error),
        },
    }
}
