//! What this machine and its kernel tell: processor, memory, disk.

use super::report::Machine;
use super::statistics::Latencies;
use crate::clock;
use rustix::fs::{Advice, fadvise, statvfs};
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

/// What is written for one trial of the disk.
const BLOCK: [u8; 4096] = [0x5a; 4096];

/// Trials of the disk at most, and how long they may take together.
const FSYNCS: usize = 500;
const FSYNC_TIME: Duration = Duration::from_secs(1);

/// Clock ticks in a second of CPU time (`USER_HZ`; proc(5)): 100 on every Linux that this is built for.
const TICKS_PER_S: f64 = 100.0;

/// Memory of a process, in MB (10⁶ bytes).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Memory {
    /// Its own and its share of what it shares.
    pub(super) pss_mb: f64,
    /// All of it that is in memory.
    pub(super) rss_mb: f64,
}

pub(super) fn machine(folder: &Path) -> io::Result<Machine> {
    let folder = fs::canonicalize(folder)?;
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let cpu = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned())
        })
        .unwrap_or_else(|| format!("a processor of type {}", std::env::consts::ARCH));
    Ok(Machine {
        cpu,
        cores: std::thread::available_parallelism().map_or(1, Into::into),
        memory_bytes: bytes(&read("/proc/meminfo"), "MemTotal:").unwrap_or_default(),
        file_system: file_system(&read("/proc/self/mountinfo"), &folder)
            .unwrap_or_else(|| "an unknown file system".to_owned()),
        free_bytes: free(&folder)?,
        folder: folder.display().to_string(),
    })
}

/// Room that this user has in the file system of a folder, in bytes.
pub(super) fn free(folder: &Path) -> io::Result<u64> {
    let found = statvfs(folder)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// A line such as `MemTotal:  38000 kB`, in bytes.
fn bytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Kind and device of the file system that a path lies in, from the kernel's table (proc(5), mountinfo).
fn file_system(table: &str, path: &Path) -> Option<String> {
    let mounts = table.lines().filter_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?.replace("\\040", " ");
        let mut source = source.split(' ');
        let (kind, device) = (source.next()?, source.next()?);
        path.starts_with(&point).then(|| (point.len(), format!("{kind} on {device}")))
    });
    // What is mounted last hides what was there before.
    mounts.max_by_key(|(length, _)| *length).map(|(_, told)| told)
}

/// CPU time of a process so far, of all its threads, in seconds.
pub(super) fn cpu_s(pid: u32) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    ticks(&stat)
        .map(|ticks| ticks as f64 / TICKS_PER_S)
        .ok_or_else(|| io::Error::other("no CPU time in /proc"))
}

fn ticks(stat: &str) -> Option<u64> {
    // The name of the program, in brackets, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

pub(super) fn memory(pid: u32) -> io::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let mb = |name| bytes(&text, name).map(|bytes| bytes as f64 / 1e6);
    mb("Pss:")
        .zip(mb("Rss:"))
        .map(|(pss_mb, rss_mb)| Memory { pss_mb, rss_mb })
        .ok_or_else(|| io::Error::other("no memory in /proc"))
}

/// How long it takes to make 4 KiB durable: written in place, as a write-ahead log that is used again.
pub(super) fn fsync(folder: &Path) -> io::Result<Latencies> {
    let path = folder.join("fsync");
    let mut file = File::create_new(&path)?;
    file.write_all(&BLOCK)?;
    file.sync_all()?;
    let mut all = Latencies::default();
    let begun = clock::steady();
    for _ in 0..FSYNCS {
        let one = clock::steady();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&BLOCK)?;
        file.sync_data()?;
        all.take(one.elapsed());
        if begun.elapsed() > FSYNC_TIME {
            break;
        }
    }
    drop(file);
    fs::remove_file(path)?;
    Ok(all)
}

/// Bytes of all files below a folder.
pub(super) fn size(folder: &Path) -> io::Result<u64> {
    let mut sum = 0;
    each_file(folder, &mut |_, length| {
        sum += length;
        Ok(())
    })?;
    Ok(sum)
}

/// Asks the kernel to drop what it keeps of the files below a folder, so that the next look comes from the disk.
pub(super) fn forget(folder: &Path) -> io::Result<()> {
    each_file(folder, &mut |path, _| {
        let file = File::open(path)?;
        file.sync_all()?;
        Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
    })
}

fn each_file(folder: &Path, act: &mut impl FnMut(&Path, u64) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_dir() {
            each_file(&entry.path(), act)?;
        } else if meta.is_file() {
            act(&entry.path(), meta.len())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_file_system_counts() {
        let table = "22 1 252:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                     30 22 0:26 / /tmp rw - tmpfs tmpfs rw\n\
                     31 22 0:27 / /mnt/my\\040disk rw shared:2 master:1 - xfs /dev/sdb1 rw\n";
        for (path, told) in [
            ("/var/lib", "ext4 on /dev/vda"),
            ("/tmp/a", "tmpfs on tmpfs"),
            ("/tmpfoo", "ext4 on /dev/vda"),
            ("/mnt/my disk/x", "xfs on /dev/sdb1"),
        ] {
            assert_eq!(file_system(table, Path::new(path)).as_deref(), Some(told), "{path}");
        }
        assert_eq!(file_system("garbage", Path::new("/")), None);
    }

    #[test]
    fn cpu_time_is_read_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 100 1 1";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_a_place() {
        let here = std::process::id();
        let memory = memory(here).unwrap();
        assert!(memory.pss_mb > 0.1 && memory.rss_mb >= memory.pss_mb);
        assert!(cpu_s(here).unwrap() >= 0.0);
        let place = tempfile::tempdir().unwrap();
        assert!(machine(place.path()).unwrap().free_bytes > 0);
        assert!(fsync(place.path()).unwrap().count() > 0);
        fs::create_dir(place.path().join("deep")).unwrap();
        fs::write(place.path().join("deep/file"), b"12345").unwrap();
        assert_eq!(size(place.path()).unwrap(), 5, "the trial of the disk has left nothing");
        forget(place.path()).unwrap();
    }
}
