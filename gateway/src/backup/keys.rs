//! What makes a host this host: certificates, the account at the authority, releases and the key that signs them, and the
//! configuration. They follow the store in a backup that was made to move a host.
//!
//! Numbers are unsigned and big-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 16 | `casement keys`, a line feed, and zeros |
//! | for each file: 2, then as many | its name: UTF-8, relative to the data folder, `/` between its parts |
//! | 8, then as many | what is in it |
//! | 2 | zero: there are no more |
//! | 32 | SHA-256 of everything before, from the first of the 16 bytes on |

use crate::config::Config;
use aws_lc_rs::digest::{Context, SHA256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 16] = b"casement keys\n\0\0";

/// Folders of the data folder that come along.
pub const FOLDERS: [&str; 3] = ["certs", "acme", "firmware"];

/// What the configuration is called among them: it is not put in force by itself.
pub const CONFIGURATION: &str = "casement.toml.from-backup";

/// What somebody asked the running gateway for.
const REQUEST: &str = "request.json";

/// Most files.
const FILES_MAX: usize = 10_000;

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 512;

/// Deepest folder within a folder.
const DEPTH_MAX: usize = 6;

/// Largest file, in bytes: an image of a whole flash has 16 MiB.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// A file that comes along.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    name: String,
    path: PathBuf,
}

/// Everything that comes along, in order of names.
///
/// # Errors
/// When a folder cannot be read, or holds more than can be.
pub fn collect(config: &Config, file: Option<&Path>) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for folder in FOLDERS {
        below(&config.data_dir.join(folder), folder, 0, &mut entries)?;
    }
    if let Some(file) = file {
        entries.push(Entry { name: CONFIGURATION.to_owned(), path: file.to_owned() });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn below(folder: &Path, name: &str, depth: usize, entries: &mut Vec<Entry>) -> io::Result<()> {
    let listing = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listing => listing?,
    };
    for entry in listing {
        let entry = entry?;
        // Links lead to what is not ours; what is only there for the moment is not worth carrying.
        let (kind, Ok(own)) = (entry.file_type()?, entry.file_name().into_string()) else { continue };
        let fleeting = own.starts_with('.') || [".lock", ".new"].iter().any(|end| own.ends_with(end));
        let fleeting = fleeting || name == "acme" && own == REQUEST;
        let name = format!("{name}/{own}");
        if kind.is_dir() && !own.starts_with('.') && depth < DEPTH_MAX {
            below(&entry.path(), &name, depth + 1, entries)?;
        } else if kind.is_file() && !fleeting {
            if entries.len() >= FILES_MAX || name.len() > NAME_BYTES_MAX {
                return Err(io::Error::other(format!("{} holds too much", folder.display())));
            }
            entries.push(Entry { name, path: entry.path() });
        }
    }
    Ok(())
}

/// Writes the files; `write` is given one piece after the other.
///
/// # Errors
/// Those of `write`, and of files that cannot be read. One that is gone meanwhile is left out.
pub fn write<E>(
    entries: &[Entry],
    mut write: impl FnMut(&[u8]) -> Result<(), E>,
    unreadable: impl Fn(&Path, io::Error) -> E,
) -> Result<(), E> {
    let mut sum = Context::new(&SHA256);
    let mut put = |bytes: &[u8]| {
        sum.update(bytes);
        write(bytes)
    };
    put(MAGIC)?;
    for Entry { name, path } in entries {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(path, error)),
            Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => {
                return Err(unreadable(path, io::Error::other("it is larger than 32 MiB")));
            }
            Ok(_) => {}
        }
        let length = u16::try_from(name.len()).unwrap_or(0);
        put(&length.to_be_bytes())?;
        put(name.as_bytes())?;
        put(&(bytes.len() as u64).to_be_bytes())?;
        put(&bytes)?;
    }
    put(&[0; 2])?;
    let sum = sum.finish();
    write(sum.as_ref())
}

/// Why what follows the store are no files of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// They end too early.
    #[error("its keys are cut off")]
    CutOff,
    /// They are not as they were written.
    #[error("its keys are damaged")]
    Damaged,
}

/// Reads the files and hands each on, its name checked: below one of [`FOLDERS`] or [`CONFIGURATION`], and nowhere else.
/// What was handed on counts only when this succeeds.
///
/// # Errors
/// Those of `take`, and [`Fault`] or of the source through `faulty`.
pub fn read<E: From<Fault>>(
    from: &mut dyn Read,
    mut take: impl FnMut(&str, &[u8]) -> Result<(), E>,
    unreadable: impl Fn(io::Error) -> E,
) -> Result<usize, E> {
    let mut sum = Context::new(&SHA256);
    let get = |from: &mut dyn Read, length: u64| -> Result<Vec<u8>, E> {
        let mut bytes = Vec::new();
        from.take(length).read_to_end(&mut bytes).map_err(&unreadable)?;
        if (bytes.len() as u64) < length { Err(Fault::CutOff.into()) } else { Ok(bytes) }
    };
    let magic = get(from, MAGIC.len() as u64)?;
    if magic != MAGIC {
        return Err(Fault::Damaged.into());
    }
    sum.update(&magic);
    let mut count = 0;
    loop {
        let length = get(from, 2)?;
        sum.update(&length);
        let length = length.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        if length == 0 {
            break;
        }
        count += 1;
        if count > FILES_MAX || length > NAME_BYTES_MAX as u64 {
            return Err(Fault::Damaged.into());
        }
        let name = get(from, length)?;
        sum.update(&name);
        let name = String::from_utf8(name).map_err(|_| Fault::Damaged)?;
        if !is_ours(&name) {
            return Err(Fault::Damaged.into());
        }
        let length = get(from, 8)?;
        sum.update(&length);
        let length = length.iter().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        if length > FILE_BYTES_MAX {
            return Err(Fault::Damaged.into());
        }
        let bytes = get(from, length)?;
        sum.update(&bytes);
        take(&name, &bytes)?;
    }
    if get(from, 32)? != sum.finish().as_ref() {
        return Err(Fault::Damaged.into());
    }
    Ok(count)
}

/// Whether a name leads to where these files belong, and to nowhere else.
fn is_ours(name: &str) -> bool {
    if name == CONFIGURATION {
        return true;
    }
    let mut parts = name.split('/');
    let within = parts.next().is_some_and(|folder| FOLDERS.contains(&folder));
    let rest: Vec<&str> = parts.collect();
    let plain = |part: &&str| !part.is_empty() && !part.starts_with('.') && !part.contains(['\0', '\\']);
    within && !rest.is_empty() && rest.len() <= DEPTH_MAX + 1 && rest.iter().all(plain)
}

/// Into a folder of its own, each file for its owner alone.
///
/// # Errors
/// When a file cannot be written.
pub fn put(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = folder.join(name);
    crate::disk::private_dir(crate::disk::folder_of(&path))?;
    crate::disk::write_private(&path, bytes)
}

/// Puts what was unpacked into the data folder; what is there is kept beside it. Gives where.
///
/// # Errors
/// When a folder cannot be renamed.
pub fn put_in_place(staged: &Path, data_dir: &Path, suffix: &str) -> io::Result<Vec<PathBuf>> {
    let mut kept = Vec::new();
    for name in FOLDERS.iter().copied().chain([CONFIGURATION]) {
        let (new, place) = (staged.join(name), data_dir.join(name));
        if !new.exists() {
            continue;
        }
        if place.exists() {
            let beside = data_dir.join(format!("{name}{suffix}"));
            fs::rename(&place, &beside)?;
            kept.push(beside);
        }
        fs::rename(new, place)?;
    }
    crate::disk::sync_dir(data_dir)?;
    Ok(kept)
}

/// Bytes into a sink, for [`write()`].
pub fn into(sink: &mut dyn Write) -> impl FnMut(&[u8]) -> io::Result<()> + '_ {
    |bytes| sink.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, thiserror::Error)]
    enum Bad {
        #[error(transparent)]
        Fault(#[from] Fault),
        #[error("io")]
        Io,
    }

    type Files = Vec<(String, Vec<u8>)>;

    fn unpack(mut bytes: &[u8]) -> Result<Files, Bad> {
        let mut files = Vec::new();
        let take = |name: &str, bytes: &[u8]| {
            files.push((name.to_owned(), bytes.to_vec()));
            Ok(())
        };
        read(&mut bytes, take, |_| Bad::Io).map(|_| files)
    }

    fn packed(config: &Config, file: Option<&Path>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let entries = collect(config, file).unwrap();
        write(&entries, into(&mut bytes), |_, error| error).unwrap();
        bytes
    }

    fn home() -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("data_dir = {:?}\n", folder.path());
        let (config, _) = crate::config::parse(None, &text, &[]).unwrap();
        for (name, text) in [
            ("certs/acme.pem", "a key"),
            ("certs/.acme.pem.new", "half"),
            ("acme/ca.example/account.json", "an account"),
            ("acme/casement.lock", ""),
            ("firmware/stamp-c3/1.0.0/ota.bin", "firmware"),
            ("firmware/signing.key", "another key"),
            ("casement.db", "not this"),
        ] {
            put(folder.path(), name, text.as_bytes()).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("certs/link.pem")).unwrap();
        (folder, config)
    }

    #[test]
    fn what_makes_a_host_comes_along_and_nothing_else() {
        let (folder, config) = home();
        fs::write(folder.path().join("c.toml"), "x = 1").unwrap();
        let files = unpack(&packed(&config, Some(&folder.path().join("c.toml")))).unwrap();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "acme/ca.example/account.json",
                CONFIGURATION,
                "certs/acme.pem",
                "firmware/signing.key",
                "firmware/stamp-c3/1.0.0/ota.bin",
            ]
        );
        assert_eq!(files[2].1, b"a key");
    }

    #[test]
    fn damage_anywhere_is_noticed() {
        let (_folder, config) = home();
        let good = packed(&config, None);
        for length in 0..good.len() {
            assert_eq!(unpack(&good[..length]), Err(Fault::CutOff.into()), "{length}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(unpack(&bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        for name in [
            "certs/../../etc/passwd",
            "/etc/passwd",
            "certs",
            "certs/",
            "certs//x",
            "certs/.hidden",
            "casement.db",
            "../certs/x",
            "certs/a\0b",
            "acme/1/2/3/4/5/6/7/8",
            "",
        ] {
            assert!(!is_ours(name), "{name:?}");
        }
        assert!(is_ours("certs/acme.pem") && is_ours("firmware/a/1.0.0/ota.bin") && is_ours(CONFIGURATION));
        // Such a name in a backup that somebody wrote on purpose, with the right sum.
        let entries = [Entry { name: "certs/../x".to_owned(), path: PathBuf::from("/dev/null") }];
        let mut bytes = Vec::new();
        write(&entries, into(&mut bytes), |_, error| error).unwrap();
        assert_eq!(unpack(&bytes), Err(Fault::Damaged.into()));
    }

    #[test]
    fn what_was_there_is_kept_beside() {
        let (folder, _) = home();
        let staged = folder.path().join("staged");
        put(&staged, "certs/acme.pem", b"new").unwrap();
        let kept = put_in_place(&staged, folder.path(), ".before").unwrap();
        assert_eq!(kept, [folder.path().join("certs.before")]);
        assert_eq!(fs::read(folder.path().join("certs/acme.pem")).unwrap(), b"new");
        assert_eq!(fs::read(kept[0].join("acme.pem")).unwrap(), b"a key");
        assert!(folder.path().join("acme/ca.example/account.json").exists(), "what does not come stays");
    }
}
