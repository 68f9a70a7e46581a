//! Workers that are held by one long poll.

use super::*;

/// Exchanges of one connection, and bytes of each at most.
const ROUNDS: u64 = 150;
const MOST: u64 = 600;

#[test]
fn what_is_received_for_a_held_worker_is_in_order() {
    // Goal: nobody reads from a socket while bytes that were received before are not queued yet.
    // Method: every second completion is late, so that workers are held, by polls of up to 10 ms, with
    // receives that are not reaped; echoes by leases go on meanwhile, each byte checked.
    let make = |seed| Script::new(seed, &[(Fault::Late, 2)]);
    trial("late and held", 2, make, |runtime, script| {
        let stop = Arc::new(AtomicBool::new(false));
        let hogs: Vec<_> = (0..2)
            .map(|index| {
                let (stop, mut random) = (stop.clone(), Random::new(script.seed() ^ index));
                runtime.spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let (begun, held) = (Instant::now(), random.below(10));
                        while begun.elapsed() < Duration::from_millis(held) {
                            std::hint::spin_loop();
                        }
                        sleep(Duration::from_micros(random.below(4_000))).await;
                    }
                })
            })
            .collect();
        let seed = script.seed();
        let exchanges = async move {
            let listener = narrow_listener();
            let address = listener.local_addr().unwrap();
            let server = spawn(async move {
                let echoes: Vec<_> = join_all((0..4).map(|_| listener.accept())).await;
                join_all(echoes.into_iter().map(|accepted| spawn(echo(accepted.unwrap().0)))).await;
            });
            // On threads of their own, so that what they write comes at any moment.
            let clients: Vec<_> =
                (0..4).map(|salt| thread::spawn(move || client(address, salt, seed))).collect();
            server.await.unwrap();
            clients.into_iter().for_each(|client| client.join().unwrap());
        };
        runtime.run(exchanges).unwrap();
        stop.store(true, Ordering::Relaxed);
        hogs.into_iter().for_each(|hog| runtime.run(hog).unwrap().unwrap());
    });
}

async fn echo(mut stream: TcpStream) {
    loop {
        let lease = stream.read_lease().await.unwrap();
        if lease.is_empty() {
            return;
        }
        stream.write_lease(lease).await.unwrap();
    }
}

/// Writes a numbered stream in small pieces, a few at a time, and checks what comes back.
fn client(address: SocketAddr, salt: usize, seed: u64) {
    let mut stream = net::TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(SETTLE)).unwrap();
    let mut random = Random::new(seed ^ salt as u64);
    let mut at = 0;
    for _ in 0..ROUNDS {
        let end = at + 1 + random.below(MOST) as usize;
        for from in (at..end).step_by(97) {
            let piece: Vec<u8> = (from..end.min(from + 97)).map(|at| byte(salt, at)).collect();
            stream.write_all(&piece).unwrap();
            if random.below(2) == 0 {
                thread::yield_now();
            }
        }
        let mut back = vec![0; end - at];
        stream.read_exact(&mut back).unwrap();
        check(&back, salt, at);
        at = end;
    }
}

/// A connection of the trial with a spinner.
struct Served {
    client: net::TcpStream,
    /// The thread in whose ring the server's socket is.
    home: Arc<Mutex<Option<ThreadId>>>,
}

async fn serve(mut stream: TcpStream, home: Arc<Mutex<Option<ThreadId>>>) {
    loop {
        let lease = {
            let mut read = pin!(stream.read_lease());
            let lease = poll_fn(|cx| {
                let poll = read.as_mut().poll(cx);
                if poll.is_pending() {
                    // The first of them arms it.
                    home.lock().unwrap().get_or_insert(thread::current().id());
                }
                poll
            });
            lease.await.unwrap()
        };
        if lease.is_empty() {
            return;
        }
        stream.write_all(&lease).await.unwrap();
    }
}

impl Served {
    fn ask(&mut self) -> Duration {
        let begun = Instant::now();
        let mut answer = [0; 4];
        self.client.write_all(b"ping").unwrap();
        self.client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"ping");
        begun.elapsed()
    }
}

#[test]
fn a_spinning_worker_holds_up_nobody_elses_connections() {
    // Goal: one task that spins is named, what waits behind it runs elsewhere, and another worker
    // goes on to serve the connections that it has. Method: the spinner spawns before it spins,
    // until both have come about, and for 300 ms; connections with known homes are asked.
    const SPIN: Duration = Duration::from_millis(300);
    static REPORTS: AtomicU64 = AtomicU64::new(0);
    for defer in [true, false] {
        let _watchdog = Watchdog::new(format!("spinner, deferred: {defer}"));
        let builder = Builder::new().workers(2).backend(Backend::Uring).defer_taskrun(defer);
        let hear = |event: &ErrorEvent| {
            let is_hog = matches!(event, ErrorEvent::TaskHogsWorker { .. });
            REPORTS.fetch_add(is_hog.into(), Ordering::SeqCst);
        };
        let runtime = match builder.on_error(hear).build() {
            Ok(runtime) => runtime,
            Err(error) => return loud(&format!("SKIPPED: spinner: {error}")),
        };
        let before = REPORTS.load(Ordering::SeqCst);
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut served: Vec<Served> = (0..8)
            .map(|_| {
                let client = net::TcpStream::connect(address).unwrap();
                client.set_nodelay(true).unwrap();
                client.set_read_timeout(Some(SETTLE)).unwrap();
                let stream = TcpStream::from_std(listener.accept().unwrap().0).unwrap();
                let home = Arc::new(Mutex::new(None));
                drop(runtime.spawn(serve(stream, home.clone())));
                Served { client, home }
            })
            .collect();
        served.iter_mut().for_each(|served| _ = served.ask());
        let home = served[0].home.lock().unwrap().expect("it has been armed");
        let heard = move || REPORTS.load(Ordering::SeqCst) > before;
        let rescued = Arc::new(AtomicBool::new(false));
        let seen = rescued.clone();
        let is_over = move || heard() && seen.load(Ordering::SeqCst);
        let goes_on = move |spun| spun < SPIN || !is_over() && spun < SETTLE;
        spin_elsewhere(&runtime, home, &rescued, goes_on);
        let begun = Instant::now();
        let (mut answers, mut slowest) = (0, Duration::ZERO);
        while begun.elapsed() < SPIN / 2 {
            for served in served.iter_mut() {
                if *served.home.lock().unwrap() == Some(home) {
                    slowest = slowest.max(served.ask());
                    answers += 1;
                }
            }
        }
        eprintln!("deferred: {defer}: {answers} answers, the slowest in {slowest:?}");
        // Held up, each waits for the end of the spin.
        assert!(answers > 20, "{answers} answers");
        let come_about = || heard() && rescued.load(Ordering::SeqCst);
        while !come_about() && begun.elapsed() < SETTLE {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(heard(), "the task that held a worker was not reported");
        assert!(come_about(), "a task waited for the end of another's poll");
        // The others are served in the end.
        served.iter_mut().for_each(|served| _ = served.ask());
        drop(served);
        assert_quiet(&runtime, "spinner");
    }
}

/// Has the worker that is not `home` spin while `goes_on`, with a task behind the spinner that
/// says whether it ran meanwhile; returns once it spins.
fn spin_elsewhere(
    runtime: &Runtime,
    home: ThreadId,
    rescued: &Arc<AtomicBool>,
    goes_on: impl Fn(Duration) -> bool + Clone + Send + 'static,
) {
    let spins = Arc::new(AtomicBool::new(false));
    let tried = Instant::now();
    while !spins.load(Ordering::SeqCst) {
        assert!(tried.elapsed() < SETTLE, "the other worker gets no task");
        let (spins, rescued, goes_on) = (spins.clone(), rescued.clone(), goes_on.clone());
        let spinner = async move {
            let begun = Instant::now();
            if thread::current().id() == home {
                // The next of them goes to the other.
                while !spins.load(Ordering::SeqCst) && begun.elapsed() < Duration::from_millis(5) {
                    std::hint::spin_loop();
                }
            } else if !spins.swap(true, Ordering::SeqCst) {
                let over = Arc::new(AtomicBool::new(false));
                let still = over.clone();
                drop(spawn(async move {
                    rescued.store(!still.load(Ordering::SeqCst), Ordering::SeqCst);
                }));
                while goes_on(begun.elapsed()) {
                    std::hint::spin_loop();
                }
                over.store(true, Ordering::SeqCst);
            }
        };
        drop(runtime.spawn(spinner));
        thread::sleep(Duration::from_millis(1));
    }
}
