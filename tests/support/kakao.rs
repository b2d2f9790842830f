//! As much of Kakao as logging in needs, with bad days.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hoga::config::KakaoApp;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::wait::blocking;

/// How it is today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// It never answers.
    Slow,
    /// It answers something else.
    Rubbish,
}

struct Inner {
    mood: Mood,
    /// By code: who logged in, the challenge and the redirect URI.
    codes: HashMap<String, (i64, String, String)>,
}

/// A running Kakao.
pub struct FakeKakao {
    base_url: String,
    inner: Arc<Mutex<Inner>>,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

type Shared = web::Data<Arc<Mutex<Inner>>>;

impl FakeKakao {
    pub fn start() -> FakeKakao {
        let inner = Arc::new(Mutex::new(Inner { mood: Mood::Well, codes: HashMap::new() }));
        let shared = Arc::clone(&inner);
        let (tell, hear) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let app = move || {
                    App::new()
                        .app_data(web::Data::new(Arc::clone(&shared)))
                        .route("/oauth/token", web::post().to(token))
                        .route("/v2/user/me", web::get().to(me))
                };
                let server = HttpServer::new(app).workers(1).disable_signals().shutdown_timeout(0);
                let server = server.bind("127.0.0.1:0").expect("a port");
                let address = server.addrs()[0];
                let server = server.run();
                tell.send((address, server.handle())).expect("the test waits");
                server.await.expect("it serves");
            });
        });
        let (address, handle) = hear.recv().expect("it starts");
        let base_url = format!("http://{address}");
        FakeKakao { base_url, inner, handle, thread: Some(thread) }
    }

    pub fn app(&self) -> KakaoApp {
        KakaoApp { client_id: "kakao-app".into(), base_url: Some(self.base_url.clone()) }
    }

    pub fn is(&self, mood: Mood) {
        self.inner.lock().expect("no panic").mood = mood;
    }

    /// The parameters that Hoga sent a browser with.
    pub fn asked(&self, location: &str) -> HashMap<String, String> {
        let query = location.strip_prefix(&format!("{}/oauth/authorize?", self.base_url));
        let query = query.unwrap_or_else(|| panic!("{location} is not Kakao"));
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    /// Somebody logs in and agrees: where the browser is sent back to.
    pub fn consent(&self, location: &str, kakao_id: i64) -> String {
        let asked = self.asked(location);
        let code = format!("kakao-code-{}", uuid::Uuid::now_v7());
        let bound = (kakao_id, asked["code_challenge"].clone(), asked["redirect_uri"].clone());
        self.inner.lock().expect("no panic").codes.insert(code.clone(), bound);
        format!("{}?code={code}&state={}", asked["redirect_uri"], asked["state"])
    }

    /// Somebody says no.
    pub fn refusal(&self, location: &str) -> String {
        let asked = self.asked(location);
        let error = "error=access_denied&error_description=User%20denied%20access";
        format!("{}?{error}&state={}", asked["redirect_uri"], asked["state"])
    }

    /// From now on nobody is there.
    pub fn goes_away(&mut self) {
        blocking(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it ends without a panic");
        }
    }
}

impl Drop for FakeKakao {
    fn drop(&mut self) {
        self.goes_away();
    }
}

async fn mood(shared: &Shared) -> Option<HttpResponse> {
    let mood = shared.lock().expect("no panic").mood;
    match mood {
        Mood::Well => None,
        Mood::Slow => std::future::pending().await,
        Mood::Rubbish => Some(HttpResponse::Ok().body("<html>점검 중</html>")),
    }
}

async fn token(shared: Shared, form: web::Form<HashMap<String, String>>) -> HttpResponse {
    if let Some(answer) = mood(&shared).await {
        return answer;
    }
    let field = |name: &str| form.get(name).cloned().unwrap_or_default();
    let bound = shared.lock().expect("no panic").codes.remove(&field("code"));
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier")));
    match bound {
        Some((id, asked, redirect_uri))
            if asked == challenge && redirect_uri == field("redirect_uri") =>
        {
            HttpResponse::Ok().json(json!({"token_type": "bearer", "access_token": id.to_string()}))
        }
        _ => HttpResponse::BadRequest()
            .json(json!({"error": "invalid_grant", "error_code": "KOE320"})),
    }
}

async fn me(shared: Shared, request: HttpRequest) -> HttpResponse {
    if let Some(answer) = mood(&shared).await {
        return answer;
    }
    let token = request
        .headers()
        .get("authorization")
        .expect("a token")
        .to_str()
        .expect("ASCII")
        .to_owned();
    let id: i64 = token.trim_start_matches("Bearer ").parse().expect("an id");
    let profile = json!({"nickname": format!("카카오 {id}")});
    HttpResponse::Ok().json(json!({"id": id, "kakao_account": {"profile": profile}}))
}
