//! What a robot account may do with a repository, asked without making one: a scope with `push`
//! creates a repository that does not exist (rule R38).

use serde_json::{Value, json};

use super::report::{Detail, Mark};
use super::{Failed, Passed, TIME_FOR_REGISTRY, Walk};
use crate::config::settings::Rule;
use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::quay::v2_auth::{self, Challenge, Repository, Scope};
use crate::secret::Secret;

/// What is known of a repository.
pub(super) struct Access {
    name: String,
    exists: Option<bool>,
    pull: bool,
    push: Option<bool>,
}

impl Access {
    /// Of one of which nothing is known yet.
    pub(super) fn of(repository: &Repository) -> Self {
        Self { name: repository.as_str().to_owned(), exists: None, pull: false, push: None }
    }

    /// What a script gets.
    pub(super) fn as_json(&self) -> Value {
        json!({"name": self.name, "exists": self.exists, "pull": self.pull, "push": self.push})
    }
}

/// Asks for `pull`; where that is granted whether the repository exists; and for `push` only where
/// it does.
pub(super) fn find(
    walk: &Walk<'_>,
    rule: &Rule,
    (challenge, token): (&Challenge, &Secret<String>),
    access: &mut Access,
) -> Result<Passed<()>, Failed> {
    let Some(repository) = &walk.arguments.repository else {
        return Ok(Passed::new((), "Repository"));
    };
    let (world, transport) = (walk.world, walk.observed);
    let deadline = || Deadline::after(world.clock.boot(), TIME_FOR_REGISTRY);
    let ask = |scope| {
        v2_auth::log_in(world, transport, rule, challenge, token, scope, deadline())
            .map_err(|refused| refused.failure)
    };
    let shown = |actions: &[String]| world.redactor.clean(&actions.join(", "));
    let login = ask(Scope::Pull(repository))?;
    access.pull = login.may_pull();
    if !access.pull {
        let details = vec![push_is_unknown()];
        return Err(Failed {
            failure: of_no_pull(rule, repository, &shown(&login.actions)),
            details,
        });
    }
    access.exists = v2_auth::exists(world, transport, rule, repository, &login, deadline());
    let title =
        |actions: &[String]| format!("Repository `{}`: {}", repository.as_str(), shown(actions));
    let unknown = |detail| {
        let passed = Passed::new((), title(&login.actions));
        Ok(Passed { mark: Mark::Unknown, details: vec![detail], ..passed })
    };
    match access.exists {
        Some(false) => {
            let details = vec![push_is_unknown()];
            Err(Failed { failure: of_absence(rule, repository), details })
        }
        None => unknown(push_is_unknown()),
        Some(true) => match ask(Scope::PullAndPush(repository)) {
            Ok(login) => {
                access.push = Some(login.actions.iter().any(|it| it == "push" || it == "*"));
                Ok(Passed::new((), title(&login.actions)))
            }
            Err(failure) => unknown(Detail::marked(
                Mark::Unknown,
                format!("whether it may push: {}", failure.cause()),
            )),
        },
    }
}

fn push_is_unknown() -> Detail {
    Detail::marked(
        Mark::Unknown,
        "whether it may push: not asked, since Quay creates a repository that does not exist when \
         asked that",
    )
}

fn of_no_pull(rule: &Rule, repository: &Repository, may: &str) -> Failure {
    let (robot, name) = (&rule.robot, repository.as_str());
    let may = if may.is_empty() { String::new() } else { format!(" (it may {may})") };
    Failure::new(
        format!("`{robot}` may not pull `{name}`{may}, or there is no such repository"),
        format!(
            "check the name; in Quay, at the permissions of `{name}`, give `{robot}` read or write, \
             or create the repository if it is missing"
        ),
    )
}

fn of_absence(rule: &Rule, repository: &Repository) -> Failure {
    let (host, name) = (rule.server.host(), repository.as_str());
    Failure::new(
        format!("there is no repository `{name}` at `{host}`"),
        "check the name, or create the repository in Quay; the first push creates it too, where the \
         account may create repositories, and in a proxy organization the first pull does",
    )
}
