//! The settings of the private cluster.
//!
//! Owns the text of `postgresql.conf`, which each start writes anew. It must never open a network
//! port, whatever the caller's settings say.

use std::fmt::Write;
use std::path::Path;

use super::ClusterError;

/// Chosen for one small machine that shares its cores with Hoga, and for many small commits that
/// are all durable: what is acknowledged is on disk (`fsync`, `synchronous_commit`), and everything
/// else waits, is bounded, or is left out.
const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    // No standby and no archive of the log: less is written to it, above all by an import.
    ("wal_level", "minimal"),
    ("max_wal_senders", "0"),
    // Lanes collect commits themselves; waiting here would only add to each answer.
    ("commit_delay", "0"),
    ("wal_buffers", "16MB"),
    ("wal_compression", "off"),
    // Kept segments are written over in place, which spares a flush the growing of a file.
    ("min_wal_size", "512MB"),
    ("max_wal_size", "2GB"),
    // The first change of a page after a checkpoint writes the whole page: few checkpoints, spread.
    ("checkpoint_timeout", "15min"),
    ("checkpoint_completion_target", "0.9"),
    ("shared_buffers", "256MB"),
    ("effective_cache_size", "1GB"),
    ("work_mem", "16MB"),
    ("maintenance_work_mem", "128MB"),
    ("max_connections", "64"),
    ("random_page_cost", "1.1"),
    // Statements are short; compiling them would take longer than running them.
    ("jit", "off"),
    // The rows of wallets and hot auctions change all the time.
    ("autovacuum", "on"),
    ("autovacuum_naptime", "15s"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("lc_messages", "C"),
    ("log_line_prefix", "%m [%p] "),
    // Hoga logs a failed statement where it is handled.
    ("log_min_error_statement", "panic"),
    ("cluster_name", "hoga"),
];

/// The whole of `postgresql.conf`; where a name comes twice the later one counts.
pub(super) fn render(
    extra: &[(String, String)],
    socket_dir: &Path,
    port: u16,
) -> Result<String, ClusterError> {
    let mut text = String::from("# Written by Hoga at each start. What is changed here is lost.\n");
    for (name, value) in SETTINGS {
        write_setting(&mut text, name, value)?;
    }
    for (name, value) in extra {
        write_setting(&mut text, name, value)?;
    }
    write_setting(&mut text, "listen_addresses", "")?;
    write_setting(&mut text, "port", &port.to_string())?;
    write_setting(&mut text, "unix_socket_directories", &socket_dir.to_string_lossy())?;
    write_setting(&mut text, "unix_socket_permissions", "0700")?;
    Ok(text)
}

fn write_setting(text: &mut String, name: &str, value: &str) -> Result<(), ClusterError> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c);
    if name.is_empty() || !name.chars().all(is_plain) || value.contains(['\n', '\r', '\0']) {
        return Err(ClusterError::Setting { name: name.to_owned() });
    }
    let value = value.replace('\\', "\\\\").replace('\'', "''");
    writeln!(text, "{name} = '{value}'").expect("writing to a string cannot fail");
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn rendered(name: &str, value: &str) -> Result<String, ClusterError> {
        render(&[(name.to_owned(), value.to_owned())], Path::new("/s"), 5432)
    }

    #[test]
    fn a_given_setting_comes_after_the_usual_one() {
        let text = rendered("shared_buffers", "16MB").unwrap();
        let place = |value| text.find(&format!("shared_buffers = '{value}'")).unwrap();
        assert!(place("256MB") < place("16MB"));
    }

    #[test]
    fn no_given_setting_opens_a_port() {
        let text = rendered("listen_addresses", "*").unwrap();
        let last = text.lines().rfind(|line| line.starts_with("listen_addresses")).unwrap();
        assert_eq!(last, "listen_addresses = ''");
    }

    #[test]
    fn a_value_is_quoted_and_stays_on_its_line() {
        assert!(rendered("log_line_prefix", r"it's \ ").unwrap().contains(r"= 'it''s \\ '"));
        assert!(matches!(rendered("jit", "on\nfsync = off"), Err(ClusterError::Setting { .. })));
        assert!(matches!(rendered("fsync = off #", "x"), Err(ClusterError::Setting { .. })));
    }
}
