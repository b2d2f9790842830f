//! The form of snapshots: what an older Hoga wrote is read as it was meant, or not at all.

use hoga::{
    domain::auction::{SoftClose, SoftCloseMode, Terms},
    exchange::state_form::{FORMAT, decode, encode},
};

use crate::house::*;

/// What format 1 makes of the auction below.
const FORMAT_1: &str = "";

#[test]
fn a_state_is_written_otherwise_only_in_another_format() {
    let soft_close = SoftClose {
        trigger_window_s: 60,
        extension_s: 30,
        mode: SoftCloseMode::Reset,
        max_ends_at: ENDS_AT.plus_s(3_600),
    };
    let mut auction = Auction::live(Terms {
        reserve_price: Some(won(3_000)),
        bids_per_bidder_max: Some(9),
        soft_close: Some(soft_close),
        ..terms()
    });
    auction.takes(MINA, ceiling(2_000));
    let slip = auction.takes(JUNHO, exact(2_500));
    auction.retract(JUNHO, slip).expect("just now");
    auction.takes(JUNHO, ceiling(4_000));
    auction.at(ENDS_AT).closes();
    let bytes = encode(&auction.state).expect("encoded");
    assert_eq!((FORMAT, const_hex::encode(&bytes).as_str()), (1, FORMAT_1));
    assert_eq!(decode(&bytes).expect("decoded"), auction.state);
}
