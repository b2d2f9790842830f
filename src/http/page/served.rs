//! Bytes that are the same for everybody until the program changes: made once, compressed once, and
//! sent again only to whoever does not have them.

use std::{io::Write, sync::LazyLock};

use actix_web::{HttpRequest, HttpResponse, ResponseError, http::header, web};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

use super::write_page_headers;
use crate::http::kit::{
    body,
    problem::{Code, Problem},
};

/// A body with its tag, as it is and with gzip.
pub(super) struct Served {
    content_type: &'static str,
    plain: Bytes,
    gzipped: Option<Bytes>,
    hash: String,
}

impl Served {
    pub fn new(content_type: &'static str, body: impl Into<Bytes>) -> Served {
        let plain: Bytes = body.into();
        let hash = const_hex::encode(&Sha256::digest(&plain)[..8]);
        let gzipped = gzipped(&plain).filter(|gzipped| gzipped.len() < plain.len());
        Served { content_type, plain, gzipped, hash }
    }

    /// In the encoding that the caller takes, unless they have it already. `varies` names the
    /// headers of the request, besides `Accept-Encoding`, by which this one was chosen.
    pub fn answer(&self, request: &HttpRequest, varies: &str) -> HttpResponse {
        let gzipped = self.gzipped.as_ref().filter(|_| takes_gzip(request));
        // Each encoding is other bytes, so it has a tag of its own.
        let tag = match gzipped {
            Some(_) => format!("\"{}-gzip\"", self.hash),
            None => format!("\"{}\"", self.hash),
        };
        let is_known = body::is_known(request, &tag);
        let mut answer = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        answer
            .insert_header((header::ETAG, tag))
            .insert_header((header::CACHE_CONTROL, "public, no-cache"))
            .insert_header((header::VARY, format!("Accept-Encoding{varies}")));
        if self.content_type.starts_with("text/html") {
            write_page_headers(&mut answer);
        }
        if is_known {
            return answer.finish();
        }
        answer.content_type(self.content_type);
        match gzipped {
            Some(gzipped) => {
                answer.insert_header((header::CONTENT_ENCODING, "gzip")).body(Bytes::clone(gzipped))
            }
            None => answer.body(self.plain.clone()),
        }
    }
}

fn gzipped(plain: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).ok()?;
    Some(encoder.finish().ok()?.into())
}

/// Whether `Accept-Encoding` has gzip, by its name or by `*`, and not with a weight of zero.
fn takes_gzip(request: &HttpRequest) -> bool {
    let accepted = request.headers().get_all(header::ACCEPT_ENCODING);
    let accepted = accepted.filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    let weights: Vec<(&str, bool)> = accepted
        .map(|coding| {
            let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = parameters.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
            (name.trim(), weight.is_ok_and(|weight| weight > 0.0))
        })
        .collect();
    let named = |wanted| weights.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
    named("gzip").or_else(|| named("*")).is_some_and(|(_, is_taken)| *is_taken)
}

static STYLE: LazyLock<Served> = LazyLock::new(|| {
    Served::new("text/css; charset=utf-8", include_bytes!("assets/hoga.css").as_slice())
});
static SCRIPT: LazyLock<Served> = LazyLock::new(|| {
    Served::new("text/javascript; charset=utf-8", include_bytes!("assets/docs.js").as_slice())
});
static ICON: LazyLock<Served> =
    LazyLock::new(|| Served::new("image/svg+xml", include_bytes!("assets/hoga.svg").as_slice()));

/// What the pages load.
pub(super) async fn get_asset(request: HttpRequest, name: web::Path<String>) -> HttpResponse {
    let asset = match name.as_str() {
        "hoga.css" => &STYLE,
        "docs.js" => &SCRIPT,
        "hoga.svg" => &ICON,
        _ => return Problem::from(Code::NotFound).error_response(),
    };
    asset.answer(&request, "")
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn gzip_goes_to_those_who_take_it() {
        let takes = |accepted: &str| {
            let request = TestRequest::default().insert_header((header::ACCEPT_ENCODING, accepted));
            takes_gzip(&request.to_http_request())
        };
        for taken in ["gzip", "br, gzip;q=0.5", "GZIP", "*", "deflate, *;q=0.1"] {
            assert!(takes(taken), "{taken}");
        }
        for refused in ["", "br", "identity", "gzip;q=0", "gzip;q=0, *", "*;q=0", "gzip;q=x"] {
            assert!(!takes(refused), "{refused}");
        }
        assert!(!takes_gzip(&TestRequest::default().to_http_request()));
    }
}
