//! axum on ringloop, without its default features, which bring tokio's runtime: what those have, [`ws`] and the
//! keep-alive of [`sse`], is here on ringloop's tasks and timers. The server is `ringloop::compat::hyper::serve_tower`.

pub mod sse;
pub mod ws;
