//! A connection that is made before the request that it is for can be written: the client's
//! connector, told by whoever sends what to do. For any other request it connects as ever.

use std::any::Any;
use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::rt::{Read, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower_layer::Layer;
use tower_service::Service;
use url::{Origin, Url};

use super::ClientKey;
use super::attempts::{ADDRESS, Address, AnyError, Attempt, Attempts, race};

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
    /// To connect, and no more is known.
    #[default]
    Untold,
    /// To connect for the request.
    Connect(Way),
    /// To begin a connection and to hand it over: nothing is sent.
    Begin(Way),
    /// To begin a connection to one address and to hand it over: nothing is sent.
    BeginAt(Address),
    /// One of these was done.
    Begun(Connecting),
    /// To take this connection, if it serves, and else to connect.
    Take(Connecting, Way),
}

/// How connections of a client to a server are begun, and what became of those to its addresses.
#[derive(Clone)]
pub(super) struct Way {
    client: reqwest::Client,
    url: Url,
    attempts: Arc<Attempts>,
}

impl Way {
    /// The way of a request to this URL.
    pub(super) fn to(client: &reqwest::Client, url: &Url) -> Self {
        Self { client: client.clone(), url: url.clone(), attempts: Arc::default() }
    }

    /// What is known of the server's addresses.
    pub(super) fn attempts(&self) -> Arc<Attempts> {
        Arc::clone(&self.attempts)
    }

    /// Begins a connection by polling a request once: that reaches the connector, which is all it is
    /// for, and it is dropped unsent. The client does not send HTTP/2 over the connections that it
    /// makes: where it has one to this server already, nothing goes over that. Call it within a
    /// runtime's context; the connection goes on whenever that runs.
    fn begin(&self, mode: Mode) -> Option<Connecting> {
        let request = self.client.get(self.url.clone()).version(reqwest::Version::HTTP_2).send();
        let mode = MODE.sync_scope(Cell::new(mode), || {
            let _ = pin!(request).poll(&mut Context::from_waker(Waker::noop()));
            MODE.with(Cell::take)
        });
        let Mode::Begun(connecting) = mode else { return None };
        Some(connecting)
    }

    /// Connects to whichever address answers.
    async fn connect<C: Send + 'static>(self, fresh: Attempt<C>) -> Result<C, AnyError> {
        let attempts = self.attempts();
        let another = |address| {
            let connecting = self.begin(Mode::BeginAt(address))?;
            Some(Box::pin(connecting.result()) as Attempt<C>)
        };
        race(attempts, fresh, another).await
    }
}

/// A connection under way, or what became of it: the connector's result. Dropped, it is given up.
struct Connecting(JoinHandle<Box<dyn Any + Send>>);

impl Connecting {
    fn of<C: Send + 'static>(connecting: Attempt<C>) -> Self {
        Self(tokio::spawn(async { Box::new(connecting.await) as Box<_> }))
    }

    /// What comes of it.
    async fn result<C: 'static>(mut self) -> Result<C, AnyError> {
        let outcome = (&mut self.0).await?.downcast();
        *outcome.map_err(|_| "a connection of another kind")?
    }

    /// What came of it, for a request that is sent now; nothing where the request has to connect by
    /// itself.
    async fn outcome<C: Read + Unpin + 'static>(self) -> Option<Result<C, AnyError>> {
        let is_under_way = !self.0.is_finished();
        match self.result().await {
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
    attempts: Arc<Attempts>,
}

impl Ahead {
    /// Begins a connection; see [`Way::begin`]. `now` is the boot clock's: a server does not wait
    /// while this host sleeps.
    pub(super) fn begin(way: &Way, client: ClientKey, now: Duration) -> Option<Self> {
        let connecting = way.begin(Mode::Begin(way.clone()))?;
        let (origin, attempts) = (way.url.origin(), way.attempts());
        Some(Self { origin, client, began: now, connecting, attempts })
    }

    /// What is known of the server's addresses.
    pub(super) fn attempts(&self) -> Arc<Attempts> {
        Arc::clone(&self.attempts)
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

/// Sends a request by its way, over the connection that was begun for it if there is one that serves.
pub(super) async fn over<F: Future>(ahead: Option<Ahead>, way: Way, request: F) -> F::Output {
    let mode = match ahead {
        None => Mode::Connect(way),
        Some(ahead) => Mode::Take(ahead.connecting, way),
    };
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
    S: Service<Server, Error = AnyError>,
    S::Response: Read + Unpin + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = AnyError;
    type Future = Attempt<S::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AnyError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, server: Server) -> Self::Future {
        // It does nothing before it is polled.
        let fresh: Self::Future = Box::pin(self.inner.call(server));
        let begun = match MODE.try_with(Cell::take).unwrap_or_default() {
            Mode::Untold | Mode::Begun(_) => return fresh,
            Mode::Connect(way) => {
                // A request whose connection breaks before it is sent connects again.
                MODE.with(|mode| mode.set(Mode::Connect(way.clone())));
                return Box::pin(way.connect(fresh));
            }
            Mode::Take(connecting, way) => {
                return Box::pin(async {
                    match timeout(LONGEST_WAIT, connecting.outcome()).await {
                        Ok(Some(outcome)) => outcome,
                        Ok(None) | Err(_) => way.connect(fresh).await,
                    }
                });
            }
            Mode::Begin(way) => Connecting::of::<S::Response>(Box::pin(way.connect(fresh))),
            Mode::BeginAt(address) => {
                Connecting::of::<S::Response>(Box::pin(ADDRESS.scope(address, fresh)))
            }
        };
        MODE.with(|mode| mode.set(Mode::Begun(begun)));
        Box::pin(pending())
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
