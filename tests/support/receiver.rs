//! Somebody who is told by webhook: a server of HTTP on this machine that does as it is told.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{contract, wait::eventually};

/// What came.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }

    /// Whether one of its signatures is what somebody else's library makes with this secret.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let verifier = Webhook::new(secret).expect("a secret");
        let sent_at = self.headers["webhook-timestamp"].parse().expect("seconds");
        let signature = verifier.sign(self.id(), sent_at, &self.body).expect("signed");
        self.headers["webhook-signature"].split(' ').any(|one| one == signature)
    }

    /// Whether somebody else's library takes it for ours, and for sent just now.
    pub fn is_verified_with(&self, secret: &str) -> bool {
        let mut headers = reqwest::header::HeaderMap::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            headers.insert(name, self.headers[name].parse().expect("a value"));
        }
        Webhook::new(secret).expect("a secret").verify(&self.body, &headers).is_ok()
    }
}

/// What it does with whatever comes.
#[derive(Debug, Clone)]
pub enum Manner {
    /// Answers with this status, and these lines of headers.
    Answer(u16, &'static str),
    /// Never answers.
    Hang,
}

/// A receiver; gone when it is dropped.
pub struct Receiver {
    pub origin: String,
    manner: Arc<Mutex<Manner>>,
    received: Arc<Mutex<Vec<Received>>>,
    serving: JoinHandle<()>,
}

impl Receiver {
    pub async fn start(manner: Manner) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let manner = Arc::new(Mutex::new(manner));
        let received = Arc::new(Mutex::new(Vec::new()));
        let (doing, noted) = (Arc::clone(&manner), Arc::clone(&received));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&doing), Arc::clone(&noted)));
            }
        });
        Receiver { origin, manner, received, serving }
    }

    /// One that takes everything.
    pub async fn good() -> Receiver {
        Receiver::start(Manner::Answer(204, "")).await
    }

    pub fn url(&self) -> String {
        format!("{}/hoga", self.origin)
    }

    pub fn does(&self, manner: Manner) {
        *self.manner.lock().expect("a lock") = manner;
    }

    pub fn received(&self) -> Vec<Received> {
        let received = self.received.lock().expect("a lock").clone();
        for message in received.iter().filter(|message| message.headers.contains_key("webhook-id"))
        {
            contract::check_told("WebhookMessage", &message.json());
        }
        received
    }

    /// Everything, once there is so much.
    pub async fn received_once(&self, count: usize) -> Vec<Received> {
        eventually("messages", || async {
            Some(self.received()).filter(|received| received.len() >= count)
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Reads one request and answers it.
async fn answer(
    mut stream: TcpStream,
    manner: Arc<Mutex<Manner>>,
    noted: Arc<Mutex<Vec<Received>>>,
) {
    let Some(received) = read(&mut stream).await else { return };
    let manner = manner.lock().expect("a lock").clone();
    noted.lock().expect("a lock").push(received);
    match manner {
        Manner::Answer(status, headers) => {
            let answer = format!(
                "HTTP/1.1 {status} Said\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        Manner::Hang => std::future::pending().await,
    }
}

async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length")?.parse().ok()?;
    let mut body = bytes[head_end + 4..].to_vec();
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Received { path, headers, body })
}
