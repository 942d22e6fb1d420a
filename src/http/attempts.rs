//! The addresses of one name, tried side by side until one of them has a connection (RFC 8305 section
//! 5): each has a head start on the next, and none is given up for it. So one that nobody answers at
//! costs a moment of the time that a step has, wherever it stands, and never all of it.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::SetOnce;
use tokio::time::sleep;

/// What an address has before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);
/// Within which all of them are being tried, however many there are.
const ALL_WITHIN: Duration = Duration::from_secs(2);

/// An error of any kind, as the client's connector has it.
pub(super) type AnyError = Box<dyn Error + Send + Sync>;
/// An attempt under way.
pub(super) type Attempt<C> = Pin<Box<dyn Future<Output = Result<C, AnyError>> + Send>>;

tokio::task_local! {
    /// Which address the attempt that is being polled is for.
    pub(super) static ADDRESS: Address;
}

/// What is known of the addresses that a connection is made to.
#[derive(Default)]
pub(super) struct Attempts {
    is_asked_for: AtomicBool,
    addresses: SetOnce<Vec<SocketAddr>>,
    begun: AtomicUsize,
    is_connected: AtomicBool,
}

/// What a connection that is not there yet waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// The addresses of the name.
    Name,
    /// An answer of any of that many addresses.
    Addresses(usize),
}

impl Attempts {
    /// Whether there was one.
    pub(super) fn have_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed) > 0
    }

    /// What is waited for; nothing once there is a connection.
    pub(super) fn waiting(&self) -> Option<Waiting> {
        match self.begun.load(Ordering::Relaxed) {
            0 => None,
            _ if self.is_connected.load(Ordering::Relaxed) => None,
            _ if self.is_asked_for.load(Ordering::Relaxed) && self.addresses.get().is_none() => {
                Some(Waiting::Name)
            }
            begun => Some(Waiting::Addresses(begun)),
        }
    }

    fn count(&self) -> usize {
        self.addresses.get().map_or(1, Vec::len)
    }
}

/// The place of one address among those of its name.
#[derive(Clone)]
pub(super) struct Address {
    attempts: Arc<Attempts>,
    place: usize,
}

impl Address {
    /// Whether it is the first, by whose attempt the name is looked up.
    pub(super) const fn is_first(&self) -> bool {
        self.place == 0
    }

    /// Notes that the name is being looked up.
    pub(super) fn asked_for(&self) {
        self.attempts.is_asked_for.store(true, Ordering::Relaxed);
    }

    /// Notes what the look-up has found.
    pub(super) fn found(&self, addresses: Vec<SocketAddr>) {
        // One connection looks one name up, once.
        let _ = self.attempts.addresses.set(in_turn(addresses));
    }

    /// The address, once it is known.
    pub(super) fn get(&self) -> Option<SocketAddr> {
        self.attempts.addresses.get()?.get(self.place).copied()
    }
}

/// The kinds of addresses in turn, as the system prefers them: where one kind leads nowhere, the
/// second that is tried is of the other.
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_ipv6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == is_ipv6);
    let mut in_turn = Vec::new();
    while !(first.is_empty() && second.is_empty()) {
        in_turn.extend(first.pop_front());
        in_turn.extend(second.pop_front());
    }
    in_turn
}

/// All addresses of a name have failed, this one first.
#[derive(Debug)]
pub(super) struct AllFailed {
    /// How many were tried.
    pub(super) tried: usize,
    first: AnyError,
}

impl fmt::Display for AllFailed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} addresses were tried", self.tried)
    }
}

impl Error for AllFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.first)
    }
}

/// Connects by `first`, which looks the name up, and beside it by what `another` begins for each
/// further address. The first that answers is taken; the others are dropped.
pub(super) async fn race<C: 'static>(
    attempts: Arc<Attempts>,
    first: Attempt<C>,
    another: impl Fn(Address) -> Option<Attempt<C>>,
) -> Result<C, AnyError> {
    let address = |place| Address { attempts: Arc::clone(&attempts), place };
    let mut running: Vec<Attempt<C>> = vec![Box::pin(ADDRESS.scope(address(0), first))];
    attempts.begun.store(1, Ordering::Relaxed);
    let mut failure = None;
    loop {
        let begun = attempts.begun.load(Ordering::Relaxed);
        let mut head_start = Box::pin(head_start(&attempts, begun));
        let ended = poll_fn(|context| {
            for place in 0..running.len() {
                if let Poll::Ready(outcome) = running[place].as_mut().poll(context) {
                    drop(running.swap_remove(place));
                    return Poll::Ready(Some(outcome));
                }
            }
            head_start.as_mut().poll(context).map(|()| None)
        });
        match ended.await {
            Some(Ok(connection)) => {
                attempts.is_connected.store(true, Ordering::Relaxed);
                return Ok(connection);
            }
            Some(Err(error)) if is_of_address(&*error) => failure = failure.or(Some(error)),
            // Whoever answers with a refusal, or with a certificate that nobody trusts, has answered.
            Some(Err(error)) => return Err(error),
            None => {}
        }
        let next = (begun < attempts.count()).then(|| another(address(begun))).flatten();
        match (next, failure.take_if(|_| running.is_empty())) {
            (Some(next), first) => {
                failure = first.or(failure);
                attempts.begun.store(begun + 1, Ordering::Relaxed);
                running.push(next);
            }
            (None, Some(first)) if begun > 1 => {
                return Err(Box::new(AllFailed { tried: begun, first }));
            }
            (None, Some(first)) => return Err(first),
            (None, None) => {}
        }
    }
}

/// Whether no connection to an address could be made: what another one may make good.
fn is_of_address(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source())
        // The library's error cannot be named, only read.
        .any(|error| matches!(&*error.to_string(), "tcp connect error" | "tcp open error"))
}

/// Ends when the next address is to be tried, which may be never.
async fn head_start(attempts: &Attempts, begun: usize) {
    let addresses = attempts.addresses.wait().await.len();
    if begun >= addresses {
        std::future::pending::<()>().await;
    }
    sleep(head_start_among(addresses)).await;
}

/// What each of that many addresses has before the next one is tried.
fn head_start_among(addresses: usize) -> Duration {
    let others = u32::try_from(addresses.saturating_sub(1)).unwrap_or(u32::MAX).max(1);
    HEAD_START.min(ALL_WITHIN / others)
}

#[cfg(test)]
mod tests;
