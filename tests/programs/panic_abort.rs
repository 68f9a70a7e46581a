//! A build in which a panic ends the process: everything else works as always, and no panic is
//! contained, as it would be in other builds.
//!
//! ```text
//! cargo run --profile abort --example panic_abort
//! ```

use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use ringloop::{
    Backend, Builder,
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    spawn, spawn_local,
    sync::{Lock, channel},
    time::{sleep, timeout},
    to_thread, yield_now,
};

/// The places in which a child of this program panics.
const PLACES: &[&str] = &["task", "job", "main", "destructor"];
const TEXT: &str = "a panic on purpose";

fn main() -> ExitCode {
    if !cfg!(panic = "abort") {
        eprintln!("panics unwind in this build: run it with --profile abort");
        return ExitCode::FAILURE;
    }
    if let Some(place) = std::env::args().nth(1) {
        panic_in(&place);
        println!("still there after a panic in the {place}");
        return ExitCode::FAILURE;
    }
    for backend in backends() {
        for workers in [1, 2] {
            let runtime = Builder::new().backend(backend).workers(workers).build().expect("built");
            runtime.run(work()).expect("nothing panics");
            let report = runtime.shutdown(Duration::from_secs(10));
            assert!(report.is_clean(), "{report:?}");
            Builder::new().backend(backend).workers(workers).run(work()).expect("nothing panics");
            println!("{backend} with {workers} workers: well");
        }
    }
    for place in PLACES {
        let mut child = Command::new(std::env::current_exe().expect("this program"));
        let output = child.arg(place).stdin(Stdio::null()).output().expect("a child");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.signal(), Some(6), "{place}: {}, {said}", output.status);
        assert!(said.contains(TEXT), "{place}: {said}");
        println!("a panic in the {place}: SIGABRT");
    }
    ExitCode::SUCCESS
}

/// The backends that work here.
fn backends() -> Vec<Backend> {
    let works = |backend: &Backend| Builder::new().backend(*backend).build().is_ok();
    [Backend::Uring, Backend::Epoll].into_iter().filter(works).collect()
}

/// Some of everything, with cancels and errors, none of which needs a panic.
async fn work() {
    let tasks: Vec<_> = (0..100)
        .map(|index| {
            spawn(async move {
                yield_now().await;
                index
            })
        })
        .collect();
    let mut sum = 0;
    for task in tasks {
        sum += task.await.expect("it ends well");
    }
    assert_eq!(sum, 4950);

    let never = spawn(std::future::pending::<()>());
    never.cancel();
    assert!(never.await.expect_err("it is cancelled").is_cancelled());
    assert!(timeout(Duration::from_millis(2), sleep(Duration::MAX)).await.is_err());
    assert_eq!(to_thread(|| 6 * 7).await.expect("the job ends well"), 42);

    let lock = std::sync::Arc::new(Lock::new(0));
    let (sender, receiver) = channel(1);
    let theirs = lock.clone();
    let adds = spawn(async move {
        for value in 0..10 {
            *theirs.lock().await += value;
            sender.send(value).await.expect("there is a receiver");
        }
    });
    for value in 0..10 {
        assert_eq!(receiver.recv().await, Ok(value));
    }
    adds.await.expect("it ends well");
    assert_eq!(*lock.lock().await, 45);

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let echo = spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        loop {
            let lease = stream.read_lease().await?;
            if lease.is_empty() {
                return Ok::<_, std::io::Error>(());
            }
            stream.write_lease(lease).await?;
        }
    });
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let mut back = [0; 5];
    for _ in 0..10 {
        stream.write_all(b"hello").await.expect("written");
        stream.read_exact(&mut back).await.expect("read");
        assert_eq!(&back, b"hello");
    }
    drop(stream);
    echo.await.expect("it ends well").expect("the connection works");
}

fn panic_in(place: &str) {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("{TEXT}");
        }
    }
    let ran = Builder::new().workers(2).run(async move {
        match place {
            "task" => drop(spawn(async { panic!("{TEXT}") }).await),
            "job" => drop(to_thread(|| panic!("{TEXT}")).await),
            "destructor" => {
                let bomb = Bomb;
                let task = spawn_local(async move {
                    let _bomb = bomb;
                    std::future::pending::<()>().await;
                });
                task.abort();
                let _ = task.await;
            }
            _ => panic!("{TEXT}"),
        }
    });
    drop(ran);
}
