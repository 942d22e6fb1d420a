//! An issuer's public document (OpenID Connect Discovery 1.0 section 4), for whoever needs its
//! token endpoint and whoever looks into what Quay makes of its keys.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::{Body, Request, Response, Retry500, Transport, TransportError, send_by};
use crate::config::settings::Connection;
use crate::deadline::Deadline;
use crate::world::World;

/// What of a discovery document is of use, as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The token endpoint.
    pub token_endpoint: Option<String>,
    /// How clients may authenticate there; empty where it says nothing.
    pub token_endpoint_auth_methods: Vec<String>,
    /// Where the issuer's keys are.
    pub jwks_uri: Option<String>,
}

/// Why there is no discovery document to go by.
#[derive(Debug)]
pub enum DiscoveryFault {
    /// The issuer is no URL.
    NotAUrl,
    /// There was no reply.
    NoReply(TransportError),
    /// The reply is not 200.
    Refused(Box<Response>),
    /// The reply is not a JSON object.
    NotJson(Box<Response>),
    /// The document is of another issuer, or of none.
    OtherIssuer(Option<String>),
}

/// Where the document of an issuer is; one slash at the issuer's end is not doubled.
pub fn document_url(issuer: &str) -> Option<Url> {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    Url::parse(&format!("{issuer}/.well-known/openid-configuration")).ok()
}

/// Reads the document of an issuer, by `deadline`. It must name that issuer byte for byte
/// (section 4.3): otherwise anybody could point a client at another's token endpoint.
pub fn read_document(
    world: &World,
    transport: &dyn Transport,
    issuer: &str,
    connection: &Connection,
    deadline: Deadline,
) -> Result<Document, DiscoveryFault> {
    let url = document_url(issuer).ok_or(DiscoveryFault::NotAUrl)?;
    let request = Request {
        url: &url,
        body: Body::None,
        authorization: None,
        connection,
        timeout: Duration::ZERO,
    };
    let reply = send_by(world, transport, request, deadline, Retry500::No)
        .map_err(DiscoveryFault::NoReply)?;
    if reply.status != 200 {
        return Err(DiscoveryFault::Refused(Box::new(reply)));
    }
    let Some(document) = reply.json() else {
        return Err(DiscoveryFault::NotJson(Box::new(reply)));
    };
    let text = |name: &str| document.get(name)?.as_str().map(str::to_owned);
    match text("issuer") {
        Some(named) if named == issuer => {
            let methods = document.get("token_endpoint_auth_methods_supported");
            let methods = methods.and_then(Value::as_array).into_iter().flatten();
            Ok(Document {
                token_endpoint: text("token_endpoint"),
                token_endpoint_auth_methods: methods
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
                jwks_uri: text("jwks_uri"),
            })
        }
        other => Err(DiscoveryFault::OtherIssuer(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slash_at_an_issuers_end_is_not_doubled() {
        for issuer in ["https://i.example.com/realms/r", "https://i.example.com/realms/r/"] {
            assert_eq!(
                document_url(issuer).map(String::from).as_deref(),
                Some("https://i.example.com/realms/r/.well-known/openid-configuration")
            );
        }
    }
}
