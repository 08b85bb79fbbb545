//! What is special about PostgreSQL, and the story that every store tells, each on a server of its own.

use super::server::{PASSWORD, Server, programs};
use super::*;
use crate::reading::{Appended, ExportFilter, NewBatch, NewReading, Timed};
use crate::store::chunked::Chunked;
use crate::store::chunked::shelf::{Marks, Shelf};
use crate::store::chunked::stories::{self, Shop};
use crate::store::{Store, conformance, open};
use crate::telemetry::time::DAY_MS;
use casement_proto::{DeviceId, Quantity, State};
use std::path::Path;
use std::sync::Arc;

/// 2023-11-14, so that the days are over and are put together.
const T0: i64 = 1_700_000_000_000;

/// A server, or `None` and said loudly.
fn server(test: &str) -> Option<Server> {
    let Some(programs) = programs().unwrap() else {
        let text = format!(
            "SKIPPED {test}: there is no PostgreSQL here; tests/tools/postgres says where it comes from\n"
        );
        eprint!("{text}");
        // Where tests/run looks for what was skipped.
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/artifacts/skipped");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{test}.txt")), text).unwrap();
        return None;
    };
    Some(Server::start(&programs).unwrap())
}

fn batch(device: &str, readings: impl Iterator<Item = (u64, i64)>) -> NewBatch {
    let reading = |(seq, t_ms)| NewReading {
        name: Some((1, seq)),
        t_ms,
        timed: Timed::Device,
        state: State::Ok,
        values: Box::new([(Quantity::parse("co2").unwrap(), 400.0 + (seq % 100) as f64)]),
    };
    NewBatch { device: DeviceId::parse(device).unwrap(), readings: readings.map(reading).collect() }
}

async fn at_rest(url: &str) -> Chunked {
    Chunked::open_at_rest(Box::new(Postgres::open(url).await.unwrap())).await.unwrap()
}

/// Every value that is there, in order.
async fn all(store: &dyn Store) -> Vec<(String, i64)> {
    let (rows, _) = store.export(&ExportFilter::default(), None, u32::MAX).await.unwrap();
    rows.iter().map(|row| (row.device.to_string(), row.t_ms)).collect()
}

fn counts(appended: &[Appended]) -> (usize, usize) {
    appended.iter().fold((0, 0), |(stored, duplicate), a| (stored + a.stored.len(), duplicate + a.duplicate))
}

#[tokio::test]
async fn postgres_tells_the_story() {
    let Some(server) = server("postgres_story") else { return };
    let url = server.create("story").unwrap();
    conformance::tell(async || open(&url, Path::new("nowhere")).await.unwrap()).await;
    let early = "SELECT count(*) FROM casement.column_other WHERE day >= 10957";
    assert_eq!(server.psql("story", early).unwrap(), "0", "only impossible times are outside of them");
    let storage = "SELECT string_agg(DISTINCT attstorage::text, '') FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
                   JOIN pg_namespace n ON n.oid = relnamespace
                   WHERE nspname = 'casement' AND attname = 'data' AND relkind IN ('r', 'p')";
    assert_eq!(server.psql("story", storage).unwrap(), "e", "nothing is compressed twice");
}

/// A database of a server.
struct Database<'a> {
    server: &'a Server,
    name: &'a str,
    url: String,
}

impl<'a> Database<'a> {
    fn new(server: &'a Server, name: &'a str) -> Self {
        Self { server, name, url: server.create(name).unwrap() }
    }
}

impl Shop for Database<'_> {
    async fn open(&self) -> Chunked {
        at_rest(&self.url).await
    }

    async fn spoil(&self, table: &str, device: i64, metric: i64, day: i64) {
        let done = self.server.psql(
            self.name,
            &format!(
                "WITH spoilt AS (
                   UPDATE casement.\"{table}\" t SET data = decode(repeat('00', length(t.data)), 'hex')
                   FROM casement.series s WHERE s.device = {device} AND s.metric = {metric}
                     AND t.device = s.device AND t.series = s.id AND t.day = {day} RETURNING 1)
                 SELECT count(*) FROM spoilt"
            ),
        );
        assert_eq!(done.unwrap(), "1");
    }

    async fn laid_aside(&self) -> i64 {
        self.server.psql(self.name, "SELECT count(*) FROM casement.damaged").unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn years_go_by_on_postgres_as_in_a_file() {
    let Some(server) = server("postgres_years") else { return };
    stories::a_damaged_column_loses_its_day_and_nothing_else(&Database::new(&server, "damage")).await;
    stories::a_damaged_summary_is_made_anew_from_its_values(&Database::new(&server, "anew")).await;
    stories::what_is_older_than_it_is_kept_stays_as_hours(&Database::new(&server, "retention")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_gateways_store_every_reading_once() {
    let Some(server) = server("postgres_two_gateways") else { return };
    let url = server.create("two").unwrap();
    // They also make the schema together.
    let (one, two) = tokio::join!(at_rest(&url), at_rest(&url));
    let (one, two) = (Arc::new(one), Arc::new(two));
    // Both are sent the same readings of the same devices at the same time, from both ends, and both seal meanwhile.
    let send = |store: Arc<Chunked>, upwards: bool| async move {
        let (mut stored, mut contended) = (0, 0);
        for round in 0..60u64 {
            let place = if upwards { round } else { 59 - round };
            let batches: Vec<NewBatch> = ["a", "b", "c"]
                .map(|device| {
                    batch(device, (place * 5..place * 5 + 10).map(|seq| (seq, T0 + seq as i64 * 1_000)))
                })
                .into();
            let appended = loop {
                match store.append(&batches).await {
                    Ok(appended) => break appended,
                    // The other one was faster ten times: a device would send it again.
                    Err(StoreError::Contended) => contended += 1,
                    Err(error) => panic!("{error:?}"),
                }
            };
            assert_eq!(counts(&appended).0 + counts(&appended).1, 30);
            stored += counts(&appended).0;
            // As the writer of the gateway does, which lets others have their turn.
            tokio::time::sleep(Duration::from_millis(10)).await;
            if round % 10 == 9 {
                store.compact().await.unwrap();
            }
        }
        (stored, contended)
    };
    let (a, b) =
        tokio::join!(tokio::spawn(send(Arc::clone(&one), true)), tokio::spawn(send(Arc::clone(&two), false)));
    let (a, b) = (a.unwrap(), b.unwrap());
    eprintln!("stored by one and two, and how often one was too slow ten times: {a:?} {b:?}");
    assert_eq!(a.0 + b.0, 3 * 305, "{a:?} {b:?}");
    assert!(a.0 > 0 && b.0 > 0, "they were at it together");
    let expected: Vec<(String, i64)> = ["a", "b", "c"]
        .into_iter()
        .flat_map(|device| (0..305).map(move |seq| (device.to_owned(), T0 + seq * 1_000)))
        .collect();
    for store in [&*one, &*two] {
        let mut found = all(store).await;
        found.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(store.newest().await.unwrap(), 915, "numbers have no holes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_commits_that_believe_the_same_one_wins() {
    let Some(server) = server("postgres_commit") else { return };
    let url = server.create("commits").unwrap();
    let shelf = Arc::new(Postgres::open(&url).await.unwrap());
    for round in 0..50 {
        let marks = shelf.marks().await.unwrap();
        assert_eq!(marks, Marks { newest: round, seals: 0 });
        let commit = |mine: u8| {
            let shelf = Arc::clone(&shelf);
            tokio::spawn(async move { shelf.commit(marks, marks.newest + 1, vec![mine]).await.unwrap() })
        };
        let (a, b) = tokio::join!(commit(1), commit(2));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!(a != b, "{a} {b}");
        let row = shelf.log(round, 10).await.unwrap();
        assert_eq!(row.iter().map(|row| row.data.clone()).collect::<Vec<_>>(), [vec![if a { 1 } else { 2 }]]);
    }
}

#[tokio::test]
async fn what_one_seals_the_other_sees() {
    let Some(server) = server("postgres_seals") else { return };
    let url = server.create("seals").unwrap();
    let (one, two) = (at_rest(&url).await, at_rest(&url).await);
    let readings =
        |from: u64, to: u64| batch("d", (from..to).map(|seq| (seq, T0 + seq as i64 * DAY_MS / 10)));
    assert_eq!(counts(&one.append(&[readings(0, 1_000)]).await.unwrap()), (1_000, 0));
    // The other one knows them before and after, and neither stores them again.
    assert_eq!(counts(&two.append(&[readings(990, 1_010)]).await.unwrap()), (10, 10));
    one.compact().await.unwrap();
    assert_eq!(all(&two).await.len(), 1_010);
    assert_eq!(counts(&two.append(&[readings(0, 1_020)]).await.unwrap()), (10, 1_010));
    two.compact().await.unwrap();
    assert_eq!(all(&one).await.len(), 1_020);
    assert_eq!(all(&one).await, all(&two).await);
    assert_eq!(counts(&one.append(&[readings(0, 1_020)]).await.unwrap()), (0, 1_020));
    let pieces = server.psql("seals", "SELECT count(*) FROM casement.piece").unwrap();
    assert_eq!(pieces, "0", "every day is put together, in a hundred days and four months");
    let months = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'casement.summary'::regclass";
    assert_eq!(server.psql("seals", months).unwrap(), "5");
}

#[tokio::test]
async fn a_month_that_cannot_have_a_partition_is_kept_all_the_same() {
    let Some(server) = server("postgres_default_partition") else { return };
    let url = server.create("months").unwrap();
    let store = at_rest(&url).await;
    // Something of that month is in the default partition, so none can be made beside it.
    let day = T0 / DAY_MS;
    let taken = format!("INSERT INTO casement.\"column\" VALUES (77, 77, {day}, 'x')");
    server.psql("months", &taken).unwrap();
    store.append(&[batch("d", (0..10).map(|seq| (seq, T0 + seq as i64)))]).await.unwrap();
    store.compact().await.unwrap();
    assert_eq!(all(&store).await.len(), 10);
    let sealed = "SELECT count(*) FROM casement.summary_other WHERE device <> 77";
    assert_eq!(server.psql("months", sealed).unwrap(), "2", "times and values");
}

#[tokio::test]
async fn an_acknowledgement_is_on_disk_whatever_the_server_prefers() {
    let Some(server) = server("postgres_synchronous_commit") else { return };
    let url = server.create("lazy").unwrap();
    server.psql("postgres", "ALTER DATABASE lazy SET synchronous_commit = off").unwrap();
    server
        .psql("postgres", "ALTER DATABASE lazy SET default_transaction_isolation = 'serializable'")
        .unwrap();
    let shelf = Postgres::open(&url).await.unwrap();
    for pool in [&shelf.writers, &shelf.readers] {
        let (commit, isolation, timeout): (String, String, String) = sqlx::query_as(
            "SELECT current_setting('synchronous_commit'), current_setting('transaction_isolation'),
                    current_setting('statement_timeout')",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        assert_eq!((&*commit, &*isolation, &*timeout), ("on", "read committed", "30s"));
    }
    server.psql("postgres", "ALTER DATABASE lazy SET synchronous_commit = remote_apply").unwrap();
    let shelf = Postgres::open(&url).await.unwrap();
    let more: String = sqlx::query_scalar("SELECT current_setting('synchronous_commit')")
        .fetch_one(&shelf.writers)
        .await
        .unwrap();
    assert_eq!(more, "remote_apply", "who wants more gets more");
}

#[tokio::test]
async fn a_database_that_goes_away_is_found_again() {
    let Some(mut server) = server("postgres_restart") else { return };
    let url = server.create("again").unwrap();
    let store = at_rest(&url).await;
    let one = |seq: u64| [batch("d", std::iter::once((seq, T0 + seq as i64)))];
    assert_eq!(counts(&store.append(&one(1)).await.unwrap()), (1, 0));
    server.stop();
    let gone = store.append(&one(2)).await;
    assert!(matches!(gone, Err(StoreError::Busy(_))), "{gone:?}");
    assert!(matches!(store.ping().await, Err(StoreError::Busy(_))));
    assert!(matches!(Postgres::open(&url).await, Err(StoreError::Unreachable(_))));
    server.run().unwrap();
    // One connection told that it broke; what else broke with it is found before it is used.
    assert_eq!(counts(&store.append(&one(2)).await.unwrap()), (1, 0));
    assert_eq!(all(&store).await.len(), 2);
}

#[tokio::test]
async fn errors_say_what_can_be_done_and_never_the_password() {
    let Some(server) = server("postgres_errors") else { return };
    let url = server.create("errors").unwrap();
    let shelf = Postgres::open(&url).await.unwrap();
    let told = |error: StoreError| format!("{error:?} ") + &format!("{:#}", anyhow::Error::new(error));
    let wrong = [
        url.replace("s3cret", "wrong-s3cret"),
        server.url("missing"),
        url.replace("casement-pg-", "casement-pg-not-"),
        format!("{url}?sslmode=s3cret"),
        url.replace("%2Fof", "/of"),
        url.replace("%40", "@").replace("%23", "#"),
    ];
    for url in &wrong {
        let Err(error) = open(url, Path::new("nowhere")).await else { panic!("{url} was opened") };
        let text = told(error);
        for secret in [PASSWORD, "s3cret%2F", "s3cret/", "wrong-s3cret", "the%40test", "the@test"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    for (code, expected) in [
        ("53100", "DiskFull"),
        ("40P01", "Busy"),
        ("55P03", "Busy"),
        ("57P03", "Busy"),
        ("08006", "Busy"),
        ("25006", "Busy"),
        ("42P01", "Engine"),
    ] {
        let raise = format!("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$");
        let error =
            sqlx::raw_sql(sqlx::AssertSqlSafe(raise)).execute(&shelf.writers).await.map(drop).unwrap_err();
        assert!(format!("{:?}", engine(error)).starts_with(expected), "{code}");
    }
}

#[tokio::test]
async fn a_schema_from_the_future_is_refused() {
    let Some(server) = server("postgres_future") else { return };
    let url = server.create("future").unwrap();
    assert!(!is_there(&url).await);
    assert_eq!(server.psql("future", "SELECT to_regnamespace('casement') IS NULL").unwrap(), "t");
    Postgres::open(&url).await.unwrap().close().await;
    assert!(is_there(&url).await);
    server.psql("future", "UPDATE casement.version SET version = 99").unwrap();
    assert!(matches!(Postgres::open(&url).await, Err(StoreError::SchemaTooNew { found: 99, .. })));
}
