//! The command line. One file per command; every one of them works beside a running gateway and without one.

mod backup;
mod bench;
mod cert;
mod check;
mod claim;
mod completions;
mod device;
mod doctor;
mod export;
mod image;
mod import;
mod init;
mod list;
mod man;
mod release;
mod restore;
mod serve;
mod simulate;
mod token;

use crate::config::{Config, Loaded, Sources};
use crate::edge::Passed;
use crate::store::{self, Store, StoreError};
use clap::{Args, Parser, Subcommand};
use std::fmt;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Exit code of a command that failed.
const FAILED: u8 = 1;
/// Exit code of a command that was given something it cannot use.
const USAGE: u8 = 2;
/// Exit code of a bad configuration (`EX_USAGE` of sysexits.h).
const BAD_CONFIG: u8 = 64;

/// Turns the smallest virtual machine and a CO2 sensor into a trusted HTTPS dashboard.
#[derive(Parser)]
#[command(name = "casement", version, max_term_width = 100)]
struct Arguments {
    /// Configuration file [default: $CASEMENT_CONFIG, else /etc/casement/casement.toml where it exists, else none]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Set a gateway up: checks, configuration, start, certificate, a link for its first administrator
    Init(init::Init),
    /// Run the gateway in the foreground
    Serve,
    /// Run a gateway with simulated rooms, readable by everybody
    Demo(serve::Demo),
    /// Check the configuration and print what is in force
    Check,
    /// Print a link that signs an administrator in, once
    Claim(claim::Claim),
    /// The certificate: state, renewal, import
    #[command(subcommand)]
    Cert(cert::Cert),
    /// Look at everything that a gateway needs, and say how to mend what is wrong
    Doctor(doctor::Doctor),
    /// Devices and their tokens
    #[command(subcommand)]
    Device(device::Device),
    /// Firmware for devices: signed releases, in stages
    #[command(subcommand)]
    Release(release::Release),
    /// Tokens that read or administer
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Run virtual devices against a gateway, over real TLS
    Simulate(simulate::Simulate),
    /// Read a file of readings into the store; a second time changes nothing
    Import(import::Import),
    /// Write readings as CSV, NDJSON or line protocol
    Export(export::Export),
    /// Write the whole store into one file, also while the gateway runs
    Backup(backup::Backup),
    /// Look whether a backup is good, or put it in the place of the store
    Restore(restore::Restore),
    /// Measure this machine: ingest, queries, size and memory, in a folder of its own
    Bench(bench::Bench),
    /// Print what makes a shell complete this program's commands and options
    Completions(completions::Completions),
    /// Print this program's manual page, or write all of them into a folder
    Man(man::Man),
}

/// Prints a listing as JSON.
#[derive(Args, Clone, Copy)]
struct Json {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why a command failed, for people: what, why, fix.
struct Failure {
    code: u8,
    what: String,
    fix: String,
}

impl Failure {
    fn new(what: impl fmt::Display, fix: impl Into<String>) -> Self {
        Self { code: FAILED, what: what.to_string(), fix: fix.into() }
    }

    fn usage(what: impl fmt::Display, fix: impl Into<String>) -> Self {
        Self { code: USAGE, ..Self::new(what, fix) }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(format!("{error:#}"), "mend the cause and try again; CASEMENT_LOG=debug tells more")
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let fix = match &error {
            StoreError::Exists(_) => "choose another name",
            StoreError::Missing(_) => "the listing shows what there is",
            StoreError::DiskFull(_) => "make room on the disk and try again",
            StoreError::Busy(_) | StoreError::Contended => {
                "another command is writing; try again in a moment"
            }
            StoreError::EngineTooOld { .. } => "build with the bundled SQLite",
            StoreError::UnknownUrl(_) => "mend store.url",
            StoreError::NotAFile => {
                "use the tools of PostgreSQL: pg_dump and pg_restore hold everything of it"
            }
            StoreError::Unreachable(_) => "is store.url right, and does the database run?",
            StoreError::SchemaTooNew { .. } => "use the later version",
            StoreError::Older { .. } => "restart the gateway",
            StoreError::Foreign => "set data_dir and store.url to where the store is",
            StoreError::Damaged(_) => "put a backup in its place: casement restore FILE --force",
            StoreError::Engine(_) => "are data_dir and store.url right, and may this user write there?",
        };
        Self::new(format!("{:#}", anyhow::Error::new(error)), fix)
    }
}

type Done = Result<(), Failure>;

/// What every command is given.
struct Context {
    sources: Sources,
}

impl Context {
    /// The configuration; every problem of a bad one is printed.
    fn config(&self) -> Result<Config, Failure> {
        self.load().map(|loaded| loaded.config)
    }

    /// The configuration with where it came from and what is odd about it; every problem of a bad one is printed.
    fn load(&self) -> Result<Loaded, Failure> {
        match self.sources.load() {
            Ok(loaded) => Ok(loaded),
            Err(bad) => {
                let list: Vec<String> = bad.problems.iter().map(ToString::to_string).collect();
                Err(Failure {
                    code: BAD_CONFIG,
                    what: format!("the configuration cannot be used\n{}", list.join("\n")),
                    fix: "mend the lines above; `casement check` looks again".to_owned(),
                })
            }
        }
    }

    /// The configuration and its store, opened beside a gateway that may be running.
    async fn store(&self) -> Result<(Config, Arc<dyn Store>), Failure> {
        let config = self.config()?;
        crate::disk::private_dir(&config.data_dir).map_err(|error| {
            Failure::new(
                format!("the data folder {} cannot be used: {error}", config.data_dir.display()),
                "set data_dir, or run as the user that owns it",
            )
        })?;
        backup::leave_a_way_back(&config).await?;
        let store = store::open(&config.store_url, &config.data_dir).await?;
        Ok((config, store))
    }
}

/// A day of readings is unpacked in buffers of some 100 kB, and the C library gives each of them back to the system, page by
/// page, only to ask for it again. It learns to keep what is as large as something that was once freed (mallopt(3),
/// `M_MMAP_THRESHOLD`): 1 MB here, so that at most twice that stays.
fn keep_buffers() {
    const LARGEST: usize = 1 << 20;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGEST)));
}

/// Runs the command in the arguments and gives its exit code.
pub fn main() -> ExitCode {
    keep_buffers();
    let arguments = Arguments::parse();
    // Before anything else is opened, which could take the place of what is said to be passed and is not.
    let passed = match arguments.command {
        Command::Serve => Passed::take(),
        _ => Ok(Passed::default()),
    };
    crate::observe::log_to_stderr();
    // One cryptographic library for everything; nothing else is linked.
    let _already_set = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // A variable that is not text cannot be a setting of ours.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let sources = Sources { argument: arguments.config, environment, without_system_file: false };
    let context = Context { sources };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .thread_name("casement")
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(async {
            let passed = passed.map_err(anyhow::Error::new)?;
            run(arguments.command, passed, &context).await
        }),
        Err(error) => Err(Failure::new(error, "is the machine out of threads or memory?")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let bold = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let (on, off) = if bold { ("\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "") };
            let text = format!("{on}error:{off} {}\n  fix: {}\n", failure.what, failure.fix);
            // Nobody is left to tell when stderr is gone.
            let _lost = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(failure.code)
        }
    }
}

async fn run(command: Command, passed: Passed, context: &Context) -> Done {
    match command {
        Command::Init(init) => init::run(init, context).await,
        Command::Serve => serve::serve(passed, context).await,
        Command::Demo(demo) => serve::demo(demo, context).await,
        Command::Check => check::check(context),
        Command::Claim(claim) => claim::run(claim, context).await,
        Command::Cert(command) => cert::run(command, context).await,
        Command::Doctor(doctor) => doctor::run(doctor, context).await,
        Command::Device(command) => device::run(command, context).await,
        Command::Release(command) => release::run(command, context).await,
        Command::Token(command) => token::run(command, context).await,
        Command::Simulate(command) => simulate::run(command, context).await,
        Command::Import(command) => import::run(command, context).await,
        Command::Export(command) => export::run(command, context).await,
        Command::Backup(command) => backup::run(command, context).await,
        Command::Restore(command) => restore::run(command, context).await,
        Command::Bench(command) => bench::run(command, context).await,
        Command::Completions(command) => completions::run(command),
        Command::Man(command) => man::run(command),
    }
}

/// Writes to stdout. A reader that hung up (`casement export | head`) ends the program quietly.
fn out(text: &str) -> Done {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(format!("stdout: {error}"), "is the disk behind it full?")),
    }
}

/// Tells a person something, on stderr.
fn say(text: &str) {
    let _lost = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

/// A secret: alone on stdout for a program; for a person with what to do next, on stderr.
fn secret(token: &crate::guard::Secret, note: &str) -> Done {
    if std::io::stdout().is_terminal() {
        say(note);
    }
    out(&format!("{}\n", token.reveal()))
}

/// Is somebody watching?
fn watched() -> bool {
    std::io::stderr().is_terminal()
}
