//! An address that does not answer.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// A socket that accepts nobody, and that has as many waiting as it has room for: what is sent to it
/// to open a connection is dropped, as by a firewall or by a host that is down.
#[derive(Debug)]
pub struct Silent {
    _socket: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Silent {
    /// Makes an address of this host silent.
    pub fn at(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpListener::bind(address)?;
        rustix::net::listen(&socket, 0)?;
        let mut waiting = Vec::new();
        // The kernel lets one more wait than it was told.
        while waiting.len() < 16 {
            match TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
                Ok(stream) => waiting.push(stream),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Ok(Self { _socket: socket, _waiting: waiting });
                }
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("it answers everybody"))
    }
}
