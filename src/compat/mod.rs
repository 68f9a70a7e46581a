//! Other people's traits for ringloop's types: one optional feature and one file each.
//!
//! The traits of [`futures_io`](crate::io) need no feature; they are the streams'
//! own face.

#[cfg(feature = "hyper")]
pub mod hyper;
#[cfg(feature = "tokio")]
pub mod tokio;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(feature = "tracing")]
pub mod tracing;

#[cfg(all(test, any(feature = "hyper", feature = "tokio")))]
mod tests {
    use crate::net::{TcpListener, TcpStream};

    /// Two connected streams.
    pub(super) async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let a = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (b, _) = listener.accept().await.unwrap();
        (a, b)
    }
}
