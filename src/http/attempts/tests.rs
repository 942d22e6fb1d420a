//! Several addresses of one name, against real sockets on the loopback.

#![allow(clippy::disallowed_methods, reason = "a server of a test runs beside it, and takes time")]

use std::io::Write as _;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use quayfed_sandbox::{Sandbox, Silent};
use url::Url;

use super::*;
use crate::config::settings::{Connection, ProxyChoice, ProxyUrl};
use crate::http::testing::world;
use crate::http::tests::{fault_of, request_in};
use crate::http::{Body, HttpTransport, Request, Response, Transport as _, TransportError};
use crate::http::{TransportFault, lookup::LookUp};

/// A look-up that finds these addresses for any name.
fn finding(addresses: &[&str]) -> LookUp {
    let addresses: Vec<SocketAddr> = addresses
        .iter()
        .map(|it| SocketAddr::new(it.parse::<IpAddr>().expect("an address"), 0))
        .collect();
    Arc::new(move |_| Ok(addresses.clone()))
}

fn silent(addresses: &[&str], port: u16) -> Vec<Silent> {
    let at = |it: &&str| SocketAddr::new(it.parse().expect("an address"), port);
    let silent = addresses.iter().map(at).map(Silent::at);
    silent.collect::<std::io::Result<_>>().expect("silent addresses")
}

fn ask(
    addresses: &[&str],
    url: &Url,
    connection: &Connection,
    timeout: Duration,
) -> (Result<Response, TransportError>, Duration) {
    let world = world();
    let mut transport = HttpTransport::new(&world);
    transport.look_up = finding(addresses);
    let request = Request { url, body: Body::None, authorization: None, connection, timeout };
    let began = Instant::now();
    (transport.send(&request), began.elapsed())
}

fn trusting(sandbox: &Sandbox) -> Connection {
    Connection { ca_file: Some(sandbox.ca_file().to_owned()), ..Connection::default() }
}

fn quay_of(sandbox: &Sandbox) -> (Url, u16) {
    let url = Url::parse(&format!("{}/v2/", sandbox.quay().url())).expect("a URL");
    let port = url.port().expect("a port");
    (url, port)
}

/// What a step may take, and what is well within it, on however busy a machine.
const STEP: Duration = Duration::from_secs(40);
const WELL_WITHIN: Duration = Duration::from_secs(15);

#[test]
fn r35_wherever_silent_addresses_stand_the_one_that_answers_is_reached_well_within_the_time() {
    // The sandbox listens on 127.0.0.1 alone.
    for addresses in [
        &["127.0.0.1"][..],
        &["127.0.0.2", "127.0.0.1"],
        &["::1", "127.0.0.1"],
        &["127.0.0.1", "::1"],
        &["127.0.0.2", "::1", "127.0.0.1"],
        &["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.1"],
        &["::1", "127.0.0.2", "127.0.0.3", "127.0.0.1"],
    ] {
        let sandbox = Sandbox::start();
        let (url, port) = quay_of(&sandbox);
        let before_it = addresses.iter().take_while(|it| **it != "127.0.0.1").count();
        let others: Vec<&str> = addresses.iter().copied().filter(|it| *it != "127.0.0.1").collect();
        let _silent = silent(&others, port);
        let (reply, took) = ask(addresses, &url, &trusting(&sandbox), STEP);
        assert_eq!(reply.expect("a reply").status, 401, "{addresses:?}");
        assert!(took >= HEAD_START * u32::try_from(before_it).expect("few"), "{took:?}");
        assert!(took < WELL_WITHIN, "{addresses:?}: {took:?}");
    }
}

#[test]
fn r35_an_address_that_refuses_is_passed_by_and_one_that_is_slow_is_not_given_up() {
    let sandbox = Sandbox::start();
    let (url, _) = quay_of(&sandbox);
    let (reply, _) =
        ask(&["127.0.0.2", "::1", "127.0.0.3", "127.0.0.1"], &url, &trusting(&sandbox), STEP);
    assert_eq!(reply.expect("a reply").status, 401);
    // One whose answer comes after all the others have been tried too, which never answer.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let _silent = silent(&["127.0.0.2", "::1"], port);
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        request_in(&mut stream);
        thread::sleep(HEAD_START * 4);
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n");
    });
    let (url, connection) = through_proxy(port);
    let (sent, took) = ask(&["127.0.0.1", "127.0.0.2", "::1"], &url, &connection, STEP);
    assert_eq!(fault_of(sent).0, TransportFault::ProxyRefused);
    assert!(took > HEAD_START * 4, "{took:?}");
}

/// A URL and the way to it through a proxy at this port.
fn through_proxy(port: u16) -> (Url, Connection) {
    let proxy = Url::parse(&format!("http://proxy.example.com:{port}")).expect("a URL");
    let proxy = ProxyChoice::Url(ProxyUrl(proxy));
    let url = Url::parse("https://quay.example.com/").expect("a URL");
    (url, Connection { proxy, ..Connection::default() })
}

#[test]
fn r35_where_no_address_answers_the_failure_tells_how_many_were_tried() {
    let sandbox = Sandbox::start();
    let (url, port) = quay_of(&sandbox);
    let _silent = silent(&["127.0.0.2", "::1", "127.0.0.3"], port);
    let second = Duration::from_secs(1);
    let addresses = ["127.0.0.2", "::1", "127.0.0.3"];
    let (sent, took) = ask(&addresses, &url, &trusting(&sandbox), second);
    let wanted = "no answer within 1s from any of its 3 addresses".to_owned();
    assert_eq!(fault_of(sent), (TransportFault::NoConnection, wanted));
    assert!(took < WELL_WITHIN, "{took:?}");
    let (sent, _) = ask(&["127.0.0.2"], &url, &trusting(&sandbox), second);
    let wanted = "no answer within 1s".to_owned();
    assert_eq!(fault_of(sent), (TransportFault::NoConnection, wanted));
    // Those that refuse are told in the same way.
    let (sent, _) = ask(&["127.0.0.7", "127.0.0.8"], &url, &trusting(&sandbox), STEP);
    let wanted = "connection refused (2 addresses tried)".to_owned();
    assert_eq!(fault_of(sent), (TransportFault::Connect, wanted));
}

#[test]
fn r35_the_addresses_of_a_proxy_are_tried_in_the_same_way() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            request_in(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n");
        }
    });
    let _silent = silent(&["127.0.0.2", "::1"], port);
    let (url, connection) = through_proxy(port);
    let second = Duration::from_secs(1);
    let (sent, _) = ask(&["127.0.0.2", "::1"], &url, &connection, second);
    let wanted = format!(
        "no answer within 1s through any of the 2 addresses of the proxy \
         `proxy.example.com:{port}` (`proxy`)"
    );
    assert_eq!(fault_of(sent), (TransportFault::NoConnection, wanted));
    let (sent, took) = ask(&["127.0.0.2", "127.0.0.1"], &url, &connection, STEP);
    let wanted = format!(
        "the proxy `proxy.example.com:{port}` (`proxy`) refused to connect to it, or is not an HTTP proxy"
    );
    assert_eq!(fault_of(sent), (TransportFault::ProxyRefused, wanted));
    assert!(took < WELL_WITHIN, "the refusal is the answer: {took:?}");
}

#[test]
fn r35_a_name_server_that_does_not_answer_is_called_that() {
    let world = world();
    let mut transport = HttpTransport::new(&world);
    transport.look_up = Arc::new(|_| {
        thread::sleep(STEP);
        Ok(Vec::new())
    });
    let sandbox = Sandbox::start();
    let (url, connection) = (quay_of(&sandbox).0, trusting(&sandbox));
    let (url, connection, timeout) = (&url, &connection, Duration::from_millis(300));
    let request = Request { url, body: Body::None, authorization: None, connection, timeout };
    let began = Instant::now();
    let sent = fault_of(transport.send(&request));
    drop(transport);
    assert!(began.elapsed() < WELL_WITHIN, "the look-up is not waited for");
    let wanted = "no answer within 300ms (the name server did not answer)".to_owned();
    assert_eq!(sent, (TransportFault::NameServer, wanted));
}

#[test]
fn r35_the_kinds_of_addresses_are_tried_in_turn_as_the_system_prefers_them() {
    let turned = |addresses: &[&str]| {
        let parsed = addresses.iter().map(|it| SocketAddr::new(it.parse().expect("one"), 0));
        let turned = in_turn(parsed.collect()).into_iter().map(|it| it.ip().to_string());
        turned.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(turned(&["::1", "::2", "::3", "10.0.0.1"]), "::1 10.0.0.1 ::2 ::3");
    assert_eq!(turned(&["10.0.0.1", "10.0.0.2", "::1"]), "10.0.0.1 ::1 10.0.0.2");
    assert_eq!(turned(&[]), "");
}

#[test]
fn r35_however_many_addresses_there_are_the_last_is_tried_within_two_seconds() {
    for addresses in 2..200 {
        let others = u32::try_from(addresses - 1).expect("few");
        assert!(head_start_among(addresses) * others <= ALL_WITHIN, "{addresses}");
    }
    assert_eq!([0, 1, 2, 9].map(head_start_among), [HEAD_START; 4]);
}
