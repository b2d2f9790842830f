//! Lists of auctions: whatever is asked for is found by an index, and however many ask, nobody else
//! waits for them.

use futures_util::future::join_all;
use hoga::{
    domain::{
        auction::Phase,
        id::{AuctionId, UserId},
        money::Amount,
    },
    store::{ConnectionsMax, DatabaseError, Filter, Page, Sort, Store},
};
use serde_json::{Value, json};
use tokio_postgres::NoTls;
use uuid::Uuid;

use crate::support::{
    TestServer, an_auction, callers::Anonymous, database::Database, eventually, logs, with,
};

/// Auctions in the tables that lists are made of.
const AUCTIONS: u64 = 50_000;
/// Rows that a page of twenty may touch: of each state as many as a page has, what belongs to those
/// that are answered, and the live ones of one class of prices.
const TOUCHED_MAX: f64 = 2_000.0;

/// Most belong to one house and to one of twenty categories; a few are rare. A sixth is live, half of
/// those have bids; many have the same price.
const FILL: &str = "
    INSERT INTO users (id, name, nickname, roles)
    SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'seller ' || n, 'seller', '{}'
    FROM generate_series(0, 99) n;
    CREATE TEMP TABLE made AS
    SELECT n, ('01900000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id,
           CASE WHEN n % 10000 = 9 THEN 'rare' ELSE 'c' || n % 20 END AS category,
           ('00000000-0000-7000-8000-' || lpad((CASE WHEN n % 5 = 0 THEN n / 5 % 99 + 1 ELSE 0 END)::text, 12, '0'))::uuid
               AS seller_id,
           CASE WHEN n % 3 = 1 THEN 10000 ELSE 10000 + (n * 7919::int8) % 9000000 END AS price,
           CASE WHEN n % 6 = 0 THEN 'live' WHEN n % 25 = 1 THEN 'scheduled'
                WHEN n % 100 = 2 THEN 'cancelled' ELSE 'ended' END AS status,
           timestamptz '2026-01-01 00:00:00Z' + (n * 104729::int8) % 8000000 * interval '1 s' AS starts_at
    FROM generate_series(1, 50000) n;
    INSERT INTO auctions (id, seller_id, title, description, category, image_keys, attributes, currency,
        opening_price, increment, cap, starts_at, created_at)
    SELECT id, seller_id,
           CASE WHEN n % 9999 = 0 THEN '나전칠기 함 ' ELSE '백자 달항아리 ' END || n || CASE WHEN n % 12500 = 3 THEN ' zz' ELSE '' END,
           '', category, '[]', '{}', 'KRW', price, '{}', 1000000000000, starts_at, starts_at
    FROM made;
    INSERT INTO standings (auction_id, status, price, minimum_next_bid, bid_count, reserve_met,
        buy_now_stands, ends_at, starts_at, seq, head_hash, category, seller_id)
    SELECT id, status, price, price, CASE WHEN status = 'live' AND n % 12 = 0 THEN 1 ELSE 0 END, false,
           false, starts_at + n % 1000 * interval '1 h', starts_at, 1, '', category, seller_id
    FROM made;
    ANALYZE auctions; ANALYZE standings; ANALYZE users";

const HOUSE: u128 = 0x0000_0000_0000_7000_8000_0000_0000_0000;

fn amount(minor: i64) -> Option<Amount> {
    Some(Amount::new(minor).unwrap())
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Every node of a plan.
fn nodes<'a>(plan: &'a Value, all: &mut Vec<&'a Value>) {
    all.push(plan);
    for child in plan["Plans"].as_array().into_iter().flatten() {
        nodes(child, all);
    }
}

/// Rows that the scans of a plan touched, and which tables were read from end to end.
fn touched(explained: &str) -> (f64, Vec<String>) {
    let plan: Value = serde_json::from_str(explained).unwrap();
    let mut all = Vec::new();
    nodes(&plan[0]["Plan"], &mut all);
    let (mut rows, mut whole) = (0.0, Vec::new());
    for node in all {
        let kind = node["Node Type"].as_str().unwrap();
        if !kind.contains("Scan") || kind.starts_with("CTE") || kind.starts_with("Subquery") {
            continue;
        }
        let per_loop: f64 =
            ["Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck"]
                .iter()
                .map(|field| node[*field].as_f64().unwrap_or(0.0))
                .sum();
        rows += per_loop * node["Actual Loops"].as_f64().unwrap_or(1.0);
        let table = node["Relation Name"].as_str().unwrap_or_default();
        if kind == "Seq Scan" && ["auctions", "standings"].contains(&table) {
            whole.push(table.to_owned());
        }
    }
    (rows, whole)
}

const SORTS: [Sort; 5] =
    [Sort::Newest, Sort::EndingSoon, Sort::OpeningSoon, Sort::PriceAsc, Sort::PriceDesc];

/// Deep in: in the middle of the orders.
fn middle(sort: Sort) -> Page {
    let id = AuctionId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_61a8));
    let key = match sort {
        Sort::Newest => 0,
        Sort::EndingSoon | Sort::OpeningSoon => 1_771_200_000_000,
        Sort::PriceAsc | Sort::PriceDesc => 2_000_000,
    };
    Page { key, id }
}

async fn filled() -> Database {
    let database = Database::create();
    database.rows(FILL).await;
    assert_eq!(database.number("SELECT count(*) FROM auctions").await, AUCTIONS as i64);
    database.rows("VACUUM auctions").await;
    database
}

#[tokio::test]
async fn every_list_is_found_by_an_index_however_many_auctions_there_are() {
    let database = filled().await;
    let store = Store::new(database.config().clone()).unwrap();
    let filter = Filter::default;
    let sellers = [HOUSE, HOUSE + 7].map(|seller| Some(UserId(Uuid::from_u128(seller))));
    let filters = [
        filter(),
        Filter { category: text("c4"), ..filter() },
        Filter { category: text("rare"), ..filter() },
        Filter { category: text("none"), ..filter() },
        Filter { seller: sellers[0], ..filter() },
        Filter { seller: sellers[1], ..filter() },
        Filter { q: text("칠기"), ..filter() },
        Filter { q: text("달항"), ..filter() },
        Filter { q: text("zz"), ..filter() },
        Filter { q: text("백"), ..filter() },
        Filter { q: text("nothing"), category: text("c4"), ..filter() },
        Filter {
            category: text("c4"),
            min_price: amount(5_000_000),
            max_price: amount(5_050_000),
            ..filter()
        },
        Filter { min_price: amount(8_000_000), ..filter() },
        Filter { category: text("rare"), max_price: amount(20_000), ..filter() },
    ];
    let mut wrong = Vec::new();
    for filter in &filters {
        for status in [None, Some(Phase::Live), Some(Phase::Ended), Some(Phase::Scheduled)] {
            for sort in SORTS {
                for after in [None, Some(middle(sort))] {
                    let filter = Filter { status, ..filter.clone() };
                    let plan = store.auctions_explained(&filter, sort, after, 21).await.unwrap();
                    let (rows, whole) = touched(&plan);
                    if rows > TOUCHED_MAX || !whole.is_empty() {
                        wrong.push(format!(
                            "{rows} rows, whole {whole:?}: {filter:?} {sort:?} {after:?}"
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} lists: {}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn pages_follow_one_another_in_every_order_whatever_the_state_and_the_bids() {
    let database = filled().await;
    let store = Store::new(database.config().clone()).unwrap();
    let of_price = |sort| match sort {
        Sort::Newest => "auction_id DESC",
        Sort::EndingSoon => "ends_at, auction_id",
        Sort::OpeningSoon => "starts_at, auction_id",
        Sort::PriceAsc => "price, auction_id",
        Sort::PriceDesc => "price DESC, auction_id DESC",
    };
    let seller = UserId(Uuid::from_u128(HOUSE + 7));
    let filter = Filter { seller: Some(seller), min_price: amount(9_000), ..Filter::default() };
    for sort in SORTS {
        let order = of_price(sort);
        let sql = format!(
            "SELECT auction_id FROM standings WHERE seller_id = '{seller}' ORDER BY {order}"
        );
        let expected: Vec<String> = database.rows(&sql).await.into_iter().flatten().collect();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.auctions(&filter, sort, after, 17).await.unwrap();
            let Some(last) = page.last() else { break };
            let key = match sort {
                Sort::Newest => 0,
                Sort::EndingSoon => last.standing.ends_at.as_millis(),
                Sort::OpeningSoon => last.starts_at.as_millis(),
                Sort::PriceAsc | Sort::PriceDesc => last.standing.price.minor_units(),
            };
            after = Some(Page { key, id: last.id });
            seen.extend(page.iter().map(|row| row.id.to_string()));
        }
        assert!(seen.len() > 90, "{}", seen.len());
        assert_eq!(seen, expected, "{sort:?}");
    }
}

async fn titles(anyone: &Anonymous, q: &str) -> Vec<String> {
    let q: String = url::form_urlencoded::byte_serialize(q.as_bytes()).collect();
    let page = anyone.get(&format!("/v1/auctions?sort=price_asc&q={q}")).await.with_status(200);
    let items = page["items"].as_array().unwrap().iter();
    items.map(|item| item["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn short_words_are_found_where_a_word_begins_and_two_syllables_anywhere() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    for (n, title) in ["나전칠기 함", "LG OLED TV 4K", "차 주전자", "녹차 사발"].iter().enumerate()
    {
        let terms = json!({"title": title, "opening_price": 1_000 + n});
        sora.sells(with(an_auction(), terms)).await;
    }
    let anyone = server.anonymous();
    assert_eq!(titles(&anyone, "칠기").await, ["나전칠기 함"]);
    assert_eq!(titles(&anyone, "녹차").await, ["녹차 사발"]);
    assert_eq!(titles(&anyone, "함").await, ["나전칠기 함"], "three letters in NFD");
    assert_eq!(titles(&anyone, "차").await, ["차 주전자"], "two letters in NFD");
    assert_eq!(titles(&anyone, "lg").await, ["LG OLED TV 4K"]);
    assert_eq!(titles(&anyone, " 4k ").await, ["LG OLED TV 4K"]);
    assert_eq!(titles(&anyone, "ED").await, Vec::<String>::new(), "in the middle of a word");
    assert_eq!(titles(&anyone, "led").await, ["LG OLED TV 4K"]);
    let decomposed = "\u{1102}\u{1169}\u{11a8}\u{110e}\u{1161}";
    assert_eq!(titles(&anyone, decomposed).await, ["녹차 사발"], "however it is written");
    for none in ["%", "!?", "_"] {
        let q: String = url::form_urlencoded::byte_serialize(none.as_bytes()).collect();
        anyone.get(&format!("/v1/auctions?q={q}")).await.refused(400, "invalid_query");
    }
}

#[tokio::test]
async fn lists_that_hang_are_refused_soon_and_keep_nobody_from_bidding() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let id = sora.sells(an_auction()).await;
        sora.auction_once(&id, "live").await;
        ids.push(id);
    }
    let (mut holder, connection) = server.database.config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let holding = holder.transaction().await.unwrap();
    // Lists read it; bids do not.
    holding.batch_execute("LOCK TABLE seller_applications IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let anyone = server.anonymous();
    let asking = join_all((0..60).map(|_| anyone.get("/v1/auctions?sort=ending_soon")));
    let bidding = async {
        eventually("lists hang", || async {
            let hanging = "SELECT count(*) FROM pg_stat_activity \
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
            // As many as one address may have at once.
            (server.database.number(hanging).await >= 2).then_some(())
        })
        .await;
        // An auction that has to be loaded, an account, a log.
        for id in &ids {
            minji.offers(id, 20_000).await.with_status(201);
        }
        minji.get("/v1/me").await.with_status(200);
    };
    let (answers, ()) = futures_util::future::join(asking, bidding).await;
    for answer in &answers {
        answer.refused(503, "overloaded");
        assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    }
    holding.rollback().await.unwrap();
    anyone.get("/v1/auctions?sort=ending_soon").await.with_status(200);
}

#[tokio::test]
async fn whether_many_auctions_are_there_is_asked_in_one_go_and_as_a_list() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(sora.sells(an_auction()).await);
    }
    let path = format!("/v1/events?auctions={}", ids.join(","));
    let anyone = server.anonymous();
    let head = |path: String| anyone.send(anyone.request(reqwest::Method::HEAD, &path));
    assert_eq!(head(path.clone()).await.status, 200);
    assert_eq!(head(format!("{path},{}", Uuid::now_v7())).await.status, 404);
    let (mut holder, connection) = server.database.config().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let holding = holder.transaction().await.unwrap();
    // Whether there is such an auction stands in it; accounts do not.
    holding.batch_execute("LOCK TABLE standings IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let asking = join_all((0..60).map(|_| head(path.clone())));
    let meanwhile = async {
        eventually("they hang", || async {
            let hanging = "SELECT count(*) FROM pg_stat_activity \
                           WHERE datname = current_database() AND wait_event_type = 'Lock' \
                           AND application_name = 'hoga lists'";
            (server.database.number(hanging).await >= 2).then_some(())
        })
        .await;
        sora.get("/v1/me").await.with_status(200);
    };
    let (answers, ()) = futures_util::future::join(asking, meanwhile).await;
    for answer in &answers {
        assert_eq!(answer.status, 503);
        assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    }
    holding.rollback().await.unwrap();
    assert_eq!(head(path).await.status, 200);
}

#[tokio::test]
async fn a_database_that_allows_too_few_connections_is_refused_with_what_to_do() {
    let database = Database::create();
    let max = ConnectionsMax { people: 12, lists: 4 };
    let store = Store::with(database.config().clone(), max).unwrap();
    store.check_database(max, 4).await.unwrap();
    let name = database.rows("SELECT current_database()").await.remove(0).remove(0);
    database.rows(&format!("ALTER DATABASE {name} CONNECTION LIMIT 30")).await;
    let refused = store.check_database(max, 4).await.unwrap_err();
    let DatabaseError::TooFewConnections { allowed: 30, needed: 38, .. } = refused else {
        panic!("{refused:?}");
    };
    let words = refused.to_string();
    for word in ["max_connections", "HOGA_DATABASE_CONNECTIONS_MAX", "HOGA_LANES", "4 lanes"] {
        assert!(words.contains(word), "{word} is not in {words}");
    }
}

#[tokio::test]
async fn a_database_in_which_hangul_cannot_be_searched_is_said_at_the_start() {
    let database = Database::create();
    let name = database.rows("SELECT current_database()").await.remove(0).remove(0);
    let create = |name: &str| {
        format!("CREATE DATABASE {name} TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    };
    let without = format!("{name}_c");
    database.rows(&create(&without)).await;
    let max = ConnectionsMax::default();
    logs::keep();
    let store = Store::new(database.config().clone()).unwrap();
    store.check_database(max, 1).await.unwrap();
    let said = || logs::kept().matches("Hangul has no trigrams in this database").count();
    assert_eq!(said(), 0);
    let mut config = database.config().clone();
    config.dbname(&without);
    let store = Store::new(config).unwrap();
    store.check_database(max, 1).await.unwrap();
    drop(store);
    database.rows(&format!("DROP DATABASE {without} WITH (FORCE)")).await;
    assert_eq!(said(), 1);
}
