//! What a file of the cache is, by its name.

use crate::cache::suffix;
use crate::files::TEMPORARY;

/// What a file is. Only names that this program makes count: in a folder that somebody
/// chose there may be files of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Entry,
    Lock,
    Plan,
    Temporary,
}

impl Kind {
    pub(super) fn of(name: &str) -> Option<Self> {
        if let Some(random) = name.strip_prefix(TEMPORARY) {
            return is_hex(random, 16).then_some(Self::Temporary);
        }
        let (stem, kind) =
            [(suffix::ENTRY, Self::Entry), (suffix::LOCK, Self::Lock), (suffix::PLAN, Self::Plan)]
                .into_iter()
                .find_map(|(suffix, kind)| Some((name.strip_suffix(suffix)?, kind)))?;
        let (host, digests) = stem.rsplit_once('.')?;
        let is_ours = match (kind, digests.split_once('-')) {
            (Self::Plan, None) => is_hex(digests, 16),
            (Self::Plan, Some(_)) => false,
            (_, None) => is_hex(digests, 32),
            (_, Some((settings, bearer))) => is_hex(settings, 32) && is_hex(bearer, 16),
        };
        (is_ours && !host.is_empty()).then_some(kind)
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_make_are_ours() {
        let digest = "0123456789abcdef";
        for (name, wanted) in [
            (format!("h.example.com.{digest}{digest}.token"), Some(Kind::Entry)),
            (format!("h_3a8443.{digest}{digest}-{digest}.token"), Some(Kind::Entry)),
            (format!("h.{digest}{digest}.lock"), Some(Kind::Lock)),
            (format!("h.{digest}.plan"), Some(Kind::Plan)),
            (format!(".tmp-{digest}"), Some(Kind::Temporary)),
            (format!("h.{digest}-{digest}.plan"), None),
            (format!("h.{digest}.token"), None),
            (format!(".{digest}{digest}.token"), None),
            (format!("{digest}{digest}.lock"), None),
            (format!("h.{}.plan", digest.to_uppercase()), None),
            (".tmp-notes".to_owned(), None),
            ("poetry.lock".to_owned(), None),
            ("my.token".to_owned(), None),
            ("floor.plan".to_owned(), None),
        ] {
            assert_eq!(Kind::of(&name), wanted, "{name}");
        }
    }
}
