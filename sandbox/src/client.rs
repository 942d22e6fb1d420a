//! How Quay fetches an issuer's documents: HTTPS, one CA, on loopback only. It reads keys over plain
//! HTTP too.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::http::{self, Reply};

const LONGEST_BODY: usize = 4 * 1024 * 1024;
/// As many as Quay's HTTP library follows.
const MOST_REDIRECTS: usize = 30;

/// Why there is no reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No connection, no TLS, or a broken reply.
    Unreachable,
    /// Not within the time given.
    TimedOut,
}

/// `GET url`, redirects followed, all within `limit`.
pub(crate) fn get(
    config: &Arc<ClientConfig>,
    url: &str,
    limit: Duration,
) -> Result<Reply, Failure> {
    let end = Instant::now() + limit;
    let mut url = url.to_owned();
    for _ in 0..=MOST_REDIRECTS {
        let reply = get_once(config, &url, end).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Failure::TimedOut,
            _ => Failure::Unreachable,
        })?;
        match http::header(&reply.headers, "location") {
            Some(location) if (300..400).contains(&reply.status) => {
                location.clone_into(&mut url);
            }
            _ => return Ok(reply),
        }
    }
    Err(Failure::Unreachable)
}

fn get_once(config: &Arc<ClientConfig>, url: &str, end: Instant) -> io::Result<Reply> {
    let unreachable = || io::Error::from(io::ErrorKind::AddrNotAvailable);
    let (scheme, rest) = url.split_once("://").ok_or_else(unreachable)?;
    let usual_port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return Err(unreachable()),
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(http::invalid)?),
        None => (authority, usual_port),
    };
    // The sandbox never leaves the machine, whatever a test binds a robot to.
    if host != "localhost" && host != "127.0.0.1" && !host.ends_with(".localhost") {
        return Err(unreachable());
    }
    let name = ServerName::try_from(host.to_owned()).map_err(http::invalid)?;
    let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    socket.set_nodelay(true)?;
    let mut stream = Timed { socket, end };
    let request = format!(
        "GET /{path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: quay\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
    if scheme == "http" {
        return ask(&mut stream, &request);
    }
    let session = ClientConnection::new(Arc::clone(config), name).map_err(http::invalid)?;
    ask(&mut StreamOwned::new(session, stream), &request)
}

fn ask(stream: &mut (impl Read + Write), request: &str) -> io::Result<Reply> {
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    http::read_reply(stream, LONGEST_BODY)
}

/// A socket of which every read ends by the same moment.
struct Timed {
    socket: TcpStream,
    end: Instant,
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left))?;
        self.socket.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.socket.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
