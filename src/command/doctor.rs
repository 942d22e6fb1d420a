//! `doctor`: the way of a pull, step by step as podman goes it, by the code that a `get` runs. The
//! token that a `get` would answer from the cache is tried first; then it gets an OIDC token and
//! exchanges it for itself. Nothing is changed: not in the cache, and not in Quay.

mod access;
mod asking;
mod cached;
mod ending;
mod finds;
mod observed;
mod report;
mod source;
mod trust;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::Value;
use url::Url;

use crate::cache;
use crate::command::json;
use crate::command::words::say_which;
use crate::command::{FAILED, MISUSED, WELL};
use crate::config::search_path::{SearchPath, searched};
use crate::config::settings::{Connection, Endpoint, Rule, Settings, SourceSpec};
use crate::config::{self, Configuration};
use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::http::witness::Seen;
use crate::http::{HttpTransport, ProxyInUse, way_to};
use crate::identity::IdToken;
use crate::jwt;
use crate::protocol::PROGRAM;
use crate::quay::Presented;
use crate::quay::exchange::{RobotReply, exchange};
use crate::quay::forecast::{Forecast, Unknown, Verdict, gather};
use crate::quay::v2_auth::{self, Challenge, Repository, Scope};
use crate::quay::verdict::{Probe, span};
use crate::secret::Secret;
use crate::server::Server;
use crate::terminal::Terminal;
use crate::world::World;
use access::Access;
use cached::{Cached, Living};
use observed::Observed;
use report::{Detail, Mark, Step};

pub(super) use source::{describe, fetch, times};

/// What `doctor` takes.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = JSON)]
pub struct Arguments {
    /// The registry, as a client asks for it [default: the only one that is configured]
    #[arg(value_parser = server)]
    registry: Option<Server>,
    /// Walk the way to every registry of the configuration, one after the other [default: to one]
    #[arg(long, conflicts_with = "registry")]
    all: bool,
    /// Also say what the robot account may do with this repository [default: none is asked about]
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = Repository::parse)]
    repository: Option<Repository>,
    /// Send the robot token to this host too, where the registry sends clients there to log in
    /// [default: only to the registry's own host and that of `api_url`]
    #[arg(long, value_name = "HOST[:PORT]", value_parser = host)]
    realm_host: Option<Server>,
    /// Print JSON for scripts instead [default: a checklist for people]
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// An image names its registry.
    fn with_the_registry_of_the_repository(mut self) -> Result<Self, Failure> {
        let named = self.repository.as_ref().and_then(Repository::registry);
        match (named, &self.registry) {
            (Some(of), Some(registry)) if of.host() != registry.host() => {
                let cause = format!(
                    "`--repository` names an image of `{}`, and the registry to walk to is \
                     `{registry}`",
                    of.host()
                );
                return Err(Failure::new(cause, "leave one of the two out").of_a_call());
            }
            (Some(of), None) if !self.all => self.registry = Some(of.clone()),
            _ => {}
        }
        Ok(self)
    }
}

fn server(name: &str) -> Result<Server, String> {
    Server::parse(name).map_err(|fault| {
        format!(
            "it {}; write HOST[:PORT][/PATH] as clients ask for it, such as quay.example.com",
            fault.0
        )
    })
}

fn host(name: &str) -> Result<Server, String> {
    let parsed = Server::parse(name).map_err(|fault| format!("it {}", fault.0));
    parsed
        .and_then(|server| match server.path() {
            "" => Ok(server),
            _ => Err("it has a path".to_owned()),
        })
        .map_err(|fault| format!("{fault}; write HOST[:PORT], such as login.example.com"))
}

/// What a script gets.
const JSON: &str = "\
Exit code: 0 only when a pull would work now, else 1; 2 for a mistake in the
call, also where several registries are configured and none is named. Where
the cached token works and a new one cannot be got, pulls work until it has
expired: that is 0, with would_renew false.

The cached token, if there is one, is tried at the registry. Then an OIDC token
and a robot token are got for this alone. Nothing is changed in the cache, and
no repository is created: push is asked for only where the repository exists.
Where it is certain that Quay will refuse the OIDC token, the token is not sent.

JSON, version 1 (fields may be added within a version):
  version      1
  registry     the registry, or null where none could be chosen
  robot        its robot account, or null
  would_pull   whether a pull would work now
  would_renew  whether a new robot token can be got; false where that was
               not tried to its end
  pulls_until  where pulls work now but a new token cannot be got: when
               they stop working (RFC 3339), else null
  realm        where the registry sends clients to log in, a URL, or null
  forecast     what Quay will say of the OIDC token, or null: {verdict,
               points}, each point {about, verdict, reason}; a verdict is
               accept, refuse or unknown; the reason of a refusal is its
               cause, that of an unknown its name
  repository   what is known of --repository, or null: {name, exists,
               pull, push}; exists and push are null where they cannot be
               known without creating it
  steps        each {name, result, title, milliseconds, details, cause,
               hint}; a result is passed, failed, unknown or skipped;
               details are {mark, text}; names are configuration,
               program, podman, docker, cache, registry, client-trust,
               cached-token, token, forecast, exchange, robot-token,
               login, repository
With --all: {version, would_pull, registries}, one of these for each.";

/// The time for each question to the registry.
const TIME_FOR_REGISTRY: Duration = Duration::from_secs(10);
/// The time for what a forecast is made from.
const TIME_FOR_FORECAST: Duration = Duration::from_secs(12);
/// How far two clocks may be apart without anybody noticing, in seconds.
const UNNOTICED: i64 = 2;

/// Does it.
pub(super) fn run(
    world: &World,
    terminal: &mut Terminal,
    arguments: &Arguments,
) -> Result<u8, Failure> {
    let arguments = &arguments.clone().with_the_registry_of_the_repository()?;
    if arguments.all {
        return run_for_all(world, terminal, arguments);
    }
    let several = to_choose_from(world, arguments);
    if !several.is_empty() && !arguments.json {
        say_which(
            terminal,
            "registries",
            "doctor",
            several.iter().map(ToString::to_string).chain(["--all".to_owned()]),
        );
        return Ok(MISUSED);
    }
    let (report, would_pull) = walk(world, terminal, arguments);
    if arguments.json {
        terminal.json(&json::line(&report));
    }
    Ok(match would_pull {
        true => WELL,
        false if several.is_empty() => FAILED,
        false => MISUSED,
    })
}

/// Walks the way to each registry of the configuration.
fn run_for_all(
    world: &World,
    terminal: &mut Terminal,
    arguments: &Arguments,
) -> Result<u8, Failure> {
    let mut settings = config::load(world)?.settings;
    settings.rules.extend(config::rule_from_variables(world)?.map(|rule| *rule));
    if settings.rules.is_empty() {
        return choose(&settings, None).map(|_| WELL);
    }
    let (mut reports, mut failing) = (Vec::new(), Vec::new());
    for server in settings.rules.keys() {
        let arguments = Arguments { registry: Some(server.clone()), ..arguments.clone() };
        let (report, would_pull) = walk(world, terminal, &arguments);
        if !arguments.json {
            terminal.line("");
        }
        reports.push(report);
        failing.extend((!would_pull).then(|| format!("`{server}`")));
    }
    if arguments.json {
        terminal.json(&json::line(&ending::all_as_json(&reports, failing.is_empty())));
    } else {
        ending::show_all(terminal, reports.len(), &failing);
    }
    Ok(if failing.is_empty() { WELL } else { FAILED })
}

/// Walks one way, shows it to a person, and gives what a script gets and whether a pull would work.
fn walk(world: &World, terminal: &mut Terminal, arguments: &Arguments) -> (Value, bool) {
    let seen = Arc::new(Seen::default());
    let transport = HttpTransport::seen_by(world, &seen);
    let observed = Observed::new(world, &transport, &seen);
    let mut walk = Walk { world, terminal, observed: &observed, arguments, steps: Vec::new() };
    let walked = walk.all();
    let (would_pull, would_renew) = (walk.would_pull(&walked), walk.would_renew());
    let steps = walk.steps;
    let verdict = ending::Verdict { would_pull, would_renew };
    if !arguments.json {
        ending::show(terminal, &walked, &steps, verdict);
    }
    (ending::as_json(&walked, &steps, verdict), would_pull)
}

/// The registries of which one has to be named; none where that is done, or not to be done.
fn to_choose_from(world: &World, arguments: &Arguments) -> Vec<Server> {
    // What is wrong with the configuration is told by its step.
    let (None, Ok(Configuration { mut settings, .. }), Ok(rule)) =
        (&arguments.registry, config::load(world), config::rule_from_variables(world))
    else {
        return Vec::new();
    };
    settings.rules.extend(rule.map(|rule| *rule));
    let several: Vec<Server> = settings.rules.into_keys().collect();
    if several.len() > 1 { several } else { Vec::new() }
}

/// What was learnt on the way.
#[derive(Default)]
struct Walked {
    rule: Option<Rule>,
    /// Where the registry sends clients to log in.
    realm: Option<String>,
    /// Whether that is a stranger's, to which no robot token was sent.
    was_kept_back: bool,
    /// The cached token, where a `get` would answer it and the registry accepts it.
    living: Option<Living>,
    forecast: Option<Forecast>,
    access: Option<Access>,
}

/// The way of a pull.
struct Walk<'a> {
    world: &'a World,
    terminal: &'a mut Terminal,
    observed: &'a Observed<'a>,
    arguments: &'a Arguments,
    steps: Vec<Step>,
}

/// What a step that did not fail has to tell.
struct Passed<T> {
    value: T,
    mark: Mark,
    title: String,
    details: Vec<Detail>,
    /// What deserves a look all the same.
    notice: Option<Failure>,
}

impl<T> Passed<T> {
    fn new(value: T, title: impl Into<String>) -> Self {
        Self { value, mark: Mark::Good, title: title.into(), details: Vec::new(), notice: None }
    }

    fn with(mut self, text: impl Into<String>) -> Self {
        self.details.push(Detail::new(text));
        self
    }
}

/// What a step that failed has to tell.
struct Failed {
    failure: Failure,
    details: Vec<Detail>,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, details: Vec::new() }
    }
}

impl Walk<'_> {
    /// Every step in its order. One that depends on a step that failed is skipped.
    fn all(&mut self) -> Walked {
        let rule = self.step("configuration", "Configuration", Self::configuration);
        let asking = self.clients(rule.as_ref());
        self.step("cache", "Cache directory", |walk| Ok(walk.cache()));
        let mut walked = Walked::default();
        let Some(rule) = rule else {
            self.skip(&[REGISTRY, CACHED, TOKEN, FORECAST, EXCHANGE, ROBOT_TOKEN, LOGIN]);
            self.skip_repository();
            return walked;
        };
        let (name, label) = REGISTRY;
        let challenge = self.step(name, label, |walk| walk.registry(&rule, &mut walked));
        self.client_trust(&rule, &asking);
        walked.living = self.cached(&rule, challenge.as_ref());
        let given = self.anew(&rule, challenge.as_ref(), &mut walked);
        let token = given.as_ref().or(walked.living.as_ref().map(|living| &living.token));
        match (&self.arguments.repository, token, challenge) {
            (None, ..) => {}
            (Some(repository), Some(token), Some(challenge)) => {
                let mut access = Access::of(repository);
                self.step(REPOSITORY.0, REPOSITORY.1, |walk| {
                    access::find(walk, &rule, (&challenge, token), &mut access)
                });
                walked.access = Some(access);
            }
            _ => self.skip_repository(),
        }
        walked.rule = Some(rule);
        walked
    }

    /// What a `get` would answer from the cache, tried at the registry.
    fn cached(&mut self, rule: &Rule, challenge: Option<&Challenge>) -> Option<Living> {
        let (name, label) = CACHED;
        match (cached::find(self.world, rule), challenge) {
            (Cached::Nothing(why), _) => {
                self.push(Step::skipped(name, &format!("{label}: {why}")));
                None
            }
            (Cached::Entry(_), None) => {
                self.skip(&[CACHED]);
                None
            }
            (Cached::Entry(entry), Some(challenge)) => {
                self.step(name, label, |walk| entry.try_at(walk, rule, challenge)).flatten()
            }
        }
    }

    /// The way to a new robot token, and the token if the registry accepts it.
    fn anew(
        &mut self,
        rule: &Rule,
        challenge: Option<&Challenge>,
        walked: &mut Walked,
    ) -> Option<Secret<String>> {
        let (name, label) = TOKEN;
        let token = self.step(name, label, |walk| walk.token(rule));
        let Some(token) = token else {
            self.skip(&[FORECAST, EXCHANGE, ROBOT_TOKEN, LOGIN]);
            return None;
        };
        let may_go_on = self.step(FORECAST.0, "Forecast: Quay refuses the token", |walk| {
            walk.forecast(rule, &token, &mut walked.forecast)
        });
        let given = if may_go_on.is_some() {
            let (name, label) = EXCHANGE;
            let open = walked.forecast.as_ref().and_then(answered_by_exchange);
            self.step(name, label, |walk| {
                let mut passed = walk.exchange(rule, &token)?;
                passed.details.extend(open);
                Ok(passed)
            })
        } else {
            self.skip(&[EXCHANGE]);
            None
        };
        if let Some(given) = &given {
            let (name, label) = ROBOT_TOKEN;
            self.step(name, label, |walk| Ok(walk.robot_token(rule, given)));
        } else {
            self.skip(&[ROBOT_TOKEN]);
        }
        let (Some(given), Some(challenge)) = (given, challenge) else {
            self.skip(&[LOGIN]);
            return None;
        };
        let (name, label) = LOGIN;
        let logged_in = self.step(name, label, |walk| walk.log_in(rule, &given, challenge));
        logged_in.map(|()| given.token)
    }

    /// Walks one step, shows it, and gives what it found.
    fn step<T>(
        &mut self,
        name: &'static str,
        label: &str,
        walk: impl FnOnce(&Self) -> Result<Passed<T>, Failed>,
    ) -> Option<T> {
        if !self.arguments.json {
            self.terminal.progress(format_args!("… {label}"));
        }
        let began = self.world.clock.boot();
        let walked = walk(self);
        let took = Some(self.world.clock.boot().saturating_sub(began));
        let (step, value) = match walked {
            Ok(Passed { value, mark, title, details, notice }) => {
                (Step { name, title, mark, took, details, failure: notice }, Some(value))
            }
            Err(Failed { failure, details }) => {
                let (title, failure) = (label.to_owned(), Some(failure));
                (Step { name, title, mark: Mark::Bad, took, details, failure }, None)
            }
        };
        if !self.arguments.json {
            self.terminal.end_progress();
        }
        self.push(step);
        value
    }

    fn push(&mut self, step: Step) {
        if !self.arguments.json {
            step.show(self.terminal);
        }
        self.steps.push(step);
    }

    fn skip(&mut self, steps: &[(&'static str, &str)]) {
        for (name, label) in steps {
            self.push(Step::skipped(name, label));
        }
    }

    fn skip_repository(&mut self) {
        if self.arguments.repository.is_some() {
            self.skip(&[REPOSITORY]);
        }
    }

    /// Whether a client asks the helper, podman is not kept from it, and every step is walked; where
    /// a cached token lives, those to a new one need not be. A client that is not set up at all is
    /// nobody's.
    fn would_pull(&self, walked: &Walked) -> bool {
        let is_of_client = |step: &Step| ["podman", "docker"].contains(&step.name);
        let asks = |step: &Step| is_of_client(step) && step.mark == Mark::Good;
        let is_spared = |step: &Step| walked.living.is_some() && is_anew(step);
        self.steps.iter().any(asks)
            && self.steps.iter().all(|step| match step.mark {
                Mark::Good | Mark::Unknown => true,
                Mark::Skipped => is_of_client(step) || step.name == CACHED.0 || is_spared(step),
                Mark::Bad => is_spared(step),
            })
    }

    /// Whether every step to a new robot token is walked.
    fn would_renew(&self) -> bool {
        let mut anew = self.steps.iter().filter(|step| is_anew(step));
        anew.all(|step| matches!(step.mark, Mark::Good | Mark::Unknown))
    }

    fn configuration(&self) -> Result<Passed<Rule>, Failed> {
        let world = self.world;
        SearchPath::of(world)?;
        let Configuration { mut settings, fingerprint, notices } = config::load_usable(world);
        let mut details: Vec<Detail> = fingerprint
            .files()
            .filter(|(path, is_there)| *is_there && !path.ends_with("config.d"))
            .map(|(path, _)| Detail::new(format!("read: {}", path.display())))
            .collect();
        if details.is_empty() {
            details.push(Detail::new(format!("no file is in {}", searched(world))));
        }
        details.extend(notices.into_iter().map(|text| Detail::marked(Mark::Unknown, text)));
        match config::rule_from_variables(world) {
            Ok(rule) => settings.rules.extend(rule.map(|rule| *rule)),
            Err(mistake) => settings.unusable.push(config::unusable_variables(world, mistake)),
        }
        details.extend(settings.unusable.iter().map(|file| {
            Detail::marked(Mark::Unknown, format!("cannot be used: {}", file.failure))
        }));
        match choose(&settings, self.arguments.registry.as_ref()) {
            Err(failure) => Err(Failed { failure, details }),
            Ok(rule) => {
                let title = format!("Configuration: `{}` as `{}`", rule.server, rule.robot);
                details.push(Detail::new(format!("rule: {}", rule.place)));
                let earlier = fingerprint.files().filter(|(path, _)| is_replaced(path, &rule));
                details.extend(earlier.map(|(path, _)| {
                    Detail::new(format!("replaced by it: the rule in {}", path.display()))
                }));
                let identity = &rule.identity;
                details
                    .push(Detail::new(format!("identity `{}`: {}", identity.name, identity.place)));
                Ok(Passed { details, ..Passed::new(rule, title) })
            }
        }
    }

    fn cache(&self) -> Passed<()> {
        let places = cache::places(self.world);
        let chosen = places.last().filter(|(_, fault)| fault.is_none());
        let mut passed = if let Some((path, _)) = chosen {
            let passed = Passed::new((), format!("Cache directory: {}", path.display()));
            passed.with(why(self.world, path))
        } else {
            let title = "Cache directory: none can be used, so every pull makes an exchange";
            Passed { mark: Mark::Unknown, ..Passed::new((), title) }
        };
        let of_place = cache::notice(self.world);
        let is_told = |path: &Path| of_place.as_ref().is_some_and(|notice| notice.path == path);
        for (path, fault) in places {
            if let Some(fault) = fault.filter(|_| !is_told(&path)) {
                passed = passed.with(format!("passed over: {} {fault}", path.display()));
            }
        }
        let notice = of_place.map(|notice| notice.failure);
        let notice = notice.or_else(|| cache::no_place(self.world));
        if notice.is_some() {
            passed.mark = Mark::Unknown;
        }
        Passed { notice, ..passed }
    }

    fn registry(&self, rule: &Rule, walked: &mut Walked) -> Result<Passed<Challenge>, Failed> {
        let deadline = Deadline::after(self.world.clock.boot(), TIME_FOR_REGISTRY);
        let asked = v2_auth::challenge(self.world, self.observed, rule, deadline);
        let mut details = self.details_of_connections();
        let url = Url::parse(&format!("https://{}/v2/", rule.server.host())).ok();
        details.extend(url.and_then(|url| self.detail_of_proxy(&rule.connection, &url)));
        let challenge = match asked {
            Ok(challenge) => challenge,
            Err(failure) => return Err(Failed { failure, details }),
        };
        let realm = self.world.redactor.clean(challenge.realm.as_str());
        walked.realm = Some(realm.clone());
        if let Some(stranger) = challenge.stranger(rule, self.arguments.realm_host.as_ref()) {
            walked.was_kept_back = true;
            let failure = v2_auth::not_sent_to(self.world, rule, &stranger);
            return Err(Failed { failure, details });
        }
        let title = format!("Registry: `{}` asks for a login", rule.server.host());
        let mut passed = Passed::new(challenge, title).with(format!("at {realm}"));
        passed.details.extend(details);
        Ok(passed)
    }

    fn token(&self, rule: &Rule) -> Result<Passed<IdToken>, Failed> {
        let identity = &rule.identity;
        let fetched = fetch(self.world, self.observed, identity);
        let source = Detail::new(format!("from {}", describe(identity)));
        let mut details = Vec::new();
        if let SourceSpec::ClientCredentials(settings) = &identity.source {
            let url = match &settings.endpoint {
                Endpoint::Discovered { issuer } => Url::parse(issuer).ok(),
                Endpoint::Given { token_endpoint, .. } => Some(token_endpoint.clone()),
            };
            details.extend(self.details_of_connections());
            details.extend(url.and_then(|url| self.detail_of_proxy(&identity.connection, &url)));
        }
        let token = match fetched {
            Ok(token) => token,
            Err(failure) => {
                details.insert(0, source);
                return Err(Failed { failure, details });
            }
        };
        let title = format!("OIDC token: identity `{}` gives one", identity.name);
        let shown = source::header_and_claims(self.world, &token);
        let mut passed = Passed::new(token, title);
        passed.details.push(source);
        passed.details.extend(shown.into_iter().map(Detail::new));
        passed.details.extend(details);
        Ok(passed)
    }

    fn forecast(
        &self,
        rule: &Rule,
        token: &IdToken,
        made: &mut Option<Forecast>,
    ) -> Result<Passed<()>, Failed> {
        let presented = Presented { raw: token.raw(), unverified: token.unverified() };
        let deadline = Deadline::after(self.world.clock.boot(), TIME_FOR_FORECAST);
        let grounds = gather(self.world, self.observed, rule, presented, deadline);
        let forecast = Forecast::of(self.world, rule, presented, &grounds);
        let mut details = details_of(&forecast);
        if let Some(ahead) = grounds.quay_ahead {
            details.push(of_clock("Quay's clock", ahead));
        }
        details.extend(self.details_of_connections());
        let passed =
            |title: &str, mark, details| Ok(Passed { mark, details, ..Passed::new((), title) });
        let result = match forecast.verdict() {
            Verdict::Refuse(failure) => Err(Failed { failure: failure.clone(), details }),
            Verdict::Unknown(_) if forecast.is_clear() => passed(
                "Forecast: nothing against the token; only the exchange can tell",
                Mark::Unknown,
                details,
            ),
            Verdict::Unknown(_) => passed(
                "Forecast: cannot be known from here; only the exchange can tell",
                Mark::Unknown,
                details,
            ),
            Verdict::Accept => passed("Forecast: Quay accepts the token", Mark::Good, details),
        };
        *made = Some(forecast);
        result
    }

    fn exchange(&self, rule: &Rule, token: &IdToken) -> Result<Passed<RobotReply>, Failed> {
        let now = self.world.clock.boot();
        let given = exchange(
            self.world,
            self.observed,
            rule,
            Presented { raw: token.raw(), unverified: token.unverified() },
            Deadline::after(now, rule.exchange_timeout),
            Probe::WithinDeadline(Deadline::after(now, rule.deadline)),
        )
        .map_err(|failed| failed.failure)?;
        Ok(Passed::new(given, format!("Exchange: Quay gives a token of `{}`", rule.robot)))
    }

    fn robot_token(&self, rule: &Rule, given: &RobotReply) -> Passed<()> {
        let claims = jwt::peek(given.token.expose()).unwrap_or_default().claims;
        let title = format!("Robot token: it lives {}", span(given.lifetime.as_secs()));
        let mut passed = Passed::new((), title).with(format!(
            "of {}, for {}",
            rule.robot,
            self.world.redactor.clean(&claims.audiences.join(", "))
        ));
        passed = passed.with(times(claims.iat, claims.exp));
        let now = i64::try_from(self.world.clock.wall().as_secs()).unwrap_or(i64::MAX);
        if let Some(issued) = claims.iat {
            passed
                .details
                .push(of_clock("going by its `iat`, Quay's clock", issued.saturating_sub(now)));
        }
        if let Some(wanted) = rule.min_validity.filter(|wanted| *wanted > given.lifetime) {
            passed.details.push(Detail::marked(
                Mark::Unknown,
                format!(
                    "{} asks for {} s, more than it lives",
                    rule.place.key("min_validity"),
                    wanted.as_secs()
                ),
            ));
        }
        passed
    }

    /// The new robot token at `/v2/auth`.
    fn log_in(
        &self,
        rule: &Rule,
        given: &RobotReply,
        challenge: &Challenge,
    ) -> Result<Passed<()>, Failed> {
        let deadline = Deadline::after(self.world.clock.boot(), TIME_FOR_REGISTRY);
        let (world, transport, token) = (self.world, self.observed, &given.token);
        v2_auth::log_in(world, transport, rule, challenge, token, Scope::Login, deadline)
            .map_err(|refused| refused.failure)?;
        let passed = Passed::new((), "Login: the robot token is accepted");
        Ok(match self.arguments.repository {
            Some(_) => passed,
            None => passed
                .with("what it may do with a repository: ask with --repository NAMESPACE/NAME"),
        })
    }

    /// Trust and certificates of the servers that were met for the first time.
    fn details_of_connections(&self) -> Vec<Detail> {
        let mut details = Vec::new();
        for met in self.observed.newly_met() {
            details.extend(trust::details(self.world, &met));
            if let Some(ahead) = met.ahead.filter(|ahead| ahead.abs() > UNNOTICED) {
                details.push(of_clock(&format!("the clock of {}", met.host), ahead));
            }
        }
        details
    }

    fn detail_of_proxy(&self, connection: &Connection, url: &Url) -> Option<Detail> {
        let way = way_to(self.world, connection, url).ok()?;
        match (way.proxy, way.passed_over) {
            (Some(ProxyInUse { name, variable, .. }), _) => {
                let from = variable.map(|name| format!(", from {name}")).unwrap_or_default();
                Some(Detail::new(format!("proxy: `{name}`{from}")))
            }
            (None, Some(why)) => Some(Detail::marked(Mark::Unknown, why)),
            (None, None) => None,
        }
    }
}

const REGISTRY: (&str, &str) = ("registry", "Registry");
const CACHED: (&str, &str) = ("cached-token", "Cached token");
const TOKEN: (&str, &str) = ("token", "OIDC token");
const FORECAST: (&str, &str) = ("forecast", "Forecast");
const EXCHANGE: (&str, &str) = ("exchange", "Exchange");
const ROBOT_TOKEN: (&str, &str) = ("robot-token", "Robot token");
const LOGIN: (&str, &str) = ("login", "Login");
const REPOSITORY: (&str, &str) = ("repository", "Repository");

/// Whether a step is one on the way to a new robot token.
fn is_anew(step: &Step) -> bool {
    [TOKEN, FORECAST, EXCHANGE, ROBOT_TOKEN, LOGIN].iter().any(|(name, _)| *name == step.name)
}

fn choose(settings: &Settings, registry: Option<&Server>) -> Result<Rule, Failure> {
    let known: Vec<String> = settings.rules.keys().map(|server| format!("`{server}`")).collect();
    let Some(server) = registry else {
        if let Some(file) = settings.unusable.first() {
            return Err(file.failure.clone());
        }
        return match settings.rules.first_key_value() {
            Some((_, rule)) if settings.rules.len() == 1 => rule.clone(),
            Some((server, _)) => Err(Failure::new(
                format!("several registries are configured: {}", known.join(", ")),
                format!("say which: {PROGRAM} doctor {server}"),
            )),
            None => Err(Failure::new(
                "no registry is configured",
                format!("write a configuration, such as by {PROGRAM} init"),
            )),
        };
    };
    match (settings.find(server), settings.unread()) {
        (Some(rule), _) => rule.cloned().map_err(Clone::clone),
        (None, Some(failure)) => Err(failure.clone()),
        (None, None) => Err(Failure::new(
            format!("no rule covers `{server}`, so clients go on without credentials"),
            match (settings.near(server), &known[..]) {
                (Some(near), _) => format!(
                    "there is a rule for `{near}`, and host, port and path count: write one for \
                     `{server}`, or name that"
                ),
                (None, []) => format!("write a configuration, such as by {PROGRAM} init"),
                (None, known) => format!("there are rules for {}", known.join(", ")),
            },
        )),
    }
}

/// Whether a file has the table of a rule that is written elsewhere.
fn is_replaced(file: &Path, rule: &Rule) -> bool {
    let is_its_own = rule.place.file() == Some(file);
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let document = text.parse::<toml::Table>().unwrap_or_default();
    let names = document.get("registry").and_then(toml::Value::as_table);
    let is_same = |name: &String| Server::parse(name).is_ok_and(|it| it == rule.server);
    !is_its_own && names.is_some_and(|names| names.keys().any(is_same))
}

/// Why the cache directory is where it is.
fn why(world: &World, path: &Path) -> &'static str {
    let environment = &world.environment;
    if environment.path("QUAYFED_CACHE_DIR").as_deref() == Some(path) {
        "as QUAYFED_CACHE_DIR says"
    } else if environment.path("XDG_RUNTIME_DIR").is_some_and(|it| path.starts_with(it)) {
        "in XDG_RUNTIME_DIR, in memory, yours alone"
    } else {
        "the first place that is in memory and yours alone"
    }
}

/// What is in order on one line, what is not on one line each.
fn details_of(forecast: &Forecast) -> Vec<Detail> {
    let is_refused = matches!(forecast.verdict(), Verdict::Refuse(_));
    let (mut in_order, mut details) = (Vec::new(), Vec::new());
    for point in &forecast.points {
        match &point.verdict {
            Verdict::Accept => in_order.push(point.subject.in_words()),
            Verdict::Refuse(failure) => details.push(Detail::marked(Mark::Bad, failure.cause())),
            Verdict::Unknown(Unknown::Behind) => {}
            // Behind a refusal they do not matter.
            Verdict::Unknown(Unknown::Federation | Unknown::Reach) if is_refused => {}
            Verdict::Unknown(unknown) => {
                details.push(Detail::marked(Mark::Unknown, unknown.to_string()));
            }
        }
    }
    // The first refusal is told with its hint below.
    if let Some(at) = details.iter().position(|detail| detail.is(Mark::Bad)) {
        details.remove(at);
    }
    if !in_order.is_empty() {
        let text = format!("in order: {}", in_order.join(", "));
        details.insert(0, Detail::marked(Mark::Good, text));
    }
    details
}

/// What the forecast left open and an exchange that succeeds has answered.
fn answered_by_exchange(forecast: &Forecast) -> Option<Detail> {
    let open = forecast.points.iter().filter(|it| matches!(it.verdict, Verdict::Unknown(_)));
    let names: Vec<&str> = open.map(|point| point.subject.in_words()).collect();
    let text = format!("so these are in order too: {}", names.join(", "));
    (!names.is_empty()).then(|| Detail::marked(Mark::Good, text))
}

fn of_clock(whose: &str, ahead: i64) -> Detail {
    let apart = span(ahead.unsigned_abs());
    match ahead {
        _ if ahead.abs() <= UNNOTICED => Detail::new(format!("{whose} agrees with this host's")),
        1.. => Detail::marked(Mark::Unknown, format!("{whose} is {apart} ahead of this host's")),
        _ => Detail::marked(Mark::Unknown, format!("{whose} is {apart} behind this host's")),
    }
}
