//! `identity`: what to enter in Quay for the tokens that a source gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use crate::command::doctor::{describe, fetch, times};
use crate::command::json;
use crate::command::words::{item, paragraph, say_which};
use crate::command::{MISUSED, WELL};
use crate::config;
use crate::config::settings::Identity;
use crate::failure::Failure;
use crate::http::HttpTransport;
use crate::identity::IdToken;
use crate::printable::is_unprintable;
use crate::protocol::PROGRAM;
use crate::terminal::{Terminal, Tone};
use crate::world::World;

/// What `identity` takes.
#[derive(Debug, Args)]
#[command(after_long_help = MORE)]
pub struct Arguments {
    /// The identity, as its table is named [default: the only one that is configured]
    name: Option<String>,
    /// Print what Quay's API takes instead [default: the words of Quay's form]
    #[arg(long)]
    json: bool,
}

/// What a script needs to know.
const MORE: &str = "\
A token is got from the source, but not exchanged.

Exit code: 0 where there was a token to tell about, else 1; 2 where the
identity has to be named.

JSON: a list of one {issuer, subject}, as Quay's federation API takes it at
/api/v1/organization/ORG/robots/SHORTNAME/federation. POST there replaces the
whole list: to add to it, merge with what GET gives.";

/// Does it.
pub(super) fn run(
    world: &World,
    terminal: &mut Terminal,
    arguments: &Arguments,
) -> Result<u8, Failure> {
    let identities = identities(world)?;
    let Some(identity) = choose(&identities, arguments.name.as_deref())? else {
        say_which(terminal, "identities", "identity", identities.keys());
        return Ok(MISUSED);
    };
    let token = fetch(world, &HttpTransport::new(world), &identity)?;
    let entry = Entry::of(&identity, &token)?;
    if arguments.json {
        terminal.json(&json::line(&[entry]));
    } else {
        show(world, terminal, &identity, &token, &entry);
    }
    Ok(WELL)
}

type Identities = BTreeMap<String, Result<Identity, Failure>>;

/// Those of the files, and the one that variables make.
fn identities(world: &World) -> Result<Identities, Failure> {
    let mut identities = config::identities(world)?;
    if let Some((_, rule)) = config::rule_from_variables(world)?.map(|rule| *rule) {
        identities
            .insert("variables".to_owned(), rule.map(|rule| Arc::unwrap_or_clone(rule.identity)));
    }
    Ok(identities)
}

/// The identity that is meant; nothing where it has to be said which.
fn choose(identities: &Identities, name: Option<&str>) -> Result<Option<Identity>, Failure> {
    let known = || {
        let names: Vec<_> = identities.keys().map(|name| format!("`{name}`")).collect();
        let verb = if names.len() == 1 { "is only" } else { "are" };
        format!("there {verb} {}", names.join(", "))
    };
    match (name, identities.first_key_value()) {
        (_, None) => Err(Failure::new(
            "no identity is configured",
            format!("write a configuration, such as by {PROGRAM} init"),
        )),
        (None, Some((_, identity))) if identities.len() == 1 => identity.clone().map(Some),
        (None, Some(_)) => Ok(None),
        (Some(name), Some(_)) => match identities.get(name) {
            Some(identity) => identity.clone().map(Some),
            None => Err(Failure::new(format!("`{name}` is the name of no identity"), known())),
        },
    }
}

/// An entry of a robot account's federation, byte for byte.
#[derive(Serialize)]
struct Entry<'a> {
    issuer: &'a str,
    subject: &'a str,
}

impl<'a> Entry<'a> {
    fn of(identity: &Identity, token: &'a IdToken) -> Result<Self, Failure> {
        let claims = &token.unverified().claims;
        let named = |name: &str, value: &'a Option<String>| {
            let fault = |what: &str, hint: &str| {
                Failure::new(
                    format!("the OIDC token of identity `{}` {what} (`{name}`)", identity.name),
                    hint,
                )
            };
            let value = value.as_deref().filter(|value| !value.is_empty()).ok_or_else(|| {
                fault(
                    "names none in its claims",
                    "Quay needs issuer and subject: let the provider put them in",
                )
            })?;
            // What is entered must be what is there, to the byte.
            if value.chars().any(is_unprintable) {
                return Err(fault(
                    "has a value that cannot be shown as it is",
                    "let the provider issue tokens with an issuer and a subject that can be printed",
                ));
            }
            Ok(value)
        };
        Ok(Self { issuer: named("iss", &claims.iss)?, subject: named("sub", &claims.sub)? })
    }
}

fn show(
    world: &World,
    terminal: &mut Terminal,
    identity: &Identity,
    token: &IdToken,
    entry: &Entry<'_>,
) {
    let claims = &token.unverified().claims;
    let audience = match &claims.audiences[..] {
        [] => "none".to_owned(),
        several => world.redactor.clean(&several.join(", ")),
    };
    let heading = terminal.paint(Tone::Strong, "Robot federation");
    terminal.line(format_args!("{heading}, for the tokens of identity `{}`", identity.name));
    for (label, value) in [("Issuer URL", entry.issuer), ("Subject", entry.subject)] {
        let value = terminal.paint(Tone::Accent, value);
        terminal.line(format_args!("  {label:<11} {value}"));
    }
    terminal.line("");
    terminal.line("Not entered, but worth knowing");
    for (label, value) in [
        ("Audience", audience),
        ("Token", times(claims.iat, claims.exp)),
        ("Source", describe(identity)),
    ] {
        item(terminal, "  ", (None, &format!("{label:<11}")), None, &value);
    }
    terminal.line("");
    let advice = "Quay compares byte for byte: a slash at the end counts, wildcards do not.";
    paragraph(terminal, Tone::Faint, advice, "");
}
