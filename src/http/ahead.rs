//! A connection that is made before the request that it is for can be written: the client's
//! connector, told by whoever sends what to do. For any other request it connects as ever.

use std::any::Any;
use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::rt::{Read, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower_layer::Layer;
use tower_service::Service;
use url::{Origin, Url};

use super::ClientKey;

/// How old a connection may be. There are proxies that give up one that says nothing after 10 s.
const LONGEST_AGE: Duration = Duration::from_secs(5);
/// How long a request waits for one that is under way: it may be stuck where a fresh one is not.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

tokio::task_local! {
    /// What the connector does for the request that is being polled.
    static MODE: Cell<Mode>;
}

/// What a connector is told to do.
#[derive(Default)]
enum Mode {
    /// To connect for the request.
    #[default]
    Connect,
    /// To begin a connection and to hand it over: nothing is sent.
    Begin,
    /// That was done.
    Begun(Connecting),
    /// To take this connection, if it serves.
    Take(Connecting),
}

/// A connection under way, or what became of it: the connector's result. Dropped, it is given up.
struct Connecting(JoinHandle<Box<dyn Any + Send>>);

impl Connecting {
    /// What came of it, for a request that is sent now; nothing where the request has to connect by
    /// itself.
    async fn outcome<C, E>(mut self) -> Option<Result<C, E>>
    where
        C: Read + Unpin + 'static,
        E: 'static,
    {
        let is_under_way = !self.0.is_finished();
        let outcome = (&mut self.0).await.ok()?.downcast().ok()?;
        match *outcome {
            Ok(connection) => still_silent(connection).await.map(Ok),
            // What fails now is the request's own failure; what failed before may have passed.
            Err(error) => is_under_way.then_some(Err(error)),
        }
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection that was begun ahead, and what it may be used for: its server, as its client
/// reaches and trusts it, and nothing else (rule R19).
pub(super) struct Ahead {
    origin: Origin,
    client: ClientKey,
    began: Duration,
    connecting: Connecting,
}

impl Ahead {
    /// Begins a connection to a URL by polling a request to it once: that reaches the connector,
    /// which is all it is for, and it is dropped unsent. Call it within a runtime's context; the
    /// connection goes on whenever that runs. `now` is the boot clock's: a server does not wait
    /// while this host sleeps.
    pub(super) fn begin(
        url: &Url,
        client: ClientKey,
        now: Duration,
        request: impl Future,
    ) -> Option<Self> {
        let mode = MODE.sync_scope(Cell::new(Mode::Begin), || {
            let _ = pin!(request).poll(&mut Context::from_waker(Waker::noop()));
            MODE.with(Cell::take)
        });
        let Mode::Begun(connecting) = mode else { return None };
        Some(Self { origin: url.origin(), client, began: now, connecting })
    }

    /// Whether it was begun for requests such as one to this URL by this client.
    pub(super) fn is_for(&self, url: &Url, client: &ClientKey) -> bool {
        self.origin == url.origin() && self.client == *client
    }

    /// Whether the server may have given up waiting.
    pub(super) fn is_old(&self, now: Duration) -> bool {
        now.saturating_sub(self.began) >= LONGEST_AGE
    }
}

/// Sends a request, over the connection that was begun for it if there is one that serves.
pub(super) async fn over<F: Future>(ahead: Option<Ahead>, request: F) -> F::Output {
    let mode = ahead.map_or(Mode::Connect, |ahead| Mode::Take(ahead.connecting));
    MODE.scope(Cell::new(mode), request).await
}

/// Makes a client's connector a [`Connector`].
#[derive(Clone, Copy)]
pub(super) struct AheadLayer;

impl<S> Layer<S> for AheadLayer {
    type Service = Connector<S>;

    fn layer(&self, inner: S) -> Connector<S> {
        Connector { inner }
    }
}

/// A connector that does what its mode says. Which server it is asked for it cannot see: to give
/// it the right mode is for whoever sends.
#[derive(Clone)]
pub(super) struct Connector<S> {
    inner: S,
}

impl<S, Server> Service<Server> for Connector<S>
where
    S: Service<Server>,
    S::Response: Read + Unpin + Send + 'static,
    S::Error: Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, server: Server) -> Self::Future {
        // It does nothing before it is polled.
        let fresh = self.inner.call(server);
        match MODE.try_with(Cell::take).unwrap_or_default() {
            Mode::Connect | Mode::Begun(_) => Box::pin(fresh),
            Mode::Begin => {
                let outcome = async { Box::new(fresh.await) as Box<_> };
                let begun = Mode::Begun(Connecting(tokio::spawn(outcome)));
                MODE.with(|mode| mode.set(begun));
                Box::pin(pending())
            }
            Mode::Take(connecting) => Box::pin(async {
                match timeout(LONGEST_WAIT, connecting.outcome()).await {
                    Ok(Some(outcome)) => outcome,
                    Ok(None) | Err(_) => fresh.await,
                }
            }),
        }
    }
}

/// A connection if nothing came over it, as nothing was sent over it: one that was closed meanwhile,
/// or whose server spoke unasked, serves nobody.
async fn still_silent<C: Read + Unpin>(mut connection: C) -> Option<C> {
    // The runtime looks at its sockets: what came since it last did is seen too.
    tokio::task::yield_now().await;
    let mut byte = [0];
    let mut buffer = ReadBuf::new(&mut byte);
    let read = poll_fn(|context| {
        Poll::Ready(Pin::new(&mut connection).poll_read(context, buffer.unfilled()))
    });
    read.await.is_pending().then_some(connection)
}

#[cfg(test)]
mod tests;
