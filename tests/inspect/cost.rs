//! What it costs a runtime to be there for questions.

use std::time::{Duration, Instant};

use ringloop::Builder;

/// The time until a main begins, and until the runtime has ended.
fn once(may: bool) -> [Duration; 2] {
    let begun = Instant::now();
    let builder = Builder::new().workers(1).inspect(may);
    let begins = builder.run(async { begun.elapsed() }).expect("it runs");
    [begins, begun.elapsed()]
}

/// Of all threads of the process.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
#[ignore = "prints figures, which say something on a quiet machine only"]
fn start_and_end_of_a_runtime() {
    const ROUNDS: usize = 1000;
    let mut pairs: Vec<_> = (0..ROUNDS).map(|_| (once(false), once(true))).collect();
    let cpu = |may| {
        let begun = cpu_time();
        (0..ROUNDS).for_each(|_| _ = once(may));
        (cpu_time() - begun).as_secs_f64() * 1e6 / ROUNDS as f64
    };
    let (without, with) = (cpu(false), cpu(true));
    println!("CPU: {without:.0} us without, {with:.0} us with (means of {ROUNDS})");
    for (at, what) in ["until main begins", "until the end"].into_iter().enumerate() {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let more = |pair: &([Duration; 2], [Duration; 2])| micros(pair.1[at]) - micros(pair.0[at]);
        pairs.sort_by(|a, b| more(a).total_cmp(&more(b)));
        let more = more(&pairs[ROUNDS / 2]);
        pairs.sort_by_key(|(without, _)| without[at]);
        let without = micros(pairs[ROUNDS / 2].0[at]);
        println!("{what}: {without:.0} us without, {more:+.0} us with (medians of {ROUNDS} pairs)");
    }
}
