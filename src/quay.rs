//! Quay: the exchange of an OIDC token for a robot token, and what lies behind its refusals.

pub mod exchange;
pub mod forecast;
mod probe;
mod signature;
#[cfg(test)]
mod testing;
pub mod v2_auth;
pub mod verdict;

use url::Url;

use crate::config::settings::Rule;
use crate::jwt::UnverifiedToken;
use crate::secret::Secret;

/// An OIDC token as it is presented to Quay: a JWT of three segments without white space inside
/// (rule R19).
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// The token itself.
    pub raw: &'a Secret<String>,
    /// What it says of itself.
    pub unverified: &'a UnverifiedToken,
}

/// The Quay of a rule, as a message names it.
fn quay_of(rule: &Rule) -> String {
    format!("Quay at `{}`", authority(&rule.api_url))
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
