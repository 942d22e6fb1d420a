//! A world that stands still and a transport that says what it is told to, for unit tests.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use super::{Body, Request, Response, Transport, TransportError, TransportFault};
use crate::log::Log;
use crate::redaction::Redactor;
use crate::world::{Caller, Clock, Environment, Places, UserNamespace, World};

/// The wall clock of the [`world`]: 2026-11-24T06:00:00Z.
pub(crate) const NOW: u64 = 1_795_500_000;

/// A world without environment variables.
pub(crate) fn world() -> World {
    world_with(&[])
}

/// A world with these environment variables.
pub(crate) fn world_with(variables: &[(&str, &str)]) -> World {
    let namespace = UserNamespace { is_initial: true, uid_in_parent: 0, overflow_uid: 65534 };
    World {
        environment: Environment::of(variables.iter().copied()),
        clock: Box::new(StillClock::default()),
        random: Box::new(|bytes| bytes.fill(0x80)),
        caller: Caller::of(rustix::process::geteuid().as_raw(), namespace),
        places: Places {
            system_configuration: Path::new("/nowhere").into(),
            user_configuration: None.into(),
            run: Path::new("/nowhere").into(),
            shared_memory: Path::new("/nowhere").into(),
            boot_id: Path::new("/nowhere").into(),
            home: None.into(),
            containers_configuration: Path::new("/nowhere").into(),
            containers_defaults: Path::new("/nowhere").into(),
            path_of_services: "".into(),
        },
        log: Log::silent(),
        redactor: Redactor::default(),
    }
}

/// Clocks that stand still but for sleeping.
#[derive(Default)]
struct StillClock {
    slept: Cell<Duration>,
}

impl Clock for StillClock {
    fn wall(&self) -> Duration {
        Duration::from_secs(NOW) + self.slept.get()
    }

    fn boot(&self) -> Duration {
        Duration::from_secs(1000) + self.slept.get()
    }

    fn sleep(&self, duration: Duration) {
        self.slept.set(self.slept.get() + duration);
    }
}

/// A reply with this status and body.
pub(crate) fn reply(status: u16, body: &str) -> Response {
    Response { status, body: body.as_bytes().to_vec(), ..Response::default() }
}

/// A request without a reply.
pub(crate) fn fault(kind: TransportFault) -> Result<Response, TransportError> {
    Err(TransportError { kind, text: "something happened".to_owned() })
}

/// Gives its replies in turn, and keeps what it was asked.
pub(crate) struct Script {
    replies: RefCell<VecDeque<Result<Response, TransportError>>>,
    asked: RefCell<Vec<Asked>>,
}

/// What a [`Script`] was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) url: String,
    pub(crate) form: Option<String>,
    pub(crate) authorization: Option<String>,
    pub(crate) timeout: Duration,
}

impl Script {
    pub(crate) fn of(replies: impl IntoIterator<Item = Result<Response, TransportError>>) -> Self {
        Self { replies: RefCell::new(replies.into_iter().collect()), asked: RefCell::default() }
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.borrow().len()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }
}

impl Transport for Script {
    fn send(&self, request: &Request<'_>) -> Result<Response, TransportError> {
        self.asked.borrow_mut().push(Asked {
            url: request.url.to_string(),
            form: match &request.body {
                Body::None => None,
                Body::Form(form) => Some(form.expose().clone()),
            },
            authorization: request.authorization.as_ref().map(|value| value.expose().clone()),
            timeout: request.timeout,
        });
        self.replies.borrow_mut().pop_front().expect("the script has no further reply")
    }
}
