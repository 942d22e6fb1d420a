//! `configure`: puts the helper into the files in which podman, buildah, skopeo and docker look for
//! one.
//!
//! podman, buildah and skopeo read every auth.json that there is, and take the first that has
//! something for a registry: that of `podman login`, which is gone after a logout, and then that of
//! the user's configuration, which lasts and which every session and service of the user reads. So
//! the entry goes into the latter, unless `REGISTRY_AUTH_FILE` names another.

mod diff;
pub(in crate::command) mod edit;
mod json;
pub(in crate::command) mod notes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::command::WELL;
use crate::command::clients::auth_file::{self, AuthFile};
use crate::command::clients::registries_conf::{self, AUTH_FILES, Helpers};
use crate::command::clients::registries_files::{self, Generation, Reader};
use crate::command::clients::{self, Client, HELPER};
use crate::config;
use crate::failure::Failure;
use crate::printable::on_one_line;
use crate::server::Server;
use crate::terminal::{Terminal, Tone};
use crate::world::World;
use edit::{After, Change, Deed, DeedKind, Edit, Outcome, Preview};

/// What `configure` takes.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[command(after_long_help = MEANING)]
pub struct Arguments {
    /// The registries [default: the rules' hosts; with --undo all]
    #[arg(value_name = "REGISTRY")]
    registries: Vec<String>,
    /// Those of containers or of docker alone [default: both]
    #[arg(long, value_enum, value_name = "WHOSE", hide_possible_values = true)]
    only: Option<Client>,
    /// For every user and registry [default: for you, one by one]
    #[arg(long, conflicts_with_all = ["registries", "only"])]
    system: bool,
    /// Take away what this has put in [default: put it in]
    #[arg(long)]
    undo: bool,
    /// Show a diff and write nothing [default: write]
    #[arg(long)]
    dry_run: bool,
    /// Take the place of another helper [default: fail there]
    #[arg(long, conflicts_with = "undo")]
    force: bool,
    /// Print one JSON object, version 1 of its form [default: words]
    #[arg(long)]
    json: bool,
}

const MEANING: &str = "\
Files:
  containers: of podman, buildah and skopeo
      $REGISTRY_AUTH_FILE, or else ~/.config/containers/auth.json
  docker
      $DOCKER_CONFIG/config.json, or else ~/.docker/config.json
  --system: of every user's podman, buildah and skopeo
      the file in /etc/containers whose credential-helpers count, or else
      /etc/containers/registries.conf.d/50-quayfed.conf

Everything else in a file stays as it is. A new file is its owner's alone, but
for that of --system, which all may read. Logins and other settings that keep
the helper from being asked are told, and left alone. A helper that --force
replaces is told too: --undo does not bring it back.

Exit codes:
  0  it is done, or there was nothing to do
  1  a file cannot be changed: it and those after it are as they were
  2  not called as this help says

--json is described in docs/scripts.md of the documentation.";

/// Does it.
pub(super) fn run(
    world: &World,
    terminal: &mut Terminal,
    arguments: &Arguments,
) -> Result<u8, Failure> {
    let (edits, notes) = if arguments.system {
        system_edits(world, arguments)?
    } else {
        own_edits(world, arguments)?
    };
    // Whatever is wrong is found before anything is written.
    let previews: Result<Vec<_>, _> = edits.iter().map(|(_, edit)| edit.preview(world)).collect();
    let previews = match previews {
        Ok(previews) => previews,
        Err(failure) => {
            if arguments.json {
                terminal.json(&json::of(arguments.dry_run, &[], &[], Some(&failure)));
            }
            return Err(failure);
        }
    };
    let is_to_do = previews.iter().any(|preview| preview.outcome.after != After::Same);
    let mut files = Vec::new();
    let mut failure = None;
    for ((whose, edit), Preview { before, outcome }) in edits.iter().zip(previews) {
        let outcome = if arguments.dry_run { Ok(outcome) } else { edit.make(world) };
        match outcome {
            Ok(outcome) => {
                files.push(Changed { whose: *whose, path: edit.path.clone(), before, outcome });
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let notes = if arguments.undo || failure.is_some() { Vec::new() } else { notes(world) };
    if arguments.json {
        terminal.json(&json::of(arguments.dry_run, &files, &notes, failure.as_ref()));
        return failure.map_or(Ok(WELL), Err);
    }
    for file in &files {
        file.show(terminal, arguments);
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    notes::show(terminal, &notes);
    let last = match (is_to_do, arguments.dry_run) {
        // Whatever the notes say is to be done elsewhere.
        (false, _) => "No file needs a change.",
        (true, true) => "Nothing was written: this was a dry run.",
        (true, false) => return Ok(WELL),
    };
    terminal.line("");
    let last = terminal.paint(Tone::Strong, last);
    terminal.line(last);
    Ok(WELL)
}

/// The edits, with whose files they are, and what makes the notes.
type Plan<'a> = (Vec<(Whose, Edit<'a>)>, Box<dyn Fn(&World) -> Vec<notes::Note> + 'a>);

/// Whose files they are.
#[derive(Clone, Copy)]
enum Whose {
    Of(Client),
    EveryUser,
}

impl Whose {
    /// For people.
    const fn words(self) -> &'static str {
        match self {
            Self::Of(client) => client.programs(),
            Self::EveryUser => "every user",
        }
    }

    /// For scripts, as the options have it.
    const fn name(self) -> &'static str {
        match self {
            Self::Of(Client::Containers) => "containers",
            Self::Of(Client::Docker) => "docker",
            Self::EveryUser => "system",
        }
    }
}

/// A file, as it was and as it is then.
struct Changed {
    whose: Whose,
    path: PathBuf,
    before: Option<Vec<u8>>,
    outcome: Outcome,
}

impl Changed {
    fn show(&self, terminal: &mut Terminal, arguments: &Arguments) {
        if arguments.dry_run && self.outcome.after != After::Same {
            let (before, after) = self.shown(arguments);
            diff::show(terminal, &self.path, before.as_deref(), after.as_deref());
        } else {
            self.tell(terminal);
        }
    }

    /// The two sides of a diff, without secrets.
    fn shown(&self, arguments: &Arguments) -> (Option<String>, Option<String>) {
        let text = |content: &[u8]| {
            if arguments.system {
                String::from_utf8_lossy(content).into_owned()
            } else {
                auth_file::masked(content)
            }
        };
        let before = self.before.as_deref();
        let after = match &self.outcome.after {
            After::Same => before,
            After::Content(content) => Some(&**content),
            After::Gone => None,
        };
        (before.map(text), after.map(text))
    }

    /// Tells what was done.
    fn tell(&self, terminal: &mut Terminal) {
        let shown = terminal.paint(Tone::Accent, self.path.display());
        let whose = terminal.paint(Tone::Faint, format_args!("({})", self.whose.words()));
        terminal.line(format_args!("{shown} {whose}"));
        for Deed { kind, what } in &self.outcome.deeds {
            let (tone, verb) = match kind {
                DeedKind::Added => (Tone::Good, "added"),
                DeedKind::IsThere => (Tone::Faint, "is there"),
                DeedKind::Replaced(_) => (Tone::Warning, "replaced"),
                DeedKind::TakenAway => (Tone::Warning, "taken away"),
            };
            let verb = terminal.paint(tone, format_args!("{verb:<10}"));
            match kind {
                DeedKind::Replaced(was) => {
                    terminal.line(format_args!("  {verb} {what} (was {})", on_one_line(was)));
                }
                _ => terminal.line(format_args!("  {verb} {what}")),
            }
        }
        if self.outcome.deeds.is_empty() {
            let nothing = terminal.paint(Tone::Faint, "nothing of this program's");
            terminal.line(format_args!("  {nothing}"));
        }
        if self.outcome.after == After::Gone {
            let gone = terminal.paint(Tone::Faint, "the file is gone: nothing else was in it");
            terminal.line(format_args!("  {gone}"));
        }
    }
}

fn own_edits<'a>(world: &World, arguments: &'a Arguments) -> Result<Plan<'a>, Failure> {
    let registries = if arguments.undo {
        Registries::to_forget(arguments)?
    } else {
        Registries::to_configure(world, arguments)?
    };
    let clients = arguments.only.map_or_else(|| Client::ALL.to_vec(), |only| vec![only]);
    let mut edits: Vec<(Whose, Edit<'_>)> = Vec::new();
    for client in clients.iter().copied() {
        let path = client.file(world)?;
        // REGISTRY_AUTH_FILE may name docker's.
        if edits.iter().any(|(_, edit)| edit.path == path) {
            continue;
        }
        let hosts = registries.hosts.clone();
        let (shown, force) = (path.display().to_string(), arguments.force);
        let change: Change<'_> = if arguments.undo {
            Box::new(move |content| without_entries(client, content, &hosts, &shown))
        } else {
            Box::new(move |content| with_entries(client, content, &hosts, &shown, force))
        };
        let edit = Edit { path, mode: 0o600, mode_of_folder: 0o700, empty: "{}\n", change };
        edits.push((Whose::Of(client), edit));
    }
    Ok((edits, Box::new(move |world| notes::of_files(world, &clients, &registries))))
}

/// Which registries are meant, and what the configuration has for them.
#[derive(Debug, Default)]
struct Registries {
    /// What clients ask for, in the order in which it was given, each once.
    hosts: Vec<String>,
    /// What was given with a path.
    asked_with_path: Vec<Server>,
    /// The hosts with rules for paths, but none for the host itself.
    by_path_alone: BTreeSet<String>,
    /// The hosts that no rule covers.
    without_rule: Vec<String>,
    /// The hosts whose rule has a mistake.
    broken: Vec<(String, Failure)>,
    /// Why the configuration cannot be used at all.
    mistake: Option<Failure>,
}

impl Registries {
    /// Those that were given; none means all that the helper is named for.
    fn to_forget(arguments: &Arguments) -> Result<Self, Failure> {
        let mut registries = Self::default();
        for server in given(arguments)? {
            registries.add(server.host());
        }
        Ok(registries)
    }

    /// Those that were given, or the bare hosts of the configuration.
    fn to_configure(world: &World, arguments: &Arguments) -> Result<Self, Failure> {
        let given = given(arguments)?;
        let mut registries = Self::default();
        for server in &given {
            registries.add(server.host());
        }
        registries.asked_with_path =
            given.into_iter().filter(|server| !server.path().is_empty()).collect();
        let settings = match config::load_settings(world) {
            Ok(settings) => settings,
            Err(failure) if !registries.hosts.is_empty() => {
                registries.mistake = Some(failure);
                return Ok(registries);
            }
            Err(failure) => return Err(failure),
        };
        let hosts: BTreeSet<&str> = settings.rules.keys().map(Server::host).collect();
        let has_rule = |host: &&str| {
            settings.rules.keys().any(|rule| rule.host() == *host && rule.path().is_empty())
        };
        let is_meant: Vec<String> = registries.hosts.clone();
        if is_meant.is_empty() {
            registries.hosts =
                hosts.iter().filter(|host| has_rule(host)).map(ToString::to_string).collect();
        }
        let is_asked = |host: &&&str| is_meant.is_empty() || is_meant.iter().any(|it| it == **host);
        registries.by_path_alone = hosts
            .iter()
            .filter(is_asked)
            .filter(|host| !has_rule(host))
            .map(ToString::to_string)
            .collect();
        for host in &registries.hosts {
            if !hosts.contains(host.as_str()) {
                registries.without_rule.push(host.clone());
            }
            let rule = Server::parse(host).ok().and_then(|server| settings.rules.get(&server));
            if let Some(Err(failure)) = rule {
                registries.broken.push((host.clone(), failure.clone()));
            }
        }
        if registries.hosts.is_empty() {
            return Err(registries.nothing_to_configure());
        }
        Ok(registries)
    }

    fn nothing_to_configure(&self) -> Failure {
        match self.by_path_alone.first() {
            Some(host) => Failure::new(
                format!("the configuration has rules for paths alone, such as those of `{host}`"),
                format!(
                    "podman and docker ask for the bare host: add a rule for it, \
                     [registry.\"{host}\"]"
                ),
            ),
            None => Failure::new(
                "the configuration has no registry",
                "write one, by hand or with `init`, or name the registries: configure REGISTRY",
            ),
        }
    }

    fn add(&mut self, host: &str) {
        if !self.hosts.iter().any(|other| other == host) {
            self.hosts.push(host.to_owned());
        }
    }
}

fn given(arguments: &Arguments) -> Result<Vec<Server>, Failure> {
    let parse = |name: &String| {
        Server::parse(name).map_err(|error| {
            Failure::new(
                format!("`{name}` is no name of a registry: it {}", error.0),
                "write HOST[:PORT] as clients ask for it, such as quay.example.com",
            )
        })
    };
    arguments.registries.iter().map(parse).collect()
}

fn with_entries(
    client: Client,
    content: Option<&[u8]>,
    hosts: &[String],
    shown: &str,
    force: bool,
) -> Result<Outcome, Failure> {
    let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let file = AuthFile::to_change(client, content.unwrap_or_default(), shown)?;
    let mut deeds = Vec::new();
    for host in hosts {
        let kind = match file.helper_of(host) {
            Some(helper) if helper == HELPER => DeedKind::IsThere,
            None | Some("") => DeedKind::Added,
            Some(other) if !force => {
                return Err(Failure::new(
                    format!("{shown} names the helper `{other}` for {host}"),
                    "nothing was changed; with --force this helper takes its place (--undo does \
                     not bring it back)",
                ));
            }
            Some(other) => DeedKind::Replaced(other.to_owned()),
        };
        deeds.push(Deed { kind, what: host.clone() });
    }
    let new_file = || auth_file::new_file(&names, HELPER);
    let after = match content {
        _ if deeds.iter().all(|deed| deed.kind == DeedKind::IsThere) => After::Same,
        None => After::Content(new_file().into()),
        // Without a line end, so that it can be told from a file that was not there.
        Some(content) if content.trim_ascii().is_empty() => {
            After::Content(new_file().trim_end().into())
        }
        Some(_) => After::Content(file.with(&names, HELPER, shown)?),
    };
    Ok(Outcome { after, deeds })
}

fn without_entries(
    client: Client,
    content: Option<&[u8]>,
    hosts: &[String],
    shown: &str,
) -> Result<Outcome, Failure> {
    let Some(content) = content else {
        return Ok(Outcome { after: After::Same, deeds: Vec::new() });
    };
    let file = AuthFile::to_change(client, content, shown)?;
    let is_meant = |host: &String| hosts.is_empty() || hosts.contains(host);
    let ours: Vec<String> = file.hosts_of(HELPER).into_iter().filter(is_meant).collect();
    let names: Vec<&str> = ours.iter().map(String::as_str).collect();
    let new_file = auth_file::new_file(&names, HELPER);
    let after = match content {
        _ if ours.is_empty() => After::Same,
        content if content == new_file.as_bytes() => After::Gone,
        content if content == new_file.trim_end().as_bytes() => After::Content(Vec::new()),
        _ => After::Content(file.without(&names, HELPER, shown)?),
    };
    let deeds = ours.iter().map(|host| Deed { kind: DeedKind::TakenAway, what: host.clone() });
    Ok(Outcome { after, deeds: deeds.collect() })
}

fn system_edits<'a>(world: &World, arguments: &Arguments) -> Result<Plan<'a>, Failure> {
    let own = registries_files::own_drop_in(world);
    // What a package brings is its own: a file of ours counts after it.
    let is_ours_to_change = |file: &Path| file.starts_with(&world.places.containers_configuration);
    let mut others = vec![AUTH_FILES.to_owned()];
    let mut files: Vec<PathBuf> = Vec::new();
    for read in readings(world) {
        let counting = registries_conf::counting(&read)?;
        if arguments.undo {
            for file in read.into_iter().filter(|file| is_ours_to_change(file)) {
                let content = clients::content_of(&file)?.unwrap_or_default();
                let helpers = Helpers::parse(&content, &file.display().to_string())?;
                if helpers.is_some_and(|helpers| helpers.has(HELPER)) && !files.contains(&file) {
                    files.push(file);
                }
            }
            continue;
        }
        let file = match counting {
            Some((file, _)) if is_ours_to_change(&file) => file,
            Some((_, helpers)) => {
                others = helpers;
                own.clone()
            }
            None => own.clone(),
        };
        if !files.contains(&file) {
            files.push(file);
        }
    }
    let edits = files.iter().map(|path| {
        let (path, shown) = (path.clone(), path.display().to_string());
        let others = (path == own).then(|| others.clone());
        let change: Change<'_> = if arguments.undo {
            Box::new(move |content| without_helper(content, &shown))
        } else {
            Box::new(move |content| with_helper(content, &shown, others.as_deref()))
        };
        // Every user reads it.
        (Whose::EveryUser, Edit { path, mode: 0o644, mode_of_folder: 0o755, empty: "", change })
    });
    let edits = edits.collect();
    let notes = move |world: &World| {
        notes::of_system(world, &config::load_settings(world).unwrap_or_default(), &files)
    };
    Ok((edits, Box::new(notes)))
}

/// Each list of files of the system's that somebody's podman reads.
fn readings(world: &World) -> Vec<Vec<PathBuf>> {
    let users = registries_files::users_with_drop_ins(world).into_iter();
    // Any user without files of his own stands for the others: nobody has this uid.
    let readers = [Reader::Root, Reader::User(u32::MAX)].into_iter().chain(users.map(Reader::User));
    let since_six = readers.map(|reader| (Generation::SinceSix, reader));
    std::iter::once((Generation::BeforeSix, Reader::Root))
        .chain(since_six)
        .map(|(generation, reader)| registries_files::of_system(world, generation, reader, None))
        .collect()
}

const EVERY_REGISTRY: &str = "every registry";

/// A list of helpers with this one in it. `others` is what comes before it in a file of ours that has
/// no list yet.
fn with_helper(
    content: Option<&[u8]>,
    shown: &str,
    others: Option<&[String]>,
) -> Result<Outcome, Failure> {
    let deed = |kind| vec![Deed { kind, what: EVERY_REGISTRY.to_owned() }];
    let helpers = Helpers::parse(content.unwrap_or_default(), shown)?;
    Ok(match (helpers, others) {
        (Some(helpers), _) if helpers.has(HELPER) => {
            Outcome { after: After::Same, deeds: deed(DeedKind::IsThere) }
        }
        (Some(helpers), _) => {
            let after = After::Content(helpers.with(HELPER).into());
            Outcome { after, deeds: deed(DeedKind::Added) }
        }
        (None, Some(others)) => {
            let rest = content.unwrap_or_default();
            let others: Vec<&str> = others.iter().map(String::as_str).collect();
            let new_file = registries_conf::new_file(HELPER, &others);
            let after = After::Content([new_file.as_bytes(), rest].concat());
            Outcome { after, deeds: deed(DeedKind::Added) }
        }
        // It had a list when it was chosen: another process has taken it away.
        (None, None) => {
            return Err(Failure::new(
                format!("{shown} was changed by another process"),
                "nothing was changed; try again",
            ));
        }
    })
}

fn without_helper(content: Option<&[u8]>, shown: &str) -> Result<Outcome, Failure> {
    let content = content.unwrap_or_default();
    let helpers = Helpers::parse(content, shown)?.filter(|helpers| helpers.has(HELPER));
    let Some(helpers) = helpers else {
        return Ok(Outcome { after: After::Same, deeds: Vec::new() });
    };
    let others: Vec<&str> = helpers.names().into_iter().filter(|it| *it != HELPER).collect();
    let after = match content.strip_prefix(registries_conf::new_file(HELPER, &others).as_bytes()) {
        Some([]) => After::Gone,
        Some(rest) => After::Content(rest.to_vec()),
        None => After::Content(helpers.without(HELPER).into()),
    };
    let what = EVERY_REGISTRY.to_owned();
    Ok(Outcome { after, deeds: vec![Deed { kind: DeedKind::TakenAway, what }] })
}
