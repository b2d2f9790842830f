//! The notifier's work: how far logs were worked off, and news for many that is being told page by
//! page.
//!
//! Locks are taken in one order: progress, reminders, news for many, and the turn at the inbox last.

use std::collections::{HashMap, HashSet};

use deadpool_postgres::Transaction;
use uuid::Uuid;

use crate::domain::{
    id::{AuctionId, UserId},
    time::Timestamp,
};
use crate::store::{
    EventRow, Store, StoreError,
    log::recent::Recent,
    notify::inbox::{self, NewNotification},
    notify::reminders::{self, NewReminder},
};

/// Events of one auction in one transaction.
const EVENTS_OF_ONE_MAX: i64 = 4_096;
/// Events of all auctions in one transaction.
const EVENTS_AT_ONCE_MAX: i64 = 8_192;

/// To whom news for many goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Who watches the auction.
    Watchers,
    /// Who has bid.
    Bidders,
    /// Both.
    WatchersAndBidders,
    /// Whose alert fits.
    Alerted,
}

impl Audience {
    const fn word(self) -> &'static str {
        match self {
            Audience::Watchers => "watchers",
            Audience::Bidders => "bidders",
            Audience::WatchersAndBidders => "watchers_and_bidders",
            Audience::Alerted => "alerted",
        }
    }
}

/// News for many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFanout {
    /// Of which auction.
    pub auction: AuctionId,
    /// The notification's word.
    pub kind: &'static str,
    /// Whether newer news of this kind takes its place.
    pub gives_way: bool,
    /// To whom.
    pub audience: Audience,
    /// As in [`NewNotification`].
    pub cause: i64,
    /// As in [`NewNotification`].
    pub data: String,
    /// As in [`NewNotification`]. Who came to watch later is not told.
    pub at: Timestamp,
    /// Who is not told.
    pub besides: Vec<UserId>,
}

/// What an auction's log says that was not worked off yet.
#[derive(Debug, Clone)]
pub struct News {
    /// Which.
    pub auction: AuctionId,
    /// Whose it is.
    pub seller: UserId,
    /// Who led before.
    pub leader: Option<UserId>,
    /// In order.
    pub events: Vec<EventRow>,
    /// Those bidders by number who were asked for.
    pub bidders: HashMap<i64, UserId>,
}

/// What follows from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Consequences {
    /// Who leads afterwards.
    pub leader: Option<UserId>,
    /// Who has bid, with their number.
    pub bidders: Vec<(UserId, i64)>,
    /// To one each.
    pub notifications: Vec<NewNotification>,
    /// To many.
    pub fanouts: Vec<NewFanout>,
    /// Of which kinds no reminder stands any more, but those below.
    pub forgotten: Vec<&'static str>,
    /// What to remind of.
    pub reminders: Vec<NewReminder>,
}

/// Both in the order of their keys, side by side.
const BEHIND: &str = "
    SELECT s.auction_id
    FROM standings s LEFT JOIN notify_progress p ON p.auction_id = s.auction_id
    WHERE s.auction_id > $1 AND s.seq > coalesce(p.done_seq, 0)
    ORDER BY s.auction_id LIMIT $2";

/// The order keeps two who begin the same ones from waiting for each other.
const BEGIN: &str = "
    INSERT INTO notify_progress (auction_id, done_seq)
    SELECT id, 0 FROM unnest($1::uuid[]) AS n (id) ORDER BY id
    ON CONFLICT (auction_id) DO NOTHING";

/// Whoever comes at the same time takes others.
const CLAIM: &str = "
    SELECT p.auction_id, p.done_seq, s.seq, p.leader_id, a.seller_id
    FROM notify_progress p
    JOIN standings s ON s.auction_id = p.auction_id JOIN auctions a ON a.id = p.auction_id
    WHERE p.auction_id = ANY ($1) FOR UPDATE OF p SKIP LOCKED";

const EVENTS: &str = "
    SELECT e.auction_id, e.seq, e.kind, e.at, e.data, e.private, e.hash
    FROM unnest($1::uuid[], $2::int8[], $3::int8[]) AS r (auction_id, first, last)
    JOIN events e ON e.auction_id = r.auction_id AND e.seq BETWEEN r.first AND r.last
    ORDER BY e.auction_id, e.seq";

const BIDDERS: &str = "
    SELECT b.auction_id, b.bidder_no, b.user_id
    FROM unnest($1::uuid[], $2::int8[]) AS n (auction_id, bidder_no)
    JOIN auction_bidders b ON b.auction_id = n.auction_id AND b.bidder_no = n.bidder_no";

const INSERT_BIDDERS: &str = "
    INSERT INTO auction_bidders (auction_id, user_id, bidder_no)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int8[])
    ON CONFLICT ON CONSTRAINT auction_bidders_pkey DO NOTHING";

const MOVE_ON: &str = "
    UPDATE notify_progress p SET done_seq = n.done_seq, leader_id = n.leader_id
    FROM unnest($1::uuid[], $2::int8[], $3::uuid[]) AS n (auction_id, done_seq, leader_id)
    WHERE p.auction_id = n.auction_id";

/// Where newer news takes the place of older it does so unless that is being told: then it waits.
/// News for nobody is not begun.
const INSERT_FANOUTS: &str = "
    INSERT INTO fanouts AS f
        (auction_id, kind, slot, audience, cause, data, at, besides, due_at)
    SELECT n.auction_id, n.kind, n.slot, n.audience, n.cause, n.data, n.at, n.besides::uuid[],
           $9::timestamptz
    FROM unnest($1::uuid[], $2::text[], $3::int8[], $4::text[], $5::int8[], $6::text[],
                $7::timestamptz[], $8::text[])
         AS n (auction_id, kind, slot, audience, cause, data, at, besides)
    WHERE CASE n.audience
        WHEN 'watchers' THEN EXISTS (SELECT FROM watches w WHERE w.auction_id = n.auction_id)
        WHEN 'alerted' THEN EXISTS (SELECT FROM keyword_alerts)
        ELSE true END
    ON CONFLICT ON CONSTRAINT fanouts_pkey DO UPDATE SET
        cause = CASE WHEN f.cursor IS NULL THEN EXCLUDED.cause ELSE f.cause END,
        data = CASE WHEN f.cursor IS NULL THEN EXCLUDED.data ELSE f.data END,
        at = CASE WHEN f.cursor IS NULL THEN EXCLUDED.at ELSE f.at END,
        besides = CASE WHEN f.cursor IS NULL THEN EXCLUDED.besides ELSE f.besides END,
        next_cause = CASE WHEN f.cursor IS NULL THEN NULL ELSE EXCLUDED.cause END,
        next_data = CASE WHEN f.cursor IS NULL THEN NULL ELSE EXCLUDED.data END,
        next_at = CASE WHEN f.cursor IS NULL THEN NULL ELSE EXCLUDED.at END,
        next_besides = CASE WHEN f.cursor IS NULL THEN NULL ELSE EXCLUDED.besides END,
        due_at = coalesce(f.due_at, greatest(EXCLUDED.due_at,
                          f.told_at + make_interval(secs => $10::int8 / 1000.0)))
    WHERE f.slot = 0";

const CLAIM_FANOUT: &str = "
    SELECT auction_id, kind, slot, audience, cause, data, at, besides, cursor
    FROM fanouts WHERE due_at <= $1 ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED";

const WATCHERS: &str = "
    SELECT user_id FROM watches
    WHERE auction_id = $1 AND user_id > $2 AND created_at <= $3 ORDER BY user_id LIMIT $4";

const BIDDERS_PAGE: &str = "
    SELECT user_id FROM auction_bidders
    WHERE auction_id = $1 AND user_id > $2 ORDER BY user_id LIMIT $3";

const WATCHERS_AND_BIDDERS: &str = "
    (SELECT user_id FROM watches
     WHERE auction_id = $1 AND user_id > $2 AND created_at <= $3 ORDER BY user_id LIMIT $4)
    UNION
    (SELECT user_id FROM auction_bidders
     WHERE auction_id = $1 AND user_id > $2 ORDER BY user_id LIMIT $4)
    ORDER BY user_id LIMIT $4";

const LISTED: &str = "SELECT title, coalesce(category, '') FROM auctions WHERE id = $1";

/// Each part of the title is looked up by itself, up to a page.
const ALERTED: &str = "
    SELECT DISTINCT a.user_id FROM unnest($1::text[]) AS k (keyword)
    CROSS JOIN LATERAL (
        SELECT user_id FROM keyword_alerts
        WHERE keyword = k.keyword AND user_id > $2 AND created_at <= $3
          AND (category = $5 OR (category = '' AND keyword <> ''))
        ORDER BY user_id LIMIT $4) a
    ORDER BY a.user_id LIMIT $4";

const NEXT_PAGE: &str = "
    UPDATE fanouts SET cursor = $4, due_at = $5,
        told_at = CASE WHEN cursor IS NULL THEN $5::timestamptz ELSE told_at END
    WHERE auction_id = $1 AND kind = $2 AND slot = $3";

/// What came meanwhile is next, after a pause; else it rests until something comes.
const TOLD: &str = "
    UPDATE fanouts SET cursor = NULL,
        told_at = CASE WHEN cursor IS NULL THEN $4::timestamptz ELSE told_at END,
        due_at = CASE WHEN next_cause IS NULL THEN NULL
                 ELSE greatest($4, CASE WHEN cursor IS NULL THEN $4 ELSE told_at END
                               + make_interval(secs => $5::int8 / 1000.0)) END,
        cause = coalesce(next_cause, cause), data = coalesce(next_data, data),
        at = coalesce(next_at, at), besides = coalesce(next_besides, besides),
        next_cause = NULL, next_data = NULL, next_at = NULL, next_besides = NULL
    WHERE auction_id = $1 AND kind = $2 AND slot = $3";

const DELETE_FANOUT: &str = "DELETE FROM fanouts WHERE auction_id = $1 AND kind = $2 AND slot = $3";

/// What was renewed meanwhile stays.
const PURGE_FANOUTS: &str = "
    DELETE FROM fanouts WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM fanouts WHERE due_at IS NULL AND told_at < $1 LIMIT $2))
    AND due_at IS NULL AND told_at < $1";

/// What became of some news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkedOff {
    /// Of so many events.
    pub events: usize,
    /// Auctions of which more is to be worked off, or at which others are.
    pub left: Vec<AuctionId>,
}

/// What became of a call for a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageTold {
    /// There was none.
    Nothing,
    /// So many users were gone through.
    Users(usize),
}

impl Store {
    /// Auctions whose logs have grown since they were worked off, in the order of their ids.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn auctions_with_news(
        &self,
        after: Option<AuctionId>,
        limit: i64,
    ) -> Result<Vec<AuctionId>, StoreError> {
        let after = after.unwrap_or(AuctionId(Uuid::nil()));
        let rows = self.reader().await?.query(BEHIND, &[&after, &limit]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Works off the news of these auctions, each event once: `wanted` says which bidders must be
    /// known by their number, `decide` what follows.
    ///
    /// # Errors
    /// When Postgres cannot be asked; nothing is worked off then.
    pub async fn work_off_news(
        &self,
        auctions: &[AuctionId],
        now: Timestamp,
        pause_ms: i64,
        wanted: impl Fn(&[EventRow]) -> Vec<i64>,
        decide: impl Fn(&News) -> Consequences,
    ) -> Result<WorkedOff, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        let (mut news, left) = claim_news(&transaction, &self.recent, auctions).await?;
        find_bidders(&transaction, &mut news, wanted).await?;
        let mut all = Vec::with_capacity(news.len());
        for news in &news {
            all.push((news, decide(news)));
        }
        let events = news.iter().map(|news| news.events.len()).sum();
        move_on(&transaction, &all).await?;
        write_bidders(&transaction, &all).await?;
        write_reminders(&transaction, &all).await?;
        let fanouts: Vec<&NewFanout> =
            all.iter().flat_map(|(_, consequences)| &consequences.fanouts).collect();
        write_fanouts(&transaction, &fanouts, now, pause_ms).await?;
        let notifications: Vec<NewNotification> =
            all.into_iter().flat_map(|(_, consequences)| consequences.notifications).collect();
        inbox::write(&transaction, &notifications, now).await?;
        transaction.commit().await?;
        Ok(WorkedOff { events, left })
    }

    /// Tells one page of news for many.
    ///
    /// # Errors
    /// When Postgres cannot be asked; the page is told again then.
    pub async fn tell_page(
        &self,
        now: Timestamp,
        page: i64,
        pause_ms: i64,
        kind_of: impl Fn(&str) -> Option<&'static str>,
        parts_of: impl Fn(&str) -> Vec<String>,
    ) -> Result<PageTold, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        let statement = transaction.prepare_cached(CLAIM_FANOUT).await?;
        let Some(row) = transaction.query_opt(&statement, &[&now]).await? else {
            return Ok(PageTold::Nothing);
        };
        let (auction, kind, slot): (AuctionId, String, i64) = (row.get(0), row.get(1), row.get(2));
        let known = kind_of(&kind)
            .ok_or_else(|| StoreError::Malformed(format!("{kind} is no kind of news")))?;
        let (data, at, besides): (String, Timestamp, Vec<UserId>) =
            (row.get(5), row.get(6), row.get(7));
        let after = row.get::<_, Option<UserId>>(8).unwrap_or(UserId(Uuid::nil()));
        let users = audience(&transaction, row.get(3), auction, after, at, page, parts_of).await?;
        match users.last() {
            Some(last) if users.len() as i64 >= page => {
                transaction.execute(NEXT_PAGE, &[&auction, &kind, &slot, last, &now]).await?;
            }
            _ if slot == 0 => {
                transaction.execute(TOLD, &[&auction, &kind, &slot, &now, &pause_ms]).await?;
            }
            _ => {
                transaction.execute(DELETE_FANOUT, &[&auction, &kind, &slot]).await?;
            }
        }
        let cause = row.get(4);
        let told: Vec<NewNotification> = users
            .iter()
            .filter(|user| !besides.contains(user))
            .map(|user| NewNotification {
                user: *user,
                kind: known,
                subject: auction.0,
                cause,
                data: data.clone(),
                at,
            })
            .collect();
        inbox::write(&transaction, &told, now).await?;
        transaction.commit().await?;
        Ok(PageTold::Users(users.len()))
    }

    /// Forgets some of the news that was told before a time and not renewed since; how much.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn purge_fanouts(&self, before: Timestamp) -> Result<u64, StoreError> {
        Ok(self
            .reader()
            .await?
            .execute(PURGE_FANOUTS, &[&before, &crate::store::purges::AT_ONCE_MAX])
            .await?)
    }
}

/// The news of these auctions, and of which there may be more.
async fn claim_news(
    transaction: &Transaction<'_>,
    recent: &Recent,
    auctions: &[AuctionId],
) -> Result<(Vec<News>, Vec<AuctionId>), StoreError> {
    let mut left: HashSet<AuctionId> = auctions.iter().copied().collect();
    let statement = transaction.prepare_cached(BEGIN).await?;
    transaction.execute(&statement, &[&auctions]).await?;
    let statement = transaction.prepare_cached(CLAIM).await?;
    let mut news = Vec::new();
    let (mut ids, mut firsts, mut lasts) = (Vec::new(), Vec::new(), Vec::new());
    let mut room = EVENTS_AT_ONCE_MAX;
    for row in &transaction.query(&statement, &[&auctions]).await? {
        let (auction, done, head): (AuctionId, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let last = head.min(done + room.min(EVENTS_OF_ONE_MAX));
        if last == head {
            left.remove(&auction);
        }
        if last <= done {
            continue;
        }
        room -= last - done;
        let (leader, seller) = (row.get(3), row.get(4));
        let bidders = HashMap::new();
        // Most of it was committed here a moment ago.
        let events = recent.take(auction, done + 1, last).unwrap_or_else(|| {
            ids.push(auction);
            firsts.push(done + 1);
            lasts.push(last);
            Vec::new()
        });
        news.push(News { auction, seller, leader, events, bidders });
    }
    if !ids.is_empty() {
        read_events(transaction, &mut news, (&ids, &firsts, &lasts)).await?;
    }
    news.retain(|news| !news.events.is_empty());
    Ok((news, left.into_iter().collect()))
}

async fn read_events(
    transaction: &Transaction<'_>,
    news: &mut [News],
    (ids, firsts, lasts): (&[AuctionId], &[i64], &[i64]),
) -> Result<(), StoreError> {
    let places: HashMap<AuctionId, usize> =
        news.iter().enumerate().map(|(place, news)| (news.auction, place)).collect();
    let statement = transaction.prepare_cached(EVENTS).await?;
    for row in &transaction.query(&statement, &[&ids, &firsts, &lasts]).await? {
        let event = EventRow {
            auction_id: row.get(0),
            seq: row.get(1),
            kind: row.get(2),
            at: row.get(3),
            data: row.get(4),
            private: row.get(5),
            hash: row.get(6),
        };
        news[places[&event.auction_id]].events.push(event);
    }
    Ok(())
}

async fn find_bidders(
    transaction: &Transaction<'_>,
    news: &mut [News],
    wanted: impl Fn(&[EventRow]) -> Vec<i64>,
) -> Result<(), StoreError> {
    let mut places = HashMap::new();
    let (mut ids, mut numbers) = (Vec::new(), Vec::new());
    for (place, news) in news.iter().enumerate() {
        places.insert(news.auction, place);
        for number in wanted(&news.events) {
            ids.push(news.auction);
            numbers.push(number);
        }
    }
    if ids.is_empty() {
        return Ok(());
    }
    for row in &transaction.query(BIDDERS, &[&ids, &numbers]).await? {
        let auction: AuctionId = row.get(0);
        news[places[&auction]].bidders.insert(row.get(1), row.get(2));
    }
    Ok(())
}

type All<'a> = [(&'a News, Consequences)];

async fn move_on(transaction: &Transaction<'_>, all: &All<'_>) -> Result<(), StoreError> {
    let ids: Vec<AuctionId> = all.iter().map(|(news, _)| news.auction).collect();
    let last = |news: &News| news.events.last().map_or(0, |event| event.seq);
    let seqs: Vec<i64> = all.iter().map(|(news, _)| last(news)).collect();
    let leaders: Vec<Option<UserId>> = all.iter().map(|(_, then)| then.leader).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let statement = transaction.prepare_cached(MOVE_ON).await?;
    transaction.execute(&statement, &[&ids, &seqs, &leaders]).await?;
    Ok(())
}

async fn write_bidders(transaction: &Transaction<'_>, all: &All<'_>) -> Result<(), StoreError> {
    let (mut ids, mut users, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    for (news, consequences) in all {
        for (user, number) in &consequences.bidders {
            ids.push(news.auction);
            users.push(*user);
            numbers.push(*number);
        }
    }
    if !ids.is_empty() {
        let statement = transaction.prepare_cached(INSERT_BIDDERS).await?;
        transaction.execute(&statement, &[&ids, &users, &numbers]).await?;
    }
    Ok(())
}

async fn write_reminders(transaction: &Transaction<'_>, all: &All<'_>) -> Result<(), StoreError> {
    let (mut ids, mut kinds) = (Vec::new(), Vec::new());
    for (news, consequences) in all {
        for kind in &consequences.forgotten {
            ids.push(news.auction);
            kinds.push(*kind);
        }
    }
    if !ids.is_empty() {
        let statement = transaction.prepare_cached(reminders::FORGET).await?;
        transaction.execute(&statement, &[&ids, &kinds]).await?;
    }
    let new: Vec<&NewReminder> = all.iter().flat_map(|(_, then)| &then.reminders).collect();
    if new.is_empty() {
        return Ok(());
    }
    let ids: Vec<AuctionId> = new.iter().map(|new| new.auction).collect();
    let kinds: Vec<&str> = new.iter().map(|new| new.kind).collect();
    let leads: Vec<i64> = new.iter().map(|new| new.lead_s).collect();
    let targets: Vec<Timestamp> = new.iter().map(|new| new.target_at).collect();
    let fires: Vec<Timestamp> = new.iter().map(|new| new.fire_at).collect();
    let statement = transaction.prepare_cached(reminders::INSERT).await?;
    transaction.execute(&statement, &[&ids, &kinds, &leads, &targets, &fires]).await?;
    Ok(())
}

/// Begins to tell news for many, or renews what is told. No two of one auction, kind and slot.
pub(in crate::store) async fn write_fanouts(
    transaction: &Transaction<'_>,
    new: &[&NewFanout],
    now: Timestamp,
    pause_ms: i64,
) -> Result<(), StoreError> {
    if new.is_empty() {
        return Ok(());
    }
    let auctions: Vec<AuctionId> = new.iter().map(|new| new.auction).collect();
    let kinds: Vec<&str> = new.iter().map(|new| new.kind).collect();
    let slots: Vec<i64> = new.iter().map(|new| if new.gives_way { 0 } else { new.cause }).collect();
    let audiences: Vec<&str> = new.iter().map(|new| new.audience.word()).collect();
    let causes: Vec<i64> = new.iter().map(|new| new.cause).collect();
    let data: Vec<&str> = new.iter().map(|new| new.data.as_str()).collect();
    let ats: Vec<Timestamp> = new.iter().map(|new| new.at).collect();
    let besides: Vec<String> = new.iter().map(|new| array_of(&new.besides)).collect();
    let statement = transaction.prepare_cached(INSERT_FANOUTS).await?;
    transaction
        .execute(
            &statement,
            &[
                &auctions, &kinds, &slots, &audiences, &causes, &data, &ats, &besides, &now,
                &pause_ms,
            ],
        )
        .await?;
    Ok(())
}

/// As Postgres writes an array: columns of arrays cannot be unnested.
fn array_of(users: &[UserId]) -> String {
    let users: Vec<String> = users.iter().map(|user| user.0.to_string()).collect();
    format!("{{{}}}", users.join(","))
}

/// A page of those whom news is for, in the order of their ids.
async fn audience(
    transaction: &Transaction<'_>,
    word: &str,
    auction: AuctionId,
    after: UserId,
    at: Timestamp,
    page: i64,
    parts_of: impl Fn(&str) -> Vec<String>,
) -> Result<Vec<UserId>, StoreError> {
    let rows = match word {
        "watchers" => transaction.query(WATCHERS, &[&auction, &after, &at, &page]).await?,
        "bidders" => transaction.query(BIDDERS_PAGE, &[&auction, &after, &page]).await?,
        "watchers_and_bidders" => {
            transaction.query(WATCHERS_AND_BIDDERS, &[&auction, &after, &at, &page]).await?
        }
        "alerted" => {
            let listed = transaction.query_one(LISTED, &[&auction]).await?;
            let (title, category): (String, String) = (listed.get(0), listed.get(1));
            let parts = parts_of(&title);
            transaction.query(ALERTED, &[&parts, &after, &at, &page, &category]).await?
        }
        word => return Err(StoreError::Malformed(format!("{word} is no audience"))),
    };
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
