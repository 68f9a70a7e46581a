//! The three roles of a child process: a case, a server, a client.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::Spec;
use crate::catalogue::Pace;
use crate::{
    blocking, catalogue, echo, external, files, http, load, process, proxy, sched, seeds, sync,
    sys, tasks, timers, tls, udp,
};

/// What a server prints before its port.
pub const PORT: &str = "port ";

/// The arguments from which [`decode`] rebuilds `spec`.
pub fn encode(spec: &Spec) -> Vec<String> {
    vec![
        spec.case.name.into(),
        spec.peer.clone(),
        spec.workers.to_string(),
        spec.warmup.as_millis().to_string(),
        spec.window.as_millis().to_string(),
        if spec.quick { "quick" } else { "full" }.into(),
    ]
}

fn decode(arguments: &[String]) -> Result<(Spec, &[String]), String> {
    let [case, peer, workers, warmup, window, size, rest @ ..] = arguments else {
        return Err("a child needs CASE PEER WORKERS WARMUP_MS WINDOW_MS quick|full".into());
    };
    let number =
        |text: &String| text.parse::<u64>().map_err(|_| format!("{text:?} is not a number"));
    let spec = Spec {
        case: catalogue::find(case).ok_or_else(|| format!("no case is called {case:?}"))?,
        peer: peer.clone(),
        workers: number(workers)? as usize,
        warmup: Duration::from_millis(number(warmup)?),
        window: Duration::from_millis(number(window)?),
        quick: size == "quick",
    };
    Ok((spec, rest))
}

/// Runs a scheduler or timer case in this process.
pub fn inside(arguments: &[String]) -> Result<(), String> {
    let (spec, _) = decode(arguments)?;
    guard(&spec);
    // A case that uses a plain thread beside the workers takes the core that they leave free.
    let last_core = sys::cores().last().copied().unwrap_or(0);
    sys::pin_to_first(spec.workers);
    let sample = match spec.case.area {
        "blocking" => blocking::run(&spec)?,
        "files" => files::run(&spec)?,
        "sched" => sched::run(&spec, last_core)?,
        "seeds" => seeds::run(&spec)?,
        "sync" => sync::run(&spec)?,
        "tasks" => tasks::run(&spec)?,
        "process" => process::run(&spec)?,
        "timers" => timers::run(&spec)?,
        "tls" => tls::run(&spec)?,
        "udp" => udp::run(&spec)?,
        other => return Err(format!("area {other} does not run inside its peer")),
    };
    println!("{}", sample.encode());
    Ok(())
}

/// Serves until the parent kills this process.
pub fn serve(arguments: &[String]) -> Result<(), String> {
    let (spec, rest) = decode(arguments)?;
    guard(&spec);
    sys::raise_descriptor_limit();
    // Another server that starts this one says which it is.
    let last_core = rest.first().and_then(|core| core.parse().ok());
    let last_core = last_core.or(sys::cores().last().copied()).unwrap_or(0);
    sys::pin_to_first(spec.workers);
    if let Some(failure) = external::serve(&spec) {
        return Err(failure);
    }
    match spec.case.area {
        "echo" => echo::serve(&spec),
        "http" => http::serve(&spec),
        "udp" => udp::serve(&spec),
        "proxy" => proxy::serve(&spec, last_core),
        "files" => files::serve(&spec, last_core),
        other => Err(format!("area {other} has no server")),
    }
}

/// Drives the server on the port and with the process id that follow the specification.
pub fn load(arguments: &[String]) -> Result<(), String> {
    let (spec, rest) = decode(arguments)?;
    let [port, server] = rest else {
        return Err("a client needs PORT SERVER_PID after its specification".into());
    };
    guard(&spec);
    sys::raise_descriptor_limit();
    let cores = sys::cores();
    let core = match spec.case.load.as_ref().map(|load| load.pace) {
        Some(Pace::Lockstep) => cores.first(),
        _ => cores.last(),
    };
    sys::pin_to(*core.ok_or("no core is available")?);
    let port = port.parse().map_err(|_| format!("{port:?} is not a port"))?;
    let target = load::Target {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        unix: spec.case.load.as_ref().is_some_and(|load| load.unix),
        server: server.parse().map_err(|_| format!("{server:?} is not a process"))?,
        alone_on_core: cores.len() > spec.workers,
    };
    let sample = load::run(&spec, &target)?;
    println!("{}", sample.encode());
    Ok(())
}

/// Prints for the parent the port of this server.
pub fn announce(address: SocketAddr) {
    println!("{PORT}{}", address.port());
}

fn guard(spec: &Spec) {
    sys::die_with_parent((spec.warmup + spec.window) * 10 + Duration::from_secs(20));
}
