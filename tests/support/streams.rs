//! A viewer: reads server-sent events as a browser would.

use futures_util::FutureExt;
use serde_json::{Value, json};

use super::{contract, wait::promptly};

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub id: Option<String>,
    pub event: String,
    pub data: Value,
    /// As it came.
    pub text: String,
}

impl Told {
    pub fn seq(&self) -> u64 {
        self.data["seq"].as_u64().expect("a sequence number")
    }
}

/// An open stream.
pub struct Events {
    /// What each event is, in the document.
    schema: &'static str,
    response: reqwest::Response,
    waiting: Vec<u8>,
    /// What a browser would send as `Last-Event-ID`: the last `id:`, also of a block without data.
    pub last_event_id: Option<String>,
    /// The last `retry:` that came, in milliseconds.
    pub retry_ms: Option<u64>,
    /// Everything that came.
    pub raw: Vec<u8>,
}

impl Events {
    pub fn new(response: reqwest::Response) -> Events {
        let is_personal = response.url().path().ends_with("/me/events");
        Events {
            schema: if is_personal { "InboxFrame" } else { "AuctionFrame" },
            response,
            waiting: Vec::new(),
            last_event_id: None,
            retry_ms: None,
            raw: Vec::new(),
        }
    }

    /// The next event; `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<Told> {
        promptly("the next event", self.read_event()).await
    }

    /// The next event, however long it takes; nothing is lost if this is not waited for.
    pub async fn whenever(&mut self) -> Option<Told> {
        self.read_event().await
    }

    /// Reads what is there already; an event, if there is a whole one.
    pub fn poll_once(&mut self) -> Option<Told> {
        self.read_event().now_or_never().flatten()
    }

    /// The next events.
    pub async fn take(&mut self, count: usize) -> Vec<Told> {
        let mut told = Vec::with_capacity(count);
        while told.len() < count {
            told.push(self.next().await.expect("the stream goes on"));
        }
        told
    }

    /// All events up to the one of this type, with it.
    pub async fn until(&mut self, event: &str) -> Vec<Told> {
        let mut told: Vec<Told> = Vec::new();
        while told.last().is_none_or(|last| last.event != event) {
            told.push(self.next().await.expect("the stream goes on"));
        }
        told
    }

    async fn read_event(&mut self) -> Option<Told> {
        loop {
            let block = self.read_block().await?;
            let field = |name: &str| {
                let lines = block.lines().filter_map(|line| line.split_once(": "));
                lines.filter(|(field, _)| *field == name).map(|(_, value)| value.to_owned()).next()
            };
            if let Some(retry) = field("retry") {
                self.retry_ms = Some(retry.parse().expect("milliseconds"));
            }
            if let Some(id) = field("id") {
                self.last_event_id = Some(id);
            }
            if let (Some(event), Some(data)) = (field("event"), field("data")) {
                let data: Value = serde_json::from_str(&data).expect("an event's data is JSON");
                let mut frame = json!({"event": event, "data": data});
                if let Some(id) = field("id") {
                    frame["id"] = id.into();
                }
                contract::check_told(self.schema, &frame);
                return Some(Told { id: field("id"), event, data, text: block });
            }
        }
    }

    async fn read_block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.waiting.windows(2).position(|two| two == b"\n\n") {
                let block = self.waiting.drain(..end + 2).collect();
                return Some(String::from_utf8(block).expect("UTF-8"));
            }
            // A connection that breaks ends a stream as well as one that is closed.
            let chunk = self.response.chunk().await.ok().flatten()?;
            self.raw.extend_from_slice(&chunk);
            self.waiting.extend_from_slice(&chunk);
        }
    }
}
