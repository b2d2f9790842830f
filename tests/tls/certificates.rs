//! Authorities and certificates made for one test, as files.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// A folder of files, gone when dropped. Whoever runs Postgres may enter it.
pub struct Certificates {
    folder: tempfile::TempDir,
}

/// Signs certificates.
pub struct Authority {
    /// Its own certificate.
    pub file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Signed {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificates {
    pub fn new() -> Certificates {
        let folder = tempfile::Builder::new().prefix("hoga-tls-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Certificates { folder }
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// An empty one that whoever runs Postgres may write to.
    pub fn folder_of_postgres(&self) -> PathBuf {
        let path = self.folder.path().join(uuid::Uuid::now_v7().to_string());
        fs::create_dir(&path).unwrap();
        if let Some(user) = unprivileged() {
            chown(&path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        }
        path
    }

    pub fn authority(&self, name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let file = self.file(&format!("{name}.pem"), &params.self_signed(&key).unwrap().pem());
        Authority { file, issuer: Issuer::new(params, key) }
    }

    pub fn signed(&self, by: &Authority, names: &[&str]) -> Signed {
        self.signed_until(by, names, 2999)
    }

    /// One that is valid until that year begins.
    pub fn signed_until(&self, by: &Authority, names: &[&str], year: i32) -> Signed {
        let all: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(all).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &by.issuer).unwrap();
        let name = uuid::Uuid::now_v7();
        let certificate = self.file(&format!("{name}.pem"), &certificate.pem());
        let key = self.file(&format!("{name}-key.pem"), &key.serialize_pem());
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        Signed { certificate, key }
    }
}

impl Signed {
    /// Of whoever runs Postgres where the tests run as root: no other may read the key then.
    pub fn owned_by_postgres(self) -> Signed {
        if let Some(user) = unprivileged() {
            for file in [&self.certificate, &self.key] {
                chown(file, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
            }
        }
        self
    }
}

/// Who runs Postgres and PgBouncer, neither of which root may run.
pub fn unprivileged() -> Option<nix::unistd::User> {
    let user = |name| nix::unistd::User::from_name(name).ok().flatten();
    nix::unistd::Uid::effective()
        .is_root()
        .then(|| user("postgres").or_else(|| user("nobody")).expect("somebody who is not root"))
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
