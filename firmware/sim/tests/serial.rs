//! The program itself: a fresh device answers Improv on its serial line, and shows how to set it up.

use casement_core::improv;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn a_fresh_device_answers_improv_and_shows_its_set_up_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_casement-sim"));
    command
        .arg("--flash")
        .arg(at("flash.bin"))
        .arg("--serial")
        .arg(at("tty"))
        .arg("--screens")
        .arg(at("screens"));
    let _device = Running(command.stderr(Stdio::piped()).spawn().expect("starts"));
    let (sender, answers) = channel();
    let tty = at("tty");
    std::thread::spawn(move || {
        // The link appears when the device is up.
        let mut line = loop {
            match std::fs::File::options().read(true).write(true).open(&tty) {
                Ok(line) => break line,
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        let mut packet = [0; 32];
        let len = improv::encode(3, &[3, 0], &mut packet).expect("fits");
        line.write_all(&packet[..len]).expect("sends");
        let (mut said, mut buffer) = (vec![], [0; 256]);
        while !String::from_utf8_lossy(&said).contains("Casement sim") {
            let len = line.read(&mut buffer).expect("reads");
            said.extend_from_slice(&buffer[..len]);
        }
        let _heard = sender.send(said);
    });
    let said = answers.recv_timeout(Duration::from_secs(20)).expect("an answer");
    let text = String::from_utf8_lossy(&said);
    assert!(text.contains("IMPROV") && text.contains("casement"), "{text:?}");
    let picture = std::fs::read(at("screens").join("now.png")).expect("a screen");
    assert_eq!(&picture[1..4], b"PNG");
}
