//! Debug mode: a runtime that looks for mistakes of its program.

use std::{env, time::Duration};

use super::Builder;
use crate::error::BuildError;

/// Says whether runtimes whose program does not say so are in debug mode.
const DEBUG: &str = "RINGLOOP_DEBUG";
/// asyncio: `slow_callback_duration`.
const SLOW: Duration = Duration::from_millis(100);

/// What a builder was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DebugOptions {
    /// Unless the environment is to say.
    on: Option<bool>,
    slow_poll: Option<Duration>,
}

impl DebugOptions {
    /// In debug mode, how long a poll may take without a report; with a look at the environment.
    pub(super) fn resolve(&self) -> Result<Option<Duration>, BuildError> {
        let on = match (self.on, env::var_os(DEBUG)) {
            (Some(on), _) => on,
            (None, None) => false,
            (None, Some(text)) => match text.to_str() {
                Some("1") => true,
                Some("0" | "") => false,
                _ => {
                    let text = text.display();
                    return Err(BuildError::new(format!("{DEBUG} is {text}: say 1 or 0")));
                }
            },
        };
        Ok(on.then_some(self.slow_poll.unwrap_or(SLOW)))
    }
}

impl Builder {
    /// Debug mode, which tells the error hook of two mistakes that it costs time to look for:
    ///
    /// - A poll that takes 100 ms or longer: [`ErrorEvent::SlowPoll`](crate::ErrorEvent::SlowPoll). It reads the
    ///   clock twice for each poll, 40 to 50 ns. See [`slow_poll`](Self::slow_poll).
    /// - A task that catches one and the same cancellation 1000 times and goes on:
    ///   [`ErrorEvent::CancelIgnored`](crate::ErrorEvent::CancelIgnored).
    ///
    /// Default: what the environment variable `RINGLOOP_DEBUG` says, `1` or `0`; without it, off. Builds with
    /// `debug_assertions` look for [locks that a task holds
    /// already](crate::ErrorEvent::LockHeldByWaiter), in debug mode or not.
    ///
    /// asyncio: `asyncio.run(main, debug=True)` and `PYTHONASYNCIODEBUG`.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) and [`run`](Self::run) refuse other values of the variable.
    ///
    /// ```
    /// use std::{sync::mpsc, thread, time::Duration};
    /// use ringloop::{Builder, ErrorEvent};
    ///
    /// let (tell, told) = mpsc::channel();
    /// Builder::new()
    ///     .debug(true)
    ///     .slow_poll(Duration::from_millis(1))
    ///     .on_error(move |event| _ = tell.send(event.to_string()))
    ///     .run(async {
    ///         let job = async { thread::sleep(Duration::from_millis(2)) };
    ///         ringloop::task::Builder::new().name("sleeper").spawn(job).await.unwrap();
    ///     })
    ///     .unwrap();
    /// assert!(told.recv().unwrap().contains("\"sleeper\""));
    /// ```
    #[doc(alias = "PYTHONASYNCIODEBUG")]
    pub fn debug(mut self, on: bool) -> Self {
        self.tests.debug.on = Some(on);
        self
    }

    /// In [debug mode](Self::debug), how long a poll may take without a report. It is wall-clock time: on a
    /// machine that is busy with other programs, a poll is slow as well. Default: 100 ms.
    ///
    /// asyncio: `loop.slow_callback_duration`.
    #[doc(alias = "slow_callback_duration")]
    pub fn slow_poll(mut self, limit: Duration) -> Self {
        self.tests.debug.slow_poll = Some(limit);
        self
    }
}
