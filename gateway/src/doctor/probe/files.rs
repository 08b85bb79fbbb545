//! What files and the kernel tell. Everything here may block and runs aside.

use crate::config::{Config, TlsSource};
use crate::disk;
use crate::doctor::facts::{Fact, Folder, OnDisk, Running, Space, Unknown};
use crate::tls::pair::{self, Pair};
use crate::tls::{TlsError, self_signed};
use rustix::fs::{Access, access, statvfs};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Private files whose mode is looked at.
const PRIVATE_FILES_MAX: usize = 200;

/// Largest key of an external account binding, in bytes.
const BINDING_BYTES_MAX: u64 = 4096;

/// What is written to see whether the folder can be written.
const TRIAL: [u8; 4096] = [b'.'; 4096];

/// Who runs this.
pub(super) fn user() -> (u32, String) {
    let id = disk::user();
    (id, user_name(id))
}

fn user_name(id: u32) -> String {
    disk::user_name(id).unwrap_or_else(|| format!("uid {id}"))
}

/// Memory of the machine, and what of it is to be had, in bytes.
pub(super) fn memory() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    Some((kilobytes(&text, "MemTotal:")?, kilobytes(&text, "MemAvailable:")?))
}

/// A line such as `VmRSS:  38000 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// What the kernel tells of a process.
pub(super) fn process(pid: u32) -> Running {
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let limit = read("limits").lines().find_map(|line| {
        let soft = line.strip_prefix("Max open files")?.split_whitespace().next()?;
        if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
    });
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    Running {
        pid: Some(pid),
        up_ms: up_ms(&read("stat"), &uptime),
        resident: kilobytes(&read("status"), "VmRSS:"),
        open_files: limit,
        kept_out: None,
    }
}

/// Why the gateway's user may not read the certificate's files: root, who asks, may read everything. Access lists are
/// not looked at, so this is only worth telling when the gateway does not show what lies there.
pub(super) fn kept_out(config: &Config, pid: u32) -> Option<String> {
    let TlsSource::Files { cert, key } = &config.tls.source else { return None };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let numbers = |name: &str| -> Vec<u32> {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().filter_map(|number| number.parse().ok()).collect()
    };
    // Real, effective, saved, file system (proc(5)).
    let uid = *numbers("Uid:").get(1)?;
    let groups: Vec<u32> = numbers("Gid:").get(1).copied().into_iter().chain(numbers("Groups:")).collect();
    if uid == 0 {
        return None;
    }
    let (cert, key) = pair::lineage(cert, key);
    [cert, key].iter().find_map(|file| {
        let real = fs::canonicalize(file).ok()?;
        let parts: Vec<&Path> = real.ancestors().collect();
        parts.into_iter().rev().find_map(|part| {
            let meta = fs::metadata(part).ok()?;
            let (mode, wanted) = (meta.permissions().mode() & 0o7777, if meta.is_dir() { 0o1 } else { 0o4 });
            let bits = match () {
                () if meta.uid() == uid => mode >> 6,
                () if groups.contains(&meta.gid()) => mode >> 3,
                () => mode,
            };
            (bits & wanted == 0).then(|| {
                let (verb, needed) = if meta.is_dir() { ("entered", "0711 or 0755") } else { ("read", "0640 with its group") };
                let (owner, user, part) = (user_name(meta.uid()), user_name(uid), part.display());
                format!(
                    "{part} belongs to {owner} (uid {}) with mode {mode:04o} and cannot be {verb} by {user} (uid {uid}), as whom the gateway runs; \
                     needed is mode {needed}, for example: sudo setfacl -m u:{user}:rX {part}",
                    meta.uid()
                )
            })
        })
    })
}

/// How long a process runs: its start is told in hundredths of a second since the machine's (proc(5)).
fn up_ms(stat: &str, uptime: &str) -> Option<i64> {
    // The name in brackets may hold anything, brackets included.
    let rest = stat.rsplit_once(')')?.1;
    let started: i64 = rest.split_whitespace().nth(19)?.parse().ok()?;
    let up: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    #[allow(clippy::cast_possible_truncation, reason = "milliseconds since the machine's start")]
    let up = (up * 1000.0) as i64;
    Some((up - started.checked_mul(10)?).max(0))
}

/// The folder with all data.
pub(super) fn folder(config: &Config) -> Folder {
    let dir = &config.data_dir;
    let meta = match fs::metadata(dir) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let above =
                dir.ancestors().skip(1).find(|above| above.is_dir()).unwrap_or(Path::new("/")).to_owned();
            let possible = access(&above, Access::WRITE_OK | Access::EXEC_OK).is_ok();
            return Folder::Missing { above, possible };
        }
        Err(error) => return Folder::Closed(format!("{}: {error}", dir.display())),
    };
    if !meta.is_dir() {
        return Folder::Closed(format!("{} is not a folder", dir.display()));
    }
    let (owner, mode) = (user_name(meta.uid()), meta.permissions().mode() & 0o7777);
    if access(dir, Access::EXEC_OK | Access::READ_OK).is_err() {
        let (_, me) = user();
        return Folder::Closed(format!(
            "{} belongs to {owner} with mode {mode:04o} and cannot be entered by {me}",
            dir.display()
        ));
    }
    let mut private_files = Vec::new();
    for (folder, deep) in [(config.certs_dir(), 0), (config.acme_dir(), 1)] {
        collect(&folder, deep, &mut private_files);
    }
    if let TlsSource::Files { cert, key } = &config.tls.source {
        let (_, key) = pair::lineage(cert, key);
        private_files.extend(fs::metadata(&key).ok().map(|meta| (key, meta.permissions().mode() & 0o7777)));
    }
    Folder::There {
        owner,
        mode,
        writable: try_writing(dir).map_err(|error| error.to_string()),
        private_files,
    }
}

fn collect(folder: &Path, deep: u32, found: &mut Vec<(PathBuf, u32)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if found.len() >= PRIVATE_FILES_MAX {
            return;
        }
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_file() {
            found.push((entry.path(), meta.permissions().mode() & 0o7777));
        } else if meta.is_dir() && deep > 0 {
            collect(&entry.path(), deep - 1, found);
        }
    }
}

/// Writes a little, makes sure that it is on the disk, and takes it away again.
fn try_writing(dir: &Path) -> std::io::Result<()> {
    let file = dir.join(format!(".doctor-{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    let written = options.write(true).create_new(true).mode(0o600).open(&file).and_then(|mut open| {
        open.write_all(&TRIAL)?;
        open.sync_all()
    });
    // A file that could not be made is not there.
    let _gone = fs::remove_file(&file);
    written
}

/// The file system below a folder, or below the first one above it that exists.
pub(super) fn space(dir: &Path) -> Fact<Space> {
    let there = dir.ancestors().find(|above| above.exists()).unwrap_or(Path::new("/"));
    let found = statvfs(there).map_err(|error| Unknown::new(format!("{}: {error}", there.display())))?;
    Ok(Space {
        free: found.f_bavail.saturating_mul(found.f_frsize),
        total: found.f_blocks.saturating_mul(found.f_frsize),
        free_files: found.f_favail,
        files: found.f_files,
    })
}

/// The certificate as it lies on disk.
pub(super) fn certificate(config: &Config) -> OnDisk {
    let read = match &config.tls.source {
        TlsSource::Files { cert, key } => Pair::from_files(cert, key),
        TlsSource::Acme(_) => {
            let file = config.certs_dir().join("acme.pem");
            if matches!(file.try_exists(), Ok(false)) {
                return OnDisk::NotYet;
            }
            Pair::from_bundle(&file)
        }
        TlsSource::SelfSigned => {
            let cert = self_signed::certificate(&config.certs_dir());
            if matches!(cert.try_exists(), Ok(false)) {
                return OnDisk::NotYet;
            }
            self_signed::read(&config.certs_dir())
        }
    };
    match read {
        Ok(pair) => OnDisk::Good {
            facts: pair.facts,
            publicly_trusted: pair.publicly_trusted,
            oddities: pair.oddities,
        },
        Err(error @ TlsError::Unreadable { .. }) => OnDisk::Unreadable { why: error.to_string() },
        Err(error @ TlsError::NotAPair { .. }) => OnDisk::NotAPair(error.to_string()),
        Err(
            error @ (TlsError::TooLarge { .. }
            | TlsError::NotPem { .. }
            | TlsError::NotMade(_)
            | TlsError::NotKept { .. }
            | TlsError::Library(_)),
        ) => OnDisk::Nonsense(error.to_string()),
    }
}

/// Whether the key of the external account binding can be used.
pub(super) fn binding_key(config: &Config) -> Fact<()> {
    let TlsSource::Acme(acme) = &config.tls.source else { return Err(Unknown::new("there is no authority")) };
    let Some((_, file)) = &acme.binding else { return Err(Unknown::new("there is none")) };
    let mut text = String::new();
    fs::File::open(file).and_then(|open| open.take(BINDING_BYTES_MAX).read_to_string(&mut text)).map_err(
        |error| match error.kind() {
            std::io::ErrorKind::InvalidData => Unknown::new("it is not text"),
            _ => Unknown::new(disk::why_unreadable(file)),
        },
    )?;
    let key = text.trim().trim_end_matches('=');
    let letters = key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_+/".contains(&b));
    if key.is_empty() || !letters { Err(Unknown::new("it does not hold a key in base64url")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_tables_are_read() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 5 0 1000 1 1";
        assert_eq!(up_ms(stat, "25.50 20.0\n"), Some(15_500));
        assert_eq!(up_ms("nonsense", "1"), None);
        assert_eq!(kilobytes("VmPeak:\t1 kB\nVmRSS:\t   38 kB\n", "VmRSS:"), Some(38 * 1024));
        assert!(memory().is_some_and(|(total, available)| total >= available));
        let own = process(std::process::id());
        assert!(own.resident.is_some() && own.open_files.is_some() && own.up_ms.is_some(), "{own:?}");
    }

    #[test]
    fn a_look_leaves_nothing_behind() {
        let place = tempfile::tempdir().unwrap();
        assert!(try_writing(place.path()).is_ok());
        assert!(try_writing(&place.path().join("nowhere")).is_err());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
        assert!(space(&place.path().join("a/b/c")).is_ok_and(|space| space.total > 0));
    }
}
