//! Where an issuer's token endpoint is: what its discovery document says, or why it says nothing.

use ring::hmac;
use url::Url;

use super::{Discovered, Seal};
use crate::config::accepts;
use crate::config::settings::{ClientAuth, Identity};
use crate::deadline::Deadline;
use crate::failure::{Failure, StepFailure};
use crate::http::discovery::{DiscoveryFault, document_url, read_document};
use crate::http::{Response, Transport, retry_after};
use crate::moment::Moment;
use crate::secret::Secret;
use crate::world::World;

/// What to do about a reply that is compressed.
pub(super) const UNASKED: &str =
    "let the provider, or what stands before it, compress nothing that was not asked for";

/// A client at its issuer: what its seal is made with.
#[derive(Clone, Copy)]
pub(super) struct SealingClient<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) secret: &'a Secret<String>,
}

impl SealingClient<'_> {
    /// What the issuer said, under the client's seal.
    pub(super) fn sealed(&self, (token_endpoint, client_auth): Way, read: Moment) -> Discovered {
        let issuer = self.issuer.to_owned();
        let unsealed =
            Discovered { issuer, token_endpoint, client_auth, read, seal: Seal::default() };
        let seal = hmac::sign(&self.key(), &self.message(&unsealed));
        Discovered { seal: Seal::try_from(seal.as_ref()).unwrap_or_default(), ..unsealed }
    }

    /// Whether it was this client that kept it, of this issuer.
    pub(super) fn has_sealed(&self, kept: &Discovered) -> bool {
        kept.issuer == self.issuer
            && hmac::verify(&self.key(), &self.message(kept), &kept.seal).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.secret.expose().as_bytes())
    }

    /// The label keeps it apart from what else is made with the secret as key.
    fn message(&self, kept: &Discovered) -> Vec<u8> {
        const LABEL: &str = "quayfed: where a client's secret may be sent";
        let way = (kept.token_endpoint.as_str(), kept.client_auth);
        let parts = (LABEL, self.issuer, way, self.client_id, kept.read);
        serde_json::to_vec(&parts).unwrap_or_default()
    }
}

/// A token endpoint, and how clients authenticate there.
pub(super) type Way = (Url, ClientAuth);

/// Asks the issuer for its token endpoint, and how clients authenticate there, by `deadline`.
pub(super) fn discover(
    world: &World,
    transport: &dyn Transport,
    identity: &Identity,
    issuer: &str,
    deadline: Deadline,
) -> Result<Way, StepFailure> {
    let asked = Asked { world, identity, issuer };
    let document = read_document(world, transport, issuer, &identity.connection, deadline)
        .map_err(|fault| asked.explain(&fault))?;
    let named = document.token_endpoint.as_deref().unwrap_or_default();
    match Url::parse(named).ok().filter(|url| identity.connection.allows(url)) {
        Some(endpoint) => Ok((endpoint, method_of(&document.token_endpoint_auth_methods))),
        None => Err(StepFailure::network(asked.without_endpoint(named))),
    }
}

/// The first method that is listed of those that there are here: Basic, which a document that lists
/// none means (OpenID Connect Discovery 1.0 section 3), then the form.
fn method_of(listed: &[String]) -> ClientAuth {
    let lists = |method: ClientAuth| listed.iter().any(|listed| listed == method.name());
    let is_only_post = lists(ClientAuth::ClientSecretPost) && !lists(ClientAuth::ClientSecretBasic);
    if is_only_post { ClientAuth::ClientSecretPost } else { ClientAuth::ClientSecretBasic }
}

struct Asked<'a> {
    world: &'a World,
    identity: &'a Identity,
    issuer: &'a str,
}

impl Asked<'_> {
    fn explain(&self, fault: &DiscoveryFault) -> StepFailure {
        let (issuer, place) = (self.issuer, &self.identity.place);
        let correct = format!(
            "correct {} (Keycloak: https://HOST/realms/REALM, case counts), or set \
             `token_endpoint`",
            place.key("issuer")
        );
        let (cause, hint) = match fault {
            DiscoveryFault::NotAUrl => {
                let cause = format!("the issuer `{issuer}` is no URL");
                return StepFailure::local(Failure::new(cause, correct));
            }
            DiscoveryFault::NoReply(error) => {
                return error.step_failure(&format!("the issuer `{issuer}`"), place);
            }
            DiscoveryFault::Refused(reply) => return self.of_status(reply, correct),
            DiscoveryFault::NotJson(reply) if reply.is_compressed() => (
                format!("`{}` answered {}", self.document(), reply.instead_of_json()),
                UNASKED.to_owned(),
            ),
            DiscoveryFault::NotJson(_) => {
                (format!("`{}` is no discovery document (not JSON)", self.document()), correct)
            }
            DiscoveryFault::OtherIssuer(None) => {
                (format!("`{}` is no discovery document (no `issuer`)", self.document()), correct)
            }
            DiscoveryFault::OtherIssuer(Some(other)) => {
                let shown = self.world.redactor.clean(other);
                let cause =
                    format!("the discovery document of `{issuer}` names the issuer `{shown}`");
                let hint = self.hint_for_another_issuer(other, &shown).unwrap_or(correct);
                (cause, hint)
            }
        };
        StepFailure::network(Failure::new(cause, hint))
    }

    /// What to do where the document names another issuer, as it stands there and as it is shown.
    fn hint_for_another_issuer(&self, other: &str, shown: &str) -> Option<String> {
        let place = &self.identity.place;
        let is_possible =
            |issuer: &str| other == shown && accepts("issuer", issuer, &self.identity.connection);
        if is_possible(other) {
            return Some(format!(
                "if that is the provider that is meant, set {}: compared byte for byte, a slash at \
                 the end counts",
                place.key_with("issuer", other)
            ));
        }
        let with_tenant = other.replace("{tenantid}", "TENANT-ID");
        if with_tenant != other && is_possible(&with_tenant) {
            return Some(format!(
                "that address is of all tenants: set {}, with the ID of yours",
                place.key_with("issuer", &with_tenant)
            ));
        }
        other.starts_with("http://").then(|| {
            "let the provider name itself by its https URL (Keycloak: `hostname` set to that, or \
             `proxy-headers` where a proxy before it ends TLS)"
                .to_owned()
        })
    }

    fn of_status(&self, reply: &Response, correct: String) -> StepFailure {
        let (document, status) = (self.document(), reply.status);
        let (cause, hint) = match status {
            300..=399 => {
                let host = reply.redirects_to().unwrap_or_default();
                let host = self.world.redactor.clean(&host);
                (
                    format!(
                        "`{document}` answered {status}, a redirect to `{host}`, which is not \
                         followed"
                    ),
                    correct,
                )
            }
            404 => {
                let json = reply.json();
                let said = json.as_ref().and_then(|json| json.get("error")?.as_str());
                let said = said.map(|said| format!(": {}", self.world.redactor.clean(said)));
                let said = said.unwrap_or_default();
                let correct = if self.issuer.contains("/auth/realms/") {
                    format!("since Keycloak 17 there is no `/auth` before `/realms`: {correct}")
                } else {
                    correct
                };
                (format!("there is no discovery document at `{document}` (404{said})"), correct)
            }
            429 | 500..=599 => (
                format!(
                    "the issuer `{}` cannot be used now ({status}{})",
                    self.issuer,
                    retry_after(reply, self.world.clock.wall())
                        .map(|wait| format!(", and asks to wait {} s", wait.as_secs()))
                        .unwrap_or_default()
                ),
                "the provider is down, starting or busy: try again later".to_owned(),
            ),
            _ => (
                format!("`{document}` answered {status} instead of 200"),
                "see what stands before the provider, such as a gateway or a login page".to_owned(),
            ),
        };
        let retry_after = retry_after(reply, self.world.clock.wall());
        StepFailure { retry_after, ..StepFailure::network(Failure::new(cause, hint)) }
    }

    fn without_endpoint(&self, named: &str) -> Failure {
        let document = self.document();
        if named.is_empty() {
            return Failure::new(
                format!("the discovery document `{document}` names no token endpoint"),
                format!("set {}", self.identity.place.key("token_endpoint")),
            );
        }
        Failure::new(
            format!(
                "the discovery document `{document}` names a token endpoint that is not https: `{}`",
                self.world.redactor.clean(named)
            ),
            "let the provider publish https URLs (Keycloak: `hostname`, `proxy-headers`)",
        )
    }

    fn document(&self) -> String {
        document_url(self.issuer).map_or_else(|| self.issuer.to_owned(), String::from)
    }
}
