//! Buffers that an operation can own.
//!
//! A kernel that completes operations by itself writes to a buffer when it likes, so that a
//! borrowed one will not do: the future that borrows it may be forgotten. The operation
//! takes the buffer, and hands it back with the result.

/// A buffer whose bytes can be read by address: `Vec<u8>`, `Box<[u8]>`, `String`,
/// [`Lease`](crate::io::Lease) and [`AlignedBuf`](crate::fs::AlignedBuf).
///
/// # Safety
///
/// Until the value is dropped or mutated, `as_ptr` and `len` return the same, also after
/// the value has been moved; the pointer is not null, not even where `len` is 0; and the `len`
/// bytes there are initialised.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a buffer to write from",
    label = "neither borrowed bytes nor an owned buffer",
    note = "owned buffers, which come back with the result: `Vec<u8>`, `Box<[u8]>`, `String`, `Lease`, `AlignedBuf`",
    note = "streams also take borrowed bytes: `&[u8]`, `&[u8; N]`, `&Vec<u8>`",
    note = "for text: `b\"hi\"` in place of `\"hi\"`, `text.as_bytes()` for a `&str`; for `Bytes`: `&bytes[..]`"
)]
pub unsafe trait IoBuf: Send + 'static {
    /// Where the bytes are.
    fn as_ptr(&self) -> *const u8;

    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes.
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: the trait's contract.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len()) }
    }
}

/// A buffer that can be written to by address: `Vec<u8>`, `Box<[u8]>` and
/// [`AlignedBuf`](crate::fs::AlignedBuf).
///
/// # Safety
///
/// Until the value is dropped or otherwise mutated, `as_mut_ptr` and `capacity` return the same,
/// also after the value has been moved. The pointer is not null, not even where `capacity` is 0.
/// The `capacity` bytes there may be written through this pointer, and nothing else has access to
/// them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a buffer to read into",
    label = "neither borrowed bytes nor an owned buffer",
    note = "owned buffers, which come back with the result: `Vec<u8>`, `Box<[u8]>`, `AlignedBuf`",
    note = "streams also take borrowed bytes: `&mut [u8]`, `&mut [u8; N]`, `&mut Vec<u8>`, `&mut Box<[u8]>`",
    note = "for `BytesMut`: give it a length by `resize`, and read into `&mut bytes[..]`; without a copy: `read_lease()`"
)]
pub unsafe trait IoBufMut: IoBuf {
    /// Where to write.
    fn as_mut_ptr(&mut self) -> *mut u8;

    /// How much there is room for, from the front.
    fn capacity(&self) -> usize;

    /// The first `len` bytes have been written. A buffer that can has this length now.
    ///
    /// # Safety
    ///
    /// They have, and there is room for so many.
    unsafe fn set_written(&mut self, len: usize);
}

// SAFETY: on the heap, where they stay when the vector is moved.
unsafe impl IoBuf for Vec<u8> {
    fn as_ptr(&self) -> *const u8 {
        self.as_slice().as_ptr()
    }

    fn len(&self) -> usize {
        self.as_slice().len()
    }
}

// SAFETY: the same; the vector owns its capacity alone.
unsafe impl IoBufMut for Vec<u8> {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        // Not that of the slice, which ends where the length does.
        Vec::as_mut_ptr(self)
    }

    fn capacity(&self) -> usize {
        Vec::capacity(self)
    }

    unsafe fn set_written(&mut self, len: usize) {
        // SAFETY: by the caller.
        unsafe { self.set_len(len) };
    }
}

// SAFETY: on the heap, where they stay when the box is moved.
unsafe impl IoBuf for Box<[u8]> {
    fn as_ptr(&self) -> *const u8 {
        (**self).as_ptr()
    }

    fn len(&self) -> usize {
        (**self).len()
    }
}

// SAFETY: the same; the box owns them alone.
unsafe impl IoBufMut for Box<[u8]> {
    fn as_mut_ptr(&mut self) -> *mut u8 {
        (**self).as_mut_ptr()
    }

    fn capacity(&self) -> usize {
        (**self).len()
    }

    unsafe fn set_written(&mut self, _len: usize) {}
}

// SAFETY: on the heap, where they stay when the string is moved.
unsafe impl IoBuf for String {
    fn as_ptr(&self) -> *const u8 {
        self.as_str().as_ptr()
    }

    fn len(&self) -> usize {
        self.as_str().len()
    }
}
