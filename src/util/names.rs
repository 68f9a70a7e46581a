//! Names of primitives, for reports.
//!
//! A primitive keeps the number of its name, and gives that as the key of the primitive that a task
//! waits for. The reader of a report finds the name here, or nothing if the primitive is gone.

use std::borrow::Cow;

use super::fork::PerProcess;
use crate::loom::global::Mutex;

/// Primitives with a name, at most. What is named beyond that goes by its address.
const MOST: usize = (1 << 24) - 1;

#[derive(Default)]
struct Names {
    /// By their numbers, which begin with 1.
    names: Vec<Option<Cow<'static, str>>>,
    free: Vec<u32>,
}

fn names() -> &'static Mutex<Names> {
    static NAMES: PerProcess<Mutex<Names>> = PerProcess::new();
    NAMES.get(|| Mutex::new(Names::default()))
}

/// The number of a name; 0: there are too many.
pub(crate) fn add(name: Cow<'static, str>) -> u32 {
    let mut names = names().lock();
    if let Some(number) = names.free.pop() {
        names.names[number as usize - 1] = Some(name);
        return number;
    }
    if names.names.len() == MOST {
        return 0;
    }
    names.names.push(Some(name));
    names.names.len() as u32
}

/// Forgets a name. A forked child does not know those of its parent.
pub(crate) fn remove(number: u32) {
    let mut names = names().lock();
    let name = names.names.get_mut((number as usize).wrapping_sub(1)).and_then(Option::take);
    if name.is_some() {
        names.free.push(number);
    }
    drop(names);
    drop(name);
}

/// The name of that number.
pub(crate) fn get(number: u32) -> Option<Cow<'static, str>> {
    names().lock().names.get((number as usize).wrapping_sub(1))?.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again() {
        let one = add("one".into());
        let two = add("two".into());
        assert_ne!(one, two);
        assert_eq!(get(two).as_deref(), Some("two"));
        remove(two);
        remove(two);
        assert_eq!(get(two), None);
        remove(0);
        assert_eq!(get(0), None);
        remove(one);
    }
}
