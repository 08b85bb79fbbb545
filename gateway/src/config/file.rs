//! A TOML file and the environment, read against the table of keys.

use super::keys::{KEYS, Key, Kind, LATER};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// Something will not have the effect that the writer may expect.
    Warning,
}

/// Something wrong with the configuration: where, what and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// `file:line`, `environment NAME` or `default`.
    pub place: String,
    /// The key; empty when the problem is not about one.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.what, self.fix)
    }
}

#[derive(Clone, Debug)]
enum Value {
    Text(String),
    List(Vec<String>),
    Number(i64),
}

struct Entry {
    value: Value,
    place: String,
}

/// What was found, key by key, and what was wrong on the way.
pub(super) struct Found {
    entries: BTreeMap<&'static str, Entry>,
    problems: Vec<Problem>,
}

impl Found {
    /// Reads a file's text.
    pub(super) fn read(file: Option<&Path>, text: &str) -> Self {
        let mut found = Self { entries: BTreeMap::new(), problems: Vec::new() };
        let source =
            Source { name: file.map_or_else(|| "default".to_owned(), |f| f.display().to_string()), text };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let what = error.message().to_owned();
            found.add(source.place(error.span().unwrap_or(0..0)), "", what, "mend the TOML".to_owned());
        }
        if errors.is_empty() {
            found.table(&source, "", table.get_ref());
        }
        found
    }

    /// Takes every `CASEMENT_SECTION__KEY`; it beats the file.
    pub(super) fn override_from(&mut self, environment: &[(String, String)]) {
        for (name, text) in environment {
            let Some(rest) = name.strip_prefix("CASEMENT_") else { continue };
            // These choose a file or a program, not a key.
            if matches!(rest, "CONFIG" | "LOG" | "WEB_DIST" | "BIN") || rest.starts_with("TEST_") {
                continue;
            }
            let place = format!("environment {name}");
            let path = rest.to_ascii_lowercase().replace("__", ".");
            let Some(key) = KEYS.iter().find(|key| key.path == path) else {
                if path.contains('.') {
                    let fix = nearest(&path, KEYS.iter().map(|key| key.path))
                        .map(|near| format!("did you mean {}?", variable(near)))
                        .unwrap_or_else(|| "remove it".to_owned());
                    self.add(place, "", format!("there is no key {path}"), fix);
                }
                continue;
            };
            match from_text(key, text) {
                Some(value) => drop(self.entries.insert(key.path, Entry { value, place })),
                None => self.wrong_kind(place, key),
            }
        }
    }

    fn table(&mut self, source: &Source<'_>, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let path = if prefix.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{prefix}.{}", name.get_ref())
            };
            let place = source.place(name.span());
            if LATER.contains(&path.as_str()) {
                let empty = matches!(value.get_ref(), DeValue::Table(table) if deep_empty(table));
                if !empty {
                    self.warn(place, &path, "has no effect in this version".to_owned());
                }
                continue;
            }
            if let Some(key) = KEYS.iter().find(|key| key.path == path) {
                match from_toml(key, value.get_ref()) {
                    Some(value) => drop(self.entries.insert(key.path, Entry { value, place })),
                    None => self.wrong_kind(place, key),
                }
                continue;
            }
            let section = format!("{path}.");
            match value.get_ref() {
                DeValue::Table(inner) if KEYS.iter().any(|key| key.path.starts_with(&section)) => {
                    self.table(source, &path, inner);
                }
                other => self.unknown(place, &path, matches!(other, DeValue::Table(_))),
            }
        }
    }

    fn unknown(&mut self, place: String, path: &str, is_section: bool) {
        let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
        let siblings = KEYS.iter().filter_map(|key| {
            let rest = if parent.is_empty() {
                key.path
            } else {
                key.path.strip_prefix(parent)?.strip_prefix('.')?
            };
            rest.split('.').next()
        });
        let fix = nearest(name, siblings.chain(LATER.iter().copied().filter(|_| parent.is_empty())))
            .map(|near| format!("did you mean \"{near}\"?"))
            .unwrap_or_else(|| "remove it; casement.example.toml lists every key".to_owned());
        let what = format!("there is no such {}", if is_section { "section" } else { "key" });
        self.add(place, path, what, fix);
    }

    fn wrong_kind(&mut self, place: String, key: &Key) {
        let what = match key.kind {
            Kind::Text => "must be a text in quotes",
            Kind::List => "must be a list of texts",
            Kind::Number => "must be a whole number",
        };
        self.add(place, key.path, what.to_owned(), format!("for example {} = {}", key.path, key.default));
    }

    fn add(&mut self, place: String, key: &str, what: String, fix: String) {
        self.problems.push(Problem { severity: Severity::Error, place, key: key.to_owned(), what, fix });
    }

    fn warn(&mut self, place: String, key: &str, what: String) {
        let fix = "remove it, or leave it for a later version".to_owned();
        self.problems.push(Problem { severity: Severity::Warning, place, key: key.to_owned(), what, fix });
    }

    /// Adds a problem with a key's value.
    pub(super) fn problem(&mut self, key: &'static str, what: &str, fix: &str) {
        let place = self.place(key);
        self.add(place, key, what.to_owned(), fix.to_owned());
    }

    /// Adds a warning that a value is understood but not acted on.
    pub(super) fn no_effect(&mut self, key: &'static str) {
        let place = self.place(key);
        self.warn(place, key, "has no effect in this version".to_owned());
    }

    /// Adds the problem that a value is not among the possible ones.
    pub(super) fn not_one_of<T>(&mut self, key: &'static str, given: &str, possible: &[&str]) -> Option<T> {
        let quoted: Vec<String> = possible.iter().map(|p| format!("\"{p}\"")).collect();
        let list = match quoted.as_slice() {
            [init @ .., last] if !init.is_empty() => format!("{} or {last}", init.join(", ")),
            all => all.join(""),
        };
        self.problem(key, &format!("\"{given}\" is not possible"), &format!("use {list}"));
        None
    }

    fn place(&self, key: &str) -> String {
        self.entries.get(key).map_or_else(|| "default".to_owned(), |entry| entry.place.clone())
    }

    fn value(&self, path: &'static str) -> Option<Value> {
        if let Some(entry) = self.entries.get(path) {
            return Some(entry.value.clone());
        }
        let key = KEYS.iter().find(|key| key.path == path)?;
        from_text(key, key.default)
    }

    /// Whether somebody wrote it down.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// A text.
    pub(super) fn text(&self, key: &'static str) -> String {
        match self.value(key) {
            Some(Value::Text(text)) => text,
            _ => String::new(),
        }
    }

    /// A list of texts.
    pub(super) fn list(&self, key: &'static str) -> Vec<String> {
        match self.value(key) {
            Some(Value::List(list)) => list,
            _ => Vec::new(),
        }
    }

    /// A whole number within bounds.
    pub(super) fn number(&mut self, key: &'static str, min: i64, max: i64) -> i64 {
        match self.value(key) {
            Some(Value::Number(number)) if (min..=max).contains(&number) => number,
            Some(Value::Number(number)) => {
                self.problem(key, &format!("{number} is not possible"), &format!("use {min} to {max}"));
                min
            }
            _ => min,
        }
    }

    /// A file that must be named.
    pub(super) fn file(&mut self, key: &'static str) -> PathBuf {
        let text = self.text(key);
        if text.is_empty() {
            self.problem(key, "is missing", "tls.source = \"files\" needs the path of a PEM file");
        }
        PathBuf::from(text)
    }

    /// What was wrong, in order of appearance.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

struct Source<'a> {
    name: String,
    text: &'a str,
}

impl Source<'_> {
    fn place(&self, span: Range<usize>) -> String {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("{}:{line}", self.name)
    }
}

fn deep_empty(table: &DeTable<'_>) -> bool {
    table.iter().all(|(_, value)| matches!(value.get_ref(), DeValue::Table(inner) if deep_empty(inner)))
}

fn variable(path: &str) -> String {
    format!("CASEMENT_{}", path.to_ascii_uppercase().replace('.', "__"))
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .map(|(_, candidate)| candidate)
}

fn from_toml(key: &Key, value: &DeValue<'_>) -> Option<Value> {
    match (key.kind, value) {
        (Kind::Text, DeValue::String(text)) => Some(Value::Text(text.to_string())),
        (Kind::Number, DeValue::Integer(number)) => {
            i64::from_str_radix(number.as_str(), number.radix()).ok().map(Value::Number)
        }
        (Kind::List, DeValue::Array(items)) => items
            .iter()
            .map(|item| match item.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => None,
            })
            .collect::<Option<Vec<_>>>()
            .map(Value::List),
        _ => None,
    }
}

/// A value from the environment or the table of defaults: TOML, or for a text just the text.
fn from_text(key: &Key, text: &str) -> Option<Value> {
    let line = format!("v = {text}");
    let parsed = DeTable::parse(&line).ok();
    let value = parsed.as_ref().and_then(|table| table.get_ref().get("v")).map(|value| value.get_ref());
    match (value.and_then(|value| from_toml(key, value)), key.kind) {
        (Some(value), _) => Some(value),
        (None, Kind::Text) => Some(Value::Text(text.to_owned())),
        (None, Kind::List) if !text.trim_start().starts_with('[') => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(Value::List(items.map(str::to_owned).collect()))
        }
        (None, Kind::List | Kind::Number) => None,
    }
}
