//! Quota: how many streams there may be, in all, of one address and of one user.
//!
//! Owns the counts, which are exact: a permit is given back when its stream is dropped, however that
//! comes about.

use std::{
    hash::Hash,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use dashmap::DashMap;

use crate::domain::id::UserId;

/// Who wants a stream, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Watcher {
    /// From where; those of whom it is not known share one count.
    pub address: Option<IpAddr>,
    /// Counts besides the address.
    pub user: Option<UserId>,
}

/// How many streams there may be at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaMax {
    /// In all.
    pub all: usize,
    /// Of one address.
    pub per_address: usize,
    /// Of one user.
    pub per_user: usize,
}

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuotaUsed {
    /// As many streams as there may be.
    #[error("there are as many streams as this server serves")]
    Full,
    /// As many as one address may have.
    #[error("there are {0} streams from this address already, as many as there may be")]
    Address(usize),
    /// As many as one user may have.
    #[error("there are {0} streams of this user already, as many as there may be")]
    User(usize),
}

/// The counts.
pub struct StreamQuota {
    max: QuotaMax,
    taken: AtomicUsize,
    /// No more entries than permits are taken.
    by_address: DashMap<Option<IpAddr>, usize>,
    by_user: DashMap<UserId, usize>,
}

/// One stream's permit; given back when dropped.
pub struct StreamPermit {
    quota: Arc<StreamQuota>,
    who: Watcher,
}

impl StreamQuota {
    /// All of them free.
    pub fn new(max: QuotaMax) -> Arc<StreamQuota> {
        Arc::new(StreamQuota {
            max,
            taken: AtomicUsize::new(0),
            by_address: DashMap::new(),
            by_user: DashMap::new(),
        })
    }

    /// How many there are.
    pub fn max(&self) -> QuotaMax {
        self.max
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// A permit for one more stream.
    ///
    /// # Errors
    /// Which count is full.
    pub fn take(self: &Arc<Self>, who: Watcher) -> Result<StreamPermit, QuotaUsed> {
        let max = self.max;
        let more = |taken| (taken < max.all).then_some(taken + 1);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .map_err(|_| QuotaUsed::Full)?;
        if !count_in(&self.by_address, who.address, max.per_address) {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return Err(QuotaUsed::Address(max.per_address));
        }
        if let Some(user) = who.user
            && !count_in(&self.by_user, user, max.per_user)
        {
            count_out(&self.by_address, &who.address);
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return Err(QuotaUsed::User(max.per_user));
        }
        Ok(StreamPermit { quota: Arc::clone(self), who })
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        if let Some(user) = &self.who.user {
            count_out(&self.quota.by_user, user);
        }
        count_out(&self.quota.by_address, &self.who.address);
        self.quota.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether there was room for one more.
fn count_in<K: Eq + Hash>(counts: &DashMap<K, usize>, key: K, max: usize) -> bool {
    let mut count = counts.entry(key).or_default();
    let has_room = *count < max;
    *count += usize::from(has_room);
    has_room
}

fn count_out<K: Eq + Hash>(counts: &DashMap<K, usize>, key: &K) {
    counts.remove_if_mut(key, |_, count| {
        *count -= 1;
        *count == 0
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8, user: Option<u128>) -> Watcher {
        let address = Some(IpAddr::from([10, 0, 0, last]));
        Watcher { address, user: user.map(|n| UserId(uuid::Uuid::from_u128(n))) }
    }

    fn quota(all: usize, per_address: usize, per_user: usize) -> Arc<StreamQuota> {
        StreamQuota::new(QuotaMax { all, per_address, per_user })
    }

    fn refused(quota: &Arc<StreamQuota>, who: Watcher) -> Option<QuotaUsed> {
        quota.take(who).err()
    }

    #[test]
    fn each_count_refuses_by_itself_and_a_place_given_back_can_be_taken_again() {
        let quota = quota(4, 3, 2);
        let minji = at(1, Some(1));
        let first = quota.take(minji).expect("a permit");
        let _second = quota.take(minji).expect("a permit");
        assert_eq!(refused(&quota, minji), Some(QuotaUsed::User(2)));
        let _third = quota.take(at(1, None)).expect("a permit");
        assert_eq!(refused(&quota, at(1, None)), Some(QuotaUsed::Address(3)));
        assert_eq!(refused(&quota, at(1, Some(2))), Some(QuotaUsed::Address(3)));
        assert_eq!(refused(&quota, at(2, Some(1))), Some(QuotaUsed::User(2)), "from anywhere");
        let _fourth = quota.take(at(2, None)).expect("a permit");
        assert_eq!(refused(&quota, at(3, None)), Some(QuotaUsed::Full));
        drop(first);
        assert_eq!(quota.taken(), 3);
        assert!(quota.take(minji).is_ok());
    }

    #[test]
    fn nothing_is_kept_of_those_who_have_gone_or_were_refused() {
        let quota = quota(10, 1, 1);
        let permit = quota.take(at(1, Some(1))).expect("a permit");
        assert_eq!(refused(&quota, at(2, Some(1))), Some(QuotaUsed::User(1)));
        assert_eq!((quota.taken(), quota.by_address.len()), (1, 1));
        drop(permit);
        assert_eq!((quota.taken(), quota.by_address.len(), quota.by_user.len()), (0, 0, 0));
    }

    #[test]
    fn those_of_unknown_address_share_one_count() {
        let quota = quota(10, 1, 10);
        let _permit = quota.take(Watcher::default()).expect("a permit");
        assert_eq!(refused(&quota, Watcher::default()), Some(QuotaUsed::Address(1)));
    }

    #[test]
    fn counts_are_exact_however_many_come_and_go_at_once() {
        let quota = quota(50, 20, 5);
        std::thread::scope(|scope| {
            for n in 0..8_u8 {
                let quota = Arc::clone(&quota);
                scope.spawn(move || {
                    for round in 0..2_000_u128 {
                        let kept = (0..3).map(|k| quota.take(at(n % 3, Some(round % 4 + k))));
                        drop(kept.collect::<Vec<_>>());
                    }
                });
            }
        });
        assert_eq!((quota.taken(), quota.by_address.len(), quota.by_user.len()), (0, 0, 0));
    }
}
