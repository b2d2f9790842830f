//! Why the private cluster is not there, and what to do about it.
//!
//! Owns the texts that a person reads when the embedded default does not start. They must never
//! stop at the fact: each one ends with the next step.

use std::io;
use std::path::{Path, PathBuf};

/// Why the private cluster could not be made, started, used or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No directory holds every program that is needed.
    #[error(
        "the Postgres programs (initdb, pg_ctl, postgres, psql) were not found in {searched}. \
         Install them: `apt-get install postgresql` (Debian, Ubuntu), `dnf install postgresql-server \
         postgresql-contrib` (Fedora), `brew install postgresql@17` (macOS); or run `scripts/setup`. \
         If they are elsewhere, set HOGA_POSTGRES_BIN_DIR to their directory. \
         To use a server of your own instead, set HOGA_DATABASE_URL"
    )]
    NoPrograms {
        /// The places that were searched, for people.
        searched: String,
    },
    /// The cluster was made by a Postgres whose programs are not here.
    #[error(
        "the cluster in {} was made by Postgres {cluster}, and only {found} is installed. \
         Install the programs of Postgres {cluster} (`apt-get install postgresql-{cluster}`), or set \
         HOGA_POSTGRES_BIN_DIR to their directory, or move the cluster with pg_upgrade; \
         to start over without its data, move that directory away", path.display()
    )]
    OtherVersion {
        /// The directory of the cluster.
        path: PathBuf,
        /// The major version that made the cluster.
        cluster: u32,
        /// The versions of the programs that were found.
        found: String,
    },
    /// `PG_VERSION` of the cluster does not hold a version.
    #[error(
        "{} does not hold a Postgres version, so the cluster beside it is damaged. \
         Restore the directory from a copy, or move it away to start over without its data",
        path.display()
    )]
    DamagedVersion {
        /// The file.
        path: PathBuf,
    },
    /// Started by root, and there is no user to run Postgres as.
    #[error(
        "Postgres refuses to run as root, and neither the user `postgres` nor `nobody` exists. \
         Create one with `useradd --system postgres`, or start Hoga as another user"
    )]
    NoAccount,
    /// The cluster belongs to somebody else.
    #[error(
        "the cluster in {} belongs to {owner}. Start Hoga as that user or as root, \
         or set HOGA_DATA_DIR to a directory of your own", path.display()
    )]
    ForeignCluster {
        /// The home of the cluster.
        path: PathBuf,
        /// The name or number of its owner.
        owner: String,
    },
    /// The cluster is in a directory that its own user cannot reach any more.
    #[error(
        "the cluster in {} cannot be reached by the user {user}, who runs it. \
         Let other users pass through the directories above it (`chmod o+x`)", path.display()
    )]
    Unreachable {
        /// The home of the cluster.
        path: PathBuf,
        /// The user who runs Postgres.
        user: String,
    },
    /// The directory for the socket belongs to somebody else.
    #[error(
        "the socket directory {} is not a directory of the user who runs Postgres. \
         Remove it, and start again", path.display()
    )]
    SocketDir {
        /// The directory.
        path: PathBuf,
    },
    /// A setting cannot be written to a configuration file.
    #[error(
        "the Postgres setting {name:?} cannot be written: a name has lower-case letters, digits, \
         `_` and `.`, and a value is one line"
    )]
    Setting {
        /// The name of the setting.
        name: String,
    },
    /// A database name that would need quoting.
    #[error(
        "{name:?} cannot be the name of a database here: use up to 63 lower-case letters, digits \
         and `_`, and no digit first"
    )]
    DatabaseName {
        /// The name that was asked for.
        name: String,
    },
    /// Postgres refused to create a database.
    #[error("the database {name} could not be created. Postgres said:\n{said}")]
    Database {
        /// The name of the database.
        name: String,
        /// The last lines of what was said.
        said: String,
    },
    /// initdb failed.
    #[error("the cluster could not be made in {}. initdb said:\n{said}\n{advice}", path.display())]
    Initdb {
        /// The home of the cluster.
        path: PathBuf,
        /// The last lines of what was said.
        said: String,
        /// What to do.
        advice: String,
    },
    /// The server ended instead of starting.
    #[error("Postgres did not start. It said:\n{said}\n{advice}. The whole log is {}", log.display())]
    Start {
        /// The last lines of what was said.
        said: String,
        /// What to do.
        advice: String,
        /// The log of the server.
        log: PathBuf,
    },
    /// The server runs, but does not accept connections yet.
    #[error(
        "Postgres (process {pid}) runs but does not accept connections after {waited_s} s; after a \
         crash it may still be recovering. Start Hoga again to go on waiting, and see {}",
        log.display()
    )]
    NotReady {
        /// The postmaster.
        pid: u32,
        /// How long it was waited for.
        waited_s: u64,
        /// The log of the server.
        log: PathBuf,
    },
    /// The server does not stop.
    #[error(
        "Postgres (process {pid}) did not stop. It said:\n{said}\nStop it with `kill -QUIT {pid}`; \
         the next start recovers"
    )]
    Stop {
        /// The postmaster.
        pid: u32,
        /// The last lines of what was said.
        said: String,
    },
    /// A program could not be run at all.
    #[error(
        "{} could not be run; see that it is a program that the user who runs Postgres may execute",
        program.display()
    )]
    Run {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or directory of the cluster could not be used.
    #[error("could not {action} {}; see that it is writable and that its disk has room", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ClusterError {
    pub(super) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { action, path: path.to_owned(), source }
    }

    pub(super) fn initdb(home: &Path, said: &str) -> Self {
        Self::Initdb { path: home.to_owned(), said: said.to_owned(), advice: advice(home, said) }
    }

    pub(super) fn start(home: &Path, log: PathBuf, said: &str) -> Self {
        Self::Start { said: said.to_owned(), advice: advice(home, said), log }
    }
}

/// The next step for the causes that people meet, from what Postgres says about them in English.
fn advice(home: &Path, said: &str) -> String {
    let home = home.display();
    if said.contains("No space left on device") {
        format!("The disk is full: free some space on the disk of {home}, and start again")
    } else if said.contains("Permission denied") {
        format!("See that the user who runs Postgres may write to {home}, and start again")
    } else if said.contains("pre-existing shared memory block") {
        "Processes of a Postgres that was killed still run: end them (`pgrep -a postgres`), and \
         start again"
            .to_owned()
    } else if said.contains("Cannot allocate memory") || said.contains("could not map anonymous") {
        "There is too little memory: free some, and start again".to_owned()
    } else if said.contains("unrecognized configuration parameter")
        || said.contains("invalid value for")
    {
        "Correct the setting that it names".to_owned()
    } else {
        "Remove the cause that it names, and start again; no finished cluster was changed"
            .to_owned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_as_the_cause() {
        let said = "initdb: error: could not write to file: No space left on device";
        let text = ClusterError::initdb(Path::new("/x/.hoga/postgres"), said).to_string();
        assert!(text.contains(said), "{text}");
        assert!(text.contains("free some space on the disk of /x/.hoga/postgres"), "{text}");
    }
}
