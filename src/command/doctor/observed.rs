//! A transport that notices whom it talks to: their certificates and their clocks. What it carries
//! is what a `get` sends, by the same code.

use std::cell::RefCell;
use std::path::PathBuf;

use crate::http::witness::{Presented, Seen, Sent};
use crate::http::{Request, Response, Transport, TransportError};
use crate::quay::forecast::ahead;
use crate::world::World;

/// A server that presented certificates or replied.
#[derive(Clone, Debug)]
pub(super) struct Met {
    /// Host and port.
    pub(super) host: String,
    /// The certificates that are trusted besides the system's.
    pub(super) ca_file: Option<PathBuf>,
    /// What it presented, where TLS was begun.
    pub(super) presented: Option<Presented>,
    /// By how much its clock is ahead of this host's, in seconds.
    pub(super) ahead: Option<i64>,
}

/// Passes requests on to another transport, which tells `seen`.
pub(super) struct Observed<'a> {
    world: &'a World,
    inner: &'a dyn Transport,
    seen: &'a Seen,
    met: RefCell<Vec<Met>>,
    known: RefCell<Vec<String>>,
    sent: RefCell<Vec<(String, Sent)>>,
}

impl<'a> Observed<'a> {
    pub(super) const fn new(world: &'a World, inner: &'a dyn Transport, seen: &'a Seen) -> Self {
        Self {
            world,
            inner,
            seen,
            met: RefCell::new(Vec::new()),
            known: RefCell::new(Vec::new()),
            sent: RefCell::new(Vec::new()),
        }
    }

    /// The certificates that a host sent, by the name that a rule has for it.
    pub(super) fn sent_by(&self, host: &str) -> Option<Sent> {
        let host = host.strip_suffix(":443").unwrap_or(host);
        let sent = self.sent.borrow();
        sent.iter().find(|(of, _)| of == host).map(|(_, sent)| sent.clone())
    }

    /// The servers that were met for the first time since this was last asked.
    pub(super) fn newly_met(&self) -> Vec<Met> {
        let mut known = self.known.borrow_mut();
        let mut new = Vec::new();
        for met in self.met.borrow_mut().drain(..) {
            if !known.contains(&met.host) {
                known.push(met.host.clone());
                new.push(met);
            }
        }
        new
    }
}

impl Transport for Observed<'_> {
    fn send(&self, request: &Request<'_>) -> Result<Response, TransportError> {
        let sent = self.inner.send(request);
        let presented = self.seen.take();
        if sent.is_ok() || presented.is_some() {
            let host = request.url.host_str().unwrap_or_default();
            let host =
                request.url.port().map_or_else(|| host.to_owned(), |it| format!("{host}:{it}"));
            if let Some(chain) = presented.as_ref().and_then(|it| it.sent.clone()) {
                self.sent.borrow_mut().push((host.clone(), chain));
            }
            self.met.borrow_mut().push(Met {
                host,
                ca_file: request.connection.ca_file.clone(),
                presented,
                ahead: sent.as_ref().ok().and_then(|reply| ahead(self.world, reply)),
            });
        }
        sent
    }
}
