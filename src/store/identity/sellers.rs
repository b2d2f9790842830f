//! Seller applications: who wants to be shown as which company, and what was decided.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::domain::{id::UserId, time::Timestamp, words::words};
use crate::store::{Store, StoreError, Tx};

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
    pub status: ApplicationStatus,
    /// Why it was refused.
    pub reason: Option<String>,
    pub decided_by: Option<UserId>,
    pub decided_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

words! {
    /// Where an application stands.
    pub enum ApplicationStatus {
        /// It waits to be decided.
        Pending = "pending",
        /// The company is shown with the user's auctions.
        Approved = "approved",
        /// It was not approved.
        Refused = "refused",
        /// It was approved once, until newer details were.
        Replaced = "replaced",
    }
}

/// A verdict on an application.
pub struct NewVerdict<'a> {
    /// What it is from now on.
    pub status: ApplicationStatus,
    /// Why, where it is refused.
    pub reason: Option<&'a str>,
    /// Who decided.
    pub by: UserId,
    /// When.
    pub at: Timestamp,
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

fn application(row: &tokio_postgres::Row) -> Result<ApplicationRow, StoreError> {
    Ok(ApplicationRow {
        id: row.get(0),
        user: row.get(1),
        company: Company {
            name: row.get(2),
            business_number: row.get(3),
            representative: row.get(4),
            contact_email: row.get(5),
            contact_phone: row.get(6),
        },
        status: row.try_get(7)?,
        reason: row.get(8),
        decided_by: row.get(9),
        decided_at: row.get(10),
        created_at: row.get(11),
    })
}

impl Store {
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
        reader.query_opt(&statement, &[&user]).await?.as_ref().map(application).transpose()
    }

    /// Applications, of a status if one is named, after one of them; the oldest first.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn applications(
        &self,
        status: Option<ApplicationStatus>,
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
        rows.iter().map(application).collect()
    }
}

impl Tx {
    /// Keeps a new application, to be decided.
    ///
    /// # Errors
    /// [`StoreError::Constraint`] `seller_applications_pending_key` while another one waits.
    pub async fn insert_application(
        &self,
        id: Uuid,
        user: UserId,
        company: &Company,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Company { name, business_number, representative, contact_email, contact_phone } =
            company;
        let params: [&(dyn ToSql + Sync); 8] =
            [&id, &user, name, business_number, representative, contact_email, contact_phone, &now];
        self.connection().execute(INSERT, &params).await.map_err(StoreError::named)?;
        Ok(())
    }

    /// An application by its id.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn application(&self, id: Uuid) -> Result<Option<ApplicationRow>, StoreError> {
        let sql = format!("{COLUMNS} WHERE id = $1");
        let statement = self.connection().prepare_cached(&sql).await?;
        let row = self.connection().query_opt(&statement, &[&id]).await?;
        row.as_ref().map(application).transpose()
    }

    /// What was approved of a user before is replaced from now on.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn replace_approved(&self, user: UserId) -> Result<(), StoreError> {
        self.connection().execute(REPLACE_APPROVED, &[&user]).await?;
        Ok(())
    }

    /// Writes a verdict; false when the application was not pending.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn write_verdict(&self, id: Uuid, to: &NewVerdict<'_>) -> Result<bool, StoreError> {
        let NewVerdict { status, reason, by, at } = to;
        let written = self.connection().execute(DECIDE, &[&id, status, reason, by, at]).await?;
        Ok(written == 1)
    }
}
