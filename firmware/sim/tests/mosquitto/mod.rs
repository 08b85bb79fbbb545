//! A real broker and a subscriber: Mosquitto's programs, which `tests/tools/mosquitto` fetches.
#![allow(unreachable_pub, reason = "it is a module of a test")]

use super::audit::{Found, Name};
use super::server::Chain;
use super::there::write_chain;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Where its programs are, by `$MOSQUITTO_DIR`.
pub fn programs() -> Option<PathBuf> {
    std::env::var_os("MOSQUITTO_DIR").map(PathBuf::from).filter(|folder| folder.join("mosquitto").is_file())
}

/// A broker with TLS and a file of passwords. A user may write below its own name alone.
pub struct Mosquitto {
    programs: PathBuf,
    folder: tempfile::TempDir,
    child: Option<Child>,
    pub port: u16,
    pub starts: u32,
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Mosquitto {
    /// Sets a broker up, and starts it.
    pub fn install(programs: &Path, chain: &Chain, root_der: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write_chain(folder.path(), chain);
        let root = pem::encode(&pem::Pem::new("CERTIFICATE", root_der));
        std::fs::write(folder.path().join("root.pem"), root).expect("writes");
        // It is free now, and after each restart, when the system may choose no more, it must be the same.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let settings = format!(
            "listener {port} 127.0.0.1\ncertfile {}\nkeyfile {}\nallow_anonymous false\npassword_file {}\n\
             acl_file {}\npersistence true\npersistence_location {}/\nmax_queued_messages 0\nlog_dest file {}\n\
             user root\n",
            at("cert.pem"),
            at("key.pem"),
            at("passwords"),
            at("rights"),
            folder.path().display(),
            at("log"),
        );
        std::fs::write(folder.path().join("settings"), settings).expect("writes");
        let rights = "pattern write casement/%u/readings\nuser collector\ntopic read casement/#\n";
        std::fs::write(folder.path().join("rights"), rights).expect("writes");
        std::fs::write(folder.path().join("passwords"), "").expect("writes");
        let it = Self { programs: programs.to_owned(), folder, child: None, port, starts: 0 };
        it.set_password("collector", "collects");
        it
    }

    /// Counts from the next start on.
    pub fn set_password(&self, user: &str, password: &str) {
        let mut command = Command::new(self.programs.join("mosquitto_passwd"));
        command.arg("-b").arg(self.folder.path().join("passwords")).args([user, password]);
        assert!(command.output().expect("runs").status.success());
    }

    /// Starts it and waits until it takes connections.
    pub fn start(&mut self) {
        let mut command = Command::new(self.programs.join("mosquitto"));
        command.arg("-c").arg(self.folder.path().join("settings"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("starts");
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(child.try_wait().expect("is ours").is_none(), "the broker ended:\n{}", self.log());
            std::thread::yield_now();
        }
        self.child = Some(child);
        self.starts += 1;
    }

    /// Asks it to end, and waits: it keeps what it has for subscribers.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = child.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("runs").success());
            child.wait().expect("is ours");
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Somebody who reads everything, and for whom the broker keeps what comes meanwhile.
    pub fn subscribe(&self, heard: &Heard) -> Subscriber {
        let mut command = Command::new(self.programs.join("mosquitto_sub"));
        let port = self.port.to_string();
        command.args(["-h", "localhost", "-p", &port, "-i", "collector", "-c", "-q", "1", "-F", "%t %p"]);
        command.args(["-u", "collector", "-P", "collects", "-t", "casement/+/readings", "--cafile"]);
        command.arg(self.folder.path().join("root.pem"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let heard = heard.clone();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| heard.note(&line)));
        Subscriber(child)
    }
}

/// A subscriber; it ends with its value.
pub struct Subscriber(Child);

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _gone = (self.0.kill(), self.0.wait());
    }
}

/// What subscribers heard: CO2 by name, and how many readings came again.
#[derive(Clone, Default)]
pub struct Heard(Arc<(Mutex<Books>, Condvar)>);

#[derive(Default)]
struct Books {
    co2: BTreeMap<Name, f64>,
    again: u32,
    trouble: Option<String>,
}

impl Heard {
    fn note(&self, line: &str) {
        let mut books = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(why) = books.note(line) {
            books.trouble = Some(format!("{why}: {line}"));
        }
        self.0.1.notify_all();
    }

    /// Readings that came more than once.
    pub fn again(&self) -> u32 {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).again
    }

    /// Waits until so many readings are there, and gives them, each once.
    pub fn wait_for(&self, count: usize) -> Found {
        let books = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_timeout_while(books, Duration::from_secs(30), |it| it.co2.len() < count);
        let (books, late) = waited.expect("not poisoned");
        assert!(!late.timed_out(), "{} of {count} readings came", books.co2.len());
        assert_eq!(books.trouble, None);
        Found { names: books.co2.keys().copied().collect(), rows: books.co2.values().copied().collect() }
    }
}

impl Books {
    fn note(&mut self, line: &str) -> Result<(), &'static str> {
        let body = line.strip_prefix("casement/room-1/readings ").ok_or("another topic")?;
        let batch: serde_json::Value = serde_json::from_str(body).map_err(|_| "no JSON")?;
        let boot = batch["boot"].as_u64().ok_or("no boot")?;
        for reading in batch["readings"].as_array().ok_or("no readings")? {
            let name = (boot, reading["seq"].as_u64().ok_or("no number")?);
            reading["time"].as_i64().ok_or("no date")?;
            let co2 = reading["co2"].as_f64().unwrap_or(0.0);
            if let Some(before) = self.co2.insert(name, co2) {
                self.again += 1;
                if before != co2 {
                    return Err("another value under the same name");
                }
            }
        }
        Ok(())
    }
}
