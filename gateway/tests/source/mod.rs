//! Rust sources as the layer rules see them: paths and the lines they stand in, without tests, comments and literals.

use std::fs;
use std::path::{Path, PathBuf};

/// A file without its tests.
pub(crate) struct Source {
    /// Its name below the folder of the sources.
    pub(crate) file: String,
    /// Where it stands: `["store", "sqlite", "append"]`; empty for the root.
    pub(crate) module: Vec<String>,
    /// Every path in it.
    pub(crate) paths: Vec<Named>,
    /// Modules in files of their own that exist in tests only.
    pub(crate) test_modules: Vec<Vec<String>>,
}

/// A path such as `crate::store::Device` and the line it stands in.
pub(crate) struct Named {
    pub(crate) names: Vec<String>,
    pub(crate) line: usize,
}

impl Source {
    /// Reads a file's text.
    pub(crate) fn new(file: &str, text: &str) -> Self {
        let module: Vec<String> = file
            .trim_end_matches(".rs")
            .split('/')
            .filter(|part| !["mod", "lib", "main"].contains(part))
            .map(str::to_owned)
            .collect();
        let (tokens, test_only) = without_tests(tokens(text));
        let below = |name: String| module.iter().cloned().chain([name]).collect();
        let test_modules = test_only.into_iter().map(below).collect();
        Self { file: file.to_owned(), paths: paths(&tokens), test_modules, module }
    }

    /// Is it this module or one below?
    pub(crate) fn is_in(&self, module: &str) -> bool {
        let wanted: Vec<&str> = module.split("::").collect();
        self.module.len() >= wanted.len() && self.module.iter().zip(&wanted).all(|(a, b)| a == b)
    }

    /// A line for each path that a verdict finds fault with.
    pub(crate) fn complain(&self, verdict: impl Fn(&Named) -> Option<&'static str>) -> Vec<String> {
        let told = |path: &Named| {
            let why = verdict(path)?;
            Some(format!("{}:{}: {} {why}", self.file, path.line, path.names.join("::")))
        };
        self.paths.iter().filter_map(told).collect()
    }
}

impl Named {
    /// Does it begin with these names?
    pub(crate) fn starts_with(&self, prefix: &str) -> bool {
        let wanted: Vec<&str> = prefix.split("::").collect();
        self.names.len() >= wanted.len() && self.names.iter().zip(&wanted).all(|(a, b)| a == b)
    }

    /// Does it begin with these names behind `crate`?
    pub(crate) fn starts_at_home(&self, prefix: &str) -> bool {
        let wanted = prefix.split("::");
        self.names.first().is_some_and(|first| first == "crate")
            && self.names.len() > wanted.clone().count()
            && self.names.iter().skip(1).zip(wanted).all(|(a, b)| a == b)
    }

    /// The path from the root of the crate; `None` when it leads elsewhere or stays in the module.
    pub(crate) fn within_the_crate(&self, module: &[String]) -> Option<&[String]> {
        let ups = self.names.iter().take_while(|name| *name == "super").count();
        match self.names.first()?.as_str() {
            "crate" => self.names.get(1..),
            "super" if ups >= module.len() => self.names.get(ups..),
            _ => None,
        }
    }
}

/// Where the workspace is.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file of the workspace.
pub(crate) fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Every file below a folder, except those that exist in tests only.
pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(below) = folders.pop() {
        let entries = fs::read_dir(root().join(folder).join(&below)).expect("the sources are here");
        for entry in entries {
            let entry = entry.expect("the sources can be listed");
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                folders.push(format!("{name}/"));
            } else if name.ends_with(".rs") {
                found.push(Source::new(&name, &read(&format!("{folder}/{name}"))));
            }
        }
    }
    let test_only: Vec<_> = found.iter().flat_map(|source| source.test_modules.clone()).collect();
    found.retain(|source| !test_only.iter().any(|module| source.module.starts_with(module)));
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

/// An identifier, `::` or a single other character.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) text: String,
    line: usize,
}

/// The tokens of a text, without comments, literals and lifetimes.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let (mut tokens, mut i, mut line) = (Vec::new(), 0, 1);
    while i < chars.len() {
        let begin = i;
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                while i < chars.len() {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
            '"' => i = after_quoted(&chars, i),
            '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => {
                // A character; the one behind a backslash may be a quote.
                i += if at(i + 1) == '\\' { 3 } else { 2 };
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            '\'' => {
                i += 1;
                while is_name(at(i)) {
                    i += 1;
                }
            }
            ':' if at(i + 1) == ':' => {
                tokens.push(Token { text: "::".to_owned(), line });
                i += 2;
            }
            c if is_name(c) => {
                while is_name(at(i)) {
                    i += 1;
                }
                let name: String = chars.iter().skip(begin).take(i - begin).collect();
                let hashes = chars.iter().skip(i).take_while(|c| **c == '#').count();
                match name.as_str() {
                    "r" | "br" | "cr" if at(i + hashes) == '"' => {
                        i = after_raw(&chars, i + hashes + 1, hashes)
                    }
                    "b" | "c" if at(i) == '"' => i = after_quoted(&chars, i),
                    // The quote that follows is looked at next, as that of a character.
                    "b" if at(i) == '\'' => {}
                    "r" if hashes == 1 => i += 1,
                    _ if c.is_numeric() => {}
                    _ => tokens.push(Token { text: name, line }),
                }
            }
            c => {
                if !c.is_whitespace() {
                    tokens.push(Token { text: c.to_string(), line });
                }
                i += 1;
            }
        }
        line += chars.iter().skip(begin).take(i - begin).filter(|c| **c == '\n').count();
    }
    tokens
}

/// The place after a string whose opening quote is here.
fn after_quoted(chars: &[char], quote: usize) -> usize {
    let mut i = quote + 1;
    while let Some(c) = chars.get(i) {
        match c {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    i
}

/// The place after a raw string whose text begins here.
fn after_raw(chars: &[char], begin: usize, hashes: usize) -> usize {
    let ends = |i: usize| {
        chars.get(i) == Some(&'"')
            && chars.iter().skip(i + 1).take(hashes).filter(|c| **c == '#').count() == hashes
    };
    let mut i = begin;
    while i < chars.len() && !ends(i) {
        i += 1;
    }
    i + 1 + hashes
}

/// Leaves out every item under `#[cfg(test)]`; gives the names of the modules among them that lie in files.
fn without_tests(tokens: Vec<Token>) -> (Vec<Token>, Vec<String>) {
    let text = |i: usize| tokens.get(i).map_or("", |token| token.text.as_str());
    let (mut kept, mut modules, mut i) = (Vec::new(), Vec::new(), 0);
    while let Some(token) = tokens.get(i) {
        let attribute = token.text == "#" && text(i + 1) == "[";
        let end = if attribute { after_brackets(&tokens, i + 1) } else { i };
        let inside = |name: &str| (i..end).any(|at| text(at) == name);
        if !(attribute && text(i + 2) == "cfg" && inside("test") && !inside("not")) {
            kept.push(token.clone());
            i += 1;
            continue;
        }
        i = end;
        while text(i) == "#" {
            i = after_brackets(&tokens, i + 1);
        }
        while i < tokens.len() {
            match text(i) {
                "(" | "[" => i = after_brackets(&tokens, i),
                "{" => {
                    i = after_brackets(&tokens, i);
                    break;
                }
                ";" => {
                    i += 1;
                    break;
                }
                "mod" if text(i + 2) == ";" => {
                    modules.push(text(i + 1).to_owned());
                    i += 2;
                }
                _ => i += 1,
            }
        }
    }
    (kept, modules)
}

/// The place after the bracket that closes the one here.
fn after_brackets(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    tokens.len()
}

/// Every path, those in the braces of a `use` each by itself.
fn paths(tokens: &[Token]) -> Vec<Named> {
    let (mut found, mut i) = (Vec::new(), 0);
    while i < tokens.len() {
        i = path(tokens, i, &[], &mut found);
    }
    found
}

/// Reads one path or steps over one token; gives the place after it.
fn path(tokens: &[Token], begin: usize, before: &[String], found: &mut Vec<Named>) -> usize {
    let text = |i: usize| tokens.get(i).map_or("", |token| token.text.as_str());
    let is_name = |i: usize| text(i).chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
    if !is_name(begin) {
        return begin + 1;
    }
    let mut names = before.to_vec();
    names.push(text(begin).to_owned());
    let mut i = begin + 1;
    while text(i) == "::" {
        if is_name(i + 1) {
            names.push(text(i + 1).to_owned());
            i += 2;
        } else if text(i + 1) == "{" {
            i += 2;
            while i < tokens.len() && text(i) != "}" {
                i = path(tokens, i, &names, found);
                if text(i) == "as" {
                    i += 2;
                }
            }
            return i + 1;
        } else {
            // A glob or a turbofish: what follows is a path of its own.
            i += 1;
            break;
        }
    }
    found.push(Named { names, line: tokens.get(begin).map_or(0, |token| token.line) });
    i
}
