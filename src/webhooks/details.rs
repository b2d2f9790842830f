//! What a webhook may be: where it is, and of which events it is told.

use uuid::Uuid;

use super::signing::SigningSecret;
use crate::{
    domain::{auction::Event, text::is_visible_line, time::Timestamp},
    outgoing::{SendError, Sender, Target},
    store::{NewWebhook, WebhookChanges},
};

/// Types of events that a webhook may name.
pub const TYPES_MAX: usize = 20;
/// Characters of a description.
pub const DESCRIPTION_CHARS_MAX: usize = 200;
/// How long the secret before may sign too, in seconds: a week.
pub const OVERLAP_S_MAX: u32 = 7 * 86_400;
/// How long it does unless somebody says otherwise: a day.
pub const OVERLAP_S: u32 = 86_400;
/// Every type.
pub const ALL_TYPES: &str = "*";

/// What is wrong with a webhook's details.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {message}")]
pub struct WebhookFault {
    /// Where, such as `types[1]`.
    pub field: String,
    /// What must hold instead.
    pub message: String,
}

/// Details of a webhook as they are asked for; what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Details {
    pub url: Option<String>,
    /// `Some(None)` takes it away.
    pub description: Option<Option<String>>,
    pub types: Option<Vec<String>>,
    pub is_disabled: Option<bool>,
}

impl Details {
    /// The changes that they come to. The name in the address is looked up.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub async fn changes(self, sender: &Sender) -> Result<WebhookChanges, Vec<WebhookFault>> {
        let mut faults = Vec::new();
        let mut add = |field: &str, checked: Result<(), String>| {
            if let Err(message) = checked {
                faults.push(WebhookFault { field: field.to_owned(), message });
            }
        };
        let mut url = None;
        if let Some(text) = &self.url {
            match check_url(text, sender).await {
                Ok(target) => url = Some(target.as_str().to_owned()),
                Err(message) => add("url", Err(message)),
            }
        }
        if let Some(Some(description)) = &self.description {
            add("description", check_description(description));
        }
        if let Some(types) = &self.types {
            if types.is_empty() || types.len() > TYPES_MAX {
                add("types", Err(format!("must be 1 to {TYPES_MAX}")));
            }
            for (place, kind) in types.iter().enumerate().take(TYPES_MAX) {
                add(&format!("types[{place}]"), check_type(kind));
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let (description, types, is_disabled) = (self.description, self.types, self.is_disabled);
        Ok(WebhookChanges { url, description, types, is_disabled })
    }

    /// A new webhook of a client, with a fresh id, and its secret, to be shown once.
    ///
    /// # Errors
    /// Everything that is wrong with its details.
    pub async fn webhook(
        self,
        client_id: &str,
        sender: &Sender,
        now: Timestamp,
    ) -> Result<(NewWebhook, SigningSecret), Vec<WebhookFault>> {
        let details = Details { url: Some(self.url.unwrap_or_default()), ..self };
        let details = details.changes(sender).await?;
        let secret = SigningSecret::random();
        let new = NewWebhook {
            id: Uuid::now_v7(),
            client_id: client_id.to_owned(),
            url: details.url.unwrap_or_default(),
            description: details.description.flatten(),
            types: details.types.unwrap_or_else(|| vec![ALL_TYPES.to_owned()]),
            secret: secret.bytes().to_vec(),
            is_disabled: details.is_disabled.unwrap_or(false),
            created_at: now,
        };
        Ok((new, secret))
    }
}

async fn check_url(text: &str, sender: &Sender) -> Result<Target, String> {
    let target = sender.target(text).map_err(|error| error.to_string())?;
    match sender.look_at(&target).await {
        Err(SendError::AddressRefused) => {
            Err("the host must be public: its name leads to a private address".to_owned())
        }
        Ok(()) | Err(_) => Ok(target),
    }
}

fn check_description(text: &str) -> Result<(), String> {
    let is_good =
        (1..=DESCRIPTION_CHARS_MAX).contains(&text.chars().count()) && is_visible_line(text);
    if is_good {
        Ok(())
    } else {
        Err(format!("must be 1 to {DESCRIPTION_CHARS_MAX} characters on one line"))
    }
}

fn check_type(word: &str) -> Result<(), String> {
    if Event::KINDS.iter().any(|kind| is_meant(word, kind)) {
        return Ok(());
    }
    Err(format!("must be {ALL_TYPES}, auction.*, bid.* or one of: {}", Event::KINDS.join(", ")))
}

/// Whether `word`, a type or a pattern such as `bid.*`, means events of this kind.
pub(super) fn is_meant(word: &str, kind: &str) -> bool {
    let of_family = || {
        let family = word.strip_suffix('*').filter(|family| family.ends_with('.'))?;
        Some(kind.starts_with(family))
    };
    word == ALL_TYPES || word == kind || of_family().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outgoing::Options;

    #[test]
    fn a_type_means_itself_its_family_or_everything() {
        for (word, is_one) in [
            ("*", true),
            ("bid.placed", true),
            ("bid.*", true),
            ("bid.", false),
            ("b*", false),
            ("bid*", false),
            ("auction.*", false),
            ("bid.retracted", false),
            ("", false),
        ] {
            assert_eq!(is_meant(word, "bid.placed"), is_one, "{word}");
        }
    }

    #[tokio::test]
    async fn everything_that_is_wrong_is_told() {
        let private = Options {
            lookup: std::sync::Arc::new(|_| {
                Box::pin(std::future::ready(Ok(vec![[10, 0, 0, 1].into()])))
            }),
            ..Options::default()
        };
        let sender = Sender::new(private).expect("a sender");
        let asked = Details {
            url: Some("https://intranet.example.com/".into()),
            description: Some(Some("two\nlines".into())),
            types: Some(vec!["*".into(), "bid.taken".into()]),
            is_disabled: None,
        };
        let faults = asked.changes(&sender).await.err().expect("faults");
        let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["url", "description", "types[1]"]);
    }
}
