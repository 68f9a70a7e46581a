//! What of tokio runs on ringloop without tokio's runtime: its locks and channels, `select!`, and what tokio-util has for
//! streams. See the tests.
