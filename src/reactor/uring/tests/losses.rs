//! Completions that never come, and reads that wait while nothing else does.

use super::*;

/// Sockets that a runtime may read from, and their peers.
fn pairs(count: usize) -> (Vec<TcpStream>, Vec<net::TcpStream>) {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let pair = || (net::TcpStream::connect(address).unwrap(), listener.accept().unwrap().0);
    let (near, far): (Vec<_>, Vec<_>) = (0..count).map(|_| pair()).unzip();
    (near.into_iter().map(|near| TcpStream::from_std(near).unwrap()).collect(), far)
}

#[test]
fn dropped_completion_is_told_and_ends_the_runtime() {
    // Goal: a completion that the kernel has no memory for leaves nobody waiting for ever, and frees
    // nothing that is in flight (S1). Method: the first completion after the start is dropped; the
    // counter tells (even seeds), or the next call does (odd ones). Then the hook hears it once, what
    // runs is cancelled, nothing new is let in, and the end of the runtime leaks what is missing.
    for (workers, seed, defer) in [(1, 2, true), (1, 3, true), (2, 4, true), (2, 5, false)] {
        let what = format!("loss, {workers} workers, seed {seed}, deferred: {defer}");
        eprintln!("{what}");
        let _watchdog = Watchdog::new(what.clone());
        let script = Arc::new(Script::new(seed, &[(Fault::Dropped, u64::MAX)]));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let theirs = heard.clone();
        let hook = move |event: &ErrorEvent| {
            let lost = matches!(event, ErrorEvent::CompletionsLost { .. });
            theirs.lock().unwrap().push((lost, event.to_string()));
        };
        let builder = Builder::new().workers(workers).backend(Backend::Uring).defer_taskrun(defer);
        let runtime = match script.install(|| builder.on_error(hook).build()) {
            Ok(runtime) => runtime,
            Err(error) => return loud(&format!("SKIPPED: {error}")),
        };
        let (mut near, mut far) = pairs(2);
        let begun = runtime.run(async {
            script.begin();
            let mut reads = pin!(join_all(near.iter_mut().map(|near| near.read_lease())));
            assert!(give_up_after(2, reads.as_mut()).await.is_none());
            far.iter_mut().for_each(|far| far.write_all(b"x").unwrap());
            // Whichever is dropped, this ends for no other reason.
            reads.await.into_iter().for_each(|lease| drop(lease.unwrap()));
            std::future::pending::<()>().await;
        });
        assert!(begun.unwrap_err().is_cancelled(), "{what}");
        assert!(runtime.run(async {}).unwrap_err().is_closed(), "{what}: work is let in");
        drop(near);
        let handle = runtime.handle();
        let report = runtime.shutdown(SETTLE);
        assert!(report.is_clean(), "{what}: {report:?}");
        assert_eq!(script.unseen(), [], "{what}");
        let heard = heard.lock().unwrap();
        assert!(matches!(&heard[..], [(true, _)]), "{what}: {heard:?}");
        assert!(handle.metrics().leaked_operations <= 1, "{what}: {:?}", handle.metrics());
    }
}

#[test]
fn dropped_completion_ends_a_run_on_the_calling_thread() {
    // Goal: the same where the calling thread is the worker.
    let _watchdog = Watchdog::new("loss of a run".to_owned());
    let script = Arc::new(Script::new(2, &[(Fault::Dropped, u64::MAX)]));
    let heard = Arc::new(AtomicU64::new(0));
    let theirs = heard.clone();
    let hook = move |event: &ErrorEvent| {
        assert!(matches!(event, ErrorEvent::CompletionsLost { worker: 0, .. }), "{event}");
        theirs.fetch_add(1, Ordering::SeqCst);
    };
    let builder = Builder::new().workers(1).backend(Backend::Uring).on_error(hook);
    let (mut near, mut far) = pairs(1);
    let main = async {
        script.begin();
        let mut read = pin!(near[0].read_lease());
        assert!(give_up_after(2, read.as_mut()).await.is_none());
        far[0].write_all(b"x").unwrap();
        assert!(read.await.is_ok());
        std::future::pending::<()>().await;
    };
    let error = script.install(|| builder.run(main)).unwrap_err();
    if let Some(error) = error.as_build_error() {
        return loud(&format!("SKIPPED: {error}"));
    }
    assert!(error.is_cancelled(), "{error}");
    assert_eq!(heard.load(Ordering::SeqCst), 1);
}

#[test]
fn one_of_more_idle_reads_than_the_ring_has_entries_is_heard() {
    // Goal: operations that only wait use up no entry, whatever the ring's size. Method: as many
    // reads as the rings have entries for completions, or for submissions, and some more; half of
    // them lend memory. Nobody speaks but one, from the first to the last.
    for (entries, sockets) in [(16, 100), (256, 300)] {
        let make = |seed| Script::new(seed, &[]).tiny(entries);
        trial(&format!("{sockets} idle reads in {entries}"), 1, make, |runtime, _| {
            let (near, mut far) = pairs(sockets);
            let (heard, hears) = mpsc::channel();
            let tasks = near.into_iter().enumerate().map(|(i, mut near)| {
                let heard = heard.clone();
                runtime.spawn(async move {
                    let mut byte = [0];
                    let got = if i % 2 == 0 {
                        near.read_lease().await.unwrap()[0]
                    } else {
                        near.read_exact(&mut byte).await.unwrap();
                        byte[0]
                    };
                    heard.send((i, got)).unwrap();
                })
            });
            let tasks: Vec<_> = tasks.collect();
            let begun = Instant::now();
            while runtime.metrics().in_flight_operations < sockets as u64 {
                assert!(begun.elapsed() < SETTLE, "{:?}", runtime.metrics());
                thread::yield_now();
            }
            for (i, far) in far.iter_mut().enumerate() {
                far.write_all(&[byte(i, 0)]).unwrap();
                assert_eq!(hears.recv_timeout(SETTLE).expect("it is heard"), (i, byte(i, 0)));
            }
            runtime.run(join_all(tasks)).unwrap();
        });
    }
}
