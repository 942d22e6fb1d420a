//! The addresses of a name, by the C library. That knows no deadline, so a thread asks it, which nobody
//! waits for longer than they want to (rule R26).

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::oneshot;

use super::attempts::{ADDRESS, Address};
use crate::files::{describe, read_input};

/// What asks the system for the addresses of a name, and blocks meanwhile.
pub(super) type LookUp = Arc<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// The C library's look-up, with whatever the system has set up for it.
pub(super) fn of_system() -> LookUp {
    Arc::new(|name| Ok((name, 0).to_socket_addrs()?.collect()))
}

/// Where the names of a host stand that no name server is asked for.
const HOSTS: &str = "/etc/hosts";
/// The most that is read of it, in bytes.
const LARGEST_HOSTS: u64 = 1 << 20;

/// Looks names up for a client's connector: for the first of the [attempts](super::attempts), which
/// then has one address to connect to, as each of the others has.
pub(super) struct Resolver(pub(super) LookUp);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (look_up, address) = (Arc::clone(&self.0), ADDRESS.try_with(Address::clone).ok());
        Box::pin(async move {
            let Some(address) = address else {
                return Ok(Box::new(addresses(look_up, &name).await?.into_iter()) as Addrs);
            };
            if address.is_first() {
                address.asked_for();
                address.found(addresses(look_up, &name).await?);
            }
            Ok(Box::new(address.get().into_iter()) as Addrs)
        })
    }
}

async fn addresses(
    look_up: LookUp,
    name: &Name,
) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
    let (sender, receiver) = oneshot::channel();
    let asked = name.as_str().to_owned();
    // Who asked may have gone meanwhile: nobody is told then.
    let ask = move || drop(sender.send(look_up(&asked)));
    match thread::Builder::new().name("name lookup".to_owned()).spawn(ask) {
        Ok(_) => Ok(receiver.await??),
        // Asked here, the C library could outlive every deadline: a name in a file cannot.
        Err(error) => match in_hosts(Path::new(HOSTS), name.as_str()) {
            found if !found.is_empty() => Ok(found),
            _ => Err(Box::new(NoThread(error))),
        },
    }
}

/// No thread could be started to look a name up.
#[derive(Debug)]
pub(super) struct NoThread(pub(super) io::Error);

impl std::fmt::Display for NoThread {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "no thread can be started to look up its name ({})", describe(&self.0))
    }
}

impl std::error::Error for NoThread {}

/// The addresses of a name in a file of the form of hosts(5), in its order.
fn in_hosts(path: &Path, name: &str) -> Vec<SocketAddr> {
    let content = read_input(path, LARGEST_HOSTS).map(|input| input.bytes);
    let name = name.trim_end_matches('.');
    let mut found = Vec::new();
    for line in String::from_utf8_lossy(&content.unwrap_or_default()).lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) {
            found.push(SocketAddr::new(address, 0));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r34_a_name_in_the_file_of_hosts_is_found_as_hosts_5_says() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("hosts");
        let text = "# 192.0.2.9 quay\n127.0.0.1\tlocalhost\n::1 localhost ip6-localhost\n\n\
                    192.0.2.1 Quay.Example.com quay # the first\nnonsense quay\n\
                    2001:db8::1  quay\n192.0.2.3 quayside\n";
        std::fs::write(&path, text).expect("written");
        let found = |name: &str| {
            let found = in_hosts(&path, name).into_iter();
            found.map(|address| address.ip().to_string()).collect::<Vec<_>>().join(" ")
        };
        for (name, wanted) in [
            ("localhost", "127.0.0.1 ::1"),
            ("quay.example.com", "192.0.2.1"),
            ("QUAY.example.com.", "192.0.2.1"),
            ("quay", "192.0.2.1 2001:db8::1"),
            ("first", ""),
            ("example.com", ""),
        ] {
            assert_eq!(found(name), wanted, "{name}");
        }
        assert!(in_hosts(Path::new("/nowhere/hosts"), "localhost").is_empty());
    }
}
