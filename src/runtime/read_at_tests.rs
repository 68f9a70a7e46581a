//! Operations that own their memory, and what becomes of it when nobody waits for them.

use std::{
    io::Write as _,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Backend, Builder, read_at::read_at, yield_now};
use crate::buf::{IoBuf, IoBufMut};

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
        test(uring().incremental_buffers(false));
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
fn a_read_gives_the_bytes_from_its_offset() {
    on_every_backend(|builder| {
        let file = temporary_file(b"0123456789");
        let read = async {
            let (result, buf) = read_at(file.clone(), Vec::with_capacity(4), 3).await;
            assert_eq!(result.unwrap(), 4);
            assert_eq!(buf, b"3456");
            let (result, buf) = read_at(file.clone(), vec![7; 4], 10).await;
            assert_eq!(result.unwrap(), 0);
            assert_eq!(buf, b"");
        };
        builder.run(read).unwrap();
    });
}

#[test]
fn a_read_from_what_cannot_be_read_gives_the_error_and_the_buffer() {
    on_every_backend(|builder| {
        let (_reader, writer) = std::io::pipe().unwrap();
        let read = async {
            let (result, buf) = read_at(Arc::new(writer.into()), vec![7; 4], 0).await;
            assert!(result.is_err());
            assert_eq!(buf, [7; 4]);
        };
        builder.run(read).unwrap();
    });
}

#[test]
fn memory_of_an_abandoned_read_lives_until_the_kernel_is_done() {
    // Goal: S1: a read whose future and runtime are gone writes to nothing that was freed.
    // Method: a read from an empty pipe is in flight for sure; future and runtime are dropped;
    // then the pipe gets bytes, and the memory shows whether anybody wrote after its drop.
    let (reader, mut writer) = std::io::pipe().unwrap();
    let reader: Arc<OwnedFd> = Arc::new(reader.into());
    let builder = Builder::new().workers(1).backend(Backend::Uring);
    let (buf, at, dropped) = Poisoned::new(1 << 16);
    let seen = dropped.clone();
    let Ok(runtime) = builder.build() else { return };
    let abandoned = runtime.spawn(read_at(reader, buf, 0));
    let observe = async move {
        abandoned.abort();
        let _ = abandoned.await;
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(!seen.load(Ordering::Acquire), "the buffer is the kernel's yet");
    };
    runtime.run(observe).unwrap();
    let started = runtime.spawn(async {});
    runtime.run(started).unwrap().unwrap();
    let report = runtime.shutdown(Duration::from_secs(5));
    assert!(report.is_clean(), "{report:?}");
    assert!(dropped.load(Ordering::Acquire), "its end was waited for");
    // Nobody may read from the pipe any more.
    let _ = writer.write_all(&[1; 4096]);
    // SAFETY: leaked, and nobody writes to it; that is what is tested.
    let bytes = unsafe { &*at };
    assert!(bytes.iter().all(|&byte| byte == POISON), "written to after its end");
}
