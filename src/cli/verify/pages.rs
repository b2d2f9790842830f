//! Answers of `GET log`, one after the other, read so that whatever is wrong is found where it is.
//!
//! A page is not read as one JSON value: an event that breaks the syntax would then be an error
//! somewhere in the page, often not even in that event. Each event is read from where it begins.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::VerifyError;
use crate::{
    domain::id::AuctionId,
    log::audit::{Audit, Fault},
};

/// Checks every log in the text.
pub fn verify(content: &[u8]) -> Result<Vec<Audit>, VerifyError> {
    let text = String::from_utf8_lossy(content);
    let mut scanner = Scanner { text: &text, at: 0 };
    let mut logs = Logs::default();
    while let Some(page) = scanner.next_page() {
        logs.take(page?)?;
    }
    // What stands in for a byte that is no text cannot have been hashed; this is for those around.
    if let Cow::Owned(_) = text {
        let byte = String::from_utf8(content.to_vec())
            .map_or_else(|error| error.utf8_error().valid_up_to(), |_| 0);
        return Err(VerifyError::Envelope { byte: byte + 1, problem: "it is not UTF-8".into() });
    }
    logs.finish()
}

/// One answer.
pub struct Page<'a> {
    auction: AuctionId,
    items: Vec<&'a str>,
    /// What follows the last of the items: the end of the page, or what is wrong there.
    rest: Result<Option<u64>, Broken>,
}

/// Where a page cannot be read.
pub enum Broken {
    /// In the event after those that could be read.
    NextEvent(String),
    /// Around the events.
    Around(VerifyError),
}

/// The logs that were put together so far.
#[derive(Default)]
pub struct Logs {
    done: Vec<Audit>,
    /// The log that goes on in the next page.
    open: Option<Audit>,
}

impl Logs {
    /// Takes the next page: of the log that goes on, or the first of another.
    pub fn take(&mut self, page: Page<'_>) -> Result<(), VerifyError> {
        let mut audit = match self.open.take() {
            None => Audit::new(page.auction),
            Some(audit) if audit.auction() == page.auction => audit,
            Some(audit) => {
                let problem = format!("the next page is of auction {}", page.auction);
                return Err(goes_on(&audit, problem));
            }
        };
        for item in &page.items {
            audit.take(item).map_err(|fault| blame(&audit, &page.items, fault))?;
        }
        match page.rest {
            Err(Broken::Around(error)) => Err(error),
            Err(Broken::NextEvent(problem)) => Err(event(&audit, Fault::NotAnEntry(problem))),
            Ok(None) => {
                self.done.push(audit);
                Ok(())
            }
            Ok(Some(next)) if next == audit.count() => {
                self.open = Some(audit);
                Ok(())
            }
            Ok(Some(next)) => Err(goes_on(&audit, format!("next_after_seq is {next}"))),
        }
    }

    /// After the last page.
    pub fn finish(self) -> Result<Vec<Audit>, VerifyError> {
        match self.open {
            Some(audit) => Err(goes_on(&audit, "the next page is missing".into())),
            None if self.done.is_empty() => Err(VerifyError::Empty),
            None => Ok(self.done),
        }
    }

    /// The last event of the log that goes on.
    pub fn goes_on_after(&self) -> Option<u64> {
        self.open.as_ref().map(Audit::count)
    }
}

fn goes_on(audit: &Audit, problem: String) -> VerifyError {
    VerifyError::Pages { auction: audit.auction(), event: audit.count(), problem }
}

fn event(audit: &Audit, fault: Fault) -> VerifyError {
    VerifyError::Event { event: audit.count() + 1, auction: audit.auction(), fault }
}

/// Where no hash of a page matches, it is the auction's id that was changed, not every event.
fn blame(audit: &Audit, items: &[&str], fault: Fault) -> VerifyError {
    let all_differ = fault == Fault::Hash
        && items.len() > 1
        && items.iter().all(|item| audit.is_of_another_auction(item));
    if all_differ { VerifyError::AnotherAuction(audit.auction()) } else { event(audit, fault) }
}

/// Goes through a text of answers.
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Over one answer.
    pub const fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, at: 0 }
    }

    /// The next page; `None` at the end. Only line breaks may stand between pages.
    pub fn next_page(&mut self) -> Option<Result<Page<'a>, VerifyError>> {
        while self.rest().starts_with('\n') {
            self.at += 1;
        }
        if self.rest().is_empty() { None } else { Some(self.page()) }
    }

    fn page(&mut self) -> Result<Page<'a>, VerifyError> {
        self.expect("{")?;
        self.expect("\"auction_id\"")?;
        self.expect(":")?;
        self.skip_space();
        let at = self.at;
        let id: String = self.value().map_err(|problem| self.around(problem))?;
        let auction = id.parse().ok().filter(|auction: &AuctionId| auction.to_string() == id);
        let auction = auction.ok_or_else(|| VerifyError::Envelope {
            byte: at + 1,
            problem: "auction_id is not an id".into(),
        })?;
        self.expect(",")?;
        self.expect("\"items\"")?;
        self.expect(":")?;
        self.expect("[")?;
        let mut items = Vec::new();
        let rest = self.items(&mut items);
        Ok(Page { auction, items, rest })
    }

    fn items(&mut self, items: &mut Vec<&'a str>) -> Result<Option<u64>, Broken> {
        loop {
            items.push(self.value::<&RawValue>().map_err(Broken::NextEvent)?.get());
            self.skip_space();
            if !self.rest().starts_with(',') {
                break;
            }
            self.at += 1;
        }
        self.tail().map_err(Broken::Around)
    }

    fn tail(&mut self) -> Result<Option<u64>, VerifyError> {
        self.expect("]")?;
        self.expect(",")?;
        self.expect("\"next_after_seq\"")?;
        self.expect(":")?;
        let next = self.value().map_err(|problem| self.around(problem))?;
        self.expect("}")?;
        Ok(next)
    }

    /// The JSON value that begins here.
    fn value<T: Deserialize<'a>>(&mut self) -> Result<T, String> {
        self.skip_space();
        let mut values = serde_json::Deserializer::from_str(&self.text[self.at..]).into_iter();
        match values.next() {
            Some(Ok(value)) => {
                self.at += values.byte_offset();
                Ok(value)
            }
            Some(Err(error)) => {
                let error = error.to_string();
                Err(error.split(" at line ").next().unwrap_or_default().to_owned())
            }
            None => Err("the text ends".into()),
        }
    }

    fn expect(&mut self, token: &str) -> Result<(), VerifyError> {
        self.skip_space();
        if self.rest().starts_with(token) {
            self.at += token.len();
            return Ok(());
        }
        Err(self.around(format!("{token} must stand here")))
    }

    fn around(&self, problem: String) -> VerifyError {
        VerifyError::Envelope { byte: self.at + 1, problem }
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
}
