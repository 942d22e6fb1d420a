//! Files as people and programs leave them, and whom podman and docker then ask for
//! `h.example`. The reader of this program is held to them by its own tests, and podman and docker
//! themselves are by `make e2e`, which reads this table too.

/// Whom a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// `docker-credential-` and this name.
    Helper(&'static str),
    /// The login in the file, which is `u`'s.
    Login,
    /// Nobody.
    Nobody,
    /// It fails. (docker warns, and goes on as if the file were empty.)
    Fails,
}

use Who::{Fails, Helper, Login, Nobody};

/// A file, and what each client makes of it.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) content: Vec<u8>,
    pub(crate) podman: Who,
    pub(crate) docker: Who,
}

const OURS: Who = Helper("quayfed");
const OTHER: Who = Helper("other");
/// What runs into `docker-credential-`, a program that does not exist.
const UNNAMED: Who = Fails;

/// Both clients make the same of these.
const SAME: &[(&str, Who)] = &[
    // Nothing of the host.
    ("{}", Nobody),
    ("null", Nobody),
    (" \t\r\n{ }\r\n\r\n", Nobody),
    (r#"{"credHelpers": {}, "auths": {}}"#, Nobody),
    (r#"{"credHelpers": null, "auths": null}"#, Nobody),
    (r#"{"credHelpers": {"H.example": "quayfed"}}"#, Nobody),
    (r#"{"credHelpers": {"h.example/org": "quayfed"}}"#, Nobody),
    (r#"{"credHelpers": {"https://h.example": "quayfed"}}"#, Nobody),
    (r#"{"credHelpers": {"h.example ": "quayfed"}}"#, Nobody),
    (r#"{"x": {"credHelpers": {"h.example": "quayfed"}}}"#, Nobody),
    // The plain entry, and how it may be laid out.
    (r#"{"credHelpers": {"h.example": "quayfed"}}"#, OURS),
    ("{\n\t\"credHelpers\": {\n\t\t\"h.example\": \"quayfed\"\n\t}\n}\n", OURS),
    ("{\r\n  \"credHelpers\": {\r\n    \"h.example\": \"quayfed\"\r\n  }\r\n}\r\n", OURS),
    (r#"{"credHelpers":{"h.example":"other"}}"#, OTHER),
    ("\n\n\n{\"z\" :1 ,\n\n \"credHelpers\"\n:\n{\t\"h.example\"\t:\t\"quayfed\"\t}\t}\t", OURS),
    // The key in other letters.
    (r#"{"credhelpers": {"h.example": "quayfed"}}"#, OURS),
    (r#"{"CREDHELPERS": {"h.example": "quayfed"}}"#, OURS),
    (r#"{"CredHelpers": {"h.example": "other"}}"#, OTHER),
    (r#"{"\u0063redHelpers": {"h.example": "quayfed"}}"#, OURS),
    (r#"{"cred\u0048elpers": {"h.example": "quayfed"}}"#, OURS),
    (r#"{"CRED\u0068elpers": {"h.example": "other"}}"#, OTHER),
    ("{\"credHelper\u{17f}\": {\"h.example\": \"quayfed\"}}", OURS),
    (r#"{"credHelper\u017F": {"h.example": "other"}}"#, OTHER),
    ("{\"\u{441}redHelpers\": {\"h.example\": \"quayfed\"}}", Nobody),
    (r#"{"credHelpers ": {"h.example": "quayfed"}}"#, Nobody),
    (r#"{"credHelpers\u0000": {"h.example": "quayfed"}}"#, Nobody),
    (r#"{"cred_helpers": {"h.example": "quayfed"}}"#, Nobody),
    (r#"{"cred-helpers": {"h.example": "quayfed"}}"#, Nobody),
    (r#"{"credHelper": {"h.example": "quayfed"}}"#, Nobody),
    // The host and the helper in other letters.
    (r#"{"credHelpers": {"\u0068.example": "quayfed"}}"#, OURS),
    (r#"{"credHelpers": {"h\u002Eexample": "qu\u0061yfed"}}"#, OURS),
    (r#"{"credHelpers": {"h.example": "o\u0074her"}}"#, OTHER),
    // The last of two counts, and objects are merged.
    (r#"{"credHelpers": {"h.example": "other", "h.example": "quayfed"}}"#, OURS),
    (r#"{"credHelpers": {"h.example": "quayfed", "h.example": "other"}}"#, OTHER),
    (r#"{"credHelpers": {"h.example": "quayfed", "\u0068.example": "other"}}"#, OTHER),
    (r#"{"credHelpers": {"h.example": "other"}, "credHelpers": {"h.example": "quayfed"}}"#, OURS),
    (r#"{"credHelpers": {"h.example": "quayfed"}, "credHelpers": {"h.example": "other"}}"#, OTHER),
    (r#"{"credHelpers": {"h.example": "quayfed"}, "credHelpers": {"g.example": "other"}}"#, OURS),
    (r#"{"credHelpers": {"h.example": "quayfed"}, "CREDHELPERS": {"h.example": "other"}}"#, OTHER),
    (r#"{"CREDHELPERS": {"h.example": "other"}, "credHelpers": {"h.example": "quayfed"}}"#, OURS),
    (r#"{"credhelpers": {"h.example": "quayfed"}, "credHelpers": {}}"#, OURS),
    (r#"{"credHelpers": {"h.example": "other"}, "credHelpers": null}"#, Nobody),
    (r#"{"credHelpers": {"g.example": "other"}, "credHelpers": null, "a": 1}"#, Nobody),
    (r#"{"credHelpers": null, "credHelpers": {"h.example": "quayfed"}}"#, OURS),
    (r#"{"CredHelpers": {"h.example": "other"}, "credHelpers": null, "x": 1}"#, Nobody),
    // Whatever else there may be is passed over.
    (r#"{"a": 1e999, "b": -0.0E+5, "credHelpers": {"h.example": "quayfed"}}"#, OURS),
    (r#"{"a": 123456789012345678901234567890, "credHelpers": {"h.example": "other"}}"#, OTHER),
    (r#"{"a": "\ud800", "credHelpers": {"h.example": "quayfed"}}"#, OURS),
    (r#"{"a": "\udc00\ud800", "\ud83d": 1, "credHelpers": {"h.example": "other"}}"#, OTHER),
    (r#"{"a": "\ud83d\ude00 \b\f\n\r\t\/\\\"", "credHelpers": {"h.example": "quayfed"}}"#, OURS),
    ("{\"a\": \"\u{7f}\u{2028}\u{feff}\", \"credHelpers\": {\"h.example\": \"quayfed\"}}", OURS),
    (r#"{"": "", "credHelpers": {"": "", "h.example": "quayfed"}}"#, OURS),
    (r#"{"credHelpers": {"*": "other", "h": "other", "example": "other"}}"#, Nobody),
    // What is not JSON.
    ("{", Fails),
    ("{\"credHelpers\": {\"h.example\": \"quayfed\"}", Fails),
    (r#"{"credHelpers": {"h.example": "quayfed",}}"#, Fails),
    (r#"{"credHelpers": {"h.example": "quayfed"},}"#, Fails),
    (r#"{"credHelpers": {"h.example": "quayfed"} "a": 1}"#, Fails),
    ("{'credHelpers': {'h.example': 'quayfed'}}", Fails),
    (r#"{credHelpers: {"h.example": "quayfed"}}"#, Fails),
    ("// ours\n{\"credHelpers\": {\"h.example\": \"quayfed\"}}", Fails),
    ("{/* ours */\"credHelpers\": {\"h.example\": \"quayfed\"}}", Fails),
    ("# ours\n{\"credHelpers\": {\"h.example\": \"quayfed\"}}", Fails),
    (r#"{"a": 01, "credHelpers": {"h.example": "quayfed"}}"#, Fails),
    (r#"{"a": .5, "credHelpers": {"h.example": "quayfed"}}"#, Fails),
    (r#"{"a": 5., "credHelpers": {"h.example": "quayfed"}}"#, Fails),
    (r#"{"a": +5, "credHelpers": {"h.example": "quayfed"}}"#, Fails),
    (r#"{"a": NaN, "credHelpers": {"h.example": "quayfed"}}"#, Fails),
    (r#"{"a": 0x5, "credHelpers": {"h.example": "quayfed"}}"#, Fails),
    (r#"{"a": True, "credHelpers": {"h.example": "quayfed"}}"#, Fails),
    (r#"{"a": "\x41", "credHelpers": {"h.example": "quayfed"}}"#, Fails),
    (r#"{"a": "\u00g1", "credHelpers": {"h.example": "quayfed"}}"#, Fails),
    ("{\"a\": \"\t\", \"credHelpers\": {\"h.example\": \"quayfed\"}}", Fails),
    ("{\"a\": \"\n\", \"credHelpers\": {\"h.example\": \"quayfed\"}}", Fails),
    ("{\u{a0}\"credHelpers\": {\"h.example\": \"quayfed\"}}", Fails),
    ("{\u{c}\"credHelpers\": {\"h.example\": \"quayfed\"}}", Fails),
    ("\u{feff}{\"credHelpers\": {\"h.example\": \"quayfed\"}}", Fails),
    ("\0{\"credHelpers\": {\"h.example\": \"quayfed\"}}", Fails),
    ("[credHelpers]\n\"h.example\" = \"quayfed\"\n", Fails),
    // Logins, which a helper comes before.
    (r#"{"auths": {"h.example": {"auth": "dTpw"}}}"#, Login),
    (r#"{"AUTHS": {"h.example": {"AUTH": "dTpw"}}}"#, Login),
    (r#"{"auth\u0073": {"h.example": {"\u0061uth": "dTpw"}}}"#, Login),
    (r#"{"auths": {"https://h.example": {"auth": "dTpw"}}}"#, Login),
    (r#"{"auths": {"https://h.example/v1/": {"auth": "dTpw"}}}"#, Login),
    (r#"{"auths": {"http://h.example": {"auth": "dTpw"}}}"#, Login),
    (r#"{"auths": {"H.example": {"auth": "dTpw"}}}"#, Nobody),
    (r#"{"auths": {"h.example": {}}}"#, Nobody),
    (r#"{"auths": {"h.example": null}}"#, Nobody),
    (r#"{"auths": {"h.example": {"auth": ""}}}"#, Nobody),
    (r#"{"auths": {"h.example": {"auth": null}}}"#, Nobody),
    (r#"{"auths": {"h.example": {"auth": "dTp\nw"}}}"#, Login),
    (r#"{"auths": {"h.example": {"auth": "dTpw"}, "h.example": {}}}"#, Nobody),
    (r#"{"auths": {"h.example": {}}, "Auths": {"h.example": {"auth": "dTpw"}}}"#, Login),
    (r#"{"auths": {"h.example": {"auth": "dTpw"}}, "auths": null}"#, Nobody),
    (
        r#"{"auths": {"h.example": {"auth": "dTpw"}}, "credHelpers": {"h.example": "quayfed"}}"#,
        OURS,
    ),
    (r#"{"CREDHELPERS": {"h.example": "other"}, "auths": {"h.example": {"auth": "dTpw"}}}"#, OTHER),
    (
        r#"{"auths": {"h.example": {"auth": "dTpw"}}, "credHelpers": {"g.example": "quayfed"}}"#,
        Login,
    ),
];

/// Each makes something else of these: podman, and then docker.
const DIFFERENT: &[(&str, Who, Who)] = &[
    ("", Fails, Nobody),
    (" \r\n", Fails, Nobody),
    // What follows the first value.
    (r#"{"credHelpers": {"h.example": "quayfed"}} {}"#, Fails, OURS),
    (r#"{"credHelpers": {"h.example": "quayfed"}}x"#, Fails, OURS),
    ("{\"credHelpers\": {\"h.example\": \"other\"}}\0", Fails, OTHER),
    ("{\"credHelpers\": {\"h.example\": \"other\"}}\n// theirs\n", Fails, OTHER),
    // Of another kind: docker warns, and goes on with the rest.
    ("[]", Fails, Nobody),
    ("true", Fails, Nobody),
    ("5", Fails, Nobody),
    (r#""quayfed""#, Fails, Nobody),
    (r#"{"credHelpers": []}"#, Fails, Nobody),
    (r#"{"credHelpers": "quayfed"}"#, Fails, Nobody),
    (r#"{"credHelpers": true, "CredHelpers": {"h.example": "quayfed"}}"#, Fails, OURS),
    (r#"{"credHelpers": {"h.example": "quayfed"}, "credHelpers": 5}"#, Fails, OURS),
    (r#"{"credHelpers": {"h.example": 5}}"#, Fails, Nobody),
    (r#"{"credHelpers": {"h.example": ["quayfed"]}}"#, Fails, Nobody),
    (r#"{"credHelpers": {"h.example": {"helper": "quayfed"}}}"#, Fails, Nobody),
    (r#"{"credHelpers": {"h.example": "quayfed", "g.example": true}}"#, Fails, OURS),
    (r#"{"credHelpers": {"h.example": "quayfed"}, "auths": []}"#, Fails, OURS),
    (r#"{"credHelpers": {"h.example": "quayfed"}, "auths": {"g.example": "x"}}"#, Fails, OURS),
    (r#"{"auths": {"h.example": {"auth": 5}}}"#, Fails, Nobody),
    (r#"{"auths": {"g.example": 5, "h.example": {"auth": "dTpw"}}}"#, Fails, Nobody),
    (r#"{"psFormat": 5, "credHelpers": {"h.example": "quayfed"}}"#, OURS, OURS),
    (r#"{"HttpHeaders": [], "credHelpers": {"h.example": "other"}}"#, OTHER, OTHER),
    // No name of a helper.
    (r#"{"credHelpers": {"h.example": ""}}"#, UNNAMED, Nobody),
    (r#"{"credHelpers": {"h.example": null}}"#, UNNAMED, Nobody),
    (r#"{"credHelpers": {"h.example": "quayfed", "h.example": null}}"#, UNNAMED, Nobody),
    (r#"{"credHelpers": {"h.example": ""}, "credsStore": "other"}"#, UNNAMED, Nobody),
    (
        r#"{"credHelpers": {"h.example": ""}, "auths": {"h.example": {"auth": "dTpw"}}}"#,
        UNNAMED,
        Login,
    ),
    // The helper for everything is docker's alone.
    (r#"{"credsStore": "quayfed"}"#, Nobody, OURS),
    (r#"{"CREDSSTORE": "other"}"#, Nobody, OTHER),
    (r#"{"credsStore": "other", "credHelpers": {"h.example": "quayfed"}}"#, OURS, OURS),
    (r#"{"credsStore": "quayfed", "credHelpers": {"h.example": "other"}}"#, OTHER, OTHER),
    (r#"{"credsStore": "other", "credsStore": null}"#, Nobody, OTHER),
    (r#"{"credsStore": "other", "credsstore": ""}"#, Nobody, Nobody),
    (r#"{"credsStore": 5, "credHelpers": {"h.example": "quayfed"}}"#, OURS, OURS),
    (r#"{"credsStore": "other", "auths": {"h.example": {"auth": "dTpw"}}}"#, Login, OTHER),
    (r#"{"credStore": "other"}"#, Nobody, Nobody),
    // Logins.
    (r#"{"auths": {"h.example/": {"auth": "dTpw"}}}"#, Nobody, Login),
    (r#"{"auths": {"h.example/org": {"auth": "dTpw"}}}"#, Nobody, Login),
    (r#"{"auths": {"h.example": {"auth": "dQ=="}}}"#, Nobody, Nobody),
    (r#"{"auths": {"h.example": {"auth": "%"}}}"#, Fails, Nobody),
    (r#"{"auths": {"h.example": {"auth": "dTpwcA"}}}"#, Fails, Nobody),
    (r#"{"auths": {"h.example": {"username": "u", "password": "p"}}}"#, Nobody, Login),
];

/// Those that a Rust string does not hold, or that are long.
fn unusual() -> Vec<Case> {
    let entry = |before: &[u8]| {
        let end = b"\"credHelpers\": {\"h.example\": \"quayfed\"}}";
        [b"{", before, &end[..]].concat()
    };
    let nested = |depth: usize| {
        entry(format!("\"a\": {}{}, ", "[".repeat(depth), "]".repeat(depth)).as_bytes())
    };
    let utf16 = |mark: u16, bytes_of: fn(u16) -> [u8; 2]| {
        let text = "{\"credHelpers\": {\"h.example\": \"quayfed\"}}";
        std::iter::once(mark).chain(text.encode_utf16()).flat_map(bytes_of).collect::<Vec<u8>>()
    };
    let of = |content: Vec<u8>, who| Case { content, podman: who, docker: who };
    vec![
        of(entry(b"\"a\": \"\xe4\", "), OURS),
        of(entry(b"\"\xff\xfe\": \"\xc3\", "), OURS),
        of(entry(b"\"a\": \"\xed\xa0\x80\", "), OURS),
        of(entry(b"\"cred\xc5\": {}, "), OURS),
        of(entry(b"\xe4"), Fails),
        of(
            b"{\"credHelpers\": {\"h.example\": \"quayfed\", \"g\xe4.example\": \"other\"}}".into(),
            OURS,
        ),
        of(nested(200), OURS),
        of(nested(5_000), OURS),
        of(nested(9_999), OURS),
        of(nested(10_000), Fails),
        of(entry(format!("\"a\": \"{}\", ", "x".repeat(1 << 20)).as_bytes()), OURS),
        of(utf16(0xfeff, u16::to_le_bytes), Fails),
        of(utf16(0xfeff, u16::to_be_bytes), Fails),
    ]
}

/// Files of registries.conf, and whom podman asks by them, where no auth.json has anything.
pub(crate) const REGISTRIES: &[(&str, Who)] = &[
    ("", Nobody),
    ("unqualified-search-registries = [\"docker.io\"]\n", Nobody),
    ("credential-helpers = []\n", Nobody),
    ("credential-helpers = [\"containers-auth.json\"]\n", Nobody),
    ("credential-helpers = [\"quayfed\"]\n", OURS),
    ("credential-helpers = [\"containers-auth.json\", \"quayfed\"]", OURS),
    ("credential-helpers = [\"containers-auth.json\", \"quayfed\"]\n", OURS),
    (
        "# ours\r\ncredential-helpers = [\r\n  'containers-auth.json', # first\r\n  'quayfed',\r\n]\r\n",
        OURS,
    ),
    ("credential-helpers = [\"other\", \"quayfed\"]\n", OTHER),
    ("credential-helpers=['quayfed','other']", OURS),
    ("\"credential-helpers\" = [\"\"\"quayfed\"\"\"]\n", OURS),
    ("'credential-helpers' = [\"qu\\u0061yfed\"]\n", OURS),
    ("\"credential\\u002Dhelpers\" = [ 'other' ]\n", OTHER),
    ("Credential-Helpers = [\"quayfed\"]\n", OURS),
    ("CREDENTIAL-HELPERS = [\"other\"]\n", OTHER),
    ("credential_helpers = [\"quayfed\"]\n", Nobody),
    ("credential-helper = [\"quayfed\"]\n", Nobody),
    ("[x]\ncredential-helpers = [\"quayfed\"]\n", Nobody),
    ("x.credential-helpers = [\"quayfed\"]\n", Nobody),
    ("\u{feff}credential-helpers = [\"quayfed\"]\n", Fails),
    ("credential-helpers = [\"quayfed\"]\n[[registry]]\nlocation = \"g.example\"\n", OURS),
    ("credential-helpers = \"quayfed\"\n", Fails),
    ("credential-helpers = [5]\n", Fails),
    ("credential-helpers = [[\"quayfed\"]]\n", Fails),
    ("credential-helpers = [\"quayfed\"\n", Fails),
    ("credential-helpers = [quayfed]\n", Fails),
    ("= 1\ncredential-helpers = [\"quayfed\"]\n", Fails),
    ("{\"credential-helpers\": [\"quayfed\"]}", Fails),
];

/// What podman 4 reads, newer ones fail on, and this program refuses in so many words.
pub(crate) const REFUSED: &[(&str, Who)] = &[
    ("credential-helpers = [\"quayfed\"]\ncredential-helpers = [\"other\"]\n", OTHER),
    ("a = 1\ncredential-helpers = [\"quayfed\"]\na = 2\n", OURS),
];

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    let of = |content: &str, podman, docker| Case { content: content.into(), podman, docker };
    let same = SAME.iter().map(|(content, who)| of(content, *who, *who));
    let different = DIFFERENT.iter().map(|(content, podman, docker)| of(content, *podman, *docker));
    same.chain(different).chain(unusual()).collect()
}
