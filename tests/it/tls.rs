//! TLS that cannot be done here (R37), by a server of OpenSSL's: a table of certificates and what is
//! said of each.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use quayfed_sandbox::{Need, lacks};

use crate::binary::Home;

/// A server, gone with this.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// With a certificate, its key and the others of its chain.
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = openssl(folder);
        command.args(["s_server", "-accept", "127.0.0.1:0", "-cert", "leaf.pem"]);
        command.args(["-key", "leaf.key", "-www"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("openssl");
        let out = BufReader::new(child.stdout.take().expect("a pipe"));
        let accepts = out.lines().map_while(Result::ok).find_map(|line| {
            line.strip_prefix("ACCEPT 127.0.0.1:").and_then(|port| port.parse().ok())
        });
        let Some(port) = accepts else {
            let _ = child.kill();
            panic!("openssl accepts nobody: {arguments:?}: {:?}", child.wait());
        };
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn openssl(folder: &Path) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(folder).stdin(Stdio::null()).stderr(Stdio::null()).stdout(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &str) {
    let status =
        openssl(folder).args(arguments.split_ascii_whitespace()).status().expect("openssl");
    assert!(status.success(), "openssl {arguments}");
}

/// How certificates are made: the arguments of openssl for the CA and for the server.
#[derive(Clone, Copy)]
struct Made {
    ca_key: &'static str,
    ca: &'static str,
    key: &'static str,
    signed: &'static str,
    extensions: &'static str,
}

const GOOD: Made = Made { ca_key: P256, ca: "", key: P256, signed: "-sha256", extensions: "" };
const P256: &str = "ec -pkeyopt ec_paramgen_curve:P-256";
const P384: &str = "ec -pkeyopt ec_paramgen_curve:P-384";
const P521: &str = "ec -pkeyopt ec_paramgen_curve:P-521";

impl Made {
    fn make(&self, folder: &Path) {
        let Self { ca_key, ca, key, signed, extensions } = self;
        let ca_file = format!(
            "req -x509 -newkey {ca_key} -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=Acme-Root{ca}"
        );
        run(folder, &ca_file);
        run(
            folder,
            &format!("req -newkey {key} -nodes -keyout leaf.key -out leaf.csr -subj /CN=quay"),
        );
        let extensions = format!("subjectAltName=IP:127.0.0.1\n{extensions}\n");
        fs::write(folder.join("leaf.cnf"), extensions).expect("written");
        run(
            folder,
            &format!(
                "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
                 -extfile leaf.cnf -out leaf.pem {signed}"
            ),
        );
    }
}

/// What a `get` says of an issuer at a server.
fn said(made: Made, arguments: &[&str]) -> (String, String) {
    let home = Home::new();
    let folder = tempfile::tempdir().expect("a folder");
    made.make(folder.path());
    let server = Server::start(folder.path(), arguments);
    let ca = fs::read_to_string(folder.path().join("ca.pem")).expect("a CA");
    let ca = home.write("ca.pem", &ca, 0o644);
    let secret = home.write("secret", "hunter2", 0o600);
    home.configure(&format!(
        "[registry.\"quay.example.com\"]\nrobot = \"acme+ci\"\nidentity = \"sso\"\n\
         [identity.sso]\nsource = \"client-credentials\"\nclient_id = \"x\"\n\
         issuer = \"https://127.0.0.1:{}\"\nca_file = \"{}\"\n\
         client_secret_file = \"{}\"\n",
        server.port,
        ca.display(),
        secret.display()
    ));
    let ran = home.get("quay.example.com");
    let cause = ran.cause().rsplit_once("could not be reached: ");
    let cause = cause.map_or_else(|| ran.cause().to_owned(), |(_, why)| why.to_owned());
    let hint = ran.hint().split(':').next().unwrap_or_default().to_owned();
    (cause, hint)
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn r37_what_tls_cannot_do_here_is_said_with_the_certificate_and_its_property() {
    if lacks(Need::Program("openssl")) {
        return;
    }
    let weak = ["-cipher", "ALL:@SECLEVEL=0"];
    let reissue = "let the certificate be reissued";
    let of_extension =
        "let the certificate be reissued with that extension not critical, or without it";
    let common =
        "let the server offer TLS 1.3, or TLS 1.2 with ECDHE and AES-GCM or ChaCha20-Poly1305";
    let mut differing = Vec::new();
    for (name, made, arguments, wanted, hint) in [
        (
            "the server's key on P-521",
            Made { key: P521, ..GOOD },
            &[][..],
            "the certificate of `quay` has an ECDSA key on P-521, by which nothing can be verified \
             here",
            reissue,
        ),
        (
            "the server's key on P-521, by TLS 1.2",
            Made { key: P521, ..GOOD },
            &["-tls1_2"],
            "the certificate of `quay` has an ECDSA key on P-521, by which nothing can be verified \
             here",
            reissue,
        ),
        (
            "the CA's key on P-521",
            Made { ca_key: P521, ..GOOD },
            &[],
            "the certificate of `Acme-Root` has an ECDSA key on P-521, by which nothing can be \
             verified here",
            reissue,
        ),
        (
            "Ed448",
            Made { key: "ed448", ..GOOD },
            &[],
            "the certificate of `quay` has an Ed448 key, by which nothing can be verified here",
            reissue,
        ),
        (
            "signed with SHA-512 by ECDSA",
            Made { ca_key: P384, signed: "-sha512", ..GOOD },
            &[],
            "the certificate of `quay` is signed by ECDSA with SHA-512, which cannot be verified here",
            reissue,
        ),
        (
            "signed with SHA-1",
            Made { ca_key: "rsa:2048", signed: "-sha1", ..GOOD },
            &weak,
            "the certificate of `quay` is signed by RSA with SHA-1, which cannot be verified here",
            reissue,
        ),
        (
            "signed with MD5",
            Made { ca_key: "rsa:2048", signed: "-md5", ..GOOD },
            &weak,
            "the certificate of `quay` is signed by RSA with MD5, which cannot be verified here",
            reissue,
        ),
        (
            "the server's RSA key too short",
            Made { key: "rsa:1024", ..GOOD },
            &weak,
            "the certificate of `quay` has an RSA key of 1024 bits, by which nothing can be verified \
             here",
            reissue,
        ),
        (
            "the CA's RSA key too short",
            Made { ca_key: "rsa:1024", ..GOOD },
            &weak,
            "the certificate of `Acme-Root` has an RSA key of 1024 bits, by which nothing can be \
             verified here",
            reissue,
        ),
        (
            "a key for PSS alone",
            Made { key: "rsa-pss -pkeyopt rsa_keygen_bits:2048", ..GOOD },
            &[],
            "the certificate of `quay` has an RSA key that is for PSS alone, by which nothing can be \
             verified here",
            reissue,
        ),
        (
            "signed by PSS with another salt",
            Made {
                ca_key: "rsa:2048",
                signed: "-sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:20",
                ..GOOD
            },
            &[],
            "the certificate of `quay` is signed by RSA-PSS with parameters that are not those of TLS, \
             which cannot be verified here",
            reissue,
        ),
        (
            "a critical policy",
            Made { extensions: "certificatePolicies=critical,1.2.3.4", ..GOOD },
            &[],
            "the certificate of `quay` has a critical extension that is not supported here \
             (certificate policies, 2.5.29.32)",
            of_extension,
        ),
        (
            "a critical extension of nobody's",
            Made { extensions: "1.2.3.4=critical,ASN1:NULL", ..GOOD },
            &[],
            "the certificate of `quay` has a critical extension that is not supported here (1.2.3.4)",
            of_extension,
        ),
        (
            "name constraints",
            Made {
                ca: " -addext nameConstraints=critical,permitted;IP:10.0.0.0/255.0.0.0",
                ..GOOD
            },
            &[],
            "the certificate of `quay` has a name that its CA must not certify (name constraints)",
            "let the CA reissue the server's certificate, as its own rules allow",
        ),
        (
            "for clients",
            Made { extensions: "extendedKeyUsage=clientAuth", ..GOOD },
            &[],
            "the certificate of `quay` is not one for servers (extended key usage)",
            "give the server a certificate of its own (CA",
        ),
        (
            "TLS 1.1",
            GOOD,
            &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
            "the server speaks only versions of TLS that are older than 1.2",
            "let the server speak TLS 1.2 or 1.3",
        ),
        (
            "RSA for the exchange of keys",
            Made { key: "rsa:2048", ..GOOD },
            &["-tls1_2", "-cipher", "AES128-SHA256"],
            "the server offers no cipher that is supported here",
            common,
        ),
        (
            "a certificate of the client",
            GOOD,
            &["-tls1_2", "-Verify", "1"],
            "the server ended TLS after its own certificate: it may ask for one of the client",
            "check that the port speaks https, with TLS 1.2 or 1.3 and a sound certificate",
        ),
        // What is as it should be reaches the server, which is none of ours.
        ("nothing", GOOD, &[], "", ""),
        ("RSA", Made { ca_key: "rsa:3072", key: "rsa:2048", ..GOOD }, &[], "", ""),
        ("Ed25519", Made { ca_key: "ed25519", signed: "", ..GOOD }, &[], "", ""),
    ] {
        let (cause, given) = said(made, arguments);
        let is_as_wanted = match hint {
            "" => cause.contains("JSON"),
            hint => cause == wanted && given == hint,
        };
        if !is_as_wanted {
            differing.push(format!("{name}:\n    {cause}\n    {given}"));
        }
    }
    assert!(differing.is_empty(), "\n{}", differing.join("\n"));
}
