//! The signing keys: Ed25519, all in one file, readable to its owner alone.
//!
//! The first key is made on the first start. A rotation adds the next one: it is published at once,
//! signs after a delay in which whoever keeps our key set hears of it, and the key before it goes on
//! verifying until its last token has expired. The file is PEM with a few lines before each key, so
//! that one `rename` changes everything about it; a file of one bare key is the simplest case.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    domain::time::Timestamp,
    private_file::{self, Part, PrivateFileError},
};

/// Keys in one file, the retired ones too.
pub const KEYS_MAX: usize = 16;
/// How long whoever fetched our key set may keep it, in seconds.
pub const KEY_SET_KEPT_S: i64 = 300;
/// How long a new key is published before it signs, in seconds: every key set that was fetched
/// before it was there has been fetched again by then.
pub const ANNOUNCED_S: i64 = 2 * KEY_SET_KEPT_S;
/// A node that has not heard of a rotation yet signs with the old key for so long, in seconds.
const UNHEARD_S: i64 = 60;

const SIGNS_FROM: &str = "signs-from: ";
const VERIFIES_UNTIL: &str = "verifies-until: ";

/// An Ed25519 key with its public half's name.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    der: Vec<u8>,
    kid: String,
}

/// The keys cannot be had, or cannot be changed so.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error(
        "the signing keys in {path} cannot be read or written; is HOGA_SIGNING_KEY_FILE right?"
    )]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is something else.
    #[error(
        "{0} holds no Ed25519 keys in PKCS #8 PEM; move it away, or name another file in HOGA_SIGNING_KEY_FILE"
    )]
    Malformed(PathBuf),
    /// Others than its owner may read or write it.
    #[error(
        "others than its owner may use the signing keys in {path} (mode {mode:04o}, HOGA_SIGNING_KEY_FILE); type: chmod 600 {path}"
    )]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The library could not make one.
    #[error("no Ed25519 key can be made")]
    NotMade,
    /// There is no file yet.
    #[error(
        "there are no signing keys in {0}: `hoga serve` makes them on its first start; set HOGA_DATA_DIR or HOGA_SIGNING_KEY_FILE as the server has it"
    )]
    Missing(PathBuf),
    /// The next key waits already.
    #[error(
        "key {kid} was made before and signs from {signs_from} on; let it sign at once with --now"
    )]
    RotationUnderWay {
        /// The key that waits.
        kid: String,
        /// Until when.
        signs_from: Timestamp,
    },
    /// No room for another.
    #[error("there are {KEYS_MAX} keys already; drop one that is not needed any more")]
    TooMany,
    /// Not one of them.
    #[error("there is no key {0}; see `hoga keys list`")]
    NoSuchKey(String),
}

impl From<PrivateFileError> for KeyError {
    fn from(error: PrivateFileError) -> KeyError {
        match error {
            PrivateFileError::File { path, source } => KeyError::File { path, source },
            PrivateFileError::Exposed { path, mode } => KeyError::Exposed { path, mode },
            PrivateFileError::NotText(path) => KeyError::Malformed(path),
        }
    }
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

/// A key and its time.
#[derive(Clone)]
pub struct RingKey {
    /// The key itself.
    pub key: Arc<SigningKey>,
    /// It signs from then on, until a later one does.
    pub signs_from: Timestamp,
    /// What it signed counts until then; always, while no other key follows it.
    pub verifies_until: Option<Timestamp>,
}

/// What a key is for at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Published, and signs later.
    Announced,
    /// The one that signs.
    Signing,
    /// What it signed still counts.
    Verifying,
    /// Counts no more.
    Retired,
}

/// Every key that signs or verifies: at least one, those that sign later behind.
#[derive(Clone)]
pub struct KeyRing {
    keys: Vec<RingKey>,
}

impl From<SigningKey> for KeyRing {
    /// The one key that has always signed.
    fn from(key: SigningKey) -> KeyRing {
        let key = Arc::new(key);
        KeyRing { keys: vec![RingKey { key, signs_from: Timestamp::EPOCH, verifies_until: None }] }
    }
}

impl PartialEq for KeyRing {
    fn eq(&self, other: &KeyRing) -> bool {
        let told = |ring: &KeyRing| {
            let keys = ring.keys.iter();
            keys.map(|k| (k.key.kid.clone(), k.signs_from, k.verifies_until)).collect::<Vec<_>>()
        };
        told(self) == told(other)
    }
}

impl KeyRing {
    /// Every key, the retired ones too.
    pub fn keys(&self) -> &[RingKey] {
        &self.keys
    }

    /// Those whose signatures count, or soon will.
    pub fn published(&self, now: Timestamp) -> impl Iterator<Item = &RingKey> {
        self.keys.iter().filter(move |key| key.verifies_until.is_none_or(|until| now < until))
    }

    /// The one that signs.
    pub fn signing(&self, now: Timestamp) -> &Arc<SigningKey> {
        &self.keys[self.signing_place(now)].key
    }

    /// The last that has begun; the first, should the clock stand before all of them.
    pub(super) fn signing_place(&self, now: Timestamp) -> usize {
        self.keys.iter().rposition(|key| key.signs_from <= now).unwrap_or(0)
    }

    /// What the key at this place is for.
    pub fn state(&self, place: usize, now: Timestamp) -> KeyState {
        let key = &self.keys[place];
        if place == self.signing_place(now) {
            KeyState::Signing
        } else if key.signs_from > now {
            KeyState::Announced
        } else if key.verifies_until.is_none_or(|until| now < until) {
            KeyState::Verifying
        } else {
            KeyState::Retired
        }
    }

    /// Adds the next key, which signs at once or after [`ANNOUNCED_S`]; one that waits already is
    /// let sign at once. The key before it verifies for as long as its tokens live, `token_life_s`.
    /// Retired ones are forgotten. Returns the key that follows.
    ///
    /// # Errors
    /// When a key waits already, or there is no room for another.
    pub fn rotate(
        &mut self,
        now: Timestamp,
        at_once: bool,
        token_life_s: i64,
    ) -> Result<RingKey, KeyError> {
        self.keys.retain(|key| key.verifies_until.is_none_or(|until| now < until));
        let signs_from = if at_once { now } else { now.plus_s(ANNOUNCED_S) };
        match self.keys.last().filter(|last| last.signs_from > now) {
            Some(waits) if !at_once => {
                return Err(KeyError::RotationUnderWay {
                    kid: waits.key.kid.clone(),
                    signs_from: waits.signs_from,
                });
            }
            Some(_) => {}
            None if self.keys.len() >= KEYS_MAX => return Err(KeyError::TooMany),
            None => self.push_new(signs_from)?,
        }
        let (next, before) = self.keys.split_last_mut().expect("a ring has a key");
        next.signs_from = signs_from;
        if let Some(before) = before.last_mut() {
            before.verifies_until = Some(signs_from.plus_s(token_life_s + UNHEARD_S));
        }
        Ok(next.clone())
    }

    /// Takes a key away at once: nothing that it signed counts any more. Should it be the one that
    /// signs, the next one does, made if none waits.
    ///
    /// # Errors
    /// When there is no such key, or no other can be made.
    pub fn drop_key(&mut self, kid: &str, now: Timestamp) -> Result<(), KeyError> {
        let place = self.keys.iter().position(|key| key.key.kid == kid);
        let place = place.ok_or_else(|| KeyError::NoSuchKey(kid.to_owned()))?;
        let state = self.state(place, now);
        self.keys.remove(place);
        match state {
            KeyState::Signing => match self.keys.get_mut(place) {
                Some(waits) => waits.signs_from = now,
                None => self.push_new(now)?,
            },
            // Nothing follows the one before it any more.
            KeyState::Announced => {
                let last = self.keys.last_mut().expect("one signs while another waits");
                last.verifies_until = None;
            }
            KeyState::Verifying | KeyState::Retired => {}
        }
        Ok(())
    }

    fn push_new(&mut self, signs_from: Timestamp) -> Result<(), KeyError> {
        let key = Arc::new(SigningKey::generate()?);
        self.keys.push(RingKey { key, signs_from, verifies_until: None });
        Ok(())
    }

    /// The keys in this file, with a first one made if there is no file.
    ///
    /// # Errors
    /// When the file cannot be read or written, others may read it, or it holds something else.
    pub fn load_or_create(path: &Path) -> Result<KeyRing, KeyError> {
        if let Some(ring) = KeyRing::load(path)? {
            return Ok(ring);
        }
        let _one_at_a_time = private_file::lock(path)?;
        if let Some(ring) = KeyRing::load(path)? {
            return Ok(ring);
        }
        let ring = KeyRing::from(SigningKey::generate()?);
        ring.save(path)?;
        Ok(ring)
    }

    /// The keys in this file, if the file is there.
    ///
    /// # Errors
    /// When the file cannot be read, others may read it, or it holds something else.
    pub fn load(path: &Path) -> Result<Option<KeyRing>, KeyError> {
        let Some(text) = private_file::read(path)? else { return Ok(None) };
        ring_of_text(&text).ok_or_else(|| KeyError::Malformed(path.into())).map(Some)
    }

    /// Changes the keys in this file; two who do so at once come one after the other.
    ///
    /// # Errors
    /// When there is no file, it cannot be read or written, or the change is refused.
    pub fn change<T>(
        path: &Path,
        change: impl FnOnce(&mut KeyRing) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        let missing = || KeyError::Missing(path.into());
        if !path.exists() {
            return Err(missing());
        }
        let _one_at_a_time = private_file::lock(path)?;
        let mut ring = KeyRing::load(path)?.ok_or_else(missing)?;
        let changed = change(&mut ring)?;
        ring.save(path)?;
        Ok(changed)
    }

    fn save(&self, path: &Path) -> Result<(), KeyError> {
        Ok(private_file::replace(path, &self.text())?)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for key in &self.keys {
            text.push_str(&format!("# key {}\n", key.key.kid));
            if key.signs_from != Timestamp::EPOCH {
                text.push_str(&format!("{SIGNS_FROM}{}\n", key.signs_from));
            }
            if let Some(until) = key.verifies_until {
                text.push_str(&format!("{VERIFIES_UNTIL}{until}\n"));
            }
            text.push_str(&private_file::pem(&key.key.der));
        }
        text
    }
}

fn ring_of_text(text: &str) -> Option<KeyRing> {
    let mut keys: Vec<RingKey> = Vec::new();
    let (mut signs_from, mut verifies_until) = (Timestamp::EPOCH, None);
    for part in private_file::parts(text)? {
        match part {
            Part::Key(der) => {
                let key = Arc::new(SigningKey::from_der(der)?);
                keys.push(RingKey { key, signs_from, verifies_until });
                (signs_from, verifies_until) = (Timestamp::EPOCH, None);
            }
            Part::Line(line) => {
                if let Some(at) = line.strip_prefix(SIGNS_FROM) {
                    signs_from = Timestamp::parse(at)?;
                } else {
                    verifies_until = Some(Timestamp::parse(line.strip_prefix(VERIFIES_UNTIL)?)?);
                }
            }
        }
    }
    keys.sort_by_key(|key| key.signs_from);
    (1..=KEYS_MAX).contains(&keys.len()).then_some(KeyRing { keys })
}

/// Looks whether the file has changed, as a running server does every few seconds.
pub struct KeyFile {
    path: PathBuf,
    seen: Option<Stamp>,
}

/// What changes when a file is replaced, written to, or opened to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    mode: u32,
    changed_s: i64,
    changed_ns: i64,
}

impl KeyFile {
    /// The keys as they stand now, and the eye that watches them.
    ///
    /// # Errors
    /// As [`KeyRing::load_or_create`].
    pub fn open(path: &Path) -> Result<(KeyRing, KeyFile), KeyError> {
        let ring = KeyRing::load_or_create(path)?;
        // Looked at once more by the first look: what changed in between is not missed.
        Ok((ring, KeyFile { path: path.into(), seen: None }))
    }

    /// The keys, if the file is another than at the last look.
    ///
    /// # Errors
    /// As [`KeyRing::load`], once for each change of the file.
    pub fn look(&mut self) -> Result<Option<KeyRing>, KeyError> {
        let stamp = fs::metadata(&self.path).ok().map(|file| Stamp {
            inode: file.ino(),
            bytes: file.size(),
            mode: file.mode(),
            changed_s: file.ctime(),
            changed_ns: file.ctime_nsec(),
        });
        if stamp.is_some() && stamp == self.seen {
            return Ok(None);
        }
        let was_there = self.seen.is_some() || stamp.is_some();
        self.seen = stamp;
        match KeyRing::load(&self.path)? {
            Some(ring) => Ok(Some(ring)),
            None if was_there => Err(KeyError::Missing(self.path.clone())),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000)
    }

    const LIFE_S: i64 = 900;

    fn ring() -> KeyRing {
        SigningKey::generate().expect("a key").into()
    }

    fn kids(ring: &KeyRing) -> Vec<String> {
        ring.keys().iter().map(|key| key.key.kid().to_owned()).collect()
    }

    fn published(ring: &KeyRing, at: Timestamp) -> Vec<String> {
        ring.published(at).map(|key| key.key.kid().to_owned()).collect()
    }

    #[test]
    fn a_key_is_made_once_and_kept_to_its_owner() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys/signing.pem");
        let made = KeyRing::load_or_create(&path).expect("made");
        let read = KeyRing::load_or_create(&path).expect("read");
        assert!(made == read);
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn another_file_is_not_taken_for_keys() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("signing.pem");
        let pem = ring().text();
        let twice_begun = pem.replace("-----END", "-----BEGIN");
        let many = (0..=KEYS_MAX).map(|_| ring().text()).collect::<String>();
        for text in ["", "not a key", "# nothing but words\n", &pem[..90], &twice_begun, &many] {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("allowed");
            assert!(matches!(KeyRing::load(&path), Err(KeyError::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_what_to_type() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("signing.pem");
        KeyRing::load_or_create(&path).expect("made");
        for mode in [0o640, 0o604, 0o620, 0o666] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("allowed");
            let refused = KeyRing::load(&path).err().expect("refused").to_string();
            assert!(refused.ends_with(&format!("chmod 600 {}", path.display())), "{refused}");
        }
    }

    #[test]
    fn a_rotation_is_announced_and_the_old_key_verifies_until_its_last_token_is_gone() {
        let mut ring = ring();
        let old = kids(&ring).remove(0);
        let next = ring.rotate(now(), false, LIFE_S).expect("rotated");
        let new = next.key.kid().to_owned();
        let takes_over = now().plus_s(ANNOUNCED_S);
        assert_eq!(published(&ring, now()), [old.clone(), new.clone()], "published at once");
        assert_eq!(ring.signing(takes_over.plus_ms(-1)).kid(), old);
        assert_eq!(ring.signing(takes_over).kid(), new);
        let gone = takes_over.plus_s(LIFE_S + UNHEARD_S);
        assert_eq!(published(&ring, gone.plus_ms(-1)), [old, new.clone()]);
        assert_eq!(published(&ring, gone), [new]);
    }

    #[test]
    fn one_rotation_at_a_time_and_an_emergency_lets_the_waiting_key_sign_at_once() {
        let mut ring = ring();
        let next = ring.rotate(now(), false, LIFE_S).expect("rotated");
        let again = ring.rotate(now().plus_s(1), false, LIFE_S);
        assert!(matches!(again, Err(KeyError::RotationUnderWay { .. })));
        let at_once = ring.rotate(now().plus_s(1), true, LIFE_S).expect("at once");
        assert_eq!(at_once.key.kid(), next.key.kid());
        assert_eq!(ring.signing(now().plus_s(1)).kid(), next.key.kid());
        assert_eq!(ring.keys().len(), 2);
        let until = ring.keys()[0].verifies_until.expect("the old one ends");
        assert_eq!(until, now().plus_s(1 + LIFE_S + UNHEARD_S));
    }

    #[test]
    fn a_dropped_key_is_gone_at_once_and_another_signs() {
        let mut alone = ring();
        let lost = kids(&alone).remove(0);
        alone.drop_key(&lost, now()).expect("dropped");
        assert!(!kids(&alone).contains(&lost));
        assert_eq!(alone.keys().len(), 1);
        assert!(matches!(alone.drop_key(&lost, now()), Err(KeyError::NoSuchKey(_))));

        let mut waiting = ring();
        let next = waiting.rotate(now(), false, LIFE_S).expect("rotated");
        let lost = kids(&waiting).remove(0);
        waiting.drop_key(&lost, now()).expect("dropped");
        assert_eq!(waiting.signing(now()).kid(), next.key.kid(), "it need not wait any more");

        let mut undone = ring();
        let old = kids(&undone).remove(0);
        let next = undone.rotate(now(), false, LIFE_S).expect("rotated");
        undone.drop_key(next.key.kid(), now()).expect("dropped");
        assert_eq!(published(&undone, now().plus_s(1_000_000)), [old], "nothing follows it");

        let mut retired = ring();
        let old = kids(&retired).remove(0);
        let next = retired.rotate(now(), true, LIFE_S).expect("rotated");
        retired.drop_key(next.key.kid(), now().plus_s(1)).expect("dropped");
        assert_ne!(retired.signing(now().plus_s(1)).kid(), old, "an old key signs never again");
    }

    #[test]
    fn keys_are_bounded_and_retired_ones_make_room() {
        let mut ring = ring();
        for _ in 1..KEYS_MAX {
            ring.rotate(now(), true, LIFE_S).expect("room");
        }
        assert!(matches!(ring.rotate(now(), true, LIFE_S), Err(KeyError::TooMany)));
        ring.rotate(now().plus_s(LIFE_S + UNHEARD_S), true, LIFE_S).expect("room again");
        assert_eq!(ring.keys().len(), 2);
    }

    #[test]
    fn what_is_changed_in_the_file_is_seen_at_the_next_look_and_told_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("signing.pem");
        let (ring, mut file) = KeyFile::open(&path).expect("opened");
        assert!(file.look().expect("read").is_some_and(|seen| seen == ring));
        assert!(file.look().expect("read").is_none(), "nothing has changed");
        let rotate = |ring: &mut KeyRing| ring.rotate(now(), false, LIFE_S);
        let next = KeyRing::change(&path, rotate).expect("changed");
        let seen = file.look().expect("read").expect("changed");
        assert_eq!(seen.keys()[1].key.kid(), next.key.kid());
        assert_eq!(seen.keys()[1].signs_from, now().plus_s(ANNOUNCED_S));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("allowed");
        assert!(matches!(file.look(), Err(KeyError::Exposed { .. })));
        assert!(matches!(file.look(), Ok(None)), "said once");
        fs::remove_file(&path).expect("removed");
        assert!(matches!(file.look(), Err(KeyError::Missing(_))));
        assert!(matches!(file.look(), Ok(None)), "said once");
        assert!(matches!(KeyRing::change(&path, rotate), Err(KeyError::Missing(_))));
    }

    #[test]
    fn a_folder_that_takes_no_file_leaves_the_old_one_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("signing.pem");
        let before = KeyRing::load_or_create(&path).expect("made");
        // In the way of what is written beside.
        let beside = path.with_extension(format!("new-{}", std::process::id()));
        fs::create_dir(&beside).expect("made");
        let changed = KeyRing::change(&path, |ring| ring.rotate(now(), true, LIFE_S));
        assert!(matches!(changed, Err(KeyError::File { .. })));
        assert!(KeyRing::load(&path).expect("whole").expect("there") == before);
    }
}
