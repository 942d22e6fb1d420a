//! Signing keys. RSA keys are costly to make: a process makes few, at first use, and all its
//! sandboxes share them. What sets two keys of two issuers apart is their `kid`.

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use getrandom::SysRng;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair as RsaKeyPair;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding, RsaPublicKeyComponents,
};
use rsa::pkcs8::EncodePrivateKey as _;
use serde_json::{Value, json};

/// What a token is signed with (the `alg` header, RFC 7518, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA PKCS#1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS#1 v1.5 with SHA-512.
    Rs512,
    /// ECDSA with P-256 and SHA-256. The issuer lists its EC key from then on.
    Es256,
    /// HMAC with SHA-256, of a fixed secret.
    Hs256,
    /// No signature at all.
    None,
}

impl Algorithm {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Es256 => "ES256",
            Self::Hs256 => "HS256",
            Self::None => "none",
        }
    }
}

const RSA_BITS: usize = 2048;

/// What the process's RSA keys are for. A rotation takes the next one, round and round.
#[derive(Clone, Copy)]
pub(crate) enum Slot {
    Quay,
    Stranger,
    Issuer(usize),
}

/// An RSA key, able to sign.
pub(crate) struct RsaKey {
    pair: RsaKeyPair,
    pkcs8: Vec<u8>,
}

/// The key of a slot; made at its first use.
pub(crate) fn rsa(slot: Slot) -> Arc<RsaKey> {
    static KEYS: [OnceLock<Arc<RsaKey>>; 5] = [const { OnceLock::new() }; 5];
    let index = match slot {
        Slot::Quay => 0,
        Slot::Stranger => 1,
        Slot::Issuer(rotation) => 2 + rotation % 3,
    };
    Arc::clone(KEYS[index].get_or_init(|| Arc::new(RsaKey::generate())))
}

impl RsaKey {
    fn generate() -> Self {
        let key = rsa::PrivateKey::new(&mut SysRng, RSA_BITS).expect("make an RSA key");
        let pkcs8 = key.to_pkcs8_der().expect("encode an RSA key").as_bytes().to_vec();
        let pair = RsaKeyPair::from_pkcs8(&pkcs8).expect("read the RSA key back");
        Self { pair, pkcs8 }
    }

    pub(crate) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    pub(crate) fn sign(&self, message: &[u8], algorithm: Algorithm) -> Vec<u8> {
        let padding: &'static dyn RsaEncoding = match algorithm {
            Algorithm::Rs384 => &RSA_PKCS1_SHA384,
            Algorithm::Rs512 => &RSA_PKCS1_SHA512,
            _ => &RSA_PKCS1_SHA256,
        };
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(padding, &SystemRandom::new(), message, &mut signature)
            .expect("sign with an RSA key");
        signature
    }

    /// The public key as a JSON Web Key (RFC 7517).
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let (modulus, exponent) = self.components();
        json!({
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": kid,
            "n": URL_SAFE_NO_PAD.encode(modulus),
            "e": URL_SAFE_NO_PAD.encode(exponent),
        })
    }

    /// Modulus and exponent, big-endian.
    pub(crate) fn components(&self) -> (Vec<u8>, Vec<u8>) {
        let components = RsaPublicKeyComponents::<Vec<u8>>::from(self.pair.public());
        (components.n, components.e)
    }
}

/// A P-256 key, able to sign; the process has one.
pub(crate) struct EcKey(EcdsaKeyPair);

pub(crate) fn ec() -> &'static EcKey {
    static KEY: OnceLock<EcKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("make an EC key");
        EcKey(
            EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random)
                .expect("read the EC key back"),
        )
    })
}

impl EcKey {
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signed = self.0.sign(&SystemRandom::new(), message).expect("sign with an EC key");
        signed.as_ref().to_vec()
    }

    pub(crate) fn jwk(&self, kid: &str) -> Value {
        // 0x04, then the two coordinates (SEC 1, 2.3.3).
        let point = &self.0.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        json!({
            "kty": "EC",
            "use": "sig",
            "alg": "ES256",
            "crv": "P-256",
            "kid": kid,
            "x": URL_SAFE_NO_PAD.encode(x),
            "y": URL_SAFE_NO_PAD.encode(y),
        })
    }
}
