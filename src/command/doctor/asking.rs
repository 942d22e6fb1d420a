//! Whether clients ask the helper at all, and get as far as that: the program that they find, what
//! their files make of the registry, and whether they trust its certificate.

use std::path::Path;

use super::finds::{self, Finds};
use super::report::{Detail, Mark, Step};
use super::{Failed, Passed, Walk};
use crate::command::clients::{self, Client, certs_d, registries};
use crate::config;
use crate::config::settings::Rule;
use crate::failure::Failure;
use crate::protocol::PROGRAM;
use crate::server::Server;
use crate::world::World;

const PODMAN: (&str, &str) = ("podman", "podman, buildah, skopeo");
const DOCKER: (&str, &str) = ("docker", "docker");
const TRUST: (&str, &str) = ("client-trust", "Certificate");

impl Walk<'_> {
    /// Whether clients find the helper: one of them is enough for a pull. Which of them ask it.
    pub(super) fn clients(&mut self, rule: Option<&Rule>) -> Vec<Client> {
        self.step("program", "Program", |walk| {
            let found = finds::program(walk.world)?;
            check_program(&found)?;
            Ok(Passed::new((), format!("Program: {}", found.display())))
        });
        let Some(rule) = rule else {
            self.skip(&[PODMAN, DOCKER]);
            return Vec::new();
        };
        let host = rule.server.host();
        let found = [finds::podman(self.world, host), finds::docker(self.world, host)];
        let somebody_asks = found.iter().any(|finds| matches!(finds, Finds::Helper(_)));
        let mut asking = Vec::new();
        for ((client, (name, label)), finds) in
            Client::ALL.into_iter().zip([PODMAN, DOCKER]).zip(found)
        {
            match finds {
                Finds::Nothing if somebody_asks => {
                    self.push(Step::skipped(name, &format!("{label}: not set up for it")));
                }
                Finds::Nothing => {
                    self.step::<()>(name, label, |_| Err(not_set_up(host).into()));
                }
                // The way is walked as podman goes it: what docker does instead is worth a look.
                Finds::SomethingElse(failure) if somebody_asks && client == Client::Docker => {
                    let step = Step::skipped(name, label);
                    self.push(Step { mark: Mark::Unknown, failure: Some(failure), ..step });
                }
                Finds::SomethingElse(failure) => {
                    self.step::<()>(name, label, |_| Err(failure.into()));
                }
                Finds::Helper(how) => {
                    let asks = self.step(name, label, |walk| {
                        let mut passed =
                            Passed::new((), format!("{label}: asks the helper")).with(how);
                        passed.details.extend(without_rule(walk.world, client));
                        match client {
                            Client::Containers => walk.way_of_podman(host, passed),
                            Client::Docker => Ok(passed),
                        }
                    });
                    asking.extend(asks.map(|()| client));
                }
            }
        }
        asking
    }

    /// What registries.conf makes of the registry before a helper is asked.
    fn way_of_podman(&self, host: &str, mut passed: Passed<()>) -> Result<Passed<()>, Failed> {
        let Some(way) = registries::way_to(self.world, host) else { return Ok(passed) };
        let file = way.file.display();
        if way.is_blocked {
            return Err(Failure::new(
                format!(
                    "podman, buildah and skopeo do not go to `{host}`: it is blocked in {file}"
                ),
                format!("take `blocked = true` out of its [[registry]] table in {file}"),
            )
            .into());
        }
        let settings = config::load_settings(self.world).unwrap_or_default();
        let has_rule = |host: &str| {
            Server::parse(host).is_ok_and(|server| settings.rule_for(&server).is_some())
        };
        if let Some(other) = way.other_host.filter(|other| !has_rule(other)) {
            return Err(Failure::new(
                format!(
                    "for `{host}` podman, buildah and skopeo go to `{other}` (`location` in \
                     {file}), and no rule covers that host"
                ),
                format!("write a rule for it, [registry.\"{other}\"], and look: {PROGRAM} doctor {other}"),
            )
            .into());
        }
        for mirror in way.mirrors {
            passed.details.push(if has_rule(&mirror) {
                Detail::new(format!("the mirror `{mirror}` is asked first, by its own rule"))
            } else {
                Detail::marked(
                    Mark::Unknown,
                    format!(
                        "the mirror `{mirror}` is asked first ({file}), without credentials: no \
                         rule covers it"
                    ),
                )
            });
        }
        Ok(passed)
    }

    /// Whether those who ask the helper trust the registry's certificate as well: they do not read
    /// `ca_file`.
    pub(super) fn client_trust(&mut self, rule: &Rule, asking: &[Client]) {
        let host = rule.server.host();
        let (name, label) = TRUST;
        let Some(sent) = self.observed.sent_by(host).filter(|_| !asking.is_empty()) else {
            return;
        };
        let is_insecure = || registries::way_to(self.world, host).is_some_and(|it| it.is_insecure);
        let trusts = |client: &Client| {
            let files = certs_d::files(self.world, *client, host);
            sent.is_trusted_by(self.world, &files) || *client == Client::Containers && is_insecure()
        };
        let (trusting, others): (Vec<Client>, Vec<Client>) =
            asking.iter().partition(|it| trusts(it));
        let names = |clients: &[Client]| {
            clients.iter().map(|client| client.programs()).collect::<Vec<_>>().join(", ")
        };
        let failure = others.first().map(|first| {
            let ca_file = rule.connection.ca_file.as_deref().unwrap_or(Path::new("CA.pem"));
            let command = certs_d::command(self.world, *first, host, ca_file);
            not_trusted(host, &names(&others), &command)
        });
        // The way is walked as podman goes it.
        let fails = others.contains(&Client::Containers) || trusting.is_empty();
        self.step(name, label, |_| match failure {
            Some(failure) if fails => Err(failure.into()),
            Some(failure) => {
                let passed = Passed::new((), format!("{label}: trusted by {}", names(&trusting)));
                Ok(Passed { mark: Mark::Unknown, notice: Some(failure), ..passed })
            }
            None => Ok(Passed::new((), format!("{label}: trusted by {} too", names(&trusting)))),
        });
    }
}

/// What a client's own file names the helper for in vain, as after a move.
fn without_rule(world: &World, client: Client) -> Option<Detail> {
    let file = client.file(world).ok()?;
    let hosts = clients::hosts_without_rule(world, client, &file);
    let text = format!(
        "{} names the helper for {} too, and no rule covers that: {PROGRAM} configure --undo {}",
        file.display(),
        hosts.join(", "),
        hosts.join(" ")
    );
    (!hosts.is_empty()).then(|| Detail::marked(Mark::Unknown, text))
}

fn not_trusted(host: &str, clients: &str, command: &str) -> Failure {
    Failure::new(
        format!(
            "the certificate of `{host}` is trusted by this helper only, by `ca_file`, and not by \
             {clients}"
        ),
        format!("to let them trust its CA, run: {command}"),
    )
}

/// Whether what clients find is this very program.
fn check_program(found: &Path) -> Result<(), Failure> {
    let Ok(own) = std::env::current_exe() else { return Ok(()) };
    if is_same_file(found, &own) || is_copy(found, &own) {
        return Ok(());
    }
    Err(Failure::new(
        format!(
            "podman and docker run {}, which is another program or version than this one ({})",
            found.display(),
            own.display()
        ),
        format!(
            "remove the one that is not meant, or put the folder of the other first in PATH; to see \
             what that one says, run: {} doctor",
            found.display()
        ),
    ))
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let id = |path: &Path| std::fs::canonicalize(path).ok();
    id(one).is_some_and(|one| Some(one) == id(other))
}

fn is_copy(one: &Path, other: &Path) -> bool {
    let length = |path: &Path| std::fs::metadata(path).map(|it| it.len()).ok();
    let read = |path: &Path| std::fs::read(path).ok();
    length(one).is_some() && length(one) == length(other) && read(one) == read(other)
}

fn not_set_up(host: &str) -> Failure {
    Failure::new(
        format!("for `{host}` the helper is not asked: a pull would be anonymous"),
        format!("to use the helper, run: {PROGRAM} configure {host}"),
    )
}
