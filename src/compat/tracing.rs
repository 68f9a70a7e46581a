//! A span of `tracing` for each task (feature `tracing`).
//!
//! A line that a task logs inside of its span says which task wrote it, also where thousands run the same code.
//!
//! ```
//! use ringloop::{compat::tracing::in_task_span, spawn};
//!
//! ringloop::run(async {
//!     // Its events, and those of what it calls, are inside of a span `task` with `id`, `name` and `spawned_at`.
//!     let task = spawn(in_task_span(async { tracing::info!("at work") }));
//!     task.await.unwrap();
//! });
//! ```
//!
//! Spans of the program's own are futures that `tracing::Instrument` wraps, as under any runtime: a span is entered for each
//! poll, and left when the task waits. The [hooks](crate::Builder::on_spawn) of a runtime hear of all tasks, and can log them.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tracing::{
    Instrument, Span,
    field::{Empty, display},
    info_span,
    instrument::Instrumented,
};

use crate::task::current_task;

/// Wraps a future that a task is to run, so that each poll of it is inside of a span of that task.
///
/// The span is named `task`, its target is `ringloop::task`, its level INFO. Its fields are those of the task that polls it first: `id`,
/// `name` if it has one, and `spawned_at`, the place in the source. Its parent is the span in which `in_task_span` was called. It
/// ends with the future, whose destructors run inside of it.
///
/// Where nobody subscribes to it, a poll costs a comparison more.
///
/// asyncio: has none; `logging` has the attribute `taskName`. tokio: its own spans need an unstable flag.
///
/// # Cancel safety
///
/// That of the future.
///
/// ```
/// use ringloop::{compat::tracing::in_task_span, task::Builder, task_group};
///
/// ringloop::run(async {
///     let named = Builder::new().name("import").spawn(in_task_span(async { 1 }));
///     let sum = task_group(async |group| {
///         let child = group.spawn(in_task_span(async { 2 }));
///         child.await.unwrap()
///     });
///     assert_eq!(sum.await.unwrap() + named.await.unwrap(), 3);
/// });
/// ```
pub fn in_task_span<F>(future: F) -> InTaskSpan<F> {
    let span = info_span!(
        target: "ringloop::task",
        "task",
        id = Empty,
        name = Empty,
        spawned_at = Empty
    );
    InTaskSpan { future: future.instrument(span), is_begun: false }
}

pin_project! {
    /// Made by [`in_task_span`].
    #[derive(Debug, Clone)]
    #[must_use = "futures do nothing unless they are polled: spawn it"]
    pub struct InTaskSpan<F> {
        #[pin]
        future: Instrumented<F>,
        is_begun: bool,
    }
}

impl<F: Future> Future for InTaskSpan<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if !*this.is_begun {
            *this.is_begun = true;
            note(this.future.span());
        }
        this.future.poll(cx)
    }
}

/// Writes into the span which task this is.
fn note(span: &Span) {
    // Only then are the fields worth making.
    let Some(task) = current_task().filter(|_| !span.is_disabled()) else { return };
    span.record("id", display(task.id()));
    span.record("spawned_at", display(task.spawned_at()));
    if let Some(name) = task.name() {
        span.record("name", name);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing::dispatcher::{self, Dispatch};
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::{spawn, task::Builder, yield_now};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// Logs when it is dropped.
    struct Ends;

    impl Drop for Ends {
        fn drop(&mut self) {
            tracing::info!("ends");
        }
    }

    /// Goal: what a task logs between its waits, and in destructors, is in its span and in no other's; method: two tasks that take
    /// turns on one worker.
    #[test]
    fn events_of_a_task_are_in_its_span() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .with_ansi(false)
            .without_time()
            .finish();
        let dispatch = Dispatch::new(subscriber);
        let rt = crate::Builder::new()
            .workers(1)
            // For the life of the thread.
            .on_thread_start(move || std::mem::forget(dispatcher::set_default(&dispatch)))
            .build()
            .unwrap();
        let work = async || {
            let _ends = Ends;
            for step in 0..2 {
                tracing::info!(step);
                yield_now().await;
            }
        };
        let main = async {
            let named = info_span!("outer")
                .in_scope(|| Builder::new().name("import").spawn(in_task_span(work())));
            let other = spawn(in_task_span(work()));
            let ids = (named.id(), other.id());
            named.await.unwrap();
            other.await.unwrap();
            tracing::info!("outside");
            ids
        };
        let (named, other) = rt.run(main).unwrap();
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let with = |part: &str| text.lines().filter(|line| line.contains(part)).count();
        assert_eq!(with(&format!("outer:task{{id={named} spawned_at=")), 3, "{text}");
        assert_eq!(with(r#"name="import"}"#), 3, "{text}");
        assert_eq!(with(&format!("task{{id={other} spawned_at={}:", file!())), 3, "{text}");
        assert_eq!((with("step=0"), with("step=1"), with("ends")), (2, 2, 2), "{text}");
        assert_eq!(with("task{"), 6, "{text}");
    }
}
