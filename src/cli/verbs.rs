//! The help of the protocol's verbs: clients call them, and people who want to know what clients do.

use crate::failure::Failure;
use crate::protocol::{NO_SERVER, NOT_FOUND, PROGRAM};

/// One verb: its name, what it does in a few words, how to try it, and what else its help says.
struct Verb {
    name: &'static str,
    about: &'static str,
    usage: &'static str,
    more: String,
}

/// The verbs that every client knows, in the order of the help.
fn verbs() -> [Verb; 5] {
    [
        Verb {
            name: "get",
            about: "Answer with the robot and its token",
            usage: "echo SERVER | docker-credential-quayfed get",
            more: format!(
                "\
The answer holds a secret: it is for a client, not for a log.

Read on standard input, to its end:
  the server, HOST[:PORT][/PATH], also with https:// before it

Written to standard output:
  {{\"ServerURL\":\"SERVER\",\"Username\":\"builders+ci\",\"Secret\":\"eyJ...\"}}
  or one line that says why there is none

Exit codes:
  0  there is a token
  1  there is none: `{NOT_FOUND}`
     where no rule covers the server, `{NO_SERVER}`
     where none was given, or the cause of a failure, which stands with a
     hint on standard error too

For example, with each step told on standard error:
  echo quay.example.com | QUAYFED_LOG=info {PROGRAM} get"
            ),
        },
        Verb {
            name: "store",
            about: "Nothing is stored: succeeds for the configured robot alone",
            usage: "docker-credential-quayfed store",
            more: format!(
                "\
Clients call it after a login. A login as the robot that is configured succeeds
and changes nothing; as anybody else it fails, since `get` would not answer with
what was stored.

Read on standard input, to its end:
  {{\"ServerURL\":\"SERVER\",\"Username\":\"builders+ci\",\"Secret\":\"...\"}}

Written to standard output:
  nothing, or one line that says why the login is refused

Exit codes:
  0  the user name is that of the robot
  1  it is not, no rule covers the server, or the rule has a mistake

For example:
  echo '{{\"ServerURL\":\"quay.example.com\",\"Username\":\"builders+ci\"}}' |
    {PROGRAM} store"
            ),
        },
        Verb {
            name: "erase",
            about: "Forget the server's cached token",
            usage: "echo SERVER | docker-credential-quayfed erase",
            more: format!(
                "\
Clients call it at a logout. The next `get` gets a new token. Every cached token
is forgotten by `purge`.

Read on standard input, to its end:
  the server, HOST[:PORT][/PATH], also with https:// before it

Written to standard output:
  nothing

Exit codes:
  0  always, also where nothing was cached: some clients crash otherwise

For example:
  echo quay.example.com | {PROGRAM} erase"
            ),
        },
        Verb {
            name: "list",
            about: "Print the configured registries with their robots",
            usage: "docker-credential-quayfed list",
            more: format!(
                "\
Rules for paths and rules with a mistake are left out; `status` has them all.

Read on standard input:
  nothing

Written to standard output:
  {{\"quay.example.com\":\"builders+ci\"}}

Exit codes:
  0  also where nothing is configured, with {{}}
  1  standard output cannot be written to

For example:
  {PROGRAM} list"
            ),
        },
        Verb {
            name: "version",
            about: "Print the version",
            usage: "docker-credential-quayfed version",
            more: format!(
                "\
Also as --version, -v and -V.

Read on standard input:
  nothing

Written to standard output:
  {}

Exit codes:
  0  it is printed
  1  standard output cannot be written to

For example:
  {PROGRAM} version",
                super::version()
            ),
        },
    ]
}

/// What a person is told who wrote something behind a verb; nothing where the word is none.
pub(super) fn misused(word: &str) -> Option<Failure> {
    let verb = verbs().into_iter().find(|verb| verb.name == word)?.name;
    let hint = match verb {
        "get" | "erase" => format!(
            "the server comes on standard input: `echo quay.example.com | {PROGRAM} {verb}`"
        ),
        _ => format!("`{PROGRAM} help {verb}` says how to call it"),
    };
    Some(Failure::new(format!("`{verb}` takes no arguments"), hint))
}

/// The verbs as subcommands, so that they have a help. None is ever run so: `parse` matches them
/// before. They are hidden since [`listed`] stands in the help in another place.
pub(super) fn commands() -> impl Iterator<Item = clap::Command> {
    verbs().into_iter().map(|verb| {
        clap::Command::new(verb.name)
            .about(verb.about)
            .override_usage(verb.usage)
            .after_help(verb.more)
            .hide(true)
    })
}

/// What clients call, for the help of people who try it.
pub(super) fn listed() -> String {
    let lines = verbs().map(|verb| format!("  {:<8} {}", verb.name, verb.about)).join("\n");
    format!(
        "Clients call, with a server on standard input:\n{lines}\n\n\
         To try it by hand, with each step told on standard error:\n  \
         echo quay.example.com | QUAYFED_LOG=info {PROGRAM} get"
    )
}
