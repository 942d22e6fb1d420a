//! Why Quay refuses an OIDC token: each of its answers as a cause, with the claim or setting at
//! fault, and what to change, in Quay, at the provider or in the configuration. Where Quay does
//! not say a word, the token that was sent is looked at, and whoever may be at fault is asked.

use std::time::Duration;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::probe::{self, Finding};
use super::{Presented, authority, quay_of};
use crate::config::settings::{Rule, SourceSpec};
use crate::deadline::Deadline;
use crate::failure::{Failure, StepFailure, StepFailureKind};
use crate::http::discovery::{DiscoveryFault, document_url};
use crate::http::{Response, Transport, TransportError, TransportFault, retry_after};
use crate::jwt::{UnverifiedClaims, UnverifiedToken};
use crate::world::World;

/// Whether an answer of Quay's without a word may be looked into by asking Quay again, without a
/// token that can be used, and the issuer for its public documents (rule R39).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Nobody is asked.
    Never,
    /// They are asked, if there is time before this deadline.
    WithinDeadline(Deadline),
}

/// Explains an answer of the exchange other than 200.
pub fn explain(
    world: &World,
    transport: &dyn Transport,
    rule: &Rule,
    presented: Presented<'_>,
    reply: &Response,
    probe: Probe,
) -> StepFailure {
    let case = Case::new(world, rule, presented);
    let words = words_of(reply);
    let failure = match &words {
        Some(words) => case.of_words(reply.status, words),
        None => match reply.status {
            500 => case.of_silence(transport, probe),
            502 | 504 => case.of_gateway(reply, case.quay_works(transport, probe)),
            _ => case.of_status(reply),
        },
    };
    let kind = match words.as_deref() {
        Some(ROBOT_UNKNOWN) => StepFailureKind::RobotUnknown,
        _ => StepFailureKind::Network,
    };
    StepFailure { failure, kind, retry_after: retry_after(reply, world.clock.wall()) }
}

/// Explains an exchange without an answer.
pub fn explain_no_reply(
    world: &World,
    transport: &dyn Transport,
    rule: &Rule,
    presented: Presented<'_>,
    error: &TransportError,
    probe: Probe,
) -> StepFailure {
    let mut failed = error.step_failure(&quay_of(rule), &rule.place);
    let case = Case::new(world, rule, presented);
    let (issuer, key) = (&case.issuer, rule.place.key("exchange_timeout"));
    let is_timeout = error.kind == TransportFault::Timeout;
    let works = match (error.kind, probe) {
        (TransportFault::Broken, _) => case.quay_works(transport, probe),
        // What is asked after a time-out must leave some of the deadline: whether that has passed
        // tells what the time-out says to others.
        (TransportFault::Timeout, Probe::WithinDeadline(deadline))
            if deadline.left(world.clock.boot()) > WORTH_ASKING_AFTER_A_TIMEOUT =>
        {
            case.quay_works(transport, probe)
        }
        (TransportFault::Timeout, _) => None,
        _ => return failed,
    };
    let hint = match (works, is_timeout) {
        (Some(true), false) => format!(
            "Quay answers without a token, so it probably cannot reach the issuer: {}",
            case.how_to_reach_the_issuer()
        ),
        (Some(true), true) => format!(
            "Quay answers at once without a token, so reading the issuer `{issuer}` takes the time; \
             {key} sets how long to wait"
        ),
        (Some(false), _) => format!("without a token it does not answer either: {DOWN}"),
        (None, false) => format!(
            "try again; a Quay without a proxy in front does so where it cannot reach the issuer \
             `{issuer}`"
        ),
        (None, true) => format!(
            "Quay asks the issuer `{issuer}` at every exchange, which may be what takes the time; \
             {key} sets how long to wait"
        ),
    };
    failed.failure = Failure::new(failed.failure.cause(), hint);
    failed
}

/// How Quay will refuse a token, as far as that is certain before it is asked.
pub(super) enum Foretold<'a> {
    /// With these words.
    Words(&'a str),
    /// As it answers without a token.
    Reply(&'a Response),
    /// Without a word, since the issuer is not https.
    InsecureIssuer,
    /// Without a word, since the header demands what Quay does not know.
    CriticalExtensions,
    /// For what was found at the issuer.
    Finding(&'a Finding),
}

/// Explains a refusal to come, in the words in which it would be explained afterwards.
pub(super) fn foretell(
    world: &World,
    rule: &Rule,
    presented: Presented<'_>,
    foretold: &Foretold<'_>,
) -> Failure {
    let case = Case::new(world, rule, presented);
    match foretold {
        Foretold::Words(words) => case.of_words(400, words),
        Foretold::Reply(reply) => case.of_status(reply),
        Foretold::InsecureIssuer => case.of_insecure_issuer(),
        Foretold::CriticalExtensions => case.of_extensions(),
        Foretold::Finding(finding) => case.of_finding(finding, &case.silence()),
    }
}

/// How much of the deadline must be left after a time-out for Quay to be asked again.
const WORTH_ASKING_AFTER_A_TIMEOUT: Duration = Duration::from_secs(4);
/// What to do about a Quay that is down.
const DOWN: &str = "Quay, or what stands before it, is down or starting; try again later, and if it stays so, show \
     this to whoever runs it";

/// What Quay says of a signature, once it has read the issuer's keys.
const SIGNATURE_REFUSED: &str = "Invalid token: Signature verification failed";

/// The one answer that something else follows from (rule R14).
const ROBOT_UNKNOWN: &str = "Could not find robot with specified username";

/// What Quay says in its JSON: refusals of the token are a `message`, of the header an `error`.
fn words_of(reply: &Response) -> Option<String> {
    let json = reply.json()?;
    let words = json.get("message").or_else(|| json.get("error"))?;
    words.as_str().map(str::to_owned)
}

/// A refused token, with the values that messages name.
struct Case<'a> {
    world: &'a World,
    rule: &'a Rule,
    presented: Presented<'a>,
    quay: String,
    issuer: String,
    subject: String,
}

impl<'a> Case<'a> {
    fn new(world: &'a World, rule: &'a Rule, presented: Presented<'a>) -> Self {
        let claims = &presented.unverified.claims;
        let shown = |value: &Option<String>| world.redactor.clean(value.as_deref().unwrap_or(""));
        let (issuer, subject) = (shown(&claims.iss), shown(&claims.sub));
        Self { world, rule, presented, quay: quay_of(rule), issuer, subject }
    }

    const fn token(&self) -> &UnverifiedToken {
        self.presented.unverified
    }

    const fn claims(&self) -> &UnverifiedClaims {
        &self.token().claims
    }

    fn of_words(&self, status: u16, words: &str) -> Failure {
        let (quay, issuer, subject) = (&self.quay, &self.issuer, &self.subject);
        let robot = &self.rule.robot;
        let correct_robot = || format!("correct {}", self.rule.place.key("robot"));
        if let Some(reason) = words.strip_prefix("Invalid token: ") {
            return self.of_invalid_token(reason);
        }
        let (cause, hint) = match words {
            ROBOT_UNKNOWN => (
                format!("{quay} has no robot account `{robot}`"),
                format!(
                    "create it in Quay (`{}`, Robot Accounts), or {}",
                    robot.namespace(),
                    correct_robot()
                ),
            ),
            "Robot does not have federated login configured" => (
                format!("{quay} has no federation for the robot account `{robot}`"),
                format!(
                    "in Quay, at the robot account's federation, add issuer `{issuer}` and \
                     subject `{subject}`"
                ),
            ),
            "Token does not contain issuer" => (
                "the OIDC token has no issuer (`iss`)".to_owned(),
                "it is not an OIDC access or ID token: take another one from the provider"
                    .to_owned(),
            ),
            "Token does not match robot" if self.claims().sub.is_none() => (
                "the OIDC token has no subject (`sub`)".to_owned(),
                "let the provider put it in; in Keycloak the client scope `basic` does".to_owned(),
            ),
            "Token does not match robot" => (
                format!(
                    "the federation of `{robot}` does not list the subject `{subject}` for issuer \
                     `{issuer}`"
                ),
                format!(
                    "in Quay, at the robot account's federation, add this subject: it is compared \
                     byte for byte; wildcards are not supported{}",
                    match self.rule.identity.source {
                        SourceSpec::ClientCredentials(_) => {
                            "; at Keycloak it changes when service accounts are switched off and on"
                        }
                        SourceSpec::File(_) | SourceSpec::Env(_) => "",
                    }
                ),
            ),
            "Invalid robot" => (
                format!("{quay} says that `{robot}` is not a robot account"),
                format!("{}: NAMESPACE+NAME", correct_robot()),
            ),
            _ if words.ends_with("not configured for this robot") => {
                return self.of_unlisted_issuer();
            }
            _ if words.contains("auth header") => (
                format!("{quay} did not get the Authorization header that was sent ({status})"),
                "something on the way removes or changes it: look at gateways and proxies before \
                 Quay"
                    .to_owned(),
            ),
            _ => (
                format!("{quay} refused ({status}): {}", self.world.redactor.clean(words)),
                format!(
                    "this answer is not known here; it was about robot `{robot}`, issuer \
                     `{issuer}`, subject `{subject}`"
                ),
            ),
        };
        Failure::new(cause, hint)
    }

    fn of_unlisted_issuer(&self) -> Failure {
        let (robot, issuer, subject) = (&self.rule.robot, &self.issuer, &self.subject);
        if issuer == "quay" {
            return Failure::new(
                "the token is a robot token of Quay's own, not an OIDC token",
                format!("let {} give the provider's token", self.source()),
            );
        }
        Failure::new(
            format!("the federation of `{robot}` does not list the issuer `{issuer}`"),
            format!(
                "in Quay, at the robot account's federation, add this issuer with subject \
                 `{subject}`: it is compared byte for byte, a trailing slash matters"
            ),
        )
    }

    /// What the verification of the token found, by the texts of `PyJWT`.
    fn of_invalid_token(&self, reason: &str) -> Failure {
        let issuer = &self.issuer;
        let header = &self.token().header;
        let (cause, hint) = match reason {
            "Signature has expired" => return self.of_expiry(),
            "Issued At claim (iat) cannot be in the future." => return self.of_issue_ahead(),
            "Signature verification failed" => (
                format!(
                    "the OIDC token's signature is not by the key `{}` that `{issuer}` publishes",
                    self.shown(header.kid.as_deref())
                ),
                "get a new token; if it stays so, the token was changed on its way, or the \
                 provider signs with another key than it publishes under that name"
                    .to_owned(),
            ),
            "Missing `kid` header" => (
                "the OIDC token does not name the key that it is signed with (`kid`)".to_owned(),
                "Quay needs that: let the provider put `kid` into the header".to_owned(),
            ),
            "The specified alg value is not allowed" => return self.of_algorithm(),
            "Audience doesn't match" | "Token is missing the \"aud\" claim" => {
                return self.of_audience();
            }
            _ if reason.starts_with("Token is missing the") => {
                let claim = self.shown(reason.split('"').nth(1));
                (
                    format!("the OIDC token has no `{claim}`"),
                    "Quay needs it: let the provider put it in".to_owned(),
                )
            }
            _ if reason == "Invalid issuer" || reason.starts_with("Issuer '") => {
                let named = reason.split("configured issuers: ['").nth(1);
                let named = named.and_then(|rest| rest.split('\'').next());
                let named = named.map(|named| format!(" (`{}`)", self.shown(Some(named))));
                (
                    format!(
                        "the discovery document of issuer `{issuer}` names another issuer{}",
                        named.unwrap_or_default()
                    ),
                    "correct the provider's public URL (in Keycloak `hostname`): `iss` and the \
                     document's `issuer` must be equal byte for byte, a trailing slash matters"
                        .to_owned(),
                )
            }
            _ => (
                format!(
                    "{} does not accept the OIDC token: {}",
                    self.quay,
                    self.world.redactor.clean(reason)
                ),
                format!("it was issued by `{issuer}` for subject `{}`", self.subject),
            ),
        };
        Failure::new(cause, hint)
    }

    fn of_expiry(&self) -> Failure {
        let now = self.now();
        let end = self.claims().exp.unwrap_or_default();
        if end > now {
            let cause = format!(
                "Quay says that the OIDC token has expired, which ends at {} ({} from now by this \
                 host's clock, {})",
                instant(end),
                span(end.saturating_sub(now).unsigned_abs()),
                instant(now)
            );
            return Failure::new(cause, "the clocks of Quay and this host differ: set them right");
        }
        let cause = format!(
            "the OIDC token has expired: it ended at {}, {} ago by this host's clock ({})",
            instant(end),
            span(now.saturating_sub(end).unsigned_abs()),
            instant(now)
        );
        let hint = match &self.rule.identity.source {
            SourceSpec::ClientCredentials(_) => {
                "the provider has just issued it: its clock and this host's differ, or its tokens \
                 expire too soon"
                    .to_owned()
            }
            SourceSpec::File(_) => {
                format!("{} is not kept up to date: look at what writes it", self.source())
            }
            SourceSpec::Env(_) => format!(
                "{} was set too long ago: let the job get its token shortly before, or with a \
                 longer life",
                self.source()
            ),
        };
        Failure::new(cause, hint)
    }

    fn of_issue_ahead(&self) -> Failure {
        let now = self.now();
        let issued = self.claims().iat.unwrap_or_default();
        let by_clock = match issued.saturating_sub(now) {
            ahead @ 1.. => format!("{} ahead of this host's clock", span(ahead.unsigned_abs())),
            ago => format!("{} ago by this host's clock", span(ago.unsigned_abs())),
        };
        Failure::new(
            format!(
                "the OIDC token was issued in the future, says Quay: at {}, {by_clock} ({})",
                instant(issued),
                instant(now)
            ),
            "the clocks of the provider and Quay differ by more than 30 s: set them right",
        )
    }

    fn of_algorithm(&self) -> Failure {
        let signed = match self.token().header.alg.as_deref() {
            Some(algorithm) => format!("is signed with `{}`", self.shown(Some(algorithm))),
            None => "does not name its algorithm (`alg`)".to_owned(),
        };
        Failure::new(
            format!("the OIDC token {signed}; Quay accepts only RS256 and RS384"),
            format!(
                "let `{}` sign with RS256 and an RSA key (Keycloak: `Access token signature \
                 algorithm` of the client; SPIRE: `jwt_key_type`)",
                self.issuer
            ),
        )
    }

    fn of_audience(&self) -> Failure {
        let audiences = &self.claims().audiences;
        let cause = if audiences.is_empty() {
            "the OIDC token has no audience (`aud`), and Quay's federation asks for one".to_owned()
        } else {
            let audiences = self.shown(Some(&audiences.join("`, `")));
            format!(
                "the OIDC token is for the audience `{audiences}`, which the federation of `{}` does \
                 not accept",
                self.rule.robot
            )
        };
        let identity = &self.rule.identity;
        let how = match &identity.source {
            SourceSpec::ClientCredentials(_) => format!(
                "let the provider put the federation's audience into `aud`: in Keycloak by an \
                 audience mapper (for lightweight tokens with `Add to lightweight access token`), \
                 elsewhere often by {}",
                identity.place.key("audience")
            ),
            SourceSpec::File(_) | SourceSpec::Env(_) => format!(
                "let the token of {} be issued for the audience in the robot account's federation",
                self.source()
            ),
        };
        let several = "where several entries have this issuer, Quay heeds only the audiences of the \
                       last one that has any";
        Failure::new(cause, format!("{how}; {several}"))
    }

    /// A bare 500: what Quay fails at without noticing.
    fn of_silence(&self, transport: &dyn Transport, probe: Probe) -> Failure {
        let algorithm = self.token().header.alg.as_deref();
        if !matches!(algorithm, Some("RS256" | "RS384")) {
            return self.of_algorithm();
        }
        if matches!(&self.token().header.crit, Some(Value::Array(several)) if !several.is_empty()) {
            return self.of_extensions();
        }
        if self.issuer.starts_with("http://") {
            return self.of_insecure_issuer();
        }
        let Probe::WithinDeadline(deadline) = probe else { return self.of_unknown_silence() };
        let (world, rule) = (self.world, self.rule);
        // With another signature: what Quay says then it says before it looks at the subject.
        let answer = probe::try_damaged(world, transport, rule, self.presented, deadline);
        let words = answer.as_ref().and_then(words_of);
        let mut cause = self.silence();
        match (answer.as_ref().map(|answer| answer.status), words.as_deref()) {
            (Some(400), Some(SIGNATURE_REFUSED)) => return self.of_disabled_robot(),
            (Some(status @ (400 | 401)), Some(words)) => return self.of_words(status, words),
            (Some(500), _) if probe::is_database_away(world, transport, rule, deadline) => {
                return probe::without_database(rule);
            }
            (Some(502), _) => return self.of_unreachable_issuer(),
            (Some(500), _) => cause = self.cannot_read(),
            _ => {}
        }
        let connection = &rule.identity.connection;
        match probe::look(world, transport, connection, self.token(), deadline) {
            Some(finding) => self.of_finding(&finding, &cause),
            None if cause == self.cannot_read() => {
                Failure::new(cause, self.how_to_read_the_issuer())
            }
            None => self.of_unknown_silence(),
        }
    }

    fn silence(&self) -> String {
        format!("{} returned 500 with no explanation", self.quay)
    }

    fn cannot_read(&self) -> String {
        format!(
            "{} cannot read the discovery document or keys of issuer `{}`",
            self.quay, self.issuer
        )
    }

    fn how_to_read_the_issuer(&self) -> String {
        format!(
            "Quay reads `{}` and the keys that it names at every exchange: check that from Quay's \
             host; its log has the cause",
            self.document()
        )
    }

    fn how_to_reach_the_issuer(&self) -> String {
        format!("its host must read `{}` within 5 s and trust its certificate", self.document())
    }

    /// Where the issuer's discovery document is.
    fn document(&self) -> String {
        document_url(&self.issuer).map_or_else(|| self.issuer.clone(), String::from)
    }

    fn of_unknown_silence(&self) -> Failure {
        Failure::new(
            self.silence(),
            format!(
                "it could not read discovery or keys of issuer `{}`, or has no key `{}` from it, or \
                 robot `{}` is disabled, or its database is away: see its log",
                self.issuer,
                self.shown(self.token().header.kid.as_deref()),
                self.rule.robot
            ),
        )
    }

    /// Quay reads the issuer's keys, and fails at what comes behind that.
    fn of_disabled_robot(&self) -> Failure {
        let robot = &self.rule.robot;
        Failure::new(
            format!("{}: the robot account `{robot}` is probably disabled", self.silence()),
            format!(
                "ask an administrator of Quay to enable `{robot}`: the issuer's keys are read, and \
                 what comes next fails; if it is enabled, see Quay's log"
            ),
        )
    }

    fn of_unreachable_issuer(&self) -> Failure {
        Failure::new(
            format!("{} cannot reach the issuer `{}` (502)", self.quay, self.issuer),
            format!("Quay itself works; {}", self.how_to_reach_the_issuer()),
        )
    }

    fn of_extensions(&self) -> Failure {
        let several = self.token().header.crit.as_ref().and_then(Value::as_array);
        let names: Vec<&str> = several.into_iter().flatten().filter_map(Value::as_str).collect();
        Failure::new(
            format!(
                "the OIDC token's header demands extensions that Quay does not know (`crit`: `{}`)",
                self.shown(Some(&names.join("`, `")))
            ),
            format!("let `{}` issue tokens without `crit` in their header", self.issuer),
        )
    }

    /// Whether Quay works, where it may be asked.
    fn quay_works(&self, transport: &dyn Transport, probe: Probe) -> Option<bool> {
        match probe {
            Probe::Never => None,
            Probe::WithinDeadline(deadline) => {
                probe::works(self.world, transport, self.rule, deadline)
            }
        }
    }

    /// What a proxy before Quay says in its place. `works` is whether Quay answers without a token.
    fn of_gateway(&self, reply: &Response, works: Option<bool>) -> Failure {
        match (reply.status, works) {
            (_, None) | (504, Some(true)) => self.of_status(reply),
            (_, Some(true)) => self.of_unreachable_issuer(),
            (status, Some(false)) => Failure::new(
                format!(
                    "{} is down or starting: without a token it fails too ({status})",
                    self.quay
                ),
                "try again later; if it stays so, show this to whoever runs that Quay",
            ),
        }
    }

    fn of_insecure_issuer(&self) -> Failure {
        Failure::new(
            format!("the OIDC token's issuer `{}` is not https, as Quay demands", self.issuer),
            "let the provider issue its tokens under an https URL (in Keycloak `hostname`), and \
             set that in the robot account's federation",
        )
    }

    /// What was found at the issuer; `cause` is the failure where that explains nothing.
    fn of_finding(&self, finding: &Finding, cause: &str) -> Failure {
        const READABLE: &str =
            "Quay reads this at every exchange: the provider must publish it there";
        let issuer = &self.issuer;
        let document = self.document();
        let is_unread = cause == self.cannot_read();
        let shown = |url: &url::Url| self.shown(Some(url.as_str()));
        let (cause, hint) = match finding {
            Finding::Discovery(DiscoveryFault::Refused(reply)) => (
                format!("the issuer's discovery document `{document}` answers {}", reply.status),
                READABLE.to_owned(),
            ),
            Finding::Discovery(DiscoveryFault::NotJson(_) | DiscoveryFault::NotAUrl) => {
                (format!("`{document}` is not a discovery document"), READABLE.to_owned())
            }
            Finding::Discovery(DiscoveryFault::OtherIssuer(_)) => (
                format!("the discovery document of issuer `{issuer}` names another issuer"),
                "correct the provider's public URL: the two must be equal byte for byte".to_owned(),
            ),
            Finding::Discovery(DiscoveryFault::NoReply(error)) => (
                cause.to_owned(),
                format!(
                    "the issuer `{issuer}` cannot be reached from this host either ({}): see that \
                     Quay's host reaches it; Quay's log has the cause",
                    error.text
                ),
            ),
            Finding::NoKeysNamed => (
                format!("`{document}` names no URL of keys (`jwks_uri`), so Quay finds none"),
                READABLE.to_owned(),
            ),
            Finding::KeysInsecure(keys) => (
                cause.to_owned(),
                format!(
                    "the issuer's keys are at `{}`, which Quay reads and this program does not, since \
                     anybody on the way could change them: look at them there",
                    shown(keys)
                ),
            ),
            Finding::KeysSpoilt(keys, what) => (
                format!(
                    "`{}` holds {}, so Quay reads no key there",
                    shown(keys),
                    self.shown(Some(what))
                ),
                "let the provider publish only keys of the types RSA, EC, OKP and oct there, RSA keys \
                 with `n` and `e`"
                    .to_owned(),
            ),
            Finding::KeysNoReply(keys, error) => (
                cause.to_owned(),
                format!(
                    "the issuer's keys `{}` cannot be read from this host either ({}): see \
                     that Quay's host reads them; Quay's log has the cause",
                    shown(keys),
                    error.text
                ),
            ),
            Finding::KeysRefused(keys, status) => (
                format!("the issuer's keys `{}` answer {status}", shown(keys)),
                READABLE.to_owned(),
            ),
            Finding::KeysUnreadable(keys) => {
                (format!("`{}` is not a set of keys (JWKS)", shown(keys)), READABLE.to_owned())
            }
            Finding::KeyMissing(keys) => (
                format!(
                    "the OIDC token is signed with the key `{}`, which is not at `{}`",
                    self.shown(self.token().header.kid.as_deref()),
                    shown(keys)
                ),
                "get a new token, for keys change; if it stays so, the provider signs with a key \
                 that it does not publish"
                    .to_owned(),
            ),
            Finding::KeyNotRsa(kind) => (
                format!(
                    "the OIDC token is signed with a key of type `{}`; Quay accepts only RSA",
                    self.shown(Some(kind))
                ),
                format!("let `{issuer}` sign with RS256 and an RSA key"),
            ),
            Finding::AllWell if is_unread => (
                format!("{cause}, which this host can read"),
                self.how_to_read_the_issuer(),
            ),
            Finding::AllWell => (
                format!("{cause}; token, discovery and keys are in order from here"),
                format!(
                    "ask an administrator of Quay whether robot `{}` is disabled, and whether its \
                     host can read `{document}`; its log has the cause",
                    self.rule.robot
                ),
            ),
        };
        Failure::new(cause, hint)
    }

    /// An answer that is no word of Quay's: a page, or nothing. No page is ever shown.
    fn of_status(&self, reply: &Response) -> Failure {
        let (quay, issuer) = (&self.quay, &self.issuer);
        let api_url_key = self.rule.place.key("api_url");
        let status = reply.status;
        let api_url = authority(&self.rule.api_url);
        let (cause, hint) = match status {
            400 | 431 if status == 431 || has_text(reply, "Too Large") => (
                format!(
                    "{quay} answered {status}: an OIDC token of {} bytes is too long for what \
                     stands before it",
                    self.presented.raw.expose().len()
                ),
                "raise its limit for a header (nginx: `large_client_header_buffers`), or let the \
                 provider put fewer claims into the token"
                    .to_owned(),
            ),
            308 | 404 => (
                format!("{quay} has no token exchange ({status})"),
                format!("it came with Quay 3.13; or {api_url_key} is not Quay's"),
            ),
            301..=399 => (
                format!(
                    "{quay} answered {status}, a redirect{}, which is not followed",
                    self.to_host(reply)
                ),
                format!("set {api_url_key} to Quay itself; a login page may stand before it"),
            ),
            405 => (
                format!("{quay} does not allow the request for a token (405)"),
                format!("something before Quay does not allow GET, or {api_url_key} is not Quay's"),
            ),
            429 => (
                format!("{quay} refuses more requests for now (429)"),
                "try again later; see how many hosts share this address".to_owned(),
            ),
            502 if has_text(reply, "<title>Quay Loading</title>") => (
                format!("{quay} cannot reach the issuer `{issuer}` (502), or is itself starting"),
                format!(
                    "if `https://{api_url}` works otherwise: {}",
                    self.how_to_reach_the_issuer()
                ),
            ),
            504 => (
                format!("{quay} waited too long for the issuer `{issuer}` (504)"),
                "see how fast the issuer's discovery document and keys are, from Quay's host"
                    .to_owned(),
            ),
            500..=599 => (
                format!("{quay} cannot be used now ({status})"),
                "Quay, or what stands before it, is down or starting: try again later".to_owned(),
            ),
            _ => (
                format!("{quay} answered {status} with a page that is not Quay's"),
                format!(
                    "a gateway, firewall or login page answers in its place: check {api_url_key} \
                     and what stands before Quay"
                ),
            ),
        };
        Failure::new(cause, hint)
    }

    fn to_host(&self, reply: &Response) -> String {
        reply
            .redirects_to()
            .map_or_else(String::new, |host| format!(" to `{}`", self.shown(Some(&host))))
    }

    /// The source of the token as a message names it.
    fn source(&self) -> String {
        let identity = &self.rule.identity;
        match &identity.source {
            SourceSpec::ClientCredentials(_) => {
                format!("identity `{}` ({})", identity.name, identity.place)
            }
            SourceSpec::File(file) => format!("the file `{}`", file.path.display()),
            SourceSpec::Env(variable) => format!("the variable {}", variable.variable),
        }
    }

    fn shown(&self, value: Option<&str>) -> String {
        self.world.redactor.clean(value.unwrap_or(""))
    }

    /// The wall clock in seconds since 1970.
    fn now(&self) -> i64 {
        i64::try_from(self.world.clock.wall().as_secs()).unwrap_or(i64::MAX)
    }
}

/// Whether a page has this text, by which it is known; the page itself is never shown.
fn has_text(reply: &Response, text: &str) -> bool {
    String::from_utf8_lossy(&reply.body).contains(text)
}

/// A moment in seconds since 1970 in RFC 3339.
pub fn instant(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds)
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}

/// A span of time, to about two digits: `45 s`, `12 min`, `3 h 5 min`, `2 days`. To the nearest
/// minute, so that an hour that began a second ago is 60 min; below five minutes never more than
/// there is, since that is where somebody counts on it.
pub fn span(seconds: u64) -> String {
    let nearest = seconds.saturating_add(30) / 60;
    match seconds {
        // Clocks that are 90 s apart are not 1 min apart.
        0..120 => format!("{seconds} s"),
        120..300 => format!("{} min", seconds / 60),
        300..3600 => format!("{nearest} min"),
        3600..172_800 if nearest.is_multiple_of(60) => format!("{} h", nearest / 60),
        3600..172_800 => format!("{} h {} min", nearest / 60, nearest % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
