//! `/`: what this server is and what is on sale, for whoever opens its address in a browser; and
//! where to go on, for a program.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use maud::{Markup, html};
use serde_json::json;

use super::{Frame, language, write_page_headers};
use crate::{
    domain::{auction::Phase, money::Currency, time::Timestamp},
    http::{State, kit::problem::Language},
    store::{AuctionRow, Filter, Sort},
    wall_clock,
};

/// Auctions on the page: those that end soonest.
const SHOWN_MAX: i64 = 24;
/// The page is as old as this at most, however many look at it.
const KEPT: Duration = Duration::from_secs(1);
/// Korea's clock is so far ahead of UTC.
const SEOUL_S: i64 = 9 * 3_600;

/// What was on sale a moment ago. Whoever finds it too old reads it again, one at a time.
#[derive(Default)]
pub(super) struct Home {
    live: tokio::sync::Mutex<Option<(Instant, Live)>>,
}

/// `None` where it cannot be read at present.
type Live = Option<Arc<[AuctionRow]>>;

impl Home {
    async fn live(&self, state: &State) -> Live {
        let mut kept = self.live.lock().await;
        if let Some((_, live)) = kept.as_ref().filter(|(read_at, _)| read_at.elapsed() < KEPT) {
            return live.clone();
        }
        let filter = Filter { status: Some(Phase::Live), ..Filter::default() };
        let read = state.store.auctions(&filter, Sort::EndingSoon, None, SHOWN_MAX).await;
        let live: Live = read.ok().map(Into::into);
        *kept = Some((Instant::now(), live.clone()));
        live
    }
}

/// A page to those who ask for one, and a few links to everybody else.
pub(super) async fn get_home(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let accepted = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if !accepted.is_some_and(|accepted| accepted.contains("text/html")) {
        return HttpResponse::Ok()
            .insert_header((header::VARY, "Accept, Accept-Language"))
            .insert_header((header::CACHE_CONTROL, "public, max-age=60"))
            .json(links(state.public_url()));
    }
    let language = language(&request);
    let live = state.pages.home.live(&state).await;
    let mut answer = HttpResponse::Ok();
    write_page_headers(&mut answer);
    answer
        .content_type("text/html; charset=utf-8")
        .insert_header((header::VARY, "Accept, Accept-Language"))
        .insert_header((header::CONTENT_LANGUAGE, language.tag()))
        .insert_header((header::CACHE_CONTROL, "public, max-age=1"))
        .body(page(language, live.as_deref(), state.has_demo_login, wall_clock::now()))
}

fn links(url: &str) -> serde_json::Value {
    json!({
        "name": "Hoga",
        "version": env!("CARGO_PKG_VERSION"),
        "links": {
            "auctions": format!("{url}/v1/auctions?status=live&sort=ending_soon"),
            "docs": format!("{url}/docs"),
            "openapi": format!("{url}/openapi.json"),
            "authorization_server": format!("{url}/.well-known/oauth-authorization-server"),
            "readiness": format!("{url}/readyz"),
        }
    })
}

fn page(language: Language, live: Option<&[AuctionRow]>, is_demo: bool, now: Timestamp) -> String {
    let say = |en, ko| language.say(en, ko);
    let title = say("Hoga, an auction exchange", "Hoga, 경매 거래소");
    let content = html! {
        @if is_demo {
            div class="notice" {
                div class="wide" {
                    (say(
                        "This is a demo: anybody can log in as anybody, and nothing is for sale in earnest.",
                        "데모입니다. 누구나 아무 사용자로 로그인할 수 있으며 실제로 판매하지 않습니다."
                    ))
                }
            }
        }
        main class="wide" {
            div class="lead" {
                h1 { (title) }
                p {
                    (say(
                        "Other people's frontends are built on it, over an open API. Bids are decided one by one, and are on disk before anybody hears the answer.",
                        "공개 API 위에 누구나 프런트엔드를 만들 수 있습니다. 입찰은 하나씩 차례로 결정되며, 디스크에 기록된 뒤에야 응답이 나갑니다."
                    ))
                }
                a class="button" href={ "/docs?lang=" (language.tag()) } { (say("Read the API", "API 문서 보기")) }
            }
            section {
                h2 { (say("On sale now", "진행 중인 경매")) }
                (auctions(language, live, now))
            }
        }
        footer {
            div class="wide" {
                "Hoga " (env!("CARGO_PKG_VERSION")) " · "
                a href="/openapi.json" { "OpenAPI" } " · "
                a href="/.well-known/oauth-authorization-server" { "OAuth 2.0" } " · "
                (say("as of ", "기준 시각 ")) (clock(language, now))
            }
        }
    };
    Frame { language, title, path: "/", script: None }.around(&content)
}

fn auctions(language: Language, live: Option<&[AuctionRow]>, now: Timestamp) -> Markup {
    let say = |en, ko| language.say(en, ko);
    html! {
        @match live {
            None => p class="muted" {
                (say("This cannot be read at present. Try again in a moment.", "지금은 불러올 수 없습니다. 잠시 뒤에 다시 시도하세요."))
            },
            Some([]) => p class="muted" {
                (say("Nothing at present. What opens next is at ", "지금은 없습니다. 곧 시작할 경매: "))
                a href="/v1/auctions?status=scheduled&sort=opening_soon" { "/v1/auctions?status=scheduled" }
            },
            Some(live) => ul class="cards" {
                @for row in live { li class="card" { (card(language, row, now)) } }
            },
        }
    }
}

fn card(language: Language, row: &AuctionRow, now: Timestamp) -> Markup {
    let say = |en, ko| language.say(en, ko);
    let (id, standing) = (row.id, &row.standing);
    html! {
        h3 { (row.title) }
        p class="price" { (price(row.currency, standing.price.minor_units())) }
        p class="caption" {
            (bids(language, standing.bid_count)) " · "
            time datetime=(standing.ends_at) { (ends(language, standing.ends_at, now)) }
        }
        p class="links" {
            a href={ "/v1/auctions/" (id) } { "JSON" }
            a href={ "/v1/auctions/" (id) "/events" } { (say("Live stream", "실시간 스트림")) }
        }
    }
}

fn bids(language: Language, count: i32) -> String {
    match (language, count) {
        (Language::English, 1) => "1 bid".to_owned(),
        (Language::English, count) => format!("{count} bids"),
        (Language::Korean, count) => format!("입찰 {count}건"),
    }
}

/// `₩45,600`, `$1,234.50`
fn price(currency: Currency, minor_units: i64) -> String {
    match currency {
        Currency::Krw => format!("₩{}", grouped(minor_units)),
        Currency::Usd => format!("${}.{:02}", grouped(minor_units / 100), minor_units % 100),
    }
}

/// With commas between thousands.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How long from now, in the largest unit that says it.
fn ends(language: Language, at: Timestamp, now: Timestamp) -> String {
    let left_s = at.ms_since(now) / 1_000;
    let (count, en, ko) = match left_s {
        ..60 => {
            return language.say("ends within a minute", "1분 안에 종료").to_owned();
        }
        60..7_200 => (left_s / 60, "min", "분"),
        7_200..172_800 => (left_s / 3_600, "h", "시간"),
        172_800.. => (left_s / 86_400, "days", "일"),
    };
    match language {
        Language::English => format!("ends in {count} {en}"),
        Language::Korean => format!("{count}{ko} 뒤 종료"),
    }
}

/// The time of day, where readers of the language mostly are.
fn clock(language: Language, at: Timestamp) -> String {
    let time = |at: Timestamp| at.to_string().get(11..19).unwrap_or_default().to_owned();
    match language {
        Language::English => format!("{} UTC", time(at)),
        Language::Korean => format!("{} (한국 시간)", time(at.plus_s(SEOUL_S))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_stand_as_people_write_them() {
        assert_eq!(price(Currency::Krw, 900), "₩900");
        assert_eq!(price(Currency::Krw, 1_234_567), "₩1,234,567");
        assert_eq!(price(Currency::Usd, 123_405), "$1,234.05");
    }

    #[test]
    fn the_end_is_told_in_the_largest_unit_that_says_it() {
        let now = Timestamp::EPOCH;
        let told = |language, s| ends(language, now.plus_s(s), now);
        assert_eq!(told(Language::Korean, 59), "1분 안에 종료");
        assert_eq!(told(Language::Korean, 60), "1분 뒤 종료");
        assert_eq!(told(Language::English, 7_199), "ends in 119 min");
        assert_eq!(told(Language::English, 7_200), "ends in 2 h");
        assert_eq!(told(Language::Korean, 172_800), "2일 뒤 종료");
        assert_eq!(told(Language::English, -5), "ends within a minute");
        assert_eq!(clock(Language::Korean, now), "09:00:00 (한국 시간)");
    }
}
