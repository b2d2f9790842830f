//! Seller applications: who wants to be shown as which company, and what was decided.

use deadpool_postgres::Transaction;
use uuid::Uuid;

use crate::domain::{id::UserId, time::Timestamp};
use crate::store::{
    Store, StoreError,
    identity::accounts::lock_account,
    notify::inbox::{self, NewNotification},
};

/// Who trades, as the law wants it shown with what is sold (E-commerce Act of Korea, art. 10 and 13).
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Company {
    pub name: String,
    /// Ten digits.
    pub business_number: String,
    pub representative: String,
    pub contact_email: String,
    /// E.164
    pub contact_phone: String,
}

impl std::fmt::Debug for Company {
    /// Without what it says of people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Company")
    }
}

impl Company {
    /// Of the columns in the order of the fields.
    pub(in crate::store) fn from_columns(columns: Vec<String>) -> Option<Company> {
        let [name, business_number, representative, contact_email, contact_phone] =
            columns.try_into().ok()?;
        Some(Company { name, business_number, representative, contact_email, contact_phone })
    }
}

/// An application as it is kept.
#[derive(Clone)]
#[allow(missing_docs)]
pub struct ApplicationRow {
    pub id: Uuid,
    pub user: UserId,
    pub company: Company,
    /// `pending`, `approved`, `refused` or `replaced`.
    pub status: String,
    /// Why it was refused.
    pub reason: Option<String>,
    pub decided_by: Option<UserId>,
    pub decided_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

/// What is decided of an application.
pub enum Verdict {
    /// The company is shown from now on, and its user may sell.
    Approved,
    /// It is not, for this reason.
    Refused(String),
}

/// How the applicant is told of a verdict.
pub struct NewVerdict {
    /// The notification's word.
    pub kind: &'static str,
    /// JSON
    pub data: String,
}

/// What became of a verdict.
pub enum Decided {
    /// It stands.
    Done(Box<ApplicationRow>),
    /// There is no such application.
    NotFound,
    /// It had been decided before.
    Before,
}

const COLUMNS: &str = "
    SELECT id, user_id, company_name, business_number, representative, contact_email,
           contact_phone, status, reason, decided_by, decided_at, created_at
    FROM seller_applications";

const INSERT: &str = "
    INSERT INTO seller_applications (id, user_id, company_name, business_number, representative,
        contact_email, contact_phone, status, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', $8)";

/// Those that were approved before: trades were made under them, so they are kept.
const REPLACE_APPROVED: &str = "
    UPDATE seller_applications SET status = 'replaced' WHERE user_id = $1 AND status = 'approved'";

const DECIDE: &str = "
    UPDATE seller_applications SET status = $2, reason = $3, decided_by = $4, decided_at = $5
    WHERE id = $1 AND status = 'pending'";

/// Auctions show the company, so the version rises even where the role was there before.
const GIVE_ROLE: &str = "
    UPDATE users SET version = version + 1,
        roles = ARRAY(SELECT DISTINCT unnest(roles || ARRAY['seller']) ORDER BY 1)
    WHERE id = $1";

fn application(row: &tokio_postgres::Row) -> ApplicationRow {
    ApplicationRow {
        id: row.get(0),
        user: row.get(1),
        company: Company {
            name: row.get(2),
            business_number: row.get(3),
            representative: row.get(4),
            contact_email: row.get(5),
            contact_phone: row.get(6),
        },
        status: row.get(7),
        reason: row.get(8),
        decided_by: row.get(9),
        decided_at: row.get(10),
        created_at: row.get(11),
    }
}

impl Store {
    /// Keeps a new application, to be decided. None when there is no such user, or they have left.
    ///
    /// # Errors
    /// [`StoreError::Constraint`] `seller_applications_pending_key` while another one waits.
    pub async fn apply_as_seller(
        &self,
        id: Uuid,
        user: UserId,
        company: Company,
        now: Timestamp,
    ) -> Result<Option<ApplicationRow>, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        if !lock_account(&transaction, user).await? {
            return Ok(None);
        }
        let Company { name, business_number, representative, contact_email, contact_phone } =
            &company;
        transaction
            .execute(
                INSERT,
                &[
                    &id,
                    &user,
                    name,
                    business_number,
                    representative,
                    contact_email,
                    contact_phone,
                    &now,
                ],
            )
            .await
            .map_err(StoreError::named)?;
        let row = find(&transaction, id).await?;
        transaction.commit().await?;
        Ok(row)
    }

    /// A user's newest application.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn newest_application(
        &self,
        user: UserId,
    ) -> Result<Option<ApplicationRow>, StoreError> {
        let sql = format!("{COLUMNS} WHERE user_id = $1 ORDER BY id DESC LIMIT 1");
        let reader = self.reader().await?;
        let statement = reader.prepare_cached(&sql).await?;
        Ok(reader.query_opt(&statement, &[&user]).await?.as_ref().map(application))
    }

    /// Applications, of a status if one is named, after one of them; the oldest first.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn applications(
        &self,
        status: Option<&str>,
        after: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<ApplicationRow>, StoreError> {
        let reader = self.reader().await?;
        let after = after.unwrap_or(Uuid::nil());
        let rows = match status {
            Some(status) => {
                let sql = format!("{COLUMNS} WHERE status = $1 AND id > $2 ORDER BY id LIMIT $3");
                let statement = reader.prepare_cached(&sql).await?;
                reader.query(&statement, &[&status, &after, &limit]).await?
            }
            None => {
                let sql = format!("{COLUMNS} WHERE id > $1 ORDER BY id LIMIT $2");
                let statement = reader.prepare_cached(&sql).await?;
                reader.query(&statement, &[&after, &limit]).await?
            }
        };
        Ok(rows.iter().map(application).collect())
    }

    /// Decides an application. With an approval come the role, and the place of details that were
    /// approved before, and with every verdict what the applicant is told, in the same transaction.
    ///
    /// # Errors
    /// When Postgres cannot be asked; nothing is decided then.
    pub async fn decide_application(
        &self,
        id: Uuid,
        verdict: Verdict,
        by: UserId,
        told: NewVerdict,
        now: Timestamp,
    ) -> Result<Decided, StoreError> {
        let mut reader = self.reader().await?;
        let transaction = reader.transaction().await?;
        let Some(row) = find(&transaction, id).await? else { return Ok(Decided::NotFound) };
        // Whoever leaves takes their undecided applications along.
        if !lock_account(&transaction, row.user).await? {
            return Ok(Decided::NotFound);
        }
        let (status, reason) = match &verdict {
            Verdict::Approved => ("approved", None),
            Verdict::Refused(reason) => ("refused", Some(reason)),
        };
        if matches!(verdict, Verdict::Approved) && row.status == "pending" {
            transaction.execute(REPLACE_APPROVED, &[&row.user]).await?;
        }
        let decided = transaction.execute(DECIDE, &[&id, &status, &reason, &by, &now]).await?;
        if decided == 0 {
            return Ok(Decided::Before);
        }
        if matches!(verdict, Verdict::Approved) {
            transaction.execute(GIVE_ROLE, &[&row.user]).await?;
        }
        let told = NewNotification {
            user: row.user,
            kind: told.kind,
            subject: id,
            cause: 0,
            data: told.data,
            at: now,
        };
        let row = find(&transaction, id).await?;
        inbox::write(&transaction, &[told], now).await?;
        transaction.commit().await?;
        Ok(row.map_or(Decided::NotFound, |row| Decided::Done(Box::new(row))))
    }
}

async fn find(
    transaction: &Transaction<'_>,
    id: Uuid,
) -> Result<Option<ApplicationRow>, StoreError> {
    let sql = format!("{COLUMNS} WHERE id = $1");
    let statement = transaction.prepare_cached(&sql).await?;
    Ok(transaction.query_opt(&statement, &[&id]).await?.as_ref().map(application))
}
