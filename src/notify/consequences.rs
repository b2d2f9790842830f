//! What follows from an auction's log: who is told what. Pure, so that the same part of a log always
//! has the same consequences.

use std::collections::{BTreeMap, HashMap};

use super::{Kind, data, reminders};
use crate::{
    domain::{
        auction::{Closed, Event, Outcome, ResultKind},
        id::UserId,
        money::Money,
        time::Timestamp,
    },
    events::log::{After, after, decode},
    store::{Audience, Consequences, EventRow, NewFanout, NewNotification, News},
};

/// The bidders that must be known by their number: who leads after a bid was taken back.
pub(super) fn wanted(events: &[EventRow]) -> Vec<i64> {
    let retractions = events.iter().filter(|event| event.kind == "bid.retracted");
    let leaders = retractions.filter_map(|event| after(&event.data).ok()?.leader);
    leaders.map(|bidder| i64::from(bidder.0)).collect()
}

/// What follows from the news of one auction. An event that cannot be read has no consequences: the
/// log is damaged then, which its audit tells.
pub(super) fn of(news: &News, leads_s: &[i64]) -> Consequences {
    let mut following = Following::new(news, leads_s);
    for row in &news.events {
        let read = decode(&row.kind, &row.data, row.private.as_deref());
        match (read, after(&row.data)) {
            (Ok(event), Ok(after)) => following.follow(row, &event, &after),
            (Err(error), _) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, auction_id = %row.auction_id, seq = row.seq, "an event tells nobody");
            }
            (Ok(_), Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, auction_id = %row.auction_id, seq = row.seq, "an event tells nobody");
            }
        }
    }
    following.end()
}

/// The newest price, extension or time of the part that is followed: earlier ones need not be told.
struct Newest {
    seq: i64,
    at: Timestamp,
    data: String,
}

struct Following<'a> {
    news: &'a News,
    leads_s: &'a [i64],
    leader: Option<UserId>,
    numbers: HashMap<i64, UserId>,
    /// By user: whoever was outbid several times is told of the last time, if they do not lead again.
    outbid: BTreeMap<UserId, Newest>,
    price: Option<Newest>,
    extension: Option<Newest>,
    /// When it opens and ends, and when that was set; the outer is none where nothing was said of it.
    opening: Option<Option<(Timestamp, Timestamp)>>,
    ending: Option<Option<(Timestamp, Timestamp)>>,
    made: Consequences,
}

impl<'a> Following<'a> {
    fn new(news: &'a News, leads_s: &'a [i64]) -> Following<'a> {
        Following {
            news,
            leads_s,
            leader: news.leader,
            numbers: news.bidders.clone(),
            outbid: BTreeMap::new(),
            price: None,
            extension: None,
            opening: None,
            ending: None,
            made: Consequences::default(),
        }
    }

    fn follow(&mut self, row: &EventRow, event: &Event, after: &After) {
        let now_stands = || Newest {
            seq: row.seq,
            at: row.at,
            data: data::price(after.price, after.bid_count, after.ends_at),
        };
        match event {
            Event::Scheduled(event) => {
                self.times(event.terms.starts_at, event.terms.ends_at, row.at);
                let data = data::listed(after.price, event.terms.starts_at, event.terms.ends_at);
                let audience = Audience::Alerted;
                let besides = vec![event.seller];
                self.tell_many(Kind::KeywordAlert, audience, false, row, data, besides);
            }
            Event::Edited(event) => self.times(event.terms.starts_at, event.terms.ends_at, row.at),
            Event::Withdrawn => (self.opening, self.ending) = (Some(None), Some(None)),
            Event::Opened => self.opening = Some(None),
            Event::BidPlaced(bid) => {
                let number = i64::from(bid.bidder_no.0);
                if self.numbers.insert(number, bid.bidder) != Some(bid.bidder) {
                    self.made.bidders.push((bid.bidder, number));
                }
                if bid.outcome != Outcome::Outbid {
                    self.leads(bid.bidder, now_stands());
                }
                self.price = Some(now_stands());
            }
            Event::BidRetracted(_) => {
                // Nobody is outbid by it; who leads again is told of the price like everybody.
                self.leader =
                    after.leader.and_then(|bidder| self.numbers.get(&i64::from(bidder.0)).copied());
                self.price = Some(now_stands());
            }
            Event::Extended { ends_at } => {
                self.extension = Some(now_stands());
                self.ending = Some(Some((*ends_at, row.at)));
            }
            Event::Bought(_) => {}
            Event::Closed(closed) => {
                (self.opening, self.ending) = (Some(None), Some(None));
                self.closed(row, closed, after);
            }
        }
    }

    fn times(&mut self, starts_at: Timestamp, ends_at: Timestamp, set_at: Timestamp) {
        self.opening = Some(Some((starts_at, set_at)));
        self.ending = Some(Some((ends_at, set_at)));
    }

    fn leads(&mut self, bidder: UserId, now_stands: Newest) {
        let before = self.leader.replace(bidder);
        if let Some(before) = before.filter(|before| *before != bidder) {
            self.outbid.insert(before, now_stands);
        }
    }

    fn closed(&mut self, row: &EventRow, closed: &Closed, after: &After) {
        let currency = after.price.currency;
        let hammer = closed.winner.map(|winner| Money { amount: winner.price, currency });
        let final_price = hammer.or_else(|| (after.bid_count > 0).then_some(after.price));
        let said = data::result(closed.result, final_price);
        if let Some(winner) = closed.winner {
            self.tell(winner.user, Kind::Won, row, said.clone());
        }
        let winner = closed.winner.map(|winner| winner.user);
        let besides = winner.into_iter().collect();
        self.tell_many(Kind::Lost, Audience::Bidders, false, row, said.clone(), besides);
        let is_sold = match closed.result {
            ResultKind::Sold | ResultKind::BoughtNow => true,
            ResultKind::UnsoldNoBids
            | ResultKind::UnsoldReserveNotMet
            | ResultKind::CancelledByOperator => false,
        };
        let kind = if is_sold { Kind::Sold } else { Kind::Unsold };
        self.tell(self.news.seller, kind, row, said);
    }

    fn tell(&mut self, user: UserId, kind: Kind, row: &EventRow, data: String) {
        let subject = self.news.auction.0;
        let kind = kind.word();
        let (cause, at) = (row.seq, row.at);
        self.made.notifications.push(NewNotification { user, kind, subject, cause, data, at });
    }

    fn tell_many(
        &mut self,
        kind: Kind,
        audience: Audience,
        gives_way: bool,
        row: &EventRow,
        data: String,
        besides: Vec<UserId>,
    ) {
        let (auction, kind) = (self.news.auction, kind.word());
        let (cause, at) = (row.seq, row.at);
        let new = NewFanout { auction, kind, gives_way, audience, cause, data, at, besides };
        self.made.fanouts.push(new);
    }

    fn end(mut self) -> Consequences {
        let (auction, leader) = (self.news.auction, self.leader);
        let mut know_anyway: Vec<UserId> = leader.into_iter().collect();
        for (user, newest) in std::mem::take(&mut self.outbid) {
            if Some(user) == leader {
                continue;
            }
            know_anyway.push(user);
            self.made.notifications.push(NewNotification {
                user,
                kind: Kind::Outbid.word(),
                subject: auction.0,
                cause: newest.seq,
                data: newest.data,
                at: newest.at,
            });
        }
        let of_many = [
            (Kind::HighestBidChanged, Audience::Watchers, self.price.take(), know_anyway),
            (Kind::Extended, Audience::WatchersAndBidders, self.extension.take(), Vec::new()),
        ];
        for (kind, audience, newest, besides) in of_many {
            let Some(newest) = newest else { continue };
            self.made.fanouts.push(NewFanout {
                auction,
                kind: kind.word(),
                gives_way: true,
                audience,
                cause: newest.seq,
                data: newest.data,
                at: newest.at,
                besides,
            });
        }
        for (kind, time) in [(Kind::OpeningSoon, self.opening), (Kind::EndingSoon, self.ending)] {
            let Some(time) = time else { continue };
            self.made.forgotten.push(kind.word());
            if let Some((target_at, set_at)) = time {
                let new = reminders::of(auction, kind, target_at, set_at, self.leads_s);
                self.made.reminders.extend(new);
            }
        }
        self.made.leader = leader;
        self.made
    }
}
