//! What keeps the helper from being asked, or from answering, although it is configured.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Registries;
use crate::command::clients::auth_file::Asked;
use crate::command::clients::registries_conf::{self, AUTH_FILES, Helpers};
use crate::command::clients::registries_files::{self, Generation};
use crate::command::clients::{self, Client, HELPER, NAMED, registries};
use crate::command::words::item;
use crate::config::settings::Settings;
use crate::failure::Failure;
use crate::protocol::PROGRAM;
use crate::terminal::{Terminal, Tone};
use crate::world::World;

/// Something to know, and what to do about it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(in crate::command) struct Note {
    text: String,
    #[serde(flatten)]
    hint: Hint,
    in_the_way: Option<InTheWay>,
}

/// What keeps clients from asking the helper at all.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct InTheWay {
    file: String,
    /// Nothing where it is every one.
    registry: Option<String>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq, Serialize)]
enum Hint {
    #[serde(rename = "hint")]
    Words(String),
    /// A command, which stays in one line to be copied.
    #[serde(rename = "command")]
    Command(String),
}

impl Note {
    pub(in crate::command) fn new(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { text: text.into(), hint: Hint::Words(hint.into()), in_the_way: None }
    }

    pub(in crate::command) fn to_call(text: impl Into<String>, command: impl Into<String>) -> Self {
        Self { text: text.into(), hint: Hint::Command(command.into()), in_the_way: None }
    }

    /// What a failure says.
    pub(in crate::command) fn of(failure: &Failure) -> Self {
        Self::new(failure.cause(), failure.hint())
    }

    fn in_the_way(mut self, file: &Path, registry: Option<&str>) -> Self {
        let (file, registry) = (file.display().to_string(), registry.map(str::to_owned));
        self.in_the_way = Some(InTheWay { file, registry });
        self
    }
}

/// Shows notes, the hint of each below it.
pub(in crate::command) fn show(terminal: &mut Terminal, notes: &[Note]) {
    if notes.is_empty() {
        return;
    }
    terminal.line("");
    let heading = terminal.paint(Tone::Warning, "Worth knowing");
    terminal.line(heading);
    for note in notes {
        item(terminal, "  ", (Tone::Warning, "!"), None, &note.text);
        match &note.hint {
            Hint::Words(words) => item(terminal, "    ", (Tone::Faint, "→"), Tone::Faint, words),
            Hint::Command(command) => {
                let mark = terminal.paint(Tone::Faint, "→");
                let command = terminal.paint(Tone::Accent, command);
                terminal.line(format_args!("    {mark} {command}"));
            }
        }
    }
}

/// The notes on files of one user's.
pub(super) fn of_files(world: &World, clients: &[Client], registries: &Registries) -> Vec<Note> {
    let mut notes = of_registries(world, registries);
    let files: Vec<PathBuf> = clients.iter().filter_map(|it| it.file(world).ok()).collect();
    for client in clients {
        let Ok(file) = client.file(world) else { continue };
        let earlier = match client {
            Client::Containers => clients::auth_files(world),
            Client::Docker => Vec::new(),
        };
        let earlier = earlier.into_iter().take_while(|earlier| *earlier != file);
        for earlier in earlier.filter(|earlier| !files.contains(earlier)) {
            notes.extend(of_earlier_file(world, &earlier, &registries.hosts));
        }
        notes.extend(of_own_file(&file, *client, &registries.hosts));
        let without_rule = clients::hosts_without_rule(world, *client, &file).into_iter();
        for host in without_rule.filter(|host| !registries.hosts.contains(host)) {
            notes.push(Note::to_call(
                format!(
                    "{} names the helper for {host} too, and no rule covers that: a pull from there \
                     goes on without credentials",
                    file.display()
                ),
                format!("{PROGRAM} configure --undo {host}"),
            ));
        }
        let is_named = *client == Client::Containers && world.environment.has(NAMED);
        if is_named && clients::is_short_lived(world, &file) {
            notes.push(Note::new(
                format!("{NAMED} names {}, which is gone after a logout or a boot", file.display()),
                format!("call this again then, or without {NAMED}: then the entry lasts"),
            ));
        } else if is_named {
            notes.push(Note::new(
                format!("{} is read only where {NAMED} names it", file.display()),
                "services and other sessions need that variable too",
            ));
        }
    }
    if clients.contains(&Client::Containers) {
        notes.extend(of_list(world));
        notes.extend(of_tables(world, &registries.hosts));
    }
    notes.extend(of_missing_file(world, clients, &files));
    notes.extend(of_program(world));
    notes
}

/// Without docker's file, where a variable names its folder, podman and buildah fail.
fn of_missing_file(world: &World, clients: &[Client], files: &[PathBuf]) -> Option<Note> {
    let (variable, file) = clients::missing_auth_file(world)?;
    let is_one_of_ours = files.contains(&file) || !clients.contains(&Client::Containers);
    (!is_one_of_ours).then(|| {
        Note::to_call(
            format!(
                "podman and buildah fail without {}, in which they look because of {variable}",
                file.display()
            ),
            format!("{}{PROGRAM} configure --only docker", world.as_now()),
        )
    })
}

/// The notes on the configuration of all users.
pub(super) fn of_system(world: &World, settings: &Settings, changed: &[PathBuf]) -> Vec<Note> {
    let mut notes = Vec::new();
    let hosts: Vec<String> = settings
        .rules
        .keys()
        .filter(|server| server.path().is_empty())
        .map(ToString::to_string)
        .collect();
    for file in clients::auth_files(world) {
        let auth_file = match clients::auth_file_of(Client::Containers, &file) {
            Ok(None) => continue,
            Ok(Some(auth_file)) => auth_file,
            // The others are still asked.
            Err(failure) => {
                notes.push(Note::of(&failure));
                continue;
            }
        };
        for host in &hosts {
            notes.extend(auth_file.logins_of(host).into_iter().map(|login| {
                Note::to_call(
                    format!(
                        "{} has a login for {login}, which podman, buildah and skopeo take \
                         before they ask the helper",
                        file.display()
                    ),
                    format!("{}podman logout --authfile {} {host}", world.as_now(), file.display()),
                )
                .in_the_way(&file, Some(host))
            }));
            if let Asked::Helper { helper, .. } = auth_file.asked(host)
                && helper != HELPER
            {
                notes.push(of_other_helper(&file, host, &helper));
            }
        }
    }
    notes.extend(of_other_lists(world, changed));
    notes.extend(of_tables(world, &hosts));
    notes.extend(of_program(world));
    notes.push(Note::to_call(
        "docker has no configuration for all users: each of its users calls this",
        format!("{PROGRAM} configure --only docker"),
    ));
    notes
}

/// What the caller's own files, or those of a package, say after the files that have the helper.
fn of_other_lists(world: &World, changed: &[PathBuf]) -> Vec<Note> {
    let has_helper = |file: &PathBuf| {
        let content = clients::content_of(file).ok().flatten().unwrap_or_default();
        let helpers = Helpers::parse(&content, "").ok().flatten();
        helpers.map(|helpers| helpers.has(HELPER))
    };
    let to_be = changed.iter().find(|file| **file == registries_files::own_drop_in(world));
    let in_the_way = Generation::ALL.map(|generation| {
        let files = registries_files::read_by(world, generation, to_be.map(PathBuf::as_path));
        let counts = |file: &&PathBuf| changed.contains(file) || has_helper(file).is_some();
        match files.iter().rev().find(counts) {
            Some(file) if changed.contains(file) || has_helper(file) == Some(true) => None,
            Some(file) => Some((file.clone(), true)),
            // A main file that hides all others.
            None => files.first().map(|file| (file.clone(), false)),
        }
    });
    let is_same = in_the_way[0] == in_the_way[1];
    let each = Generation::ALL.into_iter().zip(in_the_way);
    let notes = each.filter_map(|(generation, file)| Some((generation, file?))).map(
        |(generation, (file, has_list))| {
            let whose = if is_same { "podman" } else { generation.words() };
            let shown = file.display();
            let note = if has_list {
                Note::new(
                    format!("{whose} goes by the `credential-helpers` of {shown} instead"),
                    format!("add \"{HELPER}\" there"),
                )
            } else {
                let system = world.places.containers_configuration.display();
                Note::new(
                    format!("{whose} reads {shown} instead of all files in {system}"),
                    format!("add `credential-helpers = [\"{AUTH_FILES}\", \"{HELPER}\"]` there"),
                )
            };
            note.in_the_way(&file, None)
        },
    );
    notes.take(if is_same { 1 } else { 2 }).collect()
}

/// A list of helpers by which podman reads no auth.json, or asks somebody else first.
fn of_list(world: &World) -> Vec<Note> {
    let lists = Generation::ALL.map(|generation| {
        registries_conf::counting(&registries_files::read_by(world, generation, None))
    });
    let is_same = matches!(&lists, [Ok(old), Ok(new)] if old == new);
    let mut notes: Vec<Note> = Vec::new();
    for (generation, list) in Generation::ALL.into_iter().zip(lists) {
        let whose = if is_same { "podman" } else { generation.words() };
        let note = match list {
            Err(failure) => Note::of(&failure),
            Ok(None) => continue,
            Ok(Some((file, helpers))) => {
                let shown = file.display();
                match helpers.iter().position(|helper| helper == AUTH_FILES) {
                    Some(0) => continue,
                    Some(_) => Note::new(
                        format!("{whose} asks `{}` first, says {shown}", helpers[0]),
                        "what that helper has for a registry is used; put \
                         \"containers-auth.json\" before it if it should not be",
                    ),
                    None if helpers.iter().any(|helper| helper == HELPER) => continue,
                    None => Note::new(
                        format!(
                            "{whose} reads no auth.json: the `credential-helpers` of {shown} lack \
                             \"{AUTH_FILES}\""
                        ),
                        format!("add \"{AUTH_FILES}\" there"),
                    )
                    .in_the_way(&file, None),
                }
            }
        };
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

/// What the `[[registry]]` tables of registries.conf decide before any helper is asked.
fn of_tables(world: &World, hosts: &[String]) -> Vec<Note> {
    let mut notes = Vec::new();
    for host in hosts {
        let Some(way) = registries::way_to(world, host) else { continue };
        let shown = way.file.display();
        let configure = |host: &str| format!("{}{PROGRAM} configure {host}", world.as_now());
        if way.is_blocked {
            let note = Note::new(
                format!("podman does not pull from {host}: {shown} blocks it"),
                "take `blocked = true` out of its table there",
            );
            notes.push(note.in_the_way(&way.file, Some(host)));
        } else if let Some(other) = way.other_host.filter(|other| !hosts.contains(other)) {
            let note = Note::to_call(
                format!("podman asks for {other} in the place of {host}, says {shown}"),
                configure(&other),
            );
            notes.push(note.in_the_way(&way.file, Some(host)));
        }
        for mirror in way.mirrors.iter().filter(|mirror| !hosts.contains(mirror)) {
            notes.push(Note::to_call(
                format!(
                    "podman pulls from the mirror {mirror} before {host}, says {shown}; if that \
                     wants a login, it needs a rule and an entry of its own"
                ),
                configure(mirror),
            ));
        }
    }
    notes
}

/// What the configuration does not have for what was asked.
fn of_registries(world: &World, registries: &Registries) -> Vec<Note> {
    let mut notes = Vec::new();
    if let Some(failure) = &registries.mistake {
        notes.push(Note::new(format!("the helper cannot answer yet: {failure}"), failure.hint()));
    }
    for server in &registries.asked_with_path {
        notes.push(Note::new(
            format!("podman and docker ask for the bare host, not for {server}"),
            format!("so the entry is for {}, whatever the path", server.host()),
        ));
    }
    for host in &registries.by_path_alone {
        notes.push(Note::new(
            format!(
                "{host} is configured by path alone, and podman and docker ask for the bare host"
            ),
            format!("add a rule for the host, [registry.\"{host}\"], to serve them too"),
        ));
    }
    for host in &registries.without_rule {
        notes.push(Note::new(
            format!("no rule of the configuration covers {host}: the helper has no answer for it"),
            format!(
                "add [registry.\"{host}\"], or take the entry away: {}{PROGRAM} configure --undo {host}",
                world.as_now()
            ),
        ));
    }
    for (host, failure) in &registries.broken {
        notes.push(Note::new(
            format!("the rule for {host} has a mistake: {failure}"),
            failure.hint(),
        ));
    }
    notes
}

/// Whatever is in a file that is read before ours keeps the helper from being asked.
fn of_earlier_file(world: &World, file: &Path, hosts: &[String]) -> Vec<Note> {
    let auth_file = match clients::auth_file_of(Client::Containers, file) {
        Ok(None) => return Vec::new(),
        Ok(Some(auth_file)) => auth_file,
        Err(failure) => return vec![Note::of(&failure).in_the_way(file, None)],
    };
    let mut notes = Vec::new();
    let shown = file.display();
    for host in hosts {
        match auth_file.asked(host) {
            Asked::Helper { helper, .. } if helper == HELPER => {}
            Asked::Helper { helper, .. } => notes.push(of_other_helper(file, host, &helper)),
            // Within one file, a helper comes before a login.
            Asked::Login(_) | Asked::Nobody => {
                for login in auth_file.logins_of(host) {
                    let note = Note::to_call(
                        format!(
                            "{shown} is read first and has a login for {login}: there podman does \
                             not ask the helper"
                        ),
                        format!("{}podman logout --authfile {shown} {login}", world.as_now()),
                    );
                    notes.push(note.in_the_way(file, Some(host)));
                }
            }
        }
    }
    notes
}

fn of_other_helper(file: &Path, host: &str, helper: &str) -> Note {
    let shown = file.display();
    Note::new(
        format!("{shown} is read first and names the helper `{helper}` for {host}"),
        format!("take that entry out of {shown}"),
    )
    .in_the_way(file, Some(host))
}

/// What else is in the file that has the helper.
fn of_own_file(file: &Path, client: Client, hosts: &[String]) -> Vec<Note> {
    let Ok(Some(auth_file)) = clients::auth_file_of(client, file) else { return Vec::new() };
    let mut notes = Vec::new();
    let shown = file.display();
    for login in hosts.iter().flat_map(|host| auth_file.logins_of(host)) {
        notes.push(Note::new(
            format!("the login for {login} in {shown} is not used: the helper is asked instead"),
            format!("it may be a password: take \"{login}\" out of `auths` there"),
        ));
    }
    match auth_file.store() {
        Some(HELPER) => notes.push(Note::new(
            format!("`credsStore` of {shown} is `{HELPER}`: docker cannot keep other logins"),
            "take it out: `credHelpers` is enough",
        )),
        Some(store) => notes.push(Note::new(
            format!("`credsStore` of {shown} is `{store}`: docker asks it for other registries"),
            "what is under `credHelpers` comes first, so this may stay; podman ignores it",
        )),
        None => {}
    }
    notes
}

/// Whether those find the helper who have to call it.
fn of_program(world: &World) -> Option<Note> {
    let listed = &*world.places.path_of_services;
    if clients::program_in(std::env::split_paths(listed)).is_some() {
        return None;
    }
    Some(match clients::program_in_path(world) {
        Some(file) => Note::to_call(
            format!(
                "{PROGRAM} is in {}, where a service does not look: its PATH is {listed}",
                file.parent().unwrap_or(&file).display()
            ),
            format!("{}install -m 0755 {} /usr/local/bin/", world.as_root(), file.display()),
        ),
        None => Note::new(
            format!("{PROGRAM} is not in your PATH: podman and docker would not find it"),
            format!("install it (make install), so that it is in one of {listed}"),
        ),
    })
}
