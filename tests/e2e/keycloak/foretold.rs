//! What `doctor` foretells of Keycloak's tokens, held against what Quay then says of them.

use serde_json::Value;

use super::Bench;
use super::realms::SECRET;
use crate::report::Report;
use crate::run::{Ran, Runs as _};

/// A client of Keycloak's, the robot that its token is for, and what can be foretold.
struct Case {
    realm: &'static str,
    client: &'static str,
    robot: &'static str,
    verdict: &'static str,
}

const fn case(
    realm: &'static str,
    client: &'static str,
    robot: &'static str,
    verdict: &'static str,
) -> Case {
    Case { realm, client, robot, verdict }
}

const CASES: &[Case] = &[
    case("ci", "builder", "acme+ci", "unknown"),
    case("ci", "builder", "acme+strict", "unknown"),
    case("ci", "builder", "acme+ghost", "unknown"),
    case("ci", "no-subject", "acme+ci", "refuse"),
    case("ci", "light", "acme+strict", "unknown"),
    case("ci", "no-mapper", "acme+strict", "unknown"),
    case("ci", "only-basic", "acme+strict", "unknown"),
    case("ci", "es256", "acme+ci", "refuse"),
    case("curves", "bent", "acme+ci", "refuse"),
    case("fronted", "behind-a-front", "acme+fronted", "unknown"),
];

/// Plays all cases.
pub(super) fn play(report: &mut Report, at: &Bench) {
    for case in CASES {
        let name = format!("foretold: {} of {} for {}", case.client, case.realm, case.robot);
        report.operation(&name, || meet(at, case));
    }
}

fn meet(at: &Bench, case: &Case) -> Result<(), String> {
    let place = match case.realm {
        // Its tokens are issued under a name that leads nowhere.
        "fronted" => {
            format!("token_endpoint = \"{}\"", at.keycloak.borrow().token_endpoint("fronted"))
        }
        realm => format!("issuer = \"{}\"", at.keycloak.borrow().realm(realm)),
    };
    let lines = format!("{place}\nclient_id = \"{}\"", case.client);
    at.use_identity(&lines, SECRET, case.robot);
    let foretold = at.seat.command("docker-credential-quayfed", ["doctor", "--json"]).run()?;
    let answered = at.ask("")?;
    foretold.must_not_say(&["<html", "eyJ", SECRET])?;
    compare(case, &foretold, &answered).map_err(|error| format!("{error}\n{foretold}\n{answered}"))
}

fn compare(case: &Case, foretold: &Ran, answered: &Ran) -> Result<(), String> {
    let report: Value =
        serde_json::from_str(&foretold.stdout).map_err(|error| error.to_string())?;
    let steps = report["steps"].as_array().ok_or("no steps")?;
    let said_at = |name: &str| {
        let step = steps.iter().find(|step| step["name"] == name);
        step.and_then(|step| step["cause"].as_str()).unwrap_or_default().to_owned()
    };
    let is_given = answered.code == Some(0);
    let verdict = report["forecast"]["verdict"].as_str().unwrap_or("none");
    if verdict != case.verdict {
        return Err(format!("foretold {verdict} instead of {}", case.verdict));
    }
    if (report["would_pull"] == true) != is_given {
        return Err("doctor and get do not agree".to_owned());
    }
    let told = if verdict == "refuse" { said_at("forecast") } else { said_at("exchange") };
    if is_given || answered.cause_and_hint()?.0 == told {
        Ok(())
    } else {
        Err(format!("the cause is another one: {told}"))
    }
}
