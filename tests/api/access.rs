//! Who may call what: every operation of the API document, as everybody, against the one table.
//!
//! An operation needs a line in `src/http/access.rs` and a sample request in [`sample`]; without
//! either, the test says which is missing.

use hoga::{
    domain::id::UserId,
    http::{
        access::{self, Proof, Who},
        problem::Code,
    },
    identity::{Role, clients::Registration},
    wall_clock,
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    Answer, Bidder, Seller, TestServer, an_auction, contract, contract::DOCUMENT, eventually,
    fresh_key, in_ms, in_s, wait::promptly, with,
};

/// A request that its right caller is not refused: what stands in the path, and what comes with it.
#[derive(Default)]
struct Sample {
    /// What the places in the path's template stand for, in their order.
    path: Vec<String>,
    /// Behind the path, with its `?`.
    query: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
    /// Headers that show who calls, where that is no token of ours: a client's or Kakao's.
    credentials: Vec<(&'static str, String)>,
    /// Whose thing it is, where that counts.
    owner: Option<UserId>,
}

impl Sample {
    fn at(path: impl Into<String>) -> Sample {
        Sample { path: vec![path.into()], ..Sample::default() }
    }

    fn and(mut self, path: impl Into<String>) -> Sample {
        self.path.push(path.into());
        self
    }

    fn query(self, query: impl Into<String>) -> Sample {
        Sample { query: query.into(), ..self }
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Sample {
        self.headers.push((name, value.into()));
        self
    }

    fn body(self, body: Value) -> Sample {
        Sample { body: Some(body), ..self }
    }

    fn of(self, owner: UserId) -> Sample {
        Sample { owner: Some(owner), ..self }
    }
}

/// One request for each operation, on things that were made for it.
async fn sample(scene: &Scene, operation_id: &str) -> Option<Sample> {
    let sora = scene.sora.id;
    Some(match operation_id {
        "create_auction" => Sample::default().body(an_auction()),
        "update_auction" => Sample::at(scene.scheduled().await)
            .header("if-match", "*")
            .body(json!({"title": "another"}))
            .of(sora),
        "delete_auction" => Sample::at(scene.scheduled().await).header("if-match", "*").of(sora),
        "relist_auction" => {
            Sample::at(scene.unsold().await).body(json!({"ends_at": in_s(86_400)})).of(sora)
        }
        "place_bid" => Sample::at(scene.live().await).body(json!({"amount": 10_000})),
        "buy_auction" => {
            let terms = with(an_auction(), json!({"buy_now_price": 90_000}));
            Sample::at(scene.sora.sells(terms).await).body(json!({}))
        }
        "retract_bid" => {
            let (id, minji) = (scene.live().await, &scene.minji);
            let receipt = minji.offers(&id, 10_000).await.with_status(201);
            let seq = receipt["seq"].to_string();
            Sample::at(id).and(seq).body(json!({"reason": "a slip of the hand"})).of(minji.id)
        }
        "watch_events" => Sample::default().query(format!("?auctions={}", scene.live().await)),
        "get_auction"
        | "list_bids"
        | "get_bidding"
        | "get_log"
        | "get_log_checkpoint"
        | "watch_auction_events" => Sample::at(scene.live().await),
        "create_client" => Sample::default().body(json!({"name": "a shop"})),
        "get_client" | "delete_client" => Sample::at(scene.client().await),
        "update_client" => Sample::at(scene.client().await).body(json!({"name": "another"})),
        "rotate_client_secret" => Sample::at(scene.client().await),
        "get_problem" => Sample::at("bid_too_low"),
        "list_auctions" | "list_clients" | "get_time" | "get_health" | "get_readiness"
        | "get_metrics" | "get_jwks" => Sample::default(),
        _ => return None,
    })
}

/// The server and its people.
struct Scene {
    server: TestServer,
    sora: Seller,
    minji: Bidder,
}

impl Scene {
    async fn open() -> Scene {
        let server = TestServer::spawn();
        let anyone = server.anonymous();
        eventually("ready", || async { (anyone.get("/readyz").await.status == 200).then_some(()) })
            .await;
        let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
        Scene { server, sora, minji }
    }

    async fn live(&self) -> String {
        self.sora.sells(an_auction()).await
    }

    async fn scheduled(&self) -> String {
        self.sora.sells(with(an_auction(), json!({"starts_at": in_s(3_600)}))).await
    }

    async fn unsold(&self) -> String {
        let terms = with(an_auction(), json!({"ends_at": in_ms(1_500)}));
        let id = self.sora.sells(terms).await;
        self.sora.auction_once(&id, "ended").await;
        id
    }

    async fn client(&self) -> String {
        let details =
            hoga::identity::clients::Details { name: Some("a shop".into()), ..Default::default() };
        let made = Registration::new(details, true, wall_clock::now()).expect("a client");
        assert!(self.server.store.insert_client(&made.row).await.expect("registered"));
        made.row.id
    }

    fn token(&self, user: UserId, roles: &[Role]) -> String {
        self.server.token(user, roles, 900)
    }
}

/// An operation of the document, with the request that is made of it.
struct Operation<'a> {
    scene: &'a Scene,
    id: &'static str,
    method: Method,
    template: &'static str,
    sample: Sample,
    who: Who,
}

impl Operation<'_> {
    fn request(&self, token: Option<&str>) -> RequestBuilder {
        let mut path = self.template.to_owned();
        for value in &self.sample.path {
            let (from, to) = (path.find('{').expect("a place"), path.find('}').expect("a place"));
            path.replace_range(from..=to, value);
        }
        assert!(!path.contains('{'), "the sample of {} does not fill {path}", self.id);
        let caller = match token {
            Some(token) => self.scene.server.caller_with(token),
            None => self.scene.server.anonymous().client,
        };
        let request = caller.request(self.method.clone(), &format!("{path}{}", self.sample.query));
        let request = request.header("idempotency-key", fresh_key());
        let headers = self.sample.headers.iter();
        let request = headers.fold(request, |request, (name, value)| request.header(*name, value));
        match &self.sample.body {
            Some(body) => request.json(body),
            None => request,
        }
    }

    /// The answer; of a stream only that there is one.
    async fn answer(&self, request: RequestBuilder) -> Answer {
        let request = request.build().expect("a request");
        let path = request.url().path().to_owned();
        let http =
            reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let sent = http.build().expect("a client").execute(request);
        let response = promptly(self.id, sent).await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        if headers.get("content-type").is_some_and(|kind| kind == "text/event-stream") {
            return Answer { status, headers, bytes: Default::default() };
        }
        let bytes = promptly(self.id, response.bytes()).await.expect("a whole answer");
        let answer = Answer { status, headers, bytes };
        contract::check(self.method.as_str(), &path, &answer);
        answer
    }

    async fn is_refused(&self, as_whom: &str, token: Option<&str>, code: Code) {
        let answer = self.answer(self.request(token)).await;
        let found = answer.status >= 400 && answer.json()["code"] == code.word();
        assert!(found, "{} as {as_whom} must be {}: {answer:?}", self.id, code.word());
    }

    async fn is_answered(&self, as_whom: &str, request: RequestBuilder) {
        let answer = self.answer(request).await;
        assert!(answer.status < 400, "{} as {as_whom}: {answer:?}", self.id);
    }

    /// The user whose thing it is, or another who is known.
    fn right_user(&self) -> UserId {
        self.sample.owner.unwrap_or(self.scene.minji.id)
    }

    fn token(&self, user: UserId, roles: &[Role]) -> String {
        self.scene.token(user, roles)
    }

    async fn bad_tokens_are_refused(&self) {
        let expired = self.scene.server.token(self.right_user(), &Role::ALL, 0);
        self.is_refused("who comes too late", Some(&expired), Code::TokenExpired).await;
        self.is_refused("a forger", Some("x.y.z"), Code::TokenInvalid).await;
    }

    async fn only_with_a_token(&self) {
        self.is_refused("nobody", None, Code::Unauthenticated).await;
        self.bad_tokens_are_refused().await;
        let needed = self.who.role();
        if let Some(code) = self.who.without_role() {
            let others: Vec<Role> =
                Role::ALL.into_iter().filter(|role| Some(*role) != needed).collect();
            let token = self.token(self.right_user(), &others);
            self.is_refused("somebody in another role", Some(&token), code).await;
        }
        if let Some(code) = self.who.not_theirs() {
            let roles = [Role::Bidder, Role::Seller];
            let token = self.token(UserId(Uuid::now_v7()), &roles);
            self.is_refused("somebody else", Some(&token), code).await;
        }
        let token = self.token(self.right_user(), needed.as_slice());
        self.is_answered("who may", self.request(Some(&token))).await;
    }

    async fn only_with_credentials(&self) {
        assert!(!self.sample.credentials.is_empty(), "{} needs credentials", self.id);
        for (name, _) in &self.sample.credentials {
            for request in [self.request(None), self.request(None).header(*name, "x")] {
                let answer = self.answer(request).await;
                assert!(matches!(answer.status, 400 | 401), "{}: {answer:?}", self.id);
            }
        }
        let credentials = self.sample.credentials.iter();
        let request = self.request(None);
        let request =
            credentials.fold(request, |request, (name, value)| request.header(*name, value));
        self.is_answered("who may", request).await;
    }

    async fn is_as_the_table_says(&self) {
        match self.who.proof() {
            Proof::None => {
                let expired = self.scene.server.token(self.right_user(), &[], 0);
                self.is_answered("who shows an old token", self.request(Some(&expired))).await;
                self.is_answered("anybody", self.request(None)).await;
            }
            Proof::OptionalToken => {
                self.bad_tokens_are_refused().await;
                let token = self.token(self.right_user(), &[]);
                self.is_answered("a user", self.request(Some(&token))).await;
                self.is_answered("anybody", self.request(None)).await;
            }
            Proof::Token => self.only_with_a_token().await,
            Proof::Client | Proof::Kakao => self.only_with_credentials().await,
        }
    }
}

/// Method, path and id of every operation in the document.
fn operations() -> Vec<(Method, &'static str, &'static str)> {
    let paths = DOCUMENT["paths"].as_object().expect("paths").iter();
    let all = paths.flat_map(|(path, item)| {
        let methods = item.as_object().expect("methods").iter();
        methods.map(move |(method, operation)| {
            let id = operation["operationId"].as_str().expect("an id");
            (method.to_uppercase().parse().expect("a method"), path.as_str(), id)
        })
    });
    all.collect()
}

#[tokio::test]
async fn every_operation_answers_those_who_may_and_refuses_everybody_else() {
    let scene = Scene::open().await;
    let mut missing = Vec::new();
    for (method, template, id) in operations() {
        let Some(who) = access::who_may(id) else {
            missing.push(format!("{id} has no line in src/http/access.rs"));
            continue;
        };
        let Some(sample) = sample(&scene, id).await else {
            missing.push(format!("{id} has no sample in tests/api/access.rs"));
            continue;
        };
        let operation = Operation { scene: &scene, id, method, template, sample, who };
        operation.is_as_the_table_says().await;
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_line_of_the_table_is_an_operation() {
    let ids: Vec<&str> = operations().into_iter().map(|(_, _, id)| id).collect();
    for (id, _) in access::TABLE {
        assert!(ids.contains(id), "{id}");
    }
}

#[tokio::test]
async fn an_admin_may_end_the_auction_of_a_seller() {
    let scene = Scene::open().await;
    let admin = scene.server.admin().await;
    admin.delete(&scene.live().await, "*").await.with_status(204);
}
