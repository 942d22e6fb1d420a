//! Asks the `docker_credential` crate for the credentials of a server, as testcontainers for Rust
//! and others do, and prints what it answers. Usage: `docker|podman SERVER`.

use std::process::ExitCode;

use docker_credential::{CredentialRetrievalError, DockerCredential};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let answer = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["docker", server] => docker_credential::get_credential(server),
        ["podman", server] => docker_credential::get_podman_credential(server),
        _ => {
            eprintln!("usage: docker|podman SERVER");
            return ExitCode::from(2);
        }
    };
    match answer {
        Ok(DockerCredential::UsernamePassword(username, password)) => {
            println!("{}", serde_json::json!({ "username": username, "password": password }));
            ExitCode::SUCCESS
        }
        Ok(DockerCredential::IdentityToken(_)) => {
            println!("an identity token");
            ExitCode::FAILURE
        }
        Err(error) => {
            if let CredentialRetrievalError::HelperFailure { stdout, stderr, .. } = &error {
                println!("{}", serde_json::json!({ "stdout": stdout, "stderr": stderr }));
            }
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
