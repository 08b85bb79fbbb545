//! The way back to an older version of the program: before opening a store changes its layout, a backup of it as it is
//! lies beside it, looked through from the first to the last byte.
//!
//! It stays [`KEPT_MS`] long; the first start after that takes it away.

use super::header::{self, Header};
use super::{Job, Scope, Source, Target, Trouble, check, make};
use crate::config::Config;
use crate::disk::folder_of;
use crate::store::{Place, StoreError};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How long a backup is kept that was made before a change of layout: a month to find out that one wants to go back.
const KEPT_MS: i64 = 30 * 24 * 3_600_000;

/// What the name of such a backup has between the store's name and the number of the layout that came after it.
const INFIX: &str = ".before-layout-";

/// A backup that leads back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayBack {
    /// Where it is.
    pub file: PathBuf,
    /// The layout that is in it.
    pub from: u64,
    /// The layout that the store is about to have.
    pub to: u64,
    /// Whether it was made just now. Otherwise a start that was cut off in the middle of the change has made it.
    pub made: bool,
}

/// To be called before the store is opened: makes a backup when opening will change the layout, and takes away those that
/// are over. `None` when nothing will change: there is no store yet, it is up to date, or it is a database with tools of
/// its own.
///
/// # Errors
/// [`Trouble`] when the backup cannot be made or is not good. The store is as it was, and must not be opened.
pub async fn before_a_change(
    config: &Config,
    now_ms: i64,
    job: &Arc<Job>,
) -> Result<Option<WayBack>, Trouble> {
    let place = match Place::named(&config.store_url, &config.data_dir) {
        Ok(place) => place,
        Err(StoreError::NotAFile) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    forget_old_ones(&place.file, now_ms);
    if fs::metadata(&place.file).map_or(true, |meta| meta.len() == 0) {
        return Ok(None);
    }
    let (from, to) = match place.layout().await {
        Ok(layout) => layout,
        // What opening makes of it is for opening to say: an empty database becomes a store, anything else is refused.
        Err(_) => return Ok(None),
    };
    if from >= to {
        return Ok(None);
    }
    let file = named(&place.file, to);
    if let Some(header) = header_of(&file)
        && header.schema < from
    {
        // The change was cut off in its middle; what lies here is from before it began.
        return Ok(Some(WayBack { file, from: header.schema, to, made: false }));
    }
    make(config, Target::File { path: file.clone(), replace: true }, Scope::Store, now_ms, job).await?;
    if let Err(error) = check(config, Source::File(file.clone()), job).await {
        let _gone = fs::remove_file(&file);
        return Err(error);
    }
    Ok(Some(WayBack { file, from, to, made: true }))
}

/// `casement.db.before-layout-3`
fn named(store: &Path, to: u64) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(format!("{INFIX}{to}"));
    PathBuf::from(name)
}

fn header_of(file: &Path) -> Option<Header> {
    let mut head = Vec::with_capacity(header::LENGTH);
    File::open(file).ok()?.take(header::LENGTH as u64).read_to_end(&mut head).ok()?;
    Header::decode(&head).ok()
}

fn forget_old_ones(store: &Path, now_ms: i64) {
    let Some(name) = store.file_name().and_then(|name| name.to_str()) else { return };
    let beginning = format!("{name}{INFIX}");
    let entries = fs::read_dir(folder_of(store)).into_iter().flatten().filter_map(Result::ok);
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&beginning)) {
        let over = header_of(&entry.path()).is_some_and(|header| header.created_ms + KEPT_MS < now_ms);
        if over {
            match fs::remove_file(entry.path()) {
                Ok(()) => {
                    tracing::info!(file = %entry.path().display(), "a backup from before a change of layout was removed: it is older than 30 days")
                }
                Err(error) => {
                    tracing::warn!(file = %entry.path().display(), %error, "an old backup could not be removed")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::store;
    use sqlx::{ConnectOptions, Connection, Executor};

    const T0: i64 = 1_795_341_600_000;

    fn config(folder: &Path) -> Config {
        let text = format!("data_dir = {folder:?}");
        config::parse(None, &text, &[]).unwrap().0
    }

    async fn of_the_first_layout(file: &Path) {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let mut old = options.connect().await.unwrap();
        let rows = format!(
            "{}; INSERT INTO device (id, uid, room, created_ms) VALUES (1, 'attic', 'Attic', 5);
             INSERT INTO metric (id, name) VALUES (1, 'co2'); INSERT INTO series VALUES (1, 1);
             INSERT INTO reading VALUES (1, 1, {T0}, 7, 1, 0); INSERT INTO value VALUES (1, 1, {T0}, 1, 612, 0);
             PRAGMA user_version = 1",
            include_str!("../../migrations/sqlite/0001_rows.sql")
        );
        old.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(rows))).await.unwrap();
        old.close().await.unwrap();
    }

    async fn ask(config: &Config, now_ms: i64) -> Option<WayBack> {
        before_a_change(config, now_ms, &Job::new(|_, _, _| {})).await.unwrap()
    }

    #[tokio::test]
    async fn a_store_that_will_change_is_kept_as_it_is_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let store_file = folder.path().join("casement.db");
        assert_eq!(ask(&config, T0).await, None, "there is no store yet");
        of_the_first_layout(&store_file).await;
        let way = ask(&config, T0).await.unwrap();
        let known = way.to;
        assert_eq!(way, WayBack { file: named(&store_file, known), from: 1, to: known, made: true });

        store::open(&config.store_url, &config.data_dir).await.unwrap().close().await;
        let place = Place::named(&config.store_url, &config.data_dir).unwrap();
        assert_eq!(place.layout().await.unwrap(), (known, known));
        assert_eq!(ask(&config, T0 + KEPT_MS).await, None, "it is up to date");
        assert!(way.file.exists());

        // What an older program would be given.
        let checked = check(&config, Source::File(way.file.clone()), &Job::new(|_, _, _| {})).await.unwrap();
        assert_eq!((checked.contents.schema, checked.contents.readings, checked.contents.values), (1, 1, 1));

        assert_eq!(ask(&config, T0 + KEPT_MS + 1).await, None);
        assert!(!way.file.exists(), "it is over");
    }

    #[tokio::test]
    async fn a_change_that_was_cut_off_keeps_what_was_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let store_file = folder.path().join("casement.db");
        of_the_first_layout(&store_file).await;
        let way = ask(&config, T0).await.unwrap();
        let before = fs::read(&way.file).unwrap();
        let mut half =
            sqlx::sqlite::SqliteConnectOptions::new().filename(&store_file).connect().await.unwrap();
        let second = include_str!("../../migrations/sqlite/0002_chunks.sql");
        half.execute(sqlx::raw_sql(second)).await.unwrap();
        half.execute(sqlx::raw_sql("PRAGMA user_version = 2")).await.unwrap();
        half.close().await.unwrap();
        assert_eq!(ask(&config, T0 + 1).await, Some(WayBack { made: false, ..way.clone() }));
        assert_eq!(fs::read(&way.file).unwrap(), before);
        // One that was cut off while it was written is made anew; it cannot be told from nothing.
        fs::write(&way.file, &before[..50]).unwrap();
        assert!(ask(&config, T0 + 2).await.is_some_and(|again| again.made && again.from == 2));
    }

    #[tokio::test]
    async fn what_is_no_store_is_left_to_opening() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        fs::write(folder.path().join("casement.db"), "a text").unwrap();
        assert_eq!(ask(&config, T0).await, None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
