//! One turn of one webhook: some of what is due is told, in order for each auction, and recorded.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use metrics::counter;
use tokio::time::Instant;

use super::{
    DISABLED_AFTER_S, Webhooks, WorkedOff, message,
    schedule::{failing_pause_s, pause_ms},
    signing::{self, SigningSecret},
};
use crate::{
    domain::time::Timestamp,
    outgoing::{SendError, Target},
    store::{AfterAttempt, AttemptMade, ClaimedWebhook, DueDelivery, StoreError, WebhookStanding},
};

/// Deliveries of one turn; of a webhook that fails it is one, to see how it is.
const BATCH_MAX: i64 = 32;
/// Auctions whose events are told side by side.
pub(super) const LINES_MAX: usize = 4;
/// Nothing new is begun after so long.
const TURN_MAX: Duration = Duration::from_secs(20);

struct Turn<'a, C> {
    webhooks: &'a Webhooks,
    webhook: &'a ClaimedWebhook,
    /// None where it may not be reached any more.
    target: Option<Target>,
    secrets: Vec<SigningSecret>,
    clock: C,
    begun: Instant,
    has_failed: AtomicBool,
}

/// What came of an attempt.
struct Told {
    made: AttemptMade,
    /// Whether the receiver is to blame, and what it said.
    blamed: Option<SendError>,
}

/// Tells a claimed webhook what is due.
pub(super) async fn take(
    webhooks: Webhooks,
    webhook: ClaimedWebhook,
    busy_until: Timestamp,
    clock: impl Fn() -> Timestamp + Copy + Send + Sync,
) -> Result<WorkedOff, StoreError> {
    let batch = if webhook.failing_since.is_some() { 1 } else { BATCH_MAX };
    let due = {
        let _reader = webhooks.readers.acquire().await;
        webhooks.store.due_deliveries(webhook.id, clock(), batch).await?
    };
    let mut secrets = vec![SigningSecret::of_bytes(webhook.secret.clone())];
    secrets.extend(webhook.old_secret.clone().map(SigningSecret::of_bytes));
    let turn = Turn {
        webhooks: &webhooks,
        webhook: &webhook,
        target: webhooks.sender.target(&webhook.url).ok(),
        secrets,
        clock,
        begun: Instant::now(),
        has_failed: AtomicBool::new(false),
    };
    let lines = lines(due).into_iter().map(|line| turn.tell(line));
    let told: Vec<Vec<Told>> = stream::iter(lines).buffer_unordered(LINES_MAX).collect().await;
    turn.end(told.into_iter().flatten().collect(), busy_until).await
}

/// What is due, by auction.
fn lines(due: Vec<DueDelivery>) -> Vec<Vec<DueDelivery>> {
    let mut lines: Vec<Vec<DueDelivery>> = Vec::new();
    for delivery in due {
        let of_it = |line: &&mut Vec<DueDelivery>| {
            let auction = |delivery: &DueDelivery| delivery.cause.map(|cause| cause.0);
            delivery.cause.is_some() && auction(&line[0]) == auction(&delivery)
        };
        match lines.iter_mut().find(of_it) {
            Some(line) => line.push(delivery),
            None => lines.push(vec![delivery]),
        }
    }
    for line in &mut lines {
        line.sort_by_key(|delivery| delivery.cause.map(|cause| cause.1));
    }
    lines
}

impl<C: Fn() -> Timestamp> Turn<'_, C> {
    /// Tells of one auction, until something fails: what comes after it waits, untried.
    async fn tell(&self, line: Vec<DueDelivery>) -> Vec<Told> {
        let mut told = Vec::new();
        for due in line {
            if self.has_failed.load(Ordering::Relaxed) || self.begun.elapsed() > TURN_MAX {
                break;
            }
            let attempt = self.attempt(due).await;
            if attempt.blamed.is_some() {
                self.has_failed.store(true, Ordering::Relaxed);
            }
            told.push(attempt);
        }
        told
    }

    async fn attempt(&self, due: DueDelivery) -> Told {
        let (at, begun) = ((self.clock)(), Instant::now());
        let (delivery, attempts) = (due.id, due.attempts);
        let message = message::of(due, &self.webhook.client_id, self.webhook.id);
        let sent = match (message, &self.target) {
            (None, _) => None,
            (Some(_), None) => Some(Err(SendError::AddressRefused)),
            (Some(message), Some(target)) => {
                let body = Bytes::from(message.body);
                let headers = signing::headers(&message.id, at, &body, &self.secrets);
                Some(self.webhooks.sender.post(target, headers, body).await)
            }
        };
        let took_ms = i32::try_from(begun.elapsed().as_millis()).unwrap_or(i32::MAX);
        let made = |status: Option<u16>, error: Option<String>, after| AttemptMade {
            delivery,
            at,
            took_ms,
            status: status.map(i32::from),
            error,
            after,
        };
        match sent {
            None => {
                let error = Some("the event cannot be read".to_owned());
                Told { made: made(None, error, AfterAttempt::Failed), blamed: None }
            }
            Some(Ok(answer)) => {
                let made = made(Some(answer.status), None, AfterAttempt::Delivered);
                Told { made, blamed: None }
            }
            Some(Err(error @ SendError::TooLarge(_))) => {
                let why = Some(error.to_string());
                Told { made: made(None, why, AfterAttempt::Failed), blamed: None }
            }
            Some(Err(error)) => {
                let after = self.after_failure(&error, attempts, at);
                let made = made(error.status(), Some(error.to_string()), after);
                Told { made, blamed: Some(error) }
            }
        }
    }

    fn after_failure(&self, error: &SendError, attempts: i32, at: Timestamp) -> AfterAttempt {
        if *error == SendError::Gone {
            return AfterAttempt::Failed;
        }
        let failed = usize::try_from(attempts).unwrap_or(usize::MAX).saturating_add(1);
        let chance = (self.webhooks.options.chance)();
        match pause_ms(failed, asked_s(error, at), chance) {
            Some(pause_ms) => AfterAttempt::Later(at.plus_ms(pause_ms)),
            None => AfterAttempt::Failed,
        }
    }

    /// Records what was told, and how the webhook stands after it.
    async fn end(self, told: Vec<Told>, busy_until: Timestamp) -> Result<WorkedOff, StoreError> {
        let _reader = self.webhooks.readers.acquire().await;
        let now = (self.clock)();
        let made: Vec<AttemptMade> = told.iter().map(|told| told.made.clone()).collect();
        if !made.is_empty() {
            self.webhooks.store.record_attempts(&made).await?;
        }
        let standing = self.standing(&told, now);
        let next_at = match standing {
            WebhookStanding::Well | WebhookStanding::Disabled(_) => now,
            WebhookStanding::Failing { failures, .. } => {
                let asked = told.iter().filter_map(|told| asked_s(told.blamed.as_ref()?, now));
                now.plus_s(failing_pause_s(failures, asked.max()))
            }
        };
        let store = &self.webhooks.store;
        let is_ours =
            store.release_webhook(self.webhook.id, busy_until, next_at, standing, now).await?;
        let mut worked_off = counted(&told);
        if is_ours {
            self.say(standing, &told);
            worked_off.disabled = u32::from(matches!(standing, WebhookStanding::Disabled(_)));
        }
        Ok(worked_off)
    }

    fn standing(&self, told: &[Told], now: Timestamp) -> WebhookStanding {
        if told.iter().any(|told| told.blamed == Some(SendError::Gone)) {
            return WebhookStanding::Disabled("gone");
        }
        let has_arrived = told.iter().any(|told| told.made.after == AfterAttempt::Delivered);
        let is_blamed = told.iter().any(|told| told.blamed.is_some());
        match self.webhook.failing_since {
            _ if has_arrived => WebhookStanding::Well,
            None if !is_blamed => WebhookStanding::Well,
            Some(since) if !is_blamed => {
                WebhookStanding::Failing { since, failures: self.webhook.failures }
            }
            Some(since) if now.ms_since(since) >= DISABLED_AFTER_S * 1_000 => {
                WebhookStanding::Disabled("failing")
            }
            since => WebhookStanding::Failing {
                since: since.unwrap_or(now),
                failures: self.webhook.failures.saturating_add(1),
            },
        }
    }

    /// Says what changed, once.
    fn say(&self, standing: WebhookStanding, told: &[Told]) {
        let (webhook_id, client) = (self.webhook.id, self.webhook.client_id.as_str());
        let host = self.target.as_ref().map(Target::origin);
        let error = told.iter().find_map(|told| told.blamed.as_ref());
        let error = error.map(|error| error as &dyn std::error::Error);
        match (self.webhook.failing_since, standing) {
            (_, WebhookStanding::Disabled(because)) => {
                counter!("hoga_webhooks_disabled_total", "because" => because).increment(1);
                tracing::error!(error, %webhook_id, client, host, because, "a webhook is disabled");
            }
            (None, WebhookStanding::Failing { .. }) => {
                tracing::warn!(error, %webhook_id, client, host, "a webhook fails; it is tried again");
            }
            (Some(_), WebhookStanding::Well) => {
                tracing::info!(%webhook_id, client, host, "a webhook works again");
            }
            (None, WebhookStanding::Well) | (Some(_), WebhookStanding::Failing { .. }) => {}
        }
    }
}

fn asked_s(error: &SendError, now: Timestamp) -> Option<i64> {
    error.retry_after().map(|asked| asked.pause_s(now))
}

fn counted(told: &[Told]) -> WorkedOff {
    let mut worked_off = WorkedOff::default();
    for told in told {
        let outcome = match told.made.after {
            AfterAttempt::Delivered => {
                worked_off.delivered += 1;
                "delivered"
            }
            AfterAttempt::Later(_) => {
                worked_off.failed += 1;
                told.blamed.as_ref().map_or("failed", SendError::word)
            }
            AfterAttempt::Failed => {
                worked_off.given_up += 1;
                counter!("hoga_webhooks_given_up_total").increment(1);
                told.blamed.as_ref().map_or("failed", SendError::word)
            }
        };
        counter!("hoga_webhooks_attempts_total", "outcome" => outcome).increment(1);
    }
    worked_off
}
