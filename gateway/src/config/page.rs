//! `docs/configuration.md`, made from the table of keys, so that the page and the program cannot differ.

use super::keys::{KEYS, Kind, LATER};
use std::fmt::Write;

const HEAD: &str = "# Configuration

<!-- Made from gateway/src/config/keys.rs. To make it anew: CASEMENT_WRITE_DOCS=1 cargo test -p casement --lib config::page -->

`casement init NAME` writes a file of at most twelve lines; this page has every key. `casement check` finds every problem of a
file at once, with its line and its fix, and prints what is in force. Unknown keys are errors.

The file is `--config FILE`, else `$CASEMENT_CONFIG`, else `/etc/casement/casement.toml` where it exists, else there is none
and the defaults are in force. Each key can be set in the environment instead, which beats the file; a list may be
TOML or words with commas between them. `gateway/casement.example.toml` says more about each key.

`systemctl reload casement` (SIGHUP) takes over `[tls]`, `[access]`, `[site]`, `[backup]` and how long readings are kept.
`data_dir`, `[listen]`, `store.url` and `tls.device_chain` need a restart. A bad file is reported, and what runs stays.

";

/// The page.
fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut section = None;
    for key in KEYS {
        let (of, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if section != Some(of) {
            let heading = if of.is_empty() { "Top level".to_owned() } else { format!("`[{of}]`") };
            let _infallible = writeln!(
                page,
                "{}## {heading}\n\n| key | takes | default | what it is | in the environment |\n|---|---|---|---|---|",
                if section.is_some() { "\n" } else { "" }
            );
            section = Some(of);
        }
        let kind = match key.kind {
            Kind::Text => "a text",
            Kind::List => "a list of texts",
            Kind::Number => "a whole number",
        };
        let _infallible = writeln!(
            page,
            "| `{name}` | {kind} | `{}` | {} | `CASEMENT_{}` |",
            key.default,
            key.doc.replace('|', "\\|"),
            key.path.to_ascii_uppercase().replace('.', "__")
        );
    }
    let later: Vec<String> = LATER.iter().map(|name| format!("`[{name}]`")).collect();
    let _infallible = writeln!(
        page,
        "\n{} are understood and have no effect in this version; a warning says so.",
        later.join(", ")
    );
    page
}

#[test]
fn the_page_has_every_key_as_the_program_has_it() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    if std::env::var_os("CASEMENT_WRITE_DOCS").is_some() {
        std::fs::write(file, page()).unwrap();
    }
    let written = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        written == page(),
        "docs/configuration.md is not what the keys say; make it anew: CASEMENT_WRITE_DOCS=1 cargo test -p casement --lib config::page"
    );
}
