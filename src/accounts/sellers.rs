//! Seller applications: who wants to be shown as which company, and what is decided.

use uuid::Uuid;

use super::{Wrong, WrongField};
use crate::{
    domain::{id::UserId, time::Timestamp},
    identity::{Role, account, business_number::BusinessNumber, phone::Phone},
    notify::{self, Kind},
    store::{
        ApplicationRow, ApplicationStatus, Company, NewNotification, NewVerdict, Store, StoreError,
    },
};

/// Characters in a company's name.
const COMPANY_NAME_CHARS_MAX: usize = 100;
/// Characters in the name of who represents it.
const REPRESENTATIVE_CHARS_MAX: usize = 50;
/// Characters in the reason of a refusal.
pub const REASON_CHARS_MAX: usize = 500;

/// As which company somebody wants to sell, as they wrote it.
#[allow(missing_docs)]
pub struct CompanyDraft<'a> {
    pub name: &'a str,
    pub business_number: &'a str,
    pub representative: &'a str,
    pub contact_email: &'a str,
    pub contact_phone: &'a str,
}

impl CompanyDraft<'_> {
    /// In the one form in which each part is kept.
    ///
    /// # Errors
    /// With every part that cannot be.
    fn checked(&self) -> Result<Company, Vec<WrongField>> {
        let mut wrong = Wrong::default();
        let name = account::line(self.name, COMPANY_NAME_CHARS_MAX);
        let number = BusinessNumber::parse(self.business_number).map(|number| number.to_string());
        let representative = account::line(self.representative, REPRESENTATIVE_CHARS_MAX);
        let phone = Phone::parse(self.contact_phone).map(|phone| phone.to_string());
        let company = Company {
            name: wrong.take("company_name", name),
            business_number: wrong.take("business_number", number),
            representative: wrong.take("representative", representative),
            contact_email: wrong.take("contact_email", account::email(self.contact_email)),
            contact_phone: wrong.take("contact_phone", phone),
        };
        wrong.none()?;
        Ok(company)
    }
}

/// What is decided of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// The company is shown from now on, and its user may sell.
    Approved,
    /// It is not, for this reason, which the applicant reads.
    Refused(&'a str),
}

/// Why there is no application, or no verdict.
#[derive(Debug, thiserror::Error)]
pub enum SellerError {
    /// There is no such account, or its owner has left.
    #[error("there is no such account")]
    NobodyThere,
    /// Something in it cannot be like that.
    #[error("the application or the verdict cannot be like that")]
    Wrong(Vec<WrongField>),
    /// Another application of the user waits to be decided.
    #[error("another application waits to be decided")]
    Pending,
    /// There is no such application.
    #[error("there is no such application")]
    NotFound,
    /// It had been decided before.
    #[error("the application had been decided before")]
    DecidedBefore,
    /// Postgres.
    #[error("the application could not be kept or decided")]
    Store(#[from] StoreError),
}

/// Applies as a seller.
///
/// # Errors
/// As [`SellerError`] says; nothing is kept then.
pub async fn apply(
    store: &Store,
    user: UserId,
    draft: &CompanyDraft<'_>,
    now: Timestamp,
) -> Result<ApplicationRow, SellerError> {
    let company = draft.checked().map_err(SellerError::Wrong)?;
    let tx = store.begin().await?;
    if !tx.lock_account(user).await? {
        return Err(SellerError::NobodyThere);
    }
    let id = Uuid::now_v7();
    match tx.insert_application(id, user, &company, now).await {
        Err(StoreError::Constraint(name)) if name == "seller_applications_pending_key" => {
            return Err(SellerError::Pending);
        }
        inserted => inserted?,
    }
    let row = tx.application(id).await?.ok_or(SellerError::NotFound)?;
    tx.commit().await?;
    Ok(row)
}

/// Decides an application, once. With an approval come the role and the place of details that were
/// approved before; and with every verdict what the applicant is told: all in one transaction.
///
/// # Errors
/// As [`SellerError`] says; nothing is decided then.
pub async fn decide(
    store: &Store,
    id: Uuid,
    verdict: Verdict<'_>,
    by: UserId,
    now: Timestamp,
) -> Result<ApplicationRow, SellerError> {
    let (status, reason) = match verdict {
        Verdict::Approved => (ApplicationStatus::Approved, None),
        Verdict::Refused(reason) => (ApplicationStatus::Refused, Some(checked_reason(reason)?)),
    };
    let tx = store.begin().await?;
    let user = tx.application(id).await?.ok_or(SellerError::NotFound)?.user;
    // Whoever leaves takes their undecided applications along.
    if !tx.lock_account(user).await? {
        return Err(SellerError::NotFound);
    }
    let row = tx.application(id).await?.ok_or(SellerError::NotFound)?;
    if row.status != ApplicationStatus::Pending {
        return Err(SellerError::DecidedBefore);
    }
    if verdict == Verdict::Approved {
        tx.replace_approved(user).await?;
        tx.give_role(user, Role::Seller.word()).await?;
    }
    let written = NewVerdict { status, reason: reason.as_deref(), by, at: now };
    if !tx.write_verdict(id, &written).await? {
        return Err(SellerError::DecidedBefore);
    }
    let row = tx.application(id).await?.ok_or(SellerError::NotFound)?;
    let told = NewNotification {
        user,
        kind: Kind::SellerApplicationDecided.word(),
        subject: id,
        cause: 0,
        data: notify::verdict(verdict == Verdict::Approved),
        at: now,
    };
    tx.write_notifications(&[told], now).await?;
    tx.commit().await?;
    Ok(row)
}

fn checked_reason(reason: &str) -> Result<String, SellerError> {
    account::line(reason, REASON_CHARS_MAX)
        .map_err(|error| SellerError::Wrong(vec![WrongField::new("reason", error)]))
}
