//! Something that may take time, to be tried, waited for or awaited.

use core::future::{IntoFuture, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};
use core::time::Duration;

use crate::machine::Machine;
use crate::platform::{self, Native, Platform};

/// Something that may take time. Nothing happens until one of these is said:
///
/// - [`wait`](Self::wait): the result, asleep until it is there. For plain loops.
/// - `.await`: the result, other tasks going on meanwhile. For `async` functions.
/// - [`now`](Self::now): the result if it is there already. For whoever has better things to do.
#[must_use = "nothing happens until `wait`, `now` or `.await`"]
#[derive(Debug)]
pub struct Operation<'m, F, P = Native> {
    machine: &'m Machine<P>,
    future: F,
}

/// An operation that tries again and again. What it tries must not wait itself, and arms what it depends on when
/// [`Machine::is_arming`].
pub(crate) fn operation<'m, P: Platform, T>(
    machine: &'m Machine<P>,
    mut attempt: impl FnMut() -> Poll<T>,
) -> Operation<'m, impl Future<Output = T>, P> {
    Operation { machine, future: poll_fn(move |_| attempt()) }
}

impl<'m, F: Future, P: Platform> Operation<'m, F, P> {
    /// An operation made of others.
    pub(crate) const fn of(machine: &'m Machine<P>, future: F) -> Self {
        Self { machine, future }
    }

    /// The result, however long it takes.
    pub fn wait(self) -> F::Output {
        self.machine.block_on(self.future)
    }

    /// The result, if that takes no time; else the operation is given up, whose first steps may have been done.
    pub fn now(self) -> Option<F::Output> {
        match pin!(self.future).poll(&mut Context::from_waker(&platform::waker())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    /// The same for at most so long; `None` where it was given up, as by [`now`](Self::now).
    pub fn within(self, duration: Duration) -> Operation<'m, impl Future<Output = Option<F::Output>>, P> {
        let Self { machine, future } = self;
        let end = machine.ticks_after(duration);
        let limited = async move {
            let mut future = pin!(future);
            poll_fn(|context| match future.as_mut().poll(context) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if machine.is_over(end) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            })
            .await
        };
        Operation { machine, future: limited }
    }
}

impl<F: Future, P> IntoFuture for Operation<'_, F, P> {
    type Output = F::Output;
    type IntoFuture = F;

    fn into_future(self) -> F {
        self.future
    }
}

/// Does both, side by side, and gives both results.
pub async fn join<A: IntoFuture, B: IntoFuture>(first: A, second: B) -> (A::Output, B::Output) {
    let (mut first, mut second) = (pin!(first.into_future()), pin!(second.into_future()));
    let (mut a, mut b) = (None, None);
    poll_fn(|context| {
        if a.is_none()
            && let Poll::Ready(output) = first.as_mut().poll(context)
        {
            a = Some(output);
        }
        if b.is_none()
            && let Poll::Ready(output) = second.as_mut().poll(context)
        {
            b = Some(output);
        }
        match (a.take(), b.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (first, second) => {
                (a, b) = (first, second);
                Poll::Pending
            }
        }
    })
    .await
}

/// The result of whichever of two is there first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first one's.
    First(A),
    /// The second one's.
    Second(B),
}

/// Does both, side by side, until one is done, and gives the other up.
pub async fn race<A: IntoFuture, B: IntoFuture>(first: A, second: B) -> Either<A::Output, B::Output> {
    let (mut first, mut second) = (pin!(first.into_future()), pin!(second.into_future()));
    poll_fn(|context| {
        if let Poll::Ready(output) = first.as_mut().poll(context) {
            return Poll::Ready(Either::First(output));
        }
        second.as_mut().poll(context).map(Either::Second)
    })
    .await
}
