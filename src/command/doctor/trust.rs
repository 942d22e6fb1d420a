//! What a server presented as its certificates, and who trusts them: the lines below a step.

use std::path::Path;

use super::observed::Met;
use super::report::{Detail, Mark};
use crate::http::certificate::{Certificate, Name};
use crate::http::witness::{Presented, Trust};
use crate::quay::verdict::span;
use crate::world::World;

/// A certificate that ends earlier deserves a look, in seconds.
const SOON: i64 = 14 * 24 * 3600;

/// Who trusts the certificates of a server, or why nobody does, and each of them as it was sent.
pub(super) fn details(world: &World, met: &Met) -> Vec<Detail> {
    let Some(Presented { chain, trust, .. }) = &met.presented else { return Vec::new() };
    let now = i64::try_from(world.clock.wall().as_secs()).unwrap_or(i64::MAX);
    let mut details = vec![of_trust(world, met, trust)];
    let ends = (1..).zip(chain).filter_map(|(number, it)| Some((number, it.as_ref()?.ends)));
    let first_to_end = ends.clone().min_by_key(|(_, ends)| *ends).filter(|_| ends.count() > 1);
    for (number, certificate) in (1..).zip(chain) {
        let Some(Certificate { subject, issuer, ends, .. }) = certificate else {
            let text = format!("certificate {number} of {}: cannot be read", chain.len());
            details.push(Detail::marked(Mark::Unknown, text));
            continue;
        };
        let left = ends.saturating_sub(now);
        let apart = span(left.unsigned_abs());
        let is_first = first_to_end.is_some_and(|(first, _)| first == number);
        let text = format!(
            "certificate {number} of {}: {} by {}, {}{}",
            chain.len(),
            shown(world, subject),
            shown(world, issuer),
            if left < 0 { format!("ended {apart} ago") } else { format!("ends in {apart}") },
            if is_first { ", the first to end" } else { "" },
        );
        details.push(match left {
            ..0 => Detail::marked(Mark::Bad, text),
            0..SOON => Detail::marked(Mark::Unknown, text),
            _ => Detail::new(text),
        });
    }
    details
}

fn of_trust(world: &World, met: &Met, trust: &Trust) -> Detail {
    let shown = |name: &Name| shown(world, name);
    let (mark, text) = match trust {
        Trust::System(root) => {
            (None, format!("trusted by {} of the system's certificates", shown(root)))
        }
        Trust::CaFile(root) => {
            let file = met.ca_file.as_deref().unwrap_or(Path::new("`ca_file`"));
            (None, format!("trusted by {} of {}", shown(root), file.display()))
        }
        Trust::NotSent(issuer) => (
            Some(Mark::Bad),
            format!(
                "the certificate of {} is missing, neither sent nor trusted here: that of an \
                 intermediate CA is the server's to send, that of a root has to be trusted here",
                shown(issuer)
            ),
        ),
        Trust::SelfIssued(issuer) => {
            (Some(Mark::Bad), format!("{} is its own issuer, and not trusted here", shown(issuer)))
        }
        Trust::OtherKey(issuer) => (
            Some(Mark::Bad),
            format!(
                "a CA {} is trusted here, but did not issue this: it has another key",
                shown(issuer)
            ),
        ),
        Trust::Refused => (Some(Mark::Bad), "its certificates are not accepted".to_owned()),
    };
    let text = format!("TLS of {}: {text}", met.host);
    match mark {
        Some(mark) => Detail::marked(mark, text),
        None => Detail::new(text),
    }
}

/// A name in backticks; whoever issued a certificate chose it.
fn shown(world: &World, name: &Name) -> String {
    match world.redactor.clean(&name.to_string()) {
        name if name.is_empty() => "somebody without a name".to_owned(),
        name => format!("`{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::certificate::Form;
    use crate::http::certificate::testing::common;
    use crate::http::testing::{NOW, world};

    const DAY: i64 = 24 * 3600;

    fn told(chain: &[(&str, &str, i64)], trust: Trust, ca_file: Option<&str>) -> String {
        let now = i64::try_from(NOW).expect("a time");
        // Without an issuer it stands for one that cannot be read.
        let of = |(subject, issuer, left): &(&str, &str, i64)| {
            (!issuer.is_empty()).then(|| Certificate {
                subject: common(subject),
                issuer: common(issuer),
                ends: now + left,
                form: Form::default(),
            })
        };
        let presented =
            Presented { chain: chain.iter().map(of).collect(), trust, sent: None, root: None };
        let met = Met {
            host: "quay.example.com".to_owned(),
            ca_file: ca_file.map(Into::into),
            presented: Some(presented),
            ahead: None,
        };
        let lines: Vec<_> = details(&world(), &met).iter().map(|it| format!("{it:?}")).collect();
        lines.join("\n")
    }

    #[test]
    fn who_trusts_a_chain_or_why_nobody_does_is_told_with_each_of_its_certificates() {
        let ca_file = Some("/etc/pki/acme.pem");
        let leaf = ("quay.example.com", "Acme Issuing", 60 * DAY);
        let texts = [
            told(
                &[leaf, ("Acme Issuing", "Acme Root", 900 * DAY)],
                Trust::System(common("Acme Root")),
                None,
            ),
            told(
                &[leaf, ("Acme Issuing", "Acme Root", 2 * DAY)],
                Trust::CaFile(common("Acme Root")),
                ca_file,
            ),
            told(&[leaf], Trust::NotSent(common("Acme Issuing")), ca_file),
            told(
                &[("\u{1b}[31m", "\u{1b}[31m", DAY)],
                Trust::SelfIssued(common("\u{1b}[31m")),
                None,
            ),
            told(&[leaf], Trust::OtherKey(common("Acme Issuing")), ca_file),
            told(&[("", "Acme Root", -3 * DAY)], Trust::Refused, None),
            told(&[("", "", 0), leaf], Trust::Refused, None),
        ];
        insta::assert_snapshot!(texts.join("\n\n"), @r#"
        Detail { mark: None, text: "TLS of quay.example.com: trusted by `Acme Root` of the system's certificates" }
        Detail { mark: None, text: "certificate 1 of 2: `quay.example.com` by `Acme Issuing`, ends in 60 days, the first to end" }
        Detail { mark: None, text: "certificate 2 of 2: `Acme Issuing` by `Acme Root`, ends in 900 days" }

        Detail { mark: None, text: "TLS of quay.example.com: trusted by `Acme Root` of /etc/pki/acme.pem" }
        Detail { mark: None, text: "certificate 1 of 2: `quay.example.com` by `Acme Issuing`, ends in 60 days" }
        Detail { mark: Some(Unknown), text: "certificate 2 of 2: `Acme Issuing` by `Acme Root`, ends in 2 days, the first to end" }

        Detail { mark: Some(Bad), text: "TLS of quay.example.com: the certificate of `Acme Issuing` is missing, neither sent nor trusted here: that of an intermediate CA is the server's to send, that of a root has to be trusted here" }
        Detail { mark: None, text: "certificate 1 of 1: `quay.example.com` by `Acme Issuing`, ends in 60 days" }

        Detail { mark: Some(Bad), text: "TLS of quay.example.com: `\\u{1b}[31m` is its own issuer, and not trusted here" }
        Detail { mark: Some(Unknown), text: "certificate 1 of 1: `\\u{1b}[31m` by `\\u{1b}[31m`, ends in 24 h" }

        Detail { mark: Some(Bad), text: "TLS of quay.example.com: a CA `Acme Issuing` is trusted here, but did not issue this: it has another key" }
        Detail { mark: None, text: "certificate 1 of 1: `quay.example.com` by `Acme Issuing`, ends in 60 days" }

        Detail { mark: Some(Bad), text: "TLS of quay.example.com: its certificates are not accepted" }
        Detail { mark: Some(Bad), text: "certificate 1 of 1: somebody without a name by `Acme Root`, ended 3 days ago" }

        Detail { mark: Some(Bad), text: "TLS of quay.example.com: its certificates are not accepted" }
        Detail { mark: Some(Unknown), text: "certificate 1 of 2: cannot be read" }
        Detail { mark: None, text: "certificate 2 of 2: `quay.example.com` by `Acme Issuing`, ends in 60 days" }
        "#);
    }
}
