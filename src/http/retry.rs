//! One request within a deadline, asked again at most once (rule R18).

use std::time::Duration;

use time::PrimitiveDateTime;
use time::macros::format_description;
use url::Url;

use super::fault::{in_words, timeout_of_step};
use super::{Request, Response, Transport, TransportError, TransportFault};
use crate::deadline::Deadline;
use crate::failure::StepFailureKind;
use crate::world::World;

/// Whether a server error without a meaning of its own, 500, is worth asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry500 {
    /// As at Quay, where it may be a provider's hiccup.
    Yes,
    /// As at a provider.
    No,
}

/// How long to wait before asking again, in seconds: spread, so that a fleet does not.
const PAUSE: (f64, f64) = (0.2, 0.5);
/// What must be left after the pause for asking again to be worth it.
const WORTHWHILE: Duration = Duration::from_secs(1);
/// The longest time that a server is left alone because it said so.
const LONGEST_REST: Duration = Duration::from_hours(1);

/// Sends a request by `deadline` and tells it with status and duration at `info`. After a
/// connection failure, 502, 503, 504 (and 500, if said so) it is sent once more, if there is time
/// for that and for what Retry-After asks; 429 is not. `request.timeout` is set to what is left.
pub fn send_by(
    world: &World,
    transport: &dyn Transport,
    mut request: Request<'_>,
    deadline: Deadline,
    retry_500: Retry500,
) -> Result<Response, TransportError> {
    let given = deadline.left(world.clock.boot());
    let first = send_once(world, transport, &mut request, deadline, given);
    let wait = match &first {
        Ok(reply) => match reply.status {
            500 if retry_500 == Retry500::No => None,
            500 | 502 | 503 | 504 => Some(retry_after(reply, world.clock.wall())),
            _ => None,
        },
        Err(error) => error.kind.is_worth_another_try().then_some(None),
    };
    let Some(asked_to_wait) = wait else {
        return first;
    };
    let pause = Duration::from_secs_f64(world.random_between(PAUSE.0, PAUSE.1));
    let pause = asked_to_wait.map_or(pause, |asked| asked.max(pause));
    if deadline.left(world.clock.boot()) < pause.saturating_add(WORTHWHILE) {
        return first;
    }
    world.info(format_args!("asking once more in {}", in_words(pause)));
    world.clock.sleep(pause);
    send_once(world, transport, &mut request, deadline, given)
}

/// Sends a request by `deadline` and tells it as [`send_by`] does, whatever the answer is.
pub fn send_once_by(
    world: &World,
    transport: &dyn Transport,
    mut request: Request<'_>,
    deadline: Deadline,
) -> Result<Response, TransportError> {
    let given = deadline.left(world.clock.boot());
    send_once(world, transport, &mut request, deadline, given)
}

/// When the server wants to be asked again, by its Retry-After (RFC 9110 section 10.2.3: seconds
/// or a date), at most an hour from `now`, the wall clock.
pub fn retry_after(reply: &Response, now: Duration) -> Option<Duration> {
    let said = reply.retry_after.as_deref()?.trim();
    let wait = match said.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => http_date(said)?.saturating_sub(now),
    };
    (!wait.is_zero()).then_some(wait.min(LONGEST_REST))
}

/// What a server's clock said when it replied, since 1970, by its Date (RFC 9110 section 6.6.1).
pub fn server_time(reply: &Response) -> Option<Duration> {
    http_date(reply.date.as_deref()?.trim())
}

fn send_once(
    world: &World,
    transport: &dyn Transport,
    request: &mut Request<'_>,
    deadline: Deadline,
    given: Duration,
) -> Result<Response, TransportError> {
    let began = world.clock.boot();
    request.timeout = deadline.left(began);
    if request.timeout.is_zero() {
        let text = "no answer: the time was over before it was asked".to_owned();
        return Err(TransportError { kind: TransportFault::Timeout, text });
    }
    let reply = transport.send(request);
    let took = in_words(world.clock.boot().saturating_sub(began));
    let asked = asked(request.url);
    match &reply {
        Ok(reply) => world.info(format_args!("{asked} answered {} in {took}", reply.status)),
        Err(error) => world.info(format_args!("{asked} did not answer in {took}: {}", error.text)),
    }
    // What a person is told is the time that the step had, not what its second try had left.
    reply.map_err(|error| {
        if error.kind.step_failure_kind() == StepFailureKind::Timeout {
            timeout_of_step(error, given)
        } else {
            error
        }
    })
}

/// Whom a log names: host and path, and the port where it is not the scheme's own.
fn asked(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path())
}

/// The one date format that senders may use; the two older ones died out.
fn http_date(text: &str) -> Option<Duration> {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let date = PrimitiveDateTime::parse(text, &format).ok()?;
    u64::try_from(date.assume_utc().unix_timestamp()).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Connection;
    use crate::http::Body;
    use crate::http::testing::{Script, fault, reply, world};

    fn send(script: &Script, seconds: u64, retry_500: Retry500) -> Result<u16, TransportFault> {
        let world = world();
        let url = Url::parse("https://idp.example.com/token?secret=1").expect("a URL");
        let connection = Connection::default();
        let request = Request {
            url: &url,
            body: Body::None,
            authorization: None,
            connection: &connection,
            timeout: Duration::ZERO,
        };
        let deadline = Deadline::after(world.clock.boot(), Duration::from_secs(seconds));
        let sent = send_by(&world, script, request, deadline, retry_500);
        sent.map(|reply| reply.status).map_err(|error| error.kind)
    }

    fn waiting(status: u16, retry_after: &str) -> Response {
        let mut reply = reply(status, "");
        reply.retry_after = Some(retry_after.to_owned());
        reply
    }

    #[test]
    fn r18_what_may_pass_is_asked_once_more_and_no_more() {
        for status in [502, 503, 504] {
            let failing = || Ok(reply(status, ""));
            let script = Script::of([failing(), failing(), failing()]);
            assert_eq!(send(&script, 8, Retry500::No), Ok(status));
            assert_eq!(script.count(), 2, "{status}");
        }
        let script = Script::of([fault(TransportFault::Connect), Ok(reply(200, ""))]);
        assert_eq!(send(&script, 8, Retry500::No), Ok(200));
    }

    #[test]
    fn r18_what_does_not_pass_is_not_asked_again() {
        for status in [200, 302, 400, 401, 404, 429, 500] {
            let script = Script::of([Ok(reply(status, ""))]);
            assert_eq!(send(&script, 8, Retry500::No), Ok(status));
        }
        for kind in [TransportFault::UntrustedIssuer, TransportFault::Timeout] {
            assert_eq!(send(&Script::of([fault(kind)]), 8, Retry500::No), Err(kind));
        }
    }

    #[test]
    fn r18_500_is_asked_again_at_the_exchange_alone() {
        let script = Script::of([Ok(reply(500, "")), Ok(reply(200, ""))]);
        assert_eq!(send(&script, 8, Retry500::Yes), Ok(200));
    }

    #[test]
    fn r18_nothing_is_asked_again_without_the_time_for_it() {
        let script = Script::of([Ok(reply(503, ""))]);
        assert_eq!(send(&script, 1, Retry500::No), Ok(503));
        assert_eq!(send(&Script::of([]), 0, Retry500::No), Err(TransportFault::Timeout));
    }

    #[test]
    fn r18_retry_after_is_obeyed_where_it_fits_and_else_not_asked_again() {
        let script = Script::of([Ok(waiting(503, "1")), Ok(reply(200, ""))]);
        assert_eq!(send(&script, 8, Retry500::No), Ok(200));
        assert_eq!(send(&Script::of([Ok(waiting(503, "10"))]), 8, Retry500::No), Ok(503));
    }

    #[test]
    fn r15_retry_after_is_seconds_or_a_date_and_an_hour_at_most() {
        let now = Duration::from_secs(784_111_777 - 90);
        for (said, wanted) in [
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(90)),
            ("86400", Some(3600)),
            ("0", None),
            ("Sun, 06 Nov 1988 08:49:37 GMT", None),
            ("soon", None),
        ] {
            let reply = waiting(429, said);
            assert_eq!(retry_after(&reply, now), wanted.map(Duration::from_secs), "{said}");
        }
    }

    #[test]
    fn a_request_is_told_with_host_port_path_status_and_duration_and_nothing_else() {
        let mut world = world();
        world.log = crate::log::Log::in_memory(crate::log::Level::Info);
        let url = Url::parse("https://idp.example.com:8443/token?secret=1").expect("a URL");
        let request = Request {
            url: &url,
            body: Body::None,
            authorization: None,
            connection: &Connection::default(),
            timeout: Duration::ZERO,
        };
        let deadline = Deadline::after(world.clock.boot(), Duration::from_secs(8));
        let script = Script::of([Ok(reply(200, "body"))]);
        let _ = send_by(&world, &script, request, deadline, Retry500::No);
        let lines = world.log.lines();
        assert!(
            lines[0].ends_with("info: idp.example.com:8443/token answered 200 in 0ms\n"),
            "{lines:?}"
        );
        let url = Url::parse("https://idp.example.com:443/token").expect("a URL");
        assert_eq!(asked(&url), "idp.example.com/token");
    }
}
