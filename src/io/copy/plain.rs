//! Which streams have a connection below, for functions that take any stream.
//!
//! [`copy`](super::copy) takes every `AsyncRead`, and is to find the socket of those that are sockets. A type that
//! wraps a socket must not count: its bytes may be others. So what counts is the type itself, by its [`TypeId`].
//!
//! Those types belong to modules that this one does not know. Each module enters its types in a table when the
//! first stream of them is made; a copy looks once.

use std::{any::TypeId, marker::PhantomData, sync::OnceLock};

use super::super::Connection;
use crate::loom::global::{AtomicBool, AtomicU8, Ordering};

/// A stream whose bytes are those of a connection, in order, and nothing else.
pub(crate) trait Plain: 'static {
    /// The connection, unless it was closed.
    fn plain(&self) -> Option<&Connection>;
}

/// How to find the connection of a stream of one type.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    /// The type, a mutable reference to it, and a box of it.
    ids: [TypeId; 3],
    /// For each of them: from the address of a value.
    finds: [Find; 3],
}

/// # Safety
///
/// The pointer is to a value of the type that stands beside the function, which lives as long as the result and is
/// not changed meanwhile.
type Find = unsafe fn(*const ()) -> Option<*const Connection>;

impl Kind {
    pub(crate) fn of<T: Plain>() -> Self {
        Self {
            ids: [TypeId::of::<T>(), TypeId::of::<&'static mut T>(), TypeId::of::<Box<T>>()],
            finds: [find::<T>, find_behind::<T>, find_behind::<T>],
        }
    }
}

/// # Safety
///
/// As [`Find`], for `T`.
unsafe fn find<T: Plain>(stream: *const ()) -> Option<*const Connection> {
    // SAFETY: by the caller.
    unsafe { &*stream.cast::<T>() }.plain().map(std::ptr::from_ref)
}

/// # Safety
///
/// As [`Find`], for `&mut T` or `Box<T>`: both are one pointer to a `T`.
unsafe fn find_behind<T: Plain>(stream: *const ()) -> Option<*const Connection> {
    // SAFETY: by the caller; a shared borrow of the pointer allows one of what it points to.
    unsafe { &**stream.cast::<&T>() }.plain().map(std::ptr::from_ref)
}

/// Room for all types that there are.
const MOST: usize = 16;

static KINDS: [OnceLock<Kind>; MOST] = [const { OnceLock::new() }; MOST];
static NEXT: AtomicU8 = AtomicU8::new(0);

/// Enters types in the table. `entered` is theirs; later calls cost a load.
#[inline]
pub(crate) fn enter(entered: &AtomicBool, kinds: &[fn() -> Kind]) {
    // Relaxed: the table's cells order themselves.
    if !entered.load(Ordering::Relaxed) {
        enter_first(entered, kinds);
    }
}

#[cold]
fn enter_first(entered: &AtomicBool, kinds: &[fn() -> Kind]) {
    // Relaxed: as above; one caller finds it unset.
    if entered.swap(true, Ordering::Relaxed) {
        return;
    }
    for kind in kinds {
        // Each place is given once, so that nobody waits for another.
        let place = NEXT.fetch_add(1, Ordering::Relaxed);
        let set = KINDS.get(usize::from(place)).map(|cell| cell.set(kind()));
        debug_assert!(matches!(set, Some(Ok(()))), "more types than places");
    }
}

/// How a copy finds the connection of its streams of type `S`.
pub(super) struct Look<S: ?Sized> {
    find: Option<Find>,
    of: PhantomData<fn(&S)>,
}

impl<S: ?Sized> Look<S> {
    pub(super) fn new() -> Self {
        let id = id_of::<S>();
        let find = KINDS.iter().map_while(OnceLock::get).find_map(|kind| {
            let at = kind.ids.iter().position(|known| *known == id)?;
            Some(kind.finds[at])
        });
        Self { find, of: PhantomData }
    }

    /// Whether there may be one.
    #[inline]
    pub(super) fn is_known(&self) -> bool {
        self.find.is_some()
    }

    pub(super) fn connection<'a>(&self, stream: &'a S) -> Option<&'a Connection> {
        let find = self.find?;
        // SAFETY: `S` is the type that stands beside the function: their identities are the same, and no type of
        // the table has a lifetime, but for that of a reference, which `find_behind` does not use. The value and what
        // it points to are borrowed for 'a.
        unsafe { find(std::ptr::from_ref(stream).cast()).map(|connection| &*connection) }
    }
}

/// The identity of a type, in which lifetimes do not count.
fn id_of<T: ?Sized>() -> TypeId {
    trait Named {
        fn id(&self) -> TypeId
        where
            Self: 'static;
    }

    impl<T: ?Sized> Named for PhantomData<T> {
        fn id(&self) -> TypeId
        where
            Self: 'static,
        {
            TypeId::of::<T>()
        }
    }

    let named = PhantomData::<T>;
    let named: &dyn Named = &named;
    // SAFETY: only the lifetime of the table of functions changes; the value has none, and the function reads nothing
    // of it.
    unsafe { std::mem::transmute::<&dyn Named, &(dyn Named + 'static)>(named) }.id()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{BufReader, DuplexStream, Pipe, PipeReader, duplex};

    struct Wrapper(PipeReader);

    fn finds<S: ?Sized>(stream: &S) -> Option<*const Connection> {
        Look::<S>::new().connection(stream).map(std::ptr::from_ref)
    }

    /// Goal: the connection of a stream is found, that of what wraps a stream is not.
    #[test]
    fn only_streams_themselves_are_known() {
        let Pipe { mut reader, writer } = Pipe::new().unwrap();
        let of_reader = Some(std::ptr::from_ref(reader.connection()));
        assert_eq!(finds(&reader), of_reader);
        assert_eq!(finds(&&mut reader), of_reader);
        assert!(finds(&writer).is_some());
        assert!(finds(&&writer).is_none(), "a shared reference is no stream");

        let Pipe { reader, writer: _writer } = Pipe::new().unwrap();
        let boxed = Box::new(reader);
        assert_eq!(finds(&boxed), Some(std::ptr::from_ref(boxed.connection())));
        let wrapped = Wrapper(*boxed);
        assert!(finds(&wrapped).is_none());
        assert!(finds(&BufReader::new(wrapped.0)).is_none());
        let (near, _far): (DuplexStream, _) = duplex(1);
        assert!(finds(&near).is_none() && finds(&b"bytes"[..]).is_none());
    }
}
