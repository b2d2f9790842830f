//! The form of snapshots: what an older Hoga wrote is read as it was meant, or not at all.

use hoga::{
    domain::auction::{SoftClose, SoftCloseMode, Terms},
    exchange::kinds::auction_form::{FORMAT, decode, encode},
};

use super::house::*;

/// What format 1 makes of the auction below.
const FORMAT_1: &str = "\
    100000000000000000000000000000000100d00f1b7b226b696e64223a226669786564222c2273746570\
    223a3130307d01f02e00010980c0a8ca9a3a80c0b5eec5688090cee5c768011e80ca85e9c768013c0300\
    078090cee5c768f02e0102c03e01000200010001100000000000000000000000000000000302f02e0110\
    0000000000000000000000000000000201a01f0302030101a01f80c0b5eec56800040200882780c0b5ee\
    c56801060201c03e80c0b5eec56800100000000000000000000000000000000201010101a01f10000000\
    0000000000000000000000000302020101c03e\
    ";

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
