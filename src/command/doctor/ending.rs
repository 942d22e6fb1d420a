//! How a walk ends: one sentence for a person, all of it for a script.

use serde_json::{Value, json};

use super::report::Step;
use super::{EXCHANGE, Walked};
use crate::command::words::paragraph;
use crate::quay::forecast::Verdict;
use crate::terminal::{Terminal, Tone};

/// Says whether a pull would work.
pub(super) fn show(terminal: &mut Terminal, walked: &Walked, steps: &[Step], would_pull: bool) {
    let server = walked.rule.as_ref().map(|rule| format!(" from `{}`", rule.server));
    let server = server.unwrap_or_default();
    let (tone, end) = if would_pull {
        (Tone::Good, format!("A pull{server} works."))
    } else {
        (Tone::Bad, format!("A pull{server} would fail: see the first ✗."))
    };
    terminal.line("");
    paragraph(terminal, tone, &end, "");
    if steps.iter().any(|step| step.name == EXCHANGE.0 && step.took.is_some()) {
        let made = "An exchange was made for this: nothing that is cached was used or changed.";
        paragraph(terminal, Tone::Faint, made, "");
    }
}

/// What a script gets, as the command's help says it.
pub(super) fn as_json(walked: &Walked, steps: &[Step], would_pull: bool) -> Value {
    let forecast = walked.forecast.as_ref().map(|forecast| {
        let points: Vec<Value> = forecast
            .points
            .iter()
            .map(|point| {
                let reason = match &point.verdict {
                    Verdict::Accept => None,
                    Verdict::Refuse(failure) => Some(failure.cause().to_owned()),
                    Verdict::Unknown(unknown) => Some(unknown.name().to_owned()),
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
        "would_pull": would_pull,
        "forecast": forecast,
        "steps": steps.iter().map(Step::as_json).collect::<Vec<_>>(),
    })
}
