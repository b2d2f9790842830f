//! Snapshots: committed states, written down beside the lanes so that a long log need not be
//! replayed from its beginning.
//!
//! Must never make a lane wait: while one is being written, nobody else's is taken, and whoever
//! wanted one tries again after a later batch.

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::{
    kinds::{self, Subject, auction_form::FormError},
    queue::Chain,
    replay::SnapshotError,
};
use crate::{
    domain::{id::LogId, time::Timestamp},
    log::hash::Hash,
    store::{NewSnapshot, SnapshotRow, Store},
};

/// Events since the last snapshot from which on another one is wanted: fewer are replayed in a few
/// hundredths of a second.
pub(super) const EVENTS_BETWEEN_MIN: u64 = 8_192;
/// Of a long log a snapshot is wanted when it has grown by one part in so many: what is written in
/// all stays so many times the log's length, and what is replayed after it a small part of it.
const GROWTH_PARTS: u64 = 16;
/// States that wait to be written; each may be as large as that of a million bids.
const WAITING_MAX: usize = 1;
/// A state that takes more than so many bytes is not kept.
const BYTES_MAX: usize = 128 << 20;
/// Of the digest at the end.
const DIGEST_BYTES: usize = 32;

/// Whether a log of this length wants a snapshot after the one that holds `saved` events.
pub(super) const fn is_wanted(seq: u64, saved: u64) -> bool {
    let share = seq / GROWTH_PARTS;
    let between = if share > EVENTS_BETWEEN_MIN { share } else { EVENTS_BETWEEN_MIN };
    seq.saturating_sub(saved) >= between
}

/// A committed state and the end of its log.
pub(super) struct CommittedState {
    pub subject: Subject,
    pub chain: Chain,
}

/// Hands states over to be written.
#[derive(Clone)]
pub(super) struct SnapshotHandle {
    sender: mpsc::Sender<CommittedState>,
}

/// Writes them; see [`SnapshotWriter::run`].
pub(super) struct SnapshotWriter {
    receiver: mpsc::Receiver<CommittedState>,
    store: Store,
    is_failing: bool,
}

/// Both ends.
pub(super) fn snapshots(store: Store) -> (SnapshotHandle, SnapshotWriter) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (SnapshotHandle { sender }, SnapshotWriter { receiver, store, is_failing: false })
}

impl SnapshotHandle {
    /// Room for one, if there is any: only then is a state worth copying.
    pub fn room(&self) -> Option<mpsc::Permit<'_, CommittedState>> {
        self.sender.try_reserve().ok()
    }
}

impl SnapshotWriter {
    /// Until every handle is gone.
    pub async fn run(mut self) {
        while let Some(committed) = self.receiver.recv().await {
            let sealed = tokio::task::spawn_blocking(move || seal(committed)).await;
            let outcome = match sealed {
                Ok(Ok(Some(new))) => {
                    self.store.keep_snapshot(&new).await.map_err(|e| e.to_string())
                }
                Ok(Ok(None)) => Err(format!("a state takes more than {BYTES_MAX} bytes")),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("writing a state down panicked".to_owned()),
            };
            match outcome {
                Ok(()) => self.is_failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut self.is_failing, true) {
                        tracing::warn!(error, "snapshots cannot be kept; logs are read instead");
                    }
                }
            }
        }
    }
}

/// The row of a snapshot; `None` if it would be too large.
pub(super) fn seal(committed: CommittedState) -> Result<Option<NewSnapshot>, FormError> {
    let CommittedState { subject, chain: Chain { id, head, head_at } } = committed;
    let mut bytes = subject.encode()?;
    let seq = kinds::auction::seq(subject.seq());
    // It may be large, and is not needed any more.
    drop(subject);
    if bytes.len() > BYTES_MAX {
        return Ok(None);
    }
    let format = kinds::format(id);
    let digest = digest(id, seq, &head.0, head_at, format, &bytes);
    bytes.extend_from_slice(&digest);
    let hash = head.0.to_vec();
    Ok(Some(NewSnapshot { log: id, seq, hash, at: head_at, format, state: bytes }))
}

/// The state that a snapshot holds, and the hash of its log's end.
pub(super) fn open(id: LogId, row: &SnapshotRow) -> Result<(Subject, Hash), SnapshotError> {
    if row.format != kinds::format(id) {
        return Err(SnapshotError::Format(row.format));
    }
    if row.log_hash.as_ref() != Some(&row.hash) {
        return Err(SnapshotError::OtherLog);
    }
    let (bytes, sealed) =
        row.state.split_last_chunk::<DIGEST_BYTES>().ok_or(SnapshotError::Damaged)?;
    if digest(id, row.seq, &row.hash, row.at, row.format, bytes) != *sealed {
        return Err(SnapshotError::Damaged);
    }
    let subject = Subject::decode(id, bytes)?;
    let head = Hash::from_slice(&row.hash).ok_or(SnapshotError::Damaged)?;
    if i64::try_from(subject.seq()) != Ok(row.seq) {
        return Err(SnapshotError::Damaged);
    }
    Ok((subject, head))
}

/// Over everything that a snapshot says, so that no other bytes are taken for a state, and no
/// auction's for another's.
fn digest(
    id: LogId,
    seq: i64,
    hash: &[u8],
    at: Timestamp,
    format: i16,
    bytes: &[u8],
) -> [u8; DIGEST_BYTES] {
    let mut sha = Sha256::new();
    sha.update(id.uuid().as_bytes());
    sha.update(seq.to_be_bytes());
    sha.update(hash);
    sha.update(at.as_millis().to_be_bytes());
    sha.update(format.to_be_bytes());
    sha.update(bytes);
    sha.finalize().into()
}
