//! The `credHelpers` of an auth.json or config.json: read as the client reads it, and changed in
//! place, so that every other byte of the file stays as it is.

use std::collections::BTreeMap;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Client;
use super::json::{Json, Kind, LEFT, Member, SPACE, names, quoted};
use crate::failure::Failure;

/// The key under which both kinds of file name helpers.
const HELPERS: &str = "credHelpers";
/// The key under which both keep logins.
const LOGINS: &str = "auths";
/// The key under which docker names a helper for every host.
const STORE: &str = "credsStore";

/// A file that has been read.
#[derive(Debug)]
pub(in crate::command) struct AuthFile {
    json: Json,
    client: Client,
    content: Content,
}

/// What a client does about a host because of one file.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::command) enum Asked {
    /// It asks a helper, which this key names.
    Helper { key: &'static str, helper: String },
    /// It goes by the login of this name.
    Login(String),
    /// Nothing of the host stands there.
    Nobody,
}

impl AuthFile {
    /// Reads a file as a client does; fails where the client fails, or passes the file over. `shown`
    /// is the name of the file.
    pub(in crate::command) fn parse(
        client: Client,
        bytes: &[u8],
        shown: &str,
    ) -> Result<Self, Failure> {
        if client == Client::Docker {
            let json = Json::parse_first(bytes, shown)?.unwrap_or_else(Json::empty);
            // It warns of a value of a wrong kind, and goes on without that and without logins.
            let (mut content, mistake) = Content::of(&json, client, shown);
            if mistake.is_some() {
                content.logins.clear();
            }
            return Ok(Self { json, client, content });
        }
        if bytes.trim_ascii().is_empty() {
            return Err(Failure::new(
                format!("{shown} is empty: podman, buildah and skopeo fail there"),
                "write {} into it, or remove it",
            ));
        }
        Self::read_whole(client, bytes, shown)
    }

    /// Reads a file that is to be changed: one without anything in it counts as `{}`, and anything
    /// that only one of the clients would read is refused.
    pub(in crate::command) fn to_change(
        client: Client,
        bytes: &[u8],
        shown: &str,
    ) -> Result<Self, Failure> {
        let is_empty = bytes.trim_ascii().is_empty();
        Self::read_whole(client, if is_empty { b"{}" } else { bytes }, shown)
    }

    fn read_whole(client: Client, bytes: &[u8], shown: &str) -> Result<Self, Failure> {
        let json = Json::parse(bytes, shown)?;
        match Content::of(&json, client, shown) {
            (_, Some(mistake)) => Err(mistake),
            (content, None) => Ok(Self { json, client, content }),
        }
    }

    /// What the client does about a host.
    pub(in crate::command) fn asked(&self, host: &str) -> Asked {
        let named = self.helper_of(host);
        let key = if named.is_some() { HELPERS } else { STORE };
        match (named.or(self.store()), self.client) {
            // An empty name is one that docker goes by: no helper at all. podman runs into it.
            (Some(""), Client::Docker) | (None, _) => {
                let login = self.logins_for(|name| is_login_of(name, host, self.client)).next();
                login.map_or(Asked::Nobody, |name| Asked::Login(name.to_owned()))
            }
            (Some(helper), _) => Asked::Helper { key, helper: helper.to_owned() },
        }
    }

    /// The helper that is named for a host.
    pub(in crate::command) fn helper_of(&self, host: &str) -> Option<&str> {
        self.content.helpers.get(host).map(String::as_str)
    }

    /// The hosts for which an entry of this helper stands there, even one that another entry keeps
    /// from being used.
    pub(in crate::command) fn hosts_of(&self, helper: &str) -> Vec<String> {
        let mut hosts = Vec::new();
        for object in self.objects() {
            for member in self.json.members(&object) {
                let is_its = self.json.string(&member.value).is_some_and(|it| it == helper);
                if is_its && !hosts.contains(&member.key) {
                    hosts.push(member.key);
                }
            }
        }
        hosts
    }

    /// The helper that docker asks for every host that has none of its own.
    pub(in crate::command) fn store(&self) -> Option<&str> {
        Some(self.content.store.as_str()).filter(|store| !store.is_empty())
    }

    /// The names of the logins for a host that are in use: of the host, and of its paths.
    pub(in crate::command) fn logins_of(&self, host: &str) -> Vec<String> {
        let is_of_host = |name: &str| {
            is_login_of(name, host, self.client)
                || name.strip_prefix(host).is_some_and(|path| path.starts_with('/'))
        };
        self.logins_for(is_of_host).map(str::to_owned).collect()
    }

    fn logins_for(&self, is_meant: impl Fn(&str) -> bool) -> impl Iterator<Item = &str> {
        let is_meant =
            move |(name, login): &(&String, &Login)| **login != Login::Empty && is_meant(name);
        self.content.logins.iter().filter(is_meant).map(|(name, _)| name.as_str())
    }

    /// The content with `helper` named for these hosts, whatever was named for them before.
    pub(in crate::command) fn with(
        &self,
        hosts: &[&str],
        helper: &str,
        shown: &str,
    ) -> Result<Vec<u8>, Failure> {
        let mut json = self.json.clone();
        for host in hosts {
            put_entry(&mut json, host, &quoted(helper));
        }
        let named = hosts.iter().map(|host| ((*host).to_owned(), helper.to_owned()));
        let mut helpers = self.content.helpers.clone();
        helpers.extend(named);
        self.changed(json, &helpers, shown)
    }

    /// The content without the entries of `helper` for these hosts, and without a `credHelpers` in
    /// which nothing is left.
    pub(in crate::command) fn without(
        &self,
        hosts: &[&str],
        helper: &str,
        shown: &str,
    ) -> Result<Vec<u8>, Failure> {
        let mut json = self.json.clone();
        while take_entry(&mut json, hosts, helper) {}
        let (left, _) = Content::of(&json, self.client, shown);
        let mut helpers = self.content.helpers.clone();
        for host in hosts {
            // One that it kept from being used counts again.
            match left.helpers.get(*host) {
                Some(other) if other != helper => {
                    helpers.insert((*host).to_owned(), other.clone());
                }
                _ => {
                    helpers.remove(*host);
                }
            }
        }
        self.changed(json, &helpers, shown)
    }

    /// What an edit has made of the file, if the client reads there what was meant and everything
    /// else as before.
    fn changed(
        &self,
        json: Json,
        helpers: &BTreeMap<String, String>,
        shown: &str,
    ) -> Result<Vec<u8>, Failure> {
        let bytes = json.into_bytes();
        let wanted = Content { helpers: helpers.clone(), ..self.content.clone() };
        match Self::read_whole(self.client, &bytes, shown) {
            Ok(changed) if changed.content == wanted => Ok(bytes),
            _ => Err(Failure::new(
                format!("{shown} has a `{HELPERS}` that cannot be changed without side effects"),
                format!("make one `{HELPERS}` of all that are in it: it was left as it is"),
            )),
        }
    }

    fn objects(&self) -> Vec<Range<usize>> {
        objects(&self.json).into_iter().map(|member| member.value).collect()
    }
}

/// What a client makes of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Login {
    /// `docker login` leaves such behind, which nobody uses.
    Empty,
    Used,
    /// It cannot be decoded, and that stops podman.
    Broken,
}

/// What a file means to a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Content {
    helpers: BTreeMap<String, String>,
    logins: BTreeMap<String, Login>,
    store: String,
}

impl Content {
    /// What it means, with the first value that is of another kind than the client expects.
    fn of(json: &Json, client: Client, shown: &str) -> (Self, Option<Failure>) {
        let root = json.root();
        let mut content = Self::default();
        let mut mistake = None;
        let mut expect = |what: &str, value: &Range<usize>, wanted: Kind| {
            let kind = json.kind(value);
            if kind != wanted && kind != Kind::Null && mistake.is_none() {
                let (wanted, kind) = (wanted.words(), kind.words());
                let cause = format!("{shown}: {what} must be {wanted}, not {kind}");
                mistake = Some(Failure::new(cause, LEFT));
            }
            kind == wanted
        };
        expect("the whole of it", &root, Kind::Object);
        for member in json.members(&root) {
            let value = &member.value;
            let is_null = json.kind(value) == Kind::Null;
            if names(&member.key, HELPERS) {
                expect(&format!("`{HELPERS}`"), value, Kind::Object);
                if is_null {
                    content.helpers.clear();
                }
                for Member { key, value, .. } in json.members(value) {
                    expect(&format!("`{key}` in `{HELPERS}`"), &value, Kind::String);
                    content.helpers.insert(key, json.string(&value).unwrap_or_default());
                }
            } else if names(&member.key, LOGINS) {
                expect(&format!("`{LOGINS}`"), value, Kind::Object);
                if is_null {
                    content.logins.clear();
                }
                for Member { key, value, .. } in json.members(value) {
                    expect(&format!("`{key}` in `{LOGINS}`"), &value, Kind::Object);
                    let fields = fields_of_login(json, &value, client, |field, place| {
                        expect(&format!("`{field}` of `{key}` in `{LOGINS}`"), place, Kind::String);
                    });
                    content.logins.insert(key, login_of(&fields, client));
                }
            } else if client == Client::Docker && names(&member.key, STORE) {
                expect(&format!("`{STORE}`"), value, Kind::String);
                // `null` leaves what was said before.
                content.store = json.string(value).unwrap_or(content.store);
            }
        }
        (content, mistake)
    }
}

/// The texts of a login.
type Fields = BTreeMap<&'static str, String>;

/// What a client looks at in a login.
const fn known_fields(client: Client) -> &'static [&'static str] {
    match client {
        Client::Containers => &["auth", "identitytoken"],
        Client::Docker => &["auth", "identitytoken", "username", "password", "registrytoken"],
    }
}

fn fields_of_login(
    json: &Json,
    login: &Range<usize>,
    client: Client,
    mut look: impl FnMut(&str, &Range<usize>),
) -> Fields {
    let mut fields = Fields::new();
    for Member { key, value, .. } in json.members(login) {
        if let Some(field) = known_fields(client).iter().find(|field| names(&key, field)) {
            look(field, &value);
            if let Some(text) = json.string(&value) {
                fields.insert(field, text);
            }
        }
    }
    fields
}

fn login_of(fields: &Fields, client: Client) -> Login {
    let text = |field: &str| fields.get(field).map(String::as_str).unwrap_or_default();
    let is_used = match (client, decoded(text("auth"))) {
        (Client::Containers, None) => return Login::Broken,
        (Client::Containers, Some(pair)) => pair.split_once(':').is_some_and(|(user, password)| {
            let password = password.trim_matches('\0');
            !(user.is_empty() && password.is_empty() && text("identitytoken").is_empty())
        }),
        (Client::Docker, pair) => {
            let is_pair = pair.is_some_and(|pair| pair.contains(':') && !pair.starts_with(':'));
            is_pair || fields.iter().any(|(field, text)| *field != "auth" && !text.is_empty())
        }
    };
    if is_used { Login::Used } else { Login::Empty }
}

/// Base64 as Go reads it: line ends count for nothing, and bits that are left over may be set.
fn decoded(auth: &str) -> Option<String> {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, config);
    let bytes = engine.decode(auth.replace(['\r', '\n'], "")).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether a login is one for a host, whatever its repository.
fn is_login_of(name: &str, host: &str, client: Client) -> bool {
    let stripped = name.strip_prefix("http://").unwrap_or(name);
    let stripped = stripped.strip_prefix("https://").unwrap_or(stripped);
    // For podman, a path counts only where there is no scheme.
    let is_cut = stripped != name || client == Client::Docker;
    let of = if is_cut { stripped.split('/').next().unwrap_or(stripped) } else { stripped };
    of == host
}

/// A file with nothing but `helper` for these hosts, in the form that docker and podman write.
pub(in crate::command) fn new_file(hosts: &[&str], helper: &str) -> String {
    let entries: Vec<String> =
        hosts.iter().map(|host| format!("\t\t{}: {}", quoted(host), quoted(helper))).collect();
    format!("{{\n\t{}: {{\n{}\n\t}}\n}}\n", quoted(HELPERS), entries.join(",\n"))
}

/// The text with every value in it that may be a secret replaced by `…`: all texts but the names of
/// helpers.
pub(in crate::command) fn masked(bytes: &[u8]) -> String {
    let Ok(json) = Json::parse(bytes, "") else { return "…".to_owned() };
    let is_shown = |member: &Member| names(&member.key, HELPERS) || names(&member.key, STORE);
    let root = json.root();
    let shown: Vec<_> =
        json.members(&root).into_iter().filter(is_shown).map(|member| member.value).collect();
    let mut masked = Vec::with_capacity(bytes.len());
    let mut done = 0;
    for string in json.strings() {
        let is_shown = string.is_key
            || string.span.len() == 2
            || shown
                .iter()
                .any(|value| value.start <= string.span.start && string.span.end <= value.end);
        if !is_shown {
            masked.extend(json.bytes(&(done..string.span.start)));
            masked.extend("\"…\"".bytes());
            done = string.span.end;
        }
    }
    masked.extend(json.bytes(&(done..json.text().len())));
    String::from_utf8_lossy(&masked).into_owned()
}

/// Each `credHelpers` that is an object, in their order.
fn objects(json: &Json) -> Vec<Member> {
    let is_one = |it: &Member| names(&it.key, HELPERS) && json.kind(&it.value) == Kind::Object;
    json.members(&json.root()).into_iter().filter(is_one).collect()
}

/// Puts an entry where it counts: the last of several is the one.
fn put_entry(json: &mut Json, host: &str, value: &str) {
    if json.kind(&json.root()) == Kind::Null {
        json.replace(json.root(), "{}");
    }
    let root = Object::at(json, &json.root());
    let style = Style::of(json.text(), &root);
    let key = quoted(host);
    let Some(last) = root.members.iter().rev().find(|member| names(&member.key, HELPERS)) else {
        let block = style.block(&key, value);
        root.append(json, &style, 1, &quoted(HELPERS), &block);
        return;
    };
    if json.kind(&last.value) == Kind::Null {
        let block = style.block(&key, value);
        json.replace(last.value.clone(), &block);
        return;
    }
    let helpers = Object::at(json, &last.value);
    match helpers.members.iter().rev().find(|member| member.key == host) {
        Some(member) => json.replace(member.value.clone(), value),
        None => helpers.append(json, &style, 2, &key, value),
    }
}

/// Takes one entry of `helper` for one of these hosts away; says whether there was one.
fn take_entry(json: &mut Json, hosts: &[&str], helper: &str) -> bool {
    let root = Object::at(json, &json.root());
    for (at, member) in root.members.iter().enumerate() {
        if !names(&member.key, HELPERS) || json.kind(&member.value) != Kind::Object {
            continue;
        }
        let helpers = Object::at(json, &member.value);
        let is_meant = |entry: &Member| {
            hosts.contains(&entry.key.as_str())
                && json.string(&entry.value).is_some_and(|it| it == helper)
        };
        let Some(entry) = helpers.members.iter().position(is_meant) else { continue };
        let span = if helpers.members.len() == 1 {
            root.span_of_removal(at)
        } else {
            helpers.span_of_removal(entry)
        };
        json.replace(span, "");
        return true;
    }
    false
}

/// How a file is laid out.
#[derive(Debug)]
struct Style {
    /// What stands before a key of the outermost object: a line end and spaces, or less.
    before_key: String,
    /// The colon with what is around it.
    colon: String,
}

impl Style {
    fn of(text: &str, root: &Object) -> Self {
        let line_end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        match root.members.last() {
            Some(last) => {
                let colon = text[last.key_span.end..last.value.start].to_owned();
                let before_key = before(text, last.key_span.start).to_owned();
                Self { before_key, colon }
            }
            None if text[root.inside()].contains('\n') => {
                Self { before_key: format!("{line_end}\t"), colon: ": ".to_owned() }
            }
            None => Self { before_key: String::new(), colon: ": ".to_owned() },
        }
    }

    /// What stands before a key at this depth, 1 being the outermost object's.
    fn before_key(&self, depth: usize) -> String {
        match self.before_key.rsplit_once('\n') {
            // Blank lines are not repeated.
            Some((lines, indent)) => {
                let line_end = if lines.ends_with('\r') { "\r\n" } else { "\n" };
                format!("{line_end}{}", indent.repeat(depth))
            }
            None if depth == 1 => self.before_key.clone(),
            None => String::new(),
        }
    }

    /// An object with one member, at depth 2.
    fn block(&self, key: &str, value: &str) -> String {
        let (before, colon) = (self.before_key(2), &self.colon);
        let after = if before.is_empty() { String::new() } else { self.before_key(1) };
        format!("{{{before}{key}{colon}{value}{after}}}")
    }
}

/// An object and where everything in it stands.
#[derive(Debug)]
struct Object {
    /// Behind its opening brace.
    start: usize,
    /// At its closing brace.
    end: usize,
    members: Vec<Member>,
}

impl Object {
    /// The object at a place.
    fn at(json: &Json, place: &Range<usize>) -> Self {
        Self { start: place.start + 1, end: place.end - 1, members: json.members(place) }
    }

    fn inside(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Adds a member at the end, laid out as its neighbours are, or as the file is.
    fn append(&self, json: &mut Json, style: &Style, depth: usize, key: &str, value: &str) {
        let colon = &style.colon;
        let Some(last) = self.members.last() else {
            let before = style.before_key(depth);
            let is_closed_in_its_line = !json.text()[self.inside()].contains('\n');
            let after = if before.contains('\n') && is_closed_in_its_line {
                style.before_key(depth - 1)
            } else {
                String::new()
            };
            json.replace(self.start..self.start, &format!("{before}{key}{colon}{value}{after}"));
            return;
        };
        let own = before(json.text(), last.key_span.start);
        let between = match own.rfind('\n') {
            // Its own line end and spaces, without the blank lines before it.
            Some(at) => own[own[..at].rfind('\n').map_or(0, |earlier| earlier + 1)..].to_owned(),
            None if own.is_empty() && colon.len() > 1 => " ".to_owned(),
            None => own.to_owned(),
        };
        let place = last.value.end..last.value.end;
        json.replace(place, &format!(",{between}{key}{colon}{value}"));
    }

    /// What to cut out to be without a member.
    fn span_of_removal(&self, at: usize) -> Range<usize> {
        let member = &self.members[at];
        match (at.checked_sub(1), self.members.get(at + 1)) {
            (Some(previous), _) => self.members[previous].value.end..member.value.end,
            (None, Some(next)) => member.key_span.start..next.key_span.start,
            (None, None) => self.start..member.value.end,
        }
    }
}

/// The white space that ends at `at`.
fn before(text: &str, at: usize) -> &str {
    &text[text[..at].trim_end_matches(SPACE).len()..at]
}

#[cfg(test)]
mod tests {
    use super::super::cases::{self, Who};
    use super::*;

    fn file(text: &str) -> Result<AuthFile, Failure> {
        AuthFile::to_change(Client::Docker, text.as_bytes(), "F")
    }

    fn with(text: &str, hosts: &[&str]) -> String {
        let changed = file(text).expect("a file").with(hosts, "quayfed", "F").expect("changed");
        String::from_utf8(changed).expect("text")
    }

    fn without(text: &str, hosts: &[&str]) -> String {
        let changed = file(text).expect("a file").without(hosts, "quayfed", "F").expect("changed");
        String::from_utf8(changed).expect("text")
    }

    /// What a case is called in a failure.
    fn shown(content: &[u8]) -> String {
        content.escape_ascii().to_string().chars().take(300).collect()
    }

    fn who(client: Client, content: &[u8]) -> Who {
        let Ok(file) = AuthFile::parse(client, content, "F") else { return Who::Fails };
        match file.asked("h.example") {
            Asked::Helper { helper, .. } => match helper.as_str() {
                "quayfed" => Who::Helper("quayfed"),
                "other" => Who::Helper("other"),
                _ => Who::Fails,
            },
            // podman fails on a login that cannot be decoded.
            Asked::Login(name) if file.content.logins[&name] == Login::Broken => Who::Fails,
            Asked::Login(_) => Who::Login,
            Asked::Nobody => Who::Nobody,
        }
    }

    #[test]
    fn r40_each_file_is_read_as_podman_and_docker_read_it() {
        let cases = cases::all();
        for case in &cases {
            let found =
                (who(Client::Containers, &case.content), who(Client::Docker, &case.content));
            assert_eq!(found, (case.podman, case.docker), "{}", shown(&case.content));
        }
        assert!(cases.len() >= 100, "{}", cases.len());
    }

    #[test]
    fn r40_after_an_edit_the_client_asks_the_helper_and_everything_else_is_as_it_was() {
        const HOSTS: [&str; 2] = ["h.example", "i.example"];
        for case in cases::all() {
            for client in Client::ALL {
                let name = shown(&case.content);
                let Ok(file) = AuthFile::to_change(client, &case.content, "F") else { continue };
                let changed = match file.with(&HOSTS, "quayfed", "F") {
                    Ok(changed) => changed,
                    Err(failure) => {
                        assert!(failure.cause().contains("without side effects"), "{name}");
                        continue;
                    }
                };
                assert_eq!(who(client, &changed), Who::Helper("quayfed"), "{name}");
                let again = AuthFile::to_change(client, &changed, "F").expect("a file");
                assert_eq!(again.with(&HOSTS, "quayfed", "F").expect("changed"), changed, "{name}");
                let left = again.without(&HOSTS, "quayfed", "F").expect("changed");
                let left = AuthFile::to_change(client, &left, "F").expect("a file");
                let mut wanted = file.content.clone();
                wanted.helpers.retain(|host, helper| {
                    *host != "i.example" && !(host == "h.example" && helper == "quayfed")
                });
                if wanted.helpers.contains_key("h.example") {
                    // Its place was taken, and nobody knows what was there.
                    wanted.helpers.remove("h.example");
                }
                let mut left = left.content;
                left.helpers.remove("h.example");
                assert_eq!(left, wanted, "{name}");
            }
        }
    }

    #[test]
    fn an_entry_is_laid_out_as_the_file_is() {
        for (text, wanted) in [
            ("{}", r#"{"credHelpers": {"h": "quayfed"}}"#),
            ("{}\n", "{\"credHelpers\": {\"h\": \"quayfed\"}}\n"),
            ("{\n}\n", "{\n\t\"credHelpers\": {\n\t\t\"h\": \"quayfed\"\n\t}\n}\n"),
            (r#"{"a":1}"#, r#"{"a":1,"credHelpers":{"h":"quayfed"}}"#),
            (r#"{"a": 1}"#, r#"{"a": 1, "credHelpers": {"h": "quayfed"}}"#),
            (r#"{ "a": 1 }"#, r#"{ "a": 1, "credHelpers": {"h": "quayfed"} }"#),
            (
                "{\n  \"a\": {\n    \"b\": []\n  }\n}\n",
                "{\n  \"a\": {\n    \"b\": []\n  },\n  \"credHelpers\": {\n    \"h\": \"quayfed\"\n  }\n}\n",
            ),
            (
                "{\r\n\t\"a\": null\r\n}",
                "{\r\n\t\"a\": null,\r\n\t\"credHelpers\": {\r\n\t\t\"h\": \"quayfed\"\r\n\t}\r\n}",
            ),
            (
                r#"{"credHelpers": {"g": "gcloud"}, "a": -1.5e3}"#,
                r#"{"credHelpers": {"g": "gcloud", "h": "quayfed"}, "a": -1.5e3}"#,
            ),
            (
                "{\n\t\"credHelpers\": {\n\t\t\"g\": \"gcloud\"\n\t}\n}",
                "{\n\t\"credHelpers\": {\n\t\t\"g\": \"gcloud\",\n\t\t\"h\": \"quayfed\"\n\t}\n}",
            ),
            (
                r#"{"x": "a \" } , b", "y": "\\", "z": [{"k": "]"}, true]}"#,
                r#"{"x": "a \" } , b", "y": "\\", "z": [{"k": "]"}, true], "credHelpers": {"h": "quayfed"}}"#,
            ),
        ] {
            let changed = with(text, &["h"]);
            assert_eq!(changed, wanted, "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(&changed).is_ok(), "{changed}");
            assert_eq!(with(&changed, &["h"]), changed, "a second time");
            assert_eq!(without(&changed, &["h"]), text, "{changed}");
            let several = with(text, &["h", "i:1", "j"]);
            assert_eq!(without(&several, &["i:1", "h", "j"]), text, "{several}");
        }
    }

    #[test]
    fn an_empty_block_is_filled_in_place() {
        for (text, wanted) in [
            (r#"{"credHelpers": {}, "a": 1}"#, r#"{"credHelpers": {"h": "quayfed"}, "a": 1}"#),
            (
                "{\n  \"a\": 1,\n  \"credHelpers\": {}\n}",
                "{\n  \"a\": 1,\n  \"credHelpers\": {\n    \"h\": \"quayfed\"\n  }\n}",
            ),
            (
                "{\n  \"credHelpers\": {\n  }\n}",
                "{\n  \"credHelpers\": {\n    \"h\": \"quayfed\"\n  }\n}",
            ),
        ] {
            assert_eq!(with(text, &["h"]), wanted);
        }
    }

    #[test]
    fn only_the_entries_that_are_named_are_taken_away() {
        let text = r#"{"credHelpers": {"a": "quayfed", "b": "gcloud", "c": "quayfed"}, "z": 1}"#;
        let without_ours = r#"{"credHelpers": {"b": "gcloud"}, "z": 1}"#;
        assert_eq!(without(text, &["a", "c", "none"]), without_ours);
        assert_eq!(without(text, &["a", "b", "c"]), without_ours, "that of another stays");
        assert_eq!(without(without_ours, &["a"]), without_ours);
    }

    #[test]
    fn another_helper_is_replaced_in_its_place() {
        let text = r#"{"credHelpers":{"h":"gcloud","i":"x"}}"#;
        assert_eq!(with(text, &["h"]), r#"{"credHelpers":{"h":"quayfed","i":"x"}}"#);
    }

    #[test]
    fn a_new_file_is_what_docker_would_write() {
        let text = new_file(&["a", "b"], "quayfed");
        assert_eq!(
            text,
            "{\n\t\"credHelpers\": {\n\t\t\"a\": \"quayfed\",\n\t\t\"b\": \"quayfed\"\n\t}\n}\n"
        );
        assert_eq!(with(&new_file(&["a"], "quayfed"), &["b"]), text);
    }

    #[test]
    fn what_is_no_such_file_is_told() {
        for (text, wanted) in [
            ("{", "F:1: this is not JSON: EOF while parsing an object"),
            ("{\n\"a\": hunter2}", "F:2: this is not JSON: expected value"),
            ("{} x", "F:1: this is not JSON: trailing characters"),
            (
                "\u{feff}{}",
                "F begins with a byte order mark, which neither podman nor docker reads",
            ),
            ("[]", "F: the whole of it must be an object, not a list"),
            (r#"{"auths": "x"}"#, "F: `auths` must be an object, not a string"),
            (r#"{"auths": {"h": 5}}"#, "F: `h` in `auths` must be an object, not a number"),
            (
                r#"{"credHelpers": {"h": []}}"#,
                "F: `h` in `credHelpers` must be a string, not a list",
            ),
            (
                r#"{"auths": {"h": {"auth": true}}}"#,
                "F: `auth` of `h` in `auths` must be a string, not a boolean",
            ),
        ] {
            assert_eq!(file(text).expect_err(text).cause(), wanted);
        }
    }

    #[test]
    fn r40_what_would_have_side_effects_is_left_to_the_reader() {
        let text = r#"{"credHelpers": {"g": "other"}, "credHelpers": null}"#;
        let failure =
            file(text).expect("a file").with(&["h"], "quayfed", "F").expect_err("refused");
        assert_eq!(
            (failure.cause(), failure.hint()),
            (
                "F has a `credHelpers` that cannot be changed without side effects",
                "make one `credHelpers` of all that are in it: it was left as it is"
            )
        );
        assert_eq!(with("null", &["h"]), r#"{"credHelpers": {"h": "quayfed"}}"#);
        assert_eq!(
            with("{\n  \"credHelpers\": null\n}", &["h"]),
            "{\n  \"credHelpers\": {\n    \"h\": \"quayfed\"\n  }\n}"
        );
    }

    #[test]
    fn what_else_is_in_a_file_is_known() {
        let text = r#"{"auths": {"h": {}, "h/org": {"auth": "eDp5"}, "g": {"auth": "eDp5"}},
            "credsStore": "pass", "credHelpers": {"h": "quayfed", "g": "x", "G": "quayfed"}}"#;
        let file = file(text).expect("a file");
        assert_eq!(file.store(), Some("pass"));
        assert_eq!(file.hosts_of("quayfed"), ["h", "G"]);
        assert_eq!(file.logins_of("h"), ["h/org"]);
    }

    #[test]
    fn no_secret_is_left_in_what_is_shown() {
        let text = r#"{"auths": {"h": {"auth": "hunter2", "n": ["hunter2", 3]}}, "x": "hunter2\"",
 "credHelpers": {"h": "gcloud"}, "e": ""}"#;
        assert_eq!(
            masked(text.as_bytes()),
            r#"{"auths": {"h": {"auth": "…", "n": ["…", 3]}}, "x": "…",
 "credHelpers": {"h": "gcloud"}, "e": ""}"#
        );
    }
}
