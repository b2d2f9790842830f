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
    log::{After, after, decode},
    store::{Audience, Consequences, EventRow, NewFanout, NewNotification, News},
};

/// The bidders that must be known by their number: who leads after a bid was taken back.
pub(super) fn wanted(events: &[EventRow]) -> Vec<i64> {
    let retractions = events.iter().filter(|event| event.kind == "bid.retracted");
    let leaders = retractions.filter_map(|event| after(&event.kind, &event.data).ok()?.leader);
    leaders.map(|bidder| i64::from(bidder.0)).collect()
}

/// What follows from the news of one auction. An event that cannot be read has no consequences: the
/// log is damaged then, which its audit tells.
pub(super) fn of(news: &News, leads_s: &[i64]) -> Consequences {
    let mut following = Following::new(news, leads_s);
    for row in &news.events {
        match decode(&row.kind, &row.data, row.private.as_deref()) {
            Ok(event) => following.follow(row, &event),
            Err(error) => tells_nobody(row, &error),
        }
    }
    following.end()
}

fn tells_nobody(row: &EventRow, error: &(dyn std::error::Error + 'static)) {
    tracing::error!(error, auction_id = %row.auction_id, seq = row.seq, "an event tells nobody");
}

/// Where the auction stood after an event.
fn stood(row: &EventRow) -> Option<After> {
    after(&row.kind, &row.data).inspect_err(|error| tells_nobody(row, error)).ok()
}

/// The price then, for its wording.
fn price(row: &EventRow) -> Option<String> {
    stood(row).map(|after| data::price(after.price, after.bid_count, after.ends_at))
}

struct Following<'a> {
    news: &'a News,
    leads_s: &'a [i64],
    leader: Option<UserId>,
    numbers: HashMap<i64, UserId>,
    /// By user: whoever was outbid several times is told of the last time, if they do not lead again.
    outbid: BTreeMap<UserId, &'a EventRow>,
    /// By whose retraction somebody came to lead, if nobody else leads by now.
    leads_again: Option<(UserId, &'a EventRow)>,
    /// The newest price and extension of the part that is followed: earlier ones need not be told.
    price: Option<&'a EventRow>,
    extension: Option<&'a EventRow>,
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
            leads_again: None,
            price: None,
            extension: None,
            opening: None,
            ending: None,
            made: Consequences::default(),
        }
    }

    fn follow(&mut self, row: &'a EventRow, event: &Event) {
        match event {
            Event::Scheduled(event) => {
                let Some(after) = stood(row) else { return };
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
                    self.leads(bid.bidder, row);
                }
                self.price = Some(row);
            }
            Event::BidRetracted(_) => {
                let Some(after) = stood(row) else { return };
                let leader =
                    after.leader.and_then(|bidder| self.numbers.get(&i64::from(bidder.0)).copied());
                // Nobody is outbid by it.
                if leader != self.leader {
                    self.leads_again = leader.map(|leader| (leader, row));
                    self.leader = leader;
                }
                self.price = Some(row);
                if let Some(data) = price(row) {
                    self.tell(self.news.seller, Kind::BidRetracted, row, data);
                }
            }
            Event::Extended { ends_at } => {
                self.extension = Some(row);
                self.ending = Some(Some((*ends_at, row.at)));
            }
            Event::Bought(_) => {}
            Event::Closed(closed) => {
                (self.opening, self.ending) = (Some(None), Some(None));
                if let Some(after) = stood(row) {
                    self.closed(row, closed, &after);
                }
            }
        }
    }

    fn times(&mut self, starts_at: Timestamp, ends_at: Timestamp, set_at: Timestamp) {
        self.opening = Some(Some((starts_at, set_at)));
        self.ending = Some(Some((ends_at, set_at)));
    }

    fn leads(&mut self, bidder: UserId, row: &'a EventRow) {
        let before = self.leader.replace(bidder);
        if let Some(before) = before.filter(|before| *before != bidder) {
            self.leads_again = None;
            self.outbid.insert(before, row);
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
        for (user, row) in std::mem::take(&mut self.outbid) {
            if Some(user) == leader {
                continue;
            }
            know_anyway.push(user);
            if let Some(data) = price(row) {
                self.tell(user, Kind::Outbid, row, data);
            }
        }
        if let Some((user, row)) = self.leads_again.take().filter(|(user, _)| Some(*user) == leader)
            && let Some(data) = price(row)
        {
            self.tell(user, Kind::LeadingAgain, row, data);
        }
        let of_many = [
            (Kind::HighestBidChanged, Audience::Watchers, self.price.take(), know_anyway),
            (Kind::Extended, Audience::WatchersAndBidders, self.extension.take(), Vec::new()),
        ];
        for (kind, audience, newest, besides) in of_many {
            let Some(row) = newest else { continue };
            if let Some(data) = price(row) {
                self.tell_many(kind, audience, true, row, data, besides);
            }
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
