//! The program itself: a home folder for it, start, kill, restart, and its command line.

use crate::client::{Client, Version};
use crate::wait::{PATIENCE, Stopwatch};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// The binary under test: `$CASEMENT_BIN`, or the newer of the release and the debug build.
///
/// # Errors
/// When there is none.
pub fn binary() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("CASEMENT_BIN") {
        let named = PathBuf::from(named);
        ensure!(named.is_file(), "CASEMENT_BIN names {}, which is not there", named.display());
        return Ok(named);
    }
    let test = std::env::current_exe()?;
    // target/debug/deps/scenarios-… → target
    let target = test.ancestors().nth(3).context("the test runs outside a target folder")?;
    ["release", "debug"]
        .iter()
        .map(|profile| target.join(profile).join("casement"))
        .filter_map(|path| Some((modified(&path)?, path)))
        .max()
        .map(|(_, path)| path)
        .with_context(|| {
            format!(
                "no casement binary in {}; build it with: cargo build --release -p casement",
                target.display()
            )
        })
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

/// A folder with a configuration and room for the data of one gateway.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
    settings: Mutex<Settings>,
}

/// What a configuration file is made of.
#[derive(Clone, Debug)]
struct Settings {
    http: String,
    https: String,
    tls: String,
    extra: String,
}

/// What stands below `[tls]` in a home that was not given another one.
const SELF_SIGNED: &str = "source = \"self-signed\"\n";

/// Any free port.
const ANY: &str = "127.0.0.1:0";

impl Home {
    /// A home whose dashboard is private, as it is by default.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn private() -> Result<Self> {
        Self::with("")
    }

    /// A home whose dashboard and readings are open to everybody.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn public() -> Result<Self> {
        Self::with("[access]\ndashboard = \"public\"\n")
    }

    /// A home with more configuration: whole sections other than `[listen]` and `[tls]`.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn with(extra: &str) -> Result<Self> {
        Self::with_tls(ANY, ANY, SELF_SIGNED, extra)
    }

    /// A home that listens at these addresses, has this below `[tls]` (keys first, then sections of it), and more
    /// configuration. An empty address is no listener.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn with_tls(http: &str, https: &str, tls: &str, extra: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("casement-").tempdir()?;
        let settings = Settings {
            http: http.to_owned(),
            https: https.to_owned(),
            tls: tls.to_owned(),
            extra: extra.to_owned(),
        };
        let home = Self { folder, settings: Mutex::new(settings) };
        home.configure(|_| {})?;
        Ok(home)
    }

    /// Gives the configuration file something else below `[tls]`. A running gateway sees them when it is told to look.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn set_tls(&self, tls: &str) -> Result<()> {
        self.configure(|settings| tls.clone_into(&mut settings.tls))
    }

    /// Makes later starts take plain HTTP at this address, or nowhere when it is empty.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn set_http(&self, http: &str) -> Result<()> {
        self.configure(|settings| http.clone_into(&mut settings.http))
    }

    fn configure(&self, change: impl FnOnce(&mut Settings)) -> Result<()> {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut settings);
        let list = |address: &str| match address {
            "" => "[]".to_owned(),
            address => format!("[{address:?}]"),
        };
        let text = format!(
            "data_dir = {:?}\n\n[listen]\nhttp = {}\nhttps = {}\n\n[tls]\n{}\n{}",
            self.data_dir(),
            list(&settings.http),
            list(&settings.https),
            settings.tls,
            settings.extra
        );
        Ok(std::fs::write(self.config(), text)?)
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("casement.toml")
    }

    /// Where the gateway keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A path beside the configuration, for files of the scenario.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the gateway and waits until it is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn serve(&self) -> Result<Gateway> {
        let config = self.config();
        let args = ["serve", "--config", config.to_str().context("a path of text")?];
        Gateway::launch(self.folder.path(), &self.data_dir(), &args, &[]).await
    }

    /// Starts the gateway as a service manager does that has opened these sockets for it (`sd_listen_fds(3)`), and waits
    /// until it is ready.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn serve_on(&self, sockets: &Passing<'_>) -> Result<Gateway> {
        let command = self.passing(sockets)?;
        Gateway::of(command, &self.data_dir(), "serve on sockets that are passed").await
    }

    /// Starts it with sockets that it is to refuse, and waits until it has ended.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub async fn refuse(&self, sockets: &Passing<'_>) -> Result<Ran> {
        finished(self.passing(sockets)?, "casement serve").await
    }

    fn passing(&self, sockets: &Passing<'_>) -> Result<Command> {
        let config = self.config();
        let args = ["serve", "--config", config.to_str().context("a path of text")?];
        let plain = command(self.folder.path(), &args, &[])?;
        let plain = plain.as_std();
        // Only a process that becomes the program can name its own number to it: a shell, and exec.
        let mut script = String::from("set -e\n");
        let mut lent = Vec::new();
        for (at, socket) in sockets.files.iter().enumerate() {
            // Far from where the program looks for them, and not closed when the shell starts.
            let high = rustix::io::fcntl_dupfd_cloexec(socket, 200)?;
            rustix::io::fcntl_setfd(&high, rustix::io::FdFlags::empty())?;
            script.push_str(&format!("exec {}<&{number} {number}<&-\n", 3 + at, number = high.as_raw_fd()));
            lent.push(high);
        }
        let pid = sockets.pid.map_or_else(|| "$$".to_owned(), |pid| pid.to_string());
        script.push_str(&format!("LISTEN_PID={pid} LISTEN_FDS={} ", sockets.count));
        if !sockets.names.is_empty() {
            script.push_str(&format!("LISTEN_FDNAMES={} ", sockets.names.join(":")));
        }
        script.push_str("exec \"$@\"");
        let mut shell = Command::new("bash");
        shell
            .args(["-c", &script, "bash"])
            .arg(plain.get_program())
            .args(plain.get_args())
            .current_dir(self.folder.path())
            .env_clear()
            .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // They must live until the shell has them.
        sockets.lent.lock().unwrap_or_else(PoisonError::into_inner).extend(lent);
        Ok(shell)
    }

    /// Makes later starts use the ports that this gateway was given.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub fn keep_ports(&self, gateway: &Gateway) -> Result<()> {
        self.configure(|settings| {
            settings.http = gateway.http().to_string();
            settings.https = gateway.https().to_string();
        })
    }

    /// Runs another command of the program, with this home's configuration.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub async fn run(&self, args: &[&str]) -> Result<Ran> {
        let config = self.config();
        let mut all = args.to_vec();
        all.extend(["--config", config.to_str().context("a path of text")?]);
        run(self.folder.path(), &all, &[]).await
    }

    /// Registers a device and gives its token.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn add_device(&self, id: &str, room: &str) -> Result<String> {
        self.run(&["device", "add", id, "--room", room]).await?.secret("cas_dev_")
    }

    /// Creates an API token.
    ///
    /// # Errors
    /// When the command fails.
    pub async fn create_token(&self, scope: &str) -> Result<String> {
        self.run(&["token", "create", "--scope", scope]).await?.secret("cas_")
    }
}

/// What a service manager passes to the program.
#[derive(Debug)]
pub struct Passing<'a> {
    files: Vec<BorrowedFd<'a>>,
    names: Vec<&'a str>,
    count: String,
    pid: Option<u32>,
    lent: Mutex<Vec<OwnedFd>>,
}

impl<'a> Passing<'a> {
    /// These, without names.
    #[must_use]
    pub fn files(files: &[BorrowedFd<'a>]) -> Self {
        let count = files.len().to_string();
        Self { files: files.to_vec(), names: Vec::new(), count, pid: None, lent: Mutex::default() }
    }

    /// The same, with these names.
    #[must_use]
    pub fn named(self, names: &[&'a str]) -> Self {
        Self { names: names.to_vec(), ..self }
    }

    /// The same, with another number of them, true or not.
    #[must_use]
    pub fn said_to_be(self, count: &str) -> Self {
        Self { count: count.to_owned(), ..self }
    }

    /// The same, meant for another process.
    #[must_use]
    pub fn meant_for(self, pid: u32) -> Self {
        Self { pid: Some(pid), ..self }
    }
}

/// What a command left behind.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote for programs.
    pub stdout: String,
    /// What it wrote for people.
    pub stderr: String,
}

impl Ran {
    /// The command's result, when it ended with this code.
    ///
    /// # Errors
    /// When it ended otherwise.
    pub fn expect(self, code: i32) -> Result<Self> {
        ensure!(self.code == Some(code), "expected exit code {code}: {self:?}");
        Ok(self)
    }

    /// The one secret on stdout: nothing else may stand there.
    ///
    /// # Errors
    /// When there is something else.
    pub fn secret(self, prefix: &str) -> Result<String> {
        let ran = self.expect(0)?;
        let secret = ran.stdout.strip_suffix('\n').unwrap_or(&ran.stdout);
        let alone = secret.starts_with(prefix) && secret.bytes().all(|byte| byte.is_ascii_graphic());
        ensure!(alone, "expected a token alone on stdout: {ran:?}");
        Ok(secret.to_owned())
    }
}

/// Runs the program in `folder` with these arguments and environment variables.
///
/// # Errors
/// When it cannot be started or does not end within two minutes.
pub async fn run(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<Ran> {
    finished(command(folder, args, env)?, &format!("casement {}", args.join(" "))).await
}

async fn finished(mut command: Command, what: &str) -> Result<Ran> {
    let ended = command.stdin(Stdio::null()).output();
    let output = tokio::time::timeout(Duration::from_secs(120), ended)
        .await
        .with_context(|| format!("{what} does not end"))??;
    Ok(Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Nothing of the surroundings reaches the program but what stands here.
fn command(folder: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command
        .args(args)
        .current_dir(folder)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", folder)
        .env("RUST_BACKTRACE", "1")
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

/// A running gateway. Dropping it kills it.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    ready: Ready,
    data_dir: PathBuf,
    ready_after: Duration,
    stdout: Captured,
    stderr: Captured,
}

/// The line on stdout that says that every listener accepts.
#[derive(Clone, Debug, Deserialize)]
struct Ready {
    https: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    mqtts: Vec<SocketAddr>,
    pid: u32,
}

impl Gateway {
    /// Starts the program and waits for its ready line.
    ///
    /// # Errors
    /// When it ends or stays silent instead; the error shows what it logged.
    pub async fn launch(folder: &Path, data_dir: &Path, args: &[&str], env: &[(&str, &str)]) -> Result<Self> {
        Self::of(command(folder, args, env)?, data_dir, &args.join(" ")).await
    }

    async fn of(mut command: Command, data_dir: &Path, what: &str) -> Result<Self> {
        let clock = Stopwatch::start();
        let mut child = command.spawn()?;
        let (first_line, first) = oneshot::channel();
        let stdout = Captured::from(child.stdout.take().context("stdout is piped")?, Some(first_line));
        let stderr = Captured::from(child.stderr.take().context("stderr is piped")?, None);
        let Ok(Ok(line)) = tokio::time::timeout(PATIENCE, first).await else {
            child.start_kill().ok();
            let ended = child.wait().await?;
            bail!("casement {what}: no ready line, {ended}\n{}", stderr.finish().await);
        };
        let ready_after = clock.elapsed();
        let json = line.strip_prefix("ready ").with_context(|| format!("not a ready line: {line:?}"))?;
        let ready: Ready =
            serde_json::from_str(json).with_context(|| format!("not a ready line: {line:?}"))?;
        ensure!(Some(ready.pid) == child.id(), "the ready line names another process: {line}");
        ensure!(ready.mqtts.is_empty(), "nobody asked for MQTT: {line}");
        let data_dir = data_dir.to_owned();
        Ok(Self { child, ready, data_dir, ready_after, stdout, stderr })
    }

    /// The address that takes HTTPS.
    ///
    /// # Panics
    /// When the gateway has no HTTPS listener.
    #[must_use]
    pub fn https(&self) -> SocketAddr {
        *self.ready.https.first().expect("a gateway listens for HTTPS")
    }

    /// The address that takes HTTP.
    ///
    /// # Panics
    /// When the gateway has no HTTP listener.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        *self.ready.http.first().expect("a gateway listens for HTTP")
    }

    /// Its base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.https())
    }

    /// Where it keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.ready.pid
    }

    /// How long it took from its start to the ready line.
    #[must_use]
    pub const fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// A client without a token, over HTTP/1.1.
    ///
    /// # Errors
    /// When the gateway's certificate cannot be read.
    pub fn client(&self) -> Result<Client> {
        Client::new(self.https(), &self.data_dir, Version::Http1)
    }

    /// A client without a token, over HTTP/2.
    ///
    /// # Errors
    /// When the gateway's certificate cannot be read.
    pub fn client_h2(&self) -> Result<Client> {
        Client::new(self.https(), &self.data_dir, Version::Http2)
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.stderr.text()
    }

    /// Asks it to read its configuration again (SIGHUP).
    ///
    /// # Errors
    /// When it is gone.
    pub fn reload(&self) -> Result<()> {
        self.signal(Signal::HUP)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.ready.pid).ok().and_then(Pid::from_raw).context("a process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Ends it without warning, as a power cut would, and waits until it is gone.
    ///
    /// # Errors
    /// When it was gone before.
    pub async fn kill(mut self) -> Result<()> {
        if let Some(ended) = self.child.try_wait()? {
            bail!("the gateway ended by itself, {ended}\n{}", self.log());
        }
        self.child.kill().await?;
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it does not end within 30 s, or a panic stands in its log.
    pub async fn terminate(mut self) -> Result<Ended> {
        let clock = Stopwatch::start();
        self.signal(Signal::TERM)?;
        let status = tokio::time::timeout(Duration::from_secs(30), self.child.wait())
            .await
            .with_context(|| format!("SIGTERM does not end it\n{}", self.log()))??;
        let ended = Ended {
            code: status.code(),
            after: clock.elapsed(),
            stdout: self.stdout.finish().await,
            stderr: self.stderr.finish().await,
        };
        ensure!(!ended.stderr.contains("panicked at"), "it panicked:\n{}", ended.stderr);
        Ok(ended)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // The child is killed by its own drop. The runner shows this only when the scenario fails.
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(LOG_LINES_SHOWN)..).unwrap_or_default();
        eprintln!("--- last lines of the gateway {}\n{}\n---", self.ready.pid, last.join("\n"));
    }
}

/// How much of its log a gateway leaves in the output of a scenario.
const LOG_LINES_SHOWN: usize = 40;

/// What a gateway left behind that was asked to end.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// How long it took.
    pub after: Duration,
    /// All of its stdout.
    pub stdout: String,
    /// All of its log.
    pub stderr: String,
}

/// What a process writes, line by line, while it runs.
#[derive(Debug)]
struct Captured {
    text: Arc<Mutex<String>>,
    reader: tokio::task::JoinHandle<()>,
}

impl Captured {
    fn from(
        pipe: impl AsyncRead + Unpin + Send + 'static,
        mut first: Option<oneshot::Sender<String>>,
    ) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&text);
        let reader = tokio::spawn(async move {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while let Ok(1..) = pipe.read_until(b'\n', &mut line).await {
                let found = String::from_utf8_lossy(&line).into_owned();
                if let Some(first) = first.take() {
                    let _nobody_waits = first.send(found.trim_end().to_owned());
                }
                shared.lock().unwrap_or_else(PoisonError::into_inner).push_str(&found);
                line.clear();
            }
        });
        Self { text, reader }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything, once the process has ended.
    async fn finish(&self) -> String {
        // A child of the process could hold the pipe open; what is there by then is all there is to say.
        let closed = async {
            while !self.reader.is_finished() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let _open = tokio::time::timeout(Duration::from_secs(5), closed).await;
        self.text()
    }
}
