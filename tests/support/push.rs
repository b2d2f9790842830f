//! A push service on a port of its own, and browsers that subscribe with it and read what comes, by
//! another implementation than the server's.

use std::{
    collections::{HashMap, VecDeque},
    net::TcpListener,
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hoga::{
    config::Config,
    notify::push::{Pusher, WebPush, web_push::vapid::Vapid},
    outgoing::{Options, Sender},
    store::Store,
    wall_clock,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use web_push_native::p256::{
    SecretKey,
    ecdsa::{Signature, VerifyingKey, signature::Verifier},
    elliptic_curve::sec1::ToEncodedPoint,
};

use super::{
    callers::fresh_key,
    wait::{blocking, eventually},
};

/// Where push services are told to write.
pub const SUBJECT: &str = "mailto:ops@hoga.test";

/// What a push service answers.
#[derive(Debug, Clone, Copy)]
pub enum Reply {
    Status(u16),
    /// With `Retry-After`.
    After(u16, &'static str),
    /// Never.
    Hang,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {:?}", self.headers))
    }

    /// The key and the claims of the `Authorization`, whose signature is good.
    pub fn vapid(&self) -> (String, Value) {
        let credentials = self.header("authorization").strip_prefix("vapid t=").expect("vapid");
        let (token, key) = credentials.split_once(", k=").expect("a key");
        let (signed, signature) = token.rsplit_once('.').expect("a signature");
        let (head, claims) = signed.split_once('.').expect("claims");
        let read = |text| -> Value { serde_json::from_slice(&decoded(text)).expect("JSON") };
        assert_eq!(read(head), json!({"typ": "JWT", "alg": "ES256"}));
        let signature = Signature::from_slice(&decoded(signature)).expect("64 bytes");
        let public = VerifyingKey::from_sec1_bytes(&decoded(key)).expect("a point");
        public.verify(signed.as_bytes(), &signature).expect("a good signature");
        (key.to_owned(), read(claims))
    }
}

fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

#[derive(Default)]
struct Inner {
    received: Vec<Received>,
    /// By path, in turns; then always the usual one.
    replies: HashMap<String, VecDeque<Reply>>,
    usual: Option<Reply>,
}

/// A running push service; stopped when dropped.
pub struct PushService {
    pub origin: String,
    inner: Arc<Mutex<Inner>>,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl PushService {
    /// One that takes everything.
    pub fn start() -> PushService {
        PushService::that(Reply::Status(201))
    }

    pub fn that(usual: Reply) -> PushService {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let inner = Arc::new(Mutex::new(Inner { usual: Some(usual), ..Inner::default() }));
        let (tell, hear) = mpsc::channel();
        let serving = Arc::clone(&inner);
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let app = move || {
                    let inner = web::Data::from(Arc::clone(&serving));
                    App::new().app_data(inner).default_service(web::to(take))
                };
                let server = HttpServer::new(app).workers(1).disable_signals();
                let server = server.shutdown_timeout(0).listen(listener).expect("it listens").run();
                tell.send(server.handle()).expect("the test waits");
                server.await.expect("it serves");
            });
        });
        let handle = hear.recv().expect("the service starts");
        PushService { origin, inner, handle, thread: Some(thread) }
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().expect("nobody panics with it")
    }

    /// What it answers from now on.
    pub fn answers(&self, usual: Reply) {
        self.inner().usual = Some(usual);
    }

    /// What it answers to a browser's next messages.
    pub fn answers_next(&self, browser: &Browser, replies: &[Reply]) {
        self.inner().replies.entry(browser.path.clone()).or_default().extend(replies);
    }

    /// Everything that came.
    pub fn received(&self) -> Vec<Received> {
        self.inner().received.clone()
    }

    /// What came for a browser, decrypted, in order.
    pub fn read_by(&self, browser: &Browser) -> Vec<Value> {
        let received = self.received();
        let for_it = received.iter().filter(|received| received.path == browser.path);
        for_it.map(|received| browser.read(&received.body)).collect()
    }

    /// What came for a browser, once there is so much of it.
    pub async fn read_once_by(&self, browser: &Browser, count: usize) -> Vec<Value> {
        eventually(&format!("{count} pushes arrive"), || async {
            let read = self.read_by(browser);
            (read.len() >= count).then_some(read)
        })
        .await
    }
}

async fn take(
    inner: web::Data<Mutex<Inner>>,
    request: HttpRequest,
    body: web::Bytes,
) -> HttpResponse {
    assert_eq!(request.method(), "POST");
    let headers = request.headers().iter();
    let headers = headers
        .map(|(name, value)| (name.to_string(), value.to_str().expect("ASCII").to_owned()))
        .collect();
    let path = request.path().to_owned();
    let reply = {
        let mut inner = inner.lock().expect("nobody panics with it");
        let received = Received { path: path.clone(), headers, body: body.to_vec() };
        inner.received.push(received);
        let next = inner.replies.get_mut(&path).and_then(VecDeque::pop_front);
        next.or(inner.usual).expect("a reply")
    };
    let status = |status| actix_web::http::StatusCode::from_u16(status).expect("a status");
    match reply {
        Reply::Status(code) => HttpResponse::new(status(code)),
        Reply::After(code, after) => {
            HttpResponse::build(status(code)).insert_header(("retry-after", after)).finish()
        }
        Reply::Hang => std::future::pending().await,
    }
}

impl Drop for PushService {
    fn drop(&mut self) {
        let handle = self.handle.clone();
        blocking(async move { handle.stop(false).await });
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A browser that has subscribed with a push service.
pub struct Browser {
    private: SecretKey,
    auth: [u8; 16],
    pub endpoint: String,
    /// Nobody but the push service and the server may know it.
    pub path: String,
}

impl Browser {
    pub fn at(service: &PushService) -> Browser {
        Browser::at_origin(&service.origin)
    }

    pub fn at_origin(origin: &str) -> Browser {
        let seed = fresh_key();
        let private = SecretKey::from_slice(&Sha256::digest(&seed)).expect("a key");
        let mut auth = [0; 16];
        auth.copy_from_slice(&Sha256::digest(format!("{seed} auth"))[..16]);
        let path = format!("/wpush/{}", const_hex::encode(Sha256::digest(format!("{seed} path"))));
        Browser { private, auth, endpoint: format!("{origin}{path}"), path }
    }

    /// Another one that knows the endpoint.
    pub fn that_knows(other: &Browser) -> Browser {
        let (endpoint, path) = (other.endpoint.clone(), other.path.clone());
        Browser { endpoint, path, ..Browser::at_origin("") }
    }

    /// As `PushSubscription.toJSON()` gives it.
    pub fn to_json(&self) -> Value {
        let public = self.private.public_key().to_encoded_point(false);
        let keys = json!({"p256dh": URL_SAFE_NO_PAD.encode(public), "auth": URL_SAFE_NO_PAD.encode(self.auth)});
        json!({"endpoint": self.endpoint, "expirationTime": null, "keys": keys})
    }

    fn read(&self, body: &[u8]) -> Value {
        let text = web_push_native::decrypt(body.to_vec(), &self.private, &self.auth.into());
        serde_json::from_slice(&text.expect("it is for this browser")).expect("JSON")
    }
}

/// Where nobody listens.
pub fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", listener.local_addr().expect("an address"))
}

/// Pushes go to this machine, and name somebody.
pub fn configure(config: &mut Config) {
    config.outgoing_loopback = true;
    config.vapid_subject = Some(SUBJECT.to_owned());
}

/// A pusher beside the server's own, as on another node.
pub fn another_pusher(config: &Config, store: &Store) -> Pusher {
    let vapid = Vapid::load_or_create(&config.vapid_key_file, config.vapid_subject.clone());
    let sender = Sender::new(Options { loopback: true, ..Options::default() });
    Pusher::new(store.clone(), WebPush::new(sender.expect("TLS"), vapid.expect("a key")))
}

/// In so many milliseconds, as times stand in a notification's data.
pub fn ends_in_ms(ms: i64) -> Value {
    json!({"ends_at": wall_clock::now().plus_ms(ms).to_string()})
}
