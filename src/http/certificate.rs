//! What a person wants to know of a server's certificate (RFC 5280): who issued it, and when it
//! ends. Only for showing: whether it is trusted is rustls's business.

use time::{Date, Month, PrimitiveDateTime, Time};

/// The parts of a certificate that are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The common name of its issuer, or else the organization; as whoever issued it wrote it.
    pub issuer: String,
    /// When it ends, in seconds since 1970.
    pub ends: i64,
}

impl Certificate {
    /// Reads a certificate in DER; nothing where it has not the form of one.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (certificate, _) = content(der, tag::SEQUENCE)?;
        let (signed, _) = content(certificate, tag::SEQUENCE)?;
        // The version may be left out.
        let signed = content(signed, tag::VERSION).map_or(signed, |(_, rest)| rest);
        let (_, signed) = content(signed, tag::INTEGER)?;
        let (_, signed) = content(signed, tag::SEQUENCE)?;
        let (issuer, signed) = content(signed, tag::SEQUENCE)?;
        let (validity, _) = content(signed, tag::SEQUENCE)?;
        let (_, _, after) = element(validity)?;
        let (kind, end, _) = element(after)?;
        Some(Self { issuer: name(issuer)?, ends: moment(kind, end)? })
    }
}

/// The tags of DER (X.690) that are looked for.
mod tag {
    pub(super) const INTEGER: u8 = 0x02;
    pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
    pub(super) const UTC_TIME: u8 = 0x17;
    pub(super) const GENERALIZED_TIME: u8 = 0x18;
    pub(super) const SEQUENCE: u8 = 0x30;
    pub(super) const SET: u8 = 0x31;
    pub(super) const VERSION: u8 = 0xa0;
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
mod tests {
    use super::*;

    fn der(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let length = u8::try_from(content.len()).expect("short");
        let mut bytes = if length < 0x80 { vec![kind, length] } else { vec![kind, 0x81, length] };
        bytes.extend(content);
        bytes
    }

    fn certificate(attribute: &[u8], issuer: &str, kind: u8, end: &str) -> Vec<u8> {
        let oid = der(tag::OBJECT_IDENTIFIER, &[attribute]);
        let issuer = der(tag::SEQUENCE, &[&oid, &der(0x0c, &[issuer.as_bytes()])]);
        let issuer = der(tag::SEQUENCE, &[&der(tag::SET, &[&issuer])]);
        let begin = der(tag::UTC_TIME, &[b"261124060000Z"]);
        let validity = der(tag::SEQUENCE, &[&begin, &der(kind, &[end.as_bytes()])]);
        let version = der(tag::VERSION, &[&der(tag::INTEGER, &[&[2]])]);
        let serial = der(tag::INTEGER, &[&[1; 120]]);
        let algorithm = der(tag::SEQUENCE, &[]);
        let signed = [version, serial, algorithm, issuer, validity].concat();
        der(tag::SEQUENCE, &[&der(tag::SEQUENCE, &[&signed])])
    }

    #[test]
    fn issuer_and_end_are_read_in_both_forms_of_time() {
        let of = |kind, end| Certificate::read(&certificate(COMMON_NAME, "A CA", kind, end));
        let wanted = Certificate { issuer: "A CA".to_owned(), ends: 1_795_500_000 };
        assert_eq!(of(tag::UTC_TIME, "261124060000Z"), Some(wanted.clone()));
        assert_eq!(of(tag::GENERALIZED_TIME, "20261124060000Z"), Some(wanted));
        let of_the_organization =
            Certificate::read(&certificate(ORGANIZATION, "Acme", tag::UTC_TIME, "261124060000Z"));
        assert_eq!(of_the_organization.map(|it| it.issuer).as_deref(), Some("Acme"));
    }

    #[test]
    fn what_is_cut_or_is_none_is_nothing() {
        let whole = certificate(COMMON_NAME, "A CA", tag::UTC_TIME, "261124060000Z");
        for length in 0..whole.len() {
            assert_eq!(Certificate::read(&whole[..length]), None, "{length}");
        }
        for end in ["", "2611240600Z", "261324060000Z", "26112406000éZ", "261124060000+0100"] {
            let read = Certificate::read(&certificate(COMMON_NAME, "A", tag::UTC_TIME, end));
            assert_eq!(read, None, "{end}");
        }
    }
}
