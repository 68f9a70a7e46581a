//! Memory for files that are read and written without the system's cache.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    fmt,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    slice,
};

use crate::buf::{IoBuf, IoBufMut};

/// Memory at a multiple of its alignment, full of zeros at first, for files opened with `O_DIRECT`.
///
/// Such a file is read from and written to the disk itself, past the system's cache. The system wants three things to be
/// multiples of the disk's block, which is 512 or 4096 bytes: where the memory is, how long it is, and the offset in
/// the file. Else the call fails with [`InvalidInput`](std::io::ErrorKind::InvalidInput), and so it does where the file
/// system has no such access. With 4096 each of them is right on every disk. At the end of the file a read
/// brings less.
///
/// asyncio: has none.
///
/// ```
/// use ringloop::fs::{AlignedBuf, OpenOptions};
///
/// ringloop::run(async {
///     let mut options = OpenOptions::new();
///     options.read(true).custom_flags(libc::O_DIRECT);
///     let Ok(file) = options.open("Cargo.toml").await else { return }; // not on this file system
///     let (result, buf) = file.read_at(AlignedBuf::new(4096, 4096), 0).await;
///     if let Ok(read) = result {
///         assert!(buf[..read].starts_with(b"[workspace]"));
///     }
/// });
/// ```
pub struct AlignedBuf {
    at: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it owns its memory alone, as a boxed slice does.
unsafe impl Send for AlignedBuf {}
// SAFETY: the same.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// Memory of a length, in bytes.
    ///
    /// # Panics
    ///
    /// If the length is 0 or no multiple of the alignment, or the alignment is no power of two.
    pub fn new(len: usize, alignment: usize) -> Self {
        assert!(alignment.is_power_of_two(), "an alignment of {alignment} is no power of two");
        assert!(
            len > 0 && len.is_multiple_of(alignment),
            "a length of {len} is no multiple of the alignment {alignment}"
        );
        let layout = Layout::from_size_align(len, alignment).expect("that is too long");
        // SAFETY: the layout has a size.
        let at = unsafe { alloc_zeroed(layout) };
        let at = NonNull::new(at).unwrap_or_else(|| handle_alloc_error(layout));
        Self { at, layout }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: it was allocated so.
        unsafe { dealloc(self.at.as_ptr(), self.layout) };
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: so many bytes are there, and were zeros at first.
        unsafe { slice::from_raw_parts(self.at.as_ptr(), self.layout.size()) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the same, and they are this value's alone.
        unsafe { slice::from_raw_parts_mut(self.at.as_ptr(), self.layout.size()) }
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf")
            .field("len", &self.layout.size())
            .field("alignment", &self.layout.align())
            .finish()
    }
}

// SAFETY: on the heap, where the bytes stay when the value is moved.
unsafe impl IoBuf for AlignedBuf {
    fn as_ptr(&self) -> *const u8 {
        self.at.as_ptr()
    }

    fn len(&self) -> usize {
        self.layout.size()
    }
}

// SAFETY: the same; the value owns them alone.
unsafe impl IoBufMut for AlignedBuf {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.at.as_ptr()
    }

    fn capacity(&self) -> usize {
        self.layout.size()
    }

    unsafe fn set_written(&mut self, _len: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_aligned_and_zero() {
        for alignment in [1, 512, 4096, 1 << 21] {
            let mut buf = AlignedBuf::new(2 * alignment, alignment);
            assert_eq!(buf.as_ptr() as usize % alignment, 0);
            assert!(buf.iter().all(|&byte| byte == 0));
            buf.fill(1);
            assert_eq!(buf.len(), 2 * alignment);
        }
    }

    #[test]
    #[should_panic = "no multiple"]
    fn length_is_a_multiple() {
        AlignedBuf::new(1000, 512);
    }
}
