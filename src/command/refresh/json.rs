//! `refresh --json`: version 1 of its form.

use std::time::Duration;

use serde::Serialize;

use super::Outcome;
use crate::command::json::{Told, line};
use crate::failure::Failure;
use crate::printable::JsonLine;
use crate::robot_token::{NotRenewed, Renewal};
use crate::server::Server;

const VERSION: u32 = 1;

/// How it went.
pub(super) fn of(outcomes: &[(Server, Outcome)], unusable: &[Failure]) -> JsonLine {
    line(&Report {
        version: VERSION,
        rules: outcomes.iter().map(Rule::of).collect(),
        unusable_files: unusable.iter().map(Told::of).collect(),
    })
}

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    rules: Vec<Rule<'a>>,
    unusable_files: Vec<Told<'a>>,
}

#[derive(Serialize)]
struct Rule<'a> {
    registry: String,
    result: &'static str,
    left_seconds: Option<u64>,
    due_in_seconds: Option<u64>,
    variable: Option<&'a str>,
    failure: Option<Told<'a>>,
}

impl<'a> Rule<'a> {
    fn of((server, outcome): &'a (Server, Outcome)) -> Self {
        let mut rule = Self {
            registry: server.to_string(),
            result: outcome.name(),
            left_seconds: None,
            due_in_seconds: None,
            variable: None,
            failure: None,
        };
        match outcome {
            Outcome::Renewed(Renewal::Renewed(left) | Renewal::LeftToOthers(left)) => {
                rule.left_seconds = Some(left.as_secs());
            }
            Outcome::Renewed(Renewal::NotDue { due_in, left }) => {
                rule.left_seconds = Some(left.as_secs());
                rule.due_in_seconds = Some(due_in.as_secs());
            }
            Outcome::OfElsewhere(variable) => rule.variable = Some(variable),
            Outcome::Failed(NotRenewed { failure, living, .. }) => {
                rule.left_seconds = living.as_ref().map(Duration::as_secs);
                rule.failure = Some(Told::of(failure));
            }
            Outcome::Broken(failure) => rule.failure = Some(Told::of(failure)),
        }
        rule
    }
}
