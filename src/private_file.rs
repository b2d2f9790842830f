//! Files that hold a secret: readable to their owner alone, and replaced as a whole.
//!
//! Owns how keys lie on disk. Must never print what is in them.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};

/// A larger file is none of ours.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Characters of base64 in a line of PEM (RFC 7468, section 2).
const PEM_LINE_CHARS: usize = 64;

const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// It cannot be read or written.
    #[error("{path} cannot be read or written")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner may read or write it.
    #[error(
        "others than its owner may use the keys in {path} (mode {mode:04o}); type: chmod 600 {path}"
    )]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is too large, or no text.
    #[error("{0} holds no keys")]
    NotText(PathBuf),
}

/// What is in the file, if it is there.
///
/// # Errors
/// When it cannot be read, others may read it, or it is no text of ours. To close a file to others
/// is advised only where it holds a key: a wrong path may lead to one that the system needs open.
pub fn read(path: &Path) -> Result<Option<String>, PrivateFileError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(path)(source)),
    };
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(PrivateFileError::NotText(path.into()));
    }
    let mode = metadata.permissions().mode() & 0o777;
    match fs::read_to_string(path) {
        Ok(text) if mode & 0o077 == 0 => Ok(Some(text)),
        Ok(text) if holds_key(&text) => Err(PrivateFileError::Exposed { path: path.into(), mode }),
        Ok(_) => Err(PrivateFileError::NotText(path.into())),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(PrivateFileError::NotText(path.into()))
        }
        Err(source) => Err(failed(path)(source)),
    }
}

fn holds_key(text: &str) -> bool {
    text.lines().any(|line| line.trim() == PEM_BEGIN)
}

/// Written beside and renamed, so that a full disk leaves the old file whole.
///
/// # Errors
/// When it cannot be written.
pub fn replace(path: &Path, text: &str) -> Result<(), PrivateFileError> {
    // A link stays one: what it points to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let write = || {
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &path)?;
        path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
    };
    write().map_err(|source| {
        let _ = fs::remove_file(&beside);
        failed(&path)(source)
    })
}

/// Held until it is dropped: of two who change a file, one comes after the other. The file of the
/// lock stays, for two locks must not differ.
///
/// # Errors
/// When it cannot be had.
pub fn lock(path: &Path) -> Result<fs::File, PrivateFileError> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed(path))?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let options = &mut fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(name);
    let file = file.map_err(failed(path))?;
    file.lock().map_err(failed(path))?;
    Ok(file)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> PrivateFileError {
    move |source| PrivateFileError::File { path: path.into(), source }
}

/// A key as PEM (PKCS #8).
pub fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body
        .as_bytes()
        .chunks(PEM_LINE_CHARS)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", lines.join("\n"))
}

/// A part of a file of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<'a> {
    /// A key, PKCS #8 DER.
    Key(Vec<u8>),
    /// A line beside the keys.
    Line(&'a str),
}

/// The parts of a file of keys in their order, without comments; none where a key cannot be read.
pub fn parts(text: &str) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line == PEM_BEGIN {
            let body: String = lines.by_ref().take_while(|line| *line != PEM_END).collect();
            parts.push(Part::Key(STANDARD.decode(body).ok()?));
        } else if !line.is_empty() && !line.starts_with('#') {
            parts.push(Part::Line(line));
        }
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_closed_to_others_only_if_it_holds_a_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let said = |text: &str| {
            fs::write(&path, text).expect("it is written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("it is opened");
            read(&path).expect_err("it is open to others").to_string()
        };
        assert!(said(&pem(b"a key")).contains("chmod 600"));
        assert!(!said("root:x:0:0:root:/root:/bin/bash\n").contains("chmod"));
        assert!(!read(folder.path()).expect_err("a folder").to_string().contains("chmod"));
    }
}
