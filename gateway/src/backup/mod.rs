//! The store as one file that can be carried away, and back.
//!
//! A backup is a [`header`] and a copy of the database. It is made beside a running gateway; putting it back is for when
//! none runs. Whatever happens on the way, at the end there is the old file or the new one, and never half of one.

pub mod header;
pub mod keys;
pub mod routine;
mod trouble;
mod way_back;

pub use trouble::Trouble;
pub use way_back::{WayBack, before_a_change};

use crate::config::Config;
use crate::disk::{self, Lock, LockError, Scratch, folder_of};
use crate::store::{Breath, Contents, Place, StoreError};
use crate::telemetry::time;
use aws_lc_rs::digest::{Context, SHA256};
use header::Header;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes that are read, summed up and written at once.
const CHUNK_BYTES: usize = 1024 * 1024;

/// How often is told how far the copy is.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The engine copies the store.
    Copy,
    /// The copy is summed up and written into the backup.
    Write,
    /// A backup is read and summed up.
    Read,
    /// Its pages, indexes and references are looked at.
    Check,
}

/// Where a backup goes.
pub enum Target {
    /// A file; one that is there is an error unless it is to be replaced.
    File {
        /// Its name.
        path: PathBuf,
        /// Whether one that is there may go.
        replace: bool,
    },
    /// Anything that takes bytes.
    Stream(Box<dyn Write + Send>),
}

/// Where a backup comes from.
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Anything that gives bytes.
    Stream(Box<dyn Read + Send>),
}

/// What goes into a backup.
#[derive(Clone, Debug, Default)]
pub enum Scope {
    /// The store.
    #[default]
    Store,
    /// The store and what makes this host, private keys and all.
    Host {
        /// The file with the configuration, if there is one.
        configuration: Option<PathBuf>,
    },
}

/// A backup that was made.
#[derive(Debug)]
pub struct Made {
    /// What it says of itself.
    pub header: Header,
    /// Its length, in bytes.
    pub bytes: u64,
    /// Its SHA-256, as `sha256sum` says it.
    pub sha256: String,
}

/// A backup that is good.
#[derive(Debug)]
pub struct Checked {
    /// What it says of itself.
    pub header: Header,
    /// What is in it.
    pub contents: Contents,
}

/// A backup that was put in place.
#[derive(Debug)]
pub struct Restored {
    /// What the backup says of itself.
    pub header: Header,
    /// What is there.
    pub contents: Contents,
    /// The store's file.
    pub file: PathBuf,
    /// Where the store that was there before is.
    pub kept: Option<PathBuf>,
    /// Where certificates, accounts and firmware that were there before are.
    pub kept_keys: Vec<PathBuf>,
}

type Tell = Box<dyn Fn(Step, u64, u64) + Send + Sync>;

/// Who is told how far it is, and what has to go when it is given up.
pub struct Job {
    tell: Tell,
    scratch: Mutex<Vec<PathBuf>>,
    /// Rests between pieces, for a job that is in nobody's way.
    breath: Option<Breath>,
}

/// A job that is in nobody's way has the disk write as often, in bytes, so that others never wait for much of it.
const WRITE_OUT_BYTES: u64 = 4 * CHUNK_BYTES as u64;

impl Job {
    /// A job that tells `step`, `done` and `of`, in bytes.
    pub fn new(tell: impl Fn(Step, u64, u64) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { tell: Box::new(tell), scratch: Mutex::new(Vec::new()), breath: None })
    }

    /// A job that rests between its pieces, and ends when its breath says so.
    fn unhurried(breath: Breath) -> Arc<Self> {
        let tell: Tell = Box::new(routine::unheard);
        Arc::new(Self { tell, scratch: Mutex::new(Vec::new()), breath: Some(breath) })
    }

    /// Tells how far it is, after a piece that was written to `file`.
    fn piece(&self, step: Step, done: u64, of: u64, file: Option<&File>) -> io::Result<()> {
        (self.tell)(step, done, of);
        let Some(breath) = &self.breath else { return Ok(()) };
        if let Some(file) = file.filter(|_| done.is_multiple_of(WRITE_OUT_BYTES)) {
            file.sync_data()?;
        }
        if breath() { Ok(()) } else { Err(io::Error::other("the gateway stops")) }
    }

    /// Takes away what is there for the time being. For a process that ends at once.
    pub fn abandon(&self) {
        let scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        for file in scratch.iter().flat_map(|file| Place::with_companions(file)) {
            let _not_there = fs::remove_file(file);
        }
    }

    fn scratch(&self, path: PathBuf) -> Result<Scratch, Trouble> {
        let scratch = Scratch::create(&path).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => Trouble::Under(path.clone()),
            _ => Trouble::Unwritable { path: path.clone(), error },
        })?;
        // What the engine had beside it when it was killed would be taken for a part of the new one.
        for companion in Place::with_companions(&path).iter().skip(1) {
            let _not_there = fs::remove_file(companion);
        }
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).push(path);
        Ok(scratch)
    }

    /// Somewhere that takes so many bytes for a while: `$TMPDIR`, the data folder, `/var/tmp`.
    fn somewhere(&self, config: &Config, bytes: u64) -> Result<Scratch, Trouble> {
        let named = std::env::var_os("TMPDIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let name = format!(".casement-{}.copy", disk::user());
        let mut first = None;
        for dir in named.into_iter().chain([config.data_dir.clone(), PathBuf::from("/var/tmp")]) {
            if !dir.is_dir() {
                continue;
            }
            match room_for(&dir, bytes).and_then(|()| self.scratch(dir.join(&name))) {
                Ok(scratch) => return Ok(scratch),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| Trouble::NotAFile(PathBuf::from("/var/tmp"))))
    }
}

fn room_for(folder: &Path, needed: u64) -> Result<(), Trouble> {
    let room = disk::room(folder).map_err(|error| Trouble::Unwritable { path: folder.to_owned(), error })?;
    if room < needed {
        return Err(Trouble::NoRoom { folder: folder.to_owned(), needed, room });
    }
    Ok(())
}

// ------------------------------------------------------------------------------------------------------------- making

/// Makes a backup of the store, whether a gateway runs or not.
///
/// # Errors
/// [`Trouble`]; then a file that was there is as it was, and none is there that was not.
pub async fn make(
    config: &Config,
    target: Target,
    scope: Scope,
    now_ms: i64,
    job: &Arc<Job>,
) -> Result<Made, Trouble> {
    let place = Place::named(&config.store_url, &config.data_dir)?;
    if !place.file.exists() {
        return Err(Trouble::NoStore(folder_of(&place.file).to_owned()));
    }
    if let Target::File { path, replace } = &target {
        may_be_written(config, &place, path, *replace)?;
    }
    let size = place.size().await?;
    let (copy, sink) = match target {
        Target::File { path, replace } => {
            // The copy and the backup, until the copy is removed.
            room_for(folder_of(&path), size.saturating_mul(2).saturating_add(header::LENGTH as u64))?;
            let new = job.scratch(hidden(&path, "new"))?;
            (job.scratch(hidden(&path, "copy"))?, Sink::File { new, path, replace })
        }
        Target::Stream(stream) => (job.somewhere(config, size)?, Sink::Stream(stream)),
    };
    copied(&place, &copy, size, job).await?;
    let contents = Place::examine(copy.path(), false, job.breath.clone()).await?;
    let (job, config) = (Arc::clone(job), config.clone());
    blocking(move || {
        let keys = match scope {
            Scope::Store => None,
            Scope::Host { configuration } => {
                let found = keys::collect(&config, configuration.as_deref());
                Some(found.map_err(Trouble::Keys)?)
            }
        };
        seal(&copy, &contents, keys.as_deref(), sink, now_ms, &job)
    })
    .await
}

async fn copied(place: &Place, copy: &Scratch, size: u64, job: &Job) -> Result<(), Trouble> {
    let mut tick = tokio::time::interval(TELL_EVERY);
    let mut copying = std::pin::pin!(place.copy(copy.path(), job.breath.clone()));
    loop {
        tokio::select! {
            done = &mut copying => return Ok(done?),
            _ = tick.tick() => {
                (job.tell)(Step::Copy, copy.file().metadata().map_or(0, |meta| meta.len()), size);
                if job.breath.is_some() {
                    // This runs on a thread of its own then, and what the engine writes must not pile up.
                    let _told_in_the_end = copy.file().sync_data();
                }
            }
        }
    }
}

/// Refuses what a backup must not take the place of.
fn may_be_written(config: &Config, place: &Place, path: &Path, replace: bool) -> Result<(), Trouble> {
    if path.file_name().is_none() || !folder_of(path).is_dir() {
        return Err(Trouble::NotAFile(path.to_owned()));
    }
    let own = Place::with_companions(&place.file).into_iter().chain([config.lock_file()]);
    if own.into_iter().any(|own| same(&own, path)) {
        return Err(Trouble::Own(path.to_owned()));
    }
    match fs::metadata(path) {
        Ok(meta) if !meta.is_file() => Err(Trouble::NotAFile(path.to_owned())),
        Ok(_) if !replace => Err(Trouble::Exists(path.to_owned())),
        _ => Ok(()),
    }
}

/// Whether two names lead to the same file, or would if there was one.
fn same(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |path: &Path| Some((fs::canonicalize(folder_of(path)).ok()?, path.file_name()?.to_owned()));
    let number = |path: &Path| fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    place(one).is_some_and(|at| place(other) == Some(at))
        || number(one).is_some_and(|at| number(other) == Some(at))
}

/// A name beside `path` that nobody else uses.
fn hidden(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsStr::new(".").to_owned();
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".casement-{ending}"));
    path.with_file_name(name)
}

enum Sink {
    File { new: Scratch, path: PathBuf, replace: bool },
    Stream(Box<dyn Write + Send>),
}

impl Sink {
    fn failed(&self) -> impl Fn(io::Error) -> Trouble + use<> {
        let path = match self {
            Self::File { path, .. } => path.clone(),
            Self::Stream(_) => PathBuf::from("the output"),
        };
        move |error| match error.kind() {
            io::ErrorKind::AlreadyExists => Trouble::Exists(path.clone()),
            _ => Trouble::Unwritable { path: path.clone(), error },
        }
    }
}

impl Sink {
    fn file(&self) -> Option<&File> {
        match self {
            Self::File { new, .. } => Some(new.file()),
            Self::Stream(_) => None,
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File { new, .. } => new.file().write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File { .. } => Ok(()),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

/// Puts header and copy together. The copy is read twice, so that the sum stands before what it is of, also in a stream.
fn seal(
    copy: &Scratch,
    contents: &Contents,
    keys: Option<&[keys::Entry]>,
    mut sink: Sink,
    now_ms: i64,
    job: &Job,
) -> Result<Made, Trouble> {
    let own = |error| Trouble::Unwritable { path: copy.path().to_owned(), error };
    let failed = sink.failed();
    let length = copy.file().metadata().map_err(own)?.len();
    let whole_way = length.saturating_mul(2);
    let mut sum = Context::new(&SHA256);
    let mut file = copy.file();
    file.seek(SeekFrom::Start(0)).map_err(own)?;
    let bytes = chunks(file, u64::MAX, own, |chunk, done| {
        sum.update(chunk);
        job.piece(Step::Write, done, whole_way, None).map_err(own)
    })?;
    let header = Header {
        created_ms: now_ms,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema: contents.schema,
        devices: contents.devices,
        readings: contents.readings,
        values: contents.values,
        bytes,
        sha256: sha256(sum),
        keys: keys.is_some(),
    };
    let head = header.encode();
    let mut whole = Context::new(&SHA256);
    whole.update(&head);
    sink.write_all(&head).map_err(&failed)?;
    file.seek(SeekFrom::Start(0)).map_err(own)?;
    let written = chunks(file, bytes, own, |chunk, done| {
        whole.update(chunk);
        sink.write_all(chunk).map_err(&failed)?;
        job.piece(Step::Write, bytes.saturating_add(done), whole_way, sink.file()).map_err(&failed)
    })?;
    let mut behind: u64 = 0;
    if let Some(entries) = keys {
        let put = |bytes: &[u8]| {
            whole.update(bytes);
            behind = behind.saturating_add(bytes.len() as u64);
            sink.write_all(bytes).map_err(&failed)
        };
        keys::write(entries, put, |path, error| {
            Trouble::Keys(io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        })?;
    }
    sink.flush().map_err(&failed)?;
    if let Sink::File { new, path, replace } = sink {
        new.publish(&path, replace).map_err(&failed)?;
    }
    let sum = sha256(whole);
    Ok(Made {
        header,
        bytes: written.saturating_add(header::LENGTH as u64).saturating_add(behind),
        sha256: sum.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// Hands on up to `limit` bytes, piece by piece, with how many there were so far; gives how many there were.
fn chunks(
    mut from: impl Read,
    limit: u64,
    unreadable: impl Fn(io::Error) -> Trouble,
    mut take: impl FnMut(&[u8], u64) -> Result<(), Trouble>,
) -> Result<u64, Trouble> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut done = 0;
    while done < limit {
        let wanted = usize::try_from(limit - done).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let count = match from.read(buffer.get_mut(..wanted).unwrap_or_default()) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(unreadable(error)),
        };
        done += count as u64;
        take(buffer.get(..count).unwrap_or_default(), done)?;
    }
    Ok(done)
}

fn sha256(sum: Context) -> [u8; 32] {
    sum.finish().as_ref().try_into().unwrap_or_default()
}

// ------------------------------------------------------------------------------------------------------ reading it back

/// A backup whose header is good.
struct Incoming {
    header: Header,
    rest: Box<dyn Read + Send>,
}

impl Incoming {
    fn open(source: Source) -> Result<Self, Trouble> {
        let mut length = None;
        let mut rest: Box<dyn Read + Send> = match source {
            Source::File(path) => {
                let file = File::open(&path).map_err(Trouble::Unreadable)?;
                let meta = file.metadata().map_err(Trouble::Unreadable)?;
                if meta.is_dir() {
                    return Err(Trouble::NotAFile(path));
                }
                length = meta.is_file().then_some(meta.len());
                Box::new(file)
            }
            Source::Stream(stream) => stream,
        };
        let mut head = Vec::with_capacity(header::LENGTH);
        chunks(&mut rest, header::LENGTH as u64, Trouble::Unreadable, |chunk, _| {
            head.extend_from_slice(chunk);
            Ok(())
        })?;
        let header = Header::decode(&head)?;
        let expected = header.bytes.saturating_add(header::LENGTH as u64);
        match length {
            Some(found) if found < expected => Err(Trouble::CutOff { expected, found }),
            Some(found) if found > expected && !header.keys => Err(Trouble::Longer(expected)),
            _ => Ok(Self { header, rest }),
        }
    }

    /// Writes the payload into a file of its own, when its length and its sum are right.
    /// With a folder, what makes a host is unpacked there; it is looked at in any case.
    fn unpack(mut self, into: Scratch, host: Option<&Path>, job: &Job) -> Result<Unpacked, Trouble> {
        let failed = |error| Trouble::Unwritable { path: into.path().to_owned(), error };
        let expected = self.header.bytes;
        let mut sum = Context::new(&SHA256);
        let found = chunks(&mut self.rest, expected, Trouble::Unreadable, |chunk, done| {
            sum.update(chunk);
            into.file().write_all(chunk).map_err(failed)?;
            job.piece(Step::Read, done, expected, Some(into.file())).map_err(failed)
        })?;
        let whole = expected.saturating_add(header::LENGTH as u64);
        if found < expected {
            return Err(Trouble::CutOff { expected: whole, found: found + header::LENGTH as u64 });
        }
        if sha256(sum) != self.header.sha256 {
            return Err(Trouble::Changed);
        }
        if self.header.keys {
            let take = |name: &str, bytes: &[u8]| match host {
                None => Ok(()),
                Some(folder) => keys::put(folder, name, bytes)
                    .map_err(|error| Trouble::Unwritable { path: folder.join(name), error }),
            };
            keys::read(&mut *self.rest, take, Trouble::Unreadable)?;
        }
        if chunks(&mut self.rest, 1, Trouble::Unreadable, |_, _| Ok(()))? > 0 {
            return Err(Trouble::Longer(whole));
        }
        Ok(Unpacked { header: self.header, payload: into })
    }
}

/// A payload that arrived as it was sent.
struct Unpacked {
    header: Header,
    payload: Scratch,
}

impl Unpacked {
    /// Looks at everything in it.
    async fn examine(&self, job: &Job) -> Result<Contents, Trouble> {
        (job.tell)(Step::Check, 0, 0);
        let contents = Place::examine(self.payload.path(), true, job.breath.clone()).await?;
        for (what, said, found) in [
            ("as its schema", self.header.schema, contents.schema),
            ("devices", self.header.devices, contents.devices),
            ("readings", self.header.readings, contents.readings),
            ("values", self.header.values, contents.values),
        ] {
            if said != found {
                return Err(Trouble::Counted { what, said, found });
            }
        }
        Ok(contents)
    }
}

/// Looks whether a backup is good, in a temporary place.
///
/// # Errors
/// [`Trouble`] says what is wrong.
pub async fn check(config: &Config, source: Source, job: &Arc<Job>) -> Result<Checked, Trouble> {
    let incoming = blocking(move || Incoming::open(source)).await?;
    let into = job.somewhere(config, incoming.header.bytes)?;
    let told = Arc::clone(job);
    let unpacked = blocking(move || incoming.unpack(into, None, &told)).await?;
    let contents = unpacked.examine(job).await?;
    Ok(Checked { header: unpacked.header, contents })
}

/// Puts a backup that is good in the place of the store, while no gateway runs.
///
/// # Errors
/// [`Trouble`]; the store is then as it was.
pub async fn restore(
    config: &Config,
    source: Source,
    force: bool,
    now_ms: i64,
    job: &Arc<Job>,
) -> Result<Restored, Trouble> {
    let place = Place::named(&config.store_url, &config.data_dir)?;
    let incoming = blocking(move || Incoming::open(source)).await?;
    let folder = folder_of(&place.file);
    for dir in [&*config.data_dir, folder] {
        disk::private_dir(dir).map_err(|error| Trouble::Unwritable { path: dir.to_owned(), error })?;
    }
    let mut lock = Lock::take(&config.lock_file()).map_err(|error| match error {
        LockError::Held(holder) => {
            Trouble::Running { folder: config.data_dir.clone(), pid: holder.map(|holder| holder.pid) }
        }
        LockError::Unusable(error) => Trouble::Unwritable { path: config.lock_file(), error },
    })?;
    // Nobody shall take this process for the gateway that held it before. On a full disk, somebody will.
    let _full = lock.tell(None);
    let mut old = look(&place, force).await?;
    room_for(folder, incoming.header.bytes)?;
    let mut staged = place.file.file_name().unwrap_or_default().to_owned();
    staged.push(".restoring");
    let into = job.scratch(folder.join(staged))?;
    let told = Arc::clone(job);
    let host = Staged::new(config.data_dir.join(".restoring-keys"));
    let unpacked = {
        let staged = host.0.clone();
        blocking(move || incoming.unpack(into, Some(&staged), &told)).await?
    };
    let contents = unpacked.examine(job).await?;
    Place::bring_up_to_date(unpacked.payload.path()).await?;
    if matches!(old, Old::Empty | Old::Whole) {
        match place.settle().await {
            Ok(()) => {}
            Err(StoreError::Busy(_)) => return Err(Trouble::InUse(place.file)),
            Err(_) if force => old = Old::Obscure,
            Err(why) => return Err(Trouble::Obscure { file: place.file, why }),
        }
    }
    let Unpacked { header, payload } = unpacked;
    let file = place.file;
    let kept = beside(&file, now_ms);
    let data_dir = config.data_dir.clone();
    let (kept, kept_keys, file) = blocking(move || {
        // Keys first: when this is cut off between the two, it can be done once more.
        let kept_keys = keys::put_in_place(&host.0, &data_dir, &before_restore(now_ms))
            .map_err(|error| Trouble::Unwritable { path: data_dir, error })?;
        let kept = put_in_place(payload, &file, &kept, &old)
            .map_err(|error| Trouble::Unwritable { path: file.clone(), error })?;
        Ok((kept, kept_keys, file))
    })
    .await?;
    // Until here nobody else could begin to keep data there.
    drop(lock);
    Ok(Restored { header, contents, file, kept, kept_keys })
}

/// What is where the store is to be.
#[derive(Debug, PartialEq, Eq)]
enum Old {
    /// No file.
    None,
    /// A store that holds nothing.
    Empty,
    /// A store.
    Whole,
    /// Something that cannot be read.
    Obscure,
}

async fn look(place: &Place, force: bool) -> Result<Old, Trouble> {
    match fs::metadata(&place.file) {
        Err(_) => return Ok(Old::None),
        Ok(meta) if meta.len() == 0 => return Ok(Old::None),
        Ok(_) => {}
    }
    match place.contents().await {
        Ok(Contents { readings, .. }) if readings > 0 && !force => {
            Err(Trouble::Occupied { file: place.file.clone(), readings })
        }
        Ok(Contents { readings: 0, devices: 0, tokens: 0, .. }) => Ok(Old::Empty),
        Ok(_) => Ok(Old::Whole),
        Err(StoreError::Busy(_)) => Err(Trouble::InUse(place.file.clone())),
        Err(_) if force => Ok(Old::Obscure),
        Err(why) => Err(Trouble::Obscure { file: place.file.clone(), why }),
    }
}

/// The name under which the old store is kept.
fn beside(file: &Path, now_ms: i64) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(before_restore(now_ms));
    PathBuf::from(name)
}

fn before_restore(now_ms: i64) -> String {
    format!(".before-restore-{}", time::rfc3339(now_ms).replace(['-', ':'], ""))
}

/// A folder for what is unpacked, gone with this.
struct Staged(PathBuf);

impl Staged {
    fn new(folder: PathBuf) -> Self {
        // What a process that was killed left.
        let _not_there = fs::remove_dir_all(&folder);
        Self(folder)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _not_there = fs::remove_dir_all(&self.0);
    }
}

/// Swaps the files. The name of the store leads to the old one or the new one at every moment; a log of the old one is
/// gone from beside it before, because the engine would take it for the new one's.
fn put_in_place(payload: Scratch, file: &Path, kept: &Path, old: &Old) -> io::Result<Option<PathBuf>> {
    let keep = matches!(old, Old::Whole | Old::Obscure);
    if keep {
        match fs::hard_link(file, kept) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
            // Not every file system knows links.
            Err(_) => fs::rename(file, kept)?,
            Ok(()) => {}
        }
    }
    let mut logs = false;
    let pairs = Place::with_companions(file).into_iter().zip(Place::with_companions(kept));
    for (from, to) in pairs.skip(1).filter(|(from, _)| from.exists()) {
        // A log of a store that is not there may be all that is left of it.
        if *old == Old::Empty {
            fs::remove_file(from)?;
        } else {
            fs::rename(from, to)?;
            logs = true;
        }
    }
    disk::sync_dir(folder_of(file))?;
    payload.publish(file, true)?;
    Ok((keep || logs).then(|| kept.to_owned()))
}

/// Runs what waits for disks or pipes away from the runtime's own threads.
async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, Trouble> {
    match tokio::task::spawn_blocking(run).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_the_old_store_never_lies_beside_the_new_one() {
        for (old, db_kept, log_kept) in [
            (Old::None, false, true),
            (Old::Empty, false, false),
            (Old::Whole, true, true),
            (Old::Obscure, true, true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("casement.db");
            let kept = beside(&file, 1_795_341_600_172);
            assert!(kept.ends_with("casement.db.before-restore-20261122T100000.172Z"), "{kept:?}");
            let [_, log, shared, _] = Place::with_companions(&file);
            if old != Old::None {
                fs::write(&file, "old").unwrap();
            }
            fs::write(&log, "log").unwrap();
            fs::write(&shared, "index of the log").unwrap();
            let payload = Scratch::create(&folder.path().join("casement.db.restoring")).unwrap();
            payload.file().write_all(b"new").unwrap();
            let told = put_in_place(payload, &file, &kept, &old).unwrap();
            assert_eq!(fs::read(&file).unwrap(), b"new");
            assert!(!log.exists() && !shared.exists(), "{old:?}");
            assert_eq!(told.is_some(), db_kept || log_kept, "{old:?}");
            assert_eq!(fs::read(&kept).is_ok_and(|text| text == b"old"), db_kept, "{old:?}");
            let [_, kept_log, ..] = Place::with_companions(&kept);
            assert_eq!(fs::read(kept_log).is_ok_and(|text| text == b"log"), log_kept, "{old:?}");
        }
    }

    #[test]
    fn what_is_kept_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let (file, kept) = (folder.path().join("casement.db"), folder.path().join("kept"));
        fs::write(&file, "old").unwrap();
        fs::write(&kept, "older").unwrap();
        let payload = Scratch::create(&folder.path().join("new")).unwrap();
        assert!(put_in_place(payload, &file, &kept, &Old::Whole).is_err());
        assert_eq!(
            (fs::read(&file).unwrap(), fs::read(&kept).unwrap()),
            (b"old".to_vec(), b"older".to_vec())
        );
    }

    #[test]
    fn two_names_of_one_file_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        fs::write(at("file"), "x").unwrap();
        fs::hard_link(at("file"), at("hard")).unwrap();
        std::os::unix::fs::symlink("file", at("soft")).unwrap();
        for (one, other, same_file) in [
            ("file", "sub/../file", true),
            ("file", "hard", true),
            ("soft", "file", true),
            ("nothing", "sub/../nothing", true),
            ("nothing", "file", false),
            ("nowhere/file", "file", false),
        ] {
            assert_eq!(same(&at(one), &at(other)), same_file, "{one} {other}");
        }
    }
}
