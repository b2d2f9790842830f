//! What Hoga answers people's own browsers: the front page, the API document to be read, and the
//! problems of the two steps of a login, where no program reads the answer.
//!
//! A page loads its style, its icon and at most one script from this server and nothing else, and
//! works without the script.

mod docs;
mod home;
mod served;

use actix_web::{
    HttpRequest, HttpResponseBuilder,
    dev::ServiceRequest,
    guard,
    http::{Method, header},
    web,
};
use maud::{DOCTYPE, Markup, html};

use self::{docs::Docs, home::Home};
use crate::http::kit::{
    context,
    operations::Operation,
    problem::{Language, ProblemBody},
};

/// What whole pages may load, and that nobody frames them.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
                           img-src 'self'; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'none'";

/// What pages need to keep between requests, on every thread the same.
#[derive(Default)]
pub struct Pages {
    home: Home,
    docs: Docs,
}

/// The pages and what they load, for `GET` and `HEAD`.
pub(super) fn mount(config: &mut web::ServiceConfig) {
    let read = |path| {
        let is_read = guard::Any(guard::Get()).or(guard::Method(Method::HEAD));
        web::resource(path).guard(is_read)
    };
    config
        .service(read("/").to(home::get_home))
        .service(read("/docs").to(docs::get_docs))
        .service(web::redirect("/docs/", "/docs").permanent())
        .service(read("/openapi.json").to(docs::get_openapi))
        .service(read("/assets/{name}").to(served::get_asset));
}

/// The language that `?lang=` asks for, else the one that the browser prefers.
fn language(request: &HttpRequest) -> Language {
    let mut parameters = form_urlencoded::parse(request.query_string().as_bytes());
    match parameters.find(|(name, _)| name == "lang").as_ref().map(|(_, value)| value.as_ref()) {
        Some("ko") => Language::Korean,
        Some("en") => Language::English,
        Some(_) | None => context::language(request.headers()),
    }
}

impl Language {
    /// The text in this language.
    const fn say<'a>(self, en: &'a str, ko: &'a str) -> &'a str {
        match self {
            Language::English => en,
            Language::Korean => ko,
        }
    }
}

/// A whole page around its content.
struct Frame<'a> {
    language: Language,
    title: &'a str,
    /// Its own path, for the switch of languages.
    path: &'a str,
    /// A module under `/assets/`, if it has one.
    script: Option<&'a str>,
}

impl Frame<'_> {
    fn around(&self, content: &Markup) -> String {
        let Frame { language, title, path, script } = self;
        let switch = |to: Language, name: &str| {
            html! {
                a href={ (path) "?lang=" (to.tag()) } lang=(to.tag()) hreflang=(to.tag())
                    aria-current=[(*language == to).then_some("true")] { (name) }
            }
        };
        let page = html! {
            (DOCTYPE)
            html lang=(language.tag()) {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (title) }
                    link rel="icon" href="/assets/hoga.svg" type="image/svg+xml";
                    link rel="stylesheet" href="/assets/hoga.css";
                    @if let Some(script) = script {
                        script type="module" src={ "/assets/" (script) } {}
                    }
                }
                body {
                    header class="bar" {
                        div class="wide" {
                            a class="brand" href={ "/?lang=" (language.tag()) } {
                                img src="/assets/hoga.svg" alt="" width="28" height="28";
                                "Hoga"
                            }
                            nav aria-label=(language.say("Language", "언어")) {
                                (switch(Language::Korean, "한국어"))
                                (switch(Language::English, "English"))
                            }
                        }
                    }
                    (content)
                }
            }
        };
        page.into_string()
    }
}

/// The headers of whole pages besides those about their content.
fn write_page_headers(response: &mut HttpResponseBuilder) {
    response
        .insert_header((header::CONTENT_SECURITY_POLICY, PAGE_POLICY))
        .insert_header((header::REFERRER_POLICY, "same-origin"));
}

/// Nothing is loaded and nothing frames it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// Whether a problem is to be a page.
pub(super) fn is_wanted(operation: &Operation, request: &ServiceRequest) -> bool {
    let accepted = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    operation.line.is_for_people && accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

pub(super) fn write_headers(response: &mut HttpResponseBuilder) {
    response
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-store"));
}

pub(super) fn of(problem: &ProblemBody, language: Language) -> String {
    let lang = language.tag();
    let [title, detail, code, id] =
        [&problem.title, &problem.detail, problem.code.word(), &problem.request_id].map(escaped);
    format!(
        "<!doctype html>\n<html lang=\"{lang}\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>body{{font:1rem/1.6 sans-serif;max-width:32rem;margin:4rem auto;padding:0 1rem}}\
         small{{color:#666}}</style>\n<h1>{title}</h1>\n<p>{detail}</p>\n\
         <p><small><code>{code}</code> · {id}</small></p>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::kit::problem::{Code, Problem};

    #[test]
    fn what_comes_from_outside_is_text() {
        let problem = Problem::found(Code::InvalidQuery, "<b>&\"");
        let page = of(&problem.body(Language::Korean, "", "<script>"), Language::Korean);
        assert!(page.contains("&lt;b&gt;&amp;&quot;") && page.contains("&lt;script&gt;"));
        assert!(!page.contains("<script>") && page.contains("lang=\"ko\""));
    }
}
