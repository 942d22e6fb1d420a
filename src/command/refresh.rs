//! `refresh`: renews what is due before a pull has to, several at a time.

mod json;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use clap::Args;

use crate::cache::Cache;
use crate::command::words::{self, count, paragraph};
use crate::command::{FAILED, WELL};
use crate::config;
use crate::config::search_path::searched;
use crate::config::settings::{Bearer, Rule, Settings};
use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::http::{HttpTransport, Transport};
use crate::protocol::PROGRAM;
use crate::quay::verdict::span;
use crate::robot_token::{self, NotRenewed, Renew, Renewal};
use crate::server::Server;
use crate::terminal::{Terminal, Tone};
use crate::world::World;

/// What stands between two columns, and before what belongs to the line above.
const INDENT: &str = "  ";

/// What `refresh` takes.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[command(after_long_help = MEANING)]
pub struct Arguments {
    /// The registries whose tokens to renew [default: all of the rules]
    #[arg(value_name = "REGISTRY", conflicts_with = "all")]
    registries: Vec<String>,
    /// Renew those of all rules [default: yes, unless REGISTRY is given]
    #[arg(long)]
    all: bool,
    /// Renew also what is not due or has just failed [default: neither]
    #[arg(long)]
    force: bool,
    /// For a timer: all of them, telling failures alone [default: tell all]
    #[arg(long, conflicts_with = "registries")]
    system: bool,
    /// Print one JSON object, version 1 of its form [default: words]
    #[arg(long, conflicts_with = "system")]
    json: bool,
    /// How many tokens to renew at a time
    #[arg(long, value_name = "NUMBER", default_value = "4")]
    jobs: NonZeroUsize,
}

const MEANING: &str = "\
A token is due once it is aging, short or spent, or not cached yet: see
`status`. Each is renewed as a pull would renew it: one process at a time asks
for a token, and what has just failed is not asked for again before its time.
--force is for somebody who has mended something at Quay or at the provider,
where this host cannot see it; it is not for timers. A process that is asking
already is waited for even then.

It renews what is cached for the user who calls it: every user has a cache that
nobody else can enter.

A rule whose token or secret is in an environment variable that is not set here
belongs to other environments, such as CI jobs, and is passed over unless its
REGISTRY is named.

Exit codes:
  0  everything that was due is renewed, or nothing was due
  1  something could not be renewed, or a rule has a mistake
  2  not called as this help says

--json is described in docs/scripts.md of the documentation.";

/// Renews it.
pub(super) fn run(
    world: &World,
    terminal: &mut Terminal,
    arguments: &Arguments,
) -> Result<u8, Failure> {
    let settings = config::load_usable_settings(world);
    // What a file that cannot be used may have is not renewed, and the rest is.
    let unusable: Vec<Failure> =
        settings.unusable.iter().map(|file| file.failure.clone()).collect();
    let meant = meant(world, &settings, &arguments.registries)?;
    if let ([], [failure, ..]) = (&meant[..], &unusable[..]) {
        return Err(failure.clone());
    }
    if meant.is_empty() {
        if arguments.json {
            terminal.json(&json::of(&[], &[]));
        } else if !arguments.system {
            terminal.line(format_args!(
                "No registry is configured: there is nothing to renew. Looked in {}.",
                searched(world)
            ));
        }
        return Ok(WELL);
    }
    if Cache::open(world).is_none() {
        return Err(Failure::new(
            "there is no cache directory, so there is nowhere to keep a token",
            "set QUAYFED_CACHE_DIR to a folder of yours (mode 0700), or XDG_RUNTIME_DIR",
        ));
    }
    let when = if arguments.force { Renew::Always } else { Renew::IfDue };
    let shows_progress = !arguments.system && !arguments.json;
    let outcomes = side_by_side(
        meant,
        arguments.jobs,
        |rule| {
            // A world is not for two threads: each has its own.
            let world = World::of_process();
            let transport = HttpTransport::new(&world);
            outcome(&world, &transport, rule, when)
        },
        |ended, all| {
            if shows_progress {
                terminal.progress(format!("renewing: {ended} of {all} done"));
            }
        },
    );
    if shows_progress {
        terminal.end_progress();
    }
    if arguments.json {
        terminal.json(&json::of(&outcomes, &unusable));
    } else {
        for failure in &unusable {
            words::failure(terminal, failure, "");
        }
        tell(terminal, &outcomes, arguments.system);
    }
    let has_failed =
        !unusable.is_empty() || outcomes.iter().any(|(_, outcome)| outcome.is_failure());
    Ok(if has_failed { FAILED } else { WELL })
}

/// A rule that is to be renewed, or what keeps it from that.
type Meant = (Server, Result<Rule, Outcome>);

/// How it went with one rule.
#[derive(Clone, Debug)]
enum Outcome {
    Renewed(Renewal),
    Failed(NotRenewed),
    Broken(Failure),
    /// The variable that is not set here.
    OfElsewhere(String),
}

impl Outcome {
    /// Its name for scripts.
    const fn name(&self) -> &'static str {
        match self {
            Self::Renewed(Renewal::Renewed(_)) => "renewed",
            Self::Renewed(Renewal::NotDue { .. }) => "not_due",
            Self::Renewed(Renewal::LeftToOthers(_)) => "left_to_others",
            Self::Failed(NotRenewed { was_asked: true, .. }) => "failed",
            Self::Failed(NotRenewed { was_asked: false, .. }) => "not_tried",
            Self::Broken(_) => "broken",
            Self::OfElsewhere(_) => "passed_over",
        }
    }

    const fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Broken(_))
    }
}

/// The rules that are meant: all, or for each name the rule that a client's question for it is
/// under and those beneath it.
fn meant(world: &World, settings: &Settings, names: &[String]) -> Result<Vec<Meant>, Failure> {
    let mut servers: Vec<&Server> = Vec::new();
    for name in names {
        let asked = Server::parse(name).map_err(|fault| {
            Failure::new(
                format!("`{}` {}", name, fault.0),
                "name a registry as in the configuration: HOST, HOST:PORT or HOST/PATH",
            )
        })?;
        let over = settings
            .rules
            .keys()
            .filter(|rule| rule.covers(&asked))
            .max_by_key(|rule| rule.path().len());
        let beneath = settings.rules.keys().filter(|rule| asked.covers(rule));
        let of_name: Vec<_> = over.into_iter().chain(beneath).collect();
        if let Some(Err(mistake)) = settings.find(&asked) {
            return Err(mistake.clone());
        }
        if of_name.is_empty() {
            return Err(Failure::new(
                format!("`{asked}` is under none of the configuration's rules"),
                format!("`{PROGRAM} status` shows which there are"),
            ));
        }
        servers.extend(of_name);
    }
    let is_meant = |server: &Server| names.is_empty() || servers.contains(&server);
    Ok(settings
        .all()
        .filter(|(server, _)| is_meant(server))
        .map(|(server, rule)| {
            let rule = match rule {
                Err(mistake) => Err(Outcome::Broken(mistake.clone())),
                Ok(rule) => match variable_of_elsewhere(world, rule) {
                    Some(variable) if names.is_empty() => Err(Outcome::OfElsewhere(variable)),
                    _ => Ok(rule.clone()),
                },
            };
            (server.clone(), rule)
        })
        .collect())
}

/// The variable that a rule's secret or token is in, where it is not set here.
fn variable_of_elsewhere(world: &World, rule: &Rule) -> Option<String> {
    let variable = match rule.identity.source.bearer() {
        Bearer::TokenVariable(settings) => settings.variable,
        Bearer::SecretVariable(variable) => variable,
        Bearer::Credential(_) => "CREDENTIALS_DIRECTORY".to_owned(),
        Bearer::Settings | Bearer::TokenFile(_) => return None,
    };
    (!world.environment.has(&variable)).then_some(variable)
}

/// Renews the token of one rule.
fn outcome(world: &World, transport: &dyn Transport, rule: &Rule, when: Renew) -> Outcome {
    let Some(cache) = Cache::open(world) else {
        let failure = Failure::new("there is no cache directory any more", "try again");
        return Outcome::Failed(NotRenewed { failure, was_asked: true, living: None });
    };
    let deadline = Deadline::after(world.clock.boot(), rule.deadline);
    match robot_token::renew(world, transport, &cache, rule, deadline, when) {
        Ok(renewal) => Outcome::Renewed(renewal),
        Err(not_renewed) => Outcome::Failed(not_renewed),
    }
}

/// Does `work` for every rule on at most `jobs` threads, calls `ended` with how many of them are
/// done after each, and gives the outcomes in the order of the rules. Where no thread can be started
/// (R34), this one does it all.
fn side_by_side(
    meant: Vec<Meant>,
    jobs: NonZeroUsize,
    work: impl Fn(&Rule) -> Outcome + Sync,
    mut ended: impl FnMut(usize, usize),
) -> Vec<(Server, Outcome)> {
    let (mut outcomes, mut rules) = (Vec::new(), VecDeque::new());
    for (place, (server, rule)) in meant.into_iter().enumerate() {
        match rule {
            Ok(rule) => rules.push_back((place, server, rule)),
            Err(outcome) => outcomes.push((place, server, outcome)),
        }
    }
    let all = rules.len();
    let threads = jobs.get().min(all);
    let waiting = Mutex::new(rules);
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    if all > 0 {
        ended(0, all);
    }
    let mut done = 0;
    let mut end = |outcome, outcomes: &mut Vec<_>| {
        done += 1;
        ended(done, all);
        outcomes.push(outcome);
    };
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..threads {
            let (sender, next, work) = (sender.clone(), &next, &work);
            let renew = move || {
                while let Some((place, server, rule)) = next() {
                    let outcome = work(&rule);
                    if sender.send((place, server, outcome)).is_err() {
                        return;
                    }
                }
            };
            // Those that there are do the work of those that cannot be started.
            let _ = std::thread::Builder::new().spawn_scoped(scope, renew);
        }
        drop(sender);
        for outcome in receiver {
            end(outcome, &mut outcomes);
        }
    });
    while let Some((place, server, rule)) = next() {
        end((place, server, work(&rule)), &mut outcomes);
    }
    outcomes.sort_by_key(|(place, ..)| *place);
    outcomes.into_iter().map(|(_, server, outcome)| (server, outcome)).collect()
}

/// Tells how it went, only what failed where `is_quiet`.
fn tell(terminal: &mut Terminal, outcomes: &[(Server, Outcome)], is_quiet: bool) {
    let widest = outcomes.iter().map(|(server, _)| server.to_string().chars().count()).max();
    for (server, outcome) in outcomes {
        let (tone, text) = match outcome {
            Outcome::Renewed(Renewal::Renewed(left)) => {
                (Tone::Good, format!("renewed, lives for {}", span(left.as_secs())))
            }
            Outcome::Renewed(Renewal::NotDue { due_in, .. }) => {
                (Tone::Faint, format!("not due for {}", span(due_in.as_secs())))
            }
            Outcome::Renewed(Renewal::LeftToOthers(left)) => {
                let text = "another process is renewing it";
                (Tone::Warning, format!("{text}, {} left", span(left.as_secs())))
            }
            Outcome::OfElsewhere(variable) => {
                (Tone::Faint, format!("passed over: {variable} is not set here"))
            }
            Outcome::Failed(not_renewed) => (Tone::Bad, told_failed(not_renewed)),
            Outcome::Broken(_) => (Tone::Bad, "the configuration has a mistake".to_owned()),
        };
        let (Outcome::Failed(NotRenewed { failure, .. }) | Outcome::Broken(failure)) = outcome
        else {
            if !is_quiet {
                draw(terminal, server, widest.unwrap_or(0), tone, &text);
            }
            continue;
        };
        draw(terminal, server, widest.unwrap_or(0), tone, &text);
        words::failure(terminal, failure, INDENT);
    }
    if !is_quiet {
        let summary = summary(outcomes);
        let text = format!("{}: {summary}", count(outcomes.len(), "rule"));
        let text = terminal.paint(Tone::Strong, text);
        terminal.line(text);
    }
}

/// How many ended in each way.
fn summary(outcomes: &[(Server, Outcome)]) -> String {
    let count = |is_meant: fn(&Outcome) -> bool| {
        outcomes.iter().filter(|(_, outcome)| is_meant(outcome)).count()
    };
    let renewed = count(|it| matches!(it, Outcome::Renewed(Renewal::Renewed(_))));
    let failed = count(|it| matches!(it, Outcome::Failed(NotRenewed { was_asked: true, .. })));
    let not_tried = count(|it| matches!(it, Outcome::Failed(NotRenewed { was_asked: false, .. })));
    let broken = count(|it| matches!(it, Outcome::Broken(_)));
    let left = outcomes.len() - renewed - failed - not_tried - broken;
    [
        (renewed, "renewed"),
        (left, if left == 1 { "left as it is" } else { "left as they are" }),
        (failed, "failed"),
        (not_tried, "not tried"),
        (broken, "with a mistake"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, what)| format!("{number} {what}"))
    .collect::<Vec<_>>()
    .join(", ")
}

fn told_failed(not_renewed: &NotRenewed) -> String {
    let what = if not_renewed.was_asked {
        "not renewed"
    } else {
        "not tried, since it has just failed (--force tries)"
    };
    match not_renewed.living.filter(|left| *left > Duration::ZERO) {
        Some(left) => format!("{what}; the cached token lives for {}", span(left.as_secs())),
        None => what.to_owned(),
    }
}

fn draw(terminal: &mut Terminal, server: &Server, widest: usize, tone: Tone, text: &str) {
    let name = server.to_string();
    let padding = " ".repeat(widest.saturating_sub(name.chars().count()));
    let painted = terminal.paint(Tone::Accent, &name);
    if widest + INDENT.len() + text.chars().count() <= terminal.looks().width {
        let text = terminal.paint(tone, text);
        terminal.line(format!("{painted}{padding}{INDENT}{text}"));
    } else {
        terminal.line(painted);
        paragraph(terminal, tone, text, INDENT);
    }
}
