//! A transport that notices whom it talks to: their certificates and their clocks. What it carries
//! is what a `get` sends, by the same code.

use std::cell::RefCell;

use crate::http::certificate::Certificate;
use crate::http::{Request, Response, Transport, TransportError};
use crate::quay::forecast::ahead;
use crate::world::World;

/// A server that replied.
#[derive(Clone, Debug)]
pub(super) struct Met {
    /// Host and port.
    pub(super) host: String,
    /// Its certificate, where it has one.
    pub(super) certificate: Option<Certificate>,
    /// By how much its clock is ahead of this host's, in seconds.
    pub(super) ahead: Option<i64>,
}

/// Passes requests on to another transport.
pub(super) struct Observed<'a> {
    world: &'a World,
    inner: &'a dyn Transport,
    met: RefCell<Vec<Met>>,
    known: RefCell<Vec<String>>,
}

impl<'a> Observed<'a> {
    pub(super) const fn new(world: &'a World, inner: &'a dyn Transport) -> Self {
        Self { world, inner, met: RefCell::new(Vec::new()), known: RefCell::new(Vec::new()) }
    }

    /// The servers that replied for the first time since this was last asked.
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
        let reply = self.inner.send(request)?;
        let host = request.url.host_str().unwrap_or_default();
        self.met.borrow_mut().push(Met {
            host: request.url.port().map_or_else(|| host.to_owned(), |it| format!("{host}:{it}")),
            certificate: reply.certificate.as_deref().and_then(Certificate::read),
            ahead: ahead(self.world, &reply),
        });
        Ok(reply)
    }
}
