//! The name that was probably meant.

/// The candidate that is nearest to `written`, if it is near enough to be what was meant.
pub fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let normal = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    let written = normal(written);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&written, &normal(candidate)), candidate))
        .filter(|(distance, candidate)| distance * 3 <= candidate.len().max(written.len()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What to do about a name that does not exist: the nearest candidate, or all of them.
pub(super) fn hint(written: &str, candidates: &[&str]) -> String {
    match nearest(written, candidates.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("possible here: {}", listed(candidates)),
    }
}

/// Names in backticks with commas between.
pub(super) fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_answered_with_the_name_that_was_meant() {
        let keys = ["robot", "identity", "api_url", "client_secret_file", "registry", "on_error"];
        for (written, meant) in [
            ("robto", Some("robot")),
            ("Robot", Some("robot")),
            ("apiurl", Some("api_url")),
            ("on-error", Some("on_error")),
            ("registries", Some("registry")),
            ("clientSecretFile", Some("client_secret_file")),
            ("x", None),
            ("colour", None),
        ] {
            assert_eq!(nearest(written, keys), meant, "{written}");
        }
    }
}
