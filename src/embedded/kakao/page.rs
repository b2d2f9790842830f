//! The stand-in's pages: who do you want to be, and what went wrong. Plain HTML in Korean and
//! English, without scripts and without anything from elsewhere.

use std::sync::LazyLock;

use actix_web::{HttpResponse, http::StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use super::Person;

const STYLE: &str = "
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0; display: grid; place-items: center; min-height: 100vh; }
main { width: min(26rem, 100% - 2rem); padding: 1rem 0; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; }
.note { border: 2px dashed currentColor; border-radius: .5rem; padding: .75rem 1rem; }
.note p { margin: 0; }
ul { list-style: none; margin: 1rem 0; padding: 0; display: grid; gap: .5rem; }
button { font: inherit; width: 100%; min-height: 3rem; padding: .5rem 1rem; border-radius: .5rem; border: 1px solid; cursor: pointer; }
button.person { background: #fee500; color: #191919; border-color: #b8a600; font-weight: 600; }
button:focus-visible { outline: 3px solid #1a5fb4; outline-offset: 2px; }
[lang=en] { display: block; font-size: .875em; font-weight: 400; }
";

/// Nothing but our own style; not inside of another page. No `form-action`: a choice is answered
/// with a redirect to the frontend, which browsers would hold against it.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; frame-ancestors 'none'"
    )
});

const TITLE: &str = "카카오 로그인 대역 · Stand-in for Kakao Login";

/// What everybody who sees a page must know.
const NOTE: &str = "<div class=\"note\" role=\"note\">\
<p><strong>여기는 카카오가 아닙니다.</strong> 설정 없이 실행한 Hoga의 데모용 대역이며, 비밀번호를 묻지 않습니다.</p>\
<p lang=\"en\"><strong>This is not Kakao.</strong> It is a stand-in that Hoga has when it runs without configuration. It never asks for a password.</p>\
</div>";

/// Who do you want to be?
pub(super) fn choice(ticket: &str, people: &[Person]) -> HttpResponse {
    let buttons: String = people.iter().map(button).collect();
    let ticket = escaped(ticket);
    let body = format!(
        "<h1>누구로 로그인할까요? <span lang=\"en\">Who do you want to be?</span></h1>\n{NOTE}\n\
         <form method=\"post\" action=\"authorize\">\n\
         <input type=\"hidden\" name=\"ticket\" value=\"{ticket}\">\n\
         <ul>\n{buttons}</ul>\n\
         <button type=\"submit\" name=\"choice\" value=\"refuse\">동의하지 않고 돌아가기 \
         <span lang=\"en\">Refuse and go back</span></button>\n</form>"
    );
    page(StatusCode::OK, &body)
}

fn button(person: &Person) -> String {
    let (id, name, about) = (person.id, escaped(&person.nickname), escaped(&person.about));
    format!(
        "<li><button class=\"person\" type=\"submit\" name=\"choice\" value=\"{id}\">{name} \
         <span lang=\"en\">Continue as {about}</span></button></li>\n"
    )
}

/// What is wrong with what a browser came with.
pub(super) struct Wrong {
    status: u16,
    code: &'static str,
    korean: &'static str,
    english: &'static str,
}

/// Another app, or none.
pub(super) const APP_KEY: Wrong = Wrong {
    status: 401,
    code: "KOE101",
    korean: "앱 키가 올바르지 않습니다.",
    english: "The app key is wrong.",
};
/// Somewhere that the app did not register.
pub(super) const REDIRECT_URI: Wrong = Wrong {
    status: 400,
    code: "KOE006",
    korean: "등록되지 않은 Redirect URI입니다.",
    english: "The redirect URI is not registered.",
};
/// Something else.
pub(super) const REQUEST: Wrong = Wrong {
    status: 400,
    code: "KOE001",
    korean: "잘못된 요청입니다.",
    english: "The request is not valid.",
};
/// A page that was left open, or used before.
pub(super) const TICKET: Wrong = Wrong {
    status: 400,
    code: "KOE001",
    korean: "오래되었거나 이미 사용한 페이지입니다. 앱으로 돌아가 다시 시도하세요.",
    english: "This page is too old or was used before. Go back to the app and try again.",
};

/// What went wrong, as Kakao shows it to the browser: with its code, and no way back to an app
/// that cannot be trusted.
pub(super) fn error(wrong: &Wrong) -> HttpResponse {
    let Wrong { status, code, korean, english } = *wrong;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let body = format!(
        "<h1>로그인할 수 없습니다 <span lang=\"en\">You cannot log in</span></h1>\n{NOTE}\n\
         <p role=\"alert\">{korean} <span lang=\"en\">{english}</span> ({code})</p>"
    );
    page(status, &body)
}

fn page(status: StatusCode, body: &str) -> HttpResponse {
    HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .insert_header(("Cache-Control", "no-store"))
        .insert_header(("Content-Security-Policy", POLICY.as_str()))
        .insert_header(("Referrer-Policy", "no-referrer"))
        .body(format!(
            "<!doctype html>\n<html lang=\"ko\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{TITLE}</title>\n<style>{STYLE}</style>\n</head>\n\
             <body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
        ))
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_on_a_page_is_text() {
        assert_eq!(escaped("<a b=\"c\" d='e'>&"), "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;");
        let person = Person { id: 7, nickname: "<script>".into(), about: "<b>".into() };
        let button = button(&person);
        assert!(!button.contains("<script>") && !button.contains("<b>"), "{button}");
    }
}
