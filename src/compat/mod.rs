//! Other people's traits for ringloop's types: one optional feature and one file each.
//!
//! The traits of [`futures_io`](crate::io) need no feature; they are the streams'
//! own face.

#[cfg(feature = "hyper")]
pub mod hyper;
#[cfg(feature = "tokio")]
mod tokio;
