//! The request that a connection repeats, and its reply.

use std::ops::Range;

/// A request and its reply; the same on all connections and leaked, because the kernel reads from
/// it.
pub struct Exchange {
    /// The bytes of one write.
    pub request: Vec<u8>,
    /// The bytes that must come back for it,
    pub reply: Vec<u8>,
    /// ... except for these bytes of each of its messages.
    pub varying: Range<usize>,
    /// The number of messages of equal length in the reply.
    pub messages: usize,
    /// One of so many replies is compared, beginning with each connection's first; the bytes of the
    /// others are counted by the kernel and thrown away. 1 compares all.
    pub compare_every: usize,
}

/// Longer messages are compared one in [`LONG_COMPARED_EVERY`]: to copy and compare every byte would
/// cost the client as much as the server's work.
const LONG: usize = 16 * 1024;
const LONG_COMPARED_EVERY: usize = 16;

impl Exchange {
    /// Messages that must come back unchanged, filled from a fixed seed, all in one write.
    pub fn echo(message: usize, burst: usize) -> Exchange {
        let mut state = 0x2545_F491u32;
        let request: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(message * burst)
        .collect();
        Exchange {
            reply: request.clone(),
            request,
            varying: 0..0,
            messages: burst,
            compare_every: if message > LONG { LONG_COMPARED_EVERY } else { 1 },
        }
    }

    /// Whether some replies are not compared.
    pub fn samples(&self) -> bool {
        self.compare_every > 1
    }

    /// How many messages are complete with `received` bytes of the reply.
    pub fn messages_in(&self, received: usize) -> u64 {
        (received * self.messages / self.reply.len()) as u64
    }

    /// Checks the bytes of a reply from offset `start`.
    pub fn compare(&self, start: usize, bytes: &[u8]) -> Result<(), String> {
        let message = self.reply.len() / self.messages;
        let (mut rest, mut place) = (bytes, start);
        let mut right = true;
        while !rest.is_empty() {
            let begin = place / message * message;
            let (these, others) = rest.split_at(rest.len().min(begin + message - place));
            right &= self.compare_in_message(begin, place, these);
            (rest, place) = (others, place + these.len());
        }
        if right {
            return Ok(());
        }
        let shown = &bytes[..bytes.len().min(200)];
        Err(format!("a wrong reply: {:?}", String::from_utf8_lossy(shown)))
    }

    /// The same within the message that begins at `begin`.
    fn compare_in_message(&self, begin: usize, start: usize, bytes: &[u8]) -> bool {
        let end = start + bytes.len();
        let at = |place: usize| (begin + place).clamp(start, end);
        let varying = at(self.varying.start)..at(self.varying.end);
        let is_right =
            |part: Range<usize>| bytes[part.start - start..part.end - start] == self.reply[part];
        is_right(start..varying.start) && is_right(varying.end..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_compared_but_the_varying() {
        let exchange = Exchange { varying: 10..14, ..Exchange::echo(16, 2) };
        let right = exchange.reply.clone();
        for split in 0..=right.len() {
            assert_eq!(exchange.compare(0, &right[..split]), Ok(()));
            assert_eq!(exchange.compare(split, &right[split..]), Ok(()));
        }
        for place in 0..right.len() {
            let mut wrong = right.clone();
            wrong[place] ^= 1;
            for split in 0..=right.len() {
                let (first, second) = wrong.split_at(split);
                let found = exchange.compare(0, first).and(exchange.compare(split, second));
                assert_eq!(found.is_err(), !(10..14).contains(&(place % 16)), "byte {place}");
            }
        }
    }

    #[test]
    fn messages_are_counted_when_complete() {
        let exchange = Exchange::echo(64, 16);
        assert_eq!(exchange.request.len(), 1024);
        let counts = [0, 63, 64, 127, 1023, 1024].map(|received| exchange.messages_in(received));
        assert_eq!(counts, [0, 0, 1, 1, 15, 16]);
    }
}
