//! What a token endpoint is asked by, with what an explanation of its answer names.

use url::Url;

use crate::config::settings::{ClientAuth, Identity, SecretPlace};
use crate::secret::Secret;
use crate::world::World;

/// A grant to ask for a token by, with what an explanation names.
pub(super) struct Grant<'a> {
    pub(super) identity: &'a Identity,
    pub(super) endpoint: &'a Url,
    pub(super) client_id: &'a str,
    pub(super) client_auth: ClientAuth,
    pub(super) client_secret: &'a SecretPlace,
    /// Whether identifier or secret have characters that form-encoding changes.
    pub(super) is_changed_by_encoding: bool,
    pub(super) scopes: &'a [String],
    /// The body, form-encoded.
    pub(super) form: Secret<String>,
    /// The Authorization header.
    pub(super) authorization: Option<Secret<String>>,
}

impl Grant<'_> {
    /// The token endpoint as a message names it, without its query.
    pub(super) fn server(&self, world: &World) -> String {
        let mut url = self.endpoint.clone();
        url.set_query(None);
        format!("the token endpoint `{}`", world.redactor.clean(url.as_str()))
    }
}
