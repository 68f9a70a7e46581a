//! Benchmarks of `ringloop` beside the runtimes it replaces.
//!
//! `cargo run --release -p ringloop-benches -- [AREA]... [OPTIONS]`; `--help` lists the options.
//!
//! Every measurement is a process of its own: this program runs itself again with a hidden first
//! argument, so no peer inherits another's heap, threads or branch history. Peers run one at a
//! time, in turn, and the turns are interleaved over several rounds, so that a slow minute of the
//! machine falls on all of them. Ratios are taken within a round and the median is printed.
//!
//! Reading order: [`catalogue`] (what is measured), [`harness`] (how), [`load`] (the client),
//! [`report`] (the output), then one directory per area; [`peers`] has the interface of a runtime
//! to the scheduler and timer cases, [`external`] finds those that are other programs. [`count`]
//! counts instructions in place of time.

mod blocking;
mod catalogue;
mod cli;
mod count;
mod echo;
mod external;
mod files;
mod harness;
mod http;
mod load;
mod peers;
mod process;
mod proxy;
mod report;
mod sample;
mod sched;
mod seeds;
mod sync;
mod sys;
mod tasks;
mod timers;
mod tls;
mod udp;

use std::process::ExitCode;

fn main() -> ExitCode {
    process::serve_pool();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some(harness::INSIDE) => harness::child::inside(&arguments[1..]),
        Some(harness::SERVE) => harness::child::serve(&arguments[1..]),
        Some(harness::LOAD) => harness::child::load(&arguments[1..]),
        _ => match cli::parse(&arguments) {
            Ok(cli::Command::Run(options)) => harness::run(options),
            Ok(cli::Command::Count(options)) => count::run(&options),
            Ok(cli::Command::Report { files, folder }) => {
                report::load(&files).and_then(|rows| report::write_page(&rows, &folder))
            }
            Ok(cli::Command::Print(text)) => {
                println!("{text}");
                Ok(())
            }
            Err(message) => Err(message),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("ringloop-benches: {message}");
            ExitCode::FAILURE
        }
    }
}
