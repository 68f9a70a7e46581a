//! Futures of different types, run together: what `gather!`, `try_gather!` and `race!` expand to.

use std::{
    convert::Infallible,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use super::combine::{
    Combine, Ending, HasOutcome, Member, Members, OneOfMany, ResultLike, TaskMember,
};
use crate::task::Task;

pin_project! {
    /// One and those behind it.
    pub struct Cons<M, R> {
        #[pin]
        member: M,
        #[pin]
        rest: R,
    }
}

impl<M: OneOfMany, R> Cons<M, R> {
    /// A list of `member` and `rest`.
    #[inline(always)]
    pub fn new(member: M, rest: R) -> Self {
        Self { member, rest }
    }
}

/// The end of a list.
pub struct Nil;

/// Any list.
pub trait List {
    fn end_quietly(self: Pin<&mut Self>) -> bool;
    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>, end: &Ending) -> Poll<()>;
}

impl List for Nil {
    #[inline(always)]
    fn end_quietly(self: Pin<&mut Self>) -> bool {
        true
    }

    fn poll_end(self: Pin<&mut Self>, _cx: &mut Context<'_>, _end: &Ending) -> Poll<()> {
        Poll::Ready(())
    }
}

impl<M: OneOfMany, R: List> List for Cons<M, R> {
    #[inline(always)]
    fn end_quietly(self: Pin<&mut Self>) -> bool {
        let this = self.project();
        let own = this.member.end_quietly();
        this.rest.end_quietly() && own
    }

    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>, end: &Ending) -> Poll<()> {
        let this = self.project();
        let own = this.member.poll_end(cx, end);
        if this.rest.poll_end(cx, end).is_ready() { own } else { Poll::Pending }
    }
}

pin_project! {
    /// A member whose value is kept until the others have theirs.
    pub struct Kept<M: OneOfMany> {
        #[pin]
        member: M,
        value: Option<M::Output>,
    }
}

impl<M: OneOfMany> Kept<M> {
    /// A member that has no value yet.
    #[inline(always)]
    pub fn new(member: M) -> Self {
        Self { member, value: None }
    }

    /// Whether it has a value, after a poll if it has to be polled for that.
    #[inline]
    fn poll_kept(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        let this = self.project();
        if this.value.is_none()
            && let Poll::Ready(value) = this.member.poll_one(cx)
        {
            *this.value = Some(value);
        }
        this.value.is_some()
    }

    fn value(self: Pin<&mut Self>) -> &mut Option<M::Output> {
        self.project().value
    }
}

impl<M: OneOfMany> OneOfMany for Kept<M> {
    type Output = M::Output;

    #[inline]
    fn poll_one(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<M::Output> {
        self.project().member.poll_one(cx)
    }

    #[inline(always)]
    fn end_quietly(self: Pin<&mut Self>) -> bool {
        self.project().member.end_quietly()
    }

    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>, end: &Ending) -> Poll<()> {
        self.project().member.poll_end(cx, end)
    }
}

/// A list that keeps its values.
pub trait Keeps: List {
    /// Polls all that have no value. Says whether none is left.
    fn poll_each(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool;
}

impl Keeps for Nil {
    #[inline]
    fn poll_each(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> bool {
        true
    }
}

impl<M: OneOfMany, R: Keeps> Keeps for Cons<Kept<M>, R> {
    #[inline]
    fn poll_each(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        let this = self.project();
        let own = this.member.poll_kept(cx);
        this.rest.poll_each(cx) && own
    }
}

/// A list whose values are taken all at once.
pub trait All: Keeps {
    type Values;
    fn take(self: Pin<&mut Self>) -> Self::Values;
}

impl All for Nil {
    type Values = ();

    fn take(self: Pin<&mut Self>) {}
}

impl<M: OneOfMany, R: All> All for Cons<Kept<M>, R> {
    type Values = (M::Output, R::Values);

    fn take(self: Pin<&mut Self>) -> Self::Values {
        let this = self.project();
        (this.member.value().take().expect("all have one"), this.rest.take())
    }
}

/// A list of fallible futures.
pub trait AllOk: Keeps {
    type Values;
    /// Which one failed first, and how.
    type Error;
    /// The first error in the list, if there is one yet.
    fn error(self: Pin<&mut Self>) -> Option<Self::Error>;
    /// All values; there is no error.
    fn take(self: Pin<&mut Self>) -> Self::Values;
}

impl AllOk for Nil {
    type Values = ();
    type Error = Infallible;

    fn error(self: Pin<&mut Self>) -> Option<Infallible> {
        None
    }

    fn take(self: Pin<&mut Self>) {}
}

impl<M: OneOfMany<Output: ResultLike>, R: AllOk> AllOk for Cons<Kept<M>, R> {
    type Values = (<M::Output as ResultLike>::Ok, R::Values);
    type Error = OneOf<<M::Output as ResultLike>::Error, R::Error>;

    fn error(self: Pin<&mut Self>) -> Option<Self::Error> {
        let this = self.project();
        let own = this.member.value();
        match own.take().map(ResultLike::into_result) {
            Some(Err(error)) => return Some(OneOf::This(error)),
            Some(Ok(value)) => *own = Some(M::Output::from_ok(value)),
            None => {}
        }
        this.rest.error().map(OneOf::Rest)
    }

    fn take(self: Pin<&mut Self>) -> Self::Values {
        let this = self.project();
        match this.member.value().take().map(ResultLike::into_result) {
            Some(Ok(value)) => (value, this.rest.take()),
            _ => unreachable!("all have a value"),
        }
    }
}

/// A list of which the first value is taken.
pub trait First: List {
    /// Which one was first, and its value.
    type Value;
    /// Polls one after the other, until one is ready.
    fn poll_first(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Value>;
}

impl First for Nil {
    type Value = Infallible;

    #[inline(always)]
    fn poll_first(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Infallible> {
        Poll::Pending
    }
}

impl<M: OneOfMany, R: First> First for Cons<M, R> {
    type Value = OneOf<M::Output, R::Value>;

    #[inline(always)]
    fn poll_first(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Value> {
        let this = self.project();
        match this.member.poll_one(cx) {
            Poll::Ready(value) => Poll::Ready(OneOf::This(value)),
            Poll::Pending => this.rest.poll_first(cx).map(OneOf::Rest),
        }
    }
}

/// The value of one in a list. The macros bring all of them to one type, each where it stands. A bound
/// here that says so would make the compiler take futures that hold references for not `Send`: inside
/// an async block it compares them with all lifetimes forgotten.
pub enum OneOf<A, R> {
    /// The first one's.
    This(A),
    /// One of those behind it.
    Rest(R),
}

/// `(A, (B, ()))` as `(A, B)`.
pub trait Flatten {
    type Flat;
    fn flatten(self) -> Self::Flat;
}

macro_rules! flatten {
    ($($name:ident)*) => {
        flatten!(@nest [$($name)*] [] $($name)*);
    };
    (@nest [$($name:ident)*] [$($done:tt)*] ) => {
        impl<$($name),*> Flatten for nest!(ty $($name)*) {
            type Flat = ($($name,)*);

            #[allow(non_snake_case, clippy::unused_unit, reason = "one name for type and value")]
            fn flatten(self) -> Self::Flat {
                let nest!(pat $($name)*) = self;
                ($($name,)*)
            }
        }
    };
    (@nest $all:tt [$($done:tt)*] $next:ident $($rest:ident)*) => {
        flatten!(@nest $all [$($done)* $next] $($rest)*);
    };
}
macro_rules! nest {
    (ty) => { () };
    (ty $head:ident $($tail:ident)*) => { ($head, nest!(ty $($tail)*)) };
    (pat) => { () };
    (pat $head:ident $($tail:ident)*) => { ($head, nest!(pat $($tail)*)) };
}

flatten!();
flatten!(A);
flatten!(A B);
flatten!(A B C);
flatten!(A B C D);
flatten!(A B C D E);
flatten!(A B C D E F);
flatten!(A B C D E F G);
flatten!(A B C D E F G H);
flatten!(A B C D E F G H I);
flatten!(A B C D E F G H I J);
flatten!(A B C D E F G H I J K);
flatten!(A B C D E F G H I J K L);

pin_project! {
    /// A list that is run: what the macros expand to.
    pub struct Planned<L, T, P> {
        #[pin]
        list: L,
        plan: P,
        outcome: PhantomData<fn() -> T>,
    }
}

impl<L, T, P> HasOutcome for Planned<L, T, P> {
    type Outcome = T;
}

impl<L, T, P> Members for Planned<L, T, P>
where
    L: List,
    P: Fn(Pin<&mut L>, &mut Context<'_>) -> Poll<T>,
{
    #[inline(always)]
    fn poll_members(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let this = self.project();
        (this.plan)(this.list, cx)
    }

    #[inline(always)]
    fn end_quietly(self: Pin<&mut Self>) -> bool {
        self.project().list.end_quietly()
    }

    fn poll_end(self: Pin<&mut Self>, cx: &mut Context<'_>, end: &Ending) -> Poll<()> {
        self.project().list.poll_end(cx, end)
    }
}

/// Runs a list: what the macros call.
#[track_caller]
#[inline(always)]
pub fn run_list<L, T, P>(list: L, plan: P) -> Combine<Planned<L, T, P>>
where
    L: List,
    P: Fn(Pin<&mut L>, &mut Context<'_>) -> Poll<T>,
{
    Combine::new(Planned { list, plan, outcome: PhantomData })
}

/// All values: see [`gather!`](macro@crate::gather).
#[inline]
pub fn poll_all<L: All<Values: Flatten>>(
    mut list: Pin<&mut L>,
    cx: &mut Context<'_>,
) -> Poll<<L::Values as Flatten>::Flat> {
    if list.as_mut().poll_each(cx) {
        return Poll::Ready(list.take().flatten());
    }
    Poll::Pending
}

/// All values, or the first error: see [`try_gather!`](macro@crate::try_gather).
pub fn poll_all_ok<L: AllOk<Values: Flatten>>(
    mut list: Pin<&mut L>,
    cx: &mut Context<'_>,
) -> Poll<Result<<L::Values as Flatten>::Flat, L::Error>> {
    let all = list.as_mut().poll_each(cx);
    if let Some(error) = list.as_mut().error() {
        return Poll::Ready(Err(error));
    }
    if all { Poll::Ready(Ok(list.take().flatten())) } else { Poll::Pending }
}

/// What stands in a list, before it is known whether it is a task.
pub struct Given<F>(pub F);

/// Any future, as it is.
pub trait ViaFuture {
    /// What is run.
    type Member;
    /// What is run for it.
    fn into_member(self) -> Self::Member;
}

impl<F: IntoFuture> ViaFuture for Given<F> {
    type Member = Member<F::IntoFuture>;

    #[inline(always)]
    fn into_member(self) -> Self::Member {
        Member::new(self.0.into_future())
    }
}

impl<T> Given<Task<T>> {
    /// A task that is given away is owned: a method of the type goes before one of a trait.
    #[inline]
    pub fn into_member(self) -> TaskMember<T> {
        TaskMember::new(self.0)
    }
}

/// Runs several futures of any types at the same time, and waits for all of them: a tuple of their
/// values.
///
/// They run in the task that awaits, and may borrow from it. A task that is given away, instead of
/// by `&mut`, is owned: it is cancelled with the rest. When a scope around it is cancelled, or one
/// of the futures panics, the others are ended, with their cleanup, before it goes on.
///
/// For a list whose length is not known, see [`gather`](crate::gather()).
///
/// asyncio: `asyncio.gather(...)`, which leaves the others running.
///
/// # Cancel safety
///
/// Values of those that were ready are dropped with it.
///
/// ```
/// ringloop::run(async {
///     let name = String::from("borrowed");
///     let (one, length, task) = ringloop::gather!(
///         async { 1 },
///         async { name.len() },
///         ringloop::spawn(async { "a task" }),
///     )
///     .await;
///     assert_eq!((one, length, task.unwrap()), (1, 8, "a task"));
/// });
/// ```
#[doc(alias = "join", alias = "asyncio.gather")]
#[macro_export]
macro_rules! gather {
    ($($future:expr),* $(,)?) => {
        $crate::__private::run_list(
            $crate::__list!({ $crate::__private::Kept::new } $($future),*),
            $crate::__private::poll_all,
        )
    };
}

/// As [`gather!`](macro@crate::gather), for futures of `Result`s with one type of error: the first error
/// ends the others and is the result.
///
/// asyncio: `asyncio.gather(...)` without `return_exceptions`; there the others run on, and their
/// errors are lost.
///
/// # Cancel safety
///
/// Values of those that were ready are dropped with it.
///
/// ```
/// ringloop::run(async {
///     let never = std::future::pending::<Result<(), &str>>();
///     let result = ringloop::try_gather!(async { Err::<u32, _>("no") }, never).await;
///     assert_eq!(result, Err("no"));
/// });
/// ```
#[doc(alias = "try_join")]
#[macro_export]
macro_rules! try_gather {
    ($($future:expr),* $(,)?) => {
        $crate::__private::run_list(
            $crate::__list!({ $crate::__private::Kept::new } $($future),*),
            |list, cx| {
                let polled = $crate::__private::poll_all_ok(list, cx);
                polled.map_err(|error| $crate::__one_of!(error; $($future),*))
            },
        )
    };
}

/// Runs several futures with one type of value at the same time; the first that is ready wins.
///
/// The losers are ended, with their cleanup, before it is ready itself: a future is dropped, a task
/// that was given away is cancelled and joined. They are polled in the order in which they stand. To
/// keep a loser, give it by `&mut`.
///
/// asyncio: `asyncio.wait(..., return_when=FIRST_COMPLETED)` and a loop that cancels the rest.
///
/// # Cancel safety
///
/// That of the futures: none of them is polled any more once another one was ready.
///
/// ```
/// ringloop::run(async {
///     let slow = ringloop::spawn(async {
///         std::future::pending::<()>().await;
///         "slow"
///     });
///     let first = ringloop::race!(async { "quick" }, async { slow.join().await.unwrap() });
///     assert_eq!(first.await, "quick");
/// });
/// ```
#[doc(alias = "select")]
#[macro_export]
macro_rules! race {
    ($($future:expr),+ $(,)?) => {
        $crate::__private::run_list(
            $crate::__list!({} $($future),+),
            |list, cx| {
                let polled = $crate::__private::First::poll_first(list, cx);
                polled.map(|value| $crate::__one_of!(value; $($future),+))
            },
        )
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __list {
    ({$($keep:tt)*}) => { $crate::__private::Nil };
    ({$($keep:tt)*} $future:expr $(, $rest:expr)*) => {{
        #[allow(unused_imports, reason = "not for tasks")]
        use $crate::__private::ViaFuture as _;
        $crate::__private::Cons::new(
            $($keep)* ($crate::__private::Given($future).into_member()),
            $crate::__list!({$($keep)*} $($rest),*),
        )
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __one_of {
    ($value:expr;) => { match $value {} };
    ($value:expr; $head:expr $(, $tail:expr)*) => {
        match $value {
            $crate::__private::OneOf::This(value) => value,
            $crate::__private::OneOf::Rest(rest) => $crate::__one_of!(rest; $($tail),*),
        }
    };
}
