//! The command line of an SQL database, kept open: a statement in, its rows out.

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Longest wait for the end of a statement.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);

/// What it says after each statement.
const MARK: &str = "-- that was all --";

#[derive(Debug)]
pub(crate) struct Shell {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    log: PathBuf,
    /// The command that prints what follows it.
    print: &'static str,
}

impl Shell {
    pub(crate) fn open(command: std::process::Command, print: &'static str, log: &Path) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = Command::from(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(log)?)
            .kill_on_drop(true)
            .spawn()
            .context(program)?;
        let stdin = child.stdin.take().context("stdin is piped")?;
        let stdout = BufReader::new(child.stdout.take().context("stdout is piped")?);
        Ok(Self { child, stdin, stdout, log: log.to_owned(), print })
    }

    /// The rows of one statement or command, as the program prints them.
    pub(crate) async fn ask(&mut self, statement: &str) -> Result<String> {
        let conversation = async {
            let text = format!("{statement}\n{} '{MARK}'\n", self.print);
            self.stdin.write_all(text.as_bytes()).await?;
            self.stdin.flush().await?;
            let mut rows = String::new();
            loop {
                let from = rows.len();
                ensure!(self.stdout.read_line(&mut rows).await? > 0, "it has ended");
                if rows[from..].trim_end() == MARK {
                    rows.truncate(from);
                    return Ok(rows);
                }
            }
        };
        match tokio::time::timeout(ANSWER_WITHIN, conversation).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                Err(error.context(format!("{statement}\n{log}")))
            }
            Err(_) => bail!("no answer in time: {statement}"),
        }
    }

    /// The one number that a statement gives.
    pub(crate) async fn number(&mut self, statement: &str) -> Result<f64> {
        number(&self.ask(statement).await?)
    }

    /// Ends it and waits until it has: a clean end, where it is the database itself.
    pub(crate) async fn close(mut self) -> Result<()> {
        drop(self.stdin);
        tokio::time::timeout(Duration::from_secs(60), self.child.wait())
            .await
            .context("it does not end")??;
        Ok(())
    }
}

/// Reads rows of numbers.
pub(crate) fn rows(text: &str) -> Result<Vec<Vec<f64>>> {
    let row = |line: &str| {
        line.split([' ', ',', '|'])
            .map(|cell| cell.parse::<f64>().with_context(|| format!("not a number: {line:?}")))
            .collect()
    };
    text.lines().map(row).collect()
}

/// Reads the only number.
pub(crate) fn number(text: &str) -> Result<f64> {
    text.trim().parse().with_context(|| format!("not a number: {text:?}"))
}
