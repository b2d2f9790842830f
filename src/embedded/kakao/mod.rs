//! A stand-in for Kakao Login: the endpoints that Hoga and browsers speak with, as Kakao answers
//! them, for the embedded default and for tests.
//!
//! It is somebody else's HTTP API, which is why HTTP types stand here. It keeps everything in
//! memory, bounded, and forgets it with the process. Must never be mounted on a configured exchange,
//! for it lets anybody be anyone, nor pretend to people that it is Kakao.

mod endpoints;
mod faults;
mod keys;
mod memory;
mod page;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix_web::{App as WebApp, HttpResponse, HttpServer, dev::Server, web};

use self::{faults::Faults, keys::KeyRing, memory::Memory};
pub use self::{
    faults::{Endpoint, Fault, Forgery},
    keys::KeyError,
};
use super::catalogue::DEMO_USERS;

/// The path under which Hoga's own port has it.
pub const DEMO_PATH: &str = "/demo/kakao";
/// Where Hoga's callback is, behind its public URL.
const CALLBACK_PATH: &str = "/oauth/kakao/callback";
/// The number of the demo's app.
const DEMO_APP_ID: i64 = 1;
/// Threads that serve it on a port of its own.
const WORKERS: usize = 1;
/// How long a connection may be idle, and a request take to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes of a request's body, at most.
const BODY_BYTES_MAX: usize = 16 * 1_024;

/// The one app that is registered here.
#[derive(Clone)]
pub struct App {
    /// The REST API key.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// What may act for anybody.
    pub admin_key: String,
    /// Its number.
    pub app_id: i64,
    /// Where browsers may be sent back to, to the letter.
    pub redirect_uris: Vec<String>,
}

/// Somebody who can log in here.
#[derive(Clone)]
pub struct Person {
    /// Kakao's id.
    pub id: i64,
    /// How they call themselves.
    pub nickname: String,
    /// Who they are in Latin letters, for those who do not read Korean.
    pub about: String,
}

/// The stand-in. Cheap to clone.
#[derive(Clone)]
pub struct StandIn {
    inner: Arc<Inner>,
}

struct Inner {
    base_url: String,
    app: App,
    people: Vec<Person>,
    keys: Mutex<KeyRing>,
    memory: Mutex<Memory>,
    faults: Faults,
}

impl StandIn {
    /// A stand-in that browsers reach at this address, without a slash at its end.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(base_url: &str, app: App, people: Vec<Person>) -> Result<StandIn, KeyError> {
        let inner = Inner {
            base_url: base_url.to_owned(),
            app,
            people,
            keys: Mutex::new(KeyRing::new()?),
            memory: Mutex::default(),
            faults: Faults::default(),
        };
        Ok(StandIn { inner: Arc::new(inner) })
    }

    /// The one of the embedded default, with the people of the demo and secrets that nobody knows.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn of_the_demo(public_url: &str) -> Result<StandIn, KeyError> {
        let app = App {
            client_id: "hoga-demo".to_owned(),
            client_secret: memory::random_word(),
            admin_key: memory::random_word(),
            app_id: DEMO_APP_ID,
            redirect_uris: vec![format!("{public_url}{CALLBACK_PATH}")],
        };
        let people = DEMO_USERS.iter().map(|user| Person {
            id: user.kakao_id,
            nickname: user.nickname.to_owned(),
            about: format!("{} ({})", user.name, user.roles.join(", ")),
        });
        StandIn::new(&format!("{public_url}{DEMO_PATH}"), app, people.collect())
    }

    /// How browsers reach it; also the issuer of its id_tokens.
    pub fn base_url(&self) -> &str {
        &self.inner.base_url
    }

    /// What is registered here.
    pub fn app(&self) -> &App {
        &self.inner.app
    }

    /// Puts its paths into a scope.
    pub fn mount(&self, config: &mut web::ServiceConfig) {
        config
            .app_data(web::Data::new(self.clone()))
            .app_data(web::FormConfig::default().limit(BODY_BYTES_MAX))
            .service(
                web::resource("/oauth/authorize")
                    .get(endpoints::show_choice)
                    .post(endpoints::take_choice),
            )
            .route("/oauth/token", web::post().to(endpoints::issue_tokens))
            .route("/.well-known/openid-configuration", web::get().to(endpoints::discover))
            .route("/.well-known/jwks.json", web::get().to(endpoints::show_keys))
            .service(
                web::resource("/v2/user/me").get(endpoints::show_user).post(endpoints::show_user),
            )
            .route("/v1/user/unlink", web::post().to(endpoints::unlink))
            .route("/v1/user/logout", web::post().to(endpoints::log_out))
            .default_service(web::to(async || HttpResponse::NotFound().finish()));
    }

    /// A server for it alone; runs when awaited.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub fn serve(&self, listener: std::net::TcpListener) -> std::io::Result<Server> {
        let stand_in = self.clone();
        let app = move || {
            let stand_in = stand_in.clone();
            WebApp::new().configure(move |config| stand_in.mount(config))
        };
        let server = HttpServer::new(app).workers(WORKERS).disable_signals();
        // As patient as Kakao, also on a machine that is busy with other tests.
        let server = server.keep_alive(PATIENCE).client_request_timeout(PATIENCE);
        Ok(server.listen(listener)?.run())
    }

    /// From now on new tokens are signed with a new key; the one before stays known.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn rotate_keys(&self) -> Result<(), KeyError> {
        self.keys().rotate()
    }

    /// What goes wrong at an endpoint from now on; `None` for nothing.
    pub fn set_fault(&self, endpoint: Endpoint, fault: Option<Fault>) {
        self.inner.faults.set(endpoint, fault);
    }

    /// What is wrong with id_tokens from now on; `None` for nothing.
    pub fn set_forgery(&self, forgery: Option<Forgery>) {
        self.inner.faults.set_forgery(forgery);
    }

    /// How long access tokens live from now on, in seconds.
    pub fn set_access_token_life_s(&self, life_s: i64) {
        self.memory().access_token_life_s = life_s;
    }

    /// How many requests an endpoint has had.
    pub fn requests(&self, endpoint: Endpoint) -> u64 {
        self.inner.faults.requests(endpoint)
    }

    /// Whether somebody is linked to the app.
    pub fn is_linked(&self, person: i64) -> bool {
        self.memory().is_linked(person)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.inner.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keys(&self) -> MutexGuard<'_, KeyRing> {
        self.inner.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn person(&self, id: i64) -> Option<&Person> {
        self.inner.people.iter().find(|person| person.id == id)
    }
}
