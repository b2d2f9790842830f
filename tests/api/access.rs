//! Who may call what: every operation of the API document, as everybody, against the one table.
//!
//! An operation needs a line in `src/http/routes.rs` and a sample request in [`sample`]; without
//! either, the test says which is missing.

use base64::{Engine, engine::general_purpose::STANDARD};
use hoga::{
    config::SellerModel,
    domain::id::UserId,
    http::{
        kit::{
            access::{Proof, Who},
            operations::line,
            problem::Code,
        },
        routes::TABLE,
    },
    identity::{Role, clients::Registration},
    wall_clock,
};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    Answer, Bidder, Seller, an_auction, contract,
    contract::DOCUMENT,
    eventually, fresh_key, in_s,
    kakao::{ADMIN_KEY, APP_ID},
    login::{House, REDIRECT_URI, VERIFIER, challenge_of, encoded, parameters},
    push::Browser,
    sells_briefly,
    wait::promptly,
    with,
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
    form: Option<Vec<(&'static str, String)>>,
    /// It can be asked for once.
    once: bool,
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

    fn form<const N: usize>(self, fields: [(&'static str, &str); N]) -> Sample {
        let fields = fields.map(|(name, value)| (name, value.to_owned()));
        Sample { form: Some(fields.into()), ..self }
    }

    fn credential(mut self, name: &'static str, value: impl Into<String>) -> Sample {
        self.credentials.push((name, value.into()));
        self
    }

    fn once(self) -> Sample {
        Sample { once: true, ..self }
    }

    fn of(self, owner: UserId) -> Sample {
        Sample { owner: Some(owner), ..self }
    }
}

fn an_address() -> Value {
    json!({"recipient": "김민지", "phone": "010-1234-5678", "postal_code": "04524", "line1": "세종대로 110"})
}

fn a_company() -> Value {
    json!({"company_name": "소라네 골동품", "business_number": "124-81-00998", "representative": "김소라",
        "contact_email": "sora@example.com", "contact_phone": "02-123-4567"})
}

fn asking_for_login() -> String {
    encoded(&[
        ("response_type", "code"),
        ("client_id", "shop"),
        ("redirect_uri", REDIRECT_URI),
        ("state", "x"),
        ("code_challenge", &challenge_of(VERIFIER)),
        ("code_challenge_method", "S256"),
    ])
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
        | "watch_auction_events"
        | "watch_auction"
        | "unwatch_auction" => Sample::at(scene.live().await),
        "watch_my_events"
        | "create_events_ticket"
        | "list_watchlist"
        | "list_notifications"
        | "get_notification_preferences"
        | "list_keyword_alerts"
        | "get_push_key"
        | "list_push_subscriptions" => Sample::default(),
        "read_notifications" => Sample::default().body(json!({"up_to": 1})),
        "set_notification_preferences" => Sample::default().body(json!({"muted": ["lost"]})),
        "create_keyword_alert" => Sample::default().body(json!({"keyword": fresh_key()[..20]})),
        "delete_keyword_alert" => Sample::at(scene.alert().await).of(scene.minji.id),
        "create_push_subscription" => {
            Sample::default().body(Browser::at_origin("https://push.example.com").to_json())
        }
        "delete_push_subscription" => {
            Sample::at(scene.push_subscription().await).of(scene.minji.id)
        }
        "create_client" => Sample::default().body(json!({"name": "a shop"})),
        "get_client" | "delete_client" => Sample::at(scene.client().await),
        "update_client" => Sample::at(scene.client().await).body(json!({"name": "another"})),
        "rotate_client_secret" => Sample::at(scene.client().await),
        "list_webhooks" => Sample::at(scene.client().await),
        "create_webhook" => {
            Sample::at(scene.client().await).body(json!({"url": "https://shop.example.com/hoga"}))
        }
        "get_webhook" | "delete_webhook" | "test_webhook" | "list_webhook_deliveries" => {
            let (client, webhook, _) = scene.webhook().await;
            Sample::at(client).and(webhook)
        }
        "update_webhook" | "rotate_webhook_secret" => {
            let (client, webhook, _) = scene.webhook().await;
            Sample::at(client).and(webhook).body(json!({}))
        }
        "replay_webhook" => {
            let (client, webhook, _) = scene.webhook().await;
            Sample::at(client).and(webhook).body(json!({"since": in_s(-60)}))
        }
        "get_webhook_delivery" | "replay_webhook_delivery" => {
            let (client, webhook, delivery) = scene.webhook().await;
            Sample::at(client).and(webhook).and(delivery)
        }
        "update_me" => Sample::default().body(json!({"nickname": "another"})),
        "delete_me" => Sample::default().of(scene.somebody().await.id),
        "create_address" => Sample::default().body(an_address()),
        "get_address" | "delete_address" => Sample::at(scene.address().await).of(scene.minji.id),
        "update_address" => {
            Sample::at(scene.address().await).body(json!({"label": "another"})).of(scene.minji.id)
        }
        "create_seller_application" => {
            Sample::default().body(a_company()).of(scene.somebody().await.id)
        }
        "get_seller_application" => Sample::default().of(scene.applicant().await.0),
        "approve_seller_application" => Sample::at(scene.applicant().await.1),
        "refuse_seller_application" => {
            Sample::at(scene.applicant().await.1).body(json!({"reason": "no such company"}))
        }
        "get_user" => Sample::at(scene.minji.id.to_string()),
        "set_user_roles" => {
            Sample::at(scene.somebody().await.id.to_string()).body(json!({"roles": ["bidder"]}))
        }
        "start_login" => Sample::default().query(format!("?{}", asking_for_login())),
        "finish_login" => {
            let mut browser = scene.house.browser();
            let location = browser.starts().await;
            let callback = scene.house.kakao.consent(&location, 7).await;
            let (_, query) = callback.split_once('?').expect("a query");
            let cookie = format!("__Host-hoga_login={}", browser.cookie.expect("a cookie"));
            Sample::default().query(format!("?{query}")).header("cookie", cookie).once()
        }
        "create_token" => {
            let (basic, tokens) = scene.confidential_login().await;
            let refresh_token = tokens["refresh_token"].as_str().expect("a token");
            let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
            Sample::default().form(form).credential("authorization", basic)
        }
        "revoke_token" => {
            let (basic, tokens) = scene.confidential_login().await;
            let refresh_token = tokens["refresh_token"].as_str().expect("a token");
            Sample::default().form([("token", refresh_token)]).credential("authorization", basic)
        }
        "take_kakao_webhook" => Sample::default()
            .form([("app_id", &APP_ID.to_string()), ("user_id", "4242")])
            .credential("authorization", format!("KakaoAK {ADMIN_KEY}")),
        "take_kakao_webhook_by_query" => Sample::default()
            .query(format!("?app_id={APP_ID}&user_id=4242"))
            .credential("authorization", format!("KakaoAK {ADMIN_KEY}")),
        "get_problem" => Sample::at("bid_too_low"),
        "get_me"
        | "list_addresses"
        | "list_seller_applications"
        | "get_authorization_server_metadata" => Sample::default(),
        "list_auctions" | "list_clients" | "get_time" | "get_health" | "get_readiness"
        | "get_metrics" | "get_jwks" => Sample::default(),
        _ => return None,
    })
}

/// The server and its people.
struct Scene {
    house: House,
    sora: Seller,
    minji: Bidder,
}

impl Scene {
    async fn open() -> Scene {
        // Where everybody may sell, a bidder passes as a seller.
        let house = House::open_with(|config| config.sellers = SellerModel::Approved).await;
        let server = &house.server;
        let anyone = server.anonymous();
        eventually("ready", || async { (anyone.get("/readyz").await.status == 200).then_some(()) })
            .await;
        let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
        Scene { house, sora, minji }
    }

    async fn live(&self) -> String {
        self.sora.sells(an_auction()).await
    }

    async fn scheduled(&self) -> String {
        self.sora.sells(with(an_auction(), json!({"starts_at": in_s(3_600)}))).await
    }

    async fn unsold(&self) -> String {
        let id = sells_briefly(&self.sora, an_auction()).await;
        self.sora.auction_once(&id, "ended").await;
        id
    }

    async fn client(&self) -> String {
        let details =
            hoga::identity::clients::Details { name: Some("a shop".into()), ..Default::default() };
        let made = Registration::new(details, true, wall_clock::now()).expect("a client");
        assert!(self.house.server.store.insert_client(&made.row).await.expect("registered"));
        made.row.id
    }

    /// A client, a webhook of it that is told nothing, and a delivery.
    async fn webhook(&self) -> (String, String, String) {
        let (client, admin) = (self.client().await, self.house.server.admin().await);
        let path = format!("/v1/clients/{client}/webhooks");
        let new = json!({"url": "https://shop.example.com/hoga", "disabled": true});
        let made = admin.post(&path, &new).await.with_status(201);
        let id = made["id"].as_str().expect("an id").to_owned();
        let test = admin.post(&format!("{path}/{id}/test"), &Value::Null).await.with_status(202);
        (client, id, test["id"].as_str().expect("an id").to_owned())
    }

    async fn somebody(&self) -> Bidder {
        self.house.server.bidder(&fresh_key()).await
    }

    async fn address(&self) -> String {
        let made = self.minji.post("/v1/me/addresses", &an_address()).await.with_status(201);
        made["id"].as_str().expect("an id").to_owned()
    }

    async fn alert(&self) -> String {
        let alert = json!({"keyword": fresh_key()[16..]});
        let made = self.minji.post("/v1/me/keyword-alerts", &alert).await.with_status(201);
        made["id"].as_str().expect("an id").to_owned()
    }

    async fn push_subscription(&self) -> String {
        let browser = Browser::at_origin("https://push.example.com").to_json();
        let made = self.minji.post("/v1/me/push-subscriptions", &browser).await.with_status(201);
        made["id"].as_str().expect("an id").to_owned()
    }

    /// Somebody who wants to sell, and the id of their application.
    async fn applicant(&self) -> (UserId, String) {
        let somebody = self.somebody().await;
        let made = somebody.post("/v1/me/seller-application", &a_company()).await;
        (somebody.id, made.with_status(201)["id"].as_str().expect("an id").to_owned())
    }

    /// Somebody logs in at a server-side client: how that shows itself, and the tokens it gets.
    async fn confidential_login(&self) -> (String, Value) {
        let (id, secret) = (fresh_key(), "a-secret-of-the-server");
        self.house.register(&id, Some(secret), &[REDIRECT_URI]).await;
        let mut browser = self.house.browser();
        let started = browser.asks(&[("client_id", &id)]).await;
        let location = started.header("location").expect("a way to Kakao");
        let back = browser.get(&self.house.kakao.consent(location, 8).await).await;
        let code = &parameters(back.header("location").expect("a way back"))["code"];
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", VERIFIER),
        ];
        let tokens = self.house.form("/oauth/token", &form, Some((&id, secret))).await;
        let tokens = tokens.with_status(200);
        (format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))), tokens)
    }

    fn token(&self, user: UserId, roles: &[Role]) -> String {
        self.house.server.token(user, roles, 900)
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
        self.request_by(&self.method, token)
    }

    fn request_by(&self, method: &Method, token: Option<&str>) -> RequestBuilder {
        let mut path = self.template.to_owned();
        for value in &self.sample.path {
            let (from, to) = (path.find('{').expect("a place"), path.find('}').expect("a place"));
            path.replace_range(from..=to, value);
        }
        assert!(!path.contains('{'), "the sample of {} does not fill {path}", self.id);
        let caller = match token {
            Some(token) => self.scene.house.server.caller_with(token),
            None => self.scene.house.server.anonymous().client,
        };
        let request = caller.request(method.clone(), &format!("{path}{}", self.sample.query));
        let request = request.header("idempotency-key", fresh_key());
        let headers = self.sample.headers.iter();
        let request = headers.fold(request, |request, (name, value)| request.header(*name, value));
        match (&self.sample.body, &self.sample.form) {
            (Some(body), _) => request.json(body),
            (None, Some(form)) => request.form(form),
            (None, None) => request,
        }
    }

    /// The answer; of a stream only that there is one.
    async fn answer(&self, request: RequestBuilder) -> Answer {
        self.answer_by(&self.method, request).await
    }

    async fn answer_by(&self, method: &Method, request: RequestBuilder) -> Answer {
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
        contract::check(method.as_str(), &path, &answer);
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
        let expired = self.scene.house.server.token(self.right_user(), &Role::ALL, 0);
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
                assert!(matches!(answer.status, 400 | 401 | 403), "{}: {answer:?}", self.id);
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
                if !self.sample.once {
                    let expired = self.scene.house.server.token(self.right_user(), &[], 0);
                    self.is_answered("who shows an old token", self.request(Some(&expired))).await;
                }
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
        // `HEAD` is asked as `GET`.
        let methods =
            item.as_object().expect("methods").iter().filter(|(method, _)| *method != "head");
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
        let Some(who) = line(id).map(|line| line.who) else {
            missing.push(format!("{id} has no line in src/http/routes.rs"));
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

#[tokio::test]
async fn whatever_is_read_says_whether_it_depends_on_who_asks() {
    let scene = Scene::open().await;
    for (method, template, id) in
        operations().into_iter().filter(|(method, ..)| method == Method::GET)
    {
        let who = line(id).expect("a line in src/http/routes.rs").who;
        let Some(sample) = sample(&scene, id).await.filter(|sample| !sample.once) else { continue };
        let operation = Operation { scene: &scene, id, method, template, sample, who };
        let depends = matches!(who.proof(), Proof::OptionalToken | Proof::Token);
        let roles: Vec<Role> = who.role().into_iter().collect();
        let token = scene.token(operation.right_user(), &roles);
        for token in [None, Some(token.as_str())] {
            let answer = operation.answer(operation.request(token)).await;
            let kept = answer.header("cache-control").unwrap_or_default();
            let vary = answer.headers.get_all("vary").iter();
            let varies = vary
                .map(|value| value.to_str().expect("visible ASCII"))
                .any(|value| value.split(',').any(|name| name.trim() == "Authorization"));
            let what = format!("{id}, with a token: {}: {answer:?}", token.is_some());
            assert_eq!(varies, depends, "{what}");
            if depends {
                assert!(kept.contains("private") || kept.contains("no-store"), "{what}");
            } else {
                assert!(!kept.contains("private"), "{what}");
            }
            if id == "get_bidding" {
                assert!(kept.contains("no-store"), "a ceiling is kept nowhere: {what}");
            }
        }
    }
}

#[tokio::test]
async fn head_answers_what_get_answers_for_every_operation_and_every_caller() {
    let scene = Scene::open().await;
    let mut asked = 0;
    for (method, template, id) in
        operations().into_iter().filter(|(method, ..)| method == Method::GET)
    {
        if DOCUMENT["paths"][template].get("head").is_none() {
            continue;
        }
        let who = line(id).expect("a line in src/http/routes.rs").who;
        let sample = sample(&scene, id).await.expect("a sample in tests/api/access.rs");
        let operation = Operation { scene: &scene, id, method, template, sample, who };
        let roles: Vec<Role> = who.role().into_iter().collect();
        let token = scene.token(operation.right_user(), &roles);
        for token in [None, Some(token.as_str()), Some("x.y.z")] {
            let of = async |method: Method| {
                let request = operation.request_by(&method, token);
                let answer = operation.answer_by(&method, request).await;
                let all = |name| answer.headers.get_all(name).iter().cloned().collect::<Vec<_>>();
                let headers = ["etag", "cache-control", "vary", "content-type"].map(all);
                (answer.status, headers, answer.bytes.is_empty())
            };
            // What an auction's opening changes in between is asked for again.
            let (get, head) = eventually("nothing changes in between", || async {
                let (before, head) = (of(Method::GET).await, of(Method::HEAD).await);
                (of(Method::GET).await == before).then_some((before, head))
            })
            .await;
            let what = format!("{id}, with a token: {token:?}");
            assert_eq!((head.0, &head.1), (get.0, &get.1), "{what}");
            assert!(head.2, "{what} has a body");
            asked += 1;
        }
    }
    assert!(asked > 60, "only {asked} were asked");
}

#[tokio::test]
async fn a_body_that_is_no_object_is_refused_everywhere() {
    let scene = Scene::open().await;
    let mut asked = 0;
    for (method, template, id) in operations() {
        let Some(who) = line(id).map(|line| line.who) else { continue };
        let of_document = &DOCUMENT["paths"][template][method.as_str().to_lowercase()];
        if of_document["requestBody"]["content"].get("application/json").is_none() {
            continue;
        }
        let sample = sample(&scene, id).await.expect("a sample in tests/api/access.rs");
        let body = sample.body.clone().expect("a body");
        let operation = Operation { scene: &scene, id, method, template, sample, who };
        let roles: Vec<Role> = who.role().into_iter().collect();
        let token = scene.token(operation.right_user(), &roles);
        for text in bodies_that_are_no_objects(&body) {
            let request = operation.request(Some(&token));
            let request = request.header("content-type", "application/json").body(text.clone());
            let answer = operation.answer(request).await;
            assert!(matches!(answer.status, 400 | 422), "{id} with {text}: {answer:?}");
            asked += 1;
        }
    }
    assert!(asked > 100, "only {asked} were asked");
}

/// The wrong kinds of values, and the right one with what is nested in it as an array of its values,
/// or with a field twice.
fn bodies_that_are_no_objects(body: &Value) -> Vec<String> {
    let mut bodies: Vec<String> =
        ["[]", "[60000]", "[null, 5000]", "[{}]", "null", "1", "\"x\"", "true"]
            .map(str::to_owned)
            .into();
    let fields = body.as_object().expect("an object");
    bodies.push(Value::Array(fields.values().cloned().collect()).to_string());
    for (name, value) in fields {
        let twice = json!({name: value}).to_string();
        let (twice, rest) = (&twice[..twice.len() - 1], &body.to_string()[1..]);
        bodies.push(format!("{twice},{rest}"));
        if let Some(nested) = value.as_object() {
            let mut changed = body.clone();
            changed[name] = Value::Array(nested.values().cloned().collect());
            bodies.push(changed.to_string());
        }
    }
    bodies
}

#[test]
fn every_line_of_the_table_is_an_operation() {
    let ids: Vec<&str> = operations().into_iter().map(|(_, _, id)| id).collect();
    for line in TABLE {
        assert!(ids.contains(&line.id), "{}", line.id);
    }
}

#[tokio::test]
async fn an_admin_may_end_the_auction_of_a_seller() {
    let scene = Scene::open().await;
    let admin = scene.house.server.admin().await;
    admin.delete(&scene.live().await, "*").await.with_status(204);
}
