//! The program on one end of a serial line, a test on the other.
#![allow(dead_code, unreachable_pub, reason = "it is a module of a test")]

use casement_core::Millis;
use casement_core::improv::{self, PART_BYTES_MAX, Packet, Parser, SETTINGS};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longest wait for anything. Contacts with a gateway are within it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A device that runs. It is killed, not ended: its power goes.
pub struct Device {
    child: Child,
    line: File,
    packets: Receiver<String>,
    log: Receiver<String>,
    pub folder: PathBuf,
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Device {
    /// Power on. Flash, screens and line are in this folder.
    pub fn start(folder: &Path) -> Self {
        let at = |name: &str| folder.join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_casement-sim"));
        command.arg("--flash").arg(at("flash.bin")).arg("--serial").arg(at("tty"));
        command.arg("--screens").arg(at("screens"));
        let mut child = command.stderr(Stdio::piped()).spawn().expect("starts");
        let (tell, log) = channel();
        let err = BufReader::new(child.stderr.take().expect("a pipe"));
        std::thread::spawn(move || {
            for line in err.lines().map_while(Result::ok) {
                let _nobody = tell.send(line);
            }
        });
        // It says so when the serial line is there.
        let says = || log.recv_timeout(PATIENCE).expect("it starts");
        std::iter::repeat_with(says).find(|line| line.contains(" start ")).expect("it starts");
        let line = File::options().read(true).write(true).open(at("tty")).expect("a line");
        let mut input = line.try_clone().expect("a line");
        let (tell, packets) = channel();
        std::thread::spawn(move || {
            let (mut parser, mut buffer) = (Parser::new(), [0; 256]);
            while let Ok(len) = input.read(&mut buffer) {
                for byte in &buffer[..len] {
                    parser.push(*byte, Millis(0));
                    while let Some(packet) = parser.packet() {
                        let _nobody = tell.send(words(&packet));
                    }
                }
            }
        });
        Self { child, line, packets, log, folder: folder.to_owned() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.line.write_all(bytes).expect("sends");
    }

    /// The next packet; `None` when none comes in time.
    pub fn hear_within(&self, time: Duration) -> Option<String> {
        self.packets.recv_timeout(time).ok()
    }

    /// The next so many packets.
    pub fn hear(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.hear_within(PATIENCE).expect("an answer")).collect()
    }

    /// Hands over a whole image; gives what it said once that was there.
    pub fn offer(&mut self, image: &[u8], answers: usize) -> Vec<String> {
        for offset in (0..image.len()).step_by(PART_BYTES_MAX) {
            self.send(&part(image, offset));
            let next = (offset + PART_BYTES_MAX).min(image.len());
            if next < image.len() {
                assert_eq!(self.hear(1), [format!("result {SETTINGS:x} [\"{next}\"]")]);
            }
        }
        self.hear(answers)
    }

    /// Waits for a line of its log.
    pub fn logs(&self, words: &str) -> String {
        let next = || self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it never says {words:?}"));
        std::iter::repeat_with(next).find(|line| line.contains(words)).expect("it says something")
    }
}

/// A command, as bytes.
pub fn command(name: u8, value: &[u8]) -> Vec<u8> {
    let mut packet = [0; improv::PACKET_BYTES_MAX];
    let data = [&[name, u8::try_from(value.len()).expect("fits")], value].concat();
    let len = improv::encode(3, &data, &mut packet).expect("fits");
    packet[..len].to_vec()
}

/// The part of an image that begins at an offset.
pub fn part(image: &[u8], offset: usize) -> Vec<u8> {
    let bytes = &image[offset..image.len().min(offset + PART_BYTES_MAX)];
    let number = |it: usize| u16::try_from(it).expect("fits").to_le_bytes();
    command(SETTINGS, &[&number(image.len())[..], &number(offset), bytes].concat())
}

/// A packet in words.
fn words(packet: &Packet) -> String {
    match (packet.kind, &packet.data[..]) {
        (1, [state]) => format!("state {state}"),
        (2, [error]) => format!("error {error}"),
        (4, [command, _, texts @ ..]) => {
            let mut texts = texts;
            let mut all = vec![];
            while let Some((len, rest)) = texts.split_first() {
                let (text, rest) = rest.split_at(usize::from(*len));
                all.push(String::from_utf8_lossy(text).into_owned());
                texts = rest;
            }
            format!("result {command:x} {all:?}")
        }
        other => format!("{other:?}"),
    }
}
