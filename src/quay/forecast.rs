//! What Quay will say of an OIDC token, told before it is asked. Each point that Quay looks at is
//! an accept, a refusal or unknown. A refusal is told only where it is certain: by the token
//! itself, by Quay's own clock, or by what the issuer serves to everybody. That an issuer serves
//! nothing to this host proves nothing about Quay's. And the robot account with its federation
//! cannot be seen without an administrator's token: so a whole forecast is never an accept.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use super::exchange::{check_length, url_of};
use super::probe::{Finding, Published, read_keys, says_no_header};
use super::verdict::{Foretold, foretell};
use super::{Presented, signature};
use crate::config::settings::Rule;
use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::http::discovery::DiscoveryFault;
use crate::http::{Body, Request, Response, Retry500, Transport, TransportError};
use crate::http::{send_by, server_time};
use crate::jwt;
use crate::world::World;

/// By how much Quay lets a token be too old or too new, in seconds.
const LEEWAY: i64 = 30;
/// How far Quay's clock may be from that of the server that wrote its Date, in seconds.
const CLOCK_MARGIN: i64 = 5;
/// The time for a request to Quay without a token.
const TIME_FOR_QUAY: Duration = Duration::from_secs(5);

/// What Quay will say, point by point in the order of its looking.
#[derive(Debug)]
pub struct Forecast {
    /// The points.
    pub points: Vec<Point>,
}

/// One thing that Quay looks at.
#[derive(Debug)]
pub struct Point {
    /// What it is.
    pub subject: Subject,
    /// What Quay will say of it.
    pub verdict: Verdict,
}

/// What Quay looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Whether this Quay has the exchange at all.
    Exchange,
    /// The length of the token, by the limit of Quay's own proxy: what else stands before Quay may
    /// have a lower one.
    Length,
    /// The algorithm that it is signed with (`alg`).
    Algorithm,
    /// The extensions that its reader must know (`crit`).
    Extensions,
    /// That it names its key (`kid`).
    KeyName,
    /// Its issuer (`iss`), a URL with https.
    Issuer,
    /// Its subject (`sub`).
    Subject,
    /// When it ends (`exp`).
    End,
    /// When it was issued (`iat`).
    IssueTime,
    /// The issuer's discovery document and keys.
    Documents,
    /// Its key among the issuer's.
    Key,
    /// Its signature.
    Signature,
    /// That Quay's host can read the issuer's documents.
    Reach,
    /// The robot account and its federation: issuer, subject, audience.
    Federation,
}

impl Subject {
    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exchange => "exchange",
            Self::Length => "length",
            Self::Algorithm => "algorithm",
            Self::Extensions => "extensions",
            Self::KeyName => "key-name",
            Self::Issuer => "issuer",
            Self::Subject => "subject",
            Self::End => "end",
            Self::IssueTime => "issue-time",
            Self::Documents => "documents",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Reach => "reach",
            Self::Federation => "federation",
        }
    }

    /// What is in order where Quay will not refuse for it.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Exchange => "Quay's exchange",
            Self::Length => "length",
            Self::Algorithm => "algorithm",
            Self::Extensions => "no `crit`",
            Self::KeyName => "`kid`",
            Self::Issuer => "https issuer",
            Self::Subject => "subject",
            Self::End => "end",
            Self::IssueTime => "issue time",
            Self::Documents => "discovery and keys from here",
            Self::Key => "RSA key",
            Self::Signature => "signature",
            Self::Reach => "discovery and keys from Quay",
            Self::Federation => "federation",
        }
    }
}

/// What Quay will say of one point, or of all.
#[derive(Debug)]
pub enum Verdict {
    /// It will not refuse for that.
    Accept,
    /// It will refuse.
    Refuse(Failure),
    /// It cannot be known from here.
    Unknown(Unknown),
}

impl Verdict {
    /// Its name in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Refuse(_) => "refuse",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// Why something cannot be known from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// Robot account and federation are an administrator's to see.
    Federation,
    /// Quay's network and trust are not this host's.
    Reach,
    /// Quay gave no answer, for this reason.
    Unreachable(String),
    /// Without a token Quay answers with a status that says nothing about one.
    Answer(u16),
    /// Quay's clock is not known.
    Clock,
    /// The time is too close to the end of what Quay allows.
    Edge,
    /// A value of a form that Quay may read or not.
    Form,
    /// Discovery or keys cannot be read from here, for this reason.
    Documents(String),
    /// The keys are at a URL with http, which Quay reads and this program does not.
    InsecureKeys(String),
    /// The discovery document names the issuer with another slash at its end.
    Slash,
    /// The discovery document does not name its issuer.
    NamelessDocument,
    /// The key is published twice, or not for signatures.
    OddKey,
    /// This program cannot check the signature.
    Signature,
    /// Something else has to be known first.
    Behind,
}

impl Unknown {
    /// Its name in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Federation => "federation",
            Self::Reach => "reach",
            Self::Unreachable(_) => "unreachable",
            Self::Answer(_) => "answer",
            Self::Clock => "clock",
            Self::Edge => "edge",
            Self::Form => "form",
            Self::Documents(_) => "documents",
            Self::InsecureKeys(_) => "insecure-keys",
            Self::Slash => "slash",
            Self::NamelessDocument => "nameless-document",
            Self::OddKey => "odd-key",
            Self::Signature => "signature",
            Self::Behind => "behind",
        }
    }
}

impl fmt::Display for Unknown {
    /// Why, and what would tell.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Federation => formatter.write_str(
                "whether the robot account's federation lists issuer, subject and audience: only \
                 the exchange can tell",
            ),
            Self::Reach => formatter.write_str(
                "whether Quay's host reads discovery and keys as well, and trusts their \
                 certificate: only the exchange can tell",
            ),
            Self::Unreachable(text) => {
                write!(formatter, "what Quay says, which cannot be asked from here: {text}")
            }
            Self::Answer(status) => write!(
                formatter,
                "whether Quay is in order: it answers {status} where nothing is presented; only \
                 the exchange can tell"
            ),
            Self::Clock => formatter
                .write_str("whether its times are right by Quay's clock: only the exchange can tell"),
            Self::Edge => formatter.write_str(
                "whether its times are right by Quay's clock, within a few seconds: only the \
                 exchange can tell",
            ),
            Self::Form => {
                formatter.write_str("whether Quay reads a value of this form: only the exchange can tell")
            }
            Self::Documents(cause) => write!(
                formatter,
                "whether Quay's host finds it so too, in which case it fails: from here {cause}"
            ),
            Self::InsecureKeys(url) => write!(
                formatter,
                "whether the keys are right: Quay reads them at `{url}`, this program only by https; \
                 only the exchange can tell"
            ),
            Self::Slash => formatter.write_str(
                "whether this Quay forgives that the discovery document names the issuer with \
                 another slash at its end (since 3.18 it does): only the exchange can tell",
            ),
            Self::NamelessDocument => formatter.write_str(
                "whether Quay takes a discovery document without `issuer`: only the exchange can tell",
            ),
            Self::OddKey => formatter.write_str(
                "which key Quay takes: the token's is published twice, or not for signatures; only \
                 the exchange can tell",
            ),
            Self::Signature => formatter.write_str(
                "whether the signature is good: this program cannot check it with this key",
            ),
            Self::Behind => formatter.write_str("what lies behind that"),
        }
    }
}

/// What was asked to make a forecast: Quay without a token, and the issuer's public documents.
#[derive(Debug)]
pub struct Grounds {
    endpoint: Result<Response, TransportError>,
    /// By how much Quay's clock is ahead of this host's, in seconds.
    pub quay_ahead: Option<i64>,
    documents: Option<Result<Published, Finding>>,
}

impl Forecast {
    /// What Quay will say as a whole: a refusal of any point is one; what is unknown stays unknown.
    pub fn verdict(&self) -> &Verdict {
        let first = |wanted: fn(&Verdict) -> bool| {
            self.points.iter().map(|point| &point.verdict).find(|verdict| wanted(verdict))
        };
        first(|verdict| matches!(verdict, Verdict::Refuse(_)))
            .or_else(|| first(|verdict| matches!(verdict, Verdict::Unknown(_))))
            .unwrap_or(&Verdict::Accept)
    }

    /// Whether nothing is unknown but what can never be known from here.
    pub fn is_clear(&self) -> bool {
        self.points.iter().all(|point| {
            matches!(
                point.verdict,
                Verdict::Accept | Verdict::Unknown(Unknown::Federation | Unknown::Reach)
            )
        })
    }

    /// Makes the forecast for a token.
    pub fn of(world: &World, rule: &Rule, presented: Presented<'_>, grounds: &Grounds) -> Self {
        let maker = Maker { world, rule, presented, grounds };
        let mut points = vec![
            Point { subject: Subject::Exchange, verdict: maker.of_exchange() },
            Point { subject: Subject::Length, verdict: maker.of_length() },
            Point { subject: Subject::Algorithm, verdict: maker.of_algorithm() },
            Point { subject: Subject::Extensions, verdict: maker.of_extensions() },
            Point { subject: Subject::KeyName, verdict: maker.of_key_name() },
            Point { subject: Subject::Issuer, verdict: maker.of_issuer() },
            Point { subject: Subject::Subject, verdict: maker.of_subject() },
            Point { subject: Subject::End, verdict: maker.of_end() },
            Point { subject: Subject::IssueTime, verdict: maker.of_issue_time() },
        ];
        points.extend(maker.of_documents());
        points.push(Point { subject: Subject::Reach, verdict: Verdict::Unknown(Unknown::Reach) });
        let federation = Verdict::Unknown(Unknown::Federation);
        points.push(Point { subject: Subject::Federation, verdict: federation });
        Self { points }
    }
}

/// Asks what a forecast is made from, by `deadline`. The token is not sent: Quay is asked for the
/// exchange without one, the issuer for its public documents.
pub fn gather(
    world: &World,
    transport: &dyn Transport,
    rule: &Rule,
    presented: Presented<'_>,
    deadline: Deadline,
) -> Grounds {
    let request = Request {
        url: &url_of(rule),
        body: Body::None,
        authorization: None,
        connection: &rule.connection,
        timeout: Duration::ZERO,
    };
    let by = deadline.min(Deadline::after(world.clock.boot(), TIME_FOR_QUAY));
    let endpoint = send_by(world, transport, request, by, Retry500::No);
    let quay_ahead = endpoint.as_ref().ok().and_then(|reply| ahead(world, reply));
    let issuer = presented.unverified.claims.iss.as_deref();
    let documents = issuer.filter(|issuer| issuer.starts_with("https://")).and_then(|issuer| {
        let connection = &rule.identity.connection;
        let read = || read_keys(world, transport, connection, issuer, deadline);
        match read()? {
            // A key that has just come: the issuer is given a second chance.
            Ok(published) if keys_of(&published, presented).is_empty() => read(),
            first => Some(first),
        }
    });
    Grounds { endpoint, quay_ahead, documents }
}

/// By how much the clock of a server is ahead of this host's, in seconds.
pub fn ahead(world: &World, reply: &Response) -> Option<i64> {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).ok();
    Some(seconds(server_time(reply)?)? - seconds(world.clock.wall())?)
}

fn keys_of<'a>(published: &'a Published, presented: Presented<'_>) -> Vec<&'a Value> {
    let kid = presented.unverified.header.kid.as_deref();
    let named = |key: &&Value| key.get("kid").and_then(Value::as_str) == kid;
    published.keys.iter().filter(named).collect()
}

struct Maker<'a> {
    world: &'a World,
    rule: &'a Rule,
    presented: Presented<'a>,
    grounds: &'a Grounds,
}

impl Maker<'_> {
    fn refuse(&self, foretold: &Foretold<'_>) -> Verdict {
        Verdict::Refuse(foretell(self.world, self.rule, self.presented, foretold))
    }

    fn refuse_as(&self, words: &str) -> Verdict {
        self.refuse(&Foretold::Words(words))
    }

    /// Quay refuses a request without a token before it looks at anything else.
    fn of_exchange(&self) -> Verdict {
        match &self.grounds.endpoint {
            Err(error) => Verdict::Unknown(Unknown::Unreachable(error.text.clone())),
            Ok(reply) if says_no_header(reply) => Verdict::Accept,
            Ok(reply) if matches!(reply.status, 308 | 404) => self.refuse(&Foretold::Reply(reply)),
            Ok(reply) => Verdict::Unknown(Unknown::Answer(reply.status)),
        }
    }

    fn of_length(&self) -> Verdict {
        check_length(self.rule, self.presented).map_or_else(Verdict::Refuse, |()| Verdict::Accept)
    }

    fn of_algorithm(&self) -> Verdict {
        match self.presented.unverified.header.alg.as_deref() {
            Some("RS256" | "RS384") => Verdict::Accept,
            _ => self.refuse_as("Invalid token: The specified alg value is not allowed"),
        }
    }

    fn of_extensions(&self) -> Verdict {
        match &self.presented.unverified.header.crit {
            None => Verdict::Accept,
            Some(Value::Array(several)) if !several.is_empty() => {
                self.refuse(&Foretold::CriticalExtensions)
            }
            Some(_) => Verdict::Unknown(Unknown::Form),
        }
    }

    fn of_key_name(&self) -> Verdict {
        match self.presented.unverified.header.kid.as_deref() {
            Some("") => Verdict::Unknown(Unknown::Form),
            Some(_) => Verdict::Accept,
            None => self.refuse_as("Invalid token: Missing `kid` header"),
        }
    }

    fn of_issuer(&self) -> Verdict {
        match self.presented.unverified.claims.iss.as_deref() {
            None | Some("") => self.refuse_as("Token does not contain issuer"),
            Some("quay") => self.refuse_as("issuer quay not configured for this robot"),
            Some(issuer) if issuer.starts_with("https://") => Verdict::Accept,
            Some(issuer) if issuer.to_ascii_lowercase().starts_with("https://") => {
                Verdict::Unknown(Unknown::Form)
            }
            Some(_) => self.refuse(&Foretold::InsecureIssuer),
        }
    }

    fn of_subject(&self) -> Verdict {
        match self.presented.unverified.claims.sub.as_deref() {
            None | Some("") => self.refuse_as("Token does not match robot"),
            Some(_) => Verdict::Accept,
        }
    }

    fn of_end(&self) -> Verdict {
        let end = match self.time("exp", self.presented.unverified.claims.exp) {
            Ok(end) => end,
            Err(verdict) => return verdict,
        };
        let Some((earliest, latest)) = self.when_quay_looks() else {
            return Verdict::Unknown(Unknown::Clock);
        };
        let last = end.saturating_add(LEEWAY);
        if last <= earliest {
            self.refuse_as("Invalid token: Signature has expired")
        } else if last > latest {
            Verdict::Accept
        } else {
            Verdict::Unknown(Unknown::Edge)
        }
    }

    fn of_issue_time(&self) -> Verdict {
        let issued = match self.time("iat", self.presented.unverified.claims.iat) {
            Ok(issued) => issued,
            Err(verdict) => return verdict,
        };
        let Some((earliest, latest)) = self.when_quay_looks() else {
            return Verdict::Unknown(Unknown::Clock);
        };
        let first = issued.saturating_sub(LEEWAY);
        if first > latest {
            self.refuse_as("Invalid token: Issued At claim (iat) cannot be in the future.")
        } else if first <= earliest {
            Verdict::Accept
        } else {
            Verdict::Unknown(Unknown::Edge)
        }
    }

    /// A claim that must be there: its time, or what its absence means.
    fn time(&self, name: &str, time: Option<i64>) -> Result<i64, Verdict> {
        match (time, jwt::claim(self.presented.raw.expose(), name)) {
            (Some(time), _) => Ok(time),
            (None, Some(_)) => Err(Verdict::Unknown(Unknown::Form)),
            (None, None) => {
                let words = format!("Invalid token: Token is missing the \"{name}\" claim");
                Err(self.refuse_as(&words))
            }
        }
    }

    /// The earliest and the latest moment, by Quay's clock, at which it may look at the times.
    fn when_quay_looks(&self) -> Option<(i64, i64)> {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let now = seconds(self.world.clock.wall()).saturating_add(self.grounds.quay_ahead?);
        let exchange = seconds(self.rule.exchange_timeout);
        Some((now - CLOCK_MARGIN, now.saturating_add(exchange).saturating_add(CLOCK_MARGIN)))
    }

    fn of_documents(&self) -> Vec<Point> {
        let point = |subject, verdict| Point { subject, verdict };
        let behind = |subject| point(subject, Verdict::Unknown(Unknown::Behind));
        let published = match &self.grounds.documents {
            Some(Ok(published)) => published,
            Some(Err(finding)) => {
                let documents = point(Subject::Documents, self.of_finding(finding));
                return vec![documents, behind(Subject::Key), behind(Subject::Signature)];
            }
            None => {
                return [Subject::Documents, Subject::Key, Subject::Signature].map(behind).into();
            }
        };
        let key = self.of_key(published);
        let signature = match key {
            Verdict::Accept => self.of_signature(published),
            _ => Verdict::Unknown(Unknown::Behind),
        };
        vec![
            point(Subject::Documents, Verdict::Accept),
            point(Subject::Key, key),
            point(Subject::Signature, signature),
        ]
    }

    /// A document of another issuer is served to everybody. Nearly nothing else is: a firewall, a gateway
    /// or an outage may stand between the issuer and this host, and not before Quay's.
    fn of_finding(&self, finding: &Finding) -> Verdict {
        let issuer = self.presented.unverified.claims.iss.as_deref().unwrap_or_default();
        match finding {
            Finding::Discovery(DiscoveryFault::OtherIssuer(None)) => {
                Verdict::Unknown(Unknown::NamelessDocument)
            }
            Finding::Discovery(DiscoveryFault::OtherIssuer(Some(named)))
                if named.trim_end_matches('/') == issuer.trim_end_matches('/') =>
            {
                Verdict::Unknown(Unknown::Slash)
            }
            Finding::Discovery(DiscoveryFault::OtherIssuer(Some(named))) => self.refuse_as(
                &format!("Invalid token: Issuer '{issuer}' not in configured issuers: ['{named}']"),
            ),
            Finding::Discovery(DiscoveryFault::NoReply(error)) => Verdict::Unknown(
                Unknown::Documents(format!("the issuer cannot be reached: {}", error.text)),
            ),
            Finding::KeysNoReply(_, error) => Verdict::Unknown(Unknown::Documents(format!(
                "the issuer's keys cannot be read: {}",
                error.text
            ))),
            Finding::KeysInsecure(url) => {
                Verdict::Unknown(Unknown::InsecureKeys(self.world.redactor.clean(url.as_str())))
            }
            // One key that Quay cannot read is served to everybody too.
            spoilt @ Finding::KeysSpoilt(..) => self.refuse(&Foretold::Finding(spoilt)),
            other => {
                let foretold = Foretold::Finding(other);
                let failure = foretell(self.world, self.rule, self.presented, &foretold);
                Verdict::Unknown(Unknown::Documents(failure.cause().to_owned()))
            }
        }
    }

    fn of_key(&self, published: &Published) -> Verdict {
        let keys = keys_of(published, self.presented);
        let [key] = keys[..] else {
            return match keys[..] {
                [] if self.presented.unverified.header.kid.is_some() => {
                    self.refuse(&Foretold::Finding(&Finding::KeyMissing(published.at.clone())))
                }
                [] => Verdict::Unknown(Unknown::Behind),
                _ => Verdict::Unknown(Unknown::OddKey),
            };
        };
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        match (text("kty"), key.get("use").is_none() || text("use") == Some("sig")) {
            (Some("RSA"), true) => Verdict::Accept,
            (Some("RSA") | None, _) => Verdict::Unknown(Unknown::OddKey),
            (Some(kind), _) => {
                self.refuse(&Foretold::Finding(&Finding::KeyNotRsa(kind.to_owned())))
            }
        }
    }

    fn of_signature(&self, published: &Published) -> Verdict {
        let algorithm = self.presented.unverified.header.alg.as_deref();
        let Some(algorithm @ ("RS256" | "RS384")) = algorithm else {
            return Verdict::Unknown(Unknown::Behind);
        };
        let token = self.presented.raw.expose();
        let key = keys_of(published, self.presented).first().copied();
        match key.and_then(|key| signature::holds(token, algorithm, key)) {
            Some(true) => Verdict::Accept,
            Some(false) => self.refuse_as("Invalid token: Signature verification failed"),
            None => Verdict::Unknown(Unknown::Signature),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::TransportFault;
    use crate::http::testing::{NOW, Script, fault, reply, world};
    use crate::quay::testing::{ISSUER, good_claims, good_header, jwt, rule};
    use crate::secret::Secret;

    const KEYS: &str = "https://sso.example.com/keys";

    fn json_reply(body: &Value) -> Response {
        reply(200, &body.to_string())
    }

    /// Quay's answer to a request without a token, its clock some seconds ahead.
    fn quay(ahead: i64) -> Response {
        let mut answer = reply(401, r#"{"error":"No auth header"}"#);
        let now = i64::try_from(NOW).expect("a time") + ahead;
        let date = time::OffsetDateTime::from_unix_timestamp(now).expect("a time");
        let format = time::macros::format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
        );
        answer.date = Some(date.format(&format).expect("a date"));
        answer
    }

    fn forecast(
        header: &Value,
        claims: &Value,
        replies: Vec<Result<Response, TransportError>>,
    ) -> Vec<(&'static str, String)> {
        let world = world();
        let raw = Secret::new(jwt(header, claims));
        let unverified = jwt::peek(raw.expose()).expect("a JWT");
        let presented = Presented { raw: &raw, unverified: &unverified };
        let script = Script::of(replies);
        let deadline = Deadline::after(world.clock.boot(), Duration::from_secs(20));
        let grounds = gather(&world, &script, &rule(), presented, deadline);
        assert!(script.asked().iter().all(|asked| asked.authorization.is_none()));
        let forecast = Forecast::of(&world, &rule(), presented, &grounds);
        let shown = |point: &Point| match &point.verdict {
            Verdict::Accept => "accept".to_owned(),
            Verdict::Refuse(failure) => format!("refuse: {}", failure.cause()),
            Verdict::Unknown(unknown) => format!("unknown: {}", unknown.name()),
        };
        forecast.points.iter().map(|point| (point.subject.name(), shown(point))).collect()
    }

    fn of(points: &[(&'static str, String)], subject: &str) -> String {
        points.iter().find(|(name, _)| *name == subject).expect("a point").1.clone()
    }

    fn published(keys: &Value) -> Vec<Result<Response, TransportError>> {
        vec![
            Ok(quay(0)),
            Ok(json_reply(&json!({"issuer": ISSUER, "jwks_uri": KEYS}))),
            Ok(json_reply(&json!({"keys": keys}))),
        ]
    }

    /// An RSA key that this program cannot check a signature with, and Quay could.
    fn rsa(kid: &str) -> Value {
        json!({"kid": kid, "kty": "RSA", "n": "AQAB", "e": "AQAB"})
    }

    #[test]
    fn r39_one_key_that_quay_cannot_read_spoils_the_others_and_odd_ones_do_not() {
        for (key, wanted) in [
            (json!({"kty": "AKP", "pub": "AA"}), "refuse"),
            (json!({"kty": "rsa", "n": "AQAB", "e": "AQAB"}), "refuse"),
            (json!({"kid": "other"}), "refuse"),
            (json!({"kty": "RSA", "e": "AQAB"}), "refuse"),
            (json!({"kty": "RSA", "n": "AQAB"}), "refuse"),
            (json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"}), "accept"),
            (json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}), "accept"),
            (json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA"}), "accept"),
            (json!({"kty": "oct", "k": "AA"}), "accept"),
        ] {
            for keys in [json!([rsa("key-1"), key]), json!([key, rsa("key-1")])] {
                let points = forecast(&good_header(), &good_claims(), published(&keys));
                assert!(of(&points, "documents").starts_with(wanted), "{keys} {points:?}");
            }
        }
    }

    #[test]
    fn r39_keys_at_http_are_not_read_from_here_and_not_held_against_the_issuer() {
        let document = json!({"issuer": ISSUER, "jwks_uri": "http://sso.example.com/keys"});
        let replies = vec![Ok(quay(0)), Ok(json_reply(&document))];
        let points = forecast(&good_header(), &good_claims(), replies);
        assert_eq!(of(&points, "documents"), "unknown: insecure-keys");
        assert_eq!(of(&points, "key"), "unknown: behind");
    }

    #[test]
    fn r39_an_extension_that_must_be_known_is_not() {
        for (critical, wanted) in [
            (
                json!(["exp2", "b64"]),
                "refuse: the OIDC token's header demands extensions that Quay does not know (`crit`: \
                 `exp2`, `b64`)",
            ),
            (json!([]), "unknown: form"),
            (json!("exp2"), "unknown: form"),
            (Value::Null, "accept"),
        ] {
            let mut header = good_header();
            header["crit"] = critical;
            let points = forecast(&header, &good_claims(), published(&json!([rsa("key-1")])));
            assert_eq!(of(&points, "extensions"), wanted);
        }
    }

    #[test]
    fn times_are_judged_by_quays_clock_and_not_at_all_near_the_edge() {
        let now = i64::try_from(NOW).expect("a time");
        for (ahead, exp, iat, end, issue) in [
            (0, 300, -10, "accept", "accept"),
            (0, 0, -10, "accept", "accept"), /* 30 s of leeway are more than an exchange takes */
            (0, -10, -300, "unknown: edge", "accept"),
            (0, -34, -300, "unknown: edge", "accept"),
            (0, -36, -300, "refuse", "accept"),
            (400, 300, -10, "refuse", "accept"),
            (-400, 300, -10, "accept", "refuse"),
            (0, 300, 25, "accept", "accept"),
            (0, 300, 40, "accept", "unknown: edge"),
            (0, 300, 51, "accept", "refuse"),
        ] {
            let mut claims = good_claims();
            claims["exp"] = json!(now + exp);
            claims["iat"] = json!(now + iat);
            let replies =
                vec![Ok(quay(ahead)), fault(TransportFault::Name), fault(TransportFault::Name)];
            let points = forecast(&good_header(), &claims, replies);
            let case = (ahead, exp, iat);
            assert!(of(&points, "end").starts_with(end), "{case:?} {points:?}");
            assert!(of(&points, "issue-time").starts_with(issue), "{case:?} {points:?}");
        }
    }

    #[test]
    fn without_quays_date_nothing_is_said_of_times() {
        let replies = vec![Ok(reply(502, "")), Ok(reply(502, "")), { Ok(reply(404, "")) }];
        let points = forecast(&good_header(), &good_claims(), replies);
        assert_eq!(of(&points, "end"), "unknown: clock");
        assert_eq!(of(&points, "exchange"), "unknown: answer");
        assert_eq!(of(&points, "documents"), "unknown: documents");
    }

    #[test]
    fn a_time_that_is_no_number_is_not_judged_and_one_that_is_missing_is_refused() {
        let mut claims = good_claims();
        claims["exp"] = json!("1795500300");
        claims["iat"] = Value::Null;
        let points = forecast(&good_header(), &claims, published(&json!([rsa("key-1")])));
        assert_eq!(of(&points, "end"), "unknown: form");
        assert_eq!(of(&points, "issue-time"), "refuse: the OIDC token has no `iat`");
        claims["iss"] = json!("HTTPS://sso.example.com");
        let header = json!({"alg": "RS256", "kid": ""});
        let points = forecast(&header, &claims, vec![Ok(quay(0))]);
        assert_eq!(of(&points, "issuer"), "unknown: form");
        assert_eq!(of(&points, "key-name"), "unknown: form");
    }

    #[test]
    fn what_the_issuer_serves_decides_and_what_it_serves_not_does_not() {
        let with_document = |document: Value| vec![Ok(quay(0)), Ok(json_reply(&document))];
        let slash = format!("{ISSUER}/");
        let with = |name: &str, value: Value| {
            let mut key = rsa("key-1");
            key[name] = value;
            key
        };
        let modulus = "_".repeat(341) + "w";
        for (replies, subject, wanted) in [
            (with_document(json!({"issuer": "https://o"})), "documents", "refuse"),
            (with_document(json!({"issuer": slash})), "documents", "unknown: slash"),
            (with_document(json!({})), "documents", "unknown: nameless-document"),
            (with_document(json!({"issuer": ISSUER})), "documents", "unknown: documents"),
            (vec![Ok(quay(0)), Ok(reply(403, ""))], "documents", "unknown: documents"),
            (vec![Ok(quay(0)), Ok(reply(200, "<html>"))], "documents", "unknown: documents"),
            (published(&json!([{"kid": "key-1", "kty": "EC"}])), "key", "refuse"),
            (published(&json!([with("use", json!("enc"))])), "key", "unknown: odd-key"),
            (published(&json!([rsa("key-1"), rsa("key-1")])), "key", "unknown: odd-key"),
            (published(&json!([rsa("key-1")])), "signature", "unknown: signature"),
            (
                published(&json!([{"kid": "key-1", "kty": "RSA", "n": modulus, "e": "AQAB"}])),
                "signature",
                "refuse",
            ),
        ] {
            let points = forecast(&good_header(), &good_claims(), replies);
            assert!(of(&points, subject).starts_with(wanted), "{wanted} {points:?}");
        }
    }

    #[test]
    fn a_key_that_is_missing_is_looked_for_twice() {
        let others = || published(&json!([rsa("key-2")])).into_iter();
        let found = published(&json!([rsa("key-1")])).into_iter();
        let points =
            forecast(&good_header(), &good_claims(), others().chain(found.skip(1)).collect());
        assert_eq!(of(&points, "key"), "accept");
        let points =
            forecast(&good_header(), &good_claims(), others().chain(others().skip(1)).collect());
        assert!(of(&points, "key").starts_with("refuse"), "{points:?}");
    }

    #[test]
    fn a_whole_forecast_is_never_an_accept() {
        let points = forecast(&good_header(), &good_claims(), published(&json!([rsa("key-1")])));
        assert_eq!(of(&points, "federation"), "unknown: federation");
        assert_eq!(of(&points, "reach"), "unknown: reach");
    }
}
