//! What can be made to go wrong, and what a server remembers of its requests.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::http::{self, Reply};
use crate::quay::pages;

/// What happens to a request instead of (or before) its normal reply.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The normal reply, this much later.
    Delay(Duration),
    /// The connection is reset (RST) once the request has been read.
    Reset,
    /// The connection is closed (FIN) once the request has been read, without a reply.
    Close,
    /// A reply whose `Content-Length` is larger than its body by `missing` bytes; then the
    /// connection is closed.
    Truncate {
        /// Status code.
        status: u16,
        /// Header names and values; `Content-Length` is added.
        headers: Vec<(String, String)>,
        /// What is sent.
        body: Vec<u8>,
        /// How many bytes are promised and not sent.
        missing: usize,
    },
    /// The normal reply, of whose body only the first `keep` bytes are sent; then the connection
    /// is closed.
    TruncateReply {
        /// How many bytes of the body are sent.
        keep: usize,
    },
    /// This reply.
    Respond {
        /// Status code.
        status: u16,
        /// Header names and values, `Retry-After` for example; `Content-Length` is added.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// A 302 to this URL.
    Redirect(String),
    /// A 200 with an endless-looking JSON string.
    Huge {
        /// How many bytes of body.
        bytes: u64,
        /// Whether `Content-Length` announces them; otherwise they come in chunks.
        announced: bool,
    },
    /// These bytes inside TLS, in place of an HTTP reply; then the connection is closed.
    Raw(Vec<u8>),
    /// The normal reply, one byte at a time.
    Trickle {
        /// The pause before each byte.
        every: Duration,
    },
    /// No reply until the sandbox stops.
    Hang,
}

impl Fault {
    /// A [`Fault::Respond`] with one header, `Content-Type`.
    pub fn respond(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::Respond {
            status,
            headers: vec![("Content-Type".to_owned(), content_type.to_owned())],
            body: body.into(),
        }
    }

    /// Quay is down or starting: the reverse proxy's 502 page.
    pub fn quay_loading() -> Self {
        pages::quay_loading().into()
    }

    /// Quay's 500 page.
    pub fn internal_server_error() -> Self {
        pages::internal_server_error().into()
    }

    /// A [`Fault::Truncate`] of a JSON reply that lacks its last `missing` bytes.
    pub fn truncate(status: u16, body: impl Into<Vec<u8>>, missing: usize) -> Self {
        Self::Truncate {
            status,
            headers: vec![("Content-Type".to_owned(), "application/json".to_owned())],
            body: body.into(),
            missing,
        }
    }
}

impl From<Reply> for Fault {
    fn from(reply: Reply) -> Self {
        Self::Respond { status: reply.status, headers: reply.headers, body: reply.body }
    }
}

/// For how many requests a [`Fault`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// The next request.
    Once,
    /// The next so many requests.
    N(usize),
    /// Every request, until the faults are cleared.
    Always,
}

/// A request that a server got.
#[derive(Clone)]
pub struct Recorded {
    /// When it had been read.
    pub at: SystemTime,
    /// The number of the connection that it came over, as they were accepted.
    pub connection: usize,
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The path with the query, as sent.
    pub target: String,
    /// Header names and values in the order sent.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The status sent; `None` where there was no reply (or not yet).
    pub status: Option<u16>,
}

impl Recorded {
    /// The first value of a header; names are compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        http::header(&self.headers, name)
    }

    /// The parameters of a form body (`application/x-www-form-urlencoded`), decoded.
    pub fn form(&self) -> Vec<(String, String)> {
        http::parameters(&String::from_utf8_lossy(&self.body))
    }
}

impl fmt::Debug for Recorded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        formatter
            .debug_struct("Recorded")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("status", &self.status)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}
