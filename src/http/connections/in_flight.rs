//! Requests that come through a trusted proxy, counted by the address for which it asks: its
//! connections say nothing about that.

use std::{net::IpAddr, sync::Arc};

use dashmap::DashMap;

/// How many requests of each address are being answered; no more entries than there are requests.
#[derive(Default)]
pub struct Flights {
    by_address: DashMap<IpAddr, usize>,
}

/// One request, until it is dropped.
pub struct InFlight {
    flights: Arc<Flights>,
    address: IpAddr,
}

impl Flights {
    /// One more, unless there are `max`.
    pub fn take(self: &Arc<Self>, address: IpAddr, max: usize) -> Option<InFlight> {
        let mut count = self.by_address.entry(address).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        drop(count);
        Some(InFlight { flights: Arc::clone(self), address })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.flights.by_address.remove_if_mut(&self.address, |_, count| {
            *count -= 1;
            *count == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_so_many_at_once_and_nothing_is_kept_of_those_that_are_done() {
        let flights = Arc::<Flights>::default();
        let address = |last| IpAddr::from([10, 0, 0, last]);
        let first = flights.take(address(1), 2).expect("room");
        let second = flights.take(address(1), 2).expect("room");
        assert!(flights.take(address(1), 2).is_none());
        let other = flights.take(address(2), 2).expect("room");
        drop(first);
        assert!(flights.take(address(1), 2).is_some());
        drop((second, other));
        assert!(flights.by_address.is_empty());
    }
}
