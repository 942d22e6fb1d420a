//! A look at what a JSON Web Token (RFC 7519) says of itself. Nothing here verifies a signature:
//! the types' names say so, and nothing is granted on the ground of what they hold.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::dangerous::insecure_decode_claims;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The JOSE header of a token (RFC 7515 section 4). Own fields instead of a library's enum: the
/// algorithms that a library refuses to read (`none`, `ES512`) are those that must be explained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct UnverifiedHeader {
    /// The signature algorithm.
    pub alg: Option<String>,
    /// The key that the issuer signed with.
    pub kid: Option<String>,
    /// The media type of the token.
    pub typ: Option<String>,
    /// The extensions that a reader must know (RFC 7515 section 4.1.11), as they stand there.
    pub crit: Option<Value>,
}

/// The registered claims of a token (RFC 7519 section 4.1), as whoever sent it wrote them. A claim
/// of an unexpected kind counts as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnverifiedClaims {
    /// The issuer, a URL.
    pub iss: Option<String>,
    /// The subject.
    pub sub: Option<String>,
    /// The audiences, which a token has as a string or as a list of strings.
    pub audiences: Vec<String>,
    /// When it was issued, in seconds since 1970.
    pub iat: Option<i64>,
    /// When it ends, in seconds since 1970.
    pub exp: Option<i64>,
}

impl UnverifiedClaims {
    fn of(claims: &Map<String, Value>) -> Self {
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        let date = |name: &str| claims.get(name).and_then(numeric_date);
        let audiences = match claims.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(several)) => {
                several.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        Self { iss: text("iss"), sub: text("sub"), audiences, iat: date("iat"), exp: date("exp") }
    }
}

/// What a token says of itself: header and claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnverifiedToken {
    /// Its header.
    pub header: UnverifiedHeader,
    /// Its claims.
    pub claims: UnverifiedClaims,
}

/// Why a text is not a JWT, as the end of a sentence that begins with "the token".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAJwt(pub &'static str);

impl fmt::Display for NotAJwt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

/// Reads header and claims of a token in the compact serialization (RFC 7515 section 7.1).
pub fn peek(token: &str) -> Result<UnverifiedToken, NotAJwt> {
    if token.is_empty() {
        return Err(NotAJwt("is empty"));
    }
    if token.bytes().any(|byte| byte.is_ascii_whitespace()) {
        return Err(NotAJwt("has white space inside"));
    }
    let segments: Vec<&str> = token.split('.').collect();
    let [header, _, _] = segments[..] else {
        return Err(match segments.len() {
            1 => NotAJwt("is opaque: it has no `.`, so it is not a JWT"),
            5 => NotAJwt("is encrypted: it has five segments (JWE), a JWT has three"),
            _ => NotAJwt("is not a JWT: it does not have three segments"),
        });
    };
    let header = decode_segment(header)
        .ok_or(NotAJwt("is not a JWT: its header is not base64url of JSON"))?;
    let claims: Map<String, Value> = insecure_decode_claims(token)
        .map_err(|_| NotAJwt("is not a JWT: its claims are not base64url of a JSON object"))?;
    Ok(UnverifiedToken { header, claims: UnverifiedClaims::of(&claims) })
}

/// A claim of a token as it stands there; `null` counts as absent.
pub fn claim(token: &str, name: &str) -> Option<Value> {
    let mut claims: Map<String, Value> = insecure_decode_claims(token).ok()?;
    claims.remove(name).filter(|value| !value.is_null())
}

/// The names of all claims of a token.
pub fn claim_names(token: &str) -> Vec<String> {
    insecure_decode_claims::<Map<String, Value>>(token)
        .map(|claims| claims.into_iter().map(|(name, _)| name).collect())
        .unwrap_or_default()
}

/// The claim that takes most of a token, with the bytes of its JSON.
pub fn largest_claim(token: &str) -> Option<(String, usize)> {
    let claims: Map<String, Value> = insecure_decode_claims(token).ok()?;
    claims
        .into_iter()
        .map(|(name, value)| (name, value.to_string().len()))
        .max_by_key(|&(_, bytes)| bytes)
}

fn decode_segment<T: DeserializeOwned>(segment: &str) -> Option<T> {
    let bytes = URL_SAFE_NO_PAD.decode(segment).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// A `NumericDate` (RFC 7519 section 2) may have a fraction.
#[allow(clippy::cast_possible_truncation, reason = "a saturating cast of a date is what is meant")]
fn numeric_date(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|date| date as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn header_and_claims_are_read_whatever_the_algorithm() {
        for alg in ["RS256", "none", "ES512", "EdDSA", "made-up"] {
            let peeked = peek(&token(
                &format!(r#"{{"alg":"{alg}","kid":"k","typ":"JWT","crit":["x"]}}"#),
                r#"{"iss":"https://i","sub":"s","aud":["b","a"],"iat":1.9,"exp":9000000000}"#,
            ))
            .expect("a JWT");
            assert_eq!(peeked.header.alg.as_deref(), Some(alg));
            assert_eq!(peeked.claims.audiences, ["b", "a"]);
            assert_eq!((peeked.claims.iat, peeked.claims.exp), (Some(1), Some(9_000_000_000)));
        }
    }

    #[test]
    fn claims_of_an_unexpected_kind_count_as_absent() {
        let claims =
            peek(&token("{}", r#"{"aud":7,"iat":"now","exp":null}"#)).expect("a JWT").claims;
        assert_eq!((claims.iat, claims.exp), (None, None));
        assert!(claims.audiences.is_empty());
    }

    #[test]
    fn a_claim_is_read_as_it_stands_there() {
        let token = token("{}", r#"{"exp":"7","iat":null,"sub":"s"}"#);
        assert_eq!(claim(&token, "exp"), Some(Value::from("7")));
        assert_eq!((claim(&token, "iat"), claim(&token, "iss")), (None, None));
        assert_eq!(claim_names(&token), ["exp", "iat", "sub"]);
    }

    #[test]
    fn the_largest_claim_is_found() {
        let token = token("{}", r#"{"iss":"https://i","groups":["a","b","c","d"],"sub":"s"}"#);
        assert_eq!(largest_claim(&token), Some(("groups".to_owned(), 17)));
        assert_eq!(largest_claim("opaque"), None);
    }

    #[test]
    fn what_is_no_jwt_is_named_by_what_is_wrong() {
        for (text, wanted) in [
            ("", "is empty"),
            ("opaque", "is opaque: it has no `.`, so it is not a JWT"),
            ("a.b", "is not a JWT: it does not have three segments"),
            ("a.b.c.d.e", "is encrypted: it has five segments (JWE), a JWT has three"),
            ("e30.e30.\n", "has white space inside"),
            ("!.e30.x", "is not a JWT: its header is not base64url of JSON"),
            ("e30.W10.x", "is not a JWT: its claims are not base64url of a JSON object"),
        ] {
            assert_eq!(peek(text), Err(NotAJwt(wanted)), "{text:?}");
        }
    }
}
