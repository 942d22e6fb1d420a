//! A token in a file that something else keeps up to date: a projected service account token, a
//! CI system's file, SPIFFE's helper. It is read at every `get` (rule R11).

use super::{IdToken, held_token, lookalike};
use crate::config::place::AtKey;
use crate::config::settings::TokenFile;
use crate::failure::Failure;
use crate::files::{InputError, read_input};
use crate::secret::Secret;
use crate::world::World;

/// The largest file that is read, in bytes: it may be a JSON document around the token.
const LARGEST: u64 = 256 << 10;

/// The token in the file as it is now.
pub(super) fn read(world: &World, settings: &TokenFile) -> Result<IdToken, AtKey> {
    let at_path = |failure| AtKey { key: "path", failure };
    let holder = format!("the file `{}`", settings.path.display());
    let input = read_input(&settings.path, LARGEST).map_err(|error| {
        let limit = error.limit();
        let hint = match error {
            InputError::Absent => {
                "see that whatever writes it has run, or correct its path".to_owned()
            }
            InputError::Unreadable(_) => {
                format!(
                    "it must be readable by the user running this (uid {})",
                    world.caller.uid_on_the_host()
                )
            }
            InputError::NotAFile | InputError::TooLarge(_) => {
                "name the file that holds the token".to_owned()
            }
        };
        let hint = limit.map_or(hint, |limit| limit.hint().to_owned());
        at_path(Failure::new(format!("the token file `{}` {error}", settings.path.display()), hint))
    })?;
    let bytes = Secret::new(input.bytes);
    if let Some(found) = lookalike::of_bytes(bytes.expose()) {
        let cause = format!("{holder} should hold the OIDC token, but holds {}", found.what);
        return Err(at_path(Failure::new(cause, found.hint)));
    }
    let text = std::str::from_utf8(bytes.expose()).map_err(|_| {
        at_path(Failure::new(format!("{holder} is not text"), "name the file that holds the token"))
    })?;
    held_token(world, ("path", &holder), text, settings.json_field.as_ref())
}
