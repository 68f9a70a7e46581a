//! Values that belong to a task, or to a part of one: asyncio's context variables.
//!
//! A scope pushes a [`Frame`] onto a chain of this thread's stack while it polls what is inside, as
//! scopes of cancellation do; [`LocalKey::with`] looks for the innermost frame of its key. So nothing
//! is set or swapped per key, and a poll without scopes costs nothing.
//!
//! A task that is spawned within scopes of *inherited* keys gets copies of their values. They are in
//! its extension (`Kept`), and its table of functions is one that pushes a frame for them around each
//! poll. A task without such values has the plain table.
//!
//! * L1 `current.locals` is null or points to a frame on this thread's stack whose `enter` has not
//!   returned; so does each frame's `outer`. The values of a frame live as long.
//! * L2 An entry with the address of a key holds a value of that key's type: statics have addresses of
//!   their own, and a key is not without size.
//! * L3 The kept values of a task are touched by its runner.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    ptr,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::extra::Extension;
use crate::util::current;

/// Copies a value, given its key.
type Copy = unsafe fn(*const (), *const ()) -> Box<dyn Kept>;

/// A value that a task inherited.
pub(super) trait Kept: Send {
    fn entry(&self) -> Entry;
}

struct KeptValue<T: 'static> {
    key: &'static LocalKey<T>,
    value: T,
}

impl<T: Send + 'static> Kept for KeptValue<T> {
    fn entry(&self) -> Entry {
        Entry::new(self.key, &self.value)
    }
}

/// A value, as frames know it.
pub(super) struct Entry {
    key: *const (),
    value: *const (),
    copy: Option<Copy>,
}

impl Entry {
    fn new<T>(key: &'static LocalKey<T>, value: &T) -> Self {
        Self { key: ptr::from_ref(key).cast(), value: ptr::from_ref(value).cast(), copy: key.copy }
    }
}

/// The values that a frame shows.
enum Values<'a> {
    One(Entry),
    Many(&'a [Box<dyn Kept>]),
}

struct Frame<'a> {
    outer: *const Frame<'static>,
    values: Values<'a>,
}

impl Frame<'_> {
    /// Calls `f` with the values, until it has an answer.
    fn find<R>(&self, mut f: impl FnMut(&Entry) -> Option<R>) -> Option<R> {
        match &self.values {
            Values::One(entry) => f(entry),
            Values::Many(kept) => kept.iter().find_map(|kept| f(&kept.entry())),
        }
    }
}

/// The chain that was there before, which comes back when this is dropped.
struct Back(*const ());

impl Drop for Back {
    fn drop(&mut self) {
        current::with(|current| current.locals.set(self.0));
    }
}

/// Makes a frame, or none, the innermost for a time.
fn show(frame: *const ()) -> Back {
    Back(current::with(|current| current.locals.replace(frame)))
}

/// Runs `body` with the values visible.
fn enter<R>(values: Values<'_>, body: impl FnOnce() -> R) -> R {
    let outer = current::with(|current| current.locals.get());
    let frame = Frame { outer: outer.cast(), values };
    let _back = show(ptr::from_ref(&frame).cast());
    body()
}

/// Looks at all visible values, the innermost first, until `f` has an answer.
fn find<R>(mut f: impl FnMut(&Entry) -> Option<R>) -> Option<R> {
    let mut next = current::with(|current| current.locals.get()).cast::<Frame<'_>>();
    // SAFETY: L1.
    while let Some(frame) = unsafe { next.as_ref() } {
        if let Some(found) = frame.find(&mut f) {
            return Some(found);
        }
        next = frame.outer;
    }
    None
}

/// Runs `body`, which is none of the task's, with no value visible.
pub(crate) fn hidden<R>(body: impl FnOnce() -> R) -> R {
    let _back = show(ptr::null());
    body()
}

/// Runs `body` with the values that a task has inherited.
pub(super) fn enter_kept<R>(kept: &[Box<dyn Kept>], body: impl FnOnce() -> R) -> R {
    enter(Values::Many(kept), body)
}

/// What a task that is spawned here inherits.
#[inline]
pub(super) fn inherit() -> Option<Box<Extension>> {
    if current::with(|current| current.locals.get()).is_null() { None } else { copy_all() }
}

#[cold]
fn copy_all() -> Option<Box<Extension>> {
    let mut seen = Vec::new();
    let mut kept = Vec::new();
    find(|entry| {
        if let Some(copy) = entry.copy
            && !seen.contains(&entry.key)
        {
            seen.push(entry.key);
            // SAFETY: L2: it is the function of this key, and L1.
            kept.push(unsafe { copy(entry.key, entry.value) });
        }
        None::<()>
    });
    (!kept.is_empty()).then(|| Box::new(Extension::with_locals(kept)))
}

/// A key for values that belong to a task, or to a part of one. Made by [`task_local!`](crate::task_local).
///
/// asyncio: `contextvars.ContextVar`. There a value is set in the context of the task; here it holds
/// for the future that a [`scope`](Self::scope) is around. There every task gets a copy of its
/// spawner's context; here it gets copies of those keys that are declared `inherited`.
#[doc(alias = "ContextVar")]
pub struct LocalKey<T: 'static> {
    /// For keys that are inherited.
    copy: Option<Copy>,
    _type: std::marker::PhantomData<fn() -> T>,
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    #[allow(clippy::new_without_default, reason = "for the macro")]
    pub const fn new() -> Self {
        Self { copy: None, _type: std::marker::PhantomData }
    }

    #[doc(hidden)]
    #[must_use]
    pub const fn inherited(self) -> Self
    where
        T: Clone + Send,
    {
        /// # Safety
        ///
        /// `key` is a `LocalKey<T>` in a static, and `value` a `T`.
        unsafe fn copy<T: Clone + Send + 'static>(
            key: *const (),
            value: *const (),
        ) -> Box<dyn Kept> {
            // SAFETY: by the caller.
            let (key, value) = unsafe { (&*key.cast::<LocalKey<T>>(), &*value.cast::<T>()) };
            Box::new(KeptValue { key, value: value.clone() })
        }
        Self { copy: Some(copy::<T>), _type: std::marker::PhantomData }
    }

    /// Runs `future` with this value of the key: for all that it awaits, and while it is dropped.
    ///
    /// Scopes nest: the innermost holds.
    ///
    /// asyncio: `ContextVar.set` and `reset`, around a block.
    ///
    /// # Cancel safety
    ///
    /// That of `future`.
    pub fn scope<F: Future>(&'static self, value: T, future: F) -> LocalScope<T, F> {
        LocalScope { key: self, value, future: Some(future) }
    }

    /// Calls `f` with the value that holds here.
    ///
    /// # Panics
    ///
    /// Outside of the key's scopes. asyncio: `LookupError`.
    #[track_caller]
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        match self.try_with(f) {
            Ok(result) => result,
            Err(error) => panic!("{error}"),
        }
    }

    /// Calls `f` with the value that holds here.
    ///
    /// # Errors
    ///
    /// [`NoLocal`] outside of the key's scopes.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, NoLocal> {
        let own = ptr::from_ref(self).cast::<()>();
        match find(|entry| (entry.key == own).then_some(entry.value)) {
            // SAFETY: L2, and L1: the frame stays until we return.
            Some(value) => Ok(f(unsafe { &*value.cast::<T>() })),
            None => Err(NoLocal(())),
        }
    }

    /// A copy of the value that holds here.
    ///
    /// asyncio: `ContextVar.get`.
    ///
    /// # Panics
    ///
    /// Outside of the key's scopes.
    #[track_caller]
    pub fn get(&'static self) -> T
    where
        T: Clone,
    {
        match self.try_with(T::clone) {
            Ok(value) => value,
            Err(error) => panic!("{error}"),
        }
    }
}

impl<T> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").field("inherited", &self.copy.is_some()).finish()
    }
}

/// A task-local key has no value here: no [`scope`](LocalKey::scope) of it is around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoLocal(());

impl fmt::Display for NoLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a task-local key was read outside of its scope: await inside KEY.scope(value, ..); \
             a spawned task has it if the key is declared `inherited`",
        )
    }
}

impl Error for NoLocal {}

pin_project! {
    /// A future in whose polls a key has a value: see [`LocalKey::scope`].
    #[must_use = "futures do nothing unless they are awaited"]
    pub struct LocalScope<T, F>
    where
        T: 'static,
    {
        key: &'static LocalKey<T>,
        value: T,
        #[pin]
        future: Option<F>,
    }

    impl<T, F> PinnedDrop for LocalScope<T, F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            let mut future = this.future;
            enter(Values::One(Entry::new(this.key, this.value)), || future.set(None));
        }
    }
}

impl<T: 'static, F: Future> Future for LocalScope<T, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut future = this.future;
        enter(Values::One(Entry::new(this.key, this.value)), || {
            let polled = future.as_mut().as_pin_mut().expect("polled after its end").poll(cx);
            if polled.is_ready() {
                future.set(None);
            }
            polled
        })
    }
}

impl<T, F> fmt::Debug for LocalScope<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalScope").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Declares keys for values that belong to a task, or to a part of one: see
/// [`LocalKey`](crate::task::LocalKey).
///
/// A key that is declared `inherited`, whose type is `Clone + Send`, is copied into the tasks that are
/// spawned within its scope, and into jobs of [`to_thread`](crate::to_thread). The copy is made by the
/// spawn: what the child changes in it, the spawner does not see.
///
/// asyncio: `contextvars`.
///
/// ```
/// use std::cell::Cell;
///
/// ringloop::task_local! {
///     /// Whose request it is; for the tasks that work on it as well.
///     pub inherited static USER: String;
///     static DEPTH: Cell<u32>;
/// }
///
/// ringloop::run(USER.scope("ann".into(), DEPTH.scope(Cell::new(1), async {
///     assert_eq!(USER.get(), "ann");
///     let child = ringloop::spawn(async { (USER.get(), DEPTH.try_with(Cell::get).is_ok()) });
///     assert_eq!(child.await.unwrap(), ("ann".to_owned(), false));
///     let name = ringloop::to_thread(|| USER.get()).await.unwrap();
///     assert_eq!(name, "ann");
/// })));
/// ```
#[macro_export]
macro_rules! task_local {
    // Nothing is ever matched by `never`: it says how often `inherited` stands there.
    ($(
        $(#[$attr:meta])*
        $vis:vis $(inherited $(@ $never:tt)?)? static $name:ident: $type:ty
    );* $(;)?) => {
        $(
            $(#[$attr])*
            $vis static $name: $crate::task::LocalKey<$type> =
                $crate::task::LocalKey::new()$(.inherited() $($never)?)?;
        )*
    };
}
