//! What must hold for every auction under any terms, whatever is asked of it in whatever order.

use hoga::{
    domain::{
        auction::{
            BuyNow, CancelByOperator, Closed, Command, Edit, Event, Increment, Offer, PlaceBid,
            Rejection, ResultKind, RetractBid, SoftClose, SoftCloseMode, State, Status, Terms,
            Withdraw,
            increment::{Rule, Table},
        },
        id::UserId,
        money::Amount,
        time::Timestamp,
    },
    exchange::kinds::auction_form,
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use uuid::Uuid;

use super::{
    house::*,
    model::{Landmark, Model, Phase, amount},
};

/// What a story does next, said so that it can be made near the places where rules change.
#[derive(Debug, Clone)]
enum Step {
    Pass(Moment),
    Open,
    Close,
    Bid { who: usize, offer: Near, exact: bool, confirmed: bool, seen: Seen, lag_ms: i64 },
    BuyNow { who: usize, seen_price: Option<bool>, lag_ms: i64 },
    Retract { who: usize, of: usize, back: usize, lag_ms: i64 },
    Edit { who: usize, terms: Box<Terms>, seen: Seen },
    Withdraw { who: usize, seen: Seen },
    Cancel { seen: Seen },
}

/// Where the clock goes; never back.
#[derive(Debug, Clone, Copy)]
enum Moment {
    By(i64),
    Start(i64),
    End(i64),
    WindowBeforeEnd(i64),
    TwelveHoursBeforeEnd(i64),
    AnHourLater(i64),
}

#[derive(Debug, Clone, Copy)]
enum Near {
    Landmark(Landmark, i64),
    Free(i64),
}

#[derive(Debug, Clone, Copy)]
enum Seen {
    Nothing,
    Now,
    Stale,
}

fn user(who: usize) -> UserId {
    // 0 is the seller.
    UserId(Uuid::from_u128(1 + who as u128))
}

/// Small amounts, where rounding and steps bite, and every size up to the largest.
fn money(most: i64) -> BoxedStrategy<i64> {
    let small = 1..=most.min(2_000);
    let any_size = (0..53_u32).prop_flat_map(move |bits| {
        let low = (1_i64 << bits).min(most);
        low..=(low.saturating_mul(2) - 1).min(most).max(low)
    });
    prop_oneof![small, any_size].boxed()
}

fn increment(cap: i64) -> impl Strategy<Value = Increment> {
    let own = vec((money(cap), money(cap.min(50_000))), 0..4)
        .prop_flat_map(move |bounded| (Just(bounded), money(cap)))
        .prop_map(|(mut bounded, last)| {
            bounded.sort_unstable();
            bounded.dedup_by_key(|(below, _)| *below);
            let bounded = bounded
                .into_iter()
                .map(|(below, step)| Rule { below: Some(won(below)), step: won(step) });
            let last = Rule { below: None, step: won(last) };
            let rules = bounded.chain([last]).collect();
            Increment::Table(Table::own(rules).expect("rising and open-ended"))
        });
    prop_oneof![
        2 => money(cap.min(5_000)).prop_map(|step| Increment::Fixed(won(step))),
        1 => money(cap).prop_map(|step| Increment::Fixed(won(step))),
        2 => (1..=100_000_u32).prop_map(|basis_points| Increment::PercentOfOpening { basis_points }),
        1 => Just(Increment::Table(Table::Won)),
        1 => Just(Increment::Table(Table::EbayUsd)),
        3 => own,
    ]
}

fn soft_close(ends_at: Timestamp) -> impl Strategy<Value = SoftClose> {
    let seconds = || prop_oneof![1..=600_u32, 1..=86_400_u32];
    let mode = select(vec![SoftCloseMode::Extend, SoftCloseMode::Reset]);
    (seconds(), seconds(), mode, prop_oneof![0..=1_200_i64, 0..=300_000_i64]).prop_map(
        move |(trigger_window_s, extension_s, mode, beyond_s)| SoftClose {
            trigger_window_s,
            extension_s,
            mode,
            max_ends_at: ends_at.plus_s(beyond_s),
        },
    )
}

/// Any terms that pass their own check.
fn any_terms() -> impl Strategy<Value = Terms> {
    let caps = [2_000, 5_000_000, 1_000_000_000_000, Amount::CAP_MAX.minor_units()];
    (select(caps.to_vec()), 60..=4 * DAY_S)
        .prop_flat_map(|(cap, lasts_s)| (Just(cap), Just(lasts_s), money(cap)))
        .prop_flat_map(|(cap, lasts_s, opening)| {
            let ends_at = STARTS_AT.plus_s(lasts_s);
            let above = || prop_oneof![0..=5_000_i64, 0..=cap];
            (
                Just((cap, opening, ends_at)),
                increment(cap),
                option::of(above()),
                option::of(above()),
                option::weighted(0.3, 1..=6_u32),
                option::of(soft_close(ends_at)),
            )
        })
        .prop_map(|((cap, opening, ends_at), increment, reserve, buy_now, limit, soft_close)| {
            let reserve = reserve.map(|more| opening.saturating_add(more).min(cap));
            let least = reserve.unwrap_or(0).max(opening + 1);
            let buy_now = buy_now.map(|more| least.saturating_add(more).min(cap));
            Terms {
                opening_price: won(opening),
                increment,
                reserve_price: reserve.map(won),
                buy_now_price: buy_now.filter(|price| *price >= least).map(won),
                bids_per_bidder_max: limit,
                cap: won(cap),
                ends_at,
                soft_close,
                ..terms()
            }
        })
}

fn near() -> impl Strategy<Value = Near> {
    let landmarks = vec![
        Landmark::Minimum,
        Landmark::Minimum,
        Landmark::Price,
        Landmark::LeadersCeiling,
        Landmark::LeadersCeiling,
        Landmark::TenTimesMinimum,
        Landmark::Million,
        Landmark::Reserve,
        Landmark::BuyNow,
        Landmark::Cap,
        Landmark::Largest,
    ];
    let off = prop_oneof![-1..=1_i64, 0..=5_000_i64];
    prop_oneof![
        4 => (select(landmarks), off).prop_map(|(at, off)| Near::Landmark(at, off)),
        1 => money(Amount::MAX.minor_units()).prop_map(Near::Free),
    ]
}

fn moment() -> impl Strategy<Value = Moment> {
    let tick = || -1..=1_i64;
    prop_oneof![
        6 => (0..=5_000_i64).prop_map(Moment::By),
        1 => (0..=DAY_S * 1_000).prop_map(Moment::By),
        2 => tick().prop_map(Moment::Start),
        1 => tick().prop_map(Moment::End),
        2 => tick().prop_map(Moment::WindowBeforeEnd),
        1 => tick().prop_map(Moment::TwelveHoursBeforeEnd),
        1 => tick().prop_map(Moment::AnHourLater),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let seen =
        || prop_oneof![8 => Just(Seen::Nothing), 1 => Just(Seen::Now), 1 => Just(Seen::Stale)];
    let anybody = || prop_oneof![1 => Just(0_usize), 15 => 1..=4_usize];
    let lag = || prop_oneof![6 => Just(0_i64), 1 => 1..=3_i64];
    let bid = (anybody(), near(), any::<bool>(), prop::bool::weighted(0.7), seen(), lag());
    prop_oneof![
        20 => bid.prop_map(|(who, offer, exact, confirmed, seen, lag_ms)| {
            Step::Bid { who, offer, exact, confirmed, seen, lag_ms }
        }),
        6 => moment().prop_map(Step::Pass),
        4 => (anybody(), prop::bool::weighted(0.9), 1..=4_usize, 0..4_usize, lag()).prop_map(
            |(other, own, of, back, lag_ms)| {
                Step::Retract { who: if own { of } else { other }, of, back, lag_ms }
            }
        ),
        1 => Just(Step::Open),
        1 => Just(Step::Close),
        1 => (anybody(), option::of(any::<bool>()), lag())
            .prop_map(|(who, seen_price, lag_ms)| Step::BuyNow { who, seen_price, lag_ms }),
        1 => (0..=1_usize, any_terms().prop_map(Box::new), seen())
            .prop_map(|(who, terms, seen)| Step::Edit { who, terms, seen }),
        // Seldom by the seller: most stories should not end before they begin.
        1 => (prop::bool::weighted(0.1), seen()).prop_map(|(seller, seen)| {
            Step::Withdraw { who: usize::from(!seller), seen }
        }),
        1 => prop::bool::weighted(0.1).prop_map(|now| {
            Step::Cancel { seen: if now { Seen::Nothing } else { Seen::Stale } }
        }),
    ]
}

/// Terms and what is asked: half of the stories begin before the opening, half at it.
fn any_story() -> impl Strategy<Value = (Terms, bool, Vec<Step>)> {
    (any_terms(), any::<bool>(), vec(step(), 1..60))
}

/// One command that was asked, and what became of it.
struct Turn {
    command: Command,
    before: State,
    answer: Result<Vec<Event>, Rejection>,
    after: State,
    model_answer: Result<(), Rejection>,
    model: Model,
}

struct Story {
    turns: Vec<Turn>,
    log: Vec<Event>,
    state: State,
}

fn tell((terms, from_the_start, steps): (Terms, bool, Vec<Step>)) -> Story {
    assert_eq!(terms.check(STARTS_AT), Ok(()), "the stories are about terms that can stand");
    let mut model = Model::new(SELLER, terms.clone());
    let mut auction = Auction::scheduled(terms);
    let mut turns = Vec::new();
    if from_the_start {
        auction.now = STARTS_AT;
    }
    // However the story goes, at last the clock has its way.
    let last = [Step::Pass(Moment::Start(0)), Step::Pass(Moment::End(0)), Step::Close, Step::Close];
    for step in steps.into_iter().chain(last) {
        let Some(command) = command(&step, &mut auction, &model) else { continue };
        let before = auction.state.clone();
        let answer = auction.run(&command);
        let model_answer = model.answer(&command, auction.now);
        turns.push(Turn {
            command,
            before,
            answer,
            after: auction.state.clone(),
            model_answer,
            model: model.clone(),
        });
    }
    Story { turns, log: auction.log, state: auction.state }
}

/// The command that a step comes to here, or none when it only moves the clock.
fn command(step: &Step, auction: &mut Auction, model: &Model) -> Option<Command> {
    let now = auction.now;
    let expected_seq = |seen| match seen {
        Seen::Nothing => None,
        Seen::Now => Some(model.seq),
        Seen::Stale => Some(model.seq - 1),
    };
    Some(match step {
        Step::Pass(moment) => {
            auction.now = now.max(at(*moment, auction));
            return None;
        }
        Step::Open => Command::Open,
        Step::Close => Command::Close,
        Step::Bid { who, offer, exact, confirmed, seen, lag_ms } => {
            let offered = near_amount(*offer, model);
            Command::PlaceBid(PlaceBid {
                expected_seq: expected_seq(*seen),
                confirm_amount: confirmed.then_some(offered),
                ..bid_at(
                    user(*who),
                    if *exact { Offer::Exact(offered) } else { Offer::Ceiling(offered) },
                    now.plus_ms(-lag_ms),
                )
            })
        }
        Step::BuyNow { who, seen_price, lag_ms } => Command::BuyNow(BuyNow {
            buyer: user(*who),
            expected_price: seen_price.and_then(|right| {
                if right { auction.state.terms.buy_now_price } else { Some(won(1)) }
            }),
            received_at: now.plus_ms(-lag_ms),
        }),
        Step::Retract { who, of, back, lag_ms } => Command::RetractBid(RetractBid {
            bidder: user(*who),
            bid_seq: model.last_bid_of(user(*of), *back).unwrap_or(1),
            reason: String::new(),
            received_at: now.plus_ms(-lag_ms),
        }),
        Step::Edit { who, terms, seen } => Command::Edit(Box::new(Edit {
            by: user(*who),
            expected_seq: expected_seq(*seen),
            item: item(),
            terms: (**terms).clone(),
            reserve_salt: [0; 16],
        })),
        Step::Withdraw { who, seen } => {
            Command::Withdraw(Withdraw { by: user(*who), expected_seq: expected_seq(*seen) })
        }
        Step::Cancel { seen } => {
            Command::CancelByOperator(CancelByOperator { expected_seq: expected_seq(*seen) })
        }
    })
}

fn at(moment: Moment, auction: &Auction) -> Timestamp {
    let (terms, ends_at) = (&auction.state.terms, auction.state.ends_at);
    match moment {
        Moment::By(ms) => auction.now.plus_ms(ms),
        Moment::Start(ms) => terms.starts_at.plus_ms(ms),
        Moment::End(ms) => ends_at.plus_ms(ms),
        Moment::WindowBeforeEnd(ms) => {
            let window_s = terms.soft_close.map_or(60, |soft| i64::from(soft.trigger_window_s));
            ends_at.plus_s(-window_s).plus_ms(ms)
        }
        Moment::TwelveHoursBeforeEnd(ms) => ends_at.plus_s(-12 * HOUR_S).plus_ms(ms),
        Moment::AnHourLater(ms) => auction
            .state
            .bids
            .last()
            .map_or(auction.now, |bid| bid.received_at.plus_s(HOUR_S).plus_ms(ms)),
    }
}

fn near_amount(near: Near, model: &Model) -> Amount {
    match near {
        Near::Free(minor_units) => won(minor_units),
        Near::Landmark(landmark, off) => {
            amount((model.landmark(landmark) + i128::from(off)).max(1))
        }
    }
}

fn is_retraction(turn: &Turn) -> bool {
    matches!(turn.command, Command::RetractBid(_))
}

/// Numbers within the auction are the domain's own affair: results are compared by user.
fn by_user(closed: &Closed) -> (ResultKind, [Option<(UserId, Amount)>; 2]) {
    let winner = closed.winner.map(|winner| (winner.user, winner.price));
    let second = closed.runner_up.map(|second| (second.user, second.highest_bid));
    (closed.result, [winner, second])
}

fn closings(log: &[Event]) -> Vec<&Closed> {
    log.iter()
        .filter_map(|event| if let Event::Closed(c) = event { Some(c) } else { None })
        .collect()
}

fn phase(status: Status) -> Phase {
    match status {
        Status::Scheduled => Phase::Scheduled,
        Status::Live => Phase::Live,
        Status::Ended(result) => Phase::Over(result),
        Status::Cancelled => Phase::CalledOff,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_price_never_falls_except_by_a_retraction(story in any_story()) {
        for turn in tell(story).turns {
            // Before the start there is no price yet, only terms that the seller may change.
            if turn.before.status == Status::Live && !is_retraction(&turn) {
                let (before, after) = (turn.before.standing.price, turn.after.standing.price);
                prop_assert!(after >= before, "{:?}: {} to {}", turn.command, before, after);
            }
        }
    }

    #[test]
    fn the_leader_is_the_highest_ceiling_and_the_earliest_among_equals(story in any_story()) {
        for turn in tell(story).turns {
            let state = turn.after;
            if matches!(state.status, Status::Ended(ResultKind::BoughtNow)) {
                continue;
            }
            let standing: Vec<_> = state.standing_bids().collect();
            let most = standing.iter().map(|bid| bid.offer.limit()).max();
            let first = standing.iter().find(|bid| Some(bid.offer.limit()) == most);
            let expected = first.map(|bid| (bid.bidder, bid.offer.limit()));
            let leader = state.standing.leader.map(|leader| (leader.bidder, leader.ceiling));
            prop_assert_eq!(leader, expected, "after {:?}", turn.command);
        }
    }

    #[test]
    fn the_price_lies_between_the_opening_price_and_the_leaders_ceiling(story in any_story()) {
        for turn in tell(story).turns {
            let (standing, terms) = (turn.after.standing, &turn.after.terms);
            prop_assert!(standing.price >= terms.opening_price);
            prop_assert!(standing.price <= terms.cap);
            prop_assert!(standing.leader.is_none_or(|leader| standing.price <= leader.ceiling));
        }
    }

    #[test]
    fn the_log_replayed_is_the_live_state(story in any_story()) {
        let story = tell(story);
        prop_assert_eq!(State::replay(&story.log), Some(story.state));
    }

    #[test]
    fn a_state_rewound_is_the_state_at_its_mark(story in any_story()) {
        let log = tell(story).log;
        for from in 1..log.len() {
            let at_mark = State::replay(&log[..from]).expect("a log begins with its first event");
            let (mut mark, mut state) = (at_mark.mark(), at_mark.clone());
            for event in &log[from..] {
                state.evolve_since(&mut mark, event);
                let mut back = state.clone();
                back.rewind(mark.clone());
                prop_assert_eq!(&back, &at_mark, "after {:?}", event);
            }
        }
    }

    #[test]
    fn a_snapshot_and_the_events_after_it_are_the_whole_log(story in any_story(), at in any::<proptest::sample::Index>()) {
        let story = tell(story);
        let split = 1 + at.index(story.log.len());
        let state = State::replay(&story.log[..split]).expect("a log begins with its first event");
        let bytes = auction_form::encode(&state).expect("encoded");
        let mut restored = auction_form::decode(&bytes).expect("decoded");
        prop_assert_eq!(&restored, &state);
        for event in &story.log[split..] {
            restored.evolve(event);
        }
        prop_assert_eq!(restored, story.state);
    }

    #[test]
    fn bytes_that_are_no_state_are_an_error_and_never_a_panic(story in any_story(), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = auction_form::encode(&tell(story).state).expect("encoded");
        let cut = at.index(bytes.len());
        prop_assert!(auction_form::decode(&bytes[..cut]).is_err());
        bytes[cut] = byte;
        let _ = auction_form::decode(&bytes);
        bytes.push(0);
        let _ = auction_form::decode(&bytes);
    }

    #[test]
    fn the_naive_model_agrees_on_every_answer_and_everything_seen(story in any_story()) {
        for turn in tell(story).turns {
            let Turn { command, answer, after, model_answer, model, .. } = turn;
            prop_assert_eq!(answer.map(drop), model_answer, "to {:?}", command);
            let standing = after.standing;
            let leader = standing.leader.and_then(|leader| {
                after.user(leader.bidder).map(|user| (user, leader.ceiling))
            });
            prop_assert_eq!(standing.price, model.price(), "price after {:?}", command);
            prop_assert_eq!(leader, model.leader(), "leader after {:?}", command);
            prop_assert_eq!(after.minimum_next_bid(), model.minimum(), "after {:?}", command);
            prop_assert_eq!(after.bid_count as usize, model.bid_count());
            prop_assert_eq!(standing.reserve_met, model.reserve_met(), "after {:?}", command);
            prop_assert_eq!(after.ends_at.as_millis(), model.ends_at, "after {:?}", command);
            prop_assert_eq!(after.seq, model.seq, "after {:?}", command);
            prop_assert_eq!(phase(after.status), model.phase, "after {:?}", command);
            if matches!(after.status, Status::Scheduled | Status::Live) {
                prop_assert_eq!(after.buy_now_stands, model.buy_now_stands(), "{:?}", command);
            }
        }
    }

    #[test]
    fn an_auction_is_closed_exactly_once_with_the_result_of_the_model(story in any_story()) {
        let story = tell(story);
        let model = &story.turns.last().expect("the clock had its way").model;
        let closings = closings(&story.log);
        if story.state.status == Status::Cancelled {
            prop_assert!(closings.is_empty(), "what was called off never opened");
        } else {
            prop_assert_eq!((closings.len(), model.closes), (1, 1));
            let expected = model.closed.as_ref().map(by_user);
            prop_assert_eq!(closings.first().map(|closed| by_user(closed)), expected);
        }
    }

    #[test]
    fn nothing_is_decided_after_the_close(story in any_story()) {
        let story = tell(story);
        let over = |state: &State| matches!(state.status, Status::Ended(_) | Status::Cancelled);
        for turn in story.turns.iter().filter(|turn| over(&turn.before)) {
            prop_assert!(turn.answer.is_err(), "{:?}", turn.command);
        }
        let end = story.log.iter().position(|e| matches!(e, Event::Closed(_) | Event::Withdrawn));
        prop_assert_eq!(end, Some(story.log.len() - 1), "the close is the last event");
    }

    #[test]
    fn the_end_never_comes_nearer_nor_passes_its_bound(story in any_story()) {
        for turn in tell(story).turns {
            if turn.before.status == Status::Live {
                prop_assert!(turn.after.ends_at >= turn.before.ends_at);
                prop_assert!(turn.after.ends_at <= turn.after.terms.last_end());
            }
            if turn.answer.is_err() {
                prop_assert_eq!(turn.before, turn.after, "a refused command changes nothing");
            }
        }
    }
}
