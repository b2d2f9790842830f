//! Who may use whom: the imports in `src/` against a list, and what a folder must not do. And that the
//! repository needs nothing beside it.
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A part of the crate and the parts that it may use. What is not listed here fails.
const MAY_USE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("wall_clock", &["domain"]),
    ("telemetry", &["config", "tasks"]),
    ("config", &["domain", "database_url", "tls"]),
    ("database_url", &["tls"]),
    ("private_file", &[]),
    ("tls", &[]),
    ("tasks", &[]),
    ("log", &["domain"]),
    ("store", &["domain", "log", "tasks", "database_url", "tls"]),
    ("events", &["domain", "log", "store", "tasks", "tls"]),
    ("exchange", &["domain", "log", "store", "tasks", "events", "wall_clock"]),
    ("live", &["domain", "log", "store", "tasks", "events", "wall_clock"]),
    (
        "notify",
        &["domain", "log", "store", "tasks", "events", "outgoing", "private_file", "wall_clock"],
    ),
    ("identity", &["domain", "log", "store", "tasks", "events", "private_file", "tls"]),
    ("outgoing", &["domain", "log", "store", "tasks", "events", "tls"]),
    ("webhooks", &["domain", "log", "store", "tasks", "events", "outgoing", "wall_clock"]),
    ("accounts", &["domain", "log", "store", "notify", "identity", "wall_clock"]),
    ("market", &["domain", "log", "store", "exchange", "identity", "wall_clock"]),
    (
        "http",
        &[
            "accounts",
            "config",
            "domain",
            "log",
            "store",
            "tasks",
            "events",
            "exchange",
            "live",
            "market",
            "notify",
            "identity",
            "outgoing",
            "telemetry",
            "wall_clock",
            "webhooks",
        ],
    ),
    ("embedded", &["domain", "log", "store", "tasks", "exchange", "market", "wall_clock"]),
    (
        "app",
        &[
            "accounts",
            "config",
            "domain",
            "log",
            "store",
            "tasks",
            "events",
            "exchange",
            "live",
            "market",
            "notify",
            "identity",
            "http",
            "embedded",
            "outgoing",
            "telemetry",
            "wall_clock",
            "webhooks",
        ],
    ),
    (
        "cli",
        &[
            "accounts",
            "app",
            "config",
            "domain",
            "log",
            "store",
            "tasks",
            "events",
            "exchange",
            "live",
            "market",
            "notify",
            "identity",
            "http",
            "embedded",
            "outgoing",
            "telemetry",
            "tls",
            "wall_clock",
            "webhooks",
        ],
    ),
];

/// What the pure core must not know: clocks, randomness, I/O, floats.
const IMPURE: &[&str] = &[
    "SystemTime",
    "Instant",
    "rand",
    "tokio",
    "actix",
    "async",
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::thread",
    "f32",
    "f64",
];

/// Beginnings of statements, as they stand in a string.
const SQL: &[&str] = &["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "CREATE TABLE "];

/// Names of a folder beside the repository, in two halves, so that they do not stand here.
const BESIDE: &[(&str, &str)] = &[("../", "shared"), ("shared", "/data")];

/// Folders that hold what was built or installed, and git's own.
const NOT_OURS: &[&str] = &["target", ".git", ".hoga", "node_modules"];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Offence {
    line: usize,
    what: String,
}

/// A source text without comments and without its test modules; strings stay. Lines keep their
/// numbers.
fn product_code(text: &str) -> String {
    let text = match text.find("#[cfg(test)]\nmod tests {") {
        Some(tests) => &text[..tests],
        None => text,
    };
    let without_comment = |line: &str| {
        let is_comment = line.trim_start().starts_with("//");
        if is_comment { String::new() } else { line.to_owned() }
    };
    text.lines().map(without_comment).collect::<Vec<_>>().join("\n")
}

/// Every part of the crate that a text names: `crate::x`, `crate::{x, y::{..}}`, `hoga::x`.
fn parts_named(code: &str) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    for (at, root) in code.match_indices("crate::").chain(code.match_indices("hoga::")) {
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + root.len()..];
        let parts = match rest.strip_prefix('{') {
            Some(group) => heads_of_group(group),
            None => vec![word(rest)],
        };
        named.extend(parts.into_iter().filter(|part| !part.is_empty()).map(|part| (line, part)));
    }
    named
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
}

/// The first words of `a::b, c::{d, e}, f}`.
fn heads_of_group(group: &str) -> Vec<String> {
    let (mut heads, mut depth, mut is_head) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => is_head = true,
            c if is_head && !c.is_whitespace() => {
                heads.push(word(&group[at..]));
                is_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn forbidden_edges(part: &str, text: &str) -> Vec<Offence> {
    let known = MAY_USE.iter().find(|(name, _)| *name == part);
    let allowed = known.unwrap_or_else(|| panic!("{part} has no line in MAY_USE")).1;
    let is_part = |name: &str| MAY_USE.iter().any(|(part, _)| *part == name);
    parts_named(&product_code(text))
        .into_iter()
        .filter(|(_, used)| is_part(used) && used != part && !allowed.contains(&used.as_str()))
        .map(|(line, used)| Offence { line, what: format!("{part} uses {used}") })
        .collect()
}

fn words_in(text: &str, words: &[&str]) -> Vec<Offence> {
    let is_part_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let code = product_code(text);
    let names = |line: &str, word: &str| {
        line.match_indices(word).any(|(at, _)| {
            !line[..at].ends_with(is_part_of_word)
                && !line[at + word.len()..].starts_with(is_part_of_word)
        })
    };
    let mut offences = Vec::new();
    for (no, line) in code.lines().enumerate() {
        for word in words.iter().filter(|word| names(line, word)) {
            offences.push(Offence { line: no + 1, what: format!("names {word}") });
        }
    }
    offences
}

fn statements_in(text: &str) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (no, line) in product_code(text).lines().enumerate() {
        let after_quote = line.trim_start().trim_start_matches(['"', '(', '&']);
        let in_line =
            |sql: &str| line.contains(&format!("\"{sql}")) || after_quote.starts_with(sql);
        if let Some(sql) = SQL.iter().find(|sql| in_line(sql)) {
            offences.push(Offence { line: no + 1, what: format!("holds {}", sql.trim()) });
        }
    }
    offences
}

/// The part of the crate that a file belongs to: a folder, or a file of its own.
fn part_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// Every source file, by its path under `src/`.
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    walk(&root, &mut found);
    found.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(&root).unwrap().to_owned(), text)
    };
    found.into_iter().map(read).collect()
}

/// A file of tests alone.
fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap();
    name == "tests" || name == "testing"
}

#[track_caller]
fn assert_none(offences: Vec<(PathBuf, Offence)>) {
    let lines: Vec<String> = offences
        .iter()
        .map(|(path, offence)| format!("src/{}:{} {}", path.display(), offence.line, offence.what))
        .collect();
    assert!(lines.is_empty(), "\n{}", lines.join("\n"));
}

fn offences(of: impl Fn(&str, &str) -> Vec<Offence>) -> Vec<(PathBuf, Offence)> {
    let mut all = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let part = part_of(&path);
        if part == "lib" || part == "main" {
            continue;
        }
        all.extend(of(&part, &text).into_iter().map(|offence| (path.clone(), offence)));
    }
    all
}

#[test]
fn no_part_uses_another_that_the_list_does_not_allow() {
    assert_none(offences(forbidden_edges));
}

#[test]
fn every_part_has_a_line_in_the_list_and_every_line_a_part() {
    let parts: BTreeSet<String> = sources()
        .iter()
        .map(|(path, _)| part_of(path))
        .filter(|part| part != "lib" && part != "main")
        .collect();
    let listed: BTreeSet<String> = MAY_USE.iter().map(|(part, _)| (*part).to_owned()).collect();
    assert_eq!(parts, listed);
}

#[test]
fn the_domain_knows_no_clock_no_chance_no_io_and_no_floats() {
    assert_none(offences(|part, text| match part {
        "domain" => words_in(text, IMPURE),
        _ => Vec::new(),
    }));
}

#[test]
fn sql_stands_in_the_store_alone() {
    assert_none(offences(|part, text| match part {
        "store" => Vec::new(),
        // It makes and asks for databases, before there is a store.
        "embedded" => statements_in(text)
            .into_iter()
            .filter(|offence| offence.what != "holds SELECT")
            .collect(),
        _ => statements_in(text),
    }));
}

/// Where something is spawned past `tasks`, because whoever spawns it waits for it or is told its end.
const SPAWNS: &[&str] = &[
    "tasks.rs",
    // The HTTP server, until it ends.
    "app.rs",
    // Connections, whose end is told.
    "store/log/lease.rs",
    "store/migrate.rs",
    "store/connecting.rs",
    // A thread of a command, which joins it.
    "cli/progress.rs",
];

#[test]
fn no_task_is_started_that_nobody_watches() {
    let spawns = ["tokio::spawn", "actix::spawn", "spawn_local", "thread::spawn", "task::spawn"];
    let all: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| !is_test(path) && !SPAWNS.iter().any(|file| path.ends_with(file)))
        .flat_map(|(path, text)| {
            words_in(&text, &spawns).into_iter().map(move |offence| (path.clone(), offence))
        })
        .collect();
    assert_none(all);
    let found = words_in("fn f() {\n    tokio::spawn(async {});\n}", &spawns);
    assert_eq!(found, [Offence { line: 2, what: "names tokio::spawn".to_owned() }]);
}

#[test]
fn the_check_sees_every_way_to_name_a_part() {
    let seen = |part, text| {
        let found = forbidden_edges(part, text);
        found.into_iter().map(|offence| (offence.line, offence.what)).collect::<Vec<_>>()
    };
    let offence = |line, what: &str| vec![(line, what.to_owned())];
    assert_eq!(seen("domain", "use crate::store::Store;"), offence(1, "domain uses store"));
    assert_eq!(
        seen("store", "use crate::{\n    domain::{id::UserId, money},\n    http::Problem,\n};"),
        offence(1, "store uses http")
    );
    assert_eq!(
        seen("exchange", "fn f() {\n    crate::http::serve();\n}"),
        offence(2, "exchange uses http")
    );
    assert_eq!(seen("http", "pub(crate) use crate::app;"), offence(1, "http uses app"));
    assert_eq!(seen("events", "use crate::{store::Store, domain::id};"), vec![]);
    assert_eq!(seen("events", "// crate::http is none of our business\n"), vec![]);
    assert_eq!(seen("domain", "#[cfg(test)]\nmod tests {\n use crate::store;\n}"), vec![]);
}

#[test]
fn the_check_sees_impure_words_and_sql() {
    let lines = |offences: Vec<Offence>| offences.iter().map(|o| o.line).collect::<Vec<_>>();
    let impure = "use std::time::SystemTime;\nlet x: f64 = 1.0;\nlet operand = Instantly;\n";
    assert_eq!(lines(words_in(impure, IMPURE)), [1, 2]);
    assert_eq!(lines(words_in("fn f() { rand::random() }\n// a rand\n", IMPURE)), [1]);
    let sql = "const FIND: &str = \"SELECT 1\";\nconst A: &str = \"\n    UPDATE t SET x = 1\";\n";
    assert_eq!(lines(statements_in(sql)), [1, 3]);
    assert_eq!(lines(statements_in("let selected = \"Select a bid\";\n")), Vec::<usize>::new());
}

/// The files under a folder, without links and what is not ours.
fn files_under(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        let is_ours = !NOT_OURS.iter().any(|name| entry.file_name() == *name);
        if kind.is_dir() && is_ours {
            files_under(&entry.path(), found);
        } else if kind.is_file() && is_ours {
            found.push(entry.path());
        }
    }
}

#[test]
fn nothing_in_the_repository_names_a_folder_beside_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    files_under(root, &mut files);
    assert!(files.iter().any(|path| path.ends_with("scripts/test")), "{files:?}");
    let names_one = |path: &PathBuf| {
        let content = fs::read(path).unwrap();
        let text = String::from_utf8_lossy(&content);
        BESIDE.iter().any(|(one, other)| text.contains(&format!("{one}{other}")))
    };
    let offenders: Vec<_> = files.into_iter().filter(names_one).collect();
    assert!(offenders.is_empty(), "{offenders:?}");
}
