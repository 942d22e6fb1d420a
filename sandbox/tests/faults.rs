//! Each fault, seen by a client that looks at how the connection ends.

mod common;

use std::io::ErrorKind;
use std::thread;
use std::time::{Duration, Instant};

use common::{Https, host_of, parse};
use quayfed_sandbox::{Fault, Sandbox, Times};

const PATH: &str = "/.well-known/openid-configuration";

/// Plans one fault and makes one request.
fn received(fault: Fault) -> (Sandbox, common::Received) {
    let sandbox = Sandbox::start();
    sandbox.issuer().fault(PATH, fault, Times::Once);
    let host = host_of(&sandbox.issuer().url());
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let received = Https::new(&sandbox).raw(&host, &request);
    (sandbox, received)
}

#[test]
fn a_delay_comes_in_full_before_the_normal_reply() {
    let begin = Instant::now();
    let (_sandbox, received) = received(Fault::Delay(Duration::from_millis(400)));
    assert!(begin.elapsed() >= Duration::from_millis(400));
    assert_eq!(parse(&received.bytes).expect("a reply").status, 200);
}

#[test]
fn a_reset_is_a_reset() {
    let (sandbox, received) = received(Fault::Reset);
    assert_eq!(received.error, Some(ErrorKind::ConnectionReset));
    assert!(received.bytes.is_empty());
    assert_eq!(sandbox.issuer().requests()[0].status, None);
}

#[test]
fn a_closed_connection_has_no_reply_and_is_no_reset() {
    let (_sandbox, received) = received(Fault::Close);
    assert_eq!(received.error, Some(ErrorKind::UnexpectedEof));
    assert!(received.bytes.is_empty());
}

#[test]
fn a_truncated_body_is_shorter_than_announced() {
    let (sandbox, received) = received(Fault::truncate(200, "{\"token\":\"abc", 7));
    let reply = parse(&received.bytes).expect("a reply");
    assert_eq!(reply.header("content-length"), Some("20"));
    assert_eq!(reply.body, "{\"token\":\"abc");
    assert_eq!(received.error, Some(ErrorKind::UnexpectedEof));
    assert_eq!(sandbox.issuer().requests()[0].status, Some(200));
}

#[test]
fn the_normal_reply_can_be_truncated_too() {
    let (_sandbox, received) = received(Fault::TruncateReply { keep: 10 });
    let reply = parse(&received.bytes).expect("a reply");
    assert_eq!(reply.body, "{\"authoriz");
    assert!(reply.header("content-length").expect("a length").parse::<usize>().expect("n") > 100);
}

#[test]
fn any_status_with_any_headers_and_body() {
    let (sandbox, received) = received(Fault::Respond {
        status: 429,
        headers: vec![
            ("Content-Type".to_owned(), "text/plain".to_owned()),
            ("Retry-After".to_owned(), "7".to_owned()),
        ],
        body: b"slow down".to_vec(),
    });
    let reply = parse(&received.bytes).expect("a reply");
    assert_eq!((reply.status, reply.body.as_str()), (429, "slow down"));
    assert_eq!(reply.header("retry-after"), Some("7"));
    assert_eq!(reply.header("content-type"), Some("text/plain"));
    assert_eq!(received.error, None);
    assert_eq!(sandbox.issuer().requests()[0].status, Some(429));
}

#[test]
fn a_redirect_names_its_target() {
    let (_sandbox, received) = received(Fault::Redirect("https://elsewhere.example/x".to_owned()));
    let reply = parse(&received.bytes).expect("a reply");
    assert_eq!(reply.status, 302);
    assert_eq!(reply.header("location"), Some("https://elsewhere.example/x"));
}

#[test]
fn a_huge_body_comes_whole_announced_or_in_chunks() {
    let bytes = 3 * 1024 * 1024;
    let (_sandbox, announced) = received(Fault::Huge { bytes, announced: true });
    let reply = parse(&announced.bytes).expect("a reply");
    assert_eq!(reply.body.len() as u64, bytes);
    assert!(reply.body.starts_with("{\"token\":\"aaa"));

    let (_sandbox, chunked) = received(Fault::Huge { bytes, announced: false });
    let reply = parse(&chunked.bytes).expect("a reply");
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    assert!(reply.body.len() as u64 > bytes);
    assert!(reply.body.ends_with("\r\n0\r\n\r\n"));
}

#[test]
fn raw_bytes_replace_the_reply() {
    let (_sandbox, received) = received(Fault::Raw(b"SSH-2.0-surprise\r\n".to_vec()));
    assert_eq!(received.bytes, b"SSH-2.0-surprise\r\n");
}

#[test]
fn a_trickle_comes_byte_by_byte_and_whole() {
    let begin = Instant::now();
    let (_sandbox, received) = received(Fault::Trickle { every: Duration::from_millis(1) });
    let reply = parse(&received.bytes).expect("a reply");
    assert_eq!(reply.json()["token_endpoint"].as_str().map(str::is_empty), Some(false));
    assert!(begin.elapsed() >= Duration::from_millis(500));
}

#[test]
fn a_hang_ends_with_the_sandbox() {
    let sandbox = Sandbox::start();
    sandbox.issuer().fault(PATH, Fault::Hang, Times::Always);
    let host = host_of(&sandbox.issuer().url());
    let https = Https::new(&sandbox);
    let waiting = thread::spawn(move || https.get(&host, PATH, None).is_none());
    while sandbox.issuer().count(PATH) == 0 {
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(200));
    assert!(!waiting.is_finished());
    drop(sandbox);
    assert!(waiting.join().expect("the client's thread"));
}

#[test]
fn a_server_that_does_not_listen_refuses_and_comes_back_at_its_port() {
    let sandbox = Sandbox::start();
    let issuer = sandbox.issuer();
    let host = host_of(&issuer.url());
    let https = Https::new(&sandbox);
    for _ in 0..3 {
        issuer.stop_listening();
        let refused = https.connect(&host).err().map(|error| error.kind());
        assert_eq!(refused, Some(ErrorKind::ConnectionRefused));
        issuer.resume_listening();
        assert_eq!(https.get(&host, PATH, None).expect("a reply").status, 200);
    }
    assert_eq!(host_of(&issuer.url()), host);
}

#[test]
fn faults_are_used_up_in_order_and_only_at_their_path() {
    let sandbox = Sandbox::start();
    let issuer = sandbox.issuer();
    let host = host_of(&issuer.url());
    let https = Https::new(&sandbox);
    let status = |path: &str| https.get(&host, path, None).expect("a reply").status;
    let respond = |status| Fault::respond(status, "text/plain", "");
    issuer.fault(PATH, respond(503), Times::N(2));
    issuer.fault(PATH, respond(429), Times::Once);
    assert_eq!(status(issuer.jwks_path()), 200);
    assert_eq!([(); 4].map(|()| status(PATH)), [503, 503, 429, 200]);

    issuer.fault("*", respond(500), Times::Always);
    assert_eq!([status(PATH), status("/anything"), status(PATH)], [500, 500, 500]);
    issuer.clear_faults();
    assert_eq!(status(PATH), 200);
}
