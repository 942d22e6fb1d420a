//! A token in an environment variable, as many CI systems give it to a job.

use super::{IdToken, held_token};
use crate::config::place::AtKey;
use crate::config::settings::TokenVariable;
use crate::failure::Failure;
use crate::world::World;

/// The token in the variable.
pub(super) fn read(world: &World, settings: &TokenVariable) -> Result<IdToken, AtKey> {
    let at_variable = |failure| AtKey { key: "variable", failure };
    let holder = format!("the variable `{}`", settings.variable);
    match world.environment.secret(&settings.variable) {
        Ok(Some(text)) => {
            held_token(world, ("variable", &holder), text.expose(), settings.json_field.as_ref())
        }
        Ok(None) => Err(at_variable(Failure::new(
            format!(
                "{holder}, which should hold the OIDC token, {}",
                world.environment.why_absent(&settings.variable)
            ),
            "let the job have it, and see that it reaches podman or docker: sudo drops variables",
        ))),
        Err(_) => Err(at_variable(Failure::new(
            format!("{holder} is not text"),
            "it must hold the OIDC token",
        ))),
    }
}
