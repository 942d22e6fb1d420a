//! The story of the protocol: what `get`, `store`, `erase` and `list` answer.

use std::borrow::Cow;

use crate::cache::Cache;
use crate::cache::freshness::Freshness;
use crate::cache::plan::{Lookup, Plan, PlannedRule};
use crate::config::search_path::SearchPath;
use crate::config::settings::{OnError, Rule};
use crate::config::unusable::Unusable;
use crate::config::variables::RuleOfVariables;
use crate::config::{self, Configuration};
use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::http::Transport;
use crate::log::Level;
use crate::printable::PlainText;
use crate::protocol::reserve::Reserve;
use crate::protocol::{Answer, NO_SERVER, Stored};
use crate::robot_token;
use crate::secret::Secret;
use crate::server::Server;
use crate::world::World;

/// Answers `get`: the robot token for the server that `asked` names. `began` is the reading of the
/// boot clock at the start: waiting for standard input counts towards the deadline.
pub fn get<'t>(
    world: &World,
    transport: impl FnOnce() -> Box<dyn Transport + 't>,
    asked: &str,
    began: std::time::Duration,
) -> Answer {
    let asked = asked.trim_ascii();
    if asked.is_empty() {
        return Answer::Refused(NO_SERVER.to_owned());
    }
    let server = match Server::parse(asked) {
        Ok(server) => server,
        Err(fault) => {
            world.debug(format_args!("what was asked for is no server: it {}", fault.0));
            return Answer::not_found();
        }
    };
    match find(world, asked, &server) {
        Found::Cached(answer) => answer,
        Found::NotOurs => {
            if world.log.tells(Level::Debug) {
                tell_not_ours(world, &server);
            }
            Answer::not_found()
        }
        Found::Unread(failure) => Answer::Unread(failure),
        Found::Mistake(failure) => Answer::Failed(failure),
        Found::Rule(rule, cache) => {
            let deadline = Deadline::after(began, rule.deadline);
            let transport = transport();
            let keep = |token: &Secret<String>, until| {
                let answer =
                    Answer::credentials(asked, rule.robot.as_str(), token.expose().as_str());
                Reserve::of(answer, until)
            };
            match robot_token::obtain(world, &*transport, cache.as_ref(), &rule, deadline, &keep) {
                Ok(token) => {
                    Answer::credentials(asked, rule.robot.as_str(), token.expose().as_str())
                }
                Err(failure) if rule.on_error == OnError::Anonymous => Answer::Anonymous(failure),
                Err(failure) => Answer::Failed(failure),
            }
        }
    }
}

/// Says that no rule covers a server, and which one nearly does.
#[cold]
fn tell_not_ours(world: &World, server: &Server) {
    let settings = config::load_usable_settings(world);
    match settings.near(server) {
        None => world.debug(format_args!("no rule covers `{server}`")),
        Some(near) => world.debug(format_args!(
            "no rule covers `{server}`; there is one for `{near}`, and host, port and path count"
        )),
    }
}

// Cold, as `erase` and `list` are: what a cached `get` goes through stays small.
/// Answers `store`. Nothing is ever stored: `docker login` calls it after `get`, and a yes to
/// another user's name would be a lie.
#[cold]
pub fn store(world: &World, input: &str) -> Answer {
    let stored: Stored = match serde_json::from_str(input) {
        Ok(stored) => stored,
        Err(_) => return Answer::Refused("what is to be stored is no JSON object".to_owned()),
    };
    if stored.server_url.trim().is_empty() {
        return Answer::Refused(NO_SERVER.to_owned());
    }
    if stored.username.is_empty() {
        return Answer::Refused("no credentials username".to_owned());
    }
    let settings = config::load_usable_settings(world);
    let server = Server::parse(&stored.server_url).ok();
    match server.as_ref().and_then(|server| Some((server, settings.find(server)?))) {
        None if let Some(failure) = settings.unread() => Answer::Failed(failure.clone()),
        None => Answer::Failed(Failure::new(
            "quayfed keeps no credentials: this server is under none of its rules",
            "name quayfed under `credHelpers` for its own registries only, not as `credsStore`",
        )),
        Some((_, Err(failure))) => Answer::Failed(failure.clone()),
        Some((_, Ok(rule))) if rule.robot.as_str() == stored.username => Answer::Done,
        Some((server, Ok(rule))) => Answer::Failed(Failure::new(
            format!("quayfed manages `{}` as `{}`", server.host(), rule.robot),
            format!(
                "to log in as `{}`, remove `{}` from `credHelpers` first",
                stored.username,
                server.host()
            ),
        )),
    }
}

/// Answers `erase`, which never fails: removes what is cached for the server's rule and for the
/// rules beneath it.
#[cold]
pub fn erase(world: &World, asked: &str) -> Answer {
    let (Ok(server), Some(cache)) = (Server::parse(asked), Cache::open(world)) else {
        return Answer::Done;
    };
    let settings = config::load_usable_settings(world);
    // Where a file cannot be used that may have a longer rule, what was kept under any is removed.
    let is_known =
        !settings.unusable.iter().any(|file| file.is_unread() || file.names(server.host()));
    let rules = settings.rules.into_keys().filter(|rule| is_known && rule.covers(&server));
    let over = rules.max_by_key(|rule| rule.path().len());
    cache.erase(server.host(), |rule| {
        server.covers(rule)
            || over.as_ref().map_or_else(|| rule.covers(&server), |over| over == rule)
    });
    Answer::Done
}

/// Answers `list`, which never fails: the hosts with their robots. A rule for a path is nothing
/// that a client could log out of.
#[cold]
pub fn list(world: &World) -> Answer {
    let settings = config::load_usable_settings(world);
    let hosts = settings.all().filter(|(server, _)| server.path().is_empty());
    let named = |(server, rule): (&Server, Result<&Rule, _>)| {
        Some((server.to_string(), rule.ok()?.robot.to_string()))
    };
    Answer::list(&hosts.filter_map(named).collect())
}

/// What the configuration has for a server.
enum Found<'a> {
    /// The answer: a Fresh token is in the cache.
    Cached(Answer),
    /// A rule, under which a token is to be got.
    Rule(Box<Rule>, Option<Cache<'a>>),
    /// No rule.
    NotOurs,
    /// No rule, but a file could not be read.
    Unread(Failure),
    /// A mistake.
    Mistake(Failure),
}

fn find<'a>(world: &'a World, asked: &str, server: &Server) -> Found<'a> {
    match find_or_fail(world, asked, server) {
        Ok(found) => found,
        Err(failure) => Found::Mistake(failure),
    }
}

fn find_or_fail<'a>(world: &'a World, asked: &str, server: &Server) -> Result<Found<'a>, Failure> {
    let from_variables = match config::rule_from_variables(world) {
        Ok(rule) => rule,
        Err(mistake) => without_variables(world, server, mistake)?,
    };
    let cache = Cache::open(world);
    let Ok(search_path) = SearchPath::of(world) else {
        return Ok(read_configuration(world, server, cache, None, from_variables));
    };
    let file = cache.as_ref().and_then(|cache| cache.plan_file(server.host(), &search_path));
    let plan = file.as_ref().and_then(|file| file.plan(world));
    let has_plan = plan.is_some();
    if let (Some(cache), Some(plan)) = (&cache, plan) {
        world.debug("the configuration is as it was when the plan was made");
        match planned(plan, from_variables.as_deref(), server) {
            Planned::NotOurs => return Ok(Found::NotOurs),
            Planned::Broken => {}
            Planned::Lookup(rule, lookup) => {
                let answer =
                    |robot: &str, token: PlainText<'_>| Answer::credentials(asked, robot, token);
                let answer =
                    robot_token::cached(world, cache, &rule, &lookup, Freshness::Fresh, answer);
                if let Some(answer) = answer {
                    return Ok(Found::Cached(answer));
                }
            }
        }
    }
    let of_variables = from_variables.as_deref().map(|(of, _)| of.host());
    if let (Some(cache), false) = (&cache, has_plan)
        && of_variables != Some(server.host())
        && cache.has_no_rule_for(server.host(), &search_path)
    {
        world.debug("the configuration is as it was when the plan was made for other hosts");
        if file.is_some() {
            cache.drop_plan(server.host(), &search_path);
        }
        return Ok(Found::NotOurs);
    }
    let plan_for = (!has_plan).then_some(&search_path);
    Ok(match read_configuration(world, server, cache, plan_for, from_variables) {
        found @ (Found::Unread(_) | Found::Mistake(_)) if has_plan => {
            living(world, asked, server).map_or(found, Found::Cached)
        }
        found => found,
    })
}

/// The answer of a token that lives under a rule whose files are as they were when they were read,
/// and cannot be read now: something on this host does not let us (R34).
#[cold]
fn living(world: &World, asked: &str, server: &Server) -> Option<Answer> {
    let from_variables = config::rule_from_variables(world).ok()?;
    let cache = Cache::open(world)?;
    let search_path = SearchPath::of(world).ok()?;
    let file = cache.plan_file(server.host(), &search_path)?;
    let Planned::Lookup(rule, lookup) =
        planned(file.plan(world)?, from_variables.as_deref(), server)
    else {
        return None;
    };
    let answer = |robot: &str, token: PlainText<'_>| Answer::credentials(asked, robot, token);
    robot_token::cached(world, &cache, &rule, &lookup, Freshness::Short, answer)
}

/// Finds the rule in the files, and makes a plan for the next time if it is told for which search
/// path. Rare, and so kept apart: it would take a cached `get` a page of stack.
#[cold]
fn read_configuration<'a>(
    world: &World,
    server: &Server,
    cache: Option<Cache<'a>>,
    plan_for: Option<&SearchPath>,
    from_variables: Option<Box<RuleOfVariables>>,
) -> Found<'a> {
    let read = world.clock.wall();
    let Configuration { mut settings, fingerprint, notices } =
        config::load_usable_for(world, server.host());
    for notice in notices {
        world.warn(notice);
    }
    // What a file that cannot be used has for other hosts is not known to a plan.
    if let (Some(cache), Some(search_path), []) = (&cache, plan_for, &settings.unusable[..]) {
        let of_variables = from_variables.as_deref().map(|(of, _)| of.host());
        let rules = (&settings, of_variables);
        cache.keep_plan(server.host(), search_path, fingerprint, rules, read);
    }
    // Whatever the files say of this very server is replaced.
    let replaces_all = from_variables.as_ref().is_some_and(|rule| rule.0 == *server);
    settings.rules.extend(from_variables.map(|rule| *rule));
    for file in settings.unusable.iter().filter(|file| !file.names(server.host())) {
        warn_of(world, server, file);
    }
    let found = if replaces_all {
        settings.rule_for(server).map(Result::as_ref)
    } else {
        settings.find(server)
    };
    match (found, settings.unread()) {
        (None, None) => Found::NotOurs,
        (None, Some(failure)) => Found::Unread(failure.clone()),
        (Some(Err(failure)), _) => Found::Mistake(failure.clone()),
        (Some(Ok(rule)), _) => Found::Rule(Box::new(rule.clone()), cache),
    }
}

/// No rule of variables, unless it may have been meant for this server (rule R33).
#[cold]
fn without_variables(
    world: &World,
    server: &Server,
    mistake: Failure,
) -> Result<Option<Box<RuleOfVariables>>, Failure> {
    let unusable = config::unusable_variables(world, mistake);
    if unusable.names(server.host()) {
        return Err(unusable.failure);
    }
    warn_of(world, server, &unusable);
    Ok(None)
}

fn warn_of(world: &World, server: &Server, unusable: &Unusable) {
    world.warn(format_args!("`{server}` is answered without it: {}", unusable.failure));
}

/// What a plan and the variables have for a server.
enum Planned<'a> {
    Lookup(Cow<'a, str>, Lookup<'a>),
    Broken,
    NotOurs,
}

fn planned<'a>(
    plan: Plan<'a>,
    from_variables: Option<&RuleOfVariables>,
    server: &Server,
) -> Planned<'a> {
    let variables = from_variables.filter(|(of, _)| of.covers(server));
    let files = plan.into_rule_for(server.path());
    match (variables, files) {
        (None, None) => Planned::NotOurs,
        (Some((of, rule)), files)
            if files.as_ref().is_none_or(|files| files.path().len() <= of.path().len()) =>
        {
            rule.as_ref().map_or(Planned::Broken, |rule| {
                Planned::Lookup(of.to_string().into(), Lookup::of(rule))
            })
        }
        (_, None | Some(PlannedRule { lookup: None, .. })) => Planned::Broken,
        (_, Some(PlannedRule { rule, lookup: Some(lookup) })) => Planned::Lookup(rule, lookup),
    }
}
