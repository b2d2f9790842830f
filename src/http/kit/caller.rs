//! Callers as types: a handler that takes a [`Bidder`] cannot be reached by anybody else.

use std::{
    future::{Ready, ready},
    sync::Arc,
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, http::header, web};

use super::problem::{Advice, Code, Problem};
use crate::{
    config::SellerModel,
    domain::id::UserId,
    http::State,
    identity::{Caller, Role, tokens::TokenError},
    wall_clock,
};

/// Anybody with a valid token.
pub struct User(pub Arc<Caller>);
/// Somebody who may bid.
pub struct Bidder(pub UserId);
/// Somebody who may sell: who has the role, or, where everybody may sell, who may bid.
pub struct Seller(pub UserId);
/// Somebody who looks after the house.
pub struct Admin(pub UserId);
/// A caller who may have a token, on what anybody may read. A token that is there must be valid.
pub struct Anybody(pub Option<Arc<Caller>>);

/// What became of a request's token, kept with the request: it is asked for by the caller's budget
/// and by the handler.
#[derive(Clone)]
struct Checked(Result<Option<Arc<Caller>>, Code>);

/// Who calls, if a token says so; checked once for each request.
pub(in crate::http) fn caller(request: &HttpRequest) -> Result<Option<Arc<Caller>>, Code> {
    if let Some(Checked(caller)) = request.extensions().get::<Checked>() {
        return caller.clone();
    }
    let caller = check(request);
    request.extensions_mut().insert(Checked(caller.clone()));
    caller
}

fn check(request: &HttpRequest) -> Result<Option<Arc<Caller>>, Code> {
    let mut values = request.headers().get_all(header::AUTHORIZATION);
    let Some(value) = values.next() else { return Ok(None) };
    // Of two tokens nobody can say whose request it is.
    if values.next().is_some() {
        return Err(Code::TokenInvalid);
    }
    let token = value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let state = request.app_data::<web::Data<State>>().ok_or(Code::Internal)?;
    let token = token.ok_or(Code::TokenInvalid)?;
    match state.tokens.check(token, wall_clock::now()) {
        Ok(caller) => Ok(Some(caller)),
        Err(TokenError::Expired) => Err(Code::TokenExpired),
        Err(TokenError::Invalid | TokenError::Revoked) => Err(Code::TokenInvalid),
    }
}

fn user(request: &HttpRequest) -> Result<Arc<Caller>, Problem> {
    caller(request)?.ok_or_else(|| Code::Unauthenticated.into())
}

fn with_role(request: &HttpRequest, role: Role, without: Code) -> Result<UserId, Problem> {
    let caller = user(request)?;
    if caller.has(role) { Ok(caller.user) } else { Err(without.into()) }
}

/// What helps somebody who may not sell yet where sellers are approved.
fn advice_to_apply(code: Code) -> Option<&'static Advice> {
    const ADVICE: Advice = (
        "Apply with POST /v1/me/seller-application; once it is approved, refresh the token.",
        "POST /v1/me/seller-application으로 신청하고, 승인된 뒤 토큰을 갱신하세요.",
    );
    (code == Code::Forbidden).then_some(&ADVICE)
}

fn seller(request: &HttpRequest) -> Result<UserId, Problem> {
    let state = request.app_data::<web::Data<State>>().ok_or(Code::Internal)?;
    match state.sellers {
        SellerModel::Approved => with_role(request, Role::Seller, Code::Forbidden)
            .map_err(|problem| Problem { advice: advice_to_apply(problem.code), ..problem }),
        SellerModel::Everybody => with_role(request, Role::Seller, Code::Forbidden)
            .or_else(|_| with_role(request, Role::Bidder, Code::Forbidden)),
    }
}

macro_rules! extract {
    ($name:ident, $request:ident => $from:expr) => {
        impl FromRequest for $name {
            type Error = Problem;
            type Future = Ready<Result<Self, Problem>>;

            fn from_request($request: &HttpRequest, _: &mut Payload) -> Self::Future {
                ready($from.map($name))
            }
        }
    };
}

extract!(User, request => user(request));
extract!(Bidder, request => with_role(request, Role::Bidder, Code::NotRegistered));
extract!(Seller, request => seller(request));
extract!(Admin, request => with_role(request, Role::Admin, Code::Forbidden));
extract!(Anybody, request => caller(request).map_err(Problem::from));
