//! What is pushed: a notification as JSON, with words for a lock screen.
//!
//! In the inbox the words are the frontend's. A service worker that is woken has no frontend yet and
//! must show something at once, so a push brings words along, in the language of its browser. It
//! holds nothing private and no URL: where a click leads is the frontend's business.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    domain::{
        id::AuctionId,
        money::{Currency, Money},
        time::Timestamp,
    },
    notify::Kind,
    store::PushContent,
};

/// Bytes of a payload. Some push services take no more than some 3,000 bytes of text.
pub const PAYLOAD_BYTES_MAX: usize = 3_000;
/// Characters of an auction's title in it.
const TITLE_CHARS_MAX: usize = 120;
/// Asia/Seoul is so far ahead of UTC, in seconds, all year.
const SEOUL_AHEAD_S: i64 = 9 * 3_600;

/// In which language a browser is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    English,
    Korean,
}

#[derive(Serialize)]
struct Payload<'a> {
    id: i64,
    kind: &'a str,
    subject_id: Uuid,
    auction_id: Option<AuctionId>,
    data: &'a RawValue,
    at: Timestamp,
    lang: &'a str,
    title: &'a str,
    body: &'a str,
}

/// What words are made of.
#[derive(Default, Deserialize)]
struct Data {
    price: Option<Money>,
    starts_at: Option<Timestamp>,
    ends_at: Option<Timestamp>,
    status: Option<String>,
}

/// The payload of a notification; none where its kind is not known, or it does not fit.
pub(super) fn of(notification: i64, content: &PushContent) -> Option<String> {
    let kind = Kind::from_word(&content.kind)?;
    let language = match content.language.as_str() {
        "ko" => Language::Korean,
        _ => Language::English,
    };
    let data: Data = serde_json::from_str(&content.data).unwrap_or_default();
    let title = headline(kind, &data, language);
    let body = body(kind, &data, content.title.as_deref(), language);
    let payload = Payload {
        id: notification,
        kind: kind.word(),
        subject_id: content.subject,
        auction_id: content.title.as_ref().map(|_| AuctionId(content.subject)),
        data: serde_json::from_str(&content.data).ok()?,
        at: content.at,
        lang: &content.language,
        title,
        body: &body,
    };
    serde_json::to_string(&payload).ok().filter(|payload| payload.len() <= PAYLOAD_BYTES_MAX)
}

fn headline(kind: Kind, data: &Data, language: Language) -> &'static str {
    let (english, korean) = match kind {
        Kind::Outbid => ("You have been outbid", "더 높은 입찰이 들어왔습니다"),
        Kind::LeadingAgain => ("You lead again", "다시 최고 입찰자가 되었습니다"),
        Kind::BidRetracted => ("A bid was retracted", "입찰이 취소되었습니다"),
        Kind::HighestBidChanged => ("The highest bid has changed", "최고 입찰가가 바뀌었습니다"),
        Kind::OpeningSoon => ("Opening soon", "곧 경매가 시작됩니다"),
        Kind::EndingSoon => ("Ending soon", "곧 경매가 끝납니다"),
        Kind::Extended => ("The end was extended", "마감 시각이 연장되었습니다"),
        Kind::Won => ("You won", "낙찰되었습니다"),
        Kind::Lost => ("Somebody else won", "낙찰받지 못했습니다"),
        Kind::Sold => ("Sold", "판매되었습니다"),
        Kind::Unsold => ("Not sold", "유찰되었습니다"),
        Kind::OrderDue => ("A purchase is to be paid", "결제할 주문이 있습니다"),
        Kind::OrderOverdue => ("A purchase is overdue", "결제 기한이 지났습니다"),
        Kind::Payment => ("A payment has come", "결제가 완료되었습니다"),
        Kind::Refund => ("A payment goes back", "환불이 진행됩니다"),
        Kind::KeywordAlert => ("Newly listed", "알림에 맞는 경매가 등록되었습니다"),
        Kind::SellerApplicationDecided if data.status.as_deref() == Some("approved") => {
            ("Your seller application was approved", "판매자 신청이 승인되었습니다")
        }
        Kind::SellerApplicationDecided => {
            ("Your seller application was refused", "판매자 신청이 거절되었습니다")
        }
    };
    match language {
        Language::English => english,
        Language::Korean => korean,
    }
}

/// The title of the auction, then what stands.
fn body(kind: Kind, data: &Data, title: Option<&str>, language: Language) -> String {
    let price = data.price.map(|price| money(price, language));
    let opens = data.starts_at.map(|at| match language {
        Language::English => format!("opens {}", seoul(at, language)),
        Language::Korean => format!("{} 시작", seoul(at, language)),
    });
    let ends = data.ends_at.map(|at| match language {
        Language::English => format!("ends {}", seoul(at, language)),
        Language::Korean => format!("{} 마감", seoul(at, language)),
    });
    let time = match kind {
        Kind::OpeningSoon | Kind::KeywordAlert => opens,
        Kind::Outbid
        | Kind::LeadingAgain
        | Kind::BidRetracted
        | Kind::EndingSoon
        | Kind::Extended => ends,
        Kind::HighestBidChanged
        | Kind::Won
        | Kind::Lost
        | Kind::Sold
        | Kind::Unsold
        | Kind::OrderDue
        | Kind::OrderOverdue
        | Kind::Payment
        | Kind::Refund
        | Kind::SellerApplicationDecided => None,
    };
    let parts = [title.map(shortened), price, time];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn shortened(title: &str) -> String {
    if title.chars().count() <= TITLE_CHARS_MAX {
        return title.to_owned();
    }
    title.chars().take(TITLE_CHARS_MAX - 1).chain(['…']).collect()
}

/// `15,000원`, `KRW 15,000`, `USD 12.50`
fn money(money: Money, language: Language) -> String {
    let minor = money.amount.minor_units();
    match (money.currency, language) {
        (Currency::Krw, Language::Korean) => format!("{}원", grouped(minor)),
        (Currency::Krw, Language::English) => format!("KRW {}", grouped(minor)),
        (Currency::Usd, _) => format!("USD {}.{:02}", grouped(minor / 100), minor % 100),
    }
}

fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (no, digit) in digits.chars().enumerate() {
        if no > 0 && (digits.len() - no).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12-01 18:00 KST`, `12월 1일 18:00`
fn seoul(at: Timestamp, language: Language) -> String {
    let text = at.plus_s(SEOUL_AHEAD_S).to_string();
    let (month, day, time) = (&text[5..7], &text[8..10], &text[11..16]);
    match language {
        Language::English => format!("{month}-{day} {time} KST"),
        Language::Korean => {
            format!("{}월 {}일 {time}", month.trim_start_matches('0'), day.trim_start_matches('0'))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn content(kind: Kind, language: &str, data: &str, title: Option<&str>) -> PushContent {
        PushContent {
            endpoint: "https://push.example.com/secret".to_owned(),
            p256dh: Vec::new(),
            auth: Vec::new(),
            language: language.to_owned(),
            kind: kind.word().to_owned(),
            subject: Uuid::from_u128(7),
            data: data.to_owned(),
            at: Timestamp::from_millis(1_800_000_000_000),
            title: title.map(str::to_owned),
        }
    }

    fn payload(content: &PushContent) -> Value {
        serde_json::from_str(&of(42, content).expect("it fits")).expect("JSON")
    }

    const OUTBID: &str = r#"{"price":{"amount":15000,"currency":"KRW"},"bid_count":3,"ends_at":"2026-12-01T09:00:00.000Z"}"#;

    #[test]
    fn a_push_says_what_happened_in_the_language_of_its_browser() {
        let korean = payload(&content(Kind::Outbid, "ko", OUTBID, Some("달항아리")));
        assert_eq!(korean["title"], "더 높은 입찰이 들어왔습니다");
        assert_eq!(korean["body"], "달항아리 · 15,000원 · 12월 1일 18:00 마감");
        let english = payload(&content(Kind::Outbid, "en", OUTBID, Some("A jar")));
        assert_eq!(english["title"], "You have been outbid");
        assert_eq!(english["body"], "A jar · KRW 15,000 · ends 12-01 18:00 KST");
        assert_eq!((&english["id"], &english["kind"]), (&json!(42), &json!("outbid")));
        assert_eq!(english["auction_id"], json!(Uuid::from_u128(7)));
        assert_eq!(english["data"], serde_json::from_str::<Value>(OUTBID).unwrap());
        assert!(!english.to_string().contains("https:"));
    }

    #[test]
    fn cents_are_cents() {
        let data = r#"{"price":{"amount":123456705,"currency":"USD"}}"#;
        let won = payload(&content(Kind::Won, "ko", data, Some("x")));
        assert_eq!(won["body"], "x · USD 1,234,567.05");
    }

    #[test]
    fn what_is_about_no_auction_has_none() {
        for (status, title) in [("approved", "approved"), ("refused", "refused")] {
            let data = format!(r#"{{"status":"{status}"}}"#);
            let told = payload(&content(Kind::SellerApplicationDecided, "en", &data, None));
            assert_eq!((&told["auction_id"], &told["body"]), (&Value::Null, &json!("")));
            assert!(told["title"].as_str().unwrap().ends_with(title));
        }
    }

    #[test]
    fn the_longest_notification_fits() {
        let longest = "\u{1f3fa}".repeat(200);
        for kind in Kind::ALL {
            for language in ["en", "ko"] {
                let payload = of(i64::MAX, &content(kind, language, OUTBID, Some(&longest)));
                assert!(payload.expect("it fits").len() < PAYLOAD_BYTES_MAX / 2, "{kind:?}");
            }
        }
    }
}
