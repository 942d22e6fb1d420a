//! Whether a token is signed by a key that its issuer publishes, as far as that can be told here.
//! Nothing is granted on the ground of it: it only foretells what Quay will find.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RsaParameters, RsaPublicKeyComponents,
};
use serde_json::Value;

/// The exponent that RSA keys have; others may be read differently by different libraries.
const USUAL_EXPONENT: &[u8] = &[1, 0, 1];
/// The shortest modulus that ring takes, in bytes; Quay's library takes shorter ones.
const SHORTEST_MODULUS: usize = 2048 / 8;

/// Whether `token`, signed by `algorithm`, is signed by an RSA `key` (RFC 7518 section 6.3);
/// nothing where this program cannot tell.
pub(super) fn holds(token: &str, algorithm: &str, key: &Value) -> Option<bool> {
    let parameters: &RsaParameters = match algorithm {
        "RS256" => &RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &RSA_PKCS1_2048_8192_SHA384,
        _ => return None,
    };
    let number = |name: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(key.get(name)?.as_str()?).ok()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Some(bytes[zeros..].to_vec())
    };
    let (n, e) = (number("n")?, number("e")?);
    if n.len() < SHORTEST_MODULUS || e != USUAL_EXPONENT {
        return None;
    }
    let (signed, signature) = token.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let key = RsaPublicKeyComponents { n, e };
    Some(key.verify(parameters, signed.as_bytes(), &signature).is_ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_told_here_is_not_told() {
        let long = URL_SAFE_NO_PAD.encode([0xff; 256]);
        let key = json!({"kty": "RSA", "n": long, "e": "AQAB"});
        assert_eq!(holds("a.b.c2ln", "RS256", &key), Some(false));
        assert_eq!(holds("a.b.c2ln", "RS512", &key), None);
        assert_eq!(holds("a.b.!", "RS256", &key), None);
        for key in [
            json!({"kty": "RSA"}),
            json!({"n": long, "e": "Aw"}),
            json!({"n": URL_SAFE_NO_PAD.encode([0xff; 128]), "e": "AQAB"}),
        ] {
            assert_eq!(holds("a.b.c2ln", "RS256", &key), None, "{key}");
        }
    }
}
