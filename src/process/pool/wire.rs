//! What goes over the socket between a pool and one of its processes.
//!
//! A *frame* is its length, 4 bytes with the lowest first, and so many bytes. A request is the length of the
//! function's name, 2 bytes, the name, and the arguments. An answer is one byte, which says what became of
//! the call, and what belongs to it. There is one request at a time.

use std::io;

/// The function's result.
pub(super) const VALUE: u8 = 0;
/// The text of its panic.
pub(super) const PANIC: u8 = 1;
/// There is no such function.
pub(super) const UNKNOWN: u8 = 2;
/// Why arguments or result could not be encoded, as text.
pub(super) const ENCODING: u8 = 3;

/// The length of a frame's head.
pub(super) const HEAD: usize = 4;

/// A frame of these parts.
pub(super) fn frame(parts: [&[u8]; 3]) -> io::Result<Vec<u8>> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let head = u32::try_from(length).map_err(|_| {
        let text = format!("{length} bytes are too many for one call: 4 GiB at most");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    })?;
    let mut frame = Vec::with_capacity(HEAD + length);
    frame.extend(head.to_le_bytes());
    parts.iter().for_each(|part| frame.extend(*part));
    Ok(frame)
}

/// How many bytes follow a head.
pub(super) fn length(head: [u8; HEAD]) -> usize {
    u32::from_le_bytes(head) as usize
}

/// A request for the function of that name.
pub(super) fn request(function: &str, arguments: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(function.len()).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, "the name of the function is too long")
    })?;
    frame([&length.to_le_bytes(), function.as_bytes(), arguments])
}

/// The name and the arguments of a request. `None`: it is none.
pub(super) fn parse_request(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_le_bytes(*length).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_back_and_what_is_cut_is_none() {
        let sent = request("square", &[1, 2, 3]).unwrap();
        let (head, body) = sent.split_first_chunk().unwrap();
        assert_eq!(length(*head), body.len());
        assert_eq!(parse_request(body), Some((&b"square"[..], &[1, 2, 3][..])));
        assert_eq!(parse_request(&body[..7]), None);
        assert_eq!(parse_request(&[1]), None);
        assert!(request(&"x".repeat(1 << 16), &[]).is_err());
    }
}
