//! A small HTTPS client that sees what real ones hide: how a connection ends.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quayfed_sandbox::Sandbox;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

/// What came back before the connection ended.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    /// How reading ended; `None`: with TLS's own close.
    pub(crate) error: Option<io::ErrorKind>,
}

/// A reply taken apart.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }
}

pub(crate) struct Https {
    config: Arc<ClientConfig>,
}

impl Https {
    pub(crate) fn new(sandbox: &Sandbox) -> Self {
        Self::with_ca(sandbox.ca_file())
    }

    pub(crate) fn with_ca(ca_file: &Path) -> Self {
        Self::with_ca_and_versions(ca_file, rustls::DEFAULT_VERSIONS)
    }

    pub(crate) fn with_versions(
        sandbox: &Sandbox,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        Self::with_ca_and_versions(sandbox.ca_file(), versions)
    }

    fn with_ca_and_versions(
        ca_file: &Path,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca_file).expect("the CA file") {
            roots.add(certificate.expect("a certificate")).expect("a CA certificate");
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("TLS versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { config: Arc::new(config) }
    }

    pub(crate) fn connect(
        &self,
        host: &str,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let (name, port) = host.rsplit_once(':').expect("host:port");
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port.parse().expect("a port")))?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let name = ServerName::try_from(name.to_owned()).expect("a host name");
        let session = ClientConnection::new(Arc::clone(&self.config), name).expect("a session");
        Ok(StreamOwned::new(session, socket))
    }

    /// Sends these bytes and reads to the end.
    pub(crate) fn raw(&self, host: &str, request: &str) -> Received {
        let attempt = || -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
            let mut stream = self.connect(host)?;
            stream.write_all(request.as_bytes())?;
            stream.flush()?;
            Ok(stream)
        };
        let mut bytes = Vec::new();
        let error = match attempt() {
            Ok(mut stream) => stream.read_to_end(&mut bytes).err().map(|error| error.kind()),
            Err(error) => Some(error.kind()),
        };
        Received { bytes, error }
    }

    /// One request and its reply; `None` where the connection ended without one.
    pub(crate) fn send(
        &self,
        host: &str,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Reply> {
        let mut lines = vec![format!("{method} {target} HTTP/1.1"), "Connection: close".to_owned()];
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            lines.push(format!("Host: {host}"));
        }
        lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
        if !body.is_empty() {
            lines.push(format!("Content-Length: {}", body.len()));
        }
        let request = format!("{}\r\n\r\n{body}", lines.join("\r\n"));
        parse(&self.raw(host, &request).bytes)
    }

    pub(crate) fn get(
        &self,
        host: &str,
        target: &str,
        authorization: Option<&str>,
    ) -> Option<Reply> {
        let header = authorization.map(|value| ("Authorization", value));
        self.send(host, "GET", target, header.as_slice(), "")
    }

    pub(crate) fn post_form(
        &self,
        host: &str,
        target: &str,
        authorization: Option<&str>,
        form: &str,
    ) -> Reply {
        let mut headers = vec![("Content-Type", "application/x-www-form-urlencoded")];
        headers.extend(authorization.map(|value| ("Authorization", value)));
        self.send(host, "POST", target, &headers, form).expect("a reply")
    }
}

pub(crate) fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// Host and port of a URL.
pub(crate) fn host_of(url: &str) -> String {
    let rest = url.split_once("://").expect("a URL").1;
    rest.split('/').next().expect("a host").to_owned()
}

pub(crate) fn parse(bytes: &[u8]) -> Option<Reply> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(bytes).ok()? else {
        return None;
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Some(Reply {
        status: parsed.code?,
        headers: parsed.headers.iter().map(|h| (h.name.to_owned(), text(h.value))).collect(),
        body: text(&bytes[length..]),
    })
}
