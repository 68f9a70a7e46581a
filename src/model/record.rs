//! The ring of the flight recorder.

use crate::record::ring as inner;

/// Words of an event: one of two is torn as well as one of four.
const WORDS: usize = 2;

/// [`inner::Ring`], with events that are one number.
pub struct Ring(inner::Ring<WORDS>);

#[allow(missing_docs)]
impl Ring {
    pub fn new(len: usize) -> Self {
        Self(inner::Ring::new(len))
    }

    pub fn push(&self, number: u64) {
        self.0.push([number; WORDS]);
    }

    /// The events, each as the model wrote it or torn, and how many are gone.
    pub fn read(&self) -> (Vec<Result<u64, Vec<u64>>>, u64) {
        let read = self.0.read(0);
        let event = |words: &[u64; WORDS]| match words.iter().all(|word| *word == words[0]) {
            true => Ok(words[0]),
            false => Err(words.to_vec()),
        };
        (read.events.iter().map(event).collect(), read.lost)
    }
}
