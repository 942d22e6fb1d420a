//! An answer that is at hand while a better one is sought: what a client gets if the program fails by
//! a mistake of its own meanwhile (R34).

use std::sync::Mutex;
use std::time::Duration;

use super::Answer;
use crate::deadline::Deadline;

static KEPT: Mutex<Option<(Answer, Deadline)>> = Mutex::new(None);

/// Keeps an answer for as long as this lives.
#[derive(Debug)]
#[must_use]
pub struct Reserve(());

impl Reserve {
    /// Keeps an answer that is good until a reading of the boot clock.
    pub fn of(answer: Answer, until: Deadline) -> Self {
        set(Some((answer, until)));
        Self(())
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        set(None);
    }
}

fn set(kept: Option<(Answer, Deadline)>) {
    if let Ok(mut guard) = KEPT.lock() {
        *guard = kept;
    }
}

/// Takes the answer that is kept, if it is still good at the reading `now` of the boot clock. It never
/// waits: whoever asks may have failed right here.
pub fn take(now: Duration) -> Option<Answer> {
    let (answer, until) = KEPT.try_lock().ok()?.take()?;
    (!until.has_passed(now)).then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r34_an_answer_is_kept_while_it_is_good_and_somebody_seeks_a_better_one() {
        let seconds = Duration::from_secs;
        let keep = || Reserve::of(Answer::Text("kept".to_owned()), Deadline::at(seconds(10)));
        let kept = keep();
        assert!(matches!(take(seconds(9)), Some(Answer::Text(text)) if text == "kept"));
        assert!(take(seconds(9)).is_none(), "it is answered once");
        drop(kept);
        let _kept = keep();
        assert!(take(seconds(10)).is_none(), "it has ended");
        drop(keep());
        assert!(take(seconds(9)).is_none(), "nobody seeks any more");
    }
}
