//! Functions that a process of a pool can call.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

/// A function under a name, by which the processes of a pool find it.
///
/// It is a constant of the program, so that the process which calls and the one which is called mean the same:
///
/// ```
/// use ringloop::process::Function;
///
/// fn sum(numbers: Vec<u64>) -> u64 {
///     numbers.iter().sum()
/// }
///
/// static SUM: Function<Vec<u64>, u64> = Function::new("sum", sum);
/// assert_eq!(SUM.name(), "sum");
/// ```
///
/// asyncio: `pickle`, which names a function by its module; lambdas and closures have no name there either.
pub struct Function<A, R> {
    name: &'static str,
    run: fn(A) -> R,
}

impl<A, R> Function<A, R> {
    /// `run` under that name, which no other function of the program has.
    pub const fn new(name: &'static str, run: fn(A) -> R) -> Self {
        Self { name, run }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl<A, R> fmt::Debug for Function<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Function").field(&self.name).finish()
    }
}

/// Any [`Function`], whatever its types: what [`ProcessPool::serve`](super::ProcessPool::serve) takes.
pub trait Registered: Sync + Sealed {
    #[doc(hidden)]
    fn name(&self) -> &'static str;

    /// The result, encoded; or what could not be encoded.
    #[doc(hidden)]
    fn call(&self, arguments: &[u8]) -> Result<Vec<u8>, String>;
}

#[doc(hidden)]
pub trait Sealed {}

impl<A, R> Sealed for Function<A, R> {}

impl<A: DeserializeOwned, R: Serialize> Registered for Function<A, R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn call(&self, arguments: &[u8]) -> Result<Vec<u8>, String> {
        let arguments = decode(arguments).map_err(|error| {
            format!("the arguments of {:?} cannot be decoded: {error}", self.name)
        })?;
        encode(&(self.run)(arguments))
            .map_err(|error| format!("the result of {:?} cannot be encoded: {error}", self.name))
    }
}

pub(super) fn encode<T: Serialize>(value: &T) -> postcard::Result<Vec<u8>> {
    postcard::to_stdvec(value)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> postcard::Result<T> {
    let (value, rest) = postcard::take_from_bytes(bytes)?;
    if rest.is_empty() { Ok(value) } else { Err(postcard::Error::DeserializeBadEncoding) }
}
