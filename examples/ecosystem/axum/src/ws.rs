//! WebSockets by tungstenite, with the words of axum's own `ws`.

use async_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use axum::{
    body::Body,
    extract::FromRequestParts,
    http::{HeaderMap, Method, StatusCode, Version, header, request::Parts},
    response::{IntoResponse, Response},
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use ringloop::compat::hyper::FuturesIo;

pub use async_tungstenite::tungstenite::Message;

/// A stream and a sink of [`Message`]s.
pub type WebSocket = WebSocketStream<FuturesIo<Upgraded>>;

/// Tungstenite's default is 128 KiB, which each connection has from its beginning to its end.
const BUFFER: usize = 4 << 10;

/// The request to go over to the WebSocket protocol.
pub struct WebSocketUpgrade {
    accept: String,
    upgrade: OnUpgrade,
    config: WebSocketConfig,
}

impl WebSocketUpgrade {
    /// The settings of tungstenite, such as the largest message.
    pub fn config(&mut self) -> &mut WebSocketConfig {
        &mut self.config
    }

    /// Answers the request, and calls `talk` with the socket in a task of its own.
    pub fn on_upgrade<C, F>(self, talk: C) -> Response
    where
        C: FnOnce(WebSocket) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { accept, upgrade, config } = self;
        ringloop::spawn(async move {
            // An error: the client went away before it had the answer.
            if let Ok(stream) = upgrade.await {
                let stream = FuturesIo(stream);
                talk(WebSocket::from_raw_socket(stream, Role::Server, Some(config)).await).await;
            }
        })
        .detach();
        let headers = [
            (header::CONNECTION, "upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_ACCEPT, &accept),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
    }
}

/// Why a request is not one for a WebSocket.
#[derive(Debug)]
pub struct NoWebSocket(&'static str);

impl IntoResponse for NoWebSocket {
    fn into_response(self) -> Response {
        let headers = [(header::SEC_WEBSOCKET_VERSION, "13"), (header::UPGRADE, "websocket")];
        (StatusCode::UPGRADE_REQUIRED, headers, self.0).into_response()
    }
}

fn says(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    let mut values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.any(|value| value.split(',').any(|it| it.trim().eq_ignore_ascii_case(word)))
}

impl<S: Sync> FromRequestParts<S> for WebSocketUpgrade {
    type Rejection = NoWebSocket;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoWebSocket> {
        let headers = &parts.headers;
        if parts.method != Method::GET || parts.version != Version::HTTP_11 {
            return Err(NoWebSocket("WebSockets are served by GET over HTTP/1.1"));
        }
        if !says(headers, header::CONNECTION, "upgrade")
            || !says(headers, header::UPGRADE, "websocket")
            || !says(headers, header::SEC_WEBSOCKET_VERSION, "13")
        {
            return Err(NoWebSocket("this is for WebSockets, version 13"));
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or(NoWebSocket("without a key"))?;
        let accept = derive_accept_key(key.as_bytes());
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let upgrade = upgrade.ok_or(NoWebSocket("the server cannot upgrade connections"))?;
        let config = WebSocketConfig::default().read_buffer_size(BUFFER).write_buffer_size(BUFFER);
        Ok(Self { accept, upgrade, config })
    }
}
