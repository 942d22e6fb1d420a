//! What a person wants to know of a server's certificates (RFC 5280): whose each is, who issued it,
//! and when it ends. Only for showing: whether they are trusted is rustls's business.

use std::fmt;

use time::{Date, Month, PrimitiveDateTime, Time};

/// The parts of a certificate that are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is.
    pub subject: Name,
    /// Who issued it.
    pub issuer: Name,
    /// When it ends, in seconds since 1970.
    pub ends: i64,
    /// What it is made of.
    pub(crate) form: Form,
}

/// What a certificate is made of, as far as whoever verifies it has to understand that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// The object identifier of the algorithm that it is signed with.
    pub(super) signature: Vec<u8>,
    pub(super) key: Key,
    /// The object identifiers of its critical extensions.
    pub(super) critical: Vec<Vec<u8>>,
    pub(super) is_of_version_3: bool,
}

/// The public key in a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Key {
    /// RSA, with its length in bits.
    Rsa(usize),
    /// ECDSA, on a curve of this object identifier.
    Ec(Vec<u8>),
    /// Of an algorithm of this object identifier.
    Other(Vec<u8>),
    /// One that cannot be read.
    #[default]
    Unknown,
}

impl Key {
    /// Reads the content of a `SubjectPublicKeyInfo`.
    pub(super) fn read(info: &[u8]) -> Self {
        Self::parts(info).unwrap_or_default()
    }

    fn parts(info: &[u8]) -> Option<Self> {
        let (algorithm, rest) = content(info, tag::SEQUENCE)?;
        let (of, parameters) = content(algorithm, tag::OBJECT_IDENTIFIER)?;
        Some(match of {
            oid::RSA => {
                let (bits, _) = content(rest, tag::BIT_STRING)?;
                let (numbers, _) = content(bits.get(1..)?, tag::SEQUENCE)?;
                let (modulus, _) = content(numbers, tag::INTEGER)?;
                let leading = modulus.iter().take_while(|&&byte| byte == 0).count();
                let first = modulus.get(leading)?;
                let unused = usize::try_from(first.leading_zeros()).ok()?;
                Self::Rsa((modulus.len() - leading) * 8 - unused)
            }
            oid::EC => Self::Ec(content(parameters, tag::OBJECT_IDENTIFIER)?.0.to_vec()),
            other => Self::Other(other.to_vec()),
        })
    }
}

/// Object identifiers of keys: RSA (RFC 8017) and elliptic curves (RFC 5480).
mod oid {
    pub(super) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    pub(super) const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
}

/// The name of a subject or an issuer. Two are the same if their DER is (section 7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The content of its `SEQUENCE`.
    pub(super) der: Vec<u8>,
}

/// The common name, or else the organization, as whoever issued the certificate wrote it.
impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&name(&self.der).unwrap_or_default())
    }
}

/// The certificate of a chain whose issuer must be trusted: the first that one of the roots issued,
/// that issued itself, or whose issuer is not in the chain.
pub(super) fn last_of(
    chain: &[Certificate],
    is_root: impl Fn(&Name) -> bool,
) -> Option<&Certificate> {
    let mut last = chain.first()?;
    // No further than there are certificates: two may have issued each other.
    for _ in chain {
        if is_root(&last.issuer) || last.issuer == last.subject {
            break;
        }
        let Some(next) = chain.iter().find(|it| it.subject == last.issuer) else { break };
        last = next;
    }
    Some(last)
}

impl Certificate {
    /// Reads a certificate in DER; nothing where it has not the form of one.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (certificate, _) = content(der, tag::SEQUENCE)?;
        let (signed, _) = content(certificate, tag::SEQUENCE)?;
        // The version may be left out.
        let version = content(signed, tag::VERSION);
        let is_of_version_3 = version.is_some_and(|(it, _)| it == [tag::INTEGER, 1, 2]);
        let signed = version.map_or(signed, |(_, rest)| rest);
        let (_, signed) = content(signed, tag::INTEGER)?;
        let (algorithm, signed) = content(signed, tag::SEQUENCE)?;
        let signature = content(algorithm, tag::OBJECT_IDENTIFIER).map(|(of, _)| of.to_vec());
        let (issuer, signed) = content(signed, tag::SEQUENCE)?;
        let (validity, signed) = content(signed, tag::SEQUENCE)?;
        let (subject, signed) = content(signed, tag::SEQUENCE)?;
        let (key, extensions) = content(signed, tag::SEQUENCE).unwrap_or_default();
        let form = Form {
            signature: signature.unwrap_or_default(),
            key: Key::read(key),
            critical: critical(extensions).unwrap_or_default(),
            is_of_version_3,
        };
        let (_, _, after) = element(validity)?;
        let (kind, end, _) = element(after)?;
        let [subject, issuer] = [subject, issuer].map(|der| Name { der: der.to_vec() });
        Some(Self { subject, issuer, ends: moment(kind, end)?, form })
    }
}

/// The tags of DER (X.690) that are looked for.
mod tag {
    pub(super) const BOOLEAN: u8 = 0x01;
    pub(super) const INTEGER: u8 = 0x02;
    pub(super) const BIT_STRING: u8 = 0x03;
    pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(super) const UTC_TIME: u8 = 0x17;
    pub(super) const GENERALIZED_TIME: u8 = 0x18;
    pub(super) const SEQUENCE: u8 = 0x30;
    pub(super) const SET: u8 = 0x31;
    pub(super) const VERSION: u8 = 0xa0;
    pub(super) const EXTENSIONS: u8 = 0xa3;
}

/// The attribute types 2.5.4.3 and 2.5.4.10 (RFC 5280 appendix A.1).
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

/// The first element of `bytes`: its tag, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&kind, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((kind, content, rest))
}

fn content(bytes: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    element(bytes).filter(|(found, ..)| *found == kind).map(|(_, content, rest)| (content, rest))
}

/// The critical ones of the extensions that end a certificate.
fn critical(after_key: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (extensions, _) = content(after_key, tag::EXTENSIONS)?;
    let (mut extensions, _) = content(extensions, tag::SEQUENCE)?;
    let mut critical = Vec::new();
    while !extensions.is_empty() {
        let (extension, rest) = content(extensions, tag::SEQUENCE)?;
        let (of, value) = content(extension, tag::OBJECT_IDENTIFIER)?;
        if content(value, tag::BOOLEAN).is_some_and(|(is, _)| is != [0]) {
            critical.push(of.to_vec());
        }
        extensions = rest;
    }
    Some(critical)
}

fn name(mut names: &[u8]) -> Option<String> {
    let (mut common, mut organization) = (None, None);
    while !names.is_empty() {
        let (set, rest) = content(names, tag::SET)?;
        let (attribute, _) = content(set, tag::SEQUENCE)?;
        let (of, value) = content(attribute, tag::OBJECT_IDENTIFIER)?;
        let (_, value, _) = element(value)?;
        let value = || Some(String::from_utf8_lossy(value).into_owned());
        match of {
            COMMON_NAME => common = value(),
            ORGANIZATION => organization = value(),
            _ => {}
        }
        names = rest;
    }
    common.or(organization)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ` (RFC 5280 section 4.1.2.5).
fn moment(kind: u8, text: &[u8]) -> Option<i64> {
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match kind {
        tag::UTC_TIME => {
            let (year, rest) = digits.split_at_checked(2)?;
            let year: i32 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        tag::GENERALIZED_TIME => {
            let (year, rest) = digits.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
    let month = Month::try_from(part(0)?).ok()?;
    let date = Date::from_calendar_date(year, month, part(2)?).ok()?;
    let time = Time::from_hms(part(4)?, part(6)?, part(8)?).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp())
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub(super) fn der(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u8::try_from(content.len()).expect("short");
        let mut bytes = if length < 0x80 { vec![kind, length] } else { vec![kind, 0x81, length] };
        bytes.extend(content);
        bytes
    }

    pub(super) fn name_of(attribute: &[u8], text: &str) -> Name {
        let oid = der(tag::OBJECT_IDENTIFIER, &[attribute]);
        let attribute = der(tag::SEQUENCE, &[&oid, &der(0x0c, &[text.as_bytes()])]);
        Name { der: der(tag::SET, &[&attribute]) }
    }

    /// A name with this common name.
    pub(crate) fn common(text: &str) -> Name {
        name_of(COMMON_NAME, text)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{common, der, name_of};
    use super::*;

    fn certificate(subject: &Name, issuer: &Name, kind: u8, end: &str) -> Vec<u8> {
        let begin = der(tag::UTC_TIME, &[b"261124060000Z"]);
        let validity = der(tag::SEQUENCE, &[&begin, &der(kind, &[end.as_bytes()])]);
        let version = der(tag::VERSION, &[&der(tag::INTEGER, &[&[2]])]);
        let serial = der(tag::INTEGER, &[&[1; 120]]);
        let algorithm = der(tag::SEQUENCE, &[]);
        let [subject, issuer] = [subject, issuer].map(|name| der(tag::SEQUENCE, &[&name.der]));
        let signed = [version, serial, algorithm, issuer, validity, subject].concat();
        der(tag::SEQUENCE, &[&der(tag::SEQUENCE, &[&signed])])
    }

    #[test]
    fn names_and_end_are_read_in_both_forms_of_time() {
        let (subject, issuer) = (common("quay"), name_of(ORGANIZATION, "Acme"));
        let of = |kind, end| Certificate::read(&certificate(&subject, &issuer, kind, end));
        let wanted = Some(Certificate {
            subject: subject.clone(),
            issuer: issuer.clone(),
            ends: 1_795_500_000,
            form: Form { is_of_version_3: true, ..Form::default() },
        });
        assert_eq!(of(tag::UTC_TIME, "261124060000Z"), wanted);
        assert_eq!(of(tag::GENERALIZED_TIME, "20261124060000Z"), wanted);
        assert_eq!((subject.to_string(), issuer.to_string()), ("quay".into(), "Acme".into()));
        assert_eq!(Name { der: Vec::new() }.to_string(), "");
    }

    #[test]
    fn what_is_cut_or_is_none_is_nothing() {
        let name = common("A CA");
        let whole = certificate(&name, &name, tag::UTC_TIME, "261124060000Z");
        for length in 0..whole.len() {
            assert_eq!(Certificate::read(&whole[..length]), None, "{length}");
        }
        for end in ["", "2611240600Z", "261324060000Z", "26112406000éZ", "261124060000+0100"] {
            let read = Certificate::read(&certificate(&name, &name, tag::UTC_TIME, end));
            assert_eq!(read, None, "{end}");
        }
    }

    #[test]
    fn a_chain_ends_where_somebody_must_be_trusted() {
        let chain = |links: &[(&str, &str)]| -> Vec<Certificate> {
            let of = |(subject, issuer): &(&str, &str)| Certificate {
                subject: common(subject),
                issuer: common(issuer),
                ends: 0,
                form: Form::default(),
            };
            links.iter().map(of).collect()
        };
        for (links, root, wanted) in [
            (&[("leaf", "ca")][..], "ca", "ca"),
            (&[("leaf", "inter")], "ca", "inter"),
            (&[("leaf", "inter"), ("inter", "ca")], "ca", "ca"),
            (&[("leaf", "two"), ("one", "ca"), ("two", "one")], "ca", "ca"),
            (&[("leaf", "ca"), ("ca", "ca")], "other", "ca"),
            // Signed across: the root that is trusted here is not the last one that was sent.
            (&[("leaf", "inter"), ("inter", "new"), ("new", "old")], "new", "new"),
            (&[("leaf", "a"), ("a", "b"), ("b", "a")], "ca", "b"),
        ] {
            let chain = chain(links);
            let last = last_of(&chain, |issuer| issuer.to_string() == root).expect("a chain");
            assert_eq!(last.issuer.to_string(), wanted, "{links:?}");
        }
        assert_eq!(last_of(&[], |_| true), None);
    }
}
