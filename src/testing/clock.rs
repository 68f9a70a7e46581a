//! The clock that a test moves.

use std::{fmt, time::Duration};

use crate::{
    runtime::{Handle, MockClock},
    time::Instant,
};

/// The clock of a runtime that was built with [`Builder::mock_clock`](crate::Builder::mock_clock).
///
/// # When it moves
///
/// It begins at the present time, and stands still while anything runs. When everything waits, it jumps
/// to the next deadline of the runtime: every worker is parked, no task is ready, nothing has been found
/// in the kernel, and no job of [`to_thread`](crate::to_thread) is queued or runs. Tasks that wait for
/// that by [`wait_all_blocked`](super::wait_all_blocked) go first. What is due at the same instant fires
/// in the order in which it was armed, on one worker.
///
/// Sockets are real, and what may come from them takes real time. While a socket or another descriptor
/// is registered, or an operation is under way, the clock jumps only when nothing has run for the real
/// time of [`set_patience`](Self::set_patience), 10 ms unless it is set. Peers within the same runtime are
/// always faster than that; for peers in other threads or processes choose it longer than they take, or
/// the test sees timeouts that a user would not.
///
/// A thread that the test has started itself is not waited for. Give its work to `to_thread`, or stop the
/// clock by [`set_autojump`](Self::set_autojump) meanwhile.
///
/// At the end of the runtime the clock jumps on, so that cleanup that sleeps is not waited for. How long
/// the end may take is counted by the machine's clock.
///
/// # What uses it
///
/// On workers' threads and in jobs of `to_thread`: everything in [`time`](crate::time),
/// `Condition::wait_timeout`, and hyper's timer (`compat::hyper::HyperTimer`, its `now` included). So do the
/// pauses of `TcpListener::bind` while an address is in use, and of a listener when there are no
/// descriptors left: they take no real time.
///
/// What does *not*, and shows the machine's time:
///
/// * [`std::time::Instant::now`] and [`std::time::SystemTime::now`], and all that calls them: h2 for one,
///   which uses the time since it reset a stream, or for its keep-alive;
/// * other threads, those that wait in `Runtime::run` included, and the `blocking_*` methods with a limit;
/// * what a socket does about lost peers, and limits inside the runtime: when a closed connection is
///   reset, when a task counts as one that holds its worker, how long the end of the runtime may take.
///
/// An `Instant` of the standard library converts into one of ours and back, also under this clock; but
/// one that was taken from the machine's clock is not moved when this one jumps.
///
/// asyncio: has none. trio: `trio.testing.MockClock`. tokio: `tokio::time::pause`.
///
/// ```
/// use std::time::Duration;
/// use ringloop::{testing::Clock, time};
///
/// ringloop::Builder::new()
///     .mock_clock()
///     .run(async {
///         let begun = Clock::current().now();
///         // Whatever a program waits for, the test does not.
///         let job = async { time::sleep(Duration::from_secs(60)).await };
///         let late = time::timeout(Duration::from_secs(5), job).await;
///         assert!(late.is_err());
///         assert_eq!(begun.elapsed(), Duration::from_secs(5));
///     })
///     .unwrap();
/// ```
#[derive(Clone)]
pub struct Clock(MockClock);

impl Clock {
    /// The clock of the runtime that this thread belongs to.
    ///
    /// # Panics
    ///
    /// Outside a runtime, and in one that was built without a
    /// [mock clock](crate::Builder::mock_clock).
    #[track_caller]
    #[must_use]
    pub fn current() -> Self {
        let Ok(handle) = Handle::try_current() else {
            panic!("testing::Clock::current called outside a ringloop runtime");
        };
        match Self::of(&handle) {
            Some(clock) => clock,
            None => panic!("this runtime has no mock clock: build it with Builder::mock_clock"),
        }
    }

    /// The clock of a runtime; `None` if it goes by the machine's.
    #[must_use]
    pub fn of(handle: &Handle) -> Option<Self> {
        MockClock::of(handle).map(Self)
    }

    /// What it shows, on any thread. For tasks, [`Instant::now`] is the same.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(self.0.now())
    }

    /// Moves it on by `duration`. Timers that are due then fire once the calling task waits: see
    /// [`wait_all_blocked`](super::wait_all_blocked). Any thread may call it.
    ///
    /// trio: `MockClock.jump`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ringloop::{testing::{self, Clock}, time::sleep};
    ///
    /// ringloop::Builder::new()
    ///     .mock_clock()
    ///     .run(async {
    ///         let clock = Clock::current();
    ///         clock.set_autojump(false);
    ///         let task = ringloop::spawn(sleep(Duration::from_secs(10)));
    ///         clock.advance(Duration::from_secs(9));
    ///         testing::wait_all_blocked().await;
    ///         assert!(!task.is_finished());
    ///         clock.advance(Duration::from_secs(1));
    ///         testing::wait_all_blocked().await;
    ///         assert!(task.is_finished());
    ///     })
    ///     .unwrap();
    /// ```
    pub fn advance(&self, duration: Duration) {
        self.0.advance(duration);
    }

    /// Whether it jumps when everything waits. If not, only [`advance`](Self::advance) moves it, and
    /// where nobody is left to call that, it is a [deadlock](crate::Builder::test_deadlock). Default:
    /// it jumps.
    pub fn set_autojump(&self, jumps: bool) {
        self.0.set_jumps(jumps);
    }

    /// How long, by the machine's clock, nothing must have run before it jumps while something may come
    /// from the kernel. [`Duration::ZERO`]: it jumps at once. [`Duration::MAX`]: it never jumps then.
    /// Default: 10 ms.
    ///
    /// trio: `MockClock.autojump_threshold`.
    pub fn set_patience(&self, patience: Duration) {
        self.0.set_patience(patience);
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&self.now()).finish()
    }
}
