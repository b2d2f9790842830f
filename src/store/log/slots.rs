//! Who may write which logs: the slots that a server owns, and the fences behind which its lanes write.
//!
//! What keeps a former owner from writing is the fence, which stands in every statement of a lane; what
//! is known here in memory only spares the attempt.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use tokio_postgres::Client;

use crate::domain::id::{SLOTS, Slot};

/// No owner has this number.
const NOBODY: i64 = 0;

/// Whether the fences of an owner all stand: nobody has taken over since.
const FENCES_STAND: &str = "SELECT count(*) = $2 FROM fences WHERE owner = $1";

/// Takes all slots over: whoever had them writes nothing from then on. Waits for what former owners
/// have under way.
const TAKE_OVER: &str = "
    WITH new AS MATERIALIZED (SELECT nextval('owners_id_seq') AS owner),
    gone AS (DELETE FROM fences),
    taken AS (
        INSERT INTO slots (slot, owner) SELECT slot, owner FROM new, generate_series(0, 255) slot
        ON CONFLICT (slot) DO UPDATE SET owner = excluded.owner),
    fenced AS (
        INSERT INTO fences (owner, lane)
        SELECT owner, lane FROM new, generate_series(0, $1::int8 - 1) lane)
    SELECT owner FROM new";

/// What a server owns, as far as it knows. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Owned(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    owner: AtomicI64,
    slots: [AtomicBool; SLOTS],
    is_leased: AtomicBool,
}

impl Owned {
    /// Of a server that owns nothing yet.
    pub fn nothing() -> Owned {
        let slots = std::array::from_fn(|_| AtomicBool::new(false));
        let (owner, is_leased) = (AtomicI64::new(NOBODY), AtomicBool::new(false));
        Owned(Arc::new(Inner { owner, slots, is_leased }))
    }

    /// All of them, with a lease that nobody gave.
    #[cfg(test)]
    pub fn everything() -> Owned {
        let owned = Owned::nothing();
        owned.0.owner.store(1, Ordering::Release);
        owned.0.slots.iter().for_each(|slot| slot.store(true, Ordering::Release));
        owned.set_leased(true);
        owned
    }

    /// The number under which the lanes write, and logs are held in memory: of another number they
    /// are read again. `None` until something is owned.
    pub fn owner(&self) -> Option<i64> {
        Some(self.0.owner.load(Ordering::Acquire)).filter(|owner| *owner != NOBODY)
    }

    /// Whether the logs of this slot are this server's.
    pub fn has(&self, slot: Slot) -> bool {
        self.0.slots[slot.index()].load(Ordering::Acquire)
    }

    /// The slots, in order, as Postgres takes them.
    pub fn slots(&self) -> Vec<i16> {
        Slot::all().filter(|slot| self.has(*slot)).map(|slot| i16::from(slot.0)).collect()
    }

    /// Whether the session that holds the lease is alive. Without it nothing is published: somebody
    /// else may own the slots by now. Lanes need not ask, for the fence tells them.
    pub fn is_leased(&self) -> bool {
        self.0.is_leased.load(Ordering::Acquire)
    }

    pub(in crate::store) fn set_leased(&self, is_leased: bool) {
        self.0.is_leased.store(is_leased, Ordering::Release);
    }

    /// Takes all slots, for so many lanes; keeps them, and the number, if nobody else has taken them
    /// since.
    pub(in crate::store) async fn take(
        &self,
        client: &Client,
        lanes: i64,
    ) -> Result<(), tokio_postgres::Error> {
        if let Some(owner) = self.owner()
            && client.query_one(FENCES_STAND, &[&owner, &lanes]).await?.get(0)
        {
            return Ok(());
        }
        let owner: i64 = client.query_one(TAKE_OVER, &[&lanes]).await?.get(0);
        self.0.owner.store(owner, Ordering::Release);
        for slot in &self.0.slots {
            slot.store(true, Ordering::Release);
        }
        Ok(())
    }
}
