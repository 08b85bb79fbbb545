//! A pseudo-terminal: the serial line of a board, for whatever speaks Improv.

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// The device's end of the line.
#[derive(Debug)]
pub struct Serial {
    out: File,
    incoming: Receiver<Vec<u8>>,
    bell: SyncSender<Vec<u8>>,
    early: Vec<u8>,
    link: PathBuf,
    /// Kept open, so that the line does not hang up between two clients.
    _other_end: OwnedFd,
}

impl Serial {
    /// Opens a line and puts a link to its other end at a path. A link to a line that is gone is replaced: a device whose
    /// power went leaves it.
    ///
    /// # Errors
    /// The system gives none, or something else is at the path already.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Looked at first: the system gives the new line the number of the one that is gone.
        if std::fs::read_link(path).is_ok_and(|old| old.starts_with("/dev/pts")) && !path.exists() {
            std::fs::remove_file(path)?;
        }
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, vec![])?;
        let other_end = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
        // Bytes as they are: no echo, no lines.
        let mut settings = tcgetattr(&other_end)?;
        settings.make_raw();
        tcsetattr(&other_end, OptionalActions::Now, &settings)?;
        std::os::unix::fs::symlink(name.to_str().map_err(io::Error::other)?, path)?;
        let out = File::from(ours);
        let mut input = out.try_clone()?;
        // A client that sends without end waits.
        let (sender, incoming) = sync_channel(64);
        let bell = sender.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok(len) = input.read(&mut buffer) {
                if len == 0 || sender.send(buffer[..len].to_vec()).is_err() {
                    break;
                }
            }
        });
        Ok(Self { out, incoming, bell, early: vec![], link: path.to_owned(), _other_end: other_end })
    }

    /// Whoever sends nothing at all on this ends a wait, without anything having come.
    pub fn bell(&self) -> SyncSender<Vec<u8>> {
        self.bell.clone()
    }

    /// Waits until something comes, or the time is over. `true` when something came.
    pub fn wait(&mut self, time: Duration) -> bool {
        if self.early.is_empty()
            && let Ok(bytes) = self.incoming.recv_timeout(time)
        {
            self.early = bytes;
        }
        !self.early.is_empty()
    }

    /// What has come.
    pub fn read(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.early);
        while let Ok(more) = self.incoming.try_recv() {
            bytes.extend(more);
        }
        bytes
    }

    /// Sends.
    pub fn write(&mut self, bytes: &[u8]) {
        // Nobody may be at the other end; then the line's buffer holds it.
        let _lost = self.out.write_all(bytes);
    }
}

impl Drop for Serial {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.link);
    }
}
