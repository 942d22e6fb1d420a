//! The transport against real sockets on the loopback.

#![allow(clippy::disallowed_methods, reason = "a server of a test runs beside it, and takes time")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use super::testing::{world, world_with};
use super::*;
use crate::config::place::Place;
use crate::config::settings::ProxyUrl;

/// Serves one connection with `serve` on a thread of its own.
pub(super) fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        if let Ok((stream, _)) = listener.accept() {
            serve(stream);
        }
    });
    address
}

/// Reads a request's head and what comes with it.
pub(super) fn request_in(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 16 << 10];
    let length = stream.read(&mut bytes).expect("a request");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

fn answering(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let answer = answer.into();
    server(move |mut stream| {
        request_in(&mut stream);
        let _ = stream.write_all(&answer);
    })
}

pub(super) fn loopback() -> Connection {
    Connection { allow_http_loopback: true, ..Connection::default() }
}

fn send_with(
    world: &World,
    url: &str,
    connection: &Connection,
    timeout: Duration,
) -> Result<Response, TransportError> {
    let url = Url::parse(url).expect("a URL");
    let authorization = Some(Secret::new("Basic c2VjcmV0".to_owned()));
    let request = Request { url: &url, body: Body::None, authorization, connection, timeout };
    HttpTransport::new(world).send(&request)
}

fn get(address: SocketAddr) -> Result<Response, TransportError> {
    send_with(&world(), &format!("http://{address}/x"), &loopback(), Duration::from_secs(5))
}

pub(super) fn fault_of(sent: Result<Response, TransportError>) -> (TransportFault, String) {
    let error = sent.expect_err("a fault");
    (error.kind, error.text)
}

#[test]
fn a_request_carries_what_it_should_and_nothing_of_the_environment() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let address = server(move |mut stream| {
        sender.send(request_in(&mut stream)).expect("sent");
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
    });
    let reply = get(address).expect("a reply");
    assert_eq!((reply.status, reply.json().map(|json| json.len())), (200, Some(0)));
    let mut lines: Vec<String> =
        receiver.recv().expect("a request").lines().map(str::to_lowercase).collect();
    lines.retain(|line| !line.is_empty() && !line.starts_with("host: "));
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"), @r"
    accept: application/json
    authorization: basic c2vjcmv0
    get /x http/1.1
    user-agent: docker-credential-quayfed/0.1.0
    ");
}

#[test]
fn a_form_is_posted() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let address = server(move |mut stream| {
        sender.send(request_in(&mut stream)).expect("sent");
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
    });
    let world = world();
    let url = Url::parse(&format!("http://{address}/token")).expect("a URL");
    let request = Request {
        url: &url,
        body: Body::Form(Secret::new("a=b&c=d".to_owned())),
        authorization: None,
        connection: &loopback(),
        timeout: Duration::from_secs(5),
    };
    assert_eq!(HttpTransport::new(&world).send(&request).expect("a reply").status, 204);
    let request = receiver.recv().expect("a request").to_lowercase();
    assert!(request.starts_with("post /token http/1.1\r\n"), "{request}");
    assert!(request.contains("content-type: application/x-www-form-urlencoded\r\n"));
}

#[test]
fn r19_http_goes_to_a_literal_loopback_address_alone_and_only_where_it_is_allowed() {
    for (url, connection) in [
        ("http://127.0.0.1:1/", Connection::default()),
        ("http://localhost:1/", loopback()),
        ("http://10.0.0.1:1/", loopback()),
        ("http://idp.example.com/", loopback()),
        ("ftp://127.0.0.1/", loopback()),
    ] {
        let (kind, _) = fault_of(send_with(&world(), url, &connection, Duration::from_secs(5)));
        assert_eq!(kind, TransportFault::Insecure, "{url}");
    }
    for url in ["http://127.8.9.1/", "http://[::1]/"] {
        assert!(loopback().allows(&Url::parse(url).expect("a URL")));
    }
}

#[test]
fn r19_a_redirect_is_not_followed() {
    let address = answering(
        "HTTP/1.1 308 Permanent Redirect\r\nlocation: http://127.0.0.1:1/elsewhere\r\n\
         content-type: text/HTML; charset=utf-8\r\ncontent-length: 0\r\n\r\n",
    );
    let reply = get(address).expect("a reply");
    assert_eq!(reply.status, 308);
    assert_eq!(reply.redirects_to().as_deref(), Some("127.0.0.1"));
}

#[test]
fn r19_http_on_the_loopback_passes_any_proxy_by() {
    let world = world_with(&[("HTTPS_PROXY", "http://127.0.0.1:1"), ("ALL_PROXY", "127.0.0.1:1")]);
    let address = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let url = format!("http://{address}/");
    let reply = send_with(&world, &url, &loopback(), Duration::from_secs(5));
    assert_eq!(reply.expect("a reply").status, 200);
}

#[test]
fn r21_a_body_is_read_to_256_kib_and_no_further() {
    let address = server(|mut stream| {
        request_in(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        while stream.write_all(&[b'x'; 8192]).is_ok() {}
    });
    let reply = get(address).expect("a reply");
    assert_eq!(reply.body.len(), 256 << 10);
}

#[test]
fn the_time_counts_to_the_last_byte_of_the_body() {
    let address = server(|mut stream| {
        request_in(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let began = Instant::now();
    let url = format!("http://{address}/");
    let sent = send_with(&world(), &url, &loopback(), Duration::from_millis(300));
    let wanted = "no answer within 300ms".to_owned();
    assert_eq!(fault_of(sent), (TransportFault::Timeout, wanted));
    assert!(began.elapsed() < Duration::from_secs(10));
}

/// A port that nobody listens on, and that the system gives to nobody who asks for any.
const NOBODYS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

#[test]
fn a_connection_that_fails_is_named_by_how() {
    assert_eq!(fault_of(get(NOBODYS)), (TransportFault::Connect, "connection refused".to_owned()));
    let wanted = "the connection was closed".to_owned();
    let closed = server(|mut stream| drop(request_in(&mut stream)));
    assert_eq!(fault_of(get(closed)), (TransportFault::Broken, wanted.clone()));
    let cut = answering("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
    assert_eq!(fault_of(get(cut)), (TransportFault::Broken, wanted));
    let garbage = answering("SSH-2.0-OpenSSH\r\n");
    assert_eq!(fault_of(get(garbage)), (TransportFault::Broken, "it was not HTTP".to_owned()));
}

#[test]
fn a_name_that_does_not_exist_is_told_as_such() {
    let sent = send_with(
        &world(),
        "https://does-not-exist.invalid/",
        &Connection::default(),
        Duration::from_secs(5),
    );
    let (kind, text) = fault_of(sent);
    // Where there is no resolver at all the lookup fails in another way.
    assert!(matches!(kind, TransportFault::Name | TransportFault::NameServer), "{text}");
}

#[test]
fn https_to_a_port_that_does_not_speak_it_is_a_tls_fault() {
    let address = answering("HTTP/1.1 400 Bad Request\r\n\r\n");
    let url = format!("https://{address}/");
    let sent = send_with(&world(), &url, &Connection::default(), Duration::from_secs(5));
    let wanted = "the server does not speak TLS".to_owned();
    assert_eq!(fault_of(sent), (TransportFault::Tls, wanted));
}

#[test]
fn r37_a_connection_that_is_closed_in_tls_is_told_as_that() {
    let address = server(|mut stream| drop(request_in(&mut stream)));
    let url = format!("https://{address}/");
    let sent = send_with(&world(), &url, &Connection::default(), Duration::from_secs(5));
    let wanted = "the connection was closed during TLS".to_owned();
    assert_eq!(fault_of(sent), (TransportFault::Broken, wanted));
}

#[test]
fn a_fault_of_the_proxy_says_that_it_is_the_proxys() {
    let through = |address: SocketAddr| {
        let url = Url::parse(&format!("http://me:hunter2@{address}")).expect("a URL");
        let proxy = ProxyChoice::Url(ProxyUrl(url));
        let connection = Connection { proxy, ..Connection::default() };
        let url = "https://idp.example.com/";
        let (kind, text) = fault_of(send_with(&world(), url, &connection, Duration::from_secs(5)));
        (kind, text.replace(&address.to_string(), "PROXY"))
    };
    for (address, kind, text) in [
        (NOBODYS, TransportFault::ProxyConnect, "the proxy `PROXY` (`proxy`): connection refused"),
        (
            answering("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
            TransportFault::ProxyRefused,
            "the proxy `PROXY` (`proxy`) asks for a user and a password",
        ),
        (
            answering("HTTP/1.1 403 Forbidden\r\n\r\n"),
            TransportFault::ProxyRefused,
            "the proxy `PROXY` (`proxy`) refused to connect to it, or is not an HTTP proxy",
        ),
        (
            server(|mut stream| drop(request_in(&mut stream))),
            TransportFault::ProxyConnect,
            "the proxy `PROXY` (`proxy`) closed the connection",
        ),
    ] {
        assert_eq!(through(address), (kind, text.to_owned()));
    }
}

#[test]
fn r20_a_ca_file_that_cannot_be_read_fails_before_anything_is_sent() {
    let connection =
        Connection { ca_file: Some(PathBuf::from("/nowhere/ca.pem")), ..Connection::default() };
    let url = "https://idp.example.com/";
    let error = send_with(&world(), url, &connection, Duration::from_secs(5)).expect_err("a fault");
    let failed = error.step_failure(
        "the token endpoint `https://idp.example.com/token`",
        &Place::example(5, &["source", "ca_file"]),
    );
    assert_eq!(failed.kind, StepFailureKind::Local);
    insta::assert_snapshot!(format!("{}\n{}", failed.failure.cause(), failed.failure.hint()), @"
    the token endpoint `https://idp.example.com/token` cannot be reached: `ca_file`: `/nowhere/ca.pem` does not exist
    `ca_file` in /etc/quayfed/config.toml:7 must name a readable file of CA certificates in PEM (BEGIN CERTIFICATE)
    ");
}

#[test]
fn clients_are_kept_by_how_a_server_is_reached_and_trusted() {
    let world = world();
    let transport = HttpTransport::new(&world);
    for connection in [Connection::default(), loopback(), Connection::default()] {
        transport.client(&connection, None).expect("a client");
    }
    assert_eq!(transport.clients.borrow().len(), 1);
    let direct = Connection { proxy: ProxyChoice::None, ..Connection::default() };
    transport.client(&direct, None).expect("a client");
    assert_eq!(transport.clients.borrow().len(), 2);
}

#[test]
fn every_fault_has_a_hint_on_one_line() {
    use TransportFault as Fault;
    let hints = [
        Fault::CaFile,
        Fault::UntrustedCaFile,
        Fault::SystemRoots,
        Fault::ProxySetting,
        Fault::Setup,
        Fault::Insecure,
        Fault::Name,
        Fault::Connect,
        Fault::ProxyConnect,
        Fault::ProxyRefused,
        Fault::UntrustedIssuer,
        Fault::CertificateDates,
        Fault::CertificateName,
        Fault::CertificateUse,
        Fault::CertificateChain,
        Fault::CertificateForm,
        Fault::CertificateAlgorithm,
        Fault::CertificateExtension,
        Fault::TlsVersion,
        Fault::TlsCommon,
        Fault::Tls,
        Fault::NameServer,
        Fault::NoConnection,
        Fault::Timeout,
        Fault::Broken,
    ]
    .map(|fault| fault.hint(&Place::example(5, &["ca_file"])));
    insta::assert_snapshot!(hints.join("\n"), @r#"
    `ca_file` in /etc/quayfed/config.toml:6 must name a readable file of CA certificates in PEM (BEGIN CERTIFICATE)
    whoever can change it says whom this host trusts: mend that, or let `ca_file` in /etc/quayfed/config.toml:6 name a copy that only root or you can change
    install the system's CA certificates (ca-certificates), or set SSL_CERT_FILE or `ca_file` in /etc/quayfed/config.toml:6 to a bundle in PEM
    set `proxy` in the table at /etc/quayfed/config.toml:5 to `"http://HOST:PORT"`, or to `"none"` for no proxy
    this host lacks something that every connection needs
    use https; http is for tests, to a literal 127.0.0.1 or [::1], with `allow_http_loopback` in the table at /etc/quayfed/config.toml:5 set to true
    check the host's name and this host's DNS
    check host, port and firewall; where a proxy is needed, set `proxy` in the table at /etc/quayfed/config.toml:5 or HTTPS_PROXY
    check the proxy's host, port and scheme in that variable; where none is needed, name the host in NO_PROXY, or set `proxy` in the table at /etc/quayfed/config.toml:5 to `"none"`
    allow the host at the proxy, write its password into `proxy` in the table at /etc/quayfed/config.toml:5, or set that to `"none"`, or the host in NO_PROXY
    `ca_file` in /etc/quayfed/config.toml:6 does not hold the CA of this certificate: add that CA's certificate in PEM, there or to the system's bundle
    let the server's certificate be renewed, or set this host's clock right
    use the name that the certificate is for, or let the certificate be reissued
    give the server a certificate of its own (CA:FALSE), and set `ca_file` in /etc/quayfed/config.toml:6 to that of its CA
    let the CA reissue the server's certificate, as its own rules allow
    let the certificate be reissued, or the server send the right ones
    let the certificate be reissued: RSA of 2048 to 8192 bits with SHA-256, SHA-384 or SHA-512, or ECDSA on P-256 or P-384 with SHA-256 or SHA-384
    let the certificate be reissued with that extension not critical, or without it
    let the server speak TLS 1.2 or 1.3
    let the server offer TLS 1.3, or TLS 1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305
    check that the port speaks https, with TLS 1.2 or 1.3 and a sound certificate
    check this host's name servers (/etc/resolv.conf) and the way to them
    the host is down, a firewall drops the packets, or nobody speaks TLS there: check host, port and firewall; where a proxy is needed, set `proxy` in the table at /etc/quayfed/config.toml:5 or HTTPS_PROXY
    the server is slow, or a firewall drops the packets: QUAYFED_LOG=info tells the steps
    try again; if it stays so, look into the server's or proxy's log
    "#);
}
