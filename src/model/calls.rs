//! The claim of a call.

use crate::calls;

/// [`calls::Claim`].
pub struct Claim(calls::Claim);

#[allow(missing_docs, clippy::new_without_default)]
impl Claim {
    pub fn new() -> Self {
        Self(calls::Claim::new())
    }

    pub fn begin(&self) -> bool {
        self.0.begin()
    }

    pub fn cancel(&self) -> bool {
        self.0.cancel()
    }

    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}
