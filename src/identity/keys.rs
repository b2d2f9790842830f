//! The signing key: Ed25519, made on the first start, readable to its owner alone.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// An Ed25519 key with its public half's name.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    der: Vec<u8>,
    kid: String,
}

/// The key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("the signing key {path} cannot be read or written")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is something else.
    #[error(
        "{0} is not an Ed25519 key in PKCS #8 PEM; move it away, or name another file in HOGA_SIGNING_KEY_FILE"
    )]
    Malformed(PathBuf),
    /// The library could not make one.
    #[error("no Ed25519 key can be made")]
    NotMade,
}

/// A public key as RFC 7517 and RFC 8037 write it.
#[derive(Debug, Clone, Serialize)]
pub struct Jwk {
    kty: &'static str,
    crv: &'static str,
    alg: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    kid: String,
    x: String,
}

impl SigningKey {
    /// The key in this file, made if there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds something else.
    pub fn load_or_create(path: &Path) -> Result<SigningKey, KeyError> {
        match SigningKey::load(path)? {
            Some(key) => Ok(key),
            None => SigningKey::create(path),
        }
    }

    /// The key in this file, if the file is there.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn load(path: &Path) -> Result<Option<SigningKey>, KeyError> {
        let pem = match fs::read_to_string(path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(KeyError::File { path: path.into(), source }),
        };
        let malformed = || KeyError::Malformed(path.into());
        let der = der_of_pem(&pem).ok_or_else(malformed)?;
        SigningKey::from_der(der).ok_or_else(malformed).map(Some)
    }

    fn create(path: &Path) -> Result<SigningKey, KeyError> {
        let key = SigningKey::generate()?;
        let failed = |source| KeyError::File { path: path.into(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        // Written beside and renamed, so that a full disk leaves no half key behind.
        let beside = path.with_extension(format!("new-{}", std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)
            .map_err(failed)?;
        file.write_all(key.pem().as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&beside, path).map_err(failed)?;
        Ok(key)
    }

    /// A new key, in memory alone.
    ///
    /// # Errors
    /// When the library has no randomness.
    pub fn generate() -> Result<SigningKey, KeyError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| KeyError::NotMade)?;
        let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::NotMade)?;
        SigningKey::from_der(der.as_ref().to_vec()).ok_or(KeyError::NotMade)
    }

    fn from_der(der: Vec<u8>) -> Option<SigningKey> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).ok()?;
        let digest = Sha256::digest(pair.public_key().as_ref());
        let kid = const_hex::encode(&digest[..8]);
        Some(SigningKey { pair, der, kid })
    }

    fn pem(&self) -> String {
        let body = base64::engine::general_purpose::STANDARD.encode(&self.der);
        let lines: Vec<&str> = body
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
            .collect();
        format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", lines.join("\n"))
    }

    /// The name of the key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The private half, PKCS #8 DER.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// The public half, 32 bytes.
    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// The public half for a key set.
    pub fn jwk(&self) -> Jwk {
        Jwk {
            kty: "OKP",
            crv: "Ed25519",
            alg: "EdDSA",
            usage: "sig",
            kid: self.kid.clone(),
            x: URL_SAFE_NO_PAD.encode(self.public()),
        }
    }

    /// Signs; base64url without padding.
    pub fn sign(&self, message: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.sign(message).as_ref())
    }
}

fn der_of_pem(pem: &str) -> Option<Vec<u8>> {
    let body = pem.trim().strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    let packed: String = body.split_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(packed).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_to_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys/signing.pem");
        let made = SigningKey::load_or_create(&path).expect("made");
        let read = SigningKey::load_or_create(&path).expect("read");
        assert_eq!(made.public(), read.public());
        assert_eq!(made.kid(), read.kid());
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn another_file_is_not_taken_for_a_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("signing.pem");
        fs::write(&path, "not a key").expect("written");
        assert!(matches!(SigningKey::load(&path), Err(KeyError::Malformed(_))));
    }
}
