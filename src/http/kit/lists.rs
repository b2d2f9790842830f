//! Lists are asked for by anybody, over few connections of their own: no address gets more than its
//! share of them at once.

use std::{net::IpAddr, sync::Arc, time::Duration};

use actix_web::HttpRequest;
use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{limits::Limits, problem::Problem};
use crate::store::StoreError;

/// How long a request waits for those of its own address; as long as for a connection after that.
const SHARE_WAIT: Duration = Duration::from_millis(250);

/// Who asks: strangers whose address is not known are one.
type Who = Option<IpAddr>;

/// How many lists each address has under way; no more entries than there are requests.
pub struct Shares {
    by_address: DashMap<Who, (Arc<Semaphore>, usize)>,
    each: usize,
}

/// A request for a list, until it is dropped.
pub struct Share {
    _permit: OwnedSemaphorePermit,
    _asking: Asking,
}

struct Asking {
    shares: Arc<Shares>,
    who: Who,
}

impl Shares {
    /// Half of the connections for each address, and one at least.
    pub fn of(connections: usize) -> Shares {
        Shares { by_address: DashMap::new(), each: (connections / 2).max(1) }
    }

    /// A place among the lists of the request's address.
    ///
    /// # Errors
    /// As [`StoreError::Busy`], when that has its share under way.
    pub async fn take(
        self: &Arc<Self>,
        limits: &Limits,
        request: &HttpRequest,
    ) -> Result<Share, Problem> {
        self.take_for(limits.address(request)).await.ok_or_else(|| StoreError::Busy.into())
    }

    async fn take_for(self: &Arc<Self>, who: Who) -> Option<Share> {
        let (semaphore, asking) = {
            let mut entry =
                self.by_address.entry(who).or_insert((Arc::new(Semaphore::new(self.each)), 0));
            entry.1 += 1;
            (Arc::clone(&entry.0), Asking { shares: Arc::clone(self), who })
        };
        let permit = tokio::time::timeout(SHARE_WAIT, semaphore.acquire_owned()).await;
        Some(Share { _permit: permit.ok()?.ok()?, _asking: asking })
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.shares.by_address.remove_if_mut(&self.who, |_, (_, asking)| {
            *asking -= 1;
            *asking == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_has_half_of_the_lists_and_nothing_is_kept_of_those_that_are_done() {
        let shares = Arc::new(Shares::of(4));
        let address = |last| Some(IpAddr::from([10, 0, 0, last]));
        let first = shares.take_for(address(1)).await.expect("room");
        let second = shares.take_for(address(1)).await.expect("room");
        assert!(shares.take_for(address(1)).await.is_none());
        let other = shares.take_for(address(2)).await.expect("room");
        let nobody = shares.take_for(None).await.expect("room");
        drop(first);
        let third = shares.take_for(address(1)).await.expect("room again");
        drop((second, third, other, nobody));
        assert!(shares.by_address.is_empty());
    }
}
