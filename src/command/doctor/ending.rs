//! How a walk ends: one sentence for a person, all of it for a script.

use serde_json::{Value, json};

use super::report::{Mark, Step};
use super::{EXCHANGE, REGISTRY, Walked};
use crate::command::words::{failure, paragraph};
use crate::quay::forecast;
use crate::quay::verdict::{instant, span};
use crate::terminal::{Terminal, Tone};

/// What follows from all steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    /// Whether a pull would work now.
    pub(super) would_pull: bool,
    /// Whether a new robot token can be got.
    pub(super) would_renew: bool,
}

impl Verdict {
    /// When pulls that work now stop working.
    fn pulls_until(self, walked: &Walked) -> Option<&super::Living> {
        walked.living.as_ref().filter(|_| self.would_pull && !self.would_renew)
    }
}

/// Says whether a pull would work.
pub(super) fn show(terminal: &mut Terminal, walked: &Walked, steps: &[Step], verdict: Verdict) {
    let server = walked.rule.as_ref().map(|rule| format!(" from `{}`", rule.server));
    let server = server.unwrap_or_default();
    let (tone, end) = match (verdict.pulls_until(walked), verdict.would_pull) {
        (Some(living), _) => (
            Tone::Warning,
            format!(
                "Pulls{server} work with the cached token until {} (in {}), and then fail: see the \
                 first ✗.",
                instant(living.until),
                span(living.left.as_secs())
            ),
        ),
        (None, true) => (Tone::Good, format!("A pull{server} works.")),
        (None, false) if walked.was_kept_back && fails_nowhere_else(steps) => {
            (Tone::Bad, format!("Whether a pull{server} works is not known: see the first ✗."))
        }
        (None, false) => (Tone::Bad, format!("A pull{server} would fail: see the first ✗.")),
    };
    terminal.line("");
    if steps.iter().any(|step| step.name == EXCHANGE.0 && step.took.is_some()) {
        let made = "An exchange was made for this; nothing in the cache was changed.";
        paragraph(terminal, Tone::Faint, made, "");
    }
    paragraph(terminal, tone, &end, "");
    // The screen stops here, perhaps long after the step itself.
    let first = steps.iter().find(|step| step.mark == Mark::Bad);
    if let Some(first) = first.and_then(|step| step.failure.as_ref()) {
        failure(terminal, first, "  ");
    }
}

/// Whether a token that was kept back is all that keeps the walk from its end.
fn fails_nowhere_else(steps: &[Step]) -> bool {
    steps.iter().all(|step| step.mark != Mark::Bad || step.name == REGISTRY.0)
}

/// Says of which registries a pull would fail.
pub(super) fn show_all(terminal: &mut Terminal, number: usize, failing: &[String]) {
    let (tone, text) = match failing {
        [] => (Tone::Good, format!("Pulls work from {number} of {number}.")),
        failing => (
            Tone::Bad,
            format!("Pulls would fail from {} of {number}: {}.", failing.len(), failing.join(", ")),
        ),
    };
    paragraph(terminal, tone, &text, "");
}

/// What a script gets of all.
pub(super) fn all_as_json(registries: &[Value], would_pull: bool) -> Value {
    json!({"version": 1, "would_pull": would_pull, "registries": registries})
}

/// What a script gets, as the command's help says it.
pub(super) fn as_json(walked: &Walked, steps: &[Step], verdict: Verdict) -> Value {
    let forecast = walked.forecast.as_ref().map(|forecast| {
        let points: Vec<Value> = forecast
            .points
            .iter()
            .map(|point| {
                let reason = match &point.verdict {
                    forecast::Verdict::Accept => None,
                    forecast::Verdict::Refuse(failure) => Some(failure.cause().to_owned()),
                    forecast::Verdict::Unknown(unknown) => Some(unknown.name().to_owned()),
                };
                json!({
                    "about": point.subject.name(),
                    "verdict": point.verdict.name(),
                    "reason": reason,
                })
            })
            .collect();
        json!({"verdict": forecast.verdict().name(), "points": points})
    });
    json!({
        "version": 1,
        "registry": walked.rule.as_ref().map(|rule| rule.server.to_string()),
        "robot": walked.rule.as_ref().map(|rule| rule.robot.to_string()),
        "would_pull": verdict.would_pull,
        "would_renew": verdict.would_renew,
        "pulls_until": verdict.pulls_until(walked).map(|living| instant(living.until)),
        "realm": walked.realm,
        "forecast": forecast,
        "repository": walked.access.as_ref().map(super::Access::as_json),
        "steps": steps.iter().map(Step::as_json).collect::<Vec<_>>(),
    })
}
