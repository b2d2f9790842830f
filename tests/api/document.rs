//! The API document by itself: examples that fit, descriptions, closed sets, and `HEAD`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    TestServer, an_auction,
    contract::{DOCUMENT, conforms},
    with,
};

/// Every operation, and every call to a webhook, with its id.
fn operations() -> impl Iterator<Item = (&'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap().values();
    let webhooks = DOCUMENT["webhooks"].as_object().unwrap().values();
    let all = paths.chain(webhooks).flat_map(|item| item.as_object().unwrap().values());
    all.map(|operation| (operation["operationId"].as_str().unwrap(), operation))
}

/// What is wrong with the examples of one body, if anything.
fn wrong_examples(media: &Value, what: &str) -> Vec<String> {
    let one = media.get("example").into_iter();
    let more = media["examples"].as_object().into_iter().flatten().map(|(_, example)| {
        let pointer = example["$ref"].as_str().unwrap().trim_start_matches('#');
        &DOCUMENT.pointer(pointer).unwrap()["value"]
    });
    let examples: Vec<&Value> = one.chain(more).collect();
    if examples.is_empty() {
        return vec![format!("{what} has no example")];
    }
    let fits = |example: &&Value| conforms(&media["schema"], example, what).err();
    examples.iter().filter_map(fits).collect()
}

#[test]
fn every_request_and_every_answer_has_an_example_that_fits() {
    let mut wrong = Vec::new();
    for (id, operation) in operations() {
        for (kind, media) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            wrong.extend(wrong_examples(media, &format!("{id}: the {kind} that it takes")));
        }
        for (status, answer) in operation["responses"].as_object().unwrap() {
            let content = answer["content"].as_object().into_iter().flatten();
            for (kind, media) in content.filter(|(kind, _)| *kind != "text/html") {
                wrong.extend(wrong_examples(media, &format!("{id}: {kind} of {status}")));
            }
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let (name, example) = (&parameter["name"], &parameter["example"]);
            if parameter["required"] == true {
                wrong.extend(
                    conforms(&parameter["schema"], example, &format!("{id}: {name}")).err(),
                );
            }
        }
    }
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        wrong.extend(schema.get("example").and_then(|it| conforms(schema, it, name).err()));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_schema_field_parameter_and_header_is_described() {
    let mut silent = Vec::new();
    let mut ask = |thing: &Value, what: String| {
        // What may not be there at all says nothing.
        if *thing != false
            && thing["description"].as_str().is_none_or(|text| text.trim().is_empty())
        {
            silent.push(what);
        }
    };
    for (name, schema) in DOCUMENT["components"]["schemas"].as_object().unwrap() {
        ask(schema, name.clone());
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            ask(property, format!("{name}.{field}"));
        }
    }
    for (id, operation) in operations() {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            ask(parameter, format!("{id}: {}", parameter["name"]));
        }
        for (status, answer) in operation["responses"].as_object().unwrap() {
            ask(answer, format!("{id}: {status}"));
            for (header, said) in answer["headers"].as_object().into_iter().flatten() {
                ask(said, format!("{id}: {header} of {status}"));
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn requests_take_no_field_that_is_not_described() {
    /// Whose form is another's: a browser's own object, Kakao's call, and OAuth's forms.
    const OF_OTHERS: [&str; 6] = [
        "BrowserPushSubscription",
        "BrowserPushKeys",
        "KakaoUnlinked",
        "AuthorizationCodeGrant",
        "RefreshTokenGrant",
        "RevocationRequest",
    ];
    fn walk(schema: &Value, open: &mut Vec<String>, name: &str) {
        if let Some(reference) = schema["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap();
            return walk(DOCUMENT.pointer(reference.trim_start_matches('#')).unwrap(), open, name);
        }
        if schema["properties"].is_object()
            && schema["additionalProperties"] != false
            && !OF_OTHERS.contains(&name)
        {
            open.push(name.to_owned());
        }
        let options = ["oneOf", "anyOf"].map(|key| schema[key].as_array());
        let options = options.into_iter().flatten().flatten();
        let fields = schema["properties"].as_object().into_iter().flat_map(|all| all.values());
        options.chain(fields).chain(schema.get("items")).for_each(|part| walk(part, open, name));
    }
    let mut open = Vec::new();
    for (_, operation) in operations().filter(|(id, _)| !id.starts_with("hear_")) {
        for media in operation["requestBody"]["content"].as_object().into_iter().flatten() {
            walk(&media.1["schema"], &mut open, "");
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// Whether the document takes a value for a field of a schema.
fn takes(schema: &str, value: &Value) -> bool {
    conforms(&json!({"$ref": format!("#/components/schemas/{schema}")}), value, schema).is_ok()
}

#[test]
fn a_request_for_tokens_is_one_of_two_and_has_no_nulls() {
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let code = json!({"grant_type": "authorization_code", "client_id": "shop", "code": "c",
        "redirect_uri": "https://shop.example.com/callback", "code_verifier": verifier});
    let refresh = json!({"grant_type": "refresh_token", "refresh_token": "r"});
    assert!(takes("TokenRequest", &code) && takes("TokenRequest", &refresh));
    for (right, changes) in [
        (&code, json!({"code_verifier": &verifier[1..]})),
        (&code, json!({"code_verifier": verifier.repeat(3)})),
        (&code, json!({"code_verifier": format!("{verifier}+")})),
        (&code, json!({"client_id": null})),
        (&code, json!({"grant_type": "refresh_token"})),
        (&code, json!({"grant_type": "password"})),
        (&refresh, json!({"grant_type": "authorization_code"})),
        (&refresh, json!({"refresh_token": null})),
        (&refresh, json!({"client_secret": null})),
    ] {
        assert!(!takes("TokenRequest", &with(right.clone(), changes.clone())), "{changes}");
    }
    assert!(!takes("RevocationRequest", &json!({"token": "t", "client_id": null})));
}

#[test]
fn what_is_refused_by_its_form_alone_is_refused_by_the_document() {
    let long = "x".repeat(501);
    let webhook = |url: &str| json!({"url": url});
    let client = |field: &str, uri: &str| json!({"name": "a shop", field: [uri]});
    let endless = format!("https://shop.example.com/{}", "x".repeat(2_000));
    let keys = json!({"auth": "BTBZMqHH6r4Tts7J_aSIgg",
        "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"});
    for (schema, right, wrong) in [
        (
            "NewAuction",
            with(an_auction(), json!({"attributes": {"period": "18세기"}})),
            vec![
                with(an_auction(), json!({"attributes": {"period": long.clone()}})),
                with(an_auction(), json!({"attributes": {long.clone(): "x"}})),
                with(an_auction(), json!({"attributes": {"": "x"}})),
            ],
        ),
        (
            "AuctionChanges",
            json!({"attributes": {"period": "18세기"}}),
            vec![json!({"attributes": {"period": long}}), json!({"attributes": {"": "x"}})],
        ),
        (
            "NewWebhook",
            webhook("https://shop.example.com/hoga"),
            vec![webhook("http://shop.example.com/hoga"), webhook("ftp://shop.example.com/")],
        ),
        (
            "WebhookChanges",
            webhook("https://shop.example.com/hoga"),
            vec![webhook("http://shop.example.com/hoga")],
        ),
        (
            "NewClient",
            client("redirect_uris", "https://shop.example.com/callback"),
            vec![client("redirect_uris", &endless), client("allowed_origins", &endless)],
        ),
        (
            "BrowserPushSubscription",
            json!({"endpoint": "https://push.example.com/x", "keys": keys.clone()}),
            vec![json!({"endpoint": "http://push.example.com/x", "keys": keys.clone()})],
        ),
        (
            "BrowserPushKeys",
            keys.clone(),
            vec![
                with(keys.clone(), json!({"auth": "BTBZMqHH6r4Tts7J_aSI"})),
                with(keys.clone(), json!({"auth": "BTBZMqHH6r4Tts7J/aSIgg"})),
                with(keys.clone(), json!({"p256dh": "BCVx"})),
            ],
        ),
    ] {
        assert!(takes(schema, &right), "{schema}: {right}");
        for wrong in wrong {
            assert!(!takes(schema, &wrong), "{schema}: {wrong}");
        }
    }
}

#[test]
fn parameters_say_what_they_may_be() {
    let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let (long, beyond) = ("x".repeat(501), i64::MAX);
    for (path, name, right, wrong) in [
        ("/oauth/authorize", "response_type", json!("code"), json!("token")),
        ("/oauth/authorize", "response_mode", json!("query"), json!("fragment")),
        ("/oauth/authorize", "code_challenge", json!(challenge), json!(challenge[1..])),
        ("/oauth/authorize", "code_challenge_method", json!("S256"), json!("plain")),
        ("/oauth/authorize", "prompt", json!("select_account"), json!("Login")),
        ("/oauth/authorize", "state", json!("x".repeat(2_048)), json!("x".repeat(2_049))),
        ("/v1/auctions", "q", json!("달항아리"), json!(long)),
        ("/v1/auctions", "category", json!("art"), json!(long)),
        ("/v1/auctions", "min_price", json!(1), json!(beyond)),
        ("/v1/auctions", "max_price", json!(1), json!(beyond)),
        ("/problems/{code}", "code", json!("bid_too_low"), json!("bid_to_low")),
    ] {
        let parameters = DOCUMENT["paths"][path]["get"]["parameters"].as_array().unwrap();
        let one = parameters.iter().find(|parameter| parameter["name"] == name).unwrap();
        assert!(conforms(&one["schema"], &right, name).is_ok(), "{path} {name}: {right}");
        assert!(conforms(&one["schema"], &wrong, name).is_err(), "{path} {name}: {wrong}");
    }
}

#[test]
fn what_must_be_visible_and_on_one_line_says_so() {
    let fields = ["title", "category", "image_keys", "attributes"];
    for (schema, field) in
        ["NewAuction", "AuctionChanges"].iter().flat_map(|schema| fields.map(|f| (*schema, f)))
    {
        let property = &DOCUMENT["components"]["schemas"][schema]["properties"][field];
        let said = property["description"].as_str().unwrap().to_ascii_lowercase();
        assert!(said.contains("visible") && said.contains("one line"), "{schema}.{field}: {said}");
    }
}

#[tokio::test]
async fn head_answers_the_headers_of_get_without_a_body() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    // From now on nothing changes by itself.
    minji.auction_once(&id, "live").await;
    for path in [
        format!("/v1/auctions/{id}"),
        format!("/v1/auctions/{id}/log"),
        "/v1/auctions".to_owned(),
        "/v1/me".to_owned(),
        "/healthz".to_owned(),
        "/openapi.json".to_owned(),
        "/v1/auctions/x".to_owned(),
        format!("/v1/auctions/{}", uuid::Uuid::now_v7()),
    ] {
        let whole = minji.get(&path).await;
        let head = minji.send(minji.request(Method::HEAD, &path)).await;
        assert_eq!(head.status, whole.status, "{path}");
        assert!(head.bytes.is_empty(), "{path}");
        for name in ["content-type", "etag", "cache-control"] {
            assert_eq!(head.header(name), whole.header(name), "{path}: {name}");
        }
        if whole.status == 200 {
            assert_eq!(
                head.header("content-length"),
                Some(&*whole.bytes.len().to_string()),
                "{path}"
            );
        }
    }
    let tag = minji.get(&format!("/v1/auctions/{id}")).await.tag();
    let known = minji.request(Method::HEAD, &format!("/v1/auctions/{id}"));
    assert_eq!(minji.send(known.header("if-none-match", tag)).await.status, 304);
}

#[tokio::test]
async fn head_of_a_stream_opens_none_and_spends_no_ticket() {
    let server = TestServer::spawn();
    let (sora, minji) = (server.seller("sora").await, server.bidder("minji").await);
    let id = sora.sells(an_auction()).await;
    let ticket = minji.post("/v1/me/events/ticket", &Value::Null).await.with_status(201);
    let mine = format!("/v1/me/events?ticket={}", ticket["ticket"].as_str().unwrap());
    let anyone = server.anonymous();
    for path in
        [format!("/v1/auctions/{id}/events"), format!("/v1/events?auctions={id}"), mine.clone()]
    {
        let head = anyone.send(anyone.request(Method::HEAD, &path)).await;
        assert_eq!(head.status, 200, "{path}");
        assert_eq!(head.header("content-type"), Some("text/event-stream"), "{path}");
        assert!(head.bytes.is_empty(), "{path}");
    }
    assert_eq!(anyone.stream(&mine, None).await.next().await.unwrap().event, "snapshot");
    // What a `GET` would be refused for, `HEAD` is refused for too: a used ticket, and a made-up one.
    for path in [mine.as_str(), "/v1/me/events?ticket=bogus"] {
        let head = anyone.send(anyone.request(Method::HEAD, path)).await;
        assert_eq!(head.status, anyone.get(path).await.status, "{path}");
        assert_eq!(head.status, 401, "{path}");
    }
    let missing = format!("/v1/auctions/{}/events", uuid::Uuid::now_v7());
    assert_eq!(anyone.send(anyone.request(Method::HEAD, &missing)).await.status, 404);
}

#[tokio::test]
async fn where_a_get_does_something_there_is_no_head() {
    let server = TestServer::spawn();
    let anyone = server.anonymous();
    for path in ["/oauth/authorize", "/oauth/kakao/callback", "/webhooks/kakao"] {
        let answer = anyone.send(anyone.request(Method::HEAD, path)).await;
        assert_eq!(answer.status, 405, "{path}");
        assert!(!answer.header("allow").unwrap().contains("HEAD"), "{path}");
    }
}

#[tokio::test]
async fn an_id_has_one_form() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let id = sora.sells(an_auction()).await;
    sora.get(&format!("/v1/auctions/{id}")).await.with_status(200);
    for other in [id.to_uppercase(), id.replace('-', ""), format!("urn:uuid:{id}")] {
        sora.get(&format!("/v1/auctions/{other}")).await.refused(404, "invalid_id");
    }
    let seller = sora.id.to_string();
    let sold_by = async |seller: &str| sora.get(&format!("/v1/auctions?seller={seller}")).await;
    assert_eq!(sold_by(&seller).await.with_status(200)["items"][0]["id"], *id);
    let braced = format!("%7B{seller}%7D");
    for other in
        [seller.to_uppercase(), seller.replace('-', ""), format!("urn:uuid:{seller}"), braced]
    {
        sold_by(&other).await.refused(400, "invalid_query");
    }
    let after = |last: String| {
        let many = sora.request(Method::GET, &format!("/v1/events?auctions={id}"));
        sora.send(many.header("last-event-id", last))
    };
    for other in [id.to_uppercase(), id.replace('-', ""), format!("{{{id}}}")] {
        after(format!("{other}:1")).await.refused(400, "invalid_event_id");
    }
}

#[test]
fn what_is_left_out_of_a_request_is_not_null() {
    let text = DOCUMENT.to_string();
    assert!(!text.contains("\"default\":null"));
}

#[tokio::test]
async fn a_field_that_is_missing_is_named() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let missing = json!({"title": "x", "ends_at": "2036-12-01T09:00:00.000Z"});
    let problem = sora.post("/v1/auctions", &missing).await.refused(422, "invalid_request");
    assert_eq!(problem["errors"][0]["field"], "opening_price", "{problem}");
    let mut deep = an_auction();
    deep["soft_close"] = json!({"trigger_window_s": 300});
    let problem = sora.post("/v1/auctions", &deep).await.refused(422, "invalid_request");
    assert_eq!(problem["errors"][0]["field"], "soft_close.extension_s", "{problem}");
}

#[tokio::test]
async fn the_samples_ask_for_headers_without_waiting_for_a_body() {
    let server = TestServer::spawn();
    let page = server.anonymous().get("/docs").await;
    let page = String::from_utf8(page.bytes.to_vec()).unwrap();
    assert!(page.contains("curl --head"));
    assert!(!page.contains("-X HEAD"));
}

#[tokio::test]
async fn what_is_wrong_with_the_item_and_with_its_terms_is_said_at_once() {
    let server = TestServer::spawn();
    let sora = server.seller("sora").await;
    let wrong = json!({"title": "", "category": "", "reserve_price": 1, "buy_now_price": 1});
    let answer = sora.post("/v1/auctions", &with(an_auction(), wrong)).await;
    let fields = answer.wrong_fields();
    for field in ["title", "category", "reserve_price", "buy_now_price"] {
        assert!(fields.iter().any(|wrong| wrong == field), "{field} is not among {fields:?}");
    }
}
