//! Functions of the program that a runtime calls for its tasks.

use std::{sync::Arc, time::Duration};

use super::Builder;
use crate::task::TaskEvent;

impl Builder {
    /// Calls `f` for each task that is spawned on the runtime, on the thread that spawns it and before
    /// `spawn` returns.
    ///
    /// The task may run, and end, before `f` returns. A function that blocks holds up the thread that spawns.
    /// If `f` panics, the panic is dropped. If `f` spawns tasks, it is called for these as well.
    ///
    /// asyncio: `loop.set_task_factory`, which makes the task; this only hears of it.
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicUsize, Ordering}};
    ///
    /// let spawned = Arc::new(AtomicUsize::new(0));
    /// let count = spawned.clone();
    /// let builder = ringloop::Builder::new();
    /// builder
    ///     .on_spawn(move |_task| _ = count.fetch_add(1, Ordering::Relaxed))
    ///     .run(async { ringloop::spawn(async {}).await.unwrap() })
    ///     .unwrap();
    /// // The main is a task as well.
    /// assert_eq!(spawned.load(Ordering::Relaxed), 2);
    /// ```
    #[doc(alias = "set_task_factory", alias = "on_task_spawn")]
    pub fn on_spawn(mut self, f: impl Fn(&TaskEvent) + Send + Sync + 'static) -> Self {
        self.hooks.on_spawn = Some(Arc::new(f));
        self
    }

    /// Calls `f` for each task that ends, on the thread that ends it: after the future is dropped, and before a task that
    /// waits for it is woken.
    ///
    /// What is said of a function that blocks or panics at [`on_spawn`](Self::on_spawn) is so here. A task that was refused because
    /// the runtime had ended is not heard of.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    ///
    /// let ended = Arc::new(Mutex::new(Vec::new()));
    /// let list = ended.clone();
    /// let builder = ringloop::Builder::new();
    /// builder
    ///     .on_end(move |task| list.lock().unwrap().push(task.name.clone()))
    ///     .run(async { ringloop::task::Builder::new().name("one").spawn(async {}).await.unwrap() })
    ///     .unwrap();
    /// assert_eq!(ended.lock().unwrap()[0].as_deref(), Some("one"));
    /// ```
    #[doc(alias = "on_task_terminate")]
    pub fn on_end(mut self, f: impl Fn(&TaskEvent) + Send + Sync + 'static) -> Self {
        self.hooks.on_end = Some(Arc::new(f));
        self
    }

    /// Calls `f` for each poll that took `limit` or longer, with the time that it took, on the worker's thread and right after the
    /// poll.
    ///
    /// For that each poll reads the clock twice, some 50 ns. The time is that of the clock: a worker without a
    /// core for a while counts as slow.
    ///
    /// asyncio: `loop.slow_callback_duration`, which works in debug mode only.
    ///
    /// ```
    /// use std::{sync::{Arc, atomic::{AtomicUsize, Ordering}}, time::Duration};
    ///
    /// let slow = Arc::new(AtomicUsize::new(0));
    /// let count = slow.clone();
    /// let builder = ringloop::Builder::new();
    /// builder
    ///     .on_poll_slow(Duration::from_millis(1), move |_task, took| {
    ///         assert!(took >= Duration::from_millis(1));
    ///         count.fetch_add(1, Ordering::Relaxed);
    ///     })
    ///     .run(async { std::thread::sleep(Duration::from_millis(2)) })
    ///     .unwrap();
    /// assert!(slow.load(Ordering::Relaxed) >= 1);
    /// ```
    #[doc(alias = "slow_callback_duration")]
    pub fn on_poll_slow(
        mut self,
        limit: Duration,
        f: impl Fn(&TaskEvent, Duration) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.on_slow = Some((limit, Arc::new(f)));
        self
    }
}
