//! The `credential-helpers` of a registries.conf (containers-registries.conf(5)), changed in place:
//! every other byte of the file stays as it is.

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::content_of;
use super::json::{names, quoted};
use crate::failure::Failure;

/// The key that lists the helpers.
const KEY: &str = "credential-helpers";
/// What stands in the list for the auth.json files. It is also the list where there is none.
pub(in crate::command) const AUTH_FILES: &str = "containers-auth.json";

/// The helpers of a file in their order, and where they stand.
#[derive(Debug)]
pub(in crate::command) struct Helpers<'a> {
    text: &'a str,
    /// The whole list, its brackets included.
    list: Range<usize>,
    items: Vec<(String, Range<usize>)>,
}

impl<'a> Helpers<'a> {
    /// Reads the list of a file, where it has one. `shown` is the name of the file.
    pub(in crate::command) fn parse(bytes: &'a [u8], shown: &str) -> Result<Option<Self>, Failure> {
        let text = std::str::from_utf8(bytes).map_err(|_| {
            Failure::new(
                format!("{shown} is not UTF-8: podman, buildah and skopeo fail there"),
                "correct it, or move it away: it was left as it is",
            )
        })?;
        if text.starts_with('\u{feff}') {
            return Err(Failure::new(
                format!("{shown} begins with a byte order mark, which not every podman reads"),
                "save it as UTF-8 without a byte order mark: it was left as it is",
            ));
        }
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        let root = DeTable::parse(text).map_err(|error| {
            let at = error.span().unwrap_or_default().start.min(text.len());
            Failure::new(
                format!("{shown}:{}: this is not TOML: {}", line(at), error.message()),
                "correct it, or move it away: it was left as it is",
            )
        })?;
        // As podman compares them; of two, it goes by the one that it comes upon last by chance.
        let mut named = root.get_ref().iter().filter(|(key, _)| names(key.get_ref(), KEY));
        let Some((_, value)) = named.next() else { return Ok(None) };
        if let Some((key, _)) = named.next() {
            return Err(Failure::new(
                format!("{shown}:{}: `{KEY}` stands there twice", line(key.span().start)),
                "make one list of the two: it was left as it is",
            ));
        }
        let items = match value.get_ref() {
            DeValue::Array(items) => items.iter().map(item).collect::<Option<Vec<_>>>(),
            _ => None,
        };
        let items = items.ok_or_else(|| {
            Failure::new(
                format!("{shown}:{}: `{KEY}` must be a list of strings", line(value.span().start)),
                format!("write it so: {KEY} = [\"{AUTH_FILES}\"]"),
            )
        })?;
        Ok(Some(Self { text, list: value.span(), items }))
    }

    /// Those whom clients ask, in their order: an empty list is as good as none.
    pub(in crate::command) fn names(&self) -> Vec<&str> {
        match &self.items[..] {
            [] => vec![AUTH_FILES],
            items => items.iter().map(|(name, _)| name.as_str()).collect(),
        }
    }

    /// Whether `helper` is among them.
    pub(in crate::command) fn has(&self, helper: &str) -> bool {
        self.items.iter().any(|(name, _)| name == helper)
    }

    /// The text with `helper` as the last of them.
    pub(in crate::command) fn with(&self, helper: &str) -> String {
        let mut text = self.text.to_owned();
        let Some((_, last)) = self.items.last() else {
            let inside = format!("\"{AUTH_FILES}\", \"{helper}\"");
            text.insert_str(self.list.start + 1, &inside);
            return text;
        };
        let gap = &text[self.end_before(self.items.len() - 1)..last.start];
        let between = match gap.rfind('\n') {
            Some(at) => gap[at - usize::from(gap[..at].ends_with('\r'))..].to_owned(),
            None => " ".to_owned(),
        };
        text.insert_str(last.end, &format!(",{between}\"{helper}\""));
        text
    }

    /// The text without `helper`.
    pub(in crate::command) fn without(&self, helper: &str) -> String {
        let mut text = self.text.to_owned();
        let Some(at) = self.items.iter().position(|(name, _)| name == helper) else { return text };
        let own = &self.items[at].1;
        let span = match self.items.get(at + 1) {
            _ if at > 0 => self.end_before(at)..own.end,
            Some((_, next)) => own.start..next.start,
            None => own.clone(),
        };
        text.replace_range(span, "");
        text
    }

    /// Where what stands before an item ends: the item before it, or the bracket.
    fn end_before(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(self.list.start + 1, |previous| self.items[previous].1.end)
    }
}

/// The file of these that says who is asked, and the helpers that it lists: the last one with a list.
pub(in crate::command) fn counting(
    files: &[PathBuf],
) -> Result<Option<(PathBuf, Vec<String>)>, Failure> {
    let mut found = None;
    for file in files {
        let Some(content) = content_of(file)? else { continue };
        if let Some(helpers) = Helpers::parse(&content, &file.display().to_string())? {
            let names = helpers.names().into_iter().map(str::to_owned).collect();
            found = Some((file.clone(), names));
        }
    }
    Ok(found)
}

/// The drop-in with which every user's podman, buildah and skopeo asks `helper` for every registry,
/// after those that are asked without it.
pub(in crate::command) fn new_file(helper: &str, before: &[&str]) -> String {
    let after = if before == [AUTH_FILES] { "the logins of auth.json" } else { "the others" };
    let listed: Vec<String> = before.iter().chain([&helper]).map(|name| quoted(name)).collect();
    format!(
        "# Made by `docker-credential-{helper} configure --system`; --undo removes it.\n\
         # For every registry: first {after}, then {helper}.\n\
         {KEY} = [{}]\n",
        listed.join(", ")
    )
}

fn item(item: &Spanned<DeValue<'_>>) -> Option<(String, Range<usize>)> {
    Some((item.get_ref().as_str()?.to_owned(), item.span()))
}

#[cfg(test)]
mod tests {
    use super::super::cases::{REFUSED, REGISTRIES, Who};
    use super::*;

    fn parse(text: &str) -> Helpers<'_> {
        Helpers::parse(text.as_bytes(), "F").expect("TOML").expect("a list")
    }

    #[test]
    fn the_helper_is_added_behind_the_others_and_taken_away_again() {
        for (text, wanted) in [
            (
                "# a\ncredential-helpers = ['secretservice']   # b\n[[registry]]\n",
                "# a\ncredential-helpers = ['secretservice', \"quayfed\"]   # b\n[[registry]]\n",
            ),
            (
                "credential-helpers=[\"a\",\r\n  \"b\", # of b\r\n]\r\n",
                "credential-helpers=[\"a\",\r\n  \"b\",\r\n  \"quayfed\", # of b\r\n]\r\n",
            ),
            (
                "credential-helpers = [\n\t\"a\"\n]\n",
                "credential-helpers = [\n\t\"a\",\n\t\"quayfed\"\n]\n",
            ),
        ] {
            assert_eq!(parse(text).with("quayfed"), wanted);
            assert!(parse(wanted).has("quayfed") && !parse(text).has("quayfed"));
            assert_eq!(parse(wanted).without("quayfed"), text);
            assert_eq!(parse(text).without("quayfed"), text);
        }
    }

    #[test]
    fn r40_each_registries_conf_is_read_as_podman_reads_it() {
        for (text, wanted) in REGISTRIES {
            let found = match Helpers::parse(text.as_bytes(), "F") {
                Err(_) => Who::Fails,
                Ok(None) => Who::Nobody,
                Ok(Some(helpers)) => {
                    match helpers.names().into_iter().find(|helper| *helper != AUTH_FILES) {
                        Some("quayfed") => Who::Helper("quayfed"),
                        Some("other") => Who::Helper("other"),
                        _ => Who::Nobody,
                    }
                }
            };
            assert_eq!(found, *wanted, "{text}");
        }
        for (text, _) in REFUSED {
            let failure = Helpers::parse(text.as_bytes(), "F").expect_err(text);
            assert!(failure.cause().contains("this is not TOML: duplicate key"), "{failure}");
        }
    }

    #[test]
    fn an_empty_list_means_the_auth_files() {
        let text = parse("credential-helpers = []\n").with("quayfed");
        assert_eq!(text, "credential-helpers = [\"containers-auth.json\", \"quayfed\"]\n");
    }

    #[test]
    fn the_helper_is_taken_away_from_any_place() {
        for (text, wanted) in [
            ("credential-helpers = [\"q\", \"a\"]", "credential-helpers = [\"a\"]"),
            ("credential-helpers = [ \"q\" ]", "credential-helpers = [  ]"),
            ("credential-helpers = [\"a\", \"q\", \"b\"]", "credential-helpers = [\"a\", \"b\"]"),
        ] {
            assert_eq!(parse(text).without("q"), wanted);
        }
    }

    #[test]
    fn what_has_no_list_has_none_and_what_is_wrong_is_told() {
        assert!(
            Helpers::parse(b"unqualified-search-registries = []\n", "F").expect("TOML").is_none()
        );
        assert!(parse(&new_file("quayfed", &[AUTH_FILES])).has("quayfed"));
        for (text, wanted) in [
            ("a = 1\nb = = 2\n", "F:2: this is not TOML: "),
            ("\ncredential-helpers = \"quayfed\"\n", "F:2: `credential-helpers` must be a list"),
            ("credential-helpers = [1]\n", "F:1: `credential-helpers` must be a list of strings"),
        ] {
            let failure = Helpers::parse(text.as_bytes(), "F").expect_err("a mistake");
            assert!(failure.cause().starts_with(wanted), "{failure}");
        }
    }
}
