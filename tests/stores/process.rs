//! The processes of the store that is being measured: everything that this one has started, but for clients. Their memory, their
//! CPU time, their end.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Programs that only ask.
const CLIENTS: [&str; 1] = ["psql"];

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Clock ticks in a second of CPU time (`USER_HZ`; proc(5)).
const TICKS_PER_S: f64 = 100.0;

/// What a store needed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// Most of PSS and of RSS at any look, in MB (10⁶ bytes), all its processes together.
    pub(crate) pss_mb: f64,
    pub(crate) rss_mb: f64,
    pub(crate) cpu_s: f64,
}

/// Looks at the store's processes until it is asked.
#[derive(Debug)]
pub(crate) struct Watch {
    ended: Arc<AtomicBool>,
    watcher: JoinHandle<Used>,
}

impl Watch {
    pub(crate) fn begin() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ended);
        let before = cpu();
        let watcher = std::thread::spawn(move || {
            let (mut most, mut cpu_of) = (Used::default(), HashMap::new());
            loop {
                // One more look after the end: what runs still is counted whole.
                let last = flag.load(Ordering::SeqCst);
                let now = memory();
                most.pss_mb = most.pss_mb.max(now.pss_mb);
                most.rss_mb = most.rss_mb.max(now.rss_mb);
                cpu_of.extend(cpu());
                if last {
                    let since = |(pid, at): (&u32, &f64)| at - before.get(pid).copied().unwrap_or_default();
                    most.cpu_s = cpu_of.iter().map(since).sum();
                    return most;
                }
                std::thread::park_timeout(LOOK_EVERY);
            }
        });
        Self { ended, watcher }
    }

    pub(crate) fn end(self) -> Result<Used> {
        self.ended.store(true, Ordering::SeqCst);
        self.watcher.thread().unpark();
        self.watcher.join().map_err(|_| anyhow::anyhow!("the watcher has panicked"))
    }
}

/// Memory of all processes of the store.
pub(crate) fn memory() -> Used {
    let mut sum = Used::default();
    for pid in descendants() {
        // It may have ended meanwhile.
        let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        let mb = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace().next()?.parse::<f64>().ok()? * 1024.0 / 1e6)
        };
        sum.pss_mb += mb("Pss:").unwrap_or_default();
        sum.rss_mb += mb("Rss:").unwrap_or_default();
    }
    sum
}

fn cpu() -> HashMap<u32, f64> {
    let of = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        Some((pid, ticks / TICKS_PER_S))
    };
    descendants().into_iter().filter_map(of).collect()
}

/// Ends everything at once, as a power cut would. What was written stays in the page cache: the disk is not tested by this.
pub(crate) fn kill() {
    for pid in descendants() {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        // It may have ended meanwhile.
        let _gone = pid.map(|pid| kill_process(pid, Signal::KILL));
    }
}

/// Whether nothing of the store runs any more; those that wait to be reaped do not run.
pub(crate) fn is_over() -> bool {
    descendants().is_empty()
}

/// Processes that this one has started, and those that they have started, without clients.
fn descendants() -> Vec<u32> {
    let mut of: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((front, back)) = stat.rsplit_once(')') else { continue };
        let mut fields = back.split_whitespace();
        let (state, parent) = (fields.next(), fields.next().and_then(|parent| parent.parse().ok()));
        let name = front.split_once('(').map(|(_, name)| name).unwrap_or_default();
        if let Some(parent) = parent
            && state != Some("Z")
            && !CLIENTS.contains(&name)
        {
            of.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![std::process::id()];
    while let Some(pid) = next.pop() {
        let children = of.remove(&pid).unwrap_or_default();
        found.extend(&children);
        next.extend(children);
    }
    found
}

/// Bytes of all files below a folder.
pub(crate) fn bytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        // It may have gone meanwhile.
        let Ok(meta) = entry.metadata() else { continue };
        sum += if meta.is_dir() { bytes(&entry.path())? } else { meta.len() };
    }
    Ok(sum)
}

/// The processes that want to run, on the mean of the last minute.
pub(crate) fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

/// A server of somebody else's; it ends with this.
#[derive(Debug)]
pub(crate) struct Server(Child);

impl Server {
    pub(crate) fn start(program: &Path, arguments: &[String], log: &Path) -> Result<Self> {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(log)?)
            .kill_on_drop(true)
            .spawn();
        Ok(Self(child.with_context(|| program.display().to_string())?))
    }

    /// Asks it to end and waits until it has.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        if let Some(pid) = self.0.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            // It may have ended by itself.
            let _gone = kill_process(pid, Signal::TERM);
        }
        tokio::time::timeout(Duration::from_secs(60), self.0.wait()).await.context("it does not end")??;
        Ok(())
    }

    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_some())
    }
}
