//! Casement's store beside others, with the same data on the same machine in one run. It asserts nothing but that all of
//! them give the same answers.
//!
//! ```text
//! cargo build --release -p casement
//! cargo bench -p casement-tests --bench stores                        # everything: 22.6 million values, some twenty minutes
//! cargo bench -p casement-tests --bench stores -- --points 400000     # a quick look
//! cargo bench -p casement-tests --bench stores -- casement victoriametrics --rounds 3 --json
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `data` | the readings, and what is true of them |
//! | `store` | what a store must be able to do, and how it is measured |
//! | `casement` | the gateway: `casement import`, then HTTPS |
//! | `victoria` `influx` | servers that take line protocol over HTTP |
//! | `sql` | rows in PostgreSQL, SQLite and DuckDB |
//! | `http` `shell` `process` | how they are talked to, and what they need |
//! | `report` | the table |
//!
//! `tests/tools/stores` and `tests/tools/postgres` fetch the programs. They run one after the other, each in a folder for
//! temporary files (`$TMPDIR`) that is gone afterwards.
#![allow(clippy::disallowed_methods, reason = "a driver at the edge: it times programs from outside")]
#![allow(clippy::print_stdout, reason = "its result is a table")]

mod casement;
mod data;
mod http;
mod influx;
mod process;
mod report;
mod shell;
mod sql;
mod store;
mod victoria;

use anyhow::{Context, Result, bail, ensure};
use data::Data;
use harness::report::artifacts;
use serde_json::{Value, json};
use sql::{Database, Sql};
use std::path::PathBuf;
use std::process::Command;
use store::Figures;

/// A device over a year, one over a day, and a thousand for seven hours.
const POINTS: u64 = 22_614_400;

const ROUNDS: u64 = 10;

const STORES: [&str; 6] = ["casement", "victoriametrics", "influxdb", "postgresql", "sqlite", "duckdb"];

struct Asked {
    stores: Vec<&'static str>,
    points: u64,
    rounds: u64,
    json: bool,
}

fn main() -> Result<()> {
    let asked = asked(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(compare(&asked))
}

fn asked(mut arguments: impl Iterator<Item = String>) -> Result<Asked> {
    let mut asked = Asked { stores: Vec::new(), points: POINTS, rounds: ROUNDS, json: false };
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64> { Ok(arguments.next().context("a number is missing")?.parse()?) };
        match argument.as_str() {
            "--points" => asked.points = number()?,
            "--rounds" => asked.rounds = number()?,
            "--json" => asked.json = true,
            // What cargo says to every bench.
            "--bench" => {}
            name => match STORES.iter().find(|known| **known == name) {
                Some(known) => asked.stores.push(known),
                None => bail!("{name:?} is none of {STORES:?}, --points N, --rounds N, --json"),
            },
        }
    }
    if asked.stores.is_empty() {
        asked.stores = STORES.to_vec();
    }
    Ok(asked)
}

async fn compare(asked: &Asked) -> Result<()> {
    let begun_load = process::load_average();
    let tools = tool("stores")?;
    let postgres = asked.stores.contains(&"postgresql").then(|| tool("postgres")).transpose()?;
    eprintln!("generating {} values", asked.points);
    let data = Data::generate(&harness::gateway::binary()?, asked.points)?;
    let mut all: Vec<(String, Figures)> = Vec::new();
    let mut failed = Vec::new();
    for name in &asked.stores {
        eprintln!("{name}");
        let rounds = asked.rounds;
        let (sqlite, duckdb) = (PathBuf::from("/usr/bin/sqlite3"), tools.join("usr/bin/duckdb"));
        let missing = match *name {
            "sqlite" => Some(&sqlite),
            "duckdb" => Some(&duckdb),
            _ => None,
        };
        if let Some(program) = missing.filter(|program| !program.exists()) {
            eprintln!("SKIPPED {name}: there is no {}", program.display());
            continue;
        }
        let measured = match *name {
            "casement" => store::measure(casement::Casement::make, &data, rounds).await,
            "victoriametrics" => {
                store::measure(async || victoria::Victoria::make(&tools).await, &data, rounds).await
            }
            "influxdb" => store::measure(async || influx::Influx::make(&tools).await, &data, rounds).await,
            "postgresql" => {
                let programs = postgres.as_deref().context("no PostgreSQL")?;
                store::measure(async || Sql::make(sql::postgres(programs)?).await, &data, rounds).await
            }
            "sqlite" => {
                let make = async || Sql::make(Database::Sqlite(sqlite.clone())).await;
                store::measure(make, &data, rounds).await
            }
            _ => {
                let make = async || Sql::make(Database::DuckDb(duckdb.clone())).await;
                store::measure(make, &data, rounds).await
            }
        };
        match measured {
            Ok(figures) => all.push(((*name).to_owned(), figures)),
            Err(error) => {
                eprintln!("FAILED {name}: {error:?}");
                failed.push(*name);
            }
        }
    }
    let in_process = match asked.stores.contains(&"casement") {
        true => Some(casement::in_process(asked.points)?),
        false => None,
    };
    let machine = machine(asked, &data, begun_load);
    let report = report::json(&all, in_process.as_ref(), &machine);
    let file = artifacts().join("stores.json");
    std::fs::create_dir_all(artifacts())?;
    std::fs::write(&file, format!("{report:#}\n"))?;
    if asked.json {
        println!("{report:#}");
    } else {
        println!("{machine:#}\n\n{}", report::table(&all, in_process.as_ref()));
    }
    eprintln!("kept as {}", file.display());
    ensure!(failed.is_empty(), "not measured: {failed:?}");
    let differ: Vec<_> =
        all.iter().filter(|(_, it)| !it.differs.is_empty()).map(|(name, it)| (name, &it.differs)).collect();
    ensure!(differ.is_empty(), "answers differ: {differ:?}");
    Ok(())
}

/// The folder that one of the scripts in `tests/tools` prints.
fn tool(name: &str) -> Result<PathBuf> {
    let script = format!("{}/tools/{name}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(&script).output().context(script)?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

fn machine(asked: &Asked, data: &Data, begun_load: f64) -> Value {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let after = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
    };
    json!({
        "cpu": after(&read("/proc/cpuinfo"), "model name"),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "memory": after(&read("/proc/meminfo"), "MemTotal"),
        "date": harness::wait::rfc3339(harness::wait::unix_ms()),
        "load_average_begin": begun_load,
        "load_average_end": process::load_average(),
        "values": data.truth.values,
        "year_co2": data.truth.year,
        "p95": data.truth.p95,
        "above_1000_ppm": data.truth.above,
        "devices": data.truth.devices,
        "kill_rounds": asked.rounds,
    })
}
