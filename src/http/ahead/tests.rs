//! Connections that are made ahead of their request, against real sockets on the loopback.

#![allow(clippy::disallowed_methods, reason = "a server of a test runs beside it, and takes time")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use quayfed_sandbox::Sandbox;
use tokio::net::TcpSocket;
use url::Url;

use crate::config::settings::{Connection, ProxyChoice};
use crate::deadline::Deadline;
use crate::http::testing::{world, world_with};
use crate::http::tests::{fault_of, loopback, request_in, server};
use crate::http::{
    Body, HttpTransport, Request, Response, Retry500, Transport as _, TransportError,
    TransportFault, client_key, send_by,
};
use crate::log::{Level, Log};
use crate::secret::Secret;
use crate::world::World;

/// What a [`Peer`] does with a connection once it is accepted.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    /// Answers its requests with 200.
    Answer,
    /// Closes it, once it is let go.
    Close,
    /// Says unasked that nothing came, as proxies do, and closes it, once it is let go.
    GiveUp,
    /// Reads and says nothing.
    Listen,
    /// Reads, says something that is no TLS, once it is let go, and closes it.
    Garble,
}

/// A server that counts.
#[derive(Clone)]
struct Peer(Arc<Counted>);

struct Counted {
    address: SocketAddr,
    accepted: AtomicUsize,
    ended: AtomicUsize,
    lets_go: AtomicBool,
    /// What came over which connection.
    read: Mutex<Vec<(usize, String)>>,
}

impl Peer {
    fn new() -> Self {
        Self::doing(&[])
    }

    /// Does these things with its first connections, one each, and answers all others.
    fn doing(first: &[Does]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Self::on(listener, first)
    }

    fn on(listener: TcpListener, first: &[Does]) -> Self {
        let peer = Self(Arc::new(Counted {
            address: listener.local_addr().expect("an address"),
            accepted: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            lets_go: AtomicBool::new(false),
            read: Mutex::default(),
        }));
        let (first, told) = (first.to_vec(), peer.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = told.0.accepted.fetch_add(1, Ordering::SeqCst);
                let does = first.get(number).copied().unwrap_or(Does::Answer);
                let told = told.clone();
                thread::spawn(move || told.serve(stream, number, does));
            }
        });
        peer
    }

    fn serve(&self, mut stream: TcpStream, number: usize, does: Does) {
        if does == Does::Garble {
            request_in(&mut stream);
        }
        if matches!(does, Does::Close | Does::GiveUp | Does::Garble) {
            assert!(comes_true(|| self.0.lets_go.load(Ordering::SeqCst)));
        }
        match does {
            Does::GiveUp | Does::Garble => {
                let _ = stream.write_all(b"HTTP/1.1 408 Request Time-out\r\n\r\n");
                let _ = stream.shutdown(Shutdown::Both);
            }
            Does::Close => stream.shutdown(Shutdown::Both).expect("closed"),
            Does::Answer | Does::Listen => {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut bytes) {
                    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                    self.0.read.lock().expect("no panic").push((number, text));
                    if does == Does::Answer {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}");
                    }
                }
            }
        }
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }

    fn let_go(&self) {
        self.0.lets_go.store(true, Ordering::SeqCst);
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://{}{path}", self.0.address)).expect("a URL")
    }

    fn accepted(&self) -> usize {
        self.0.accepted.load(Ordering::SeqCst)
    }

    fn ended(&self) -> usize {
        self.0.ended.load(Ordering::SeqCst)
    }

    /// The requests, each as the number of its connection and its path.
    fn asked(&self) -> Vec<(usize, String)> {
        let read = self.0.read.lock().expect("no panic");
        let path = |text: &str| text.split(' ').nth(1).unwrap_or("no HTTP").to_owned();
        read.iter().map(|(number, text)| (*number, path(text))).collect()
    }
}

fn comes_true(condition: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while !condition() {
        if began.elapsed() > Duration::from_secs(20) {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Sends a request to another server, which answers it once the condition is true.
fn ask_another_until(transport: &HttpTransport<'_>, is_time: impl Fn() -> bool + Send + 'static) {
    let address = server(move |mut stream| {
        request_in(&mut stream);
        let status = if comes_true(is_time) { 200 } else { 504 };
        // What was sent right after that has arrived, too.
        thread::sleep(Duration::from_millis(20));
        let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n\r\n");
        let _ = stream.write_all(answer.as_bytes());
    });
    let url = Url::parse(&format!("http://{address}/token")).expect("a URL");
    let status = ask(transport, &url, &loopback()).expect("a reply").status;
    assert_eq!(status, 200, "what was waited for did not happen meanwhile");
}

fn ask(
    transport: &HttpTransport<'_>,
    url: &Url,
    connection: &Connection,
) -> Result<Response, TransportError> {
    ask_within(transport, url, connection, Duration::from_secs(30))
}

fn ask_within(
    transport: &HttpTransport<'_>,
    url: &Url,
    connection: &Connection,
    timeout: Duration,
) -> Result<Response, TransportError> {
    let authorization = Some(Secret::new("Basic c2VjcmV0".to_owned()));
    transport.send(&Request { url, body: Body::None, authorization, connection, timeout })
}

/// Lets a connection to the peer be made ahead while another server is asked.
fn connected_ahead<'w>(world: &'w World, quay: &Peer) -> HttpTransport<'w> {
    let transport = HttpTransport::new(world);
    transport.connect_ahead(&quay.url("/exchange"), &loopback());
    let seen = quay.clone();
    ask_another_until(&transport, move || seen.accepted() == 1);
    transport
}

fn paths(asked: &[(usize, &str)]) -> Vec<(usize, String)> {
    asked.iter().map(|(number, path)| (*number, (*path).to_owned())).collect()
}

#[test]
fn a_connection_is_made_while_another_is_asked_and_serves_the_request_that_it_is_for() {
    let (world, quay) = (world(), Peer::new());
    let transport = connected_ahead(&world, &quay);
    assert_eq!(quay.asked(), [], "nothing is sent ahead");
    for path in ["/exchange", "/again"] {
        assert_eq!(ask(&transport, &quay.url(path), &loopback()).expect("a reply").status, 200);
    }
    assert_eq!(quay.asked(), paths(&[(0, "/exchange"), (0, "/again")]));
    assert_eq!(quay.accepted(), 1);
}

#[test]
fn a_connection_that_is_still_being_made_is_waited_for() {
    let (world, quay) = (world(), Peer::new());
    let transport = HttpTransport::new(&world);
    transport.connect_ahead(&quay.url("/exchange"), &loopback());
    ask(&transport, &quay.url("/exchange"), &loopback()).expect("a reply");
    assert_eq!((quay.asked(), quay.accepted()), (paths(&[(0, "/exchange")]), 1));
}

#[test]
fn r19_a_connection_made_ahead_serves_no_other_server() {
    let (world, quay, other) = (world(), Peer::new(), Peer::new());
    let transport = connected_ahead(&world, &quay);
    ask(&transport, &other.url("/other"), &loopback()).expect("a reply");
    assert_eq!((other.asked(), quay.asked()), (paths(&[(0, "/other")]), Vec::new()));
    // It is still there for its own.
    ask(&transport, &quay.url("/exchange"), &loopback()).expect("a reply");
    assert_eq!((quay.asked(), quay.accepted()), (paths(&[(0, "/exchange")]), 1));
}

#[test]
fn r19_a_connection_made_ahead_is_for_one_scheme_host_and_port() {
    let (world, quay) = (world(), Peer::new());
    let transport = connected_ahead(&world, &quay);
    let client = client_key(&loopback());
    let is_for = |url: &str| {
        let url = url.replace("PORT", &quay.0.address.port().to_string());
        let ahead = transport.ahead.borrow();
        ahead.as_ref().expect("a connection").is_for(&Url::parse(&url).expect("a URL"), &client)
    };
    assert!(is_for("http://127.0.0.1:PORT/another/path?and=query"));
    for other in [
        "https://127.0.0.1:PORT/exchange",
        "http://127.0.0.2:PORT/exchange",
        "http://localhost:PORT/exchange",
        "http://127.0.0.1:1/exchange",
        "http://127.0.0.1/exchange",
    ] {
        assert!(!is_for(other), "{other}");
    }
}

#[test]
fn r20_a_connection_made_ahead_serves_no_request_of_another_proxy() {
    let (world, quay) = (world(), Peer::new());
    let transport = connected_ahead(&world, &quay);
    let direct = Connection { proxy: ProxyChoice::None, ..loopback() };
    ask(&transport, &quay.url("/direct"), &direct).expect("a reply");
    ask(&transport, &quay.url("/exchange"), &loopback()).expect("a reply");
    assert_eq!(quay.asked(), paths(&[(1, "/direct"), (0, "/exchange")]));
}

#[test]
fn r20_a_connection_made_ahead_serves_no_request_that_trusts_others() {
    let (world, sandbox) = (world(), Arc::new(Sandbox::start()));
    let url = Url::parse(&format!("{}/exchange", sandbox.quay().url())).expect("a URL");
    let trusting =
        Connection { ca_file: Some(sandbox.ca_file().to_owned()), ..Connection::default() };
    let transport = HttpTransport::new(&world);
    transport.connect_ahead(&url, &trusting);
    let seen = Arc::clone(&sandbox);
    ask_another_until(&transport, move || seen.quay().connections().len() == 1);
    let (kind, text) = fault_of(ask(&transport, &url, &Connection::default()));
    // Where the system has no roots at all, that is told.
    let wanted = [TransportFault::UntrustedIssuer, TransportFault::SystemRoots];
    assert!(wanted.contains(&kind), "{text}");
    assert_eq!(sandbox.quay().requests().len(), 0);
    let before = sandbox.quay().connections().len();
    ask(&transport, &url, &trusting).expect("a reply");
    assert_eq!((sandbox.quay().connections().len(), sandbox.quay().requests().len()), (before, 1));
}

#[test]
fn a_connection_made_ahead_is_used_for_five_seconds_and_closed_after_them() {
    let of_age = |age| {
        let (world, quay) = (world(), Peer::new());
        let transport = connected_ahead(&world, &quay);
        world.clock.sleep(Duration::from_millis(age));
        ask(&transport, &quay.url("/exchange"), &loopback()).expect("a reply");
        if age >= 5000 {
            assert!(comes_true(|| quay.ended() == 1));
        }
        quay.asked()
    };
    assert_eq!(of_age(4999), paths(&[(0, "/exchange")]));
    assert_eq!(of_age(5000), paths(&[(1, "/exchange")]));
}

/// A port that refuses connections until it listens, and that is nobody else's meanwhile.
fn refusing() -> (TcpSocket, Url) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let address = socket.local_addr().expect("an address");
    (socket, Url::parse(&format!("http://{address}/exchange")).expect("a URL"))
}

fn listening(transport: &HttpTransport<'_>, socket: TcpSocket) -> TcpListener {
    let _context = transport.runtime().expect("a runtime").enter();
    let listener = socket.listen(16).and_then(tokio::net::TcpListener::into_std);
    let listener = listener.expect("a listener");
    listener.set_nonblocking(false).expect("set");
    listener
}

#[test]
fn a_connection_that_cannot_be_made_ahead_is_tried_again_by_its_request() {
    let (world, (socket, url)) = (world(), refusing());
    let transport = HttpTransport::new(&world);
    transport.connect_ahead(&url, &loopback());
    ask_another_until(&transport, || true);
    let wanted = (TransportFault::Connect, "connection refused".to_owned());
    assert_eq!(fault_of(ask(&transport, &url, &loopback())), wanted);
    // Whoever has begun to listen since it failed answers.
    transport.connect_ahead(&url, &loopback());
    ask_another_until(&transport, || true);
    let quay = Peer::on(listening(&transport, socket), &[]);
    ask(&transport, &url, &loopback()).expect("a reply");
    assert_eq!(quay.asked(), paths(&[(0, "/exchange")]));
}

#[test]
fn tls_that_fails_ahead_is_the_fault_that_it_would_be_later() {
    let (world, quay) = (world(), Peer::doing(&[Does::Garble; 3]));
    quay.let_go();
    let transport = HttpTransport::new(&world);
    let url = Url::parse(&format!("https://{}/exchange", quay.0.address)).expect("a URL");
    transport.connect_ahead(&url, &Connection::default());
    let seen = quay.clone();
    // Without roots nothing is begun.
    let begun = usize::from(transport.ahead.borrow().is_some());
    ask_another_until(&transport, move || seen.ended() == begun);
    let ahead = fault_of(ask(&transport, &url, &Connection::default()));
    let later = fault_of(ask(&HttpTransport::new(&world), &url, &Connection::default()));
    assert_eq!(ahead, later);
}

#[test]
fn a_connection_that_fails_while_its_request_waits_for_it_is_not_tried_twice() {
    let (world, quay) = (world(), Peer::doing(&[Does::Garble; 2]));
    let sandbox = Sandbox::start();
    let connection =
        Connection { ca_file: Some(sandbox.ca_file().to_owned()), ..Connection::default() };
    let transport = HttpTransport::new(&world);
    let url = Url::parse(&format!("https://{}/exchange", quay.0.address)).expect("a URL");
    transport.connect_ahead(&url, &connection);
    let seen = quay.clone();
    ask_another_until(&transport, move || seen.accepted() == 1);
    quay.let_go();
    let wanted = (TransportFault::Tls, "the server does not speak TLS".to_owned());
    assert_eq!(fault_of(ask(&transport, &url, &connection)), wanted);
    assert_eq!(quay.accepted(), 1);
}

/// What a request is answered after the server has given up its connection: while another server
/// was being asked, or right after that, when nothing looks at sockets.
fn answered_after_it_was_given_up(does: Does, is_early: bool) {
    let quay = Peer::doing(&[does]);
    let mut world = world();
    world.log = Log::in_memory(Level::Debug);
    if is_early {
        quay.let_go();
    }
    let transport = connected_ahead(&world, &quay);
    quay.let_go();
    assert!(comes_true(|| quay.ended() == 1));
    let (url, connection) = (quay.url("/exchange"), loopback());
    let request = Request {
        url: &url,
        body: Body::None,
        authorization: None,
        connection: &connection,
        timeout: Duration::ZERO,
    };
    let before = world.clock.boot();
    let deadline = Deadline::after(before, Duration::from_secs(30));
    let reply = send_by(&world, &transport, request, deadline, Retry500::No);
    assert_eq!(reply.expect("a reply").status, 200);
    assert_eq!(quay.asked(), paths(&[(1, "/exchange")]));
    assert_eq!(world.clock.boot(), before, "there was no pause");
    assert_eq!(world.log.lines().len(), 1, "{:?}", world.log.lines());
}

#[test]
fn a_connection_that_the_server_gave_up_is_replaced_at_once_and_without_a_word() {
    for does in [Does::Close, Does::GiveUp] {
        for is_early in [true, false] {
            answered_after_it_was_given_up(does, is_early);
        }
    }
}

#[test]
fn nothing_is_connected_ahead_until_something_else_is_sent() {
    let (world, quay) = (world(), Peer::new());
    let transport = HttpTransport::new(&world);
    transport.connect_ahead(&quay.url("/exchange"), &loopback());
    assert!(transport.ahead.borrow().is_some());
    thread::sleep(Duration::from_millis(50));
    drop(transport);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(quay.accepted(), 0);
}

#[test]
fn nothing_is_connected_ahead_where_nothing_may_be_sent() {
    let (world, quay) = (world(), Peer::new());
    let transport = HttpTransport::new(&world);
    let missing = Connection { ca_file: Some(PathBuf::from("/nowhere/ca.pem")), ..loopback() };
    for connection in [Connection::default(), missing] {
        transport.connect_ahead(&quay.url("/exchange"), &connection);
        assert!(transport.ahead.borrow().is_none(), "{connection:?}");
    }
    let world = world_with(&[("SSL_CERT_FILE", "/nowhere"), ("SSL_CERT_DIR", "/nowhere")]);
    let transport = HttpTransport::new(&world);
    let url = Url::parse("https://quay.example.com/").expect("a URL");
    transport.connect_ahead(&url, &Connection::default());
    assert!(transport.ahead.borrow().is_none(), "there are no roots");
}

#[test]
fn nothing_is_begun_or_sent_where_the_client_has_a_connection_already() {
    let (world, quay) = (world(), Peer::new());
    let transport = HttpTransport::new(&world);
    ask(&transport, &quay.url("/first"), &loopback()).expect("a reply");
    transport.connect_ahead(&quay.url("/exchange"), &loopback());
    assert!(transport.ahead.borrow().is_none());
    ask_another_until(&transport, || true);
    ask(&transport, &quay.url("/second"), &loopback()).expect("a reply");
    assert_eq!(quay.asked(), paths(&[(0, "/first"), (0, "/second")]));
    assert_eq!(quay.accepted(), 1);
}

#[test]
fn only_one_connection_is_made_ahead() {
    let (world, first, second) = (world(), Peer::new(), Peer::new());
    let transport = connected_ahead(&world, &first);
    transport.connect_ahead(&second.url("/exchange"), &loopback());
    let seen = (first.clone(), second.clone());
    ask_another_until(&transport, move || seen.0.ended() == 1 && seen.1.accepted() == 1);
    assert_eq!((first.asked(), second.asked()), (Vec::new(), Vec::new()));
}

#[test]
fn a_connection_that_was_not_begun_when_another_took_its_place_is_never_made() {
    let (world, first, second) = (world(), Peer::new(), Peer::new());
    let transport = HttpTransport::new(&world);
    for peer in [&first, &second] {
        transport.connect_ahead(&peer.url("/exchange"), &loopback());
    }
    let seen = second.clone();
    ask_another_until(&transport, move || seen.accepted() == 1);
    assert_eq!(first.accepted(), 0);
}

#[test]
fn a_connection_made_ahead_is_closed_with_the_transport_and_nothing_was_sent() {
    let (world, quay) = (world(), Peer::new());
    drop(connected_ahead(&world, &quay));
    assert!(comes_true(|| quay.ended() == 1));
    assert_eq!(quay.asked(), []);
}

/// A port that leads to the sandbox's Quay; but whoever connects first is left without a word, on the
/// connection that is kept.
fn stuck_at_first(sandbox: &Sandbox) -> (u16, Arc<Mutex<Option<TcpStream>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (behind, first) = (sandbox.quay().host(), Arc::new(Mutex::new(None)));
    let kept = Arc::clone(&first);
    thread::spawn(move || {
        let mut streams = listener.incoming().flatten();
        *kept.lock().expect("no panic") = streams.next();
        for near in streams {
            let far = TcpStream::connect(&behind).expect("connected");
            for (mut from, mut to) in [(&near, &far), (&far, &near)]
                .map(|(from, to)| (from.try_clone().expect("a copy"), to.try_clone().expect("one")))
            {
                thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    (port, first)
}

#[test]
fn a_connection_that_is_stuck_is_waited_for_three_seconds_and_then_replaced() {
    let (world, sandbox) = (world(), Sandbox::start());
    let (port, first) = stuck_at_first(&sandbox);
    let connection =
        Connection { ca_file: Some(sandbox.ca_file().to_owned()), ..Connection::default() };
    let url = Url::parse(&format!("https://localhost:{port}/exchange")).expect("a URL");
    let transport = HttpTransport::new(&world);
    transport.connect_ahead(&url, &connection);
    let seen = Arc::clone(&first);
    ask_another_until(&transport, move || seen.lock().expect("no panic").is_some());
    let began = Instant::now();
    ask_within(&transport, &url, &connection, Duration::from_secs(30)).expect("a reply");
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(sandbox.quay().requests().len(), 1);
}

#[test]
fn r26_a_connection_under_way_holds_neither_the_time_of_its_request_nor_the_end() {
    let (world, quay) = (world(), Peer::doing(&[Does::Listen]));
    let trusting = Sandbox::start();
    let connection =
        Connection { ca_file: Some(trusting.ca_file().to_owned()), ..Connection::default() };
    let transport = HttpTransport::new(&world);
    let url = Url::parse(&format!("https://{}/exchange", quay.0.address)).expect("a URL");
    transport.connect_ahead(&url, &connection);
    let seen = quay.clone();
    ask_another_until(&transport, move || seen.accepted() == 1);
    let began = Instant::now();
    let sent = ask_within(&transport, &url, &connection, Duration::from_millis(300));
    assert_eq!(fault_of(sent), (TransportFault::NoConnection, "no answer within 300ms".to_owned()));
    assert_eq!(quay.accepted(), 1, "it was waited for");
    transport.connect_ahead(&url, &connection);
    ask_another_until(&transport, || true);
    drop(transport);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
