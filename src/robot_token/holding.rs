//! Says, at each request of whoever holds a lock, until when it must have been answered (R16): then
//! those who wait need not wait for all of the holder's deadline to see that it hangs.

use std::time::Duration;

use url::Url;

use crate::cache::attempt::Turn;
use crate::config::settings::Connection;
use crate::deadline::Deadline;
use crate::http::{Request, Response, Transport, TransportError};
use crate::world::World;

/// By how much a request may last longer than its time, and what lies between two of them.
const FOR_A_BUSY_HOST: Duration = Duration::from_millis(700);

/// A transport by which the holder of a lock asks.
pub(super) struct Holding<'a> {
    pub(super) world: &'a World,
    pub(super) transport: &'a dyn Transport,
    /// Nothing for whoever goes on without the lock.
    pub(super) turn: Option<&'a Turn>,
    /// The holder's own deadline.
    pub(super) deadline: Deadline,
}

impl Transport for Holding<'_> {
    fn send(&self, request: &Request<'_>) -> Result<Response, TransportError> {
        if let Some(turn) = self.turn {
            let time = request.timeout.saturating_add(FOR_A_BUSY_HOST);
            let end = Deadline::after(self.world.clock.boot(), time);
            turn.hold_until(end.min(self.deadline));
        }
        self.transport.send(request)
    }

    fn connect_ahead(&self, url: &Url, connection: &Connection) {
        self.transport.connect_ahead(url, connection);
    }
}
