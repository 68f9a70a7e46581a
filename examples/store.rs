//! A store of keys and values that redis' clients talk to: strings, counters, and pipelining.
//!
//! ```text
//! cargo run --release --example store
//! redis-cli -p 8080 set greeting hello
//! redis-benchmark -p 8080 -t ping,set,get,incr,mset -n 100000 -P 16
//! ```
//!
//! It keeps all in memory, and an end loses it. A client's commands are carried out in the order in which it sent them.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ringloop::{
    net::Server,
    race, signal,
    streams::{self, StreamReader, StreamWriter},
};

use common::{Failure, Options, parse};
use resp::{Broken, Table, answer, refuse};

#[allow(dead_code, reason = "other examples use the rest")]
#[path = "common/mod.rs"]
mod common;
#[path = "common/resp.rs"]
mod resp;

/// How long clients may take to leave once a stop is asked for. What they have sent before is answered.
const GRACE: Duration = Duration::from_secs(1);
/// Answers that are kept until they are sent: then the client has to read.
const ANSWERS: usize = 1 << 20;

fn main() -> ExitCode {
    common::exit(
        "store",
        "\n    --max-clients N              others wait until one leaves (default: 10000)",
        run(),
    )
}

fn run() -> Result<(), Failure> {
    let default = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    let mut most = 10_000;
    let options = Options::from_command_line(default, |name, value| {
        let is_known = name == "--max-clients";
        if is_known {
            most = parse::<std::num::NonZero<usize>>(name, value)?.get();
        }
        Ok(is_known)
    })?;
    options.builder().run(serve(&options, most))?
}

async fn serve(options: &Options, most: usize) -> Result<(), Failure> {
    let stopped = race!(signal::ctrl_c(), signal::terminate());
    let table = Arc::new(Table::new());
    let served = Arc::new(AtomicU64::new(0));
    let count = served.clone();
    let listeners = Server::builder().max_connections(most).listen(options.addr).await?;
    let server = streams::serve_on(listeners, move |reader, writer| {
        count.fetch_add(1, Ordering::Relaxed);
        client(table.clone(), reader, writer)
    })?;
    for addr in server.local_addrs() {
        println!("listening on {addr}");
    }
    server.serve_until(stopped, GRACE).await??;
    println!("clients served: {}", served.load(Ordering::Relaxed));
    Ok(())
}

async fn client(
    table: Arc<Table>,
    mut reader: StreamReader,
    mut writer: StreamWriter,
) -> io::Result<()> {
    // The beginning of a command of which the rest has not come.
    let mut begun = Vec::new();
    let mut answers = Vec::new();
    loop {
        let input = reader.fill_buf().await?;
        if input.is_empty() {
            return writer.close().await;
        }
        let len = input.len();
        let result = if begun.is_empty() {
            answer(&table, input, &mut answers).map(|taken| begun.extend(&input[taken..]))
        } else {
            begun.extend(input);
            answer(&table, &begun, &mut answers).map(|taken| drop(begun.drain(..taken)))
        };
        reader.consume(len);
        if let Err(Broken(why)) = result {
            refuse(&mut answers, why);
            writer.write_all(&answers).await?;
            return writer.close().await;
        }
        // All answers to what came in one piece go in one piece.
        writer.write_all(&answers).await?;
        answers.clear();
        answers.shrink_to(ANSWERS);
    }
}
