use std::{
    collections::VecDeque,
    future::pending,
    io::ErrorKind,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::Wake,
};

use super::*;

/// A stream whose writes are scripted: how many bytes each takes, no room, or an error. Behind the
/// script, everything is taken.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Played>>);

#[derive(Default)]
struct Played {
    plan: VecDeque<Poll<io::Result<usize>>>,
    /// The writes that took something.
    writes: Vec<Vec<u8>>,
    flushes: usize,
    shut: bool,
    waker: Option<Waker>,
}

impl Script {
    fn plan(plan: impl IntoIterator<Item = Poll<io::Result<usize>>>) -> Self {
        let script = Self::default();
        script.0.lock().plan.extend(plan);
        script
    }

    fn wrote(&self) -> Vec<String> {
        let writes = &self.0.lock().writes;
        writes.iter().map(|bytes| String::from_utf8(bytes.clone()).unwrap()).collect()
    }

    fn make_room(&self) {
        self.0.lock().waker.take().expect("somebody waits for room").wake();
    }
}

impl Read for Script {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl Write for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut played = self.0.lock();
        let taken = match played.plan.pop_front() {
            None => buf.len(),
            Some(Poll::Ready(Ok(room))) => room.min(buf.len()),
            Some(Poll::Ready(error)) => return Poll::Ready(error),
            Some(Poll::Pending) => {
                played.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        };
        played.writes.push(buf[..taken].to_vec());
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().shut = true;
        Poll::Ready(Ok(()))
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A task of one future.
struct Driver {
    wakes: Arc<Wakes>,
    waker: Waker,
}

impl Driver {
    fn new() -> Self {
        let wakes = Arc::new(Wakes::default());
        Self { waker: Waker::from(wakes.clone()), wakes }
    }

    fn poll<F: Future>(&self, future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(&self.waker))
    }

    fn woken(&self) -> usize {
        self.wakes.0.load(Ordering::Relaxed)
    }
}

async fn write(stream: &mut Gathered<Script>, text: &str) -> io::Result<usize> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, text.as_bytes())).await
}

async fn flush(stream: &mut Gathered<Script>) -> io::Result<()> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_flush(cx)).await
}

fn room(bytes: usize) -> Poll<io::Result<usize>> {
    Poll::Ready(Ok(bytes))
}

#[test]
fn writes_of_a_poll_leave_at_its_end() {
    let script = Script::default();
    let look = script.clone();
    let mut task = pin!(gather_writes(script.clone(), |mut stream| async move {
        for text in ["one ", "two "] {
            assert_eq!(write(&mut stream, text).await.unwrap(), 4);
            flush(&mut stream).await.unwrap();
        }
        let slices = [IoSlice::new(b"th"), IoSlice::new(b""), IoSlice::new(b"ree")];
        assert!(stream.is_write_vectored());
        let wrote = poll_fn(|cx| Pin::new(&mut stream).poll_write_vectored(cx, &slices)).await;
        assert_eq!(wrote.unwrap(), 5);
        assert!(look.wrote().is_empty(), "held until the poll ends");
        assert_eq!(look.0.lock().flushes, 0);
        pending::<()>().await;
    }));
    assert!(Driver::new().poll(task.as_mut()).is_pending());
    assert_eq!(script.wrote(), ["one two three"]);
    assert_eq!(script.0.lock().flushes, 1, "what is behind was flushed, once");
    assert!(Driver::new().poll(task.as_mut()).is_pending());
    assert_eq!(script.wrote().len(), 1);
}

#[test]
fn large_writes_go_at_once_behind_what_is_held() {
    let script = Script::default();
    let look = script.clone();
    let large = "x".repeat(SMALL + 1);
    let mut task = pin!(gather_writes(script.clone(), |mut stream| async move {
        write(&mut stream, "small").await.unwrap();
        assert_eq!(write(&mut stream, &large).await.unwrap(), large.len());
        assert_eq!(look.wrote(), ["small", &large]);
        // Nothing is held: the flush is the stream's own.
        flush(&mut stream).await.unwrap();
        assert_eq!(look.0.lock().flushes, 1);
        // No more is held than may be.
        let piece = "y".repeat(SMALL);
        for _ in 0..HOLD / SMALL {
            write(&mut stream, &piece).await.unwrap();
        }
        assert_eq!(look.wrote().len(), 2);
        write(&mut stream, "z").await.unwrap();
        assert_eq!(look.wrote()[2].len(), HOLD);
    }));
    assert!(Driver::new().poll(task.as_mut()).is_ready());
    assert_eq!(script.wrote()[3..], ["z"]);
}

#[test]
fn full_stream_goes_on_when_there_is_room() {
    let script = Script::plan([room(3), Poll::Pending, room(2), Poll::Pending]);
    let mut polls = 0;
    let mut task = pin!(gather_writes(script.clone(), |mut stream| async move {
        write(&mut stream, "hello world").await.unwrap();
        flush(&mut stream).await.unwrap();
        poll_fn(|_| {
            polls += 1;
            if polls > 1 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        "done"
    }));
    let driver = Driver::new();
    assert!(driver.poll(task.as_mut()).is_pending());
    assert_eq!(script.wrote(), ["hel"]);
    script.make_room();
    // The connection ends in this poll; its last bytes do not.
    assert!(driver.poll(task.as_mut()).is_pending());
    assert_eq!(script.wrote(), ["hel", "lo"]);
    script.make_room();
    assert_eq!(driver.poll(task.as_mut()), Poll::Ready("done"));
    assert_eq!(script.wrote(), ["hel", "lo", " world"]);
    assert_eq!(driver.woken(), 2);
}

#[test]
fn error_at_the_end_of_a_poll_is_told_by_the_next_call() {
    for shuts in [false, true] {
        let script = Script::plan([Poll::Ready(Err(ErrorKind::BrokenPipe.into()))]);
        let mut first = true;
        let mut task = pin!(gather_writes(script.clone(), |mut stream| async move {
            write(&mut stream, "lost").await.unwrap();
            poll_fn(|_| match std::mem::replace(&mut first, false) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            })
            .await;
            match shuts {
                false => flush(&mut stream).await,
                true => poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await,
            }
        }));
        let driver = Driver::new();
        assert!(driver.poll(task.as_mut()).is_pending());
        assert_eq!(driver.woken(), 1, "it is to be polled again, and hear of it");
        let Poll::Ready(Err(error)) = driver.poll(task.as_mut()) else { panic!("no error") };
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert!(script.wrote().is_empty() && !script.0.lock().shut);
    }
}

#[test]
fn error_after_the_end_is_for_nobody() {
    for result in [Ok(0), Err(ErrorKind::ConnectionReset.into())] {
        let script = Script::plan([Poll::Ready(result)]);
        let mut task = pin!(gather_writes(script, |mut stream| async move {
            write(&mut stream, "lost").await.unwrap();
        }));
        assert!(Driver::new().poll(task.as_mut()).is_ready());
    }
}

#[test]
fn shutdown_comes_behind_what_is_held() {
    let script = Script::plan([room(2), Poll::Pending]);
    let mut task = pin!(gather_writes(script.clone(), |mut stream| async move {
        write(&mut stream, "last").await.unwrap();
        poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await
    }));
    let driver = Driver::new();
    assert!(driver.poll(task.as_mut()).is_pending());
    // The end of the poll has sent the rest, or waits to: the stream is not shut before.
    assert_eq!(script.wrote().concat(), "last");
    assert!(!script.0.lock().shut);
    script.make_room();
    assert!(matches!(driver.poll(task.as_mut()), Poll::Ready(Ok(()))));
    assert!(script.0.lock().shut);
}

#[test]
fn panic_of_the_connection_loses_no_answer() {
    let script = Script::default();
    let mut task = pin!(gather_writes(script.clone(), |mut stream| async move {
        write(&mut stream, "answer").await.unwrap();
        resume_unwind(Box::new("deliberate"));
    }));
    let driver = Driver::new();
    let polled =
        catch_unwind(AssertUnwindSafe(|| driver.poll::<GatherWrites<_, _>>(task.as_mut())));
    assert!(polled.is_err());
    assert_eq!(script.wrote(), ["answer"]);
}

#[test]
fn stream_that_has_left_its_connection_holds_nothing() {
    // Goal: another task may have the stream, as after an upgrade; method: it writes behind bytes
    // that the connection could not send yet, which ends the connection's wait.
    let script = Script::plan([Poll::Pending, Poll::Pending]);
    let left = Arc::new(Mutex::new(None));
    let leaves = left.clone();
    let mut task = pin!(gather_writes(script.clone(), |mut stream| async move {
        write(&mut stream, "held ").await.unwrap();
        *leaves.lock() = Some(stream);
    }));
    let (driver, other) = (Driver::new(), Driver::new());
    assert!(driver.poll(task.as_mut()).is_pending());
    let mut stream = left.lock().take().unwrap();
    {
        let mut writes = pin!(write(&mut stream, "direct"));
        assert!(other.poll(writes.as_mut()).is_pending());
        assert_eq!(driver.woken(), 0);
        script.make_room();
        assert_eq!(other.woken(), 1);
        assert!(matches!(other.poll(writes.as_mut()), Poll::Ready(Ok(6))));
    }
    assert_eq!(script.wrote(), ["held ", "direct"]);
    assert_eq!(driver.woken(), 1, "the task that waited for the last bytes is woken");
    assert!(driver.poll(task.as_mut()).is_ready());
    let inner = pin!(stream.into_inner());
    assert!(matches!(other.poll(inner), Poll::Ready(Ok(_))));
}
