//! One operation: what it does, who may, what it takes, what it answers, and how it is called.

use maud::{Markup, html};
use serde_json::Value;

use super::{Document, anchor, entries, items, sample, schema, text, typed, word};
use crate::{
    http::{
        kit::{
            access::Who,
            operations,
            problem::{Code, Language},
        },
        routes,
    },
    identity::Role,
};

#[derive(Clone, Copy)]
pub(super) struct Operation<'a> {
    pub document: Document<'a>,
    pub path: &'a str,
    /// In small letters, as the document has it.
    pub method: &'a str,
    pub operation: &'a Value,
}

impl<'a> Operation<'a> {
    /// Its anchor. What has no id is known by its method and path.
    pub fn id(&self) -> String {
        let id = word(self.operation, "operationId");
        if id.is_empty() {
            anchor(&format!("{} {}", self.method, self.path))
        } else {
            id.to_owned()
        }
    }

    pub fn tag(&self) -> &'a str {
        items(&self.operation["tags"]).next().and_then(Value::as_str).unwrap_or("service")
    }

    pub fn summary(&self) -> String {
        let summary = word(self.operation, "summary");
        if summary.is_empty() { self.id() } else { summary.to_owned() }
    }

    /// By which it is sorted: as the table of who may call has it, then by path.
    pub fn place(&self) -> (usize, String) {
        let id = word(self.operation, "operationId");
        let place = routes::TABLE.iter().position(|line| line.id == id);
        (place.unwrap_or(usize::MAX), self.path.to_owned())
    }

    /// What it is found by.
    pub fn words(&self) -> String {
        let words = [self.method, self.path, self.tag(), &self.id(), &self.summary()].join(" ");
        words.to_lowercase()
    }

    pub fn entry(&self) -> Markup {
        let Operation { document, operation, .. } = self;
        html! {
            details class="entry" id=(self.id()) data-words=(self.words()) {
                summary {
                    span class={ "method " (self.method) } { (self.method.to_uppercase()) }
                    span class="path" { (self.path) }
                    span class="about" lang="en" { (self.summary()) }
                }
                div class="body" {
                    (text::markdown(word(operation, "description")))
                    (self.who())
                    (self.parameters())
                    (self.request())
                    (self.answers())
                    (self.refusals())
                    (sample::both(self))
                    p class="caption" {
                        a href={ "#" (self.id()) } { "#" (self.id()) }
                        " · " (document.say("tag", "태그")) " " (self.tag())
                    }
                }
            }
        }
    }

    fn who(&self) -> Markup {
        let who = operations::line(word(self.operation, "operationId")).map(|line| line.who);
        html! {
            @if let Some(who) = who {
                h4 { (self.document.say("Who may call", "호출할 수 있는 사람")) }
                p { (who_in_words(who, self.document.language)) }
            }
        }
    }

    /// Those of the operation and those of its path.
    pub fn all_parameters(&self) -> impl Iterator<Item = &'a Value> {
        let document = self.document;
        let of_path = items(&document.document["paths"][self.path]["parameters"]);
        of_path.chain(items(&self.operation["parameters"])).map(move |p| document.resolved(p))
    }

    fn parameters(&self) -> Markup {
        let document = &self.document;
        html! {
            @if self.all_parameters().next().is_some() {
                h4 { (document.say("Parameters", "매개변수")) }
                ul class="fields" {
                    @for parameter in self.all_parameters() {
                        li {
                            span class="name" { code { (word(parameter, "name")) } } " "
                            span class="type" {
                                (word(parameter, "in")) ", "
                                (schema::kind(&parameter["schema"]))
                                (schema::demands(&parameter["schema"]))
                            }
                            @if parameter["required"] == true {
                                " " span class="must" { (document.say("required", "필수")) }
                            }
                            (text::markdown(word(parameter, "description")))
                            @if !parameter["example"].is_null() {
                                p class="caption" {
                                    (document.say("such as ", "예: ")) code { (typed(&parameter["example"])) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    pub fn request_body(&self) -> &'a Value {
        self.document.resolved(&self.operation["requestBody"])
    }

    fn request(&self) -> Markup {
        let body = self.request_body();
        html! {
            @if body.is_object() {
                h4 {
                    (self.document.say("Request", "요청 본문"))
                    @if body["required"] != true { " (" (self.document.say("optional", "선택")) ")" }
                }
                (text::markdown(word(body, "description")))
                (self.content(&body["content"]))
            }
        }
    }

    fn answers(&self) -> Markup {
        let answers = entries(&self.operation["responses"]);
        let answers = answers.filter(|(status, _)| !is_refusal(status));
        html! {
            @for (status, answer) in answers {
                @let answer = self.document.resolved(answer);
                h4 { (self.document.say("Answer", "응답")) " " (status) }
                (text::markdown(word(answer, "description")))
                @if answer["headers"].is_object() {
                    ul class="fields" {
                        @for (name, header) in entries(&answer["headers"]) {
                            li {
                                span class="name" { code { (name) } } " "
                                span class="type" { (schema::kind(&header["schema"])) }
                                (text::markdown(word(header, "description")))
                            }
                        }
                    }
                }
                (self.content(&answer["content"]))
            }
        }
    }

    /// Each type of a body, with its schema and its examples.
    fn content(&self, content: &'a Value) -> Markup {
        html! {
            @for (kind, media) in entries(content) {
                p class="caption" { code { (kind) } }
                @if media["x-frame-schema"].is_object() {
                    (schema::body(&self.document, &media["x-frame-schema"]))
                } @else {
                    (schema::body(&self.document, &media["schema"]))
                }
                @for (title, example) in self.examples(media) {
                    p class="caption" { (self.document.say("Example", "예시")) " " (title) }
                    pre tabindex="0" { (example.as_str().map_or_else(|| schema::pretty(example), str::to_owned)) }
                }
            }
        }
    }

    /// The media type's own, else that of its schema.
    pub fn examples(&self, media: &'a Value) -> Vec<(&'a str, &'a Value)> {
        if !media["example"].is_null() {
            return vec![("", &media["example"])];
        }
        let named: Vec<_> = entries(&media["examples"])
            .map(|(name, example)| {
                let example = self.document.resolved(example);
                let summary = word(example, "summary");
                (if summary.is_empty() { name.as_str() } else { summary }, &example["value"])
            })
            .filter(|(_, value)| !value.is_null())
            .collect();
        if !named.is_empty() {
            return named;
        }
        let schema = self.document.resolved(&media["schema"]);
        let of_schema = [&schema["example"], &schema["examples"][0]];
        of_schema
            .into_iter()
            .find(|example| !example.is_null())
            .map(|e| ("", e))
            .into_iter()
            .collect()
    }

    fn refusals(&self) -> Markup {
        let refusals: Vec<_> = entries(&self.operation["responses"])
            .filter(|(status, _)| is_refusal(status))
            .map(|(status, answer)| (status, self.document.resolved(answer)))
            .collect();
        html! {
            @if !refusals.is_empty() {
                h4 { (self.document.say("Errors", "오류")) }
                ul class="codes" {
                    @for (status, answer) in refusals {
                        @let codes = codes_in(word(answer, "description"));
                        @if codes.is_empty() {
                            li { strong { (status) } " " (text::markdown(word(answer, "description"))) }
                        }
                        @for code in codes {
                            li {
                                strong { (status) } " "
                                a href={ "/problems/" (code.word()) } { code { (code.word()) } } " "
                                span class="muted" { (code.title(self.document.language)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn is_refusal(status: &str) -> bool {
    status.starts_with(['4', '5'])
}

/// The problems that a description names, between backticks.
fn codes_in(description: &str) -> Vec<Code> {
    let mut codes: Vec<Code> = Vec::new();
    for code in description.split('`').skip(1).step_by(2).filter_map(Code::from_word) {
        if !codes.contains(&code) {
            codes.push(code);
        }
    }
    codes
}

fn who_in_words(who: Who, language: Language) -> String {
    let (en, ko) = match who {
        Who::Anyone => ("Everybody, without a token.", "누구나. 토큰이 필요 없습니다."),
        Who::Reader => (
            "Everybody; with a token the answer may show more.",
            "누구나. 토큰을 보내면 더 많은 내용이 보일 수 있습니다.",
        ),
        Who::User => ("Every user who is logged in.", "로그인한 모든 사용자."),
        Who::SellerOfIt => ("The seller of the auction.", "해당 경매의 판매자."),
        Who::SellerOfItWhoSells => (
            "The seller of the auction, who must have the role seller.",
            "seller 역할이 있는 해당 경매의 판매자.",
        ),
        Who::SellerOfItOrAdmin => {
            ("The seller of the auction, or an admin.", "해당 경매의 판매자 또는 관리자.")
        }
        Who::BidderOfIt => ("The bidder of the bid.", "해당 입찰을 한 사람."),
        Who::OwnerOfAddress | Who::OwnerOfAlert | Who::OwnerOfPushSubscription => (
            "The user whose it is; for others it is not there.",
            "본인의 것일 때만. 다른 사람에게는 없는 것으로 보입니다.",
        ),
        Who::Client => (
            "Registered frontends, by client_id, and by their secret where they have one.",
            "등록된 프런트엔드. client_id로, 비밀키가 있으면 비밀키와 함께.",
        ),
        Who::Kakao => ("Kakao, by the app's admin key.", "카카오. 앱의 어드민 키로."),
        Who::Bidder | Who::Seller | Who::Admin => {
            let role = who.role().map_or("", Role::word);
            return match language {
                Language::English => format!("Users with the role {role}."),
                Language::Korean => format!("{role} 역할이 있는 사용자."),
            };
        }
    };
    language.say(en, ko).to_owned()
}
