//! One row a reading in an SQL database: PostgreSQL, SQLite and DuckDB, each through its own command line.
//!
//! | | PostgreSQL | SQLite | DuckDB |
//! |---|---|---|---|
//! | values | `real` | `REAL` | `FLOAT` |
//! | key `(device, t)` | primary key | primary key, `WITHOUT ROWID` | none |
//! | settings | as they come | WAL, `synchronous = FULL`, 16 MB of cache | as they come |

use crate::data::{BAD_PPM, BEGIN_MS, Bucket, Data, END_MS, STEP_MS};
use crate::process;
use crate::shell::{self, Shell};
use crate::store::{Answer, Question, Store};
use anyhow::{Context, Result};
use harness::postgres::Server;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The number of the device that writes until it is killed; the others are fewer.
const WRITER: u32 = 5_000;

/// Which database.
pub(crate) enum Database {
    /// A server of its own, with the settings that it comes with.
    Postgres(Box<Server>),
    /// In the process of its command line.
    Sqlite(PathBuf),
    /// The same.
    DuckDb(PathBuf),
}

pub(crate) struct Sql {
    database: Database,
    folder: tempfile::TempDir,
    shell: Option<Shell>,
}

impl Sql {
    pub(crate) async fn make(database: Database) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("casement-sql-").tempdir()?;
        let mut made = Self { database, folder, shell: None };
        made.open()?;
        let (real, key) = match made.database {
            Database::Postgres(_) => ("real", ", PRIMARY KEY (device, t))"),
            Database::Sqlite(_) => ("REAL", ", PRIMARY KEY (device, t)) WITHOUT ROWID"),
            Database::DuckDb(_) => ("FLOAT", ")"),
        };
        made.shell()?
            .ask(&format!(
                "CREATE TABLE device (id INTEGER PRIMARY KEY, name TEXT);\n\
                 CREATE TABLE reading (device INTEGER NOT NULL, t BIGINT NOT NULL, \
                 co2 {real}, tvoc {real}, temperature {real}, humidity {real}{key};"
            ))
            .await?;
        Ok(made)
    }

    fn shell(&mut self) -> Result<&mut Shell> {
        self.shell.as_mut().context("no shell is open")
    }

    fn open(&mut self) -> Result<()> {
        let log = self.folder.path().join("log");
        let folder = self.folder();
        let shell = match &self.database {
            Database::Postgres(server) => {
                let mut command = server.client("postgres");
                command.arg("--quiet");
                Shell::open(command, "\\echo", &log)?
            }
            Database::Sqlite(program) => {
                std::fs::create_dir_all(&folder)?;
                let mut command = Command::new(program);
                command.args(["-batch", "-bail", "-noheader", "-list", "-separator", ","]);
                command.args(["-cmd", "PRAGMA synchronous = FULL", "-cmd", "PRAGMA cache_size = -16384"]);
                Shell::open(
                    {
                        command.arg(folder.join("db"));
                        command
                    },
                    ".print",
                    &log,
                )?
            }
            Database::DuckDb(program) => {
                std::fs::create_dir_all(&folder)?;
                let mut command = Command::new(program);
                command.args(["-batch", "-bail", "-noheader", "-csv", "-init", "/dev/null"]);
                Shell::open(
                    {
                        command.arg(folder.join("db"));
                        command
                    },
                    ".print",
                    &log,
                )?
            }
        };
        self.shell = Some(shell);
        Ok(())
    }

    /// The statements that bring the rows in; those that may be there already go through a table beside it.
    fn loading(&self, data: &Data, again: bool) -> String {
        let (rows, devices) = (data.rows(), data.devices());
        let (rows, devices) = (rows.display(), devices.display());
        match (&self.database, again) {
            (Database::Postgres(_), false) => {
                format!("\\copy device FROM '{devices}' CSV\n\\copy reading FROM '{rows}' CSV")
            }
            (Database::Postgres(_), true) => format!(
                "CREATE TEMP TABLE stage (LIKE reading);\n\\copy stage FROM '{rows}' CSV\n\
                 INSERT INTO reading SELECT * FROM stage ON CONFLICT DO NOTHING;"
            ),
            (Database::Sqlite(_), false) => {
                format!(".import --csv {devices} device\n.import --csv {rows} reading")
            }
            (Database::Sqlite(_), true) => format!(
                "CREATE TEMP TABLE stage AS SELECT * FROM reading LIMIT 0;\n.import --csv {rows} stage\n\
                 INSERT OR IGNORE INTO reading SELECT * FROM stage;"
            ),
            (Database::DuckDb(_), again) => {
                let devices = format!("COPY device FROM '{devices}' (HEADER false);");
                let devices = if again { "" } else { devices.as_str() };
                format!("{devices}\nCOPY reading FROM '{rows}' (HEADER false);")
            }
        }
    }
}

impl Store for Sql {
    async fn version(&mut self) -> Result<String> {
        let (name, query) = match self.database {
            Database::Postgres(_) => ("PostgreSQL", "SHOW server_version;"),
            Database::Sqlite(_) => ("SQLite", "SELECT sqlite_version();"),
            Database::DuckDb(_) => ("DuckDB", "SELECT version();"),
        };
        let text = self.shell()?.ask(query).await?;
        Ok(format!("{name} {}", text.split_whitespace().next().unwrap_or_default().trim_start_matches('v')))
    }

    async fn load(&mut self, data: &Data, again: bool) -> Result<()> {
        let statements = self.loading(data, again);
        self.shell()?.ask(&statements).await?;
        Ok(())
    }

    async fn settle(&mut self) -> Result<()> {
        let statements = match self.database {
            Database::Postgres(_) => "VACUUM ANALYZE reading;\nCHECKPOINT;",
            Database::Sqlite(_) => "VACUUM;\nPRAGMA optimize;\nPRAGMA wal_checkpoint(TRUNCATE);",
            Database::DuckDb(_) => "CHECKPOINT;",
        };
        self.shell()?.ask(statements).await?;
        if let Some(shell) = self.shell.take() {
            shell.close().await?;
        }
        self.restart().await
    }

    fn folder(&self) -> PathBuf {
        match &self.database {
            Database::Postgres(server) => server.data(),
            Database::Sqlite(_) | Database::DuckDb(_) => self.folder.path().join("data"),
        }
    }

    async fn payload(&mut self) -> Result<Option<u64>> {
        Ok(match self.database {
            Database::Postgres(_) => {
                Some(self.shell()?.number("SELECT pg_total_relation_size('reading');").await? as u64)
            }
            Database::Sqlite(_) | Database::DuckDb(_) => Some(process::bytes(&self.folder())?),
        })
    }

    async fn ask(&mut self, question: Question) -> Result<String> {
        let year = format!("FROM reading WHERE device = 0 AND t >= {BEGIN_MS} AND t < {END_MS}");
        let query = match (question, &self.database) {
            (Question::Chart, _) => format!(
                "SELECT t - t % {STEP_MS}, min(co2), avg(co2), max(co2) {year} GROUP BY 1 ORDER BY 1;"
            ),
            (Question::P95, Database::Sqlite(_)) => format!(
                "SELECT co2 {year} ORDER BY co2 LIMIT 1 OFFSET (SELECT (count(*) * 95 + 99) / 100 - 1 {year});"
            ),
            (Question::P95, _) => {
                format!("SELECT percentile_disc(0.95) WITHIN GROUP (ORDER BY co2) {year};")
            }
            (Question::Above, _) => format!("SELECT count(*) {year} AND co2 > {BAD_PPM};"),
            (Question::Latest, Database::DuckDb(_)) => {
                "SELECT device, max(t), arg_max(co2, t), arg_max(tvoc, t), \
                 arg_max(temperature, t), arg_max(humidity, t) FROM reading GROUP BY device;"
                    .to_owned()
            }
            // One look into the index for each device. SQLite would begin with all readings.
            (Question::Latest, database) => {
                let join = if matches!(database, Database::Sqlite(_)) { "CROSS JOIN" } else { "JOIN" };
                format!(
                    "SELECT r.* FROM device d {join} reading r ON r.device = d.id AND \
                     r.t = (SELECT max(t) FROM reading WHERE device = d.id);"
                )
            }
        };
        self.shell()?.ask(&query).await
    }

    fn read(&self, question: Question, text: &str) -> Result<Answer> {
        Ok(match question {
            Question::P95 => Answer::P95(shell::number(text)?),
            Question::Above => Answer::Above(shell::number(text)?),
            Question::Chart => {
                let row = |row: Vec<f64>| match row[..] {
                    [t_ms, min, mean, max] => Ok(Bucket { t_ms: t_ms as i64, min, mean, max }),
                    _ => anyhow::bail!("not four columns"),
                };
                Answer::Chart(shell::rows(text)?.into_iter().map(row).collect::<Result<_>>()?)
            }
            Question::Latest => {
                let rows = shell::rows(text)?;
                let co2 = rows.iter().filter_map(|row| row.get(2)).sum();
                Answer::Latest { devices: rows.len(), co2 }
            }
        })
    }

    async fn count(&mut self, _data: &Data) -> Result<u64> {
        let columns = "count(co2) + count(tvoc) + count(temperature) + count(humidity)";
        Ok(self.shell()?.number(&format!("SELECT {columns} FROM reading;")).await? as u64)
    }

    async fn put(&mut self, numbers: Range<u64>) -> Vec<u64> {
        let number = numbers.start;
        let (t_ms, co2) = (END_MS + number.cast_signed() * 1_000, 400 + number % 1_000);
        let statement = format!("INSERT INTO reading VALUES ({WRITER}, {t_ms}, {co2}, 0, 0, 0);");
        let Some(shell) = self.shell.as_mut() else { return Vec::new() };
        shell.ask(&statement).await.map_or_else(|_| Vec::new(), |_| vec![number])
    }

    async fn kept(&mut self) -> Result<BTreeSet<u64>> {
        let text = self.shell()?.ask(&format!("SELECT t FROM reading WHERE device = {WRITER};")).await?;
        let number = |line: &str| Ok(((line.trim().parse::<i64>()? - END_MS) / 1_000).cast_unsigned());
        text.lines().map(number).collect()
    }

    async fn restart(&mut self) -> Result<()> {
        self.shell = None;
        if let Database::Postgres(server) = &mut self.database {
            server.stop();
            server.run()?;
        }
        self.open()
    }
}

/// A PostgreSQL server with the settings that it comes with.
pub(crate) fn postgres(programs: &Path) -> Result<Database> {
    Ok(Database::Postgres(Box::new(Server::start_with(programs, &[])?)))
}
