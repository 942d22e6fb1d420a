//! `status --metrics`: the text format of Prometheus. What is exported of tokens comes from entries
//! and attempt records alone, and does not depend on whether the configuration can be read.

use std::fmt::Write as _;

use crate::cache::inventory::Holding;
use crate::moment::Moment;
use crate::printable::one_line;
use crate::server::Server;

/// The one metric that is not of a token.
const PLACE_LOST: (&str, &str) = (
    "quayfed_cache_dir_unusable",
    "Whether the folder that should be the cache directory cannot be used (1) or can (0).",
);

/// What is told of the configuration.
pub(super) struct Configuration {
    /// Whether one of its files cannot be used.
    pub(super) is_unusable: bool,
    /// Its rules, and whether each is unusable.
    pub(super) rules: Vec<(Server, bool)>,
}

/// The one that is of the configuration's files, and the one that is of its rules.
const NOT_READ: (&str, &str) = (
    "quayfed_configuration_unusable",
    "Whether a file of the configuration cannot be used (1) or all can (0).",
);
const UNUSABLE: (&str, &str) = (
    "quayfed_rule_unusable",
    "Whether a rule has a mistake, or a file that it names cannot be used (1), or not (0).",
);

/// One metric: its name, what it says, and its value for what is kept under a key.
type Metric = (&'static str, &'static str, fn(&Holding, Moment) -> Option<f64>);

const METRICS: [Metric; 6] = [
    (
        "quayfed_token_expiry_timestamp_seconds",
        "When the cached robot token ends, in seconds since 1970.",
        |holding, _| {
            let entry = holding.entry.as_ref()?;
            Some((entry.obtained.wall() + entry.lifetime).as_secs_f64())
        },
    ),
    (
        "quayfed_token_left_seconds",
        "What is left of the life of the cached robot token, by both clocks of the host.",
        |holding, now| Some(holding.entry.as_ref()?.left(now).as_secs_f64()),
    ),
    (
        "quayfed_token_age_seconds",
        "How long ago the cached robot token was obtained.",
        |holding, now| Some(holding.entry.as_ref()?.obtained.elapsed(now)?.as_secs_f64()),
    ),
    (
        "quayfed_token_lifetime_seconds",
        "How long the cached robot token lives in all.",
        |holding, _| Some(holding.entry.as_ref()?.lifetime.as_secs_f64()),
    ),
    (
        "quayfed_renewal_failures",
        "How many renewals have failed in a row since the last one that did not.",
        |holding, _| Some(holding.attempt.as_ref().map_or(0.0, |last| last.failures.into())),
    ),
    (
        "quayfed_renewal_failure_timestamp_seconds",
        "When the last renewal failed, in seconds since 1970, if none has succeeded since.",
        |holding, _| Some(holding.attempt.as_ref()?.failed.wall().as_secs_f64()),
    ),
];

/// Whether the folder that should be the cache directory cannot be used, which rules are unusable, and all
/// metrics of all that is kept in the cache of a user.
pub(super) fn of(
    holdings: &[Holding],
    is_place_lost: bool,
    configuration: &Configuration,
    uid: u32,
    now: Moment,
) -> String {
    let mut text = String::new();
    let (name, help) = PLACE_LOST;
    let value = u8::from(is_place_lost);
    head(&mut text, name, help);
    let _ = writeln!(text, "{name}{{uid=\"{uid}\"}} {value}");
    let (name, help) = NOT_READ;
    head(&mut text, name, help);
    let _ = writeln!(text, "{name}{{uid=\"{uid}\"}} {}", u8::from(configuration.is_unusable));
    let (name, help) = UNUSABLE;
    head(&mut text, name, help);
    for (server, is_unusable) in &configuration.rules {
        let (registry, value) = (escaped(&server.to_string()), u8::from(*is_unusable));
        let _ = writeln!(text, "{name}{{uid=\"{uid}\",registry=\"{registry}\"}} {value}");
    }
    for (name, help, value) in METRICS {
        head(&mut text, name, help);
        for holding in holdings {
            if let Some(value) = value(holding, now) {
                let _ = writeln!(text, "{name}{{uid=\"{uid}\",{}}} {value}", labels(holding));
            }
        }
    }
    text
}

fn head(text: &mut String, name: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

/// Registry and robot, and what tells tokens of the same two apart: the digests of the settings and
/// of the bearer, as they stand in the names of the cache's files.
fn labels(holding: &Holding) -> String {
    let digests = holding.stem.rsplit_once('.').map_or("", |(_, digests)| digests);
    let entry = match digests.split_once('-') {
        None => digests.chars().take(12).collect(),
        Some((settings, bearer)) => {
            let shortened = |digest: &str| digest.chars().take(12).collect::<String>();
            format!("{}-{}", shortened(settings), shortened(bearer))
        }
    };
    format!(
        r#"registry="{}",robot="{}",entry="{entry}""#,
        escaped(&holding.rule.to_string()),
        escaped(&holding.robot)
    )
}

/// A value within quotes. The format knows no escape for what is not seen, so that is shown by one of
/// ours.
fn escaped(value: &str) -> String {
    one_line(value).replace('\\', r"\\").replace('"', r#"\""#)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::server::Server;

    #[test]
    fn a_label_keeps_what_it_holds_within_its_quotes() {
        let holding = Holding {
            stem: "h.0123456789abcdef0123456789abcdef-fedcba9876543210".to_owned(),
            rule: Server::parse("h/org").expect("a server"),
            robot: "a\"b\\c\n\u{202e}".to_owned(),
            key: None,
            entry: None,
            attempt: None,
            held_until: Some(Duration::ZERO),
        };
        assert_eq!(
            labels(&holding),
            r#"registry="h/org",robot="a\"b\\c\\n\\u{202e}",entry="0123456789ab-fedcba987654""#
        );
    }
}
