//! The credential-helper protocol on the wire: the fixed texts, the server on standard input, the
//! answer on standard output.

pub mod reserve;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;
use zeroize::{Zeroize as _, Zeroizing};

use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::printable::{JsonLine, Printable, Text};
use crate::secret::Secret;

/// The program's name, as clients call it.
pub const PROGRAM: &str = "docker-credential-quayfed";
/// What every client understands as "this helper has none": it goes on without us.
pub const NOT_FOUND: &str = "credentials not found in native keychain";
/// What clients expect of a helper that was not told a server.
pub const NO_SERVER: &str = "no credentials server URL";

/// The most that is read of standard input, in bytes.
const LONGEST_INPUT: usize = 64 * 1024;
/// Room for what is usually read of it: the name of a server.
const USUAL_INPUT: usize = 128;

/// After how long somebody at a terminal is told what they are waited for.
const LATE: Duration = Duration::from_secs(1);

/// How one run of the program ends.
#[derive(Debug)]
pub enum Answer {
    /// What `get` found, as it is written.
    Credentials(Secret<JsonLine>),
    /// Servers and user names, for `list`.
    List(JsonLine),
    /// Nothing to say, and nothing went wrong.
    Done,
    /// Text for whoever called, and all is well.
    Text(String),
    /// A refusal in the protocol's own words: on standard output, exit code 1.
    Refused(String),
    /// Not called as a helper is: what a client is told, and what a person is.
    Miscalled(String, Failure),
    /// "Not found", after a failure that the operator chose to go on without credentials from.
    Anonymous(Failure),
    /// "Not found", since nothing that could be read says otherwise: a file could not be.
    Unread(Failure),
    /// A failure of ours.
    Failed(Failure),
}

/// What a client hands to `store`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Stored {
    /// The server.
    #[serde(rename = "ServerURL", default)]
    pub server_url: String,
    /// The user name.
    #[serde(default)]
    pub username: String,
}

impl Answer {
    /// What `get` found: the server as it was asked for, the user name, and the password, a robot
    /// token.
    pub fn credentials<'a>(server: &str, username: &str, token: impl Into<Text<'a>>) -> Self {
        Self::Credentials(Secret::new(JsonLine::of_texts([
            ("{\"ServerURL\":", server.into()),
            (",\"Username\":", username.into()),
            (",\"Secret\":", token.into()),
        ])))
    }

    /// Servers with their user names.
    pub fn list(servers: &BTreeMap<String, String>) -> Self {
        Self::List(JsonLine::of(servers))
    }

    /// The answer "not found".
    pub fn not_found() -> Self {
        Self::Refused(NOT_FOUND.to_owned())
    }

    /// What goes to standard output.
    pub fn stdout(&self) -> Printable<'_> {
        match self {
            Self::Credentials(json) => json.expose().into(),
            Self::List(json) => json.into(),
            Self::Done => Printable::lines(""),
            Self::Text(text) | Self::Refused(text) | Self::Miscalled(text, _) => line(text),
            Self::Anonymous(_) | Self::Unread(_) => line(NOT_FOUND),
            Self::Failed(failure) => line(failure.cause()),
        }
    }

    /// What goes to standard error, whether or not anybody asked for a log.
    pub fn stderr(&self) -> Printable<'static> {
        Printable::lines(match self {
            Self::Failed(failure) | Self::Unread(failure) | Self::Miscalled(_, failure) => {
                format!("{PROGRAM}: {}\nhint: {}\n", failure.cause(), failure.hint())
            }
            Self::Anonymous(failure) => format!(
                "{PROGRAM}: {}\nhint: {}\n{PROGRAM}: going on without credentials \
                 (on_error = \"anonymous\")\n",
                failure.cause(),
                failure.hint()
            ),
            _ => String::new(),
        })
    }

    /// The exit code: 0 or 1, since some clients take only 1 for a failure.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Credentials(_) | Self::List(_) | Self::Done | Self::Text(_) => 0,
            Self::Refused(_)
            | Self::Miscalled(..)
            | Self::Anonymous(_)
            | Self::Unread(_)
            | Self::Failed(_) => 1,
        }
    }
}

fn line(text: &str) -> Printable<'static> {
    Printable::lines(format!("{text}\n"))
}

/// What came on standard input.
#[derive(Debug)]
pub enum Asked {
    /// Text, as it came.
    Text(Secret<String>),
    /// More than 64 KiB, or bytes that are not text: no server of ours is named like that.
    Unreadable,
    /// Not all of it came in time.
    TooLate,
    /// The system does not let us wait for it.
    NotWaitedFor(std::io::Error),
}

/// Reads standard input to its end, so that a client's write never breaks. `boot` reads the boot
/// clock; `when_late` is called where nothing comes for a second, as no client lets one wait. What
/// comes may be a secret: `store` hands over a password.
pub fn read_to_end(
    input: impl AsFd,
    deadline: Deadline,
    boot: impl Fn() -> Duration,
    when_late: impl FnOnce(),
) -> Asked {
    let input = input.as_fd();
    let mut when_late = Some(when_late);
    let mut bytes = Zeroizing::new(Vec::with_capacity(USUAL_INPUT));
    let mut is_too_long = false;
    loop {
        let left = deadline.left(boot());
        match wait_for(input, if when_late.is_some() { left.min(LATE) } else { left }) {
            Ok(true) => {}
            // A signal came: what is left now is waited for.
            Err(rustix::io::Errno::INTR) => continue,
            // Without the wait a read would know no deadline.
            Err(error) => return Asked::NotWaitedFor(error.into()),
            Ok(false) => {
                let Some(tell) = when_late.take() else { return Asked::TooLate };
                tell();
                continue;
            }
        }
        match rustix::io::read(input, spare_capacity(&mut bytes)) {
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            // A closed or unreadable standard input says nothing; neither does an empty one.
            Ok(0) | Err(_) => break,
            Ok(_) if bytes.len() > LONGEST_INPUT => {
                is_too_long = true;
                bytes.clear();
            }
            Ok(_) if bytes.len() == bytes.capacity() => bytes = with_twice_the_room(&bytes),
            Ok(_) => {}
        }
    }
    if is_too_long {
        return Asked::Unreadable;
    }
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Asked::Text(Secret::new(text)),
        Err(error) => {
            error.into_bytes().zeroize();
            Asked::Unreadable
        }
    }
}

/// A vector that grows by itself leaves what may be a secret behind.
fn with_twice_the_room(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut larger = Zeroizing::new(Vec::with_capacity(2 * bytes.len()));
    larger.extend_from_slice(bytes);
    larger
}

/// Whether something has come, or the end, before the time was over.
fn wait_for(input: BorrowedFd<'_>, left: Duration) -> rustix::io::Result<bool> {
    if left.is_zero() {
        return Ok(false);
    }
    let timeout = Timespec::try_from(left).ok();
    Ok(poll(&mut [PollFd::new(&input, PollFlags::IN)], timeout.as_ref())? > 0)
}

/// Writes all of `text` and says whether it arrived; in one write, where the reader takes it so.
pub fn write_out(output: impl AsFd, text: &Printable<'_>) -> bool {
    let mut left = text.as_str().as_bytes();
    while !left.is_empty() {
        match rustix::io::write(&output, left) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) | Err(_) => return false,
            Ok(length) => left = &left[length..],
        }
    }
    true
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a client writes beside it, and takes its time")]
mod tests {
    use std::io::Write as _;
    use std::thread;
    use std::time::Instant;

    use super::*;

    #[test]
    fn who_lets_it_wait_is_told_and_still_has_all_the_time() {
        let (input, mut client) = std::io::pipe().expect("a pipe");
        let (sender, told) = std::sync::mpsc::channel();
        let writer = thread::spawn(move || {
            told.recv().expect("it is told");
            client.write_all(b"quay.example.com\n")
        });
        let began = Instant::now();
        let deadline = Deadline::after(Duration::ZERO, Duration::from_mins(1));
        let tell = || sender.send(()).expect("somebody waits to be told");
        let asked = read_to_end(input, deadline, || began.elapsed(), tell);
        assert!(matches!(asked, Asked::Text(text) if text.expose() == "quay.example.com\n"));
        assert!(began.elapsed() >= LATE);
        writer.join().expect("no panic").expect("written");
    }

    #[test]
    fn r2_what_does_not_come_in_time_is_too_late() {
        let (input, _client) = std::io::pipe().expect("a pipe");
        let began = Instant::now();
        let deadline = Deadline::after(Duration::ZERO, Duration::from_millis(1200));
        let asked = read_to_end(input, deadline, || began.elapsed(), || {});
        assert!(matches!(asked, Asked::TooLate));
        assert!(deadline.left(began.elapsed()).is_zero());
    }

    #[test]
    fn credentials_have_the_keys_that_strict_clients_insist_on() {
        let answer = Answer::credentials("https://h", "acme+ci", "hunter2");
        assert_eq!(
            answer.stdout().as_str(),
            "{\"ServerURL\":\"https://h\",\"Username\":\"acme+ci\",\"Secret\":\"hunter2\"}\n"
        );
        assert_eq!((answer.stderr().as_str(), answer.exit_code()), ("", 0));
        assert!(!format!("{answer:?}").contains("hunter2"));
    }

    #[test]
    fn r27_a_failure_is_one_line_on_stdout_and_cause_and_hint_on_stderr() {
        let answer = Answer::Failed(Failure::new("it broke", "mend it"));
        assert_eq!(answer.stdout().as_str(), "it broke\n");
        assert_eq!(
            answer.stderr().as_str(),
            "docker-credential-quayfed: it broke\nhint: mend it\n"
        );
        assert_eq!(answer.exit_code(), 1);
    }
}
