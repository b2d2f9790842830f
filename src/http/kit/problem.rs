//! Errors as RFC 9457 problems: one table of code, status and texts.
//!
//! A handler returns a [`Problem`]; [`super::context`] writes it in the caller's language with the
//! request's id. Codes never change meaning.

use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, Type},
    },
};

use crate::{
    accounts::WrongField,
    domain::{
        auction::{Rejection, terms::TermsError},
        money::{Amount, Money},
        time::Timestamp,
    },
    exchange::{Failure, Figures, Refusal},
    http::auctions::listing::CurrencyBody,
    identity::clients::ClientFault,
    store::{OpenKind, OpenMatter, StoreError},
    webhooks::WebhookFault,
};

/// In which language a problem is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// The default.
    English,
    /// Where `Accept-Language` prefers it.
    Korean,
}

impl Language {
    /// As `Content-Language` and `lang` have it.
    pub const fn tag(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Korean => "ko",
        }
    }
}

/// One line of the table.
struct Line {
    code: &'static str,
    status: u16,
    title_en: &'static str,
    title_ko: &'static str,
    what_to_do_en: &'static str,
    what_to_do_ko: &'static str,
}

macro_rules! codes {
    ($($variant:ident $code:literal $status:literal
        $title_en:literal $title_ko:literal $do_en:literal $do_ko:literal;)*) => {
        /// Every code that an answer can carry.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = concat!("`", $code, "`: ", $title_en)] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            const fn line(self) -> Line {
                match self {
                    $(Code::$variant => Line {
                        code: $code,
                        status: $status,
                        title_en: $title_en,
                        title_ko: $title_ko,
                        what_to_do_en: $do_en,
                        what_to_do_ko: $do_ko,
                    },)*
                }
            }
        }
    };
}

codes! {
    MalformedJson "malformed_json" 400 "The body is not JSON" "본문이 JSON이 아닙니다"
        "Send valid JSON in UTF-8." "UTF-8로 된 올바른 JSON을 보내 주세요.";
    InvalidQuery "invalid_query" 400 "The query cannot be understood" "쿼리를 이해할 수 없습니다"
        "Check the query parameters against the documentation." "쿼리 매개변수를 문서와 대조해 주세요.";
    InvalidCursor "invalid_cursor" 400 "The cursor is not one of ours" "올바르지 않은 커서입니다"
        "Use next_cursor as it was answered, with the same sort." "응답의 next_cursor를 같은 정렬과 함께 그대로 사용하세요.";
    InvalidId "invalid_id" 404 "The id is not an id" "올바르지 않은 식별자입니다"
        "Ids are UUIDs; use one as it was answered." "식별자는 UUID입니다. 응답에 있던 값을 그대로 사용하세요.";
    InvalidEventId "invalid_event_id" 400 "The Last-Event-ID cannot be understood" "Last-Event-ID를 이해할 수 없습니다"
        "Send the id of the last event as it came, or leave it out." "마지막 이벤트의 id를 그대로 보내거나 생략하세요.";
    ClientUnknown "client_unknown" 400 "The application is not registered here" "등록되지 않은 애플리케이션입니다"
        "Whoever made the application must register it and use its client_id." "애플리케이션 개발자가 등록하고 client_id를 사용해야 합니다.";
    RedirectUriInvalid "redirect_uri_invalid" 400 "The application may not be answered at this address" "허용되지 않은 리디렉션 주소입니다"
        "redirect_uri must be one of those registered, to the letter." "redirect_uri는 등록된 주소와 정확히 같아야 합니다.";
    LoginStateInvalid "login_state_invalid" 400 "The login cannot be continued" "로그인을 계속할 수 없습니다"
        "Go back to the application and log in again, in one browser, with cookies allowed." "애플리케이션으로 돌아가 쿠키를 허용한 같은 브라우저에서 다시 로그인하세요.";
    TooManyAuctions "too_many_auctions" 400 "Too many auctions on one stream" "한 스트림에 경매가 너무 많습니다"
        "Ask for fewer auctions, on several streams if need be." "경매 수를 줄이거나 여러 스트림으로 나누세요.";
    IdempotencyKeyMissing "idempotency_key_missing" 400 "The Idempotency-Key is missing" "Idempotency-Key가 없습니다"
        "Send a fresh Idempotency-Key of 1 to 255 visible ASCII characters, and the same one with each retry." "1~255자의 보이는 ASCII 문자로 된 새 Idempotency-Key를 보내고, 재시도에는 같은 키를 쓰세요.";
    IdempotencyKeyInvalid "idempotency_key_invalid" 400 "The Idempotency-Key cannot be used" "사용할 수 없는 Idempotency-Key입니다"
        "Use 1 to 255 visible ASCII characters." "1~255자의 보이는 ASCII 문자를 사용하세요.";
    Unauthenticated "unauthenticated" 401 "The request has no access token" "액세스 토큰이 없습니다"
        "Send Authorization: Bearer with an access token." "Authorization: Bearer 헤더로 액세스 토큰을 보내세요.";
    TokenExpired "token_expired" 401 "The access token has expired" "액세스 토큰이 만료되었습니다"
        "Refresh the token and try again." "토큰을 갱신한 뒤 다시 시도하세요.";
    TokenInvalid "token_invalid" 401 "The access token is not one of ours" "유효하지 않은 액세스 토큰입니다"
        "Log in again." "다시 로그인하세요.";
    TicketExpired "ticket_expired" 401 "The ticket has expired" "티켓이 만료되었습니다"
        "Ask for another one, and use it within 30 seconds." "새 티켓을 받아 30초 안에 사용하세요.";
    TicketInvalid "ticket_invalid" 401 "The ticket is not good, or not any more" "사용할 수 없는 티켓입니다"
        "A ticket opens one stream, once; ask for another one." "티켓은 스트림을 한 번만 엽니다. 새 티켓을 받으세요.";
    Forbidden "forbidden" 403 "The caller may not do this" "권한이 없습니다"
        "Ask somebody whose role allows it." "해당 권한이 있는 사용자로 요청하세요.";
    NotRegistered "not_registered" 403 "The caller is not registered as a bidder" "입찰자로 등록되어 있지 않습니다"
        "The account lacks the role bidder: an admin gives it; then refresh the token." "계정에 bidder 역할이 없습니다. 관리자에게 역할을 받은 뒤 토큰을 갱신하세요.";
    OwnAuction "own_auction" 403 "Sellers do not bid on their own auctions" "자신의 경매에는 입찰할 수 없습니다"
        "Nothing can be done." "입찰할 수 없는 경매입니다.";
    NotYourBid "not_your_bid" 403 "The bid is somebody else's" "다른 사람의 입찰입니다"
        "Only the bidder can retract a bid." "입찰한 사람만 철회할 수 있습니다.";
    NotYourAuction "not_your_auction" 403 "The auction is somebody else's" "다른 판매자의 경매입니다"
        "Only its seller can change an auction." "판매자만 경매를 변경할 수 있습니다.";
    OwnAdminRole "own_admin_role" 403 "Admins do not take their own role away" "자신의 관리자 권한은 뺄 수 없습니다"
        "Ask another admin." "다른 관리자에게 요청하세요.";
    WebhookMalformed "webhook_malformed" 400 "The webhook cannot be understood" "웹훅을 이해할 수 없습니다"
        "Send app_id and user_id as numbers, as a form or in the query." "app_id와 user_id를 숫자로, 폼 또는 쿼리로 보내세요.";
    WebhookRefused "webhook_refused" 403 "The webhook does not come from our app at Kakao" "카카오의 우리 앱에서 온 웹훅이 아닙니다"
        "Send the admin key of the app, and its app_id." "앱의 어드민 키와 app_id를 보내세요.";
    NotFound "not_found" 404 "There is nothing here" "찾을 수 없습니다"
        "Check the path against /docs." "/docs에서 경로를 확인하세요.";
    AuctionNotFound "auction_not_found" 404 "There is no such auction" "해당 경매가 없습니다"
        "Check the id." "식별자를 확인하세요.";
    ClientNotFound "client_not_found" 404 "There is no such client" "해당 클라이언트가 없습니다"
        "Check the client's id." "클라이언트 식별자를 확인하세요.";
    WebhookNotFound "webhook_not_found" 404 "The client has no such webhook" "해당 웹훅이 없습니다"
        "Check the id against the client's webhooks." "클라이언트의 웹훅 목록에서 식별자를 확인하세요.";
    WebhookDeliveryNotFound "webhook_delivery_not_found" 404 "The webhook has no such delivery" "해당 웹훅 전송 기록이 없습니다"
        "Check the id against the webhook's deliveries; they are kept for some days." "웹훅의 전송 목록에서 식별자를 확인하세요. 기록은 며칠 동안만 보관됩니다.";
    BidNotFound "bid_not_found" 404 "There is no such bid" "해당 입찰이 없습니다"
        "Use the seq of the bid's receipt." "입찰 접수증의 seq를 사용하세요.";
    UserNotFound "user_not_found" 404 "There is no such user" "해당 사용자가 없습니다"
        "Check the id." "식별자를 확인하세요.";
    AddressNotFound "address_not_found" 404 "The caller has no such address" "해당 주소가 없습니다"
        "Check the id against the caller's own addresses." "내 주소 목록에서 식별자를 확인하세요.";
    KeywordAlertNotFound "keyword_alert_not_found" 404 "The caller has no such alert" "해당 알림 설정이 없습니다"
        "Check the id against the caller's own alerts." "내 알림 설정 목록에서 식별자를 확인하세요.";
    PushSubscriptionNotFound "push_subscription_not_found" 404 "The caller has no such subscription" "해당 푸시 구독이 없습니다"
        "Check the id against the caller's own subscriptions." "내 푸시 구독 목록에서 식별자를 확인하세요.";
    SellerApplicationNotFound "seller_application_not_found" 404 "There is no such seller application" "해당 판매자 신청이 없습니다"
        "Apply first, or check the id." "먼저 신청하거나 식별자를 확인하세요.";
    MethodNotAllowed "method_not_allowed" 405 "The method is not allowed here" "허용되지 않는 메서드입니다"
        "Check the method against /docs." "/docs에서 메서드를 확인하세요.";
    RequestTimeout "request_timeout" 408 "The request did not come in time" "요청이 제시간에 도착하지 않았습니다"
        "Send it again, faster: a connection is closed when its request comes too slowly." "더 빠른 연결로 다시 보내세요. 너무 느리게 도착하는 요청의 연결은 닫힙니다.";
    BidTooLow "bid_too_low" 409 "The bid is below the minimum next bid" "최소 입찰가보다 낮습니다"
        "Offer at least minimum_next_bid." "minimum_next_bid 이상으로 입찰하세요.";
    AuctionNotLive "auction_not_live" 409 "The auction is not live" "진행 중인 경매가 아닙니다"
        "Wait until it opens." "시작될 때까지 기다려 주세요.";
    AuctionEnded "auction_ended" 409 "The auction has ended" "종료된 경매입니다"
        "Nothing is decided after the end." "종료 후에는 입찰할 수 없습니다.";
    AlreadyLeading "already_leading" 409 "The caller already leads" "이미 최고 입찰자입니다"
        "Only a higher max_amount is accepted from the leader." "최고 입찰자는 더 높은 max_amount만 낼 수 있습니다.";
    PriceMoved "price_moved" 409 "The auction has moved on" "경매 상황이 바뀌었습니다"
        "Look at the auction again, then decide." "경매를 다시 확인한 뒤 결정하세요.";
    InsufficientFunds "insufficient_funds" 409 "The wallet does not cover the bid" "잔액이 부족합니다"
        "Top up the wallet." "지갑을 충전하세요.";
    BuyNowUnavailable "buy_now_unavailable" 409 "The auction cannot be bought now" "즉시 구매할 수 없습니다"
        "Place a bid instead." "대신 입찰하세요.";
    BidAlreadyRetracted "bid_already_retracted" 409 "The bid was retracted before" "이미 철회된 입찰입니다"
        "Nothing needs to be done." "추가로 할 일이 없습니다.";
    RetractionTooLate "retraction_too_late" 409 "The bid can no longer be retracted" "더 이상 철회할 수 없습니다"
        "In the last 12 hours a bid can be retracted for one hour." "종료 12시간 이내에는 입찰 후 1시간 안에만 철회할 수 있습니다.";
    AuctionNotEditable "auction_not_editable" 409 "The auction can no longer be changed" "더 이상 변경할 수 없는 경매입니다"
        "An auction can be changed and deleted only while it is scheduled." "예정 상태에서만 변경하거나 삭제할 수 있습니다.";
    EditLimitReached "edit_limit_reached" 409 "The auction was edited as often as it can be" "더 이상 수정할 수 없는 경매입니다"
        "Leave it as it is, or delete it and create another one." "그대로 두거나, 삭제한 뒤 새로 등록하세요.";
    AuctionNotRelistable "auction_not_relistable" 409 "The auction cannot be relisted" "재등록할 수 없는 경매입니다"
        "Only an auction that ended unsold can be relisted, once." "유찰된 경매만 한 번 재등록할 수 있습니다.";
    ClientIsPublic "client_is_public" 409 "The client has no secret" "비밀 키가 없는 공개 클라이언트입니다"
        "Only a client that was created as confidential has a secret; create another one." "confidential로 등록한 클라이언트만 비밀 키를 가집니다. 새로 등록하세요.";
    TooManyClients "too_many_clients" 409 "There is no room for another client" "더 이상 클라이언트를 등록할 수 없습니다"
        "Enable and change one that is disabled." "비활성화된 클라이언트를 다시 활성화해 변경하세요.";
    TooManyWebhooks "too_many_webhooks" 409 "There is no room for another webhook" "더 이상 웹훅을 등록할 수 없습니다"
        "Change or remove one of the client's webhooks." "클라이언트의 기존 웹훅을 변경하거나 삭제하세요.";
    AccountInUse "account_in_use" 409 "The account is still in use" "아직 진행 중인 거래가 있습니다"
        "Wait for what is listed in open to end, call it off, or pay it; then leave." "open에 있는 거래가 끝나거나 취소·결제된 뒤에 탈퇴하세요.";
    AccountLeft "account_left" 409 "The owner of the account has left" "탈퇴한 사용자입니다"
        "Nothing can be done." "변경할 수 없는 계정입니다.";
    AddressLimitReached "address_limit_reached" 409 "The caller has as many addresses as anybody may have" "등록할 수 있는 주소를 모두 등록했습니다"
        "Delete one first." "먼저 주소 하나를 삭제하세요.";
    WatchLimitReached "watch_limit_reached" 409 "The caller watches as many auctions as anybody may" "관심 경매를 더 추가할 수 없습니다"
        "Stop watching another one first." "먼저 다른 관심 경매를 해제하세요.";
    KeywordAlertLimitReached "keyword_alert_limit_reached" 409 "The caller has as many alerts as anybody may" "알림 설정을 더 추가할 수 없습니다"
        "Delete one first." "먼저 알림 설정 하나를 삭제하세요.";
    PushSubscriptionTaken "push_subscription_taken" 409 "Somebody else has subscribed this endpoint, with other keys" "다른 사용자가 다른 키로 이미 구독한 엔드포인트입니다"
        "Call unsubscribe() in the browser, and subscribe anew." "브라우저에서 unsubscribe()를 호출한 뒤 다시 구독하세요.";
    SellerApplicationPending "seller_application_pending" 409 "Another seller application waits to be decided" "심사 중인 판매자 신청이 있습니다"
        "Wait until it is decided." "심사가 끝날 때까지 기다려 주세요.";
    SellerApplicationDecided "seller_application_decided" 409 "The seller application was decided before" "이미 심사가 끝난 판매자 신청입니다"
        "Read it to see how." "신청을 다시 조회해 결과를 확인하세요.";
    PreconditionFailed "precondition_failed" 412 "It changed since it was read" "읽은 뒤에 변경되었습니다"
        "Read it again and use its new ETag." "다시 읽고 새 ETag를 사용하세요.";
    BodyTooLarge "body_too_large" 413 "The body is too large" "본문이 너무 큽니다"
        "Send at most 64 KiB." "64 KiB 이하로 보내 주세요.";
    UnsupportedMediaType "unsupported_media_type" 415 "The body must be JSON" "본문은 JSON이어야 합니다"
        "Send Content-Type: application/json." "Content-Type: application/json으로 보내세요.";
    InvalidRequest "invalid_request" 422 "The request is not valid" "요청이 올바르지 않습니다"
        "Mend the fields named in errors." "errors에 있는 항목을 고쳐 주세요.";
    IdempotencyKeyReused "idempotency_key_reused" 422 "The Idempotency-Key came with another request before" "다른 요청에 이미 사용된 Idempotency-Key입니다"
        "Use a fresh key for each new request." "새 요청에는 새 키를 사용하세요.";
    OverCap "over_cap" 422 "The offer is over the cap" "입찰 상한을 넘었습니다"
        "Offer at most the cap." "상한 이하로 입찰하세요.";
    ConfirmationRequired "confirmation_required" 422 "The offer is unusually high and needs to be confirmed" "입찰가가 이례적으로 높아 확인이 필요합니다"
        "If it is meant, send confirm_amount equal to the offer." "의도한 금액이라면 confirm_amount에 같은 금액을 보내세요.";
    BidLimitReached "bid_limit_reached" 422 "All bids that the auction allows are used up" "허용된 입찰 횟수를 모두 사용했습니다"
        "Nothing can be done." "더 이상 입찰할 수 없습니다.";
    PreconditionRequired "precondition_required" 428 "The request needs If-Match" "If-Match가 필요합니다"
        "Send If-Match with the ETag of the auction." "경매의 ETag를 If-Match로 보내세요.";
    RateLimited "rate_limited" 429 "Too many requests" "요청이 너무 많습니다"
        "Wait as long as Retry-After says." "Retry-After만큼 기다린 뒤 다시 시도하세요.";
    TooManyStreams "too_many_streams" 429 "Too many streams at once" "동시에 연 스트림이 너무 많습니다"
        "Close a stream, or follow many auctions over one: GET /v1/events?auctions=." "다른 스트림을 닫거나 GET /v1/events?auctions=로 여러 경매를 한 스트림에서 받으세요.";
    Internal "internal" 500 "Something went wrong on our side" "서버에 문제가 생겼습니다"
        "Try again; if it goes on, report the request_id." "다시 시도하고, 계속되면 request_id를 알려 주세요.";
    LoginUnavailable "login_unavailable" 503 "Nobody can log in for now" "지금은 로그인할 수 없습니다"
        "Try again later; access tokens that were issued still count." "나중에 다시 시도하세요. 이미 발급된 액세스 토큰은 계속 유효합니다.";
    Overloaded "overloaded" 503 "The exchange is overloaded" "서버가 혼잡합니다"
        "Nothing happened. Retry with the same Idempotency-Key after Retry-After." "처리되지 않았습니다. Retry-After 이후 같은 Idempotency-Key로 재시도하세요.";
    OutcomeUnknown "outcome_unknown" 503 "The outcome is unknown" "결과를 알 수 없습니다"
        "Retry with the same Idempotency-Key to hear the truth." "같은 Idempotency-Key로 재시도하면 결과를 알 수 있습니다.";
    StorageFull "storage_full" 503 "The database has no room left" "저장 공간이 부족합니다"
        "Nothing happened. Try again later." "처리되지 않았습니다. 나중에 다시 시도하세요.";
    StreamsFull "streams_full" 503 "The server carries no more streams" "서버가 더 이상 스트림을 받을 수 없습니다"
        "Try again after Retry-After; everything else works as always." "Retry-After 이후 다시 시도하세요. 다른 기능은 정상 동작합니다.";
    ShuttingDown "shutting_down" 503 "The server is shutting down" "서버가 종료되는 중입니다"
        "Nothing happened. Retry in a moment." "처리되지 않았습니다. 잠시 후 다시 시도하세요.";
    Unavailable "unavailable" 503 "The database does not answer" "데이터베이스가 응답하지 않습니다"
        "Try again in a moment." "잠시 후 다시 시도하세요.";
}

impl Code {
    /// The word in `code`.
    pub const fn word(self) -> &'static str {
        self.line().code
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.line().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What it is, in a few words.
    pub const fn title(self, language: Language) -> &'static str {
        match language {
            Language::English => self.line().title_en,
            Language::Korean => self.line().title_ko,
        }
    }

    /// What the caller can do.
    pub const fn what_to_do(self, language: Language) -> &'static str {
        match language {
            Language::English => self.line().what_to_do_en,
            Language::Korean => self.line().what_to_do_ko,
        }
    }

    /// The code of this word.
    pub fn from_word(word: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.word() == word)
    }

    /// How long the caller should wait before a retry, where waiting helps.
    pub const fn retry_after_ms(self) -> Option<u64> {
        if matches!(self, Code::StorageFull) {
            return Some(30_000);
        }
        if matches!(self, Code::TooManyStreams | Code::StreamsFull) {
            return Some(10_000);
        }
        if self.line().status == 503 { Some(1_000) } else { None }
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl utoipa::PartialSchema for Code {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "Every code that a problem can have; each is explained under /problems/.",
            ))
            .enum_values(Some(Code::ALL.iter().map(|code| code.word())))
            .into()
    }
}

impl ToSchema for Code {
    fn name() -> std::borrow::Cow<'static, str> {
        "ProblemCode".into()
    }
}

/// One field that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where, such as `soft_close.mode`.
    pub field: String,
    /// What must hold instead.
    pub message: String,
}

/// Something that is still open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = OpenMatter)]
pub struct OpenMatterBody {
    /// Of what kind.
    pub kind: OpenKindWord,
    /// In which auction.
    pub auction_id: uuid::Uuid,
    /// Until when the bid may still lead, or the purchase is to be paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub due_at: Option<String>,
}

/// The kinds of matters that are still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = OpenKind)]
pub enum OpenKindWord {
    /// The caller leads.
    LeadingBid,
    /// The caller sells: scheduled or live.
    LiveSale,
    /// The caller won and is to pay.
    UnpaidPurchase,
}

impl From<OpenMatter> for OpenMatterBody {
    fn from(open: OpenMatter) -> OpenMatterBody {
        OpenMatterBody {
            kind: match open.kind {
                OpenKind::LeadingBid => OpenKindWord::LeadingBid,
                OpenKind::LiveSale => OpenKindWord::LiveSale,
                OpenKind::UnpaidPurchase => OpenKindWord::UnpaidPurchase,
            },
            auction_id: open.auction.0,
            due_at: open.due_at.map(|at| at.to_string()),
        }
    }
}

/// An error on its way to the caller.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Which.
    pub code: Code,
    /// What was found, where the table's text is not enough. English.
    pub found: Option<String>,
    /// What to do, in English and Korean, where the table's advice would not help.
    pub advice: Option<&'static Advice>,
    /// What is wrong in the body.
    pub errors: Vec<FieldError>,
    /// What keeps the caller from leaving.
    pub open: Vec<OpenMatterBody>,
    /// Of a bid, purchase, retraction or change that was refused.
    pub refused: Option<Box<Refused>>,
    /// How long to wait.
    pub retry_after_ms: Option<u64>,
}

/// What to do, in English and Korean.
pub type Advice = (&'static str, &'static str);

/// What helps a caller who was refused by an auction.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Where the auction stood.
    pub snapshot: Figures,
    /// When the auction opens.
    pub starts_at: Option<Timestamp>,
    /// The highest offer that is accepted.
    pub cap: Option<Amount>,
    /// The request that was refused first, when this is its answer again.
    pub request_id: Option<String>,
}

impl From<Code> for Problem {
    fn from(code: Code) -> Problem {
        Problem {
            code,
            found: None,
            advice: None,
            errors: Vec::new(),
            open: Vec::new(),
            refused: None,
            retry_after_ms: code.retry_after_ms(),
        }
    }
}

impl Problem {
    /// With what was found.
    pub fn found(code: Code, found: impl Into<String>) -> Problem {
        Problem { found: Some(found.into()), ..Problem::from(code) }
    }

    /// One wrong field.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Problem {
        let error = FieldError { field: field.into(), message: message.into() };
        Problem { errors: vec![error], ..Problem::from(Code::InvalidRequest) }
    }

    /// Terms that cannot stand.
    pub fn terms(errors: Vec<TermsError>) -> Problem {
        let errors = errors
            .into_iter()
            .map(|error| FieldError { field: error.field.to_owned(), message: error.message })
            .collect();
        Problem { errors, ..Problem::from(Code::InvalidRequest) }
    }

    /// Details of a client that cannot stand.
    pub fn client(faults: Vec<ClientFault>) -> Problem {
        let errors = faults
            .into_iter()
            .map(|fault| FieldError { field: fault.field, message: fault.message })
            .collect();
        Problem { errors, ..Problem::from(Code::InvalidRequest) }
    }

    /// Details of a webhook that cannot stand.
    pub fn webhook(faults: Vec<WebhookFault>) -> Problem {
        let errors = faults
            .into_iter()
            .map(|fault| FieldError { field: fault.field, message: fault.message })
            .collect();
        Problem { errors, ..Problem::from(Code::InvalidRequest) }
    }

    /// What helps here, where it is not what the table says.
    fn what_to_do(&self, language: Language) -> &'static str {
        let is_called_off = self.code == Code::AuctionNotLive
            && self.refused.as_deref().is_some_and(|refused| refused.starts_at.is_none());
        let (english, korean) = match self.advice {
            Some(advice) => *advice,
            None if is_called_off => (
                "It was called off: nothing is decided in it any more.",
                "취소된 경매라 더 이상 입찰할 수 없습니다.",
            ),
            None => return self.code.what_to_do(language),
        };
        match language {
            Language::English => english,
            Language::Korean => korean,
        }
    }

    /// The body, in a language, for a request.
    pub fn body(&self, language: Language, base_url: &str, request_id: &str) -> ProblemBody {
        let what_to_do = self.what_to_do(language);
        let detail = match &self.found {
            Some(found) => format!("{found} {what_to_do}"),
            None => what_to_do.to_owned(),
        };
        let refused = self.refused.as_deref();
        let snapshot = refused.map(|refused| &refused.snapshot);
        ProblemBody {
            r#type: format!("{base_url}/problems/{}", self.code.word()),
            title: self.code.title(language).to_owned(),
            status: self.code.status().as_u16(),
            detail,
            code: self.code,
            request_id: refused
                .and_then(|refused| refused.request_id.clone())
                .unwrap_or_else(|| request_id.to_owned()),
            minimum_next_bid: snapshot.and_then(|s| s.minimum_next_bid).map(MoneyBody::from),
            price: snapshot.map(|s| s.price.into()),
            ends_at: snapshot.map(|s| s.ends_at.to_string()),
            seq: snapshot.map(|s| s.seq),
            starts_at: refused.and_then(|refused| refused.starts_at).map(|at| at.to_string()),
            cap: refused.and_then(|refused| refused.cap).zip(snapshot).map(|(amount, at)| {
                let currency = at.price.currency;
                MoneyBody::from(Money { amount, currency })
            }),
            errors: self.errors.clone(),
            open: self.open.clone(),
            retry_after_ms: self.retry_after_ms,
        }
    }
}

/// Money in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Money, example = json!({"amount": 15000, "currency": "KRW"}))]
pub struct MoneyBody {
    /// Minor units.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_i64)]
    pub amount: i64,
    /// ISO 4217.
    pub currency: CurrencyBody,
}

impl From<Money> for MoneyBody {
    fn from(money: Money) -> MoneyBody {
        MoneyBody { amount: money.amount.minor_units(), currency: money.currency.into() }
    }
}

/// A problem (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// A URL that explains the code.
    pub r#type: String,
    /// What it is, in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was found and what to do.
    pub detail: String,
    /// For programs; never changes meaning.
    pub code: Code,
    /// To name the request to those who run the server.
    pub request_id: String,
    /// The least that is accepted from somebody who does not lead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_next_bid: Option<MoneyBody>,
    /// The visible price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<MoneyBody>,
    /// The end as it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub ends_at: Option<String>,
    /// The last event's sequence number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When the auction opens.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub starts_at: Option<String>,
    /// The highest offer that is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<MoneyBody>,
    /// What is wrong in the body.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// What keeps the caller from leaving; 100 at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<OpenMatterBody>,
    /// How long to wait before a retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl From<Vec<WrongField>> for Problem {
    fn from(wrong: Vec<WrongField>) -> Problem {
        let error = |WrongField { field, message }| FieldError { field, message };
        let errors = wrong.into_iter().map(error).collect();
        Problem { errors, ..Problem::from(Code::InvalidRequest) }
    }
}

impl From<Refusal> for Problem {
    fn from(Refusal::Auction(refusal): Refusal) -> Problem {
        let code = match &refusal.rejection {
            Rejection::AuctionNotLive { .. } => Code::AuctionNotLive,
            Rejection::AuctionEnded => Code::AuctionEnded,
            Rejection::OwnAuction => Code::OwnAuction,
            Rejection::PriceMoved => Code::PriceMoved,
            Rejection::OverCap { .. } => Code::OverCap,
            Rejection::AlreadyLeading => Code::AlreadyLeading,
            Rejection::BidTooLow { .. } => Code::BidTooLow,
            Rejection::ConfirmationRequired => Code::ConfirmationRequired,
            Rejection::BidLimitReached { .. } => Code::BidLimitReached,
            Rejection::BuyNowUnavailable => Code::BuyNowUnavailable,
            Rejection::BidNotFound => Code::BidNotFound,
            Rejection::NotYourBid => Code::NotYourBid,
            Rejection::BidAlreadyRetracted => Code::BidAlreadyRetracted,
            Rejection::RetractionTooLate => Code::RetractionTooLate,
            Rejection::NotYourAuction => Code::NotYourAuction,
            Rejection::StaleVersion => Code::PreconditionFailed,
            Rejection::EditLimitReached { .. } => Code::EditLimitReached,
            Rejection::NotEditable | Rejection::NotDue => Code::AuctionNotEditable,
        };
        let mut refused = Refused {
            snapshot: refusal.figures,
            starts_at: None,
            cap: None,
            request_id: refusal.request_id,
        };
        if let Rejection::AuctionNotLive { starts_at } = refusal.rejection {
            refused.starts_at = starts_at;
        }
        if let Rejection::OverCap { cap } = refusal.rejection {
            refused.cap = Some(cap);
        }
        Problem { refused: Some(Box::new(refused)), ..Problem::from(code) }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        Problem::from(match failure {
            Failure::AuctionNotFound => Code::AuctionNotFound,
            Failure::KeyReused => Code::IdempotencyKeyReused,
            Failure::Overloaded => Code::Overloaded,
            Failure::StorageFull => Code::StorageFull,
            Failure::OutcomeUnknown => Code::OutcomeUnknown,
            Failure::ShuttingDown => Code::ShuttingDown,
            Failure::LogDamaged => Code::Internal,
        })
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        let source: &dyn std::error::Error = &error;
        if matches!(error, StoreError::Busy) {
            metrics::counter!("hoga_reads_refused_total").increment(1);
            tracing::debug!(error = source, "a read was refused");
            return Code::Overloaded.into();
        }
        tracing::error!(error = source, "the store failed");
        Problem::from(match error {
            StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_) => Code::Unavailable,
            StoreError::Statement(ref cause) if cause.as_db_error().is_none() => Code::Unavailable,
            StoreError::Busy => Code::Overloaded,
            StoreError::Statement(_) | StoreError::Malformed(_) | StoreError::Constraint(_) => {
                Code::Internal
            }
        })
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code.word())
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    /// Carries the problem to [`super::context`], which knows the language and the request's id.
    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::new(self.status_code());
        response.extensions_mut().insert(self.clone());
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_codes_share_a_word_and_every_word_is_found() {
        for code in Code::ALL {
            assert_eq!(Code::from_word(code.word()), Some(*code));
        }
    }
}
