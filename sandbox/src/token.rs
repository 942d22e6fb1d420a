//! JSON Web Tokens: minted in any shape, and verified the way Quay does it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, URL_SAFE_NO_PAD};
use base64::{Engine as _, alphabet};
use ring::hmac;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RsaPublicKeyComponents,
};
use serde_json::{Map, Value, json};

use crate::DEFAULT_SUBJECT;
use crate::keys::{self, Algorithm, RsaKey, Slot};

/// The `kid` header of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyId {
    /// That of the key in the issuer's key set.
    Own,
    /// This one.
    Other(String),
    /// None at all.
    Absent,
}

/// Whose RSA key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// The one in the issuer's key set.
    Own,
    /// One that nobody lists.
    AnotherKey,
}

/// What a token looks like. The default is the recorded one: RS256, `kid`, `typ` JWT, `iss` of
/// whoever mints it, `sub` [`DEFAULT_SUBJECT`], `aud` "quay", `iat` now, `exp` 300 s later.
#[derive(Clone, Debug)]
pub struct TokenShape {
    algorithm: Algorithm,
    kid: KeyId,
    typ: Option<String>,
    signed_by: SignedBy,
    header: BTreeMap<String, Value>,
    claims: BTreeMap<String, Value>,
    removed: BTreeSet<String>,
    issued_offset: i64,
    life: i64,
    length: Option<usize>,
}

impl Default for TokenShape {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::Rs256,
            kid: KeyId::Own,
            typ: Some("JWT".to_owned()),
            signed_by: SignedBy::Own,
            header: BTreeMap::new(),
            claims: BTreeMap::from([
                ("sub".to_owned(), json!(DEFAULT_SUBJECT)),
                ("aud".to_owned(), json!("quay")),
            ]),
            removed: BTreeSet::new(),
            issued_offset: 0,
            life: 300,
            length: None,
        }
    }
}

impl TokenShape {
    /// Signed with another algorithm.
    #[must_use]
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// With another `kid`, or none.
    #[must_use]
    pub fn kid(mut self, kid: KeyId) -> Self {
        self.kid = kid;
        self
    }

    /// With this `typ` header, or none.
    #[must_use]
    pub fn typ(mut self, typ: Option<&str>) -> Self {
        self.typ = typ.map(str::to_owned);
        self
    }

    /// Signed by the key named; the `kid` stays as it is.
    #[must_use]
    pub fn signed_by(mut self, signed_by: SignedBy) -> Self {
        self.signed_by = signed_by;
        self
    }

    /// With this parameter in the header besides.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// With this `iss`.
    #[must_use]
    pub fn issuer(self, issuer: &str) -> Self {
        self.claim("iss", issuer)
    }

    /// With this `sub`.
    #[must_use]
    pub fn subject(self, subject: &str) -> Self {
        self.claim("sub", subject)
    }

    /// With this `aud`: a string or a list.
    #[must_use]
    pub fn audience(self, audience: impl Into<Value>) -> Self {
        self.claim("aud", audience)
    }

    /// With this claim, also in place of `iat`, `exp` or `iss`.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.removed.remove(name);
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Without this claim.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self.removed.insert(name.to_owned());
        self
    }

    /// `exp` so many seconds after `iat`.
    #[must_use]
    pub fn life(mut self, seconds: i64) -> Self {
        self.life = seconds;
        self
    }

    /// `iat` so many seconds from now; negative: in the past.
    #[must_use]
    pub fn issued_offset(mut self, seconds: i64) -> Self {
        self.issued_offset = seconds;
        self
    }

    /// Expired so many seconds ago; the life stays as it is.
    #[must_use]
    pub fn expired_for(self, seconds: i64) -> Self {
        let offset = -seconds - self.life;
        self.issued_offset(offset)
    }

    /// Padded (a claim `pad`) so that the whole token has exactly this length in bytes.
    #[must_use]
    pub fn length(mut self, bytes: usize) -> Self {
        self.length = Some(bytes);
        self
    }

    pub(crate) fn algorithm_used(&self) -> Algorithm {
        self.algorithm
    }

    /// `exp` − `iat`, in seconds.
    pub(crate) fn lifetime(&self) -> i64 {
        self.life
    }
}

/// The claims of a token, unverified; `None` for what is no JWT.
pub fn claims_of(token: &str) -> Option<Map<String, Value>> {
    Parsed::new(token).map(|parsed| parsed.claims)
}

/// Who mints: the keys and the name of an issuer.
pub(crate) struct Minter {
    pub(crate) key: Arc<RsaKey>,
    pub(crate) kid: String,
    pub(crate) ec_kid: String,
    pub(crate) issuer: String,
}

impl Minter {
    pub(crate) fn mint(&self, shape: &TokenShape) -> String {
        let mut header = Map::new();
        header.insert("alg".to_owned(), json!(shape.algorithm.name()));
        if let Some(typ) = &shape.typ {
            header.insert("typ".to_owned(), json!(typ));
        }
        match &shape.kid {
            KeyId::Own if shape.algorithm == Algorithm::Es256 => {
                header.insert("kid".to_owned(), json!(self.ec_kid));
            }
            KeyId::Own => {
                header.insert("kid".to_owned(), json!(self.kid));
            }
            KeyId::Other(kid) => {
                header.insert("kid".to_owned(), json!(kid));
            }
            KeyId::Absent => {}
        }
        header.extend(shape.header.iter().map(|(name, value)| (name.clone(), value.clone())));
        let issued = now() + shape.issued_offset;
        let mut claims = Map::from_iter([
            ("iss".to_owned(), json!(self.issuer)),
            ("iat".to_owned(), json!(issued)),
            ("exp".to_owned(), json!(issued + shape.life)),
        ]);
        claims.extend(shape.claims.iter().map(|(name, value)| (name.clone(), value.clone())));
        claims.retain(|name, _| !shape.removed.contains(name));

        if let Some(length) = shape.length {
            pad(&mut header, &mut claims, length, signature_length(shape.algorithm));
        }
        self.sign(shape.algorithm, shape.signed_by, &header, &claims)
    }

    pub(crate) fn sign(
        &self,
        algorithm: Algorithm,
        signed_by: SignedBy,
        header: &Map<String, Value>,
        claims: &Map<String, Value>,
    ) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let key = match signed_by {
            SignedBy::Own => Arc::clone(&self.key),
            SignedBy::AnotherKey => keys::rsa(Slot::Stranger),
        };
        let signature = match algorithm {
            Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 => {
                key.sign(message.as_bytes(), algorithm)
            }
            Algorithm::Es256 => keys::ec().sign(message.as_bytes()),
            Algorithm::Hs256 => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, b"the sandbox's shared secret");
                hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
            }
            Algorithm::None => Vec::new(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn encode(part: &Map<String, Value>) -> String {
    URL_SAFE_NO_PAD.encode(Value::Object(part.clone()).to_string())
}

/// In characters of base64url.
fn signature_length(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 => 342,
        Algorithm::Es256 => 86,
        Algorithm::Hs256 => 43,
        Algorithm::None => 0,
    }
}

/// Fills a claim `pad`. One length in four is out of base64's reach for the payload alone: then
/// the header gets some bytes too.
fn pad(
    header: &mut Map<String, Value>,
    claims: &mut Map<String, Value>,
    length: usize,
    signature: usize,
) {
    claims.insert("pad".to_owned(), json!(""));
    let unpadded = Value::Object(claims.clone()).to_string().len();
    for extra in 0..4 {
        if extra > 0 {
            header.insert("pad".to_owned(), json!("x".repeat(extra)));
        }
        let payload = length
            .checked_sub(encode(header).len() + signature + 2)
            .expect("a token is longer than its padded length");
        if payload % 4 == 1 {
            continue;
        }
        let padding = (payload * 3 / 4)
            .checked_sub(unpadded)
            .expect("a token is longer than its padded length");
        claims.insert("pad".to_owned(), json!("x".repeat(padding)));
        return;
    }
    unreachable!("four header lengths cover all four remainders");
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A token taken apart, nothing verified.
pub(crate) struct Parsed<'a> {
    pub(crate) header: Map<String, Value>,
    pub(crate) claims: Map<String, Value>,
    message: &'a str,
    signature: Vec<u8>,
}

impl<'a> Parsed<'a> {
    /// `None` where Quay's JWT library fails to decode: segments, base64url, JSON objects.
    pub(crate) fn new(token: &'a str) -> Option<Self> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let object = |part: &str| match serde_json::from_slice(&decode(part)?).ok()? {
            Value::Object(object) => Some(object),
            _ => None,
        };
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            message,
            signature: decode(signature)?,
        })
    }

    /// A claim, where it is a string.
    pub(crate) fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    pub(crate) fn kid(&self) -> Option<&str> {
        self.header.get("kid")?.as_str()
    }
}

/// As Python's decoder, which passes over stray bits at the end of a truncated segment.
fn decode(part: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurpose =
        GeneralPurpose::new(&alphabet::URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));
    LENIENT.decode(part).ok()
}

/// What a token must be, once its key is known.
#[derive(Default)]
pub(crate) struct Expected<'a> {
    pub(crate) algorithms: &'a [&'a str],
    pub(crate) required: &'a [&'a str],
    pub(crate) issuer: &'a str,
    /// One of these, where any are given.
    pub(crate) audiences: Option<&'a [String]>,
    pub(crate) verify_not_before: bool,
    /// The largest `exp` − `iat`, in seconds.
    pub(crate) longest_life: Option<i64>,
}

/// How far clocks may differ, in seconds.
const LEEWAY: i64 = 30;

/// Verifies as Quay does, in its order, and with its texts for what is wrong.
pub(crate) fn verify(
    token: &Parsed<'_>,
    (modulus, exponent): (&[u8], &[u8]),
    expected: &Expected<'_>,
) -> Result<(), String> {
    let algorithm = token.header.get("alg").and_then(Value::as_str).unwrap_or_default();
    if !expected.algorithms.contains(&algorithm) {
        return Err("The specified alg value is not allowed".to_owned());
    }
    let parameters = match algorithm {
        "RS384" => &RSA_PKCS1_2048_8192_SHA384,
        _ => &RSA_PKCS1_2048_8192_SHA256,
    };
    RsaPublicKeyComponents { n: modulus, e: exponent }
        .verify(parameters, token.message.as_bytes(), &token.signature)
        .map_err(|_| "Signature verification failed".to_owned())?;

    for claim in expected.required {
        if token.claims.get(*claim).is_none_or(Value::is_null) {
            return Err(missing(claim));
        }
    }
    let issued = integer(token, "iat", "Issued At claim (iat) must be an integer.")?;
    let not_before = integer(token, "nbf", "Not Before claim (nbf) must be an integer.")?;
    let expires = integer(token, "exp", "Expiration Time claim (exp) must be an integer.")?;
    let now = now();
    if expected.verify_not_before && not_before.is_some_and(|not_before| not_before > now + LEEWAY)
    {
        return Err("The token is not yet valid (nbf)".to_owned());
    }
    if expires.is_some_and(|expires| expires <= now - LEEWAY) {
        return Err("Signature has expired".to_owned());
    }
    if token.text("iss") != Some(expected.issuer) {
        return Err("Invalid issuer".to_owned());
    }
    if let Some(audiences) = expected.audiences {
        let Some(audience) = token.claims.get("aud").filter(|audience| !audience.is_null()) else {
            return Err(missing("aud"));
        };
        let one_of = |value: &Value| {
            value.as_str().is_some_and(|value| audiences.iter().any(|known| known == value))
        };
        let matches = match audience {
            Value::Array(list) => list.iter().any(one_of),
            single => one_of(single),
        };
        if !matches {
            return Err("Audience doesn't match".to_owned());
        }
    }
    if issued.is_some_and(|issued| issued > now + LEEWAY) {
        return Err("Issued At claim (iat) cannot be in the future.".to_owned());
    }
    if let (Some(longest), Some(issued), Some(expires)) = (expected.longest_life, issued, expires)
        && expires > issued + longest
    {
        return Err(format!("Token was signed for more than {longest} seconds from {issued}"));
    }
    Ok(())
}

fn missing(claim: &str) -> String {
    format!("Token is missing the \"{claim}\" claim")
}

/// A claim as Python's `int()` reads it.
fn integer(token: &Parsed<'_>, claim: &str, otherwise: &str) -> Result<Option<i64>, String> {
    let Some(value) = token.claims.get(claim) else {
        return Ok(None);
    };
    let integer = match value {
        #[expect(clippy::cast_possible_truncation, reason = "`int()` cuts the fraction off too")]
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|n| n as i64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    integer.map(Some).ok_or_else(|| otherwise.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, Minter, Parsed, TokenShape};
    use crate::keys::{self, Slot};

    fn minter() -> Minter {
        Minter {
            key: keys::rsa(Slot::Issuer(0)),
            kid: "k".to_owned(),
            ec_kid: "e".to_owned(),
            issuer: "https://localhost:1".to_owned(),
        }
    }

    #[test]
    fn a_token_has_the_length_asked_for_whatever_its_remainder() {
        for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::Hs256, Algorithm::None] {
            for length in 900..912 {
                let shape = TokenShape::default().algorithm(algorithm).length(length);
                let token = minter().mint(&shape);
                assert_eq!(token.len(), length, "{algorithm:?}");
                assert!(Parsed::new(&token).is_some());
            }
        }
    }
}
