//! Registered frontends. A placeholder with the agreed signatures.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use crate::store::{Store, StoreError};

/// A registered frontend.
#[derive(Debug, Clone)]
pub struct Client {
    /// Publishable.
    pub id: String,
    /// SHA-256; none where the code runs in a browser or an app.
    pub secret_hash: Option<[u8; 32]>,
    /// Exactly as they must come.
    pub redirect_uris: Vec<String>,
    /// Whether it may do nothing.
    pub disabled: bool,
}

impl Client {
    /// Whether the URI is registered, to the letter.
    pub fn allows_redirect(&self, uri: &str) -> bool {
        self.redirect_uris.iter().any(|registered| registered == uri)
    }

    /// Whether it has a secret.
    pub fn is_confidential(&self) -> bool {
        self.secret_hash.is_some()
    }

    /// Whether this is its secret.
    pub fn has_secret(&self, secret: &str) -> bool {
        let given = super::oauth::secret::hash(secret);
        self.secret_hash.is_some_and(|hash| {
            aws_lc_rs::constant_time::verify_slices_are_equal(&hash, &given).is_ok()
        })
    }
}

/// The registry in memory.
#[derive(Default)]
pub struct Clients(RwLock<HashMap<String, Arc<Client>>>);

impl Clients {
    /// `None` when unknown or disabled.
    pub fn get(&self, id: &str) -> Option<Arc<Client>> {
        let clients = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        clients.get(id).filter(|client| !client.disabled).cloned()
    }

    /// Reads the registry again.
    ///
    /// # Errors
    /// When Postgres cannot be asked.
    pub async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let rows = store.clients().await?;
        let read = rows.into_iter().map(|(id, secret_hash, redirect_uris, disabled)| {
            let secret_hash = secret_hash.and_then(|hash| hash.try_into().ok());
            (id.clone(), Arc::new(Client { id, secret_hash, redirect_uris, disabled }))
        });
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = read.collect();
        Ok(())
    }
}
