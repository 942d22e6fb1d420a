//! `status`: what is cached, how long it lives, and what failed last. Only reads, and asks no
//! network.

mod json;
mod metrics;
mod screen;

use std::time::Duration;

use clap::Args;

use crate::cache::attempt::{Attempt, Patience};
use crate::cache::entry::EntryKey;
use crate::cache::freshness::Freshness;
use crate::cache::inventory::Holding;
use crate::cache::{self, Cache};
use crate::command::{FAILED, WELL};
use crate::config;
use crate::config::settings::{Rule, SecretPlace, Settings, SourceSpec};
use crate::failure::Failure;
use crate::http;
use crate::identity;
use crate::moment::Moment;
use crate::robot_token::Circumstances;
use crate::server::Server;
use crate::terminal::Terminal;
use crate::world::World;

/// What `status` takes.
#[derive(Debug, Args)]
#[command(after_long_help = MEANING)]
pub struct Arguments {
    /// Print one JSON object, version 1 of its form [default: a table]
    #[arg(long)]
    json: bool,
    /// Print metrics for Prometheus [default: a table]
    #[arg(long, conflicts_with = "json")]
    metrics: bool,
}

const MEANING: &str = "\
Nothing is asked over the network, and nothing is changed: a token is renewed by
the pull that finds it due, or by `refresh`.

States:
  fresh   it is what a pull is given
  aging   due: the next pull tries for 5 s to renew it, and is given it
          where that fails
  short   due: the next pull takes all of its time to renew it, and is
          given it where that fails
  spent   over, or nearly: the next pull gets a new one
  broken  the configuration has a mistake there
  -       not cached yet, or there is nothing at hand to get one with

Exit codes:
  0  no rule needs attention; with --metrics, whatever they say
  1  a file or rule is wrong, a file that a rule names cannot be used, or
     the last renewal under one has failed
  2  not called as this help says

--json and --metrics are described in docs/scripts.md of the documentation.";

/// Shows it.
#[expect(clippy::unnecessary_wraps, reason = "every command is called alike")]
pub(super) fn run(
    world: &World,
    terminal: &mut Terminal,
    arguments: &Arguments,
) -> Result<u8, Failure> {
    let cache = Cache::existing(world).into_iter().next();
    let holdings = cache.as_ref().map(Cache::holdings).unwrap_or_default();
    let now = world.now();
    let cache_notice = cache::notice(world).map(|notice| notice.failure);
    let settings = config::load_usable_settings(world);
    if arguments.metrics {
        let uid = world.caller.uid_on_the_host();
        let configuration = metrics::Configuration {
            is_unusable: !settings.unusable.is_empty(),
            rules: rules(world, &settings),
        };
        let is_place_lost = cache_notice.is_some();
        terminal.write(&metrics::of(&holdings, is_place_lost, &configuration, uid, now));
        return Ok(WELL);
    }
    let report = Report {
        cache: cache.as_ref().map(|cache| cache.path().display().to_string()),
        cache_notice: cache_notice.or_else(|| cache::no_place(world)),
        now,
        rows: rows(world, &settings, holdings),
        unusable: settings.unusable.iter().map(|file| file.failure.clone()).collect(),
    };
    if arguments.json {
        terminal.json(&json::of(&report));
    } else {
        screen::draw(terminal, &report);
    }
    let is_well = report.unusable.is_empty() && !report.rows.iter().any(Row::needs_attention);
    Ok(if is_well { WELL } else { FAILED })
}

/// Everything that is shown.
struct Report {
    cache: Option<String>,
    /// Why the folder that should serve for it does not.
    cache_notice: Option<Failure>,
    now: Moment,
    rows: Vec<Row>,
    /// Why files of the configuration cannot be used.
    unusable: Vec<Failure>,
}

/// One token, or one rule without any.
struct Row {
    registry: Server,
    /// Unknown where a rule has a mistake.
    robot: Option<String>,
    rule: Ruled,
    state: State,
    life: Option<Life>,
    last_failure: Option<LastFailure>,
    /// Whether somebody is renewing it now.
    is_being_renewed: bool,
    /// The subject that it is for, where that is not the one of this environment.
    other_subject: Option<String>,
    /// Why a `get` from here would fail before it asks anybody, now or once the token is spent.
    not_at_hand: Option<NotAtHand>,
}

/// Why a token cannot be asked for from here.
struct NotAtHand {
    failure: Failure,
    /// Whether that lies in the configuration's files, and not in the environment of this process.
    is_in_files: bool,
}

/// The rule that something is kept under.
enum Ruled {
    /// In the configuration.
    By { identity: String, place: String },
    /// In the configuration, with a mistake.
    Broken(Failure),
    /// Not, or no longer so, in the configuration.
    No,
}

/// What a `get` would find.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Cached(Freshness),
    NotCached,
    Broken,
}

impl State {
    const fn name(self) -> &'static str {
        match self {
            Self::Cached(freshness) => freshness.name(),
            Self::NotCached => "none",
            Self::Broken => "broken",
        }
    }
}

/// The life of a token.
struct Life {
    lifetime: Duration,
    left: Duration,
    due_in: Duration,
    obtained: Moment,
}

/// How the last renewal failed.
struct LastFailure {
    failures: u32,
    at: Moment,
    failure: Failure,
    /// Whether everything on this host is as it was then.
    counts: bool,
    /// After how much time a `get` tries again.
    next_try_in: Duration,
}

impl Row {
    fn needs_attention(&self) -> bool {
        match self.rule {
            Ruled::Broken(_) => true,
            Ruled::By { .. } => {
                self.is_unusable() || self.last_failure.as_ref().is_some_and(|last| last.counts)
            }
            Ruled::No => false,
        }
    }

    /// Whether no token can be got under the rule, for a reason that lies in the configuration or
    /// its files.
    fn is_unusable(&self) -> bool {
        let not_at_hand = self.not_at_hand.as_ref();
        matches!(self.rule, Ruled::Broken(_)) || not_at_hand.is_some_and(|it| it.is_in_files)
    }
}

/// The rules of the configuration, and whether each is unusable for a reason that lies in it or its
/// files.
fn rules(world: &World, settings: &Settings) -> Vec<(Server, bool)> {
    let of = |rule: &Rule| not_at_hand(world, rule, Circumstances::of(world, rule).as_ref().err());
    let rules = settings.rules.keys().filter_map(|server| {
        let is_unusable = match settings.find(server)? {
            Ok(rule) => of(rule).is_some_and(|it| it.is_in_files),
            Err(_) => true,
        };
        Some((server.clone(), is_unusable))
    });
    rules.collect()
}

/// Why a token cannot be asked for under a rule; `missing` is what is wrong with what the source has
/// here, if that was looked at already.
fn not_at_hand(world: &World, rule: &Rule, missing: Option<&Failure>) -> Option<NotAtHand> {
    let (identity, asks) = (&rule.identity, identity::asks_network(&rule.identity.source));
    let secret = missing.cloned().or_else(|| identity::check_secret(world, identity).err());
    if let Some(failure) = secret {
        return Some(NotAtHand { failure, is_in_files: is_in_file(&identity.source) });
    }
    let quay = (&rule.connection, format!("`{}`", rule.server), &rule.place);
    let provider = (&identity.connection, format!("identity `{}`", identity.name), &identity.place);
    let reached = [Some(quay), asks.then_some(provider)].into_iter().flatten();
    let faults = reached.filter_map(|(connection, name, place)| {
        let fault = http::check_ca_file(world, connection).err()?;
        Some(fault.step_failure(&name, place).failure)
    });
    faults.map(|failure| NotAtHand { failure, is_in_files: true }).next()
}

/// Whether a source's secret or token is in a file that the configuration names. A variable, or a
/// credential of systemd's, is there for some processes and not for others.
const fn is_in_file(source: &SourceSpec) -> bool {
    match source {
        SourceSpec::ClientCredentials(client) => {
            matches!(client.client_secret, SecretPlace::File(_))
        }
        SourceSpec::File(_) => true,
        SourceSpec::Env(_) => false,
    }
}

/// The rows: rule by rule, then what is kept under none of them.
fn rows(world: &World, settings: &Settings, mut holdings: Vec<Holding>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (server, rule) in settings.all() {
        match rule {
            Ok(rule) => rows.extend(rows_of(world, rule, &mut holdings)),
            Err(mistake) => rows.push(Row {
                registry: server.clone(),
                robot: None,
                rule: Ruled::Broken(mistake.clone()),
                state: State::Broken,
                life: None,
                last_failure: None,
                is_being_renewed: false,
                other_subject: None,
                not_at_hand: None,
            }),
        }
    }
    // A failure of a rule that is gone is nobody's any more.
    holdings.retain(|holding| holding.entry.is_some() || holding.held_until.is_some());
    rows.extend(holdings.iter().map(|holding| row(world, holding, None, None)));
    rows
}

/// The rows of a rule, whose holdings are taken out.
fn rows_of(world: &World, rule: &Rule, holdings: &mut Vec<Holding>) -> Vec<Row> {
    let stem = EntryKey::of(rule, None).stem();
    let is_of_rule = |holding: &mut Holding| {
        let bearer = holding.stem.strip_prefix(&stem);
        bearer.is_some_and(|bearer| bearer.is_empty() || bearer.starts_with('-'))
    };
    let of_rule: Vec<_> = holdings.extract_if(.., is_of_rule).collect();
    let here = Circumstances::of(world, rule);
    let mut rows: Vec<_> =
        of_rule.iter().map(|holding| row(world, holding, Some(rule), here.as_ref().ok())).collect();
    let stem_here = here.as_ref().ok().map(|here| here.key.stem());
    if !of_rule.iter().any(|holding| stem_here.as_ref() == Some(&holding.stem)) {
        rows.push(Row {
            registry: rule.server.clone(),
            robot: Some(rule.robot.to_string()),
            rule: Ruled::by(rule),
            state: State::NotCached,
            life: None,
            last_failure: None,
            is_being_renewed: false,
            other_subject: None,
            not_at_hand: not_at_hand(world, rule, here.as_ref().err()),
        });
    }
    rows
}

/// The row of what is kept under one key. `here` is what the rule comes to in this environment.
fn row(world: &World, holding: &Holding, rule: Option<&Rule>, here: Option<&Circumstances>) -> Row {
    let now = world.now();
    let min_validity = rule.and_then(|rule| rule.min_validity);
    let entry = holding.entry.as_ref();
    let freshness = entry.map(|entry| entry.freshness(min_validity, now));
    let life = entry.map(|entry| Life {
        lifetime: entry.lifetime,
        left: entry.left(now),
        due_in: entry.due_in(min_validity, now),
        obtained: entry.obtained,
    });
    let is_of_here = here.is_some_and(|here| here.key.stem() == holding.stem);
    let last_failure = holding.attempt.as_ref().map(|attempt| {
        let due_in = life.as_ref().map_or(Duration::ZERO, |life| life.due_in);
        let counts = !is_of_here || here.is_some_and(|here| here.are_those_of(attempt));
        LastFailure {
            failures: attempt.failures,
            at: attempt.failed,
            failure: attempt.failure(),
            counts,
            next_try_in: if counts { bar(attempt, freshness, now).max(due_in) } else { due_in },
        }
    });
    let bearer = holding.key.as_ref().and_then(|key| key.bearer.as_deref());
    Row {
        registry: holding.rule.clone(),
        robot: Some(holding.robot.clone()),
        rule: rule.map_or(Ruled::No, Ruled::by),
        state: freshness.map_or(State::NotCached, State::Cached),
        life,
        last_failure,
        is_being_renewed: holding.held_until.is_some_and(|until| until > now.boot()),
        other_subject: bearer.filter(|_| !is_of_here).and_then(subject),
        not_at_hand: rule.filter(|_| is_of_here).and_then(|rule| not_at_hand(world, rule, None)),
    }
}

impl Ruled {
    fn by(rule: &Rule) -> Self {
        Self::By { identity: rule.identity.name.clone(), place: rule.place.to_string() }
    }
}

/// For how long a record keeps a `get` from trying.
fn bar(attempt: &Attempt, freshness: Option<Freshness>, now: Moment) -> Duration {
    let patience = match freshness {
        Some(Freshness::Fresh | Freshness::Aging) => Patience::Aging,
        Some(Freshness::Short) => Patience::Short,
        Some(Freshness::Spent) | None => Patience::Spent,
    };
    attempt.bars_for(patience, now).unwrap_or_default()
}

/// The subject in what tells the bearer of a token at hand apart: issuer, subject, audiences.
fn subject(bearer: &str) -> Option<String> {
    let parts: serde_json::Value = serde_json::from_str(bearer).ok()?;
    Some(parts.get(1)?.as_str()?.to_owned())
}
