//! Where a separator is.

use memchr::{memchr, memmem};

/// What ends a message, and how far was searched for it.
pub(super) struct Separators<'a> {
    separators: &'a [&'a [u8]],
    longest: usize,
    /// No separator begins before this.
    searched: usize,
}

/// The place of a separator.
pub(super) struct Found {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl<'a> Separators<'a> {
    #[track_caller]
    pub(super) fn new(separators: &'a [&'a [u8]]) -> Self {
        assert!(!separators.is_empty(), "a read until a separator needs one");
        assert!(separators.iter().all(|one| !one.is_empty()), "a separator has at least one byte");
        let longest = separators.iter().map(|one| one.len()).max().expect("there is one");
        Self { separators, longest, searched: 0 }
    }

    /// The separator that ends first. `bytes` are those of the last call, or more.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<Found> {
        let found = self
            .separators
            .iter()
            .filter_map(|separator| {
                let start = self.searched + find_one(bytes.get(self.searched..)?, separator)?;
                Some(Found { start, end: start + separator.len() })
            })
            .min_by_key(|found| found.end);
        match found {
            // The next search is for the next message.
            Some(_) => self.searched = 0,
            None => self.searched = self.without(bytes.len()),
        }
        found
    }

    /// So many of the bytes are part of no separator, whatever comes next.
    pub(super) fn without(&self, len: usize) -> usize {
        (len + 1).saturating_sub(self.longest)
    }
}

fn find_one(bytes: &[u8], separator: &[u8]) -> Option<usize> {
    match separator {
        [byte] => memchr(*byte, bytes),
        _ => memmem::find(bytes, separator),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The search of a reference: the earliest end, in one pass over everything.
    fn reference(bytes: &[u8], separators: &[&[u8]]) -> Option<usize> {
        (1..=bytes.len())
            .find(|&end| separators.iter().any(|separator| bytes[..end].ends_with(separator)))
    }

    /// Goal: however the bytes arrive, the separator that ends first is found, and none is missed that is cut in
    /// two.
    #[test]
    fn bytes_that_arrive_in_any_pieces_give_what_a_search_of_all_gives() {
        let sets: &[&[&[u8]]] =
            &[&[b"\n"], &[b"\r\n"], &[b"aab"], &[b"\r", b"\r\n"], &[b"aba", b"bb", b"abab"]];
        for separators in sets {
            for number in 0..3_usize.pow(7) {
                let text: Vec<u8> = (0..7)
                    .map(|place| match (number / 3_usize.pow(place)) % 3 {
                        0 => separators[0][0],
                        1 => separators[0][separators[0].len() - 1],
                        _ => b'x',
                    })
                    .collect();
                for cut in 1..text.len() {
                    let mut search = Separators::new(separators);
                    let first = search.find(&text[..cut]).map(|found| found.end);
                    let found = first.or_else(|| search.find(&text).map(|found| found.end));
                    let expected = reference(&text[..cut], separators)
                        .or_else(|| reference(&text, separators));
                    assert_eq!(found, expected, "{text:?} cut at {cut}, {separators:?}");
                }
            }
        }
    }
}
