//! Who runs the Postgres programs.
//!
//! Owns the choice of an unprivileged user when Hoga was started by root, because Postgres refuses
//! to run as root. It must never change who owns a cluster that exists: the owner runs it.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt, fchown, lchown};
use std::path::Path;

use nix::unistd::{Uid, User};

use super::ClusterError;

/// The users that may run Postgres for root, best first. `postgres` comes with the packages.
const CANDIDATES: [&str; 2] = ["postgres", "nobody"];

/// The unprivileged user who runs Postgres when Hoga was started by root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

impl Account {
    /// `None` when the programs run as whoever runs Hoga. `home` is the home of a cluster that
    /// exists already.
    pub fn choose(home: Option<&Path>) -> Result<Option<Self>, ClusterError> {
        let owner = home.and_then(|home| home.metadata().ok());
        match (Uid::effective().is_root(), owner) {
            (true, Some(owner)) if owner.uid() != 0 => Ok(Some(Self::of_owner(&owner))),
            (true, _) => Self::first_candidate().map(Some),
            (false, Some(owner)) if owner.uid() != Uid::effective().as_raw() => {
                Err(ClusterError::ForeignCluster {
                    path: home.unwrap_or(Path::new("")).to_owned(),
                    owner: Self::of_owner(&owner).name,
                })
            }
            (false, _) => Ok(None),
        }
    }

    fn first_candidate() -> Result<Self, ClusterError> {
        CANDIDATES
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(Self::from)
            .ok_or(ClusterError::NoAccount)
    }

    fn of_owner(owner: &Metadata) -> Self {
        let user = User::from_uid(Uid::from_raw(owner.uid())).ok().flatten();
        user.map_or_else(
            || Self { name: owner.uid().to_string(), uid: owner.uid(), gid: owner.gid() },
            Self::from,
        )
    }

    /// Whether this user may pass through the directory and all above it. Looks at the mode alone:
    /// where an access list allows more, the answer errs on the safe side.
    pub fn can_reach(&self, dir: &Path) -> bool {
        dir.ancestors().all(|ancestor| ancestor.metadata().is_ok_and(|it| self.can_enter(&it)))
    }

    pub fn can_enter(&self, dir: &Metadata) -> bool {
        let execute_bit = if dir.uid() == self.uid {
            0o100
        } else if dir.gid() == self.gid {
            0o010
        } else {
            0o001
        };
        dir.mode() & execute_bit != 0
    }

    /// Gives a directory to this user, never what a link there points to.
    pub fn own(&self, path: &Path) -> io::Result<()> {
        lchown(path, Some(self.uid), Some(self.gid))
    }

    pub fn own_file(&self, file: &std::fs::File) -> io::Result<()> {
        fchown(file, Some(self.uid), Some(self.gid))
    }
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }
    }
}
