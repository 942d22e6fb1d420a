//! HTTP requests. The only module that names reqwest; anything asynchronous stays inside it.

use std::time::Duration;

use url::Url;

use crate::config::settings::Connection;
use crate::secret::Secret;

/// Sends requests. The one edge between the program and the network.
pub trait Transport {
    /// Sends one request and reads its reply, within `request.timeout`; never retries, never
    /// follows a redirect.
    fn send(&self, request: &Request<'_>) -> Result<Response, TransportError>;
}

/// A request.
#[derive(Debug)]
pub struct Request<'a> {
    /// Where to.
    pub url: &'a Url,
    /// `GET`, or `POST` of a form.
    pub body: Body,
    /// The Authorization header.
    pub authorization: Option<Secret<String>>,
    /// How the server is reached and trusted.
    pub connection: &'a Connection,
    /// The time for all of it, from the name lookup to the last byte of the reply.
    pub timeout: Duration,
}

/// What a request carries.
#[derive(Debug)]
pub enum Body {
    /// Nothing: the request is a GET.
    None,
    /// A form (`application/x-www-form-urlencoded`), already encoded: the request is a POST.
    Form(Secret<String>),
}

/// A reply, its body cut off at 256 KiB.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The Content-Type header, without its parameters, in lower case.
    pub content_type: String,
    /// The Location header.
    pub location: Option<String>,
    /// The Retry-After header.
    pub retry_after: Option<String>,
    /// The body, as far as it was read.
    pub body: Vec<u8>,
    /// Whether the body was longer than the cap.
    pub is_cut: bool,
}

/// Why there was no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportError {
    /// What kind of failure it was.
    pub kind: TransportFault,
    /// What happened, in words, without the URL: the end of a sentence such as "the token endpoint
    /// https://… could not be reached: ".
    pub text: String,
}

/// The kinds of failure that callers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportFault {
    /// The configuration of the connection cannot be used (a CA file, a proxy): nothing was sent.
    Setup,
    /// The URL's scheme is not allowed: nothing was sent.
    Insecure,
    /// The host's name could not be resolved.
    Name,
    /// The connection was refused or could not be made.
    Connect,
    /// The server's certificate is not trusted, or TLS failed otherwise.
    Tls,
    /// The time was over.
    Timeout,
    /// The connection broke after it was made.
    Broken,
}
