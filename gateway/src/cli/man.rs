//! `casement man`: the manual, made from the program itself, so that it cannot be of another version.
//!
//! One page for each command, section 1, and `casement.toml(5)` with every key.

use super::{Arguments, Done, Failure, out};
use crate::config::keys::{KEYS, Kind};
use clap::{Args, CommandFactory};
use clap_mangen::roff::{Roff, bold, italic, roman};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct Man {
    /// Write every page into this folder, which must exist: casement.1, one for each command, casement.toml.5
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(command: Man) -> Done {
    let failed =
        |error: io::Error| Failure::new(error, "is the folder there, and may this user write into it?");
    match command.dir {
        None => out(&String::from_utf8_lossy(&overview(program()).map_err(failed)?)),
        Some(dir) => write_all(&dir).map_err(failed),
    }
}

fn program() -> clap::Command {
    let mut program = Arguments::command().disable_help_subcommand(true);
    program.build();
    program
}

fn write_all(dir: &Path) -> io::Result<()> {
    let program = program();
    let pages = program.get_subcommands().filter(|command| !command.is_hide_set());
    for command in pages {
        write_commands(command, dir)?;
    }
    fs::write(dir.join("casement.1"), overview(program)?)?;
    fs::write(dir.join("casement.toml.5"), configuration())
}

/// A page for the command, and one for each below it: `casement-cert.1`, `casement-cert-renew.1`.
fn write_commands(command: &clap::Command, dir: &Path) -> io::Result<()> {
    page(command.clone()).generate_to(dir)?;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_commands(below, dir)?;
    }
    Ok(())
}

fn page(command: clap::Command) -> clap_mangen::Man {
    clap_mangen::Man::new(command).manual("Casement").source(source())
}

fn source() -> String {
    format!("Casement {}", env!("CARGO_PKG_VERSION"))
}

/// `casement(1)`.
fn overview(program: clap::Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    page(program).render(&mut text)?;
    let mut more = Roff::new();
    more.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in [
        ("0", "It is done."),
        ("1", "It failed; stderr says what, why and the fix."),
        ("2", "It was given something that it cannot use."),
        ("3", "doctor found a problem."),
        ("64", "The configuration cannot be used; every problem of it is on stderr."),
    ] {
        term(&mut more, code, meaning);
    }
    more.control("SH", ["ENVIRONMENT"]);
    term(&mut more, "CASEMENT_CONFIG", "The configuration file, where --config does not name one.");
    term(
        &mut more,
        "CASEMENT_SECTION__KEY",
        "Overrides a key of the configuration, for example CASEMENT_ACCESS__DASHBOARD=public.",
    );
    term(&mut more, "CASEMENT_LOG", "How much is logged: error, warn, info or debug.");
    term(&mut more, "NO_COLOR", "Without colours, on a terminal, too.");
    more.control("SH", ["FILES"]);
    term(&mut more, "/etc/casement/casement.toml", "The configuration; see casement.toml(5).");
    term(
        &mut more,
        "/var/lib/casement",
        "Where the package keeps everything: casement.db (readings, devices, tokens), certs, acme, firmware.",
    );
    more.control("SH", ["SIGNALS"]);
    term(&mut more, "SIGTERM, SIGINT", "casement serve finishes what is running and ends within 20 s.");
    term(&mut more, "SIGHUP", "It reads configuration and certificates again; a bad file changes nothing.");
    more.control("SH", ["SEE ALSO"]);
    more.text([bold("casement.toml"), roman("(5), "), bold("systemd.socket"), roman("(5)")]);
    more.to_writer(&mut text)?;
    Ok(text)
}

/// `casement.toml(5)`, from the one table of keys.
fn configuration() -> Vec<u8> {
    let mut page = Roff::new();
    page.control("TH", ["casement.toml", "5", "", &source(), "Casement"]);
    page.control("SH", ["NAME"]);
    page.text([roman("casement.toml - configuration of Casement")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([
        roman("A TOML file. The program takes the one that "),
        bold("--config"),
        roman(" names, else "),
        italic("$CASEMENT_CONFIG"),
        roman(", else "),
        italic("/etc/casement/casement.toml"),
        roman(
            " where it exists, else the defaults below. A key it does not know is an error. Any key can be set in the environment instead, as CASEMENT_SECTION__KEY with the value in TOML.",
        ),
    ]);
    page.text([
        bold("casement check"),
        roman(" looks at a file and prints what is in force. After a change: "),
        bold("systemctl reload casement"),
        roman(", or restart where the program says so."),
    ]);
    page.control("SH", ["KEYS"]);
    for key in KEYS {
        let kind = match key.kind {
            Kind::Text => "text",
            Kind::List => "list of texts",
            Kind::Number => "number",
        };
        page.control("TP", []);
        page.text([bold(key.path), roman(format!(" ({kind}; {})", key.default))]);
        page.text([roman(key.doc)]);
    }
    page.control("SH", ["SEE ALSO"]);
    page.text([
        bold("casement"),
        roman("(1); an example with every key is in "),
        italic("/usr/share/doc/casement/examples"),
    ]);
    page.to_roff().into_bytes()
}

fn term(page: &mut Roff, term: &str, meaning: &str) {
    page.control("TP", []);
    page.text([bold(term)]);
    page.text([roman(meaning)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_every_command_has_its_place() {
        let page = String::from_utf8(configuration()).unwrap().replace('\\', "");
        for key in KEYS {
            assert!(page.contains(key.path), "{}", key.path);
        }
        let folder = tempfile::tempdir().unwrap();
        write_all(folder.path()).unwrap();
        for command in program().get_subcommands() {
            assert!(folder.path().join(format!("casement-{}.1", command.get_name())).is_file());
        }
        for page in ["casement.1", "casement.toml.5", "casement-cert-renew.1"] {
            assert!(folder.path().join(page).is_file(), "{page}");
        }
    }
}
