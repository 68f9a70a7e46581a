//! The count of one kind of signal.

use crate::util::signal_count as inner;

/// [`inner::Count`].
pub struct Count(inner::Count);

/// [`inner::Seen`].
pub struct Seen(inner::Seen);

#[allow(missing_docs, clippy::new_without_default)]
impl Count {
    pub fn new() -> Self {
        Self(inner::Count::new())
    }

    pub fn come(&self, ring: impl FnOnce()) -> bool {
        self.0.come(ring)
    }

    pub fn listen(&self) -> Seen {
        Seen(self.0.listen())
    }

    pub fn leave(&self) {
        self.0.leave();
    }

    pub fn hear(&self, seen: &mut Seen) -> bool {
        self.0.hear(&mut seen.0)
    }
}
