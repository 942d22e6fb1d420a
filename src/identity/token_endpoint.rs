//! A request to a token endpoint (RFC 6749 section 3.2), whatever the grant: the token in its
//! reply, or an explanation of why there is none.

use std::time::Duration;

use super::IdToken;
use super::grant::Grant;
use super::lookalike;
use super::refusal::{explain, no_access_token, no_jwt, no_token};
use crate::deadline::Deadline;
use crate::failure::StepFailure;
use crate::http::{Body, Request, Retry500, Transport, send_by};
use crate::secret::Secret;
use crate::world::World;

/// Asks for an access token, by `deadline`.
pub(super) fn request_token(
    world: &World,
    transport: &dyn Transport,
    mut grant: Grant<'_>,
    deadline: Deadline,
) -> Result<IdToken, StepFailure> {
    let request = Request {
        url: grant.endpoint,
        body: Body::Form(grant.form.clone()),
        authorization: grant.authorization.take(),
        connection: &grant.identity.connection,
        timeout: Duration::ZERO,
    };
    let reply = send_by(world, transport, request, deadline, Retry500::No)
        .map_err(|error| error.step_failure(&grant.server(world), &grant.identity.place))?;
    let json = reply.json().filter(|json| reply.status == 200 && !json.contains_key("error"));
    let Some(json) = json else {
        return Err(explain(world, &grant, &reply));
    };
    let Some(token) = json.get("access_token").and_then(|token| token.as_str()) else {
        return Err(no_access_token(world, &grant));
    };
    let token = Secret::new(token.to_owned());
    world.redactor.remember(&token);
    let segments = token.expose().split('.').count();
    let looks_like = lookalike::of_text(token.expose());
    IdToken::parse(token).map_err(|fault| match looks_like {
        Some(found) => no_token(world, &grant, &found),
        None => no_jwt(world, &grant, fault, segments),
    })
}
