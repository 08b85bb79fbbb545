//! A disk that is soon full.

use anyhow::{Result, ensure};
use std::fs::{File, create_dir_all, remove_file};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system of its own, in memory; gone when dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// One of `size` ("2m") at a folder, which is made. `None` where this user may not mount.
    pub fn mount(at: &Path, size: &str) -> Result<Option<Self>> {
        create_dir_all(at)?;
        let options = format!("size={size},mode=700");
        let ran = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        Ok(ran.is_ok_and(|ran| ran.status.success()).then(|| Self(at.to_owned())))
    }

    /// Gives it another size.
    pub fn resize(&self, size: &str) -> Result<()> {
        let options = format!("remount,size={size}");
        let ran = Command::new("mount").args(["-o", &options]).arg(&self.0).output()?;
        ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        Ok(())
    }

    /// Leaves no byte free.
    pub fn fill(&self) -> Result<()> {
        let mut filler = File::options().create(true).append(true).open(self.filler())?;
        for size in [1 << 16, 1] {
            let block = vec![0; size];
            loop {
                match filler.write(&block) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Takes back what [`fill`](Self::fill) has put there.
    pub fn empty(&self) -> Result<()> {
        Ok(remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because the gateway of a failed test may still be ending.
        let _left_behind = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}
