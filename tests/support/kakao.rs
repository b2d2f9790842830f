//! The stand-in for Kakao on a port of its own, and a browser in front of its page.

use std::{collections::HashMap, net::TcpListener, sync::mpsc, thread::JoinHandle};

use actix_web::dev::ServerHandle;
use hoga::{
    config::{KakaoApp, Secret},
    embedded::kakao::{App, Person, StandIn},
    identity::kakao::{BaseUrls, Kakao, KakaoConfig, Timeouts},
};
use oauth2::url::Url;

use super::{
    server::PUBLIC_URL,
    wait::{WAIT_MAX, blocking, promptly},
};

pub const CLIENT_ID: &str = "rest-key-of-hoga";
pub const CLIENT_SECRET: &str = "client-secret-of-hoga";
pub const ADMIN_KEY: &str = "admin-key-of-hoga";
pub const APP_ID: i64 = 70_707;
/// Who can log in.
pub const MINJI: i64 = 4_001;
pub const JUNHO: i64 = 4_002;

/// A machine under load may need long for an answer that comes.
const PATIENT: Timeouts = Timeouts { connect: WAIT_MAX, call: WAIT_MAX, login: WAIT_MAX };

/// Where the test server's callback is.
pub fn redirect_uri() -> String {
    format!("{PUBLIC_URL}/oauth/kakao/callback")
}

/// A running stand-in; stopped when dropped.
pub struct KakaoServer {
    pub stand_in: StandIn,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl KakaoServer {
    pub fn start() -> KakaoServer {
        hoga::tls::provide();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let base_url = format!("http://{}", listener.local_addr().expect("an address"));
        let app = App {
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.to_owned(),
            admin_key: ADMIN_KEY.to_owned(),
            app_id: APP_ID,
            redirect_uris: vec![redirect_uri()],
        };
        let person = |id, nickname: &str, about: &str| Person {
            id,
            nickname: nickname.to_owned(),
            about: about.to_owned(),
        };
        let numbered = |id| person(id, &format!("카카오 {id}"), "a user by number");
        let people = vec![
            person(MINJI, "민지", "minji"),
            person(JUNHO, "준호", "junho"),
            numbered(7),
            numbered(8),
            numbered(666),
            numbered(424_242_424_242),
        ];
        let stand_in = StandIn::new(&base_url, app, people).expect("a key");
        let (tell, hear) = mpsc::channel();
        let serving = stand_in.clone();
        let thread = std::thread::spawn(move || {
            actix::System::new().block_on(async move {
                let server = serving.serve(listener).expect("it listens");
                tell.send(server.handle()).expect("the test waits");
                server.await.expect("it serves");
            });
        });
        let handle = hear.recv().expect("the stand-in starts");
        KakaoServer { stand_in, handle, thread: Some(thread) }
    }

    pub fn base_url(&self) -> &str {
        self.stand_in.base_url()
    }

    /// For a server's configuration.
    pub fn app(&self) -> KakaoApp {
        KakaoApp {
            client_id: CLIENT_ID.to_owned(),
            client_secret: Secret::new(CLIENT_SECRET),
            admin_key: Some(Secret::new(ADMIN_KEY)),
            app_id: Some(APP_ID),
            base_url: Some(self.base_url().to_owned()),
        }
    }

    /// The parameters that Hoga sent a browser with.
    pub fn asked(&self, location: &str) -> HashMap<String, String> {
        let url = Url::parse(location).expect("a URL");
        assert!(location.starts_with(self.base_url()), "{location} is not Kakao");
        url.query_pairs().into_owned().collect()
    }

    /// Somebody logs in and agrees: where the browser is sent back to.
    pub async fn consent(&self, location: &str, kakao_id: i64) -> String {
        open(location).await.press(&kakao_id.to_string()).await.into()
    }

    /// Somebody says no.
    pub async fn refusal(&self, location: &str) -> String {
        open(location).await.press("refuse").await.into()
    }

    /// From now on nobody is there.
    pub fn goes_away(&mut self) {
        blocking(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    /// The adapter by itself.
    pub fn kakao(&self) -> Kakao {
        self.kakao_with(|_| {})
    }

    pub fn kakao_with(&self, change: impl FnOnce(&mut KakaoConfig)) -> Kakao {
        let mut config = KakaoConfig {
            base_urls: BaseUrls::stand_in(self.base_url(), self.base_url()),
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.to_owned(),
            admin_key: Some(ADMIN_KEY.to_owned()),
            app_id: Some(APP_ID),
            timeouts: PATIENT,
        };
        change(&mut config);
        Kakao::new(config).expect("an adapter")
    }
}

impl Drop for KakaoServer {
    fn drop(&mut self) {
        self.goes_away();
    }
}

/// What the stand-in's page brings.
pub struct ChoicePage {
    pub url: Url,
    pub html: String,
}

/// A browser that follows nothing by itself.
pub fn browser() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
    builder.redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

/// Opens the page that an authorize URL leads to.
pub async fn open(authorize_url: &str) -> ChoicePage {
    let answer = promptly("the page", browser().get(authorize_url).send()).await.expect("a page");
    assert_eq!(answer.status(), 200);
    let url = answer.url().clone();
    ChoicePage { url, html: answer.text().await.expect("text") }
}

impl ChoicePage {
    fn between(&self, start: &str, end: &str) -> &str {
        let rest =
            self.html.split_once(start).unwrap_or_else(|| panic!("no {start} on the page")).1;
        rest.split_once(end).expect("the end of it").0
    }

    /// The form's own address, as a browser would find it.
    pub fn action(&self) -> Url {
        self.url.join(self.between("action=\"", "\"")).expect("a URL")
    }

    pub fn ticket(&self) -> &str {
        self.between("name=\"ticket\" value=\"", "\"")
    }

    /// Where the browser is sent when this button is pressed.
    pub async fn press(&self, choice: &str) -> Url {
        let form = [("ticket", self.ticket()), ("choice", choice)];
        let pressing = browser().post(self.action()).form(&form).send();
        let answer = promptly("the choice", pressing).await.expect("an answer");
        assert_eq!(answer.status(), 302, "{}", answer.text().await.expect("text"));
        let location = answer.headers()["location"].to_str().expect("ASCII");
        Url::parse(location).expect("a URL")
    }
}

/// A parameter in a URL's query.
pub fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}
