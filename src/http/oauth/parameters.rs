//! Parameters of a query or a form, as RFC 6749 wants them: none twice, empty ones left out,
//! unknown ones ignored.

use std::pin::Pin;

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, web::Bytes};

use super::token::Refused;
use crate::identity::oauth::{Denial, ErrorWord};

/// Longer queries and forms are refused.
const ENCODED_BYTES_MAX: usize = 16 * 1_024;
/// More parameters are refused.
const PARAMETERS_MAX: usize = 64;

/// What came, decoded.
pub(super) struct Parameters(Vec<(String, String)>);

/// A parameter that came more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeated;

impl Parameters {
    /// `None` when there is too much of it, or it is not UTF-8.
    pub(super) fn parse(encoded: &[u8]) -> Option<Parameters> {
        if encoded.len() > ENCODED_BYTES_MAX {
            return None;
        }
        let decoded = form_urlencoded::parse(encoded).into_owned();
        let parameters: Vec<(String, String)> = decoded.take(PARAMETERS_MAX + 1).collect();
        let is_text = |text: &str| !text.contains(char::REPLACEMENT_CHARACTER);
        let is_usable = parameters.len() <= PARAMETERS_MAX
            && parameters.iter().all(|(name, value)| is_text(name) && is_text(value));
        is_usable.then_some(Parameters(parameters))
    }

    /// The one value of a parameter, unless it is left out or empty.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Repeated> {
        let mut values = self.0.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let value = values.next();
        if values.next().is_some() {
            return Err(Repeated);
        }
        Ok(value.filter(|value| !value.is_empty()))
    }
}

impl From<Repeated> for Denial {
    fn from(_: Repeated) -> Denial {
        Denial::new(ErrorWord::InvalidRequest, "A parameter came more than once.")
    }
}

/// An `application/x-www-form-urlencoded` body. Parameters in the URL are refused: they would be
/// in the logs of every proxy.
pub struct Form(pub(super) Parameters);

impl FromRequest for Form {
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<Form, Refused>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_form =
            request.content_type().eq_ignore_ascii_case("application/x-www-form-urlencoded");
        let has_query = !request.query_string().is_empty();
        let bytes = Bytes::from_request(request, payload);
        Box::pin(async move {
            let invalid = |description| Denial::new(ErrorWord::InvalidRequest, description).into();
            let bytes = bytes.await.map_err(|_| invalid("The body cannot be read."))?;
            if !is_form {
                return Err(invalid("The body must be application/x-www-form-urlencoded."));
            }
            if has_query {
                return Err(invalid("Parameters belong into the body, not into the URL."));
            }
            let parsed = Parameters::parse(&bytes);
            parsed.map(Form).ok_or_else(|| invalid("The body is too long, or not UTF-8."))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_counts_once_and_an_empty_one_not_at_all() {
        let parameters = Parameters::parse(b"a=1&b=&c=2&c=3&d=%EA%B0%80+x&e").expect("parsed");
        assert_eq!(parameters.one("a"), Ok(Some("1")));
        assert_eq!(parameters.one("b"), Ok(None));
        assert_eq!(parameters.one("c"), Err(Repeated));
        assert_eq!(parameters.one("d"), Ok(Some("가 x")));
        assert_eq!(parameters.one("e"), Ok(None));
        assert_eq!(parameters.one("f"), Ok(None));
    }

    #[test]
    fn what_is_not_utf8_or_without_end_is_refused() {
        assert!(Parameters::parse(b"a=%FF").is_none());
        assert!(Parameters::parse("a=1&".repeat(PARAMETERS_MAX + 1).as_bytes()).is_none());
        assert!(Parameters::parse(&vec![b'a'; ENCODED_BYTES_MAX + 1]).is_none());
        assert!(Parameters::parse("a=1&".repeat(PARAMETERS_MAX).as_bytes()).is_some());
    }
}
