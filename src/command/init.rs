//! `init`: writes a commented configuration from options, after the loader has read it.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use crate::command::clients::{Client, certs_d};
use crate::command::configure::edit::{After, Edit, Outcome};
use crate::command::configure::notes::{self, Note};
use crate::command::json;
use crate::command::words::item;
use crate::command::{FAILED, WELL};
use crate::config;
use crate::failure::Failure;
use crate::printable::is_unprintable;
use crate::protocol::PROGRAM;
use crate::server::Server;
use crate::terminal::{Terminal, Tone};
use crate::world::World;

/// What `init` takes.
#[derive(Debug, Args)]
#[command(after_long_help = MEANING, next_line_help = true)]
pub struct Arguments {
    #[command(flatten)]
    options: Box<Options>,
    #[command(flatten)]
    secrets: Box<Secrets>,
}

#[derive(Debug, Args)]
struct Options {
    /// The registry, as clients ask for it [required]
    #[arg(long, value_name = "HOST")]
    registry: Option<String>,
    /// The robot account at Quay, NAMESPACE+NAME [required]
    #[arg(long, value_name = "ROBOT")]
    robot: Option<String>,
    /// Where Quay's exchange is [default: https:// and the registry's host]
    #[arg(long, value_name = "URL")]
    api_url: Option<String>,
    /// CAs of Quay and provider, in PEM [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<String>,
    /// client-credentials, file or env [default: file with --path, env with --variable, else
    /// client-credentials]
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// The name of the identity [default: the name of its source]
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// The file, or - for standard output [default: what `QUAYFED_CONFIG` names, else
    /// for root /etc/quayfed/config.toml, else ~/.config/quayfed/config.toml]
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    output: Option<PathBuf>,
    /// Replace a file that is there [default: fail]
    #[arg(long)]
    force: bool,
    /// Print one JSON object, version 1 of its form [default: words]
    #[arg(long)]
    json: bool,
    #[command(flatten, next_help_heading = "A token of a provider (client-credentials)")]
    client: ClientOptions,
    #[command(flatten, next_help_heading = "A token that is at hand (file, env)")]
    at_hand: AtHandOptions,
}

#[derive(Debug, Args)]
struct ClientOptions {
    /// As in the token's `iss` [required, or --token-endpoint]
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// The token endpoint [default: by discovery at the issuer]
    #[arg(long, value_name = "URL")]
    token_endpoint: Option<String>,
    /// The client at the provider [required]
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Where its secret is [required: one of these three]
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<String>,
    /// The variable that it is in [default: none]
    #[arg(long, value_name = "VARIABLE")]
    client_secret_env: Option<String>,
    /// The systemd credential that it is in [default: none]
    #[arg(long, value_name = "NAME")]
    client_secret_credential: Option<String>,
    /// The audience to ask for [default: none]
    #[arg(long, value_name = "AUDIENCE")]
    audience: Option<String>,
    /// The scopes to ask for, with commas or spaces between [default: none]
    #[arg(long, value_name = "SCOPES", value_delimiter = ',')]
    scopes: Vec<String>,
}

impl ClientOptions {
    /// One by one: `QUAYFED_SCOPES` takes spaces between them, so people try them here too.
    fn scopes(&self) -> Vec<String> {
        self.scopes.iter().flat_map(|some| some.split_whitespace()).map(str::to_owned).collect()
    }
}

#[derive(Debug, Args)]
struct AtHandOptions {
    /// The file that the token is in [required for file]
    #[arg(long, value_name = "FILE")]
    path: Option<String>,
    /// The variable that the token is in [required for env]
    #[arg(long, value_name = "VARIABLE")]
    variable: Option<String>,
    /// Where in JSON the token is: names and indexes with dots between [default: it is the whole]
    #[arg(long, value_name = "FIELD")]
    json_field: Option<String>,
}

/// What people try, to be told why there is no such thing.
#[derive(Debug, Args)]
struct Secrets {
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    client_secret: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    secret: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    password: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "")]
    token: Option<String>,
}

const MEANING: &str = "\
No option takes a secret: everybody on a host can see the command lines. Options
name the file, the variable or the systemd credential that a secret is in.

Everybody may read a file below /etc/quayfed; any other is its owner's alone.

For example:
  docker-credential-quayfed init \\
    --registry quay.example.com --robot builders+ci \\
    --issuer https://sso.example.com/realms/builds \\
    --client-id build-host \\
    --client-secret-file /etc/quayfed/client-secret

Exit codes:
  0  the configuration is written and sound
  1  the file cannot be written; or it is written, and another one has a
     mistake
  2  not called as this help says: an option is missing or wrong

--json is described in docs/scripts.md of the documentation.";

/// Does it.
pub(super) fn run(
    world: &World,
    terminal: &mut Terminal,
    arguments: &Arguments,
) -> Result<u8, Failure> {
    arguments.secrets.check()?;
    let arguments = &*arguments.options;
    let Some(registry) = &arguments.registry else {
        return Err(Failure::new(
            "`--registry` is not given",
            "add it, such as --registry quay.example.com",
        )
        .of_a_call());
    };
    let draft = Draft::of(arguments, registry);
    let server = draft.check().map_err(Failure::of_a_call)?;
    if arguments.output.as_deref() == Some(Path::new("-")) {
        if arguments.json {
            return Err(Failure::new(
                "`--output -` and `--json` both ask for standard output",
                "leave one of the two out",
            )
            .of_a_call());
        }
        terminal.write(&draft.text);
        return Ok(WELL);
    }
    let place = Place::of(world, arguments)?;
    place.write(world, &draft.text, arguments.force)?;
    let mut found = notes_on(world, &server, &place.file);
    let (Ok(notes) | Err(notes)) = &mut found;
    notes.extend(note_on_secret(world, arguments, &place));
    notes.extend(note_on_ca_file(world, arguments, &server));
    let (Ok(notes) | Err(notes)) = &found;
    let next = next_steps(world, arguments, &server, &draft.identity);
    if arguments.json {
        terminal.json(&json::line(&Report {
            version: VERSION,
            file: place.file.display().to_string(),
            registry: server.to_string(),
            identity: &draft.identity,
            sound: found.is_ok(),
            notes,
            next: &next,
        }));
    } else {
        let shown = terminal.paint(Tone::Accent, place.file.display());
        terminal.line(format_args!("{shown} is written, and it is sound."));
        notes::show(terminal, notes);
        show_next_steps(terminal, &next);
    }
    Ok(if found.is_ok() { WELL } else { FAILED })
}

const VERSION: u32 = 1;

/// What `init --json` prints: version 1 of its form.
#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    file: String,
    registry: String,
    identity: &'a str,
    sound: bool,
    notes: &'a [Note],
    next: &'a [NextStep],
}

/// Something that is still to be done.
#[derive(Serialize)]
struct NextStep {
    text: &'static str,
    command: String,
}

impl Secrets {
    fn check(&self) -> Result<(), Failure> {
        let tried = [
            ("--client-secret", &self.client_secret),
            ("--secret", &self.secret),
            ("--password", &self.password),
            ("--token", &self.token),
        ];
        let Some((name, _)) = tried.into_iter().find(|(_, value)| value.is_some()) else {
            return Ok(());
        };
        Err(Failure::new(
            format!("there is no `{name}`: everybody on this host can see the command lines"),
            "renew that secret if it was a real one; name the file or the variable that it is in \
             (--client-secret-file, --client-secret-env; --path, --variable for a token)",
        )
        .of_a_call())
    }
}

/// A configuration, before anybody has looked at it.
struct Draft {
    text: String,
    identity: String,
    /// How the loader calls the two tables.
    titles: [String; 2],
}

impl Draft {
    fn of(arguments: &Options, registry: &str) -> Self {
        let source = arguments.source.as_deref().unwrap_or({
            match (&arguments.at_hand.path, &arguments.at_hand.variable) {
                (Some(_), _) => "file",
                (None, Some(_)) => "env",
                (None, None) => "client-credentials",
            }
        });
        let identity = arguments.identity.as_deref().unwrap_or(source).to_owned();
        let is_bare = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        let name = if !identity.is_empty() && identity.chars().all(is_bare) {
            identity.clone()
        } else {
            quoted(&identity)
        };
        let mut text = String::from(HEADER);
        write_registry(&mut text, arguments, registry, &identity);
        write_identity(&mut text, arguments, &name, source);
        Self {
            text,
            titles: [format!("registry.\"{registry}\""), format!("identity.{name}")],
            identity,
        }
    }

    /// Lets the loader read it; its mistakes are told by the options that they come from.
    fn check(&self) -> Result<Server, Failure> {
        let settings = config::settings_in(Path::new(DRAFT), &self.text)
            .map_err(|failure| self.told(&failure))?;
        match settings.rules.into_iter().next() {
            Some((server, rule)) => rule.map(|_| server).map_err(|failure| self.told(&failure)),
            None => Err(Failure::new("the configuration has no rule", "report this, it is a bug")),
        }
    }

    /// A mistake of the configuration, in the words of the command line.
    fn told(&self, failure: &Failure) -> Failure {
        let text = match failure.cause().split_once(": ") {
            Some((place, text)) if place.starts_with(DRAFT) => text,
            _ => failure.cause(),
        };
        let option = |key: &str| format!("--{}", key.replace('_', "-"));
        let hint = failure.hint().strip_prefix("add a line such as `").and_then(|rest| {
            let (line, rest) = rest.split_once('`')?;
            let (key, value) = line.split_once(" = ")?;
            Some(format!("add it, such as {} {}{rest}", option(key), value.trim_matches('"')))
        });
        let hint = hint.as_deref().unwrap_or(failure.hint());
        // What else is wrong is named by its keys.
        let hint = match hint.split_once(" (then: ") {
            None => hint.to_owned(),
            Some((hint, others)) => {
                let others = config::key_names().fold(others.to_owned(), |others, key| {
                    others.replace(&format!("`{key}`"), &format!("`{}`", option(key)))
                });
                format!("{hint} (then: {others}")
            }
        };
        let hint = &hint;
        for title in &self.titles {
            if let Some(keys) = text.strip_prefix(&format!("{title} lacks ")) {
                let names: Vec<String> = keys
                    .split(" or ")
                    .map(|key| format!("`{}`", option(key.trim_matches('`'))))
                    .collect();
                return Failure::new(format!("{} is not given", names.join(" or ")), hint);
            }
            if let Some(rest) = text.strip_prefix(&format!("{title}.")) {
                let end = rest.find([':', ' ']).unwrap_or(rest.len());
                let (key, rest) = rest.split_at(end);
                return Failure::new(format!("`{}`{rest}", option(key)), hint);
            }
        }
        Failure::new(text, hint)
    }
}

/// What the file is called before it has a name.
const DRAFT: &str = "the configuration";

const HEADER: &str = "\
# docker-credential-quayfed, made by its `init`. Lines with `# key = value` are settings that are
# not set. A secret must not be written here. A change counts from the next pull on.
";

fn write_registry(text: &mut String, arguments: &Options, registry: &str, identity: &str) {
    let mut table = Lines { text };
    table.comment("\nWhat clients ask for, and the robot account of Quay to answer with.");
    table.header(&format!("registry.{}", quoted(registry)));
    table.set("robot", arguments.robot.as_deref());
    table.set("identity", Some(identity));
    table.comment("\nWhere Quay's exchange is, if it is not at https:// and the name above.");
    table.set_or_show("api_url", arguments.api_url.as_deref(), "https://quay-api.example.com");
    table.comment("Certificates (PEM) that are trusted for Quay besides the system's.");
    table.set_or_show("ca_file", arguments.ca_file.as_deref(), "/etc/quayfed/ca.pem");
    table.comment("What a token should still have: the time of your longest push.");
    table.set_or_show("min_validity", None, "15m");
    table.comment("What a failure means for a pull: it fails, or goes on as \"anonymous\".");
    table.set_or_show("on_error", None, "fail");
}

fn write_identity(text: &mut String, arguments: &Options, name: &str, source: &str) {
    let mut table = Lines { text };
    table.comment("\nWhere the OIDC token comes from.");
    table.header(&format!("identity.{name}"));
    table.set("source", Some(source));
    let is_client = source == "client-credentials";
    if arguments.client.issuer.is_some() {
        table.comment("As in the token's `iss`, to the letter.");
    }
    table.set("issuer", arguments.client.issuer.as_deref());
    if is_client && arguments.client.issuer.is_some() && arguments.client.token_endpoint.is_none() {
        table.comment("With this given, nothing is discovered.");
        table.set_or_show("token_endpoint", None, "https://sso.example.com/token");
    }
    table.set("token_endpoint", arguments.client.token_endpoint.as_deref());
    table.set("client_id", arguments.client.client_id.as_deref());
    if is_client {
        table.comment("Where the client's secret is. A file is for its owner (0600), or for a group too (0640).");
    }
    table.set("client_secret_file", arguments.client.client_secret_file.as_deref());
    table.set("client_secret_env", arguments.client.client_secret_env.as_deref());
    table.set("client_secret_credential", arguments.client.client_secret_credential.as_deref());
    if is_client {
        table.comment("What to ask for, where the provider looks at it.");
        table.set_or_show("audience", arguments.client.audience.as_deref(), "quay");
        table.set_list_or_show("scopes", &arguments.client.scopes(), "openid");
    } else {
        table.set("audience", arguments.client.audience.as_deref());
        if !arguments.client.scopes().is_empty() {
            table.set_list_or_show("scopes", &arguments.client.scopes(), "");
        }
    }
    table.set("path", arguments.at_hand.path.as_deref());
    table.set("variable", arguments.at_hand.variable.as_deref());
    if is_client {
        table.set("json_field", arguments.at_hand.json_field.as_deref());
        table.comment("Certificates (PEM) that are trusted for the provider besides the system's.");
        table.set_or_show("ca_file", arguments.ca_file.as_deref(), "/etc/quayfed/ca.pem");
    } else {
        table.comment("Where the token is within JSON: names and indexes with dots between.");
        table.set_or_show("json_field", arguments.at_hand.json_field.as_deref(), "access_token");
    }
}

/// The lines of a table.
struct Lines<'a> {
    text: &'a mut String,
}

impl Lines<'_> {
    /// A comment; a line end before it makes an empty line.
    fn comment(&mut self, comment: &str) {
        let (space, comment) = match comment.strip_prefix('\n') {
            Some(comment) => ("\n", comment),
            None => ("", comment),
        };
        let _ = writeln!(self.text, "{space}# {comment}");
    }

    fn header(&mut self, title: &str) {
        let _ = writeln!(self.text, "[{title}]");
    }

    fn set(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            let _ = writeln!(self.text, "{key} = {}", quoted(value));
        }
    }

    /// The value, or how one would be set.
    fn set_or_show(&mut self, key: &str, value: Option<&str>, example: &str) {
        if value.is_none() {
            self.text.push_str("# ");
        }
        self.set(key, value.or(Some(example)));
    }

    fn set_list_or_show(&mut self, key: &str, values: &[String], example: &str) {
        let listed = |values: &[String]| {
            values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(", ")
        };
        let _ = if values.is_empty() {
            writeln!(self.text, "# {key} = [{}]", quoted(example))
        } else {
            writeln!(self.text, "{key} = [{}]", listed(values))
        };
    }
}

/// A text as a basic string of TOML: what JSON escapes, it reads; DEL alone it wants escaped too.
/// A text as a string of TOML, in which everything is seen.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            other if is_unprintable(other) => {
                let _ = write!(quoted, "\\U{:08X}", u32::from(other));
            }
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

/// Where the configuration goes.
struct Place {
    file: PathBuf,
    is_for_all: bool,
}

impl Place {
    fn of(world: &World, arguments: &Options) -> Result<Self, Failure> {
        let system = &world.places.system_configuration;
        let user = world.user_configuration();
        let chosen = world.environment.path("QUAYFED_CONFIG");
        let file = match (&arguments.output, chosen) {
            (Some(output), _) => std::path::absolute(output).unwrap_or_else(|_| output.clone()),
            (None, Some(chosen)) => chosen,
            (None, None) if world.caller.uid() == 0 => system.join("config.toml"),
            (None, None) => {
                user.map(|folder| folder.join("quayfed/config.toml")).ok_or_else(|| {
                    Failure::new(
                        "HOME is not set, so there is no place for a configuration of yours",
                        "set HOME, or name the file: --output FILE",
                    )
                })?
            }
        };
        Ok(Self { is_for_all: file.starts_with(system), file })
    }

    fn write(&self, world: &World, text: &str, force: bool) -> Result<(), Failure> {
        let shown = self.file.display();
        let change = |before: Option<&[u8]>| match before {
            Some(_) if !force => Err(Failure::new(
                format!("{shown} is there already"),
                if self.is_for_all {
                    "nothing was changed; add to it by hand, write another file of the same \
                     folder's config.d (--output), or replace it (--force)"
                } else {
                    "nothing was changed; add to it by hand, write another file (--output) and \
                     name it by QUAYFED_CONFIG, or replace it (--force)"
                },
            )),
            _ => Ok(Outcome { after: After::Content(text.into()), deeds: Vec::new() }),
        };
        // What is in the system's folder is for every user: it holds no secret.
        let (mode, mode_of_folder) = if self.is_for_all { (0o644, 0o755) } else { (0o600, 0o700) };
        let edit = Edit {
            path: self.file.clone(),
            mode,
            mode_of_folder,
            empty: "",
            change: Box::new(change),
        };
        edit.make(world).map(|_| ())
    }
}

/// What keeps the rule from being used as it was written: `Err` where a pull would fail.
fn notes_on(world: &World, server: &Server, file: &Path) -> Result<Vec<Note>, Vec<Note>> {
    let told = |failure: &Failure| vec![Note::new(failure.cause(), failure.hint())];
    let settings = config::load(world).map_err(|failure| told(&failure))?.settings;
    let shown = file.display();
    let mut notes = Vec::new();
    match settings.rules.get(server) {
        Some(Err(failure)) => return Err(told(failure)),
        Some(Ok(rule)) if rule.place.file() == Some(file) => {}
        Some(Ok(rule)) => notes.push(Note::new(
            format!("{} has a rule for {server} too, and that one counts", rule.place),
            "take one of the two away",
        )),
        None => notes.push(Note::new(
            format!("{shown} is none of the files that are read"),
            format!("name it to clients: QUAYFED_CONFIG={shown}"),
        )),
    }
    if !server.path().is_empty() {
        notes.push(Note::new(
            format!("podman and docker ask for the bare host, not for {server}"),
            format!("add a rule for it, [registry.\"{}\"], to serve them too", server.host()),
        ));
    }
    Ok(notes)
}

/// Whether the secret of a configuration for every user is one that the others cannot read.
fn note_on_secret(world: &World, arguments: &Options, place: &Place) -> Option<Note> {
    let file = arguments.client.client_secret_file.as_deref().filter(|_| place.is_for_all)?;
    let metadata = std::fs::metadata(file).ok()?;
    let (mode, now) = (metadata.mode() & 0o7777, world.as_now());
    (mode & 0o044 == 0).then(|| {
        Note::to_call(
            format!(
                "only uid {} can read {file} (mode {mode:04o}): pulls of other users would fail, \
                 until a group of theirs may read it",
                metadata.uid()
            ),
            format!("{now}chgrp GROUP {file}; {now}chmod 0640 {file}"),
        )
    })
}

/// Clients do not read our `ca_file`.
fn note_on_ca_file(world: &World, arguments: &Options, server: &Server) -> Option<Note> {
    let ca_file = arguments.ca_file.as_deref()?;
    let has_none = certs_d::files(world, Client::Containers, server.host()).is_empty();
    has_none.then(|| {
        Note::to_call(
            format!(
                "{ca_file} is read by this helper only: unless the system trusts that CA, tell \
                 podman, buildah and skopeo of it too (docker: the same below /etc/docker)"
            ),
            certs_d::command(world, Client::Containers, server.host(), Path::new(ca_file)),
        )
    })
}

/// What puts a line into a file for its owner alone. The terminal does not show it, no history and no
/// process list has it, and it is read from where it is typed: /dev/stdin is closed to somebody who
/// became another user in somebody's terminal.
fn of_secret(file: &str) -> String {
    format!("sh -c 'umask 077; stty -echo; head -n 1 >{file}; stty echo'")
}

fn next_steps(
    world: &World,
    arguments: &Options,
    server: &Server,
    identity: &str,
) -> Vec<NextStep> {
    let now = world.as_now();
    let mut steps = Vec::new();
    if let Some(file) = arguments.client.client_secret_file.as_deref()
        && std::fs::symlink_metadata(file).is_err()
    {
        steps.push(NextStep {
            text: "Put the client's secret into its file: paste it, then Enter. It is not shown.",
            command: format!("{now}{}", of_secret(file)),
        });
    }
    steps.extend([
        NextStep {
            text: "Ask what Quay has to know, and enter it at the robot account's federation.",
            command: format!("{now}{PROGRAM} identity {identity}"),
        },
        NextStep {
            text: "Tell podman and docker.",
            command: format!("{now}{PROGRAM} configure {}", server.host()),
        },
        NextStep {
            text: "Look at the whole way of a pull.",
            command: format!("{now}{PROGRAM} doctor {server}"),
        },
    ]);
    steps
}

fn show_next_steps(terminal: &mut Terminal, steps: &[NextStep]) {
    terminal.line("");
    let heading = terminal.paint(Tone::Strong, "Next");
    terminal.line(heading);
    for (number, NextStep { text, command }) in (1..).zip(steps) {
        item(terminal, "  ", (None, &format!("{number}.")), None, text);
        let command = terminal.paint(Tone::Accent, command);
        terminal.line(format_args!("       {command}"));
    }
}
