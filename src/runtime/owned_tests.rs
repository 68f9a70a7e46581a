//! Operations that own what they work on, in rings and on the pool, and what becomes of them when
//! nobody waits any more.

use std::{
    ffi::CString,
    future::poll_fn,
    io::{self, Write as _},
    os::fd::{FromRawFd, IntoRawFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use rustix::fs::{Mode, OFlags};

use super::{Backend, Builder, owned::perform, yield_now};
use crate::{
    buf::{IoBuf, IoBufMut},
    reactor::files::{ReadAt, WriteAt},
};

/// Memory that stays mapped when it is dropped, poisoned, so that a late write shows.
struct Poisoned {
    bytes: &'static mut [u8],
    dropped: Arc<AtomicBool>,
}

const POISON: u8 = 0xA5;

impl Poisoned {
    fn new(len: usize) -> (Self, *const [u8], Arc<AtomicBool>) {
        let bytes: &'static mut [u8] = Box::leak(vec![0; len].into_boxed_slice());
        let dropped = Arc::new(AtomicBool::new(false));
        let at: *const [u8] = bytes;
        (Self { bytes, dropped: dropped.clone() }, at, dropped)
    }
}

impl Drop for Poisoned {
    fn drop(&mut self) {
        self.bytes.fill(POISON);
        self.dropped.store(true, Ordering::Release);
    }
}

// SAFETY: leaked memory does not move.
unsafe impl IoBuf for Poisoned {
    fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }
}

// SAFETY: the same; the slice is this value's alone.
unsafe impl IoBufMut for Poisoned {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }

    unsafe fn set_written(&mut self, _len: usize) {}
}

fn on_every_backend(test: impl Fn(Builder)) {
    let uring = || Builder::new().workers(1).backend(Backend::Uring);
    if uring().build().is_ok() {
        test(uring());
        test(uring().defer_taskrun(false));
    }
    test(Builder::new().workers(1).backend(Backend::Epoll));
}

fn temporary_file(bytes: &[u8]) -> Arc<OwnedFd> {
    let name = rustix::fs::MemfdFlags::CLOEXEC;
    let mut file = std::fs::File::from(rustix::fs::memfd_create("ringloop", name).unwrap());
    file.write_all(bytes).unwrap();
    Arc::new(file.into())
}

#[test]
fn reads_and_writes_are_where_they_say() {
    on_every_backend(|builder| {
        let main = async {
            let file = temporary_file(b"0123456789");
            let read = async |offset, room| {
                let buf = Vec::with_capacity(room);
                perform(ReadAt { file: file.clone(), buf, part: 0..room, offset }).await
            };
            let write = async |offset, bytes: &[u8]| {
                let buf = bytes.to_vec();
                perform(WriteAt { file: file.clone(), buf, written: 0, offset }).await
            };
            let (result, buf) = read(3, 4).await;
            assert_eq!((result.unwrap(), &buf[..]), (4, &b"3456"[..]));
            let (result, buf) = write(8, b"abcd").await;
            assert_eq!((result.unwrap(), &buf[..]), (4, &b"abcd"[..]));
            let (result, buf) = read(7, 100).await;
            assert_eq!((result.unwrap(), &buf[..]), (5, &b"7abcd"[..]));
            // The end, and what is behind it.
            assert_eq!(read(12, 4).await.0.unwrap(), 0);
            assert_eq!(read(1 << 40, 4).await.0.unwrap(), 0);
        };
        builder.run(main).unwrap();
    });
}

#[test]
fn errors_come_with_what_was_given() {
    on_every_backend(|builder| {
        let main = async {
            let (_reader, writer) = std::io::pipe().unwrap();
            let file = Arc::new(OwnedFd::from(writer));
            let (result, buf) =
                perform(ReadAt { file, buf: vec![7; 4], part: 0..4, offset: 0 }).await;
            result.unwrap_err();
            assert_eq!(buf, [7; 4]);
            let (reader, _writer) = std::io::pipe().unwrap();
            let file = Arc::new(OwnedFd::from(reader));
            let (result, buf) =
                perform(WriteAt { file, buf: vec![7; 4], written: 0, offset: 0 }).await;
            result.unwrap_err();
            assert_eq!(buf, [7; 4]);
            let open = |path: &str| OpenAt {
                path: CString::new(path).unwrap(),
                flags: OFlags::RDONLY,
                mode: Mode::empty(),
            };
            let error = perform(open("/proc/no such file")).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            // A descriptor for a result, which no other program inherits (S9).
            let opened = perform(open("/proc/self/stat")).await.unwrap();
            let flags = rustix::io::fcntl_getfd(&opened).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            let (result, text) = perform(ReadAt {
                file: Arc::new(opened),
                buf: vec![0; 4096],
                part: 0..4096,
                offset: 0,
            })
            .await;
            assert_eq!(result.unwrap(), text.len());
            assert!(!text.is_empty());
        };
        builder.run(main).unwrap();
    });
}

#[test]
fn read_that_nobody_waits_for_is_cancelled_and_its_memory_goes_then() {
    // Goal: S1, and no operation that is left to itself for ever. Method: a read from an empty pipe
    // is in flight for sure. Its future is dropped, on the worker or on a plain thread: the buffer
    // lives until the ring has cancelled the read, and is not written to afterwards.
    for on_thread in [false, true] {
        let Ok(runtime) = Builder::new().workers(1).backend(Backend::Uring).build() else { return };
        let (reader, mut writer) = std::io::pipe().unwrap();
        let file: Arc<OwnedFd> = Arc::new(reader.into());
        let (buf, at, dropped) = Poisoned::new(1 << 16);
        let seen = dropped.clone();
        let main = async move {
            let mut read =
                Box::pin(perform(ReadAt { file: file.clone(), buf, part: 0..1 << 16, offset: 0 }));
            poll_fn(|cx| {
                assert!(read.as_mut().poll(cx).is_pending(), "the pipe is empty");
                Poll::Ready(())
            })
            .await;
            assert_eq!(Arc::strong_count(&file), 2);
            if on_thread {
                std::thread::spawn(move || drop(read)).join().unwrap();
            } else {
                drop(read);
            }
            assert!(!seen.load(Ordering::Acquire), "the buffer is the kernel's yet");
            while !seen.load(Ordering::Acquire) {
                yield_now().await;
            }
            assert_eq!(Arc::strong_count(&file), 1);
        };
        runtime.run(main).unwrap();
        assert!(dropped.load(Ordering::Acquire));
        let report = runtime.shutdown(Duration::from_secs(5));
        assert!(report.is_clean(), "{report:?}");
        let _ = writer.write_all(&[1; 4096]);
        // SAFETY: leaked, and nobody writes to it; that is what is tested.
        let bytes = unsafe { &*at };
        assert!(bytes.iter().all(|&byte| byte == POISON), "written to after its end");
    }
}

#[test]
fn read_in_flight_ends_with_its_runtime() {
    // Goal: shutdown waits for the kernel, and leaks nothing. Method: as above, but the future is
    // still there when the runtime ends.
    let Ok(runtime) = Builder::new().workers(1).backend(Backend::Uring).build() else { return };
    let (reader, _writer) = std::io::pipe().unwrap();
    let (buf, _, dropped) = Poisoned::new(1 << 16);
    let abandoned = runtime.spawn(perform(ReadAt {
        file: Arc::new(OwnedFd::from(reader)),
        buf,
        part: 0..1 << 16,
        offset: 0,
    }));
    runtime.run(yield_now()).unwrap();
    let report = runtime.shutdown(Duration::from_secs(5));
    assert!(report.is_clean(), "{report:?}");
    assert!(dropped.load(Ordering::Acquire), "its end was waited for");
    drop(abandoned);
}

#[test]
fn operation_may_be_waited_for_on_another_worker() {
    // Goal: an operation stays in its ring, and its future goes where its task goes. Method: started on
    // one worker, awaited on each of them in turn.
    let Ok(runtime) = Builder::new().workers(2).backend(Backend::Uring).build() else { return };
    let (reader, mut writer) = std::io::pipe().unwrap();
    let file: Arc<OwnedFd> = Arc::new(reader.into());
    let handle = runtime.handle();
    let main = async move {
        for (start, wait) in [(0, 1), (1, 0)] {
            let workers = handle.worker_ids();
            let file = file.clone();
            let started = handle.spawn_on(workers[start], move || async move {
                let buf = vec![0; 8];
                let mut read = Box::pin(perform(ReadAt { file, buf, part: 0..8, offset: 0 }));
                let first = poll_fn(|cx| Poll::Ready(read.as_mut().poll(cx).is_pending())).await;
                assert!(first, "the pipe is empty");
                (read,)
            });
            let (read,) = started.await.unwrap();
            let waiting = handle.spawn_on(workers[wait], move || read);
            writer.write_all(b"moved").unwrap();
            let (result, buf) = waiting.await.unwrap();
            assert_eq!((result.unwrap(), &buf[..]), (5, &b"moved"[..]));
        }
    };
    runtime.run(main).unwrap();
}

#[test]
fn send_without_a_copy_keeps_its_memory_until_it_is_told() {
    // Goal: an operation of two completions is over with the second: the bytes are overwritten as soon
    // as the buffer has come back, and the peer has those that were sent. Method: SEND_ZC.
    let Ok(runtime) = Builder::new().workers(1).backend(Backend::Uring).build() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    let (buf, _, dropped) = Poisoned::new(32 << 10);
    buf.bytes.fill(9);
    far.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let reader = std::thread::spawn(move || {
        let mut received = vec![0; 32 << 10];
        io::Read::read_exact(&mut far, &mut received).map(|()| received)
    });
    let main = async move {
        let (result, buf) = perform(SendZc { socket: Arc::new(near.into()), buf }).await;
        assert_eq!(result.unwrap(), 32 << 10);
        assert!(!dropped.load(Ordering::Acquire), "it has come back");
        drop(buf);
    };
    runtime.run(main).unwrap();
    let received = reader.join().unwrap().unwrap();
    assert!(received.iter().all(|&byte| byte == 9), "the bytes that were there");
}

/// send(2) from the operation's own memory; a kernel that does not know it has the pool send.
struct SendZc {
    socket: Arc<OwnedFd>,
    buf: Poisoned,
}

// SAFETY: leaked memory does not move; the socket stays open.
unsafe impl crate::reactor::Owned for SendZc {
    type Output = (io::Result<usize>, Poisoned);

    const OPCODE: u8 = io_uring::opcode::SendZc::CODE;

    fn entry(&mut self) -> io_uring::squeue::Entry {
        use std::os::fd::AsRawFd;
        let fd = io_uring::types::Fd(self.socket.as_raw_fd());
        io_uring::opcode::SendZc::new(fd, self.buf.as_ptr(), self.buf.len() as u32).build()
    }

    fn call(&mut self) -> io::Result<u32> {
        let flags = rustix::net::SendFlags::NOSIGNAL;
        Ok(rustix::net::send(&self.socket, self.buf.as_bytes(), flags)? as u32)
    }

    fn finish(self, result: io::Result<u32>) -> Self::Output {
        (result.map(|sent| sent as usize), self.buf)
    }
}

/// openat(2).
struct OpenAt {
    path: CString,
    /// `CLOEXEC` is added (S9).
    flags: OFlags,
    /// The permissions of a file that is made.
    mode: Mode,
}

// SAFETY: the path's bytes are on the heap, and stay where they are.
unsafe impl crate::reactor::Owned for OpenAt {
    type Output = io::Result<OwnedFd>;

    const OPCODE: u8 = io_uring::opcode::OpenAt::CODE;

    fn entry(&mut self) -> io_uring::squeue::Entry {
        let flags = (self.flags | OFlags::CLOEXEC).bits() as i32;
        io_uring::opcode::OpenAt::new(io_uring::types::Fd(libc::AT_FDCWD), self.path.as_ptr())
            .flags(flags)
            .mode(self.mode.bits())
            .build()
    }

    fn call(&mut self) -> io::Result<u32> {
        let opened = rustix::fs::openat(
            rustix::fs::CWD,
            &*self.path,
            self.flags | OFlags::CLOEXEC,
            self.mode,
        )?;
        Ok(opened.into_raw_fd() as u32)
    }

    fn finish(self, result: io::Result<u32>) -> io::Result<OwnedFd> {
        // SAFETY: the kernel has just opened it, for this operation.
        result.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) })
    }
}
