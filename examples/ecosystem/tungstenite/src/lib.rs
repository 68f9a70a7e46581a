//! tungstenite on ringloop: async-tungstenite over the traits of `futures_io`, tokio-tungstenite over those of tokio. The
//! stream is a `ringloop::net::TcpStream` in both, or a `TlsStream`. What these crates connect by themselves
//! (`connect_async`) takes another runtime: see the tests for what is in place of it.
