//! CSV files from outside, for every command that reads one.
//!
//! Owns how a file is opened, unpacked and looked through: columns by the names in the header,
//! rows with the line on which an editor shows them. Must never give up on a file for one bad row,
//! nor guess what a bad row meant.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use csv::StringRecord;

/// The most that a file may hold once it is unpacked: 256 MiB, some six million bids or a million
/// items.
pub const CONTENT_BYTES_MAX: u64 = 256 << 20;
/// How many rows of a kind are listed unless every one is asked for.
pub const LISTED_MAX: usize = 20;

/// Why a file cannot be used at all. A bad row is no reason: it is skipped and reported.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file could not be opened.
    #[error("cannot open {path}: check that the file exists and may be read")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file broke off or could not be unpacked.
    #[error("cannot read {path}: check that it is a whole CSV, plain or gzipped")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More than a command takes into memory.
    #[error("{path} holds more than {CONTENT_BYTES_MAX} bytes: split it")]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// The first line is not text.
    #[error("cannot read the header of {path}: check that the file is a CSV in UTF-8")]
    Header {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: csv::Error,
    },
    /// Nothing in it.
    #[error("{path} is empty: give a CSV with a header line and one record a line")]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// A header and nothing else.
    #[error("{path} has a header but no rows: give one record a line")]
    NoRows {
        /// Which.
        path: PathBuf,
    },
    /// The header lacks columns.
    #[error("{path} lacks the columns {missing}: name them in the header line, in any order",
        missing = missing.join(", "))]
    MissingColumns {
        /// Which file.
        path: PathBuf,
        /// Which columns.
        missing: Vec<&'static str>,
    },
    /// The header names a column twice.
    #[error("{path} has the column {column} twice: keep one of them")]
    RepeatedColumn {
        /// Which file.
        path: PathBuf,
        /// Which column.
        column: &'static str,
    },
}

/// A row that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Its line in the file, from 1.
    pub line: u64,
    /// What is wrong with it, and what must stand there.
    pub problem: String,
}

/// A file in memory, unpacked.
pub struct CsvFile {
    path: PathBuf,
    content: Vec<u8>,
}

impl CsvFile {
    /// Reads the whole file, unpacked if it is gzipped: told by its first two bytes (RFC 1952), not
    /// by its name.
    ///
    /// # Errors
    /// When it cannot be opened, read or unpacked, or is too large.
    pub fn open(path: &Path) -> Result<CsvFile, FileError> {
        let not_open = |source| FileError::Open { path: path.to_owned(), source };
        let not_read = |source| FileError::Read { path: path.to_owned(), source };
        let mut file = BufReader::new(File::open(path).map_err(not_open)?);
        let gzipped = file.fill_buf().map_err(not_read)?.starts_with(&[0x1f, 0x8b]);
        let unpacked: Box<dyn Read> = if gzipped {
            Box::new(flate2::read::MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let mut content = Vec::new();
        unpacked.take(CONTENT_BYTES_MAX + 1).read_to_end(&mut content).map_err(not_read)?;
        if content.len() as u64 > CONTENT_BYTES_MAX {
            return Err(FileError::TooLarge { path: path.to_owned() });
        }
        Ok(CsvFile { path: path.to_owned(), content })
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> u64 {
        self.content.len() as u64
    }

    /// The rows, with the given columns found by their names in the header. Other columns are
    /// ignored.
    ///
    /// # Errors
    /// When there is no header, or it names a column twice, or lacks one of the first `required`.
    pub fn rows<const N: usize>(
        &self,
        columns: [&'static str; N],
        required: usize,
    ) -> Result<Rows<'_, N>, FileError> {
        let path = || self.path.clone();
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(&self.content[..]);
        let header =
            reader.headers().map_err(|source| FileError::Header { path: path(), source })?;
        if header.is_empty() {
            return Err(FileError::Empty { path: path() });
        }
        let places = find(header, columns)
            .map_err(|column| FileError::RepeatedColumn { path: path(), column })?;
        let missing: Vec<_> = columns
            .into_iter()
            .zip(places)
            .take(required)
            .filter(|(_, place)| place.is_none())
            .map(|(column, _)| column)
            .collect();
        if !missing.is_empty() {
            return Err(FileError::MissingColumns { path: path(), missing });
        }
        let lines = Lines { content: &self.content, at: 0, line: 1 };
        Ok(Rows { reader, record: StringRecord::new(), places, lines })
    }

    /// What is wrong with a file that had a header and nothing else.
    pub fn no_rows(&self) -> FileError {
        FileError::NoRows { path: self.path.clone() }
    }
}

fn find<const N: usize>(
    header: &StringRecord,
    columns: [&'static str; N],
) -> Result<[Option<usize>; N], &'static str> {
    let mut places = [None; N];
    for (place, column) in places.iter_mut().zip(columns) {
        let mut found = header.iter().enumerate().filter(|(_, name)| *name == column);
        *place = found.next().map(|(at, _)| at);
        if found.next().is_some() {
            return Err(column);
        }
    }
    Ok(places)
}

/// Goes through the rows of a file.
pub struct Rows<'a, const N: usize> {
    reader: csv::Reader<&'a [u8]>,
    record: StringRecord,
    places: [Option<usize>; N],
    lines: Lines<'a>,
}

impl<const N: usize> Rows<'_, N> {
    /// The next row's line and its fields in the order in which the columns were asked for, empty
    /// where the file has no such column; `None` at the end.
    pub fn next_row(&mut self) -> Option<(u64, Result<[&str; N], String>)> {
        match self.reader.read_record(&mut self.record) {
            Ok(false) => None,
            Ok(true) => {
                let line = self.lines.of(self.record.position());
                let field = |place: Option<usize>| place.and_then(|at| self.record.get(at));
                Some((line, Ok(self.places.map(|place| field(place).unwrap_or("")))))
            }
            Err(error) => Some((self.lines.of(error.position()), Err(unreadable(&error)))),
        }
    }

    /// How many bytes of the file have been gone through.
    pub fn bytes_read(&self) -> u64 {
        self.reader.position().byte()
    }
}

fn unreadable(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("the row has {len} fields, but the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "the row is not UTF-8".into(),
        csv::ErrorKind::Io(_)
        | csv::ErrorKind::Seek
        | csv::ErrorKind::Serialize(_)
        | csv::ErrorKind::Deserialize { .. }
        | _ => "the row cannot be read".into(),
    }
}

/// Counts lines as an editor does. The reader's own count places a row before the line break and
/// the blank lines that precede it.
struct Lines<'a> {
    content: &'a [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line on which the row at this place begins. Rows must be asked for in their order.
    fn of(&mut self, position: Option<&csv::Position>) -> u64 {
        let row = position.and_then(|position| usize::try_from(position.byte()).ok());
        let row = row.unwrap_or(self.at);
        while let Some(byte) = self.content.get(self.at) {
            if self.at >= row && !matches!(byte, b'\r' | b'\n') {
                break;
            }
            self.line += u64::from(*byte == b'\n');
            self.at += 1;
        }
        self.line
    }
}

/// Ends a list that was cut with how many more there are.
///
/// # Errors
/// When `out` cannot be written.
pub fn say_how_many_more(
    count: usize,
    listed_max: usize,
    what: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    match count.checked_sub(listed_max) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(out, "... and {more} more {what}; --all lists every one"),
    }
}
