//! A file of CA certificates in PEM (RFC 7468), read whole: each certificate in it counts, or the
//! line of what is wrong with it is told (rule R37).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::{CertificateDer, TrustAnchor};

use super::certificate::Certificate;

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Bundle {
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    /// What cannot be used, in the order of the file.
    pub(super) flaws: Vec<Flaw>,
    /// The private keys in it, which have no business there, by their lines.
    pub(super) private_keys: Vec<usize>,
}

/// What is wrong in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// The line; nothing where it is the file as a whole.
    pub(super) line: Option<usize>,
    /// What, to follow the name of the file.
    pub(super) what: String,
}

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

impl Bundle {
    /// Reads the content of a file. Byte order mark, line ends of any kind or none at all, and
    /// comments do not matter.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let mut bundle = Self::default();
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            bundle.whole("is text in UTF-16: save it as UTF-8");
            return bundle;
        }
        // What is not UTF-8 can stand in a comment only, and keeps its line.
        let text = String::from_utf8_lossy(bytes);
        let blocks = bundle.read_blocks(&text);
        if bundle.anchors.is_empty() && bundle.flaws.is_empty() {
            bundle.whole(match &blocks[..] {
                _ if text.trim_matches(['\u{feff}', ' ', '\r', '\n', '\t']).is_empty() => {
                    "is empty"
                }
                _ if Certificate::read(bytes).is_some() => {
                    "is a certificate in DER and not in PEM: convert it with `openssl x509 -inform \
                     der -in FILE -out NEWFILE`"
                }
                [] => "does not have a certificate in PEM (BEGIN CERTIFICATE)",
                [first, ..] => {
                    let what = format!("has no certificate, but a {first}");
                    bundle.flaws.push(Flaw { line: None, what });
                    return bundle;
                }
            });
        }
        bundle
    }

    fn whole(&mut self, what: &str) {
        self.flaws.push(Flaw { line: None, what: what.to_owned() });
    }

    /// Reads the blocks of a text, and tells what each of those is that are no certificate.
    fn read_blocks(&mut self, text: &str) -> Vec<String> {
        let mut others = Vec::new();
        let mut at = 0;
        let flaw = |at: usize, what: String| {
            let line = 1 + text[..at].bytes().filter(|&byte| byte == b'\n').count();
            Flaw { line: Some(line), what }
        };
        while let Some(begin) = text[at..].find(BEGIN).map(|found| at + found) {
            self.flaws.extend(stray(&text[at..begin]).map(|(by, what)| flaw(at + by, what)));
            let Some((label, body)) = label(text, begin + BEGIN.len()) else {
                self.flaws.push(flaw(begin, "has a BEGIN line that is damaged".to_owned()));
                at = begin + BEGIN.len();
                continue;
            };
            let end = text[body..].find(DASHES).map(|found| body + found);
            let closed = end.filter(|&end| text[end..].starts_with(END)).and_then(|end| {
                let (closing, after) = self::label(text, end + END.len())?;
                (closing == label).then_some((end, after))
            });
            let Some((end, after)) = closed else {
                let what = format!("begins a {label} that does not end (END {label})");
                self.flaws.push(flaw(begin, what));
                // What follows may be another one.
                at = text[body..].find(BEGIN).map_or(text.len(), |found| body + found);
                continue;
            };
            at = after;
            match label {
                "CERTIFICATE" | "X509 CERTIFICATE" => match certificate(&text[body..end]) {
                    Ok(anchor) => self.anchors.push(anchor),
                    Err((by, what)) => {
                        self.flaws.push(flaw(by.map_or(begin, |by| body + by), what));
                    }
                },
                "TRUSTED CERTIFICATE" => self.flaws.push(flaw(
                    begin,
                    "is a TRUSTED CERTIFICATE, a form of OpenSSL's own: convert it with `openssl \
                     x509 -in FILE -out NEWFILE`"
                        .to_owned(),
                )),
                other => {
                    if other.ends_with("PRIVATE KEY") {
                        self.private_keys.extend(flaw(begin, String::new()).line);
                    }
                    others.push(other.to_owned());
                }
            }
        }
        self.flaws.extend(stray(&text[at..]).map(|(by, what)| flaw(at + by, what)));
        others
    }
}

/// What a block is of, and where its body begins.
fn label(text: &str, at: usize) -> Option<(&str, usize)> {
    let (label, _) = text[at..].split_once(DASHES)?;
    let is_label = |it: char| it.is_ascii_uppercase() || it.is_ascii_digit() || it == ' ';
    label.chars().all(is_label).then_some((label, at + label.len() + DASHES.len()))
}

/// A certificate that nobody would see: base64 between the blocks, or the line that should begin or
/// end one.
fn stray(text: &str) -> Option<(usize, String)> {
    const LONG: usize = 48;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let plain = line.trim();
        let is_base64 = plain.bytes().all(|it| it.is_ascii_alphanumeric() || b"+/=".contains(&it));
        if plain.starts_with('-') && plain.to_ascii_uppercase().contains("CERTIFICATE") {
            return Some((at, "has a BEGIN or END line that is damaged or alone".to_owned()));
        }
        if plain.len() >= LONG && is_base64 {
            let what = "has base64 that is in no certificate: a BEGIN or END line is missing";
            return Some((at, what.to_owned()));
        }
        at += line.len();
    }
    None
}

/// Reads what stands between BEGIN and END; what is wrong, and where in it, if that is known.
fn certificate(body: &str) -> Result<TrustAnchor<'static>, (Option<usize>, String)> {
    let base64: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(&base64).map_err(|_| {
        let is_base64 = |it: u8| it.is_ascii_alphanumeric() || b"+/= \t\r\n".contains(&it);
        match body.bytes().position(|byte| !is_base64(byte)) {
            Some(at) => (Some(at), "is not base64".to_owned()),
            None => (Some(body.trim_end().len()), "ends base64 that is cut off".to_owned()),
        }
    })?;
    let der = CertificateDer::from(der);
    match webpki::anchor_from_trusted_cert(&der) {
        Ok(anchor) => Ok(anchor.to_owned()),
        Err(_) => Err((None, "begins a certificate that is damaged".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use quayfed_sandbox::{Need, lacks};

    use super::*;

    /// A root in PEM.
    fn root() -> String {
        quayfed_sandbox::root("A root").expect("a root")
    }

    fn told(content: impl AsRef<[u8]>) -> String {
        let Bundle { anchors, flaws, private_keys } = Bundle::read(content.as_ref());
        let mut told = vec![anchors.len().to_string()];
        told.extend(flaws.into_iter().map(|Flaw { line, what }| {
            line.map_or_else(String::new, |line| format!("line {line} ")) + &what
        }));
        told.extend(private_keys.iter().map(|line| format!("private key in line {line}")));
        told.join("; ")
    }

    #[allow(clippy::too_many_lines, reason = "a table")]
    #[test]
    fn r37_a_bundle_is_used_whole_or_the_line_that_is_wrong_is_told() {
        let (one, two) = (root(), root());
        let lines = one.lines().count();
        let base64 = |pem: &str| pem.lines().filter(|it| !it.starts_with('-')).collect::<String>();
        let der = STANDARD.decode(base64(&one)).expect("DER");
        let utf_16: Vec<u8> =
            format!("\u{feff}{one}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let cut = one.replace("-----END CERTIFICATE-----\n", "");
        let middle = one.lines().nth(3).expect("a line");
        let cases: Vec<(&str, Vec<u8>, &str)> = vec![
            ("two", format!("{one}{two}").into(), "2"),
            (
                "no line end at all between",
                one.trim_end().to_owned().into_bytes().into_iter().chain(two.bytes()).collect(),
                "2",
            ),
            ("byte order mark", format!("\u{feff}{one}{two}").into(), "2"),
            ("CRLF", format!("{one}{two}").replace('\n', "\r\n").into(), "2"),
            ("CR alone", format!("{one}{two}").replace('\n', "\r").into(), "2"),
            (
                "comments",
                format!("# A root\nSubject: CN=A\n{one}\n\n# Zwei: Zürich\n{two}end").into(),
                "2",
            ),
            ("a comment in Latin-1", [b"# Z\xfcrich\n", one.as_bytes()].concat(), "1"),
            ("indented", format!("  {one}{two}").replace('\n', " \n  ").into(), "2"),
            (
                "one long line each",
                format!(
                    "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n{two}",
                    base64(&one)
                )
                .into(),
                "2",
            ),
            ("everything on one line", format!("{one}{two}").replace('\n', "").into(), "2"),
            ("an old label", one.replace(" CERTIFICATE", " X509 CERTIFICATE").into(), "1"),
            (
                "a private key",
                format!("{one}-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n{two}")
                    .into(),
                "2; private key in line LAST+1",
            ),
            ("empty", "".into(), "0; is empty"),
            ("white space", "\u{feff}\r\n \n".into(), "0; is empty"),
            (
                "text",
                "no certificate\n".into(),
                "0; does not have a certificate in PEM (BEGIN CERTIFICATE)",
            ),
            (
                "DER",
                der,
                "0; is a certificate in DER and not in PEM: convert it with `openssl x509 -inform der -in FILE -out NEWFILE`",
            ),
            ("UTF-16", utf_16, "0; is text in UTF-16: save it as UTF-8"),
            (
                "a request",
                "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n"
                    .into(),
                "0; has no certificate, but a CERTIFICATE REQUEST",
            ),
            (
                "OpenSSL's own",
                format!("{one}{}", two.replace(" CERTIFICATE", " TRUSTED CERTIFICATE")).into(),
                "1; line LAST+1 is a TRUSTED CERTIFICATE, a form of OpenSSL's own: convert it with `openssl x509 -in FILE -out NEWFILE`",
            ),
            (
                "cut off",
                format!("{two}{cut}").into(),
                "1; line LAST+1 begins a CERTIFICATE that does not end (END CERTIFICATE)",
            ),
            (
                "cut off within the base64",
                format!("{one}{}", two.replacen('=', "", 1).replacen('M', "", 1)).into(),
                "1; line LAST2-1 ends base64 that is cut off",
            ),
            (
                "a line gone",
                one.replacen(&format!("{middle}\n"), "", 1).into(),
                "0; line 1 begins a certificate that is damaged",
            ),
            (
                "a letter that is none",
                one.replacen(middle, &format!("*{}", &middle[1..]), 1).into(),
                "0; line 4 is not base64",
            ),
            (
                "a BEGIN with four dashes",
                format!("{one}{}", &two[1..]).into(),
                "1; line LAST+1 has a BEGIN or END line that is damaged or alone",
            ),
            (
                "an END that is gone",
                format!("{}{two}", one.replace("-----END CERTIFICATE-----\n", "")).into(),
                "1; line 1 begins a CERTIFICATE that does not end (END CERTIFICATE)",
            ),
            (
                "an END of something else",
                one.replace("-----END CERTIFICATE", "-----END PRIVATE KEY").into(),
                "0; line 1 begins a CERTIFICATE that does not end (END CERTIFICATE)",
            ),
            (
                "lower case",
                one.to_lowercase().into(),
                "0; line 1 has a BEGIN or END line that is damaged or alone",
            ),
            (
                "no certificate in it",
                "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".into(),
                "0; line 1 begins a certificate that is damaged",
            ),
            (
                "nothing in it",
                "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".into(),
                "0; line 1 begins a certificate that is damaged",
            ),
        ];
        for (name, content, wanted) in cases {
            let last = two.lines().count() + lines - 1;
            let wanted = wanted
                .replace("LAST2-1", &last.to_string())
                .replace("LAST+1", &(lines + 1).to_string());
            assert_eq!(told(content), wanted, "{name}");
        }
    }

    #[test]
    fn r37_every_certificate_of_this_systems_bundle_counts() {
        let file = std::path::Path::new("/etc/ssl/certs/ca-certificates.crt");
        if lacks(Need::Other("Debian's ca-certificates", file.exists())) {
            return;
        }
        let bytes = std::fs::read(file).expect("a bundle");
        let begun = String::from_utf8_lossy(&bytes).matches("-----BEGIN CERTIFICATE-----").count();
        let bundle = Bundle::read(&bytes);
        assert!(begun > 50, "{begun}");
        assert_eq!((bundle.anchors.len(), bundle.flaws), (begun, Vec::new()));
    }
}
