//! Bad input and missing resources: each error names its fix.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use ringloop::net::{TcpListener, TcpStream, UdpSocket, UnixListener};
use ringloop::{Backend, Builder, Handle, Runtime};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::harness::{ErrorLog, Kind, loud, must_panic, on_every};
use crate::measure::{open_fds, thread_count};
use crate::processes::{isolated, isolated_with};

const NOBODY: u32 = 65534;

/// The error of a build. Both ways to start must give the same one.
fn build_error(make: impl Fn() -> Builder) -> String {
    let text = make().build().expect_err("no runtime").to_string();
    let ran = make().run(async {}).expect_err("no run");
    assert!(ran.as_build_error().is_some(), "{ran}");
    text
}

#[test]
fn builder_with_no_workers_is_refused() {
    let text = build_error(|| Builder::new().workers(0));
    assert!(text.contains("worker"), "{text}");
}

#[test]
fn backend_names_parse() {
    assert!(matches!("auto".parse(), Ok(Backend::Auto)));
    assert!(matches!("uring".parse(), Ok(Backend::Uring)));
    assert!(matches!("epoll".parse(), Ok(Backend::Epoll)));
    let text = match "kqueue".parse::<Backend>() {
        Ok(_) => panic!("kqueue is no backend of ours"),
        Err(error) => error.to_string(),
    };
    assert!(text.contains("kqueue") && text.contains("epoll"), "{text}");
}

#[test]
fn environment_epoll_chooses_the_backend() {
    // Goal: RINGLOOP_BACKEND is read when the builder says auto; method: a child with it set.
    let set = |command: &mut Command| {
        command.env("RINGLOOP_BACKEND", "epoll");
    };
    isolated_with(set, || {
        let runtime = Runtime::new().unwrap();
        assert!(matches!(runtime.handle().backend(), Backend::Epoll));
    });
}

#[test]
fn environment_with_nonsense_is_an_error_that_lists_the_choices() {
    let set = |command: &mut Command| {
        command.env("RINGLOOP_BACKEND", "fast");
    };
    isolated_with(set, || {
        let text = build_error(|| Builder::new().workers(1));
        for word in ["RINGLOOP_BACKEND", "fast", "auto", "uring", "epoll"] {
            assert!(text.contains(word), "{word} in {text}");
        }
    });
}

#[test]
fn use_outside_a_runtime_panics_and_names_the_fix() {
    // Goal: every entry point that needs a runtime says so; method: call each on a plain thread.
    let texts = [
        must_panic(|| drop(ringloop::spawn(async {}))),
        must_panic(|| drop(ringloop::spawn_local(async {}))),
        must_panic(|| drop(ringloop::to_thread(|| ()))),
        must_panic(|| Handle::current().workers()),
    ];
    for text in texts {
        assert!(text.contains("ringloop::run") || text.contains("Handle"), "{text}");
    }
    let text = Handle::try_current().map(|_| ()).expect_err("no runtime here").to_string();
    assert!(text.contains("ringloop::run"), "{text}");
    let group = polled_outside(async { Ok(ringloop::task_group(async |_group| ()).await) });
    assert!(group.starts_with("ringloop::task_group: no ringloop runtime"), "{group}");
    let group = ringloop::try_task_group(async |_group| Ok::<_, std::fmt::Error>(()));
    let group = polled_outside(async { Ok(group.await) });
    assert!(group.starts_with("ringloop::try_task_group: no ringloop runtime"), "{group}");
}

/// The panic or error of one poll of `future` outside of any runtime.
fn polled_outside<T>(future: impl Future<Output = std::io::Result<T>>) -> String {
    let mut future = Box::pin(future);
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        crate::tools::poll_by_hand(&mut future, std::task::Waker::noop())
    }));
    match polled {
        Ok(std::task::Poll::Ready(Ok(_))) => "done".into(),
        Ok(std::task::Poll::Ready(Err(error))) => error.to_string(),
        Ok(std::task::Poll::Pending) => panic!("pending without a runtime: it would wait for ever"),
        Err(payload) => crate::harness::panic_text(&*payload),
    }
}

#[test]
fn leaves_polled_outside_a_runtime_say_so() {
    // Goal: no future of the library waits for ever without a runtime; method: poll timers and
    // sockets outside.
    let sleep = polled_outside(async {
        ringloop::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    });
    let accept = polled_outside(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        listener.accept().await.map(drop)
    });
    let std_listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = std_listener.local_addr().unwrap();
    let read = polled_outside(async {
        let stream = TcpStream::connect(address).await?;
        stream.peek(&mut [0; 1]).await.map(drop)
    });
    for text in [sleep, accept, read] {
        assert!(text.contains("runtime"), "{text}");
    }
}

#[test]
fn spawn_after_block_on_on_a_plain_thread_is_refused() {
    // Goal: a thread that has blocked on a runtime is not inside it afterwards.
    on_every(|cfg| {
        let runtime = cfg.runtime();
        runtime.must_run(async {});
        assert!(Handle::try_current().is_err());
        must_panic(|| drop(ringloop::spawn(async {})));
        cfg.once(async {});
        assert!(Handle::try_current().is_err());
    });
}

fn limit(resource: Resource, soft: u64) {
    let maximum = getrlimit(resource).maximum;
    setrlimit(resource, Rlimit { current: Some(soft), maximum })
        .expect("own limits may be lowered");
}

/// Runs `body` in a child process that belongs to an ordinary user.
fn as_nobody<F: FnOnce()>(body: F) {
    let me = rustix::process::getuid();
    if !me.is_root() && me.as_raw() != NOBODY {
        loud("NOTE skipped: only root can become another user");
        return;
    }
    let become_nobody = |command: &mut Command| {
        command.uid(NOBODY).gid(NOBODY);
    };
    if me.is_root() {
        let mut probe = Command::new(std::env::current_exe().unwrap());
        become_nobody(probe.arg("--list").stdout(Stdio::null()));
        if !probe.status().is_ok_and(|status| status.success()) {
            loud("NOTE skipped: an ordinary user cannot run this binary where it lies");
            return;
        }
    }
    isolated_with(become_nobody, body);
}

#[test]
fn builder_without_descriptors_fails_with_the_limit_named() {
    // Goal: descriptors run out at the start; method: lower RLIMIT_NOFILE to the number that is
    // open, build, find the fix in the text, then raise it again and build.
    isolated(|| {
        on_every(|cfg| {
            let before = open_fds();
            let highest = *before.keys().max().unwrap() as u64;
            for spare in 0..3 {
                let old = getrlimit(Resource::Nofile).current.unwrap();
                limit(Resource::Nofile, highest + 1 + spare);
                let built = cfg.builder().build();
                limit(Resource::Nofile, old);
                match built {
                    Ok(runtime) => drop(runtime),
                    Err(error) => {
                        assert!(spare > 0 || error.io_error().is_some(), "{error:?}");
                        let text = error.to_string();
                        assert!(text.contains("ulimit") || text.contains("NOFILE"), "{text}");
                    }
                }
                assert_eq!(open_fds(), before, "a failed build leaves no descriptor");
            }
            drop(cfg.runtime());
        });
    });
}

#[test]
fn calls_without_descriptors_name_the_limit() {
    // Goal: whatever needs a descriptor says what to do when there is none; no name of a host is said to be unknown.
    isolated(|| {
        on_every(|cfg| {
            let runtime = cfg.runtime();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = listener.local_addr().unwrap();
            // The threads and what they hold are there from here on.
            runtime.must_run(async { drop(ringloop::net::lookup_host("localhost:1").await) });
            let old = getrlimit(Resource::Nofile).current.unwrap();
            limit(Resource::Nofile, 3);
            let texts = runtime.must_run(async move {
                [
                    ringloop::net::lookup_host("localhost:1").await.unwrap_err().to_string(),
                    TcpStream::connect(addr).await.unwrap_err().to_string(),
                    TcpListener::bind("127.0.0.1:0").await.err().unwrap().to_string(),
                    UdpSocket::bind("127.0.0.1:0").await.err().unwrap().to_string(),
                    ringloop::fs::File::open("/dev/null").await.err().unwrap().to_string(),
                    ringloop::process::Command::new("true")
                        .spawn()
                        .await
                        .err()
                        .unwrap()
                        .to_string(),
                ]
            });
            limit(Resource::Nofile, old);
            for text in texts {
                assert!(text.contains("ulimit -n"), "{text}");
            }
        });
    });
}

#[test]
fn builder_refused_threads_fails_with_the_limit_named() {
    // Goal: test 49; method: a child as an ordinary user with RLIMIT_NPROC at its own count.
    as_nobody(|| {
        assert!(!rustix::process::getuid().is_root());
        let threads = thread_count();
        limit(Resource::Nproc, 0);
        let Err(spawned) = std::thread::Builder::new().spawn(|| ()) else {
            loud("NOTE skipped: this kernel grants threads beyond RLIMIT_NPROC");
            return;
        };
        assert_eq!(spawned.kind(), ErrorKind::WouldBlock);
        for workers in [1, 2, 4] {
            let build = || Builder::new().workers(workers).backend(Backend::Epoll);
            let error = build().build().expect_err("no thread, no runtime");
            let text = error.to_string();
            assert!(text.contains("thread") && text.contains("ulimit"), "{text}");
            assert!(error.io_error().is_some());
            // The calling thread is worker 0, so a single worker needs no thread at all.
            let ran = build().run(async {
                ringloop::time::sleep(Duration::from_millis(1)).await;
                let job = ringloop::to_thread(|| 1).await;
                // A pool that cannot start a thread must return that as the job's result, or run
                // the job.
                drop(job);
                1
            });
            if workers == 1 {
                assert_eq!(ran.unwrap(), 1);
            } else {
                assert!(ran.unwrap_err().as_build_error().is_some());
            }
        }
        assert_eq!(thread_count(), threads);
    });
}

#[test]
fn shutdown_on_a_thread_of_the_runtime_without_another_is_reported() {
    // Goal: if no thread can complete the shutdown, both the hook and the returned report say so;
    // method: a task shuts its runtime down where no thread can be started.
    as_nobody(|| {
        let log = ErrorLog::default();
        let hear = log.clone();
        let builder = Builder::new().workers(2).backend(Backend::Epoll);
        let runtime = builder.on_error(move |event| hear.hear(event)).build().unwrap();
        limit(Resource::Nproc, 0);
        if std::thread::Builder::new().spawn(|| ()).is_ok() {
            loud("NOTE skipped: this kernel grants threads beyond RLIMIT_NPROC");
            return;
        }
        let (handle, (tell, told)) = (runtime.handle(), std::sync::mpsc::channel());
        drop(handle.spawn(async move {
            tell.send(runtime.shutdown(Duration::from_secs(1))).unwrap();
        }));
        let report = told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(!report.is_clean(), "{report:?}");
        assert_eq!(log.take(Kind::Shutdown).len(), 1);
    });
}

#[test]
fn bind_to_address_in_use_is_that_error() {
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let error = TcpListener::bind(first.local_addr().unwrap()).await;
            assert_eq!(error.expect_err("in use").kind(), ErrorKind::AddrInUse);
        });
    });
}

#[test]
fn bind_without_permission_is_that_error() {
    // Goal: a privileged port as an ordinary user.
    let floor = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let floor: u16 = floor.unwrap_or_default().trim().parse().unwrap_or(1024);
    if floor <= 80 {
        loud("NOTE skipped: any user may bind port 80 here");
        return;
    }
    as_nobody(|| {
        assert!(!rustix::process::getuid().is_root());
        on_every(|cfg| {
            cfg.everywhere(|| async {
                let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
                let error = TcpListener::bind(address).await;
                assert_eq!(error.expect_err("refused").kind(), ErrorKind::PermissionDenied);
            });
        });
    });
}

#[test]
fn bind_and_connect_to_nonsense_give_errors() {
    // Goal: empty lists, unknown names and addresses of others are io errors, not hangs.
    on_every(|cfg| {
        cfg.everywhere(|| async {
            let none: &[SocketAddr] = &[];
            assert_eq!(
                TcpStream::connect(none).await.err().unwrap().kind(),
                ErrorKind::InvalidInput
            );
            assert_eq!(
                TcpListener::bind(none).await.err().unwrap().kind(),
                ErrorKind::InvalidInput
            );
            let error = TcpListener::bind("192.0.2.1:0").await.err().unwrap();
            assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
            let error = UdpSocket::bind("192.0.2.1:0").await.err().unwrap();
            assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
            assert!(error.to_string().contains("not an address of this machine"), "{error}");
            let error = UnixListener::bind("/no such/place").err().unwrap();
            assert!(error.to_string().contains("its directory does not exist"), "{error}");
            assert!(TcpStream::connect("not an address").await.is_err());
        });
    });
}

#[test]
fn builder_with_too_many_workers_is_refused() {
    // Goal: the upper bound is refused above, and works up to it.
    let text = build_error(|| Builder::new().workers(49));
    assert!(text.contains("48"), "{text}");
    let runtime = Builder::new().workers(48).build().unwrap();
    assert_eq!(runtime.run(async { ringloop::spawn(async { 1 }).await.unwrap() }).unwrap(), 1);
    assert!(build_error(|| Builder::new().workers(1).blocking_threads(0)).contains("thread"));
}

#[test]
fn runtimes_beyond_the_limit_are_refused_and_come_back() {
    // Goal: a full table of runtimes is an error, not a crash; method: build until refused, drop
    // all, build again. A refusal for lack of threads or descriptors counts as well.
    isolated(|| {
        let mut all = Vec::new();
        let text = loop {
            match Builder::new().workers(1).build() {
                Ok(runtime) => all.push(runtime),
                Err(error) => break error.to_string(),
            }
            assert!(all.len() < 5000, "no bound was found");
        };
        let named = ["runtimes are alive", "ulimit"].iter().any(|words| text.contains(words));
        assert!(named, "after {} runtimes: {text}", all.len());
        drop(all);
        let again = Builder::new().workers(2).build().unwrap();
        assert_eq!(again.run(async { 1 }).unwrap(), 1);
    });
}

/// Whether `?` takes the error in a function that returns `io::Result`, and the error stays within.
fn fits_io<E: std::error::Error + Into<std::io::Error> + 'static>(error: E) -> std::io::Error {
    let text = error.to_string();
    let error = error.into();
    assert!(error.get_ref().is_some_and(|inner| inner.is::<E>()), "{error}");
    assert_eq!(error.to_string(), text);
    error
}

#[test]
fn errors_of_what_waits_fit_into_io_errors() {
    // Goal: a handler of a server returns io::Result, and `?` works in it on whatever it awaits.
    use ringloop::sync::{Barrier, Queue, Semaphore, broadcast, channel, oneshot, watch};
    ringloop::run(async {
        let semaphore = Semaphore::new(0);
        semaphore.close();
        fits_io(semaphore.acquire().await.unwrap_err());
        let queue = Queue::unbounded();
        queue.shutdown_now();
        fits_io(queue.put(7).await.unwrap_err());
        fits_io(queue.get().await.unwrap_err());
        let (sender, _) = channel(1);
        fits_io(sender.send(7).await.unwrap_err());
        let (_, receiver) = channel::<u32>(1);
        fits_io(receiver.recv().await.unwrap_err());
        let (sender, _) = broadcast::channel(1);
        fits_io(sender.send(7).unwrap_err());
        let (_, mut receiver) = broadcast::channel::<u32>(1);
        fits_io(receiver.recv().await.unwrap_err());
        let (sender, _) = watch::channel(1);
        fits_io(sender.send(7).unwrap_err());
        let (_, mut receiver) = watch::channel(1);
        fits_io(receiver.changed().await.unwrap_err());
        let (_, deferred) = oneshot::<u32>();
        fits_io(deferred.await.unwrap_err());
        let barrier = Barrier::new(2);
        barrier.abort();
        fits_io(barrier.wait().await.unwrap_err());
        fits_io(ringloop::race(Vec::<std::future::Ready<()>>::new()).err().unwrap());
        let group = ringloop::try_task_group(async |_group| Err::<(), _>(std::fmt::Error));
        fits_io(group.await.unwrap_err());
    });
    fits_io(Handle::try_current().unwrap_err());
    let build = || Builder::new().workers(0);
    assert_eq!(fits_io(build().build().unwrap_err()).kind(), ErrorKind::Other);
    assert_eq!(fits_io(build().run(async {}).unwrap_err()).kind(), ErrorKind::Other);
}

#[test]
fn stack_that_would_overflow_is_refused() {
    let text = build_error(|| Builder::new().thread_stack_size(65_535));
    assert!(text.contains("at least 65536"), "{text}");
    let pool = ringloop::ThreadPool::builder("small").threads(1).stack_size(0).build();
    let text = pool.err().unwrap().to_string();
    assert!(text.contains("at least 65536"), "{text}");
    on_every(|cfg| {
        let runtime = cfg.builder().thread_stack_size(65_536).build().unwrap();
        let sum = runtime.run(async {
            let task = ringloop::spawn(async { ringloop::to_thread(|| 1).await.unwrap() });
            task.await.unwrap() + ringloop::fs::metadata("/").await.map_or(0, |_| 1)
        });
        assert_eq!(sum.unwrap(), 2);
    });
}

#[test]
fn error_of_a_chain_that_unwraps_stays_short() {
    // Goal: a panic that comes up through tasks which unwrap each other's results names the first panic, and does not
    // double with each of them.
    fn chain(tasks: u32) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            match tasks {
                0 => panic!("the \"first\" panic"),
                _ => ringloop::spawn(chain(tasks - 1)).await.unwrap(),
            }
        })
    }
    let error = ringloop::run(async { ringloop::spawn(chain(14)).await.unwrap_err() });
    let text = format!("{error:?}");
    assert!(
        text.len() < 2000 && text.contains("the \"first\" panic"),
        "{} bytes: {text}",
        text.len()
    );
}
