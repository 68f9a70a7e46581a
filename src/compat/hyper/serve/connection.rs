//! One connection, from its first byte to its end.

use std::{
    error::Error,
    future::poll_fn,
    net::{Shutdown, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use ::hyper::{
    Request, Response,
    body::{Body, Incoming},
    rt::{Read, Write},
    service::Service,
};

use super::{
    BoxError, HttpBuilder,
    requests::{Counted, Requests, Seen},
};
use crate::{
    future::CancelToken,
    io::{Connection, reads, writes},
    net::server::Accepted,
    sync::Notify,
    task,
    time::{Sleep, sleep},
};

/// A connection, which its task and the stream that hyper has share.
pub(super) struct Link {
    accepted: Accepted,
    /// The stream was dropped.
    dropped: Notify,
}

impl Link {
    pub(super) fn new(accepted: Accepted) -> Self {
        Self { accepted, dropped: Notify::new() }
    }

    /// The address at the other end, of a TCP connection.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match &self.accepted {
            Accepted::Tcp(stream) => stream.peer_addr().ok(),
            Accepted::Unix(_) => None,
        }
    }

    fn connection(&self) -> &Connection {
        match &self.accepted {
            Accepted::Tcp(stream) => stream.connection(),
            Accepted::Unix(stream) => stream.connection(),
        }
    }
}

/// The stream of a connection, of which there is one.
pub(in super::super) struct ServerIo(Arc<Link>);

impl ServerIo {
    pub(in super::super) fn connection(&self) -> &Connection {
        self.0.connection()
    }
}

reads!(ServerIo);
writes!(ServerIo);

impl Drop for ServerIo {
    fn drop(&mut self) {
        self.0.dropped.notify_one();
    }
}

/// A connection that is served.
pub(super) struct Served<'a> {
    pub(super) settings: &'a HttpBuilder,
    pub(super) closing: &'a CancelToken,
    pub(super) link: &'a Arc<Link>,
}

impl Served<'_> {
    pub(super) async fn by<S, B>(self, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let io = ServerIo(self.link.clone());
        // A task that is cancelled takes an upgraded stream with it.
        let cut = CutOff(self.link);
        #[cfg(feature = "tls")]
        if let Some(acceptor) = &self.settings.tls {
            match acceptor.accept(io).await {
                Ok(stream) => self.converse(stream, service).await,
                Err(error) if crate::streams::has_peer_left(&error) => {}
                Err(error) => {
                    task::report_failure(&format_args!("a TLS handshake has failed: {error}"));
                }
            }
        } else {
            self.converse(io, service).await;
        }
        #[cfg(not(feature = "tls"))]
        self.converse(io, service).await;
        self.link.dropped.notified().await;
        std::mem::forget(cut);
    }

    async fn converse<I, S, B>(&self, io: I, service: S)
    where
        I: Read + Write + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let requests = Arc::new(Requests::new());
        let service = Counted::new(service, requests.clone());
        // In memory of its own, which is free while the stream is somebody else's.
        let hyper = &self.settings.hyper;
        let mut connection = Box::pin(hyper.serve_connection_with_upgrades(io, service));
        let mut idle = self.settings.idle.map(|limit| Idle::new(limit, requests));
        let mut closing = pin!(self.closing.cancelled());
        // Its registration stays: the task is woken by it, whatever else it waits for.
        let mut asked = poll_fn(|cx| Poll::Ready(closing.as_mut().poll(cx).is_ready())).await;
        if asked {
            connection.as_mut().graceful_shutdown();
        }
        let outcome = poll_fn(|cx| {
            loop {
                if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
                    return Poll::Ready(outcome);
                }
                let close = !asked && self.closing.is_cancelled();
                let over = idle.as_mut().is_some_and(|idle| idle.poll(cx).is_ready());
                match (close, over) {
                    (false, false) => return Poll::Pending,
                    // It was asked one limit ago, and its peer did not care.
                    (false, true) if asked => return Poll::Ready(Ok(())),
                    _ => {
                        asked = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        })
        .await;
        // Other errors are those of a peer that went away, or does not speak HTTP.
        if let Err(error) = outcome
            && let Some(error) = error.downcast_ref::<::hyper::Error>()
            && error.is_user()
        {
            match error.source() {
                Some(source) => task::report_failure(&format_args!("{error}: {source}")),
                None => task::report_failure(error),
            }
        }
    }
}

/// Ends both ways of a connection when it is dropped.
struct CutOff<'a>(&'a Link);

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        // An error says that the connection has ended already.
        let _ = self.0.connection().shutdown(Shutdown::Both);
    }
}

/// The time without a request.
struct Idle {
    limit: Duration,
    sleep: Sleep,
    requests: Arc<Requests>,
    seen: Seen,
}

impl Idle {
    fn new(limit: Duration, requests: Arc<Requests>) -> Self {
        Self { limit, sleep: sleep(limit), seen: requests.seen(), requests }
    }

    /// Ready when one limit has passed without a request; it may be polled on, and counts anew then.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(Pin::new(&mut self.sleep).poll(cx));
            self.sleep = sleep(self.limit);
            let before = std::mem::replace(&mut self.seen, self.requests.seen());
            if before == self.seen && !self.seen.is_any_open() {
                return Poll::Ready(());
            }
        }
    }
}
