//! A PostgreSQL of its own for a test: in a temporary folder, on a socket there, with a password. The gateway's own tests
//! use this file, too, so it knows nothing but the standard library and a temporary folder.

use anyhow::{Context, Result, bail, ensure};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// The password of every [`Server`], with characters that a URL cannot have as they are.
pub const PASSWORD: &str = "s3cret/of?the@test#";
const PASSWORD_IN_URL: &str = "s3cret%2Fof%3Fthe%40test%23";

/// PostgreSQL refuses to run as root; on every Linux this number is nobody.
const NOBODY: u32 = 65_534;

/// How often a start looks whether the server answers, and how long it waits in between.
const LOOKS: u32 = 300;
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// The folder with `initdb`, `postgres` and `psql`: `$POSTGRES_BIN`, in `$PATH`, or where Debian has them. `None` when
/// there is none.
///
/// # Errors
/// When `$POSTGRES_BIN` names a folder without them.
pub fn programs() -> Result<Option<PathBuf>> {
    let all = |folder: &Path| ["initdb", "postgres", "psql"].iter().all(|name| folder.join(name).is_file());
    if let Some(named) = std::env::var_os("POSTGRES_BIN").map(PathBuf::from) {
        ensure!(
            all(&named),
            "POSTGRES_BIN names {}, where initdb, postgres and psql are not",
            named.display()
        );
        return Ok(Some(named));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|folder| folder.filter_map(|entry| Some(entry.ok()?.path().join("bin"))).collect())
        .unwrap_or_default();
    debian.sort();
    Ok(std::env::split_paths(&path).chain(debian.into_iter().rev()).find(|folder| all(folder)))
}

/// A running server; it ends with this.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    programs: PathBuf,
    settings: Vec<&'static str>,
    process: Option<Child>,
}

/// Settings that do for a test, so that many of them find room.
const SMALL: &[&str] = &["max_connections=60", "shared_buffers=32MB"];

impl Server {
    /// Makes a small server and starts it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(programs: &Path) -> Result<Self> {
        Self::start_with(programs, SMALL)
    }

    /// Makes a server with these settings (`name=value`) instead of the usual ones, and starts it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_with(programs: &Path, settings: &[&'static str]) -> Result<Self> {
        // The path of a socket has little more than a hundred characters.
        let folder = tempfile::Builder::new().prefix("casement-pg-").tempdir()?;
        let mut server =
            Self { folder, programs: programs.to_owned(), settings: settings.to_vec(), process: None };
        let password = server.folder.path().join("password");
        std::fs::write(&password, PASSWORD)?;
        for path in [server.folder.path(), &password] {
            if is_root() {
                chown(path, Some(NOBODY), Some(NOBODY))?;
            }
        }
        let made = server
            .program("initdb")
            .args([
                "--username=casement",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            ])
            .arg("--pwfile")
            .arg(&password)
            .arg("--pgdata")
            .arg(server.data())
            .output()
            .context("initdb cannot be started")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.run()?;
        Ok(server)
    }

    /// Starts it again after [`Server::stop`].
    ///
    /// # Errors
    /// When it does not start.
    pub fn run(&mut self) -> Result<()> {
        let log = std::fs::File::create(self.folder.path().join("log"))?;
        let process = self
            .program("postgres")
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(self.folder.path())
            .args(["-c", "listen_addresses="])
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("postgres cannot be started")?;
        self.process = Some(process);
        for _ in 0..LOOKS {
            if self.psql("postgres", "SELECT 1").is_ok() {
                return Ok(());
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        bail!("postgres does not answer\n{log}");
    }

    /// Ends it at once, as a crash would.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Somebody else has ended it.
            if process.try_wait().is_ok_and(|ended| ended.is_some()) {
                return;
            }
            let stopped = self
                .program("pg_ctl")
                .args(["stop", "-w", "-m", "immediate", "-D"])
                .arg(self.data())
                .stdout(Stdio::null())
                .status();
            if !stopped.is_ok_and(|status| status.success()) {
                process.kill().ok();
            }
            process.wait().ok();
        }
    }

    /// Makes a database and gives its URL.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(&self, database: &str) -> Result<String> {
        self.psql("postgres", &format!("CREATE DATABASE {database}"))?;
        Ok(self.url(database))
    }

    /// The URL of a database.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let folder = self.folder.path().to_string_lossy().replace('/', "%2F");
        format!("postgres://casement:{PASSWORD_IN_URL}@{folder}/{database}")
    }

    /// Asks it something; the answer is plain rows.
    ///
    /// # Errors
    /// When it does not like the question.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let asked =
            self.client(database).args(["--command", sql]).output().context("psql cannot be started")?;
        ensure!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
        Ok(String::from_utf8_lossy(&asked.stdout).trim_end().to_owned())
    }

    /// `psql` at this database, which gives plain rows and ends with the first error.
    #[must_use]
    pub fn client(&self, database: &str) -> Command {
        let mut command = self.program("psql");
        command.args(["--no-psqlrc", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1"]);
        command.args(["--username", "casement", "--dbname", database, "--host"]).arg(self.folder.path());
        command
    }

    /// The folder with its data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(self.folder.path()).env_clear().env("PGPASSWORD", PASSWORD).env("LC_ALL", "C");
        command.stdin(Stdio::null());
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}
