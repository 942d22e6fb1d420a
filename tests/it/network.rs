//! Requests, R18 to R21 and R26: time, retries, trust, and what a server may say.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quayfed_sandbox::{
    AuthMethod, Client, EXCHANGE_PATH, Fault, Need, Recorded, Sandbox, Silent, Times, TokenShape,
    lacks,
};

use crate::binary::{
    CLIENT, Home, Ran, SECRET, SUBJECT, at_sandbox, configuration, program, start,
};

/// Less than whatever would be waited for in vain (8 s for a provider, 15 s for the exchange), and
/// far more than a time-out of 1 s takes on a busy machine.
const SOON: Duration = Duration::from_secs(7);

fn exchanges(sandbox: &Sandbox) -> usize {
    sandbox.quay().count(EXCHANGE_PATH)
}

fn token_requests(sandbox: &Sandbox) -> usize {
    sandbox.issuer().count(sandbox.issuer().token_path())
}

/// The configuration with more keys in the registry's table.
fn with_registry_keys(sandbox: &Sandbox, home: &Home, keys: &str) -> String {
    configuration(sandbox, home).replacen("robot =", &format!("{keys}\nrobot ="), 1)
}

#[test]
fn r18_a_passing_fault_of_the_exchange_is_tried_again_once() {
    for fault in [
        Fault::respond(500, "text/html", "<html>Internal Server Error</html>"),
        Fault::respond(502, "text/html", "<html>Quay Loading</html>"),
        Fault::respond(503, "text/html", ""),
        Fault::respond(504, "text/html", ""),
        Fault::Reset,
        Fault::Close,
    ] {
        let sandbox = Sandbox::start();
        let home = at_sandbox(&sandbox);
        sandbox.quay().fault(EXCHANGE_PATH, fault.clone(), Times::Once);
        home.get(&sandbox.quay().host()).token();
        assert_eq!((token_requests(&sandbox), exchanges(&sandbox)), (1, 2), "{fault:?}");
    }
}

#[test]
fn r18_a_lasting_fault_is_tried_twice_and_a_refusal_once() {
    for (fault, wanted) in [
        (Fault::respond(502, "text/html", ""), 2),
        (Fault::Close, 2),
        (Fault::respond(400, "application/json", "{}"), 1),
        (Fault::respond(401, "application/json", "{}"), 1),
        (Fault::respond(429, "application/json", "{}"), 1),
        (Fault::respond(404, "text/html", ""), 1),
        (Fault::respond(200, "application/json", "{}"), 1),
        (Fault::Redirect("https://localhost:1/".to_owned()), 1),
    ] {
        let sandbox = Sandbox::start();
        let home = at_sandbox(&sandbox);
        sandbox.quay().fault(EXCHANGE_PATH, fault.clone(), Times::Always);
        let ran = home.get(&sandbox.quay().host());
        assert!(!ran.cause().is_empty());
        // Who is down may be asked too, without a token.
        let requests = sandbox.quay().requests();
        let with_token = requests.iter().filter(|it| it.header("authorization").is_some());
        assert_eq!(with_token.count(), wanted, "{fault:?}: {ran:?}");
    }
}

#[test]
fn r18_the_provider_is_asked_again_after_502_and_not_after_500() {
    for (status, wanted) in [(502, 2), (503, 2), (504, 2), (500, 1), (401, 1), (429, 1)] {
        let sandbox = Sandbox::start();
        let home = at_sandbox(&sandbox);
        let path = sandbox.issuer().token_path();
        sandbox.issuer().fault(
            path,
            Fault::respond(status, "application/json", "{}"),
            Times::Always,
        );
        home.get(&sandbox.quay().host()).cause();
        assert_eq!(token_requests(&sandbox), wanted, "{status}");
    }
}

#[test]
fn r18_everything_ends_within_its_deadline() {
    let hang = |sandbox: &Sandbox, provider: bool| {
        if provider {
            sandbox.issuer().fault("*", Fault::Hang, Times::Always);
        } else {
            sandbox.quay().fault("*", Fault::Hang, Times::Always);
        }
    };
    for (provider, registry_keys, identity_keys) in [
        (true, "", "timeout = \"1s\""),
        (true, "deadline = \"1s\"", ""),
        (false, "exchange_timeout = \"1s\"", ""),
        (false, "deadline = \"1s\"", ""),
    ] {
        let sandbox = Sandbox::start();
        let home = at_sandbox(&sandbox);
        let text = with_registry_keys(&sandbox, &home, registry_keys);
        home.configure(&text.replacen("source =", &format!("{identity_keys}\nsource ="), 1));
        hang(&sandbox, provider);
        let began = Instant::now();
        let ran = home.get(&sandbox.quay().host());
        let took = began.elapsed();
        assert!(took < SOON, "{took:?} {ran:?}");
        println!("{}", ran.cause());
    }
}

#[test]
fn r18_a_reply_that_trickles_ends_within_the_deadline_too() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    home.configure(&with_registry_keys(&sandbox, &home, "exchange_timeout = \"1s\""));
    let trickle = Fault::Trickle { every: Duration::from_millis(100) };
    sandbox.quay().fault(EXCHANGE_PATH, trickle, Times::Always);
    let began = Instant::now();
    home.get(&sandbox.quay().host()).cause();
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn r18_a_refresh_is_two_requests() {
    let sandbox = Sandbox::start();
    sandbox.quay().set_robot_token_life(Duration::from_secs(12));
    let home = at_sandbox(&sandbox);
    let first = home.get(&sandbox.quay().host()).token();
    sandbox.issuer().forget_requests();
    sandbox.quay().forget_requests();
    std::thread::sleep(Duration::from_millis(9500));
    let second = home.get(&sandbox.quay().host()).token();
    assert_ne!(first, second);
    let paths = |requests: Vec<Recorded>| {
        requests.into_iter().map(|request| request.path).collect::<Vec<_>>()
    };
    // Quay itself asks the issuer for its discovery and keys; the helper asks for a token alone.
    let of_issuer = paths(sandbox.issuer().requests());
    assert_eq!(of_issuer.iter().filter(|path| **path == sandbox.issuer().token_path()).count(), 1);
    assert_eq!(
        of_issuer.iter().filter(|path| **path == sandbox.issuer().discovery_path()).count(),
        1
    );
    assert_eq!(paths(sandbox.quay().requests()), [EXCHANGE_PATH]);
}

#[test]
fn r18_a_provider_that_lists_only_the_form_gets_the_secret_there_now_and_from_what_was_kept() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let (issuer, quay) = (sandbox.issuer(), sandbox.quay());
    let only_post = Client::new(CLIENT, SECRET).only(AuthMethod::ClientSecretPost);
    issuer.add_client(only_post.shape(TokenShape::default().subject(SUBJECT)));
    let url = issuer.url();
    let document = serde_json::json!({
        "issuer": url,
        "token_endpoint": issuer.token_endpoint(),
        "jwks_uri": format!("{url}{}", issuer.jwks_path()),
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_post"],
    });
    let listed = Fault::respond(200, "application/json", document.to_string());
    issuer.fault(issuer.discovery_path(), listed, Times::Always);
    home.get(&quay.host()).token();
    let forced = home.helper("refresh").arg("--force").output().expect("an end");
    assert!(forced.status.success(), "{forced:?}");
    let methods: Vec<_> = issuer.token_requests().iter().map(|it| it.method).collect();
    assert_eq!(methods, [Some(AuthMethod::ClientSecretPost); 2]);
    let of_helper = issuer.requests().into_iter().filter(|request| {
        let agent = request.header("user-agent").unwrap_or_default();
        request.path == issuer.discovery_path() && agent.starts_with("docker-credential-quayfed/")
    });
    assert_eq!(of_helper.count(), 1, "what it said was kept");
}

#[test]
fn a_cold_get_connects_to_quay_while_the_provider_is_asked() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let (issuer, quay) = (sandbox.issuer(), sandbox.quay());
    let delay = Duration::from_secs(3);
    issuer.fault(issuer.token_path(), Fault::Delay(delay), Times::Once);
    home.get(&quay.host()).token();
    // Quay asks the issuer, too.
    let is_ours = |request: &Recorded| {
        let agent = request.header("user-agent").unwrap_or_default();
        agent.starts_with("docker-credential-quayfed/")
    };
    let of_issuer: Vec<_> = issuer.requests().into_iter().filter(is_ours).collect();
    let paths: Vec<_> = of_issuer.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, [issuer.discovery_path(), issuer.token_path()]);
    assert_eq!(of_issuer[0].connection, of_issuer[1].connection);
    let of_quay: Vec<_> = quay.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(of_quay, [EXCHANGE_PATH]);
    let connected = quay.connections();
    assert_eq!(connected.len(), 1);
    assert!(connected[0] < of_issuer[1].at + delay, "the provider had answered before");
    // None was made in vain: those of the issuer are its requests' and Quay's.
    let mut used: Vec<_> = issuer.requests().iter().map(|request| request.connection).collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), issuer.connections().len());
}

#[test]
fn r18_a_quay_that_takes_a_connection_and_says_nothing_holds_nobody_longer_than_before() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    // Connections wait to be accepted, and TLS for an answer.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("an address");
    let api_url = format!("api_url = \"https://{address}\"");
    let keys = format!("{api_url}\nexchange_timeout = \"1s\"");
    home.configure(&with_registry_keys(&sandbox, &home, &keys));
    let began = Instant::now();
    let ran = home.get(&sandbox.quay().host());
    assert!(ran.cause().ends_with(" gave no answer within 1s"), "{ran:?}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // Where the provider refuses, nobody waits for Quay at all.
    home.configure(&with_registry_keys(&sandbox, &home, &api_url));
    let refused = Fault::respond(401, "application/json", "{}");
    sandbox.issuer().fault(sandbox.issuer().token_path(), refused, Times::Always);
    let began = Instant::now();
    let ran = home.get(&sandbox.quay().host());
    assert!(ran.cause().contains("401"), "{ran:?}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[test]
fn r19_nothing_is_sent_to_quay_where_the_provider_refuses() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let refused = Fault::respond(401, "application/json", "{}");
    sandbox.issuer().fault(sandbox.issuer().token_path(), refused, Times::Always);
    home.get(&sandbox.quay().host()).cause();
    assert!(sandbox.quay().requests().is_empty());
    // Where the secret cannot be sent, nothing is connected to either.
    let before = sandbox.quay().connections().len();
    std::fs::remove_file(home.path("secret")).expect("removed");
    home.run("erase", &sandbox.quay().host());
    home.get(&sandbox.quay().host()).cause();
    assert_eq!(sandbox.quay().connections().len(), before);
}

#[test]
fn r19_no_redirect_is_followed_and_no_token_goes_anywhere_else() {
    let elsewhere = Sandbox::start();
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let target = format!("{}{EXCHANGE_PATH}", elsewhere.quay().url());
    sandbox.quay().fault(EXCHANGE_PATH, Fault::Redirect(target), Times::Always);
    home.get(&sandbox.quay().host()).cause();
    sandbox.quay().clear_faults();
    home.run("erase", &sandbox.quay().host());
    let target = elsewhere.issuer().token_endpoint();
    sandbox.issuer().fault(sandbox.issuer().token_path(), Fault::Redirect(target), Times::Always);
    home.get(&sandbox.quay().host()).cause();
    assert!(elsewhere.quay().requests().is_empty() && elsewhere.issuer().requests().is_empty());
}

#[test]
fn r19_discovery_must_name_the_configured_issuer_byte_for_byte() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let url = sandbox.issuer().url();
    home.configure(
        &configuration(&sandbox, &home)
            .replace(&format!("issuer = \"{url}\""), &format!("issuer = \"{url}/\"")),
    );
    let ran = home.get(&sandbox.quay().host());
    assert!(ran.cause().contains(&format!("`{url}`")), "{ran:?}");
    assert!(ran.cause().contains(&format!("`{url}/`")), "{ran:?}");
    assert_eq!(token_requests(&sandbox), 0, "no secret was sent");
}

#[test]
fn r19_http_is_allowed_to_loopback_alone_and_only_where_it_says_so() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let host = sandbox.quay().host();
    for (api_url, keys) in [
        ("http://127.0.0.1:1", ""),
        ("http://localhost:1", "allow_http_loopback = true"),
        ("http://192.0.2.1", "allow_http_loopback = true"),
        ("http://127.0.0.1.example.com", "allow_http_loopback = true"),
    ] {
        let keys = format!("api_url = \"{api_url}\"\n{keys}");
        home.configure(&with_registry_keys(&sandbox, &home, &keys));
        let ran = home.get(&host);
        assert!(ran.cause().contains(api_url), "{ran:?}");
        assert_eq!(token_requests(&sandbox), 0);
    }
    let plain = sandbox.quay().http_url().replace("localhost", "127.0.0.1");
    let keys = format!("api_url = \"{plain}\"\nallow_http_loopback = true");
    home.configure(&with_registry_keys(&sandbox, &home, &keys));
    home.get(&host).token();
}

#[test]
fn r19_a_token_that_cannot_be_one_is_not_sent() {
    let sandbox = Sandbox::start();
    let mut home = at_sandbox(&sandbox);
    let host = sandbox.quay().host();
    home.configure(&format!(
        "[registry.\"{host}\"]\nrobot = \"acme+ci\"\nidentity = \"job\"\nca_file = \"{}\"\n\
         [identity.job]\nsource = \"env\"\nvariable = \"JOB\"\n",
        home.path("ca.pem").display()
    ));
    let long = sandbox.issuer().mint(&TokenShape::default().length(6200));
    let good = sandbox.issuer().mint(&TokenShape::default());
    for token in ["gibberish", "a.b", &format!("{good}.x"), &good.replace('.', ". "), &long] {
        home.set("JOB", token);
        let ran = home.get(&host);
        assert!(!ran.cause().contains(token) && !ran.hint().contains(token), "{ran:?}");
        assert_eq!(exchanges(&sandbox), 0, "{ran:?}");
    }
    // The longest that fits: 6123 bytes with the robot's name and a colon.
    let fits = sandbox.issuer().mint(&TokenShape::default().length(6123 - "acme+ci:".len()));
    home.set("JOB", fits);
    home.get(&host).token();
}

#[test]
fn r20_only_the_ca_of_that_one_registry_or_identity_is_trusted_besides_the_systems() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let host = sandbox.quay().host();
    let text = configuration(&sandbox, &home);
    let ca = format!("ca_file = \"{}\"\n", home.path("ca.pem").display());
    // Without the registry's: the exchange fails, the provider is asked.
    home.configure(&text.replacen(&ca, "", 1));
    assert!(home.get(&host).cause().contains("certificate"));
    assert_eq!((token_requests(&sandbox), exchanges(&sandbox)), (1, 0));
    // Without the identity's: the provider is not even asked.
    let (registry, identity) = text.split_once("[identity").expect("two tables");
    home.configure(&format!("{registry}[identity{}", identity.replace(&ca, "")));
    assert!(home.get(&host).cause().contains("certificate"));
    assert_eq!(token_requests(&sandbox), 1);
}

#[test]
fn r20_a_ca_file_that_is_empty_or_missing_is_an_error() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let host = sandbox.quay().host();
    for spoil in ["empty", "missing", "no PEM"] {
        let path = home.path("ca.pem");
        match spoil {
            "empty" => std::fs::write(&path, "").expect("written"),
            "missing" => std::fs::remove_file(&path).expect("removed"),
            _ => std::fs::write(&path, "no certificate").expect("written"),
        }
        let ran = home.get(&host);
        assert!(ran.cause().contains(path.to_str().expect("text")), "{spoil}: {ran:?}");
    }
}

#[test]
fn r37_stale_variables_are_no_failure_where_the_rest_suffices_and_named_where_it_does_not() {
    let sandbox = Sandbox::start();
    let mut home = at_sandbox(&sandbox);
    let host = sandbox.quay().host();
    let (file, folder) =
        (home.path("ca.pem").display().to_string(), home.path("").display().to_string());
    let with_ca_file = configuration(&sandbox, &home);
    let without = with_ca_file.replace(&format!("ca_file = \"{file}\"\n"), "");
    let gone = "/nowhere/ca.pem";
    for (variables, configured, works) in [
        (["", ""], &without, false),
        ([gone, gone], &with_ca_file, true),
        ([&file, ""], &without, true),
        ([&file, gone], &without, true),
        // Anything may lie in a folder.
        ([gone, &folder], &without, true),
        (["", &folder], &without, true),
        ([gone, ""], &without, false),
        ([gone, gone], &without, false),
    ] {
        for (name, value) in ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().zip(variables) {
            home.set(name, value);
        }
        home.configure(configured);
        home.run("erase", &host);
        let ran = home.get(&host);
        if works {
            ran.token();
        } else {
            assert!(ran.cause().contains("certificate"), "{variables:?}: {ran:?}");
            let named = format!("SSL_CERT_FILE: `{gone}` does not exist");
            assert_eq!(ran.cause().contains(&named), variables[0] == gone, "{ran:?}");
        }
    }
}

#[test]
fn r37_a_ca_file_that_is_wrong_in_one_line_is_an_error_before_anything_is_sent() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let path = home.path("ca.pem");
    let good = std::fs::read_to_string(&path).expect("a CA");
    let cut = good.lines().take(3).collect::<Vec<_>>().join("\n");
    let line = good.lines().count() + 1;
    home.write("ca.pem", &format!("{good}{cut}\n"), 0o644);
    let ran = home.get(&sandbox.quay().host());
    let wanted = format!(
        "cannot be reached: `ca_file`: `{}:{line}` begins a CERTIFICATE that does not end (END \
         CERTIFICATE)",
        path.display()
    );
    assert!(ran.cause().ends_with(&wanted), "{ran:?}");
    assert!(sandbox.issuer().requests().is_empty() && sandbox.quay().connections().is_empty());
    // Without a line end between two, both count.
    home.write("ca.pem", &(good.trim_end().to_owned() + &good), 0o644);
    home.get(&sandbox.quay().host()).token();
}

/// A proxy for CONNECT that counts what it is asked for.
fn proxy() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        for client in listener.incoming().take(50) {
            let Ok(client) = client else { return };
            counter.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || tunnel(client));
        }
    });
    (address, asked)
}

fn tunnel(mut client: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let (_, port) = request.split(' ').nth(1)?.rsplit_once(':')?;
    let target = format!("127.0.0.1:{port}");
    let mut line = String::new();
    while reader.read_line(&mut line).ok()? > 2 {
        line.clear();
    }
    let mut server = TcpStream::connect(target).ok()?;
    client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").ok()?;
    let (mut to_server, mut from_server) = (server.try_clone().ok()?, server.try_clone().ok()?);
    let mut to_client = client.try_clone().ok()?;
    std::thread::spawn(move || std::io::copy(&mut from_server, &mut to_client));
    std::io::copy(&mut reader, &mut to_server).ok()?;
    server.flush().ok()
}

/// A home at a sandbox whose servers are asked under a name that no proxy is passed by for.
fn at_sandbox_by_name(sandbox: &Sandbox) -> (Home, String) {
    let home = at_sandbox(sandbox);
    let (issuer, named) =
        (sandbox.issuer(), |url: &str| url.replace("://localhost", "://quay.localhost"));
    let endpoint = format!("token_endpoint = \"{}\"", named(&issuer.token_endpoint()));
    let api_url = format!("api_url = \"{}\"\nrobot =", named(&sandbox.quay().url()));
    let text = configuration(sandbox, &home)
        .replace(&format!("issuer = \"{}\"", issuer.url()), &endpoint)
        .replacen("robot =", &api_url, 1);
    (home, text)
}

#[test]
fn r20_a_proxy_is_used_where_it_is_named_and_nowhere_else() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    // What is asked directly has a name that everybody knows.
    let ask = |variables: &[(&str, &str)], registry: &str, identity: &str, direct: &str| {
        let (address, asked) = proxy();
        let (mut home, text) = at_sandbox_by_name(&sandbox);
        let named = format!("\n{direct} = \"https://quay.");
        let text = text.replace(&named, &format!("\n{direct} = \"https://"));
        for (name, value) in variables {
            home.set(name, value.replace("PROXY", &address));
        }
        let text = text.replacen("robot =", &format!("{registry}\nrobot ="), 1);
        let text = text.replacen("source =", &format!("{identity}\nsource ="), 1);
        home.configure(&text.replace("PROXY", &address));
        home.get(&host).token();
        asked.load(Ordering::SeqCst)
    };
    // The token request, and the exchange.
    assert_eq!(ask(&[("HTTPS_PROXY", "PROXY")], "", "", ""), 2);
    assert_eq!(ask(&[("https_proxy", "PROXY")], "", "", ""), 2);
    assert_eq!(ask(&[("HTTPS_PROXY", "PROXY")], "proxy = \"none\"", "", "api_url"), 1);
    assert_eq!(ask(&[], "proxy = \"PROXY\"", "", "token_endpoint"), 1);
    assert_eq!(ask(&[], "", "proxy = \"PROXY\"", "api_url"), 1);
}

#[test]
fn r36_a_proxy_that_fails_is_named_with_the_variable_that_it_comes_from() {
    let garbage = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = garbage.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in garbage.incoming().take(8) {
            let Ok(mut client) = client else { return };
            // As a server of TLS answers what is none.
            let _ = client.write_all(&[21, 3, 1, 0, 2, 2, 70]);
        }
    });
    let address = address.to_string();
    let home = |variables: &[(&str, &str)], proxy: &str| {
        let mut home = Home::new();
        let secret = home.write("secret", "hunter2", 0o600).display().to_string();
        home.configure(&format!(
            "[registry.\"quay.example.com\"]\nrobot = \"acme+ci\"\nidentity = \"sso\"\n\
             [identity.sso]\nsource = \"client-credentials\"\nclient_id = \"x\"\n{proxy}\n\
             token_endpoint = \"https://sso.invalid/token\"\nclient_secret_file = \"{secret}\"\n"
        ));
        for (name, value) in variables {
            home.set(name, value);
        }
        home
    };
    let refused = "the proxy `127.0.0.1:1` (HTTPS_PROXY): connection refused".to_owned();
    let in_variable = "check the proxy's host, port and scheme in that variable";
    let configured = format!("proxy = \"http://{address}\"");
    let allow = "allow the host at the proxy";
    for (variables, proxy, wanted, hint) in [
        (&[("HTTPS_PROXY", "127.0.0.1:1")][..], "", refused, in_variable),
        (
            &[("https_proxy", &address)],
            "",
            format!("the proxy `{address}` (https_proxy) refused to connect to it, or is not an HTTP proxy"),
            allow,
        ),
        (
            &[],
            &configured,
            format!("the proxy `{address}` (`proxy`) refused to connect to it, or is not an HTTP proxy"),
            allow,
        ),
        (
            &[("HTTPS_PROXY", "http://me:hunter#2@proxy:3128")],
            "",
            "; no proxy was used, since HTTPS_PROXY has a `#` in its user or password: write it as %23"
                .to_owned(),
            "check ",
        ),
        (
            &[("HTTPS_PROXY", "socks5://me:hunter2@proxy:1080")],
            "",
            "; no proxy was used, since HTTPS_PROXY names a SOCKS proxy (`socks5`), and only http and \
             https proxies are supported"
                .to_owned(),
            "check ",
        ),
        (
            &[("ALL_PROXY", "http://proxy:3128")],
            "",
            "; ALL_PROXY is not used (as podman does not use it): HTTPS_PROXY names a proxy".to_owned(),
            "check ",
        ),
    ] {
        let ran = home(variables, proxy).get("quay.example.com");
        assert!(ran.cause().ends_with(&wanted), "{variables:?}: {ran:?}");
        assert!(ran.hint().starts_with(hint), "{variables:?}: {ran:?}");
        assert!(!ran.stderr.contains("hunter"), "{ran:?}");
    }
}

/// Under `localhost` the servers are there without a name server, and without a proxy too.
#[test]
fn r36_the_loopback_is_asked_without_the_proxy_that_a_variable_names() {
    let sandbox = Sandbox::start();
    let host = sandbox.quay().host();
    let (address, asked) = proxy();
    for variables in [
        &[][..],
        &[("HTTPS_PROXY", address.as_str())],
        &[("HTTP_PROXY", &address), ("ALL_PROXY", &address)],
    ] {
        let mut home = at_sandbox(&sandbox);
        for (name, value) in variables {
            home.set(name, value);
        }
        home.get(&host).token();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    // What the configuration names is meant, whatever it is for.
    let home = at_sandbox(&sandbox);
    home.configure(&with_registry_keys(&sandbox, &home, &format!("proxy = \"{address}\"")));
    home.get(&host).token();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn r21_a_reply_that_is_no_robot_token_of_ours_is_no_answer() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let host = sandbox.quay().host();
    let shape = || sandbox.quay().robot_token_shape("acme+ci");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a time")
        .as_secs();
    for token in [
        "gibberish".to_owned(),
        String::new(),
        sandbox.quay().mint(&shape().subject("acme+other")),
        sandbox.quay().mint(&shape().without("sub")),
        sandbox.quay().mint(&shape().without("exp")),
        sandbox.quay().mint(&shape().claim("iat", now).claim("exp", now)),
        sandbox.quay().mint(&shape().length(8193)),
    ] {
        sandbox.quay().next_robot_token(token.clone());
        let ran = home.get(&host);
        ran.cause();
        assert!(token.is_empty() || !ran.stderr.contains(&token));
        home.run("erase", &host);
    }
    sandbox.quay().next_robot_token(sandbox.quay().mint(&shape().length(8192)));
    home.get(&host).token();
}

#[test]
fn r21_broken_replies_of_every_kind_end_in_one_line() {
    let faults = || {
        [
            Fault::truncate(200, "{\"token\":\"", 100),
            Fault::TruncateReply { keep: 20 },
            Fault::Huge { bytes: 64 * 1024 * 1024, announced: true },
            Fault::Huge { bytes: 64 * 1024 * 1024, announced: false },
            Fault::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
            Fault::Raw(vec![0; 100_000]),
            Fault::respond(
                200,
                "text/html",
                "<html><body>Welcome to the hotel's network</body></html>",
            ),
            Fault::respond(200, "application/json", "[1,2"),
            Fault::respond(200, "application/json", "null"),
            Fault::respond(200, "application/json", vec![0xff, 0xfe, 0x00]),
            Fault::respond(204, "application/json", ""),
            Fault::respond(403, "text/html", "<html><h1>Blocked by policy</h1></html>"),
            Fault::respond(407, "text/html", "<html>"),
            Fault::respond(599, "text/plain", "\u{1b}[2J\u{202e}evil"),
        ]
    };
    for at_quay in [true, false] {
        for fault in faults() {
            let sandbox = Sandbox::start();
            let home = at_sandbox(&sandbox);
            if at_quay {
                sandbox.quay().fault(EXCHANGE_PATH, fault.clone(), Times::Always);
            } else {
                let path = sandbox.issuer().token_path();
                sandbox.issuer().fault(path, fault.clone(), Times::Always);
            }
            let ran = home.get(&sandbox.quay().host());
            let kind = format!("{fault:?}").chars().take(60).collect::<String>();
            println!("{at_quay} {kind}\n    {}\n    {}", ran.cause(), ran.hint());
            assert!(!ran.stderr.contains('<') && !ran.stderr.contains('\u{1b}'), "{ran:?}");
            assert!(!ran.stderr.contains("hotel") && !ran.stderr.contains("Blocked"), "{ran:?}");
            assert!(ran.cause().len() < 600, "{ran:?}");
        }
    }
}

#[test]
fn r21_what_a_server_said_is_shown_without_the_secrets_that_were_sent() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    let said = format!(
        "{{\"error\":\"invalid_client\",\"error_description\":\"no such secret: {SECRET} in eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.c2ln\"}}"
    );
    let path = sandbox.issuer().token_path();
    sandbox.issuer().fault(path, Fault::respond(401, "application/json", said), Times::Always);
    let ran = home.get(&sandbox.quay().host());
    assert!(ran.cause().contains("[redacted]"), "{ran:?}");
    assert!(!ran.stderr.contains(SECRET) && !ran.stderr.contains("eyJ"), "{ran:?}");
    for entry in std::fs::read_dir(home.cache()).expect("a folder") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("bytes");
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(SECRET), "a secret in the attempt record");
    }
}

#[test]
fn r26_a_name_server_that_does_not_answer_holds_neither_answer_nor_deadline() {
    if lacks(Need::Mounts) {
        return;
    }
    // A name server that swallows every question; the C library waits for it in a thread. Its
    // address is nobody else's: other tests may run beside these.
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 64 | high, middle, low);
    let silent = UdpSocket::bind((address, 53)).expect("port 53 of a loopback address");
    let home = Home::new();
    let resolv = home.write("resolv.conf", &format!("nameserver {address}\n"), 0o644);
    let secret = home.write("secret", "x", 0o600);
    home.configure(&format!(
        "[registry.\"quay.invalid.example\"]\nrobot = \"acme+ci\"\nidentity = \"sso\"\n\
         [identity.sso]\nsource = \"client-credentials\"\ntimeout = \"1s\"\n\
         issuer = \"https://sso.invalid.example\"\nclient_id = \"x\"\n\
         client_secret_file = \"{}\"\n",
        secret.display()
    ));
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]);
    let uid = crate::binary::uid().to_string();
    command.arg(format!(
        "mount --bind {} /etc/resolv.conf && exec setpriv --reuid {uid} --regid {uid} \
         --clear-groups env -i HOME={} QUAYFED_CACHE_DIR={} {} get",
        resolv.display(),
        home.path("").display(),
        home.cache().display(),
        program().display()
    ));
    let began = Instant::now();
    let ran = Ran::from(start(command, "quay.invalid.example").wait_with_output().expect("an end"));
    let took = began.elapsed();
    // On a busy machine less than the second is left when it is asked.
    let time = ran
        .cause()
        .strip_prefix("the issuer `https://sso.invalid.example` gave no answer within ")
        .and_then(|rest| rest.strip_suffix(" (the name server did not answer)"));
    assert!(time.is_some_and(|time| time.ends_with('s')), "{ran:?}");
    assert_eq!(ran.hint(), "check this host's name servers (/etc/resolv.conf) and the way to them");
    // The C library asks twice, for 5 s each.
    assert!(took < SOON, "{took:?}: {ran:?}");
    silent.set_nonblocking(true).expect("set");
    assert!(silent.recv(&mut [0; 512]).is_ok(), "it was asked");
}

#[test]
fn r35_addresses_that_do_not_answer_cost_a_pull_a_moment() {
    if lacks(Need::Mounts) {
        return;
    }
    // Provider and Quay are at 127.0.0.1 alone, which the system puts behind IPv6 and before others.
    for addresses in [&["::1", "127.0.0.1"][..], &["127.0.0.2", "127.0.0.1"]] {
        let sandbox = Sandbox::start();
        let home = at_sandbox(&sandbox);
        let host = sandbox.quay().host();
        let port = |url: String| url.rsplit(':').next().and_then(|it| it.parse::<u16>().ok());
        let ports = [port(sandbox.quay().url()), port(sandbox.issuer().url())];
        let _silent: Vec<Silent> = ports
            .iter()
            .flat_map(|port| addresses.iter().map(move |address| (address, port.expect("a port"))))
            .filter(|(address, _)| **address != "127.0.0.1")
            .map(|(address, port)| SocketAddr::new(address.parse().expect("an address"), port))
            .map(|address| Silent::at(address).expect("a silent address"))
            .collect();
        let hosts = format!("{} localhost\n", addresses.join(" localhost\n"));
        let hosts = home.write("hosts", &hosts, 0o644);
        let uid = crate::binary::uid().to_string();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c"]).arg(format!(
            "mount --bind {} /etc/hosts && exec setpriv --reuid {uid} --regid {uid} \
             --clear-groups env -i HOME={} QUAYFED_CACHE_DIR={} QUAYFED_LOG=info {} get",
            hosts.display(),
            home.path("").display(),
            home.cache().display(),
            program().display()
        ));
        let began = Instant::now();
        let ran = Ran::from(start(command, &host).wait_with_output().expect("an end"));
        let took = began.elapsed();
        ran.token();
        println!("{addresses:?}: a cold get took {took:?}\n{}", ran.stderr);
        // Waiting for each in turn would take all of the 25 s.
        assert!(took < Duration::from_secs(15), "{took:?}: {ran:?}");
    }
}

#[test]
fn a_user_agent_names_the_program_and_its_version() {
    let sandbox = Sandbox::start();
    let home = at_sandbox(&sandbox);
    home.get(&sandbox.quay().host()).token();
    let requests = sandbox.quay().requests();
    let agent = requests[0].header("user-agent").expect("a header");
    assert_eq!(agent, format!("docker-credential-quayfed/{}", env!("CARGO_PKG_VERSION")));
}
