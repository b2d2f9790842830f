//! Which operation a request is, before it is routed: by the path that the router reads, in which
//! what was percent-encoded is decoded.
//!
//! Whatever is decided for a request as a whole (its budget, whether health checks pass, who may
//! cache its answer, what its errors look like) is decided by this, never by the path as it was
//! written, of which there are many for each operation.

use std::sync::LazyLock;

use actix_web::{
    dev::{ResourceDef, ServiceRequest},
    http::Method,
};

use super::{
    access::{Proof, Who},
    head,
    problem::Code,
};
use crate::http::routes;

/// As what a request counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Not at all: health checks, what never changes.
    Not,
    /// Among an address's steps of logins.
    AsLogin,
    /// By its handler, when that knows whose client it is.
    OnceClientIsKnown,
    /// Among the caller's bids.
    AsBid,
    /// Among everything else of the caller's.
    AsRequest,
}

/// Who may keep an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// It does not depend on who asks.
    AsItSays,
    /// It does: the caller's own cache, and it asks again each time.
    Personal,
    /// It holds what nobody else may ever see, and has no use later.
    Never,
}

/// What any operation can answer.
pub const COMMON: &[Code] = &[
    Code::MethodNotAllowed,
    Code::RateLimited,
    Code::Overloaded,
    Code::Internal,
    Code::ShuttingDown,
    Code::Unavailable,
];

/// One line of the table of operations ([`routes::TABLE`]).
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// Its `operationId`, which is its handler's name.
    pub id: &'static str,
    /// Who may call it.
    pub who: Who,
    /// As what it counts.
    pub counted: Counted,
    /// Who may keep its answers, where that does not follow from who may call.
    kept: Option<Caching>,
    /// Asked by whoever looks after the server: answered also where there is no room.
    pub is_health: bool,
    /// Where a person's own browser goes, which gets its problems as a page.
    pub is_for_people: bool,
    problems: &'static [&'static [Code]],
}

/// The line of an operation that these may call.
pub const fn by(who: Who) -> Line {
    Line {
        id: "",
        who,
        counted: Counted::AsRequest,
        kept: None,
        is_health: false,
        is_for_people: false,
        problems: &[],
    }
}

impl Line {
    /// The same, by its handler's name.
    pub const fn named(self, id: &'static str) -> Line {
        Line { id, ..self }
    }

    /// The same, counted otherwise than among the caller's requests.
    pub const fn counted(self, counted: Counted) -> Line {
        Line { counted, ..self }
    }

    /// The same, whose answers are kept otherwise than those of others whom the same may call.
    pub const fn kept(self, caching: Caching) -> Line {
        Line { kept: Some(caching), ..self }
    }

    /// The same, for whoever looks after the server.
    pub const fn for_health(self) -> Line {
        Line { is_health: true, ..self }
    }

    /// The same, for people's own browsers.
    pub const fn for_people(self) -> Line {
        Line { is_for_people: true, ..self }
    }

    /// The same, with the problems of its own, in groups.
    pub const fn gives(self, problems: &'static [&'static [Code]]) -> Line {
        Line { problems, ..self }
    }

    /// Who may keep its answers.
    pub const fn caching(&self) -> Caching {
        match (self.kept, self.who.proof()) {
            (Some(caching), _) => caching,
            (None, Proof::OptionalToken | Proof::Token) => Caching::Personal,
            (None, Proof::None | Proof::Client | Proof::Kakao) => Caching::AsItSays,
        }
    }

    /// The problems that follow neither from who may call nor from what any operation can answer.
    pub fn own(&self) -> impl Iterator<Item = Code> {
        self.problems.iter().copied().flatten().copied()
    }

    /// Every code that it can answer, each once.
    pub fn codes(&self) -> Vec<Code> {
        let mut codes = Vec::new();
        let all = self.who.refusals().into_iter().chain(self.own()).chain(COMMON.iter().copied());
        for code in all {
            if !codes.contains(&code) {
                codes.push(code);
            }
        }
        codes
    }
}

/// The line of an operation, by its id.
pub fn line(operation_id: &str) -> Option<&'static Line> {
    routes::TABLE.iter().find(|line| line.id == operation_id)
}

/// A line with the requests that it is about.
#[derive(Debug)]
pub struct Operation {
    /// What the table says of it.
    pub line: &'static Line,
    method: Method,
    path: ResourceDef,
    segments: usize,
}

static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    let mut operations = Vec::new();
    for (path, item) in routes::collected().paths.paths {
        let methods = [
            (Method::GET, item.get),
            (Method::POST, item.post),
            (Method::PUT, item.put),
            (Method::PATCH, item.patch),
            (Method::DELETE, item.delete),
        ];
        for (method, operation) in methods {
            let id = operation.and_then(|operation| operation.operation_id);
            let Some(line) = id.as_deref().and_then(line) else { continue };
            let (segments, path) = (segments(&path), ResourceDef::new(path.as_str()));
            operations.push(Operation { line, method, path, segments });
        }
    }
    // Bids are looked for first.
    operations.sort_by_key(|operation| operation.line.counted != Counted::AsBid);
    operations
});

fn segments(path: &str) -> usize {
    path.bytes().filter(|byte| *byte == b'/').count()
}

/// The path by which a request is routed.
pub fn path(request: &ServiceRequest) -> &str {
    request.match_info().as_str()
}

/// Which operation a request is, if it is any.
pub fn of(request: &ServiceRequest) -> Option<&'static Operation> {
    find(request.method(), path(request))
}

fn find(method: &Method, path: &str) -> Option<&'static Operation> {
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let segments = segments(path);
    OPERATIONS
        .iter()
        .filter(|operation| operation.segments == segments && operation.method == *method)
        .find(|operation| operation.path.is_match(path))
}

/// As what a request counts. What is none of the operations counts too: a page costs what a list
/// costs, and somebody who tries paths is somebody who asks. Preflights are answered before.
pub fn counted(operation: Option<&Operation>) -> Counted {
    operation.map_or(Counted::AsRequest, |operation| operation.line.counted)
}

/// The methods that a path has, separated by commas, for those who come with another one; `None`
/// where there is no such path.
pub fn methods_of(path: &str) -> Option<String> {
    let segments = segments(path);
    let there = OPERATIONS
        .iter()
        .filter(|operation| operation.segments == segments && operation.path.is_match(path));
    let mut methods: Vec<&str> = there.map(|operation| operation.method.as_str()).collect();
    if methods.contains(&"GET") && !head::DOES_SOMETHING.contains(&path) {
        methods.push("HEAD");
    }
    methods.sort_by_key(|method| {
        ["GET", "POST", "PUT", "PATCH", "DELETE"].iter().position(|m| m == method).unwrap_or(5)
    });
    (!methods.is_empty()).then(|| methods.join(", "))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn counted_as(method: Method, uri: &str) -> Counted {
        let request = TestRequest::default().method(method).uri(uri).to_srv_request();
        counted(of(&request))
    }

    #[test]
    fn a_path_counts_alike_however_it_is_written() {
        for (method, uri, as_what) in [
            (Method::POST, "/v1/auctions/x/bids", Counted::AsBid),
            (Method::POST, "/v1/auctions/x/bid%73", Counted::AsBid),
            (Method::POST, "/%761/auctions/x/%62uy-now", Counted::AsBid),
            (Method::POST, "/v1/auctions/x/bids/3/retractio%6e", Counted::AsBid),
            (Method::GET, "/v1/auctions/x/bids", Counted::AsRequest),
            (Method::GET, "/%761/auctions", Counted::AsRequest),
            (Method::HEAD, "/%761/auctions", Counted::AsRequest),
            (Method::GET, "/v1/no-such-thing", Counted::AsRequest),
            (Method::GET, "/%76%31/no-such-thing", Counted::AsRequest),
            (Method::GET, "/oauth/authorize?client_id=x", Counted::AsLogin),
            (Method::GET, "/oauth/%61uthorize?client_id=x", Counted::AsLogin),
            (Method::GET, "/%6fauth/kakao/callback", Counted::AsLogin),
            (Method::POST, "/webhook%73/kakao", Counted::AsRequest),
            (Method::POST, "/oauth/token", Counted::OnceClientIsKnown),
            (Method::GET, "/healthz", Counted::Not),
            (Method::GET, "/health%7A", Counted::Not),
            (Method::GET, "/problems/not_found", Counted::Not),
            (Method::GET, "/", Counted::AsRequest),
            (Method::GET, "/x", Counted::AsRequest),
            (Method::GET, "/docs", Counted::AsRequest),
            (Method::GET, "/openapi.json", Counted::AsRequest),
            (Method::GET, "/assets/x.css", Counted::AsRequest),
            (Method::POST, "/healthz", Counted::AsRequest),
            (Method::OPTIONS, "/v1/auctions", Counted::AsRequest),
        ] {
            assert_eq!(counted_as(method.clone(), uri), as_what, "{method} {uri}");
        }
    }

    #[test]
    fn no_path_counts_as_less_than_it_is() {
        // The router leaves these as they are, and so do we: neither is `/v1/auctions/x/bids`.
        for uri in ["/v1/auctions/x%2Fbids", "/v1/auctions/x/bids/", "//v1/auctions/x/bids"] {
            assert_ne!(counted_as(Method::POST, uri), Counted::AsBid, "{uri}");
        }
    }

    #[test]
    fn answers_that_depend_on_the_caller_are_theirs() {
        let caching = |method, path| find(&method, path).expect("an operation").line.caching();
        assert_eq!(caching(Method::GET, "/v1/auctions/x"), Caching::Personal);
        assert_eq!(caching(Method::GET, "/v1/auctions"), Caching::Personal);
        assert_eq!(caching(Method::GET, "/v1/auctions/x/bidding"), Caching::Never);
        assert_eq!(caching(Method::GET, "/v1/me"), Caching::Personal);
        assert_eq!(caching(Method::GET, "/v1/auctions/x/log"), Caching::AsItSays);
    }

    #[test]
    fn the_methods_of_a_path_are_known() {
        let methods = methods_of("/v1/auctions/x");
        assert_eq!(methods.as_deref(), Some("GET, PATCH, DELETE, HEAD"));
        assert_eq!(methods_of("/v1/nothing"), None);
    }
}
