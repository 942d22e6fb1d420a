//! Every kind of mistake, with the exact words that a person is told.

use super::testing::Desk;
use crate::failure::Failure;

/// A file, and what is wrong with all of it.
const OF_THE_WHOLE_FILE: &[(&str, &str, &str)] = &[
    (
        r#"robot = "acme+ci""#,
        "config.toml:1: `robot`: there is no such table",
        r#"expected one of: [registry."HOST"], [identity.NAME]"#,
    ),
    (
        r#"[registries."h"]"#,
        "config.toml:1: `registries`: there is no such table",
        "did you mean `registry`?",
    ),
    (
        "\n[identitys.k]\n",
        "config.toml:2: `identitys`: there is no such table",
        "did you mean `identity`?",
    ),
    (
        "registry = 3\n",
        "config.toml:1: `registry` must be a table, not an integer",
        r#"write each as a table of its own: [registry."HOST"]"#,
    ),
    (
        r#"[registry]
robot = "acme+ci""#,
        "config.toml:2: `registry.robot` must be a table, not a string",
        r#"write each as a table of its own: [registry."HOST"]"#,
    ),
    (
        r#"[[registry]]
host = "h""#,
        "config.toml:1: `registry` must be a table, not a list",
        r#"write each as a table of its own: [registry."HOST"]"#,
    ),
    (
        r#"[registry.quay.example.com]
robot = "acme+ci""#,
        "config.toml:1: [registry.quay.example.com]: a name with dots in it stands in quotes",
        r#"write [registry."quay.example.com"]"#,
    ),
    (
        r#"[registry."ftp://h"]"#,
        "config.toml:1: `ftp://h` is no name of a registry: it has a scheme other than `https` and `http`",
        "write HOST[:PORT][/PATH] as clients ask for it, such as quay.example.com",
    ),
    (
        r#"[registry."user:pw@h"]"#,
        "config.toml:1: `…@h` is no name of a registry: it has user information before the host",
        "write HOST[:PORT][/PATH] as clients ask for it, such as quay.example.com",
    ),
    (
        r#"[registry."quay example"]"#,
        "config.toml:1: `quay example` is no name of a registry: it has a space inside",
        "write HOST[:PORT][/PATH] as clients ask for it, such as quay.example.com",
    ),
    (
        r#"[identity]
issuer = "https://sso.example.com""#,
        "config.toml:2: `identity.issuer` must be a table, not a string",
        "write each as a table of its own: [identity.NAME]",
    ),
    (
        r#"[registry."h"]
robot = acme+ci"#,
        "config.toml:2: this is not TOML: string values must be quoted, expected literal string",
        "correct that line: quote strings, put names of tables in brackets, and write each key once",
    ),
    (
        r#"[registry.quay.proxy.com]
robot = "acme+ci""#,
        "config.toml:1: [registry.quay.proxy.com]: a name with dots in it stands in quotes",
        r#"write [registry."quay.proxy.com"]"#,
    ),
    (
        r#"[registry."h"]
hosts = { x = "y" }"#,
        "config.toml:2: [registry.h.hosts]: a name with dots in it stands in quotes",
        r#"write [registry."h.hosts"]"#,
    ),
    (
        r#"[registry."h"]
[registry."h"]"#,
        "config.toml:2: duplicate key `h`, which is in line 1 already",
        "keep one of the two",
    ),
    (
        r#"[registry."g"]
robot = "acme+ci"
[registry."h"]
robot = "acme+ci"
identity = "k"

robot = "acme+cd""#,
        "config.toml:7: duplicate key `robot`, which is in line 4 already",
        "keep one of the two",
    ),
    (
        r#"registry.h = { robot = "acme+ci",
  identity = "k", robot = "acme+cd" }"#,
        "config.toml:2: duplicate key `robot`, which is in line 1 already",
        "keep one of the two",
    ),
    (
        r#"[registry."h""#,
        "config.toml:1: this is not TOML: unclosed table, expected `]`",
        "correct that line: quote strings, put names of tables in brackets, and write each key once",
    ),
    (
        r#"[registry."h"]
robot = "acme"#,
        r#"config.toml:2: this is not TOML: invalid basic string, expected `"`"#,
        "correct that line: quote strings, put names of tables in brackets, and write each key once",
    ),
    (
        r#"[registry."h"]
robot = "a+b" identity = "k""#,
        "config.toml:2: this is not TOML: unexpected key or value, expected newline, `#`",
        "correct that line: quote strings, put names of tables in brackets, and write each key once",
    ),
];

/// What stands in `[registry."h"]`, and what is wrong with it.
const OF_A_REGISTRY: &[(&str, &str, &str)] = &[
    (
        r#"identity = "k""#,
        r#"config.toml:1: registry."h" lacks `robot`"#,
        r#"add a line such as `robot = "acme+ci"`"#,
    ),
    (
        r#"robot = "acme+ci""#,
        r#"config.toml:1: registry."h" lacks `identity`"#,
        r#"add a line such as `identity = "keycloak"`"#,
    ),
    (
        "",
        r#"config.toml:1: registry."h" lacks `robot`"#,
        r#"add a line such as `robot = "acme+ci"` (then: `identity` is missing)"#,
    ),
    (
        r#"robot = "Acme+ci"
identity = "k""#,
        r#"config.toml:2: registry."h".robot: `Acme+ci` is no robot name: it has a character other than a-z, 0-9, `.`, `_` and `-`"#,
        "did you mean `acme+ci`? Quay's robot names are NAMESPACE+NAME in lower case",
    ),
    (
        r#"robot = "acme-ci"
identity = "k""#,
        r#"config.toml:2: registry."h".robot: `acme-ci` is no robot name: it has no `+` between namespace and name"#,
        "Quay's robot names are NAMESPACE+NAME in lower case, as its page Robot Accounts shows them",
    ),
    (
        r#"robot = "acme/x+ci"
identity = "k""#,
        r#"config.toml:2: registry."h".robot: `acme/x+ci` is no robot name: it has a character other than a-z, 0-9, `.`, `_` and `-`"#,
        "Quay's robot names are NAMESPACE+NAME in lower case, as its page Robot Accounts shows them",
    ),
    (
        r#"robot = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"
identity = "k""#,
        r#"config.toml:2: registry."h".robot: `[redacted]` is no robot name: it has no `+` between namespace and name"#,
        "Quay's robot names are NAMESPACE+NAME in lower case, as its page Robot Accounts shows them",
    ),
    (
        r#"robot = "a\u001b[31m\u202e"
identity = "k""#,
        r#"config.toml:2: registry."h".robot: `a\u{1b}[31m\u{202e}` is no robot name: it has no `+` between namespace and name"#,
        "Quay's robot names are NAMESPACE+NAME in lower case, as its page Robot Accounts shows them",
    ),
    (
        r#"robot = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
identity = "k""#,
        r#"config.toml:2: registry."h".robot: `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…` is no robot name: it has no `+` between namespace and name"#,
        "Quay's robot names are NAMESPACE+NAME in lower case, as its page Robot Accounts shows them",
    ),
    (
        r#"robot = 3
deadline = "9"
identity = "k"
colour = "red""#,
        r#"config.toml:2: registry."h".robot must be a string, not an integer"#,
        r#"write it so: `robot = "acme+ci"` (then: `deadline` in line 3, `colour` in line 5)"#,
    ),
    (
        "a=1\nb=1\nc=1\nd=1\ne=1\nf=1\ng=1\nh=1\ni=1\nj=1\nk=1\nl=1",
        r#"config.toml:2: registry."h".a: there is no such key"#,
        "possible here: `robot`, `identity`, `api_url`, `deadline`, `exchange_timeout`, `min_validity`, `on_error`, `ca_file`, `proxy`, `allow_http_loopback` (then: `b` in line 3, `c` in line 4, `d` in line 5, `e` in line 6, `f` in line 7, `g` in line 8, `h` in line 9, `robot` is missing, `identity` is missing, 4 more)",
    ),
    (
        r#"robot = 3
identity = "k""#,
        r#"config.toml:2: registry."h".robot must be a string, not an integer"#,
        r#"write it so: `robot = "acme+ci"`"#,
    ),
    (
        r#"robot = ["acme+ci"]
identity = "k""#,
        r#"config.toml:2: registry."h".robot must be a string, not a list"#,
        r#"write it so: `robot = "acme+ci"`"#,
    ),
    (
        r#"robot = { name = "acme+ci" }
identity = "k""#,
        r#"config.toml:2: registry."h".robot must be a string, not a table"#,
        r#"write it so: `robot = "acme+ci"`"#,
    ),
    (
        r#"robot = "acme+ci"
identity = "key""#,
        r#"config.toml:3: registry."h".identity: `key` is not the name of any identity"#,
        "add a table [identity.key], or name one that there is",
    ),
    (
        r#"robot = "acme+ci"
identity = "K""#,
        r#"config.toml:3: registry."h".identity: `K` is not the name of any identity"#,
        "did you mean `k`?",
    ),
    (
        r#"robot = "acme+ci"
identity = true"#,
        r#"config.toml:3: registry."h".identity must be a string, not a boolean"#,
        r#"write it so: `identity = "keycloak"`"#,
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
robto = "acme+ci""#,
        r#"config.toml:4: registry."h".robto: there is no such key"#,
        "did you mean `robot`?",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
colour = "red""#,
        r#"config.toml:4: registry."h".colour: there is no such key"#,
        "possible here: `robot`, `identity`, `api_url`, `deadline`, `exchange_timeout`, `min_validity`, `on_error`, `ca_file`, `proxy`, `allow_http_loopback`",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
password = "hunter2""#,
        r#"config.toml:4: registry."h".password: a secret must not be written in the configuration"#,
        "remove it and renew that secret; an identity names the file or the variable that a secret is in (`client_secret_file`, `client_secret_env`)",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
token = "hunter2""#,
        r#"config.toml:4: registry."h".token: a secret must not be written in the configuration"#,
        "remove it and renew that secret; an identity names the file or the variable that a secret is in (`client_secret_file`, `client_secret_env`)",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
issuer = "https://sso.example.com""#,
        r#"config.toml:4: registry."h".issuer: this belongs to an identity, [identity.NAME]"#,
        "move it into such a table, or remove it",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
api_url = "quay.example.com""#,
        r#"config.toml:4: registry."h".api_url: `quay.example.com` is no https URL"#,
        "did you mean `https://quay.example.com`?",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
api_url = "https://quay.example.com/api""#,
        r#"config.toml:4: registry."h".api_url: `https://quay.example.com/api` has a path"#,
        "write scheme, host and port alone: the path of the exchange is Quay's own",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
api_url = "https://user:hunter2@quay.example.com""#,
        r#"config.toml:4: registry."h".api_url: the value has user information"#,
        "remove what stands before the `@`",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
api_url = "user:hunter2@quay.example.com""#,
        r#"config.toml:4: registry."h".api_url: the value is no https URL"#,
        "write it as https://HOST[:PORT]",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
api_url = "https://quay.example.com?x=hunter2""#,
        r#"config.toml:4: registry."h".api_url: the value has a query"#,
        "remove the `?` and what follows it",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
api_url = "https:///quay.example.com""#,
        r#"config.toml:4: registry."h".api_url: `https:///quay.example.com` is no https URL"#,
        "write it as https://HOST[:PORT]",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
audience = "quay""#,
        r#"config.toml:4: registry."h".audience: this belongs to an identity, [identity.NAME]"#,
        "move it into such a table, or remove it",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
api_url = "https://quay.example.com#x""#,
        r#"config.toml:4: registry."h".api_url: `https://quay.example.com#x` has a fragment"#,
        "remove the `#` and what follows it",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
api_url = "http://quay.example.com""#,
        r#"config.toml:4: registry."h".api_url: `http://quay.example.com` is http, and a token or a secret would be sent there in the clear"#,
        "use https; http is possible to a literal 127.0.0.0/8 or [::1] alone, for tests",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
api_url = "http://127.0.0.1:8080""#,
        r#"config.toml:4: registry."h".api_url: `http://127.0.0.1:8080` is http, and `allow_http_loopback` is not set"#,
        "use https; for a test on this host set `allow_http_loopback = true` in the same table of a configuration file",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
api_url = "http://localhost:8080"
allow_http_loopback = true"#,
        r#"config.toml:4: registry."h".api_url: `http://localhost:8080` is http, and a token or a secret would be sent there in the clear"#,
        "use https; http is possible to a literal 127.0.0.0/8 or [::1] alone, for tests",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
api_url = "https://quay example.com""#,
        r#"config.toml:4: registry."h".api_url: `https://quay example.com` is no https URL"#,
        "write it as https://HOST[:PORT]",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
ca_file = "ca.pem""#,
        r#"config.toml:4: registry."h".ca_file: `ca.pem` is no absolute path"#,
        "begin it with `/`: the program may be called in any folder",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
proxy = "socks5://user:hunter2@proxy:1080""#,
        r#"config.toml:4: registry."h".proxy: the value is a SOCKS proxy, which is not supported"#,
        r#"write a URL such as "http://proxy.example.com:3128", or "none""#,
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
proxy = "proxy.example.com:3128""#,
        r#"config.toml:4: registry."h".proxy: the value is neither an http URL nor `none`"#,
        r#"write a URL such as "http://proxy.example.com:3128", or "none""#,
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
deadline = 25"#,
        r#"config.toml:4: registry."h".deadline must be a string, not an integer"#,
        r#"write it so: `deadline = "25s"`"#,
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
deadline = "25""#,
        r#"config.toml:4: registry."h".deadline: `25` is no duration"#,
        r#"write a whole number and its unit, such as "500ms", "25s", "15m" or "1h""#,
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
deadline = "2.5s""#,
        r#"config.toml:4: registry."h".deadline: `2.5s` is no duration"#,
        r#"write a whole number and its unit, such as "500ms", "25s", "15m" or "1h""#,
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
deadline = "0s""#,
        r#"config.toml:4: registry."h".deadline: `0s` is too short"#,
        r#"the least is "100ms""#,
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
deadline = "1h""#,
        r#"config.toml:4: registry."h".deadline: `1h` is too long"#,
        r#"the most is "10m""#,
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
exchange_timeout = "99999999999999999999s""#,
        r#"config.toml:4: registry."h".exchange_timeout: `99999999999999999999s` is too long"#,
        r#"the most is "10m""#,
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
exchange_timeout = "10ms""#,
        r#"config.toml:4: registry."h".exchange_timeout: `10ms` is too short"#,
        r#"the least is "100ms""#,
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
min_validity = "0s""#,
        r#"config.toml:4: registry."h".min_validity: `0s` is too short"#,
        r#"the least is "1ms""#,
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
min_validity = "25h""#,
        r#"config.toml:4: registry."h".min_validity: `25h` is too long"#,
        r#"the most is "24h""#,
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
on_error = "ignore""#,
        r#"config.toml:4: registry."h".on_error: `ignore` is not a possible value"#,
        "possible here: `fail`, `anonymous`",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
on_error = "anonymus""#,
        r#"config.toml:4: registry."h".on_error: `anonymus` is not a possible value"#,
        "did you mean `anonymous`?",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
allow_http_loopback = "yes""#,
        r#"config.toml:4: registry."h".allow_http_loopback must be true or false, not a string"#,
        "write it so: `allow_http_loopback = true`",
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
deadline = 1979-05-27"#,
        r#"config.toml:4: registry."h".deadline must be a string, not a date"#,
        r#"write it so: `deadline = "25s"`"#,
    ),
    (
        r#"robot = "acme+ci"
identity = "k"
deadline = 2.5"#,
        r#"config.toml:4: registry."h".deadline must be a string, not a number with a point"#,
        r#"write it so: `deadline = "25s"`"#,
    ),
];

/// What stands in `[identity.k]`, and what is wrong with it.
const OF_AN_IDENTITY: &[(&str, &str, &str)] = &[
    (
        "",
        "config.toml:1: identity.k lacks `source`",
        r#"add a line such as `source = "client-credentials"`"#,
    ),
    (
        r#"source = "oidc""#,
        "config.toml:2: identity.k.source: `oidc` is not a possible value",
        "possible here: `client-credentials`, `file`, `env`",
    ),
    (
        r#"source = "client_credentials""#,
        "config.toml:2: identity.k.source: `client_credentials` is not a possible value",
        "did you mean `client-credentials`?",
    ),
    (
        r#"source = "github-actions""#,
        "config.toml:2: identity.k.source: `github-actions` is not supported by this version",
        "it supports `client-credentials`, `file`, `env`",
    ),
    (
        "source = 1\n",
        "config.toml:2: identity.k.source must be a string, not an integer",
        r#"write it so: `source = "client-credentials"`"#,
    ),
    (
        r#"sourcee = "env""#,
        "config.toml:2: identity.k.sourcee: there is no such key",
        "did you mean `source`?",
    ),
    (
        r#"source = "client-credentials""#,
        "config.toml:1: identity.k lacks `issuer` or `token_endpoint`",
        r#"add a line such as `issuer = "https://sso.example.com/realms/quay"` (then: `client_id` is missing, `client_secret_file` or `client_secret_env` or `client_secret_credential` is missing)"#,
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com"
client_id = "c""#,
        "config.toml:1: identity.k lacks `client_secret_file` or `client_secret_env` or `client_secret_credential`",
        r#"add a line such as `client_secret_file = "/etc/quayfed/client-secret"`"#,
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = ""
client_secret_file = "/s""#,
        "config.toml:4: identity.k.client_id: the value is empty",
        "give it a value, or remove it",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r?x"
client_id = "c"
client_secret_file = "/s""#,
        "config.toml:3: identity.k.issuer: the value has a query",
        "remove the `?` and what follows it",
    ),
    (
        r#"source = "client-credentials"
issuer = "sso.example.com"
client_id = "c"
client_secret_file = "/s""#,
        "config.toml:3: identity.k.issuer: `sso.example.com` is no https URL",
        "did you mean `https://sso.example.com`?",
    ),
    (
        r#"source = "client-credentials"
issuer = "http://sso.example.com"
client_id = "c"
client_secret_file = "/s""#,
        "config.toml:3: identity.k.issuer: `http://sso.example.com` is http, and a token or a secret would be sent there in the clear",
        "use https; http is possible to a literal 127.0.0.0/8 or [::1] alone, for tests",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "/s"
token_endpoint = "https://sso.example.com/token#x""#,
        "config.toml:6: identity.k.token_endpoint: `https://sso.example.com/token#x` has a fragment",
        "remove the `#` and what follows it",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret = "hunter2""#,
        "config.toml:5: identity.k.client_secret: a secret must not be written in the configuration",
        "remove it and renew that secret; an identity names the file or the variable that a secret is in (`client_secret_file`, `client_secret_env`)",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "/s"
client_secret = "hunter2""#,
        "config.toml:6: identity.k.client_secret: a secret must not be written in the configuration",
        "remove it and renew that secret; an identity names the file or the variable that a secret is in (`client_secret_file`, `client_secret_env`)",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "hunter2""#,
        "config.toml:5: identity.k.client_secret_file: the value is no absolute path",
        "begin it with `/`: the program may be called in any folder",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_env = "$hunter2""#,
        "config.toml:5: identity.k.client_secret_env: the value is no name of a variable",
        "write the name alone, such as `QUAY_TOKEN`: letters, digits and `_`, without `$`",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_credential = "../hunter2""#,
        "config.toml:5: identity.k.client_secret_credential: the value is no name of a systemd credential",
        "write the name that stands in LoadCredential=, without any folder",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_fil = "/s""#,
        "config.toml:5: identity.k.client_secret_fil: there is no such key",
        "did you mean `client_secret_file`?",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "/s"
client_secret_env = "SECRET""#,
        "config.toml:6: identity.k.client_secret_env: there is `client_secret_file` as well",
        "keep the one that says where the secret is",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "/s"
client_auth = "private_key_jwt""#,
        "config.toml:6: identity.k.client_auth: `private_key_jwt` is not supported by this version",
        "it supports `client_secret_basic`, `client_secret_post`",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "/s"
client_auth = "client_secret_basik""#,
        "config.toml:6: identity.k.client_auth: `client_secret_basik` is not a possible value",
        "did you mean `client_secret_basic`?",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "/s"
allow_readable_secret = 1"#,
        "config.toml:6: identity.k.allow_readable_secret must be true or false, not an integer",
        "write it so: `allow_readable_secret = true`",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "/s"
audience = """#,
        "config.toml:6: identity.k.audience: the value is empty",
        "give it a value, or remove it",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "/s"
scopes = "openid""#,
        "config.toml:6: identity.k.scopes must be a list of strings, not a string",
        r#"write it so: `scopes = ["openid"]`"#,
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "/s"
scopes = ["openid profile"]"#,
        "config.toml:6: identity.k.scopes: `openid profile` is no scope",
        "write each scope as an item of its own, without spaces",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "/s"
scopes = ["openid", 3]"#,
        "config.toml:6: identity.k.scopes must be a list of strings, not a list with an integer",
        r#"write it so: `scopes = ["openid"]`"#,
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "/s"
path = "/token""#,
        "config.toml:6: identity.k.path: this belongs to the source `file`, not to `client-credentials`",
        "remove it, or choose that source",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "/s"
robot = "acme+ci""#,
        r#"config.toml:6: identity.k.robot: this belongs to a registry, [registry."HOST"]"#,
        "move it into such a table, or remove it",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "/s"
timeout = "8 s""#,
        "config.toml:6: identity.k.timeout: `8 s` is no duration",
        r#"write a whole number and its unit, such as "500ms", "25s", "15m" or "1h""#,
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "/s"
proxy = "none ""#,
        "config.toml:6: identity.k.proxy: the value is neither an http URL nor `none`",
        r#"write a URL such as "http://proxy.example.com:3128", or "none""#,
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "/s"
audince = "quay""#,
        "config.toml:6: identity.k.audince: there is no such key",
        "did you mean `audience`?",
    ),
    (
        r#"source = "client-credentials"
issuer = "https://sso.example.com/r"
client_id = "c"
client_secret_file = "/s"
idp = { name = "x" }"#,
        "config.toml:6: identity.k.idp: there is no table within a table of this kind",
        r#"a name with dots in it stands in quotes, such as [identity."sso.example.com"]"#,
    ),
    (
        r#"source = "file""#,
        "config.toml:1: identity.k lacks `path`",
        r#"add a line such as `path = "/var/run/secrets/tokens/quay"`"#,
    ),
    (
        r#"source = "file"
path = "token""#,
        "config.toml:3: identity.k.path: `token` is no absolute path",
        "begin it with `/`: the program may be called in any folder",
    ),
    (
        r#"source = "file"
path = "/token"
json_field = "a..b""#,
        "config.toml:4: identity.k.json_field: `a..b` is no path into JSON",
        "write names and indexes with dots between, such as `access_token` or `svids.0.svid`",
    ),
    (
        r#"source = "file"
path = "/token"
audience = "quay""#,
        "config.toml:4: identity.k.audience: the source `file` cannot ask for one",
        "remove it, and ask for that audience where the token is issued",
    ),
    (
        r#"source = "file"
path = "/token"
variable = "T""#,
        "config.toml:4: identity.k.variable: this belongs to the source `env`, not to `file`",
        "remove it, or choose that source",
    ),
    (
        r#"source = "env""#,
        "config.toml:1: identity.k lacks `variable`",
        r#"add a line such as `variable = "QUAY_TOKEN"`"#,
    ),
    (
        r#"source = "env"
variable = "$TOKEN""#,
        "config.toml:3: identity.k.variable: `$TOKEN` is no name of a variable",
        "write the name alone, such as `QUAY_TOKEN`: letters, digits and `_`, without `$`",
    ),
    (
        r#"source = "env"
variable = "T"
issuer = "https://sso.example.com""#,
        "config.toml:4: identity.k.issuer: this belongs to the source `client-credentials`, not to `env`",
        "remove it, or choose that source",
    ),
];

/// Whole files in every way that TOML has of writing a table, and what is wrong with one key.
const OF_OTHER_FORMS: &[(&str, &str, &str)] = &[
    (
        "# a comment\n\n[registry.\"h\"]\n\n# another\nidentity = \"k\"\n\nrobot = \"Acme+ci\"",
        "config.toml:8: registry.\"h\".robot: `Acme+ci` is no robot name: it has a character other than a-z, 0-9, `.`, `_` and `-`",
        "did you mean `acme+ci`? Quay's robot names are NAMESPACE+NAME in lower case",
    ),
    (
        "[registry.\"h\"]\r\nidentity = \"k\"\r\nrobot = \"acme+ci\"\r\ndeadline = \"9\"\r\n",
        "config.toml:4: registry.\"h\".deadline: `9` is no duration",
        "write a whole number and its unit, such as \"500ms\", \"25s\", \"15m\" or \"1h\"",
    ),
    (
        "registry.\"h\".robot = \"acme+ci\"\nregistry.\"h\".identity = \"k\"\nregistry.\"h\".on_error = \"no\"",
        "config.toml:3: registry.\"h\".on_error: `no` is not a possible value",
        "possible here: `fail`, `anonymous`",
    ),
    (
        "[registry]\n\nh.identity = \"k\"",
        "config.toml:3: registry.\"h\" lacks `robot`",
        "add a line such as `robot = \"acme+ci\"`",
    ),
    (
        "[registry]\nh = {\n  robot = \"acme+ci\",\n  identity = \"l\",\n}",
        "config.toml:4: registry.\"h\".identity: `l` is not the name of any identity",
        "add a table [identity.l], or name one that there is",
    ),
    (
        "[registry.\"h\"]\nrobot = \"acme+ci\"\nidentity = \"l\"\n[identity.l]\nsource = \"client-credentials\"\nissuer = \"https://sso.example.com\"\nclient_id = \"c\"\nclient_secret_file = \"/s\"\nscopes = [\n  \"openid\",\n  \"\",\n]",
        "config.toml:9: identity.l.scopes: the value is no scope",
        "write each scope as an item of its own, without spaces",
    ),
];

const GOOD_REGISTRY: &str = "[registry.\"h\"]\nrobot = \"acme+ci\"\nidentity = \"k\"\n";
const GOOD_IDENTITY: &str = "[identity.k]\nsource = \"env\"\nvariable = \"T\"\n";

fn check(cases: &[(&str, &str, &str)], failure_of: impl Fn(&str) -> Option<Failure>) {
    let mut differing = Vec::new();
    for (written, cause, hint) in cases {
        let failure = failure_of(written);
        let found = failure.as_ref().map(|failure| (failure.cause(), failure.hint()));
        if found != Some((cause, hint)) {
            differing.push(format!("{written}\n  wanted {:?}\n  found  {found:?}", (cause, hint)));
        }
        if let Some((cause, hint)) = found {
            assert!(!cause.contains("hunter2") && !hint.contains("hunter2"), "a secret: {cause}");
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n\n"));
}

fn of_the_whole_file(written: &str) -> Option<Failure> {
    let desk = Desk::new().with_user_file(written);
    desk.load().err().map(|failure| desk.shortened(&failure))
}

fn of_a_registry(written: &str) -> Option<Failure> {
    let desk = Desk::new().with_user_file(&format!("[registry.\"h\"]\n{written}\n{GOOD_IDENTITY}"));
    desk.rule("h").err().map(|failure| desk.shortened(&failure))
}

fn of_an_identity(written: &str) -> Option<Failure> {
    let desk = Desk::new().with_user_file(&format!("[identity.k]\n{written}\n{GOOD_REGISTRY}"));
    desk.rule("h").err().map(|failure| desk.shortened(&failure))
}

#[test]
fn r6_a_mistake_of_the_whole_file_leaves_no_rule() {
    check(OF_THE_WHOLE_FILE, of_the_whole_file);
}

#[test]
fn r6_a_mistake_in_a_registry_is_told_with_file_line_key_and_value() {
    check(OF_A_REGISTRY, of_a_registry);
}

#[test]
fn r6_a_mistake_is_told_with_the_line_of_its_key_however_the_table_is_written() {
    check(OF_OTHER_FORMS, |written| {
        let desk = Desk::new().with_user_file(&format!("{written}\n\n{GOOD_IDENTITY}"));
        desk.rule("h").err().map(|failure| desk.shortened(&failure))
    });
}

#[test]
fn r6_a_mistake_in_an_identity_is_told_to_the_registries_that_use_it() {
    check(OF_AN_IDENTITY, of_an_identity);
}

#[test]
fn r44_whoever_follows_a_did_you_mean_has_mended_that_mistake() {
    type Cases = &'static [(&'static str, &'static str, &'static str)];
    type FailureOf = fn(&str) -> Option<Failure>;
    let tables: [(Cases, FailureOf); 3] = [
        (OF_THE_WHOLE_FILE, of_the_whole_file),
        (OF_A_REGISTRY, of_a_registry),
        (OF_AN_IDENTITY, of_an_identity),
    ];
    let mut followed = 0;
    for (cases, failure_of) in tables {
        for (written, cause, hint) in cases {
            let meant = hint.split_once("did you mean `").and_then(|(_, it)| it.split('`').next());
            let Some(meant) = meant else { continue };
            // The slip is quoted, or it is the key before the last colon.
            let quoted = cause.split('`').skip(1).step_by(2);
            let key = cause.rsplit_once(": ").and_then(|(path, _)| path.rsplit('.').next());
            let slip = quoted.chain(key).find(|slip| written.contains(slip)).expect(cause);
            let mended = failure_of(&written.replacen(slip, meant, 1));
            let says = mended.as_ref().map_or("", |failure| failure.cause());
            let (blamed, is_same) = (format!("`{meant}` is"), says == *cause);
            assert!(!is_same && !says.contains(&blamed), "{written}: {meant}: {says}");
            followed += 1;
        }
    }
    assert!(followed > 10, "{followed}");
}
