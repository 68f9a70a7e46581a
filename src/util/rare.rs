//! A value that is hardly ever there.

use std::mem::ManuallyDrop;

/// An `Option` whose drop costs one comparison where it is empty: that of an `Option` is a call.
pub(crate) struct Rare<T>(Option<ManuallyDrop<T>>);

impl<T> Rare<T> {
    #[inline]
    pub(crate) fn new(value: T) -> Self {
        Self(Some(ManuallyDrop::new(value)))
    }

    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    #[inline]
    pub(crate) fn as_ref(&self) -> Option<&T> {
        self.0.as_deref()
    }

    #[inline]
    pub(crate) fn as_mut(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    #[inline]
    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.take().map(ManuallyDrop::into_inner)
    }

    pub(crate) fn get_or_insert_with(&mut self, make: impl FnOnce() -> T) -> &mut T {
        self.0.get_or_insert_with(|| ManuallyDrop::new(make()))
    }
}

impl<T> Default for Rare<T> {
    #[inline(always)]
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Drop for Rare<T> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.is_some() {
            drop_value(self.take());
        }
    }
}

#[cold]
fn drop_value<T>(value: T) {
    drop(value);
}
