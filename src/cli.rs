//! What was asked for on the command line. The protocol's verbs are matched by hand: a `get` must
//! not pay for an argument parser.

use std::ffi::OsString;

use crate::protocol::PROGRAM;

/// What the program is asked to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Answer with credentials.
    Get,
    /// Keep credentials.
    Store,
    /// Forget credentials.
    Erase,
    /// Say for which servers there are credentials.
    List,
    /// Say which version this is.
    Version,
    /// Say how to call the program: it was asked to.
    Help,
    /// Say how to call the program: it was not called so.
    Usage,
    /// No verb of ours.
    Unknown(String),
}

/// Reads the arguments behind the program's name.
pub fn parse(arguments: &[OsString]) -> Command {
    let [verb] = arguments else { return Command::Usage };
    match verb.to_str() {
        Some("get") => Command::Get,
        Some("store") => Command::Store,
        Some("erase") => Command::Erase,
        Some("list") => Command::List,
        Some("version" | "--version" | "-v") => Command::Version,
        Some("help" | "--help" | "-h") => Command::Help,
        _ => Command::Unknown(verb.to_string_lossy().into_owned()),
    }
}

/// The line that tells the version, in the form of the other helpers.
pub fn version() -> String {
    format!("{PROGRAM} (quayfed) v{}", env!("CARGO_PKG_VERSION"))
}

/// How to call the program.
pub fn usage() -> String {
    format!(
        "Usage: {PROGRAM} <store|get|erase|list|version>

A credential helper for podman, buildah, skopeo and docker: it turns an OIDC token into a robot
token of a Quay registry, and keeps it fresh. Clients call it; to try it by hand:

    echo quay.example.com | {PROGRAM} get

Commands:
  get      read a server on standard input, answer with the robot and its token
  store    nothing is stored: succeeds for the configured robot alone
  erase    read a server on standard input, forget its cached token
  list     print the configured registries with their robots
  version  print the version
  help     print this text

Configuration: /etc/quayfed/config.toml, /etc/quayfed/config.d/*.toml and
~/.config/quayfed/config.toml, or the file that QUAYFED_CONFIG names. QUAYFED_LOG=info tells each
step on standard error."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_is_known_and_nothing_else_is() {
        for (arguments, wanted) in [
            (&["get"][..], Command::Get),
            (&["store"], Command::Store),
            (&["erase"], Command::Erase),
            (&["list"], Command::List),
            (&["version"], Command::Version),
            (&["--version"], Command::Version),
            (&["-v"], Command::Version),
            (&["--help"], Command::Help),
            (&[], Command::Usage),
            (&["get", "get"], Command::Usage),
            (&["GET"], Command::Unknown("GET".to_owned())),
            (&[""], Command::Unknown(String::new())),
        ] {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            assert_eq!(parse(&arguments), wanted, "{arguments:?}");
        }
    }
}
