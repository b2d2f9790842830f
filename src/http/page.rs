//! Problems as a page, where a person's own browser went and no program reads the answer: the two
//! steps of a login.

use actix_web::{HttpResponseBuilder, dev::ServiceRequest, http::header};

use super::{
    operations::Operation,
    problem::{Language, ProblemBody},
};

/// Nothing is loaded and nothing frames it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// Whether a problem is to be a page.
pub(super) fn is_wanted(operation: &Operation, request: &ServiceRequest) -> bool {
    let accepted = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    operation.is_for_people && accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

pub(super) fn write_headers(response: &mut HttpResponseBuilder) {
    response
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-store"));
}

pub(super) fn of(problem: &ProblemBody, language: Language) -> String {
    let lang = match language {
        Language::English => "en",
        Language::Korean => "ko",
    };
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
    use crate::http::problem::{Code, Problem};

    #[test]
    fn what_comes_from_outside_is_text() {
        let problem = Problem::found(Code::InvalidQuery, "<b>&\"");
        let page = of(&problem.body(Language::Korean, "", "<script>"), Language::Korean);
        assert!(page.contains("&lt;b&gt;&amp;&quot;") && page.contains("&lt;script&gt;"));
        assert!(!page.contains("<script>") && page.contains("lang=\"ko\""));
    }
}
