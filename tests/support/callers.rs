//! Callers as types: who calls decides what there is to call. Every answer is held against the API
//! document as it comes.

use std::ops::Deref;

use bytes::Bytes;
use hoga::domain::id::UserId;
use reqwest::{Method, RequestBuilder, header::HeaderMap};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    contract,
    streams::Events,
    wait::{eventually, promptly},
};

/// A key that nobody has used.
pub fn fresh_key() -> String {
    Uuid::now_v7().to_string()
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).expect("UTF-8")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error} in {:?}", self.bytes))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("visible ASCII"))
    }

    /// The JSON, of an answer with this status.
    #[track_caller]
    pub fn with_status(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        if self.bytes.is_empty() { Value::Null } else { self.json() }
    }

    /// The problem, which must be this one.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) -> Value {
        let problem = self.with_status(status);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        problem
    }

    /// The fields named in a refusal of the body.
    #[track_caller]
    pub fn wrong_fields(&self) -> Vec<String> {
        let problem = self.refused(422, "invalid_request");
        let errors = problem["errors"].as_array().expect("errors").iter();
        errors.map(|error| error["field"].as_str().expect("a field").to_owned()).collect()
    }

    /// The tag of what was read.
    #[track_caller]
    pub fn tag(&self) -> String {
        self.header("etag").expect("an ETag").to_owned()
    }

    /// Whether it is the same answer again: status and body, to the byte.
    #[track_caller]
    pub fn is_again(&self, first: &Answer) {
        assert_eq!((self.status, self.text()), (first.status, first.text()));
    }
}

/// Anybody who speaks HTTP.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base_url: String,
    token: Option<String>,
}

impl Client {
    pub fn new(http: reqwest::Client, base_url: String, token: Option<String>) -> Client {
        Client { http, base_url, token }
    }

    pub fn token(&self) -> &str {
        self.token.as_deref().expect("a caller with a token")
    }

    /// A request to change further before [`Client::send`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base_url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let request = request.build().expect("a request");
        let (method, path) = (request.method().to_string(), request.url().path().to_owned());
        let receiving = async {
            let response = self.http.execute(request).await.expect("an answer");
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let bytes = response.bytes().await.expect("a whole answer");
            Answer { status, headers, bytes }
        };
        let answer = promptly(&format!("{method} {path}"), receiving).await;
        contract::check(&method, &path, &answer);
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    /// Deletes whatever is at a path.
    pub async fn remove(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    pub async fn post_with_key(&self, path: &str, key: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).header("idempotency-key", key);
        self.send(request.json(body)).await
    }

    /// Any bytes, called JSON.
    pub async fn post_bytes(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self
            .request(Method::POST, path)
            .header("idempotency-key", fresh_key())
            .header("content-type", "application/json");
        self.send(request.body(body)).await
    }

    pub async fn auction(&self, id: &str) -> Value {
        self.get(&format!("/v1/auctions/{id}")).await.with_status(200)
    }

    /// The auction, once it is so far.
    pub async fn auction_once(&self, id: &str, status: &str) -> Value {
        eventually(&format!("{id} is {status}"), || async {
            let auction = self.auction(id).await;
            (auction["status"] == status).then_some(auction)
        })
        .await
    }

    /// The whole log.
    pub async fn log(&self, id: &str) -> Vec<Value> {
        let mut entries = Vec::new();
        let mut after = json!(0);
        while !after.is_null() {
            let path = format!("/v1/auctions/{id}/log?after_seq={after}");
            let mut page = self.get(&path).await.with_status(200);
            after = page["next_after_seq"].take();
            let Value::Array(items) = page["items"].take() else { panic!("a log has items") };
            entries.extend(items);
        }
        entries
    }

    /// The types in the log, in order.
    pub async fn log_types(&self, id: &str) -> Vec<String> {
        let log = self.log(id).await;
        log.iter().map(|entry| entry["type"].as_str().expect("a type").to_owned()).collect()
    }

    /// Every page of a list.
    pub async fn pages(&self, path: &str) -> Vec<Value> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let mut page = self.get(&format!("{path}{cursor}")).await.with_status(200);
            let Value::Array(more) = page["items"].take() else { panic!("a list has items") };
            items.extend(more);
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("{joint}cursor={next}"),
                None => return items,
            }
        }
    }

    pub async fn events(&self, id: &str) -> Events {
        self.stream(&format!("/v1/auctions/{id}/events"), None).await
    }

    pub async fn events_after(&self, id: &str, last_event_id: &str) -> Events {
        self.stream(&format!("/v1/auctions/{id}/events"), Some(last_event_id)).await
    }

    pub async fn stream(&self, path: &str, last_event_id: Option<&str>) -> Events {
        let mut request = self.request(Method::GET, path);
        if let Some(last) = last_event_id {
            request = request.header("last-event-id", last);
        }
        let response = promptly("a stream", request.send()).await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Events::new(response)
    }
}

macro_rules! callers {
    ($($(#[$docs:meta])* $name:ident { $($id:ident)? })*) => { $(
        $(#[$docs])*
        #[derive(Clone)]
        pub struct $name {
            $(pub $id: UserId,)?
            pub client: Client,
        }

        impl Deref for $name {
            type Target = Client;

            fn deref(&self) -> &Client {
                &self.client
            }
        }
    )* };
}

callers! {
    /// Somebody with the role `seller`.
    Seller { id }
    /// Somebody with the role `bidder`.
    Bidder { id }
    /// Somebody who looks after the house.
    Admin { id }
    /// Somebody without a token.
    Anonymous {}
}

impl Client {
    /// Changes an auction that was read with this tag.
    pub async fn update(&self, id: &str, tag: &str, changes: &Value) -> Answer {
        let request = self.request(Method::PATCH, &format!("/v1/auctions/{id}"));
        self.send(request.header("if-match", tag).json(changes)).await
    }

    /// Deletes an auction that was read with this tag.
    pub async fn delete(&self, id: &str, tag: &str) -> Answer {
        let request = self.request(Method::DELETE, &format!("/v1/auctions/{id}"));
        self.send(request.header("if-match", tag)).await
    }
}

impl Seller {
    pub async fn create_auction(&self, auction: &Value) -> Answer {
        self.post("/v1/auctions", auction).await
    }

    /// The id of an auction that is made for a test.
    #[track_caller]
    pub fn sells(&self, auction: Value) -> impl Future<Output = String> {
        let seller = self.clone();
        async move {
            let created = seller.create_auction(&auction).await.with_status(201);
            created["id"].as_str().expect("an id").to_owned()
        }
    }

    pub async fn relist(&self, id: &str, relisting: &Value) -> Answer {
        self.post(&format!("/v1/auctions/{id}/relist"), relisting).await
    }
}

impl Bidder {
    pub async fn bid(&self, id: &str, bid: &Value) -> Answer {
        self.bid_with_key(id, &fresh_key(), bid).await
    }

    pub async fn bid_with_key(&self, id: &str, key: &str, bid: &Value) -> Answer {
        self.post_with_key(&format!("/v1/auctions/{id}/bids"), key, bid).await
    }

    /// An exact bid.
    pub async fn offers(&self, id: &str, amount: i64) -> Answer {
        self.bid(id, &json!({"amount": amount})).await
    }

    /// A ceiling.
    pub async fn offers_up_to(&self, id: &str, ceiling: i64) -> Answer {
        self.bid(id, &json!({"max_amount": ceiling})).await
    }

    pub async fn buys(&self, id: &str, buy: &Value) -> Answer {
        self.post_with_key(&format!("/v1/auctions/{id}/buy-now"), &fresh_key(), buy).await
    }

    pub async fn retracts(&self, id: &str, seq: &Value, reason: &str) -> Answer {
        let path = format!("/v1/auctions/{id}/bids/{seq}/retraction");
        self.post_with_key(&path, &fresh_key(), &json!({"reason": reason})).await
    }

    pub async fn bidding(&self, id: &str) -> Value {
        self.get(&format!("/v1/auctions/{id}/bidding")).await.with_status(200)
    }
}
