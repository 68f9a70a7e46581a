//! What only the reactor in memory promises: no system call, and the same run each time.

use std::{env, process, time::Duration};

use crate::{
    io::{AsyncReadExt, AsyncWriteExt},
    loom::global::{AtomicU64, Ordering},
    net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream},
    runtime::{Backend, Builder, spawn},
    time::{Instant, sleep, timeout},
};

fn run<T>(main: impl Future<Output = T>) -> T {
    Builder::new().workers(1).backend(Backend::Memory).run(main).unwrap()
}

/// Messages back and forth, a timeout, a cancelled read, the end. When each message came.
async fn program() -> Vec<Duration> {
    let began = Instant::now();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        loop {
            let lease = stream.read_lease().await.unwrap();
            if lease.is_empty() {
                return;
            }
            sleep(Duration::from_secs(60)).await;
            stream.write_lease(lease).await.unwrap();
        }
    });
    let mut client = TcpStream::connect(addr).await.unwrap();
    let mut times = Vec::new();
    for round in 0..20_u8 {
        client.write_all(&[round; 100]).await.unwrap();
        let mut reply = [0; 100];
        timeout(Duration::from_secs(59), client.read_exact(&mut reply)).await.unwrap_err();
        client.read_exact(&mut reply).await.unwrap();
        assert_eq!(reply, [round; 100]);
        times.push(began.elapsed());
    }
    client.close().await.unwrap();
    server.await.unwrap();
    times
}

/// The same of Unix sockets, whose path is no file.
async fn program_of_unix_sockets() -> Vec<Duration> {
    let began = Instant::now();
    let listener = UnixListener::bind("no/such/directory/socket").unwrap();
    let mut client = UnixStream::connect("no/such/directory/socket").await.unwrap();
    let (mut server, peer) = listener.accept().await.unwrap();
    assert!(peer.is_unnamed());
    let (left, right) = UnixDatagram::pair().unwrap();
    let mut times = Vec::new();
    for round in 0..20_u8 {
        let mut buf = [0; 100];
        timeout(Duration::from_secs(50), server.read(&mut buf)).await.unwrap_err();
        client.write_all(&[round; 100]).await.unwrap();
        server.read_exact(&mut buf).await.unwrap();
        timeout(Duration::from_secs(10), right.recv(&mut buf)).await.unwrap_err();
        left.send(&buf).await.unwrap();
        assert_eq!(right.recv(&mut buf).await.unwrap(), 100);
        assert_eq!(buf, [round; 100]);
        times.push(began.elapsed());
    }
    client.close().await.unwrap();
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
    times
}

/// The same by UDP, with a datagram that is refused.
async fn program_of_datagrams() -> Vec<Duration> {
    let began = Instant::now();
    let server = UdpSocket::bind("0.0.0.0:0").await.unwrap();
    let port = server.local_addr().unwrap().port();
    let echo = spawn(async move {
        let mut buf = [0; 200];
        loop {
            let (len, peer) = server.recv_from(&mut buf).await.unwrap();
            if len == 0 {
                return;
            }
            sleep(Duration::from_secs(60)).await;
            server.send_to(&buf[..len], peer).await.unwrap();
        }
    });
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(("127.0.0.1", port)).await.unwrap();
    let mut times = Vec::new();
    for round in 0..20_u8 {
        client.send(&[round; 100]).await.unwrap();
        let mut reply = [0; 200];
        timeout(Duration::from_secs(59), client.recv(&mut reply)).await.unwrap_err();
        assert_eq!(client.recv(&mut reply).await.unwrap(), 100);
        assert_eq!(reply[..100], [round; 100]);
        times.push(began.elapsed());
    }
    client.send(&[]).await.unwrap();
    echo.await.unwrap();
    client.send(b"to nobody").await.unwrap();
    let refused = client.recv(&mut [0; 8]).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    times
}

#[test]
fn twenty_minutes_pass_at_once_and_alike() {
    let all =
        async || [program().await, program_of_unix_sockets().await, program_of_datagrams().await];
    let runs = run(all());
    assert_eq!(runs, run(all()));
    for times in runs {
        for (round, time) in times.iter().enumerate() {
            let expected = Duration::from_secs(60) * (round as u32 + 1);
            assert_eq!(*time, expected, "round {round}");
        }
    }
}

const CHILD: &str = "RINGLOOP_TEST_COUNT_CALLS";
const NAME: &str = "net::tests::memory::a_run_makes_no_system_call";

#[test]
fn a_run_makes_no_system_call() {
    // Goal: no byte and no wait goes round the seam. Method: in a process of its own, each system
    // call of the thread that runs the program is caught by a filter, and counted, not made.
    if env::var_os(CHILD).is_some() {
        run(async {
            // Once without the filter: what is set up at its first use is there then.
            program().await;
            program_of_unix_sockets().await;
            program_of_datagrams().await;
            counted::start();
            program().await;
            program_of_unix_sockets().await;
            program_of_datagrams().await;
            counted::end();
        });
    }
    let child = process::Command::new(env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.code(), Some(counted::NONE), "{text}");
}

#[test]
fn the_count_of_calls_counts() {
    // Goal: the test above can fail. Method: one call is made under the filter.
    if env::var_os(CHILD).is_some() {
        counted::start();
        let _ = rustix::process::getppid();
        counted::end();
    }
    let name = NAME.replace("a_run_makes_no_system_call", "the_count_of_calls_counts");
    let child = process::Command::new(env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert_eq!(child.status.code(), Some(counted::NONE + 1), "one call");
}

/// A filter on this thread's system calls. Those of the allocator are let through.
mod counted {
    use std::mem;

    use super::{AtomicU64, Ordering};

    /// The exit status for no call; one for each more.
    pub(super) const NONE: i32 = 40;

    static CALLS: AtomicU64 = AtomicU64::new(0);

    extern "C" fn caught(_: i32) {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }

    /// From here on calls are counted, and not made.
    pub(super) fn start() {
        // Of the allocator, and of the end.
        const ALLOWED: [i64; 8] = [
            libc::SYS_brk,
            libc::SYS_mprotect,
            libc::SYS_mmap,
            libc::SYS_munmap,
            libc::SYS_mremap,
            libc::SYS_madvise,
            libc::SYS_exit_group,
            libc::SYS_rt_sigreturn,
        ];
        // BPF: load the number of the call; skip to "allow" if it is one of these; else trap.
        let statement =
            |code: u32, k: u32, jt: u8| libc::sock_filter { code: code as u16, jt, jf: 0, k };
        let mut filter = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
        for (at, number) in ALLOWED.iter().enumerate() {
            let rest = (ALLOWED.len() - at) as u8;
            let jump = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
            filter.push(statement(jump, *number as u32, rest));
        }
        filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_TRAP, 0));
        filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0));
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: plain calls with arguments that live until they return; the handler touches an
        // atomic only.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = caught as extern "C" fn(i32) as usize;
            assert_eq!(libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()), 0);
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            let mode = libc::SECCOMP_MODE_FILTER;
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program), 0);
        }
    }

    /// Ends the process: its status says how many calls there were.
    pub(super) fn end() -> ! {
        let calls = CALLS.load(Ordering::Relaxed).min(20) as i32;
        // SAFETY: it takes nothing.
        unsafe { libc::_exit(NONE + calls) }
    }
}
