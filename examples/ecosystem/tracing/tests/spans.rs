//! Spans that stay with their tasks, on whichever worker these go on.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use futures_util::future::join_all;
use harness::on_every;
use opentelemetry::{
    Context as OtelContext,
    trace::{FutureExt, TraceContextExt, Tracer, TracerProvider},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use ringloop::{spawn, task, yield_now};
use tracing::{
    Event, Instrument, Subscriber,
    field::{Field, Visit},
    info, info_span,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// Each event: its message, and the names of the spans around it, from the outermost on.
static HEARD: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

fn heard() -> MutexGuard<'static, Vec<(String, String)>> {
    HEARD.lock().unwrap()
}

struct Keep;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                if field.name() == "message" {
                    self.0 = format!("{value:?}");
                }
            }
        }

        // Those of libraries are not asked for.
        if !event.metadata().target().starts_with("spans") {
            return;
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        let scope = context.event_scope(event).into_iter().flat_map(|scope| scope.from_root());
        let names: Vec<_> = scope.map(|span| span.name()).collect();
        heard().push((message.0, names.join(" ")));
    }
}

/// What a user writes: `spawn(future.instrument(span))`.
#[test]
fn an_event_has_the_spans_of_its_task() {
    let kept = tracing_subscriber::registry().with(Keep);
    tracing::subscriber::set_global_default(kept).unwrap();
    on_every(|| async {
        let request = async {
            info!("begins");
            let parts = (0..20).map(|number| {
                let part = async move {
                    for _ in 0..10 {
                        yield_now().await;
                        info!("part {number}");
                    }
                };
                // A span's parent is the one around its creation.
                spawn(part.instrument(info_span!("part")))
            });
            for part in parts.collect::<Vec<_>>() {
                part.await.unwrap();
            }
            // A task that is given no span has none.
            spawn(async { info!("outside") }).await.unwrap();
            info!("ends");
        };
        spawn(request.instrument(info_span!("request"))).await.unwrap();
        let heard = std::mem::take(&mut *heard());
        assert_eq!(heard.len(), 3 + 200);
        for (message, spans) in heard {
            let expected = match message.as_str() {
                "outside" => "",
                "begins" | "ends" => "request",
                _ => "request part",
            };
            assert_eq!(spans, expected, "{message}");
        }
    });
}

#[derive(Debug, Clone, Default)]
struct Exported(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Exported {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

/// What a user writes: `spawn(future.with_context(context))`. The exporter in batches has a thread of its own.
#[test]
fn a_span_of_open_telemetry_goes_with_its_task() {
    on_every(|| async {
        let exported = Exported::default();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exported.clone()).build();
        let tracer = Arc::new(provider.tracer("ringloop"));
        let request =
            OtelContext::new().with_span(tracer.start_with_context("request", &OtelContext::new()));
        let parts = (0..20).map(|number| {
            let tracer = tracer.clone();
            let part = async move {
                let parent = OtelContext::current();
                yield_now().await;
                let own =
                    tracer.start_with_context(format!("part {number}"), &OtelContext::current());
                let own = parent.with_span(own);
                async {
                    for _ in 0..10 {
                        task::consume_budget().await;
                        yield_now().await;
                    }
                    OtelContext::current().span().add_event("worked", Vec::new());
                }
                .with_context(own)
                .await;
            };
            spawn(part.with_context(request.clone()))
        });
        for part in join_all(parts.collect::<Vec<_>>()).await {
            part.unwrap();
        }
        let id = request.span().span_context().span_id();
        request.span().end();
        drop(request);
        ringloop::to_thread(move || provider.shutdown()).await.unwrap().unwrap();
        let spans = exported.0.lock().unwrap();
        assert_eq!(spans.len(), 21);
        for span in spans.iter().filter(|span| span.name != "request") {
            assert_eq!(span.parent_span_id, id, "{}", span.name);
            assert_eq!(span.events.len(), 1, "{}", span.name);
        }
    });
}
