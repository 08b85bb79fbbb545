//! The program's options: each has a limit, and an error that says what, why and what helps; nothing is done then.

use std::path::Path;
use std::process::{Command, Output};

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_casement-sim"));
    command.current_dir(folder).args(arguments).env("RUST_BACKTRACE", "1").output().expect("runs")
}

fn check(folder: &Path, arguments: &[&str], words: &[&str]) {
    let output = run(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code == 1 || code == 2), "{arguments:?}: {said}");
    for word in words {
        assert!(said.contains(word), "{arguments:?} does not say {word:?}:\n{said}");
    }
    assert!(
        said.starts_with("error: ") && !said.contains("panicked") && !said.contains("backtrace"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn what_cannot_be_is_refused_with_the_reason_and_what_helps() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("short.bin"), [0; 100]).expect("writes");
    std::fs::write(at("text"), "settings\n").expect("writes");
    std::fs::write(at("large"), vec![0; 5_000]).expect("writes");
    std::fs::write(at("lines"), "# real\n01f4336667a25eb93c\n01f4\n").expect("writes");
    std::fs::write(at("latin1"), b"\xe4\n").expect("writes");
    for (arguments, words) in [
        (&[][..], &["--flash <FILE>", "--help"][..]),
        (&["--flash", "f", "--sped", "2"], &["--sped", "--speed"]),
        (&["--flash", "f", "--speed", "0.5"], &["0.5", "--speed", "from 1 to 100000"]),
        (&["--flash", "f", "--speed", "60"], &["--speed 60 needs --hours", "--hours 24"]),
        (&["--flash", "f", "--hours", "0"], &["--hours", "from 0.001 to 100000", "168"]),
        (&["--flash", "f", "--power-cuts", "-1"], &["--power-cuts", "-1"]),
        (&["--flash", "none/f", "--hours", "1"], &["none/f", "its folder is not there"]),
        (&["--flash", ".", "--hours", "1"], &["a file is needed"]),
        (&["--flash", "short.bin"], &["short.bin", "this file has 100", "one that is not there yet"]),
        (&["--flash", "f", "--settings", "none"], &["none cannot be read", "casement device image"]),
        (&["--flash", "f", "--settings", "text"], &["text", "casement device image"]),
        (&["--flash", "f", "--settings", "large"], &["large", "larger than 4096 bytes"]),
        (&["--flash", "f", "--recorded", "none"], &["none cannot be read"]),
        (&["--flash", "f", "--recorded", "."], &[". cannot be read"]),
        (&["--flash", "f", "--recorded", "lines"], &["lines:3", "nine bytes in hexadecimal"]),
        (&["--flash", "f", "--recorded", "latin1"], &["latin1", "nine bytes in hexadecimal"]),
        (&["--flash", "f", "--serial", "text"], &["text", "something is there already", "another path"]),
        (&["--flash", "f", "--serial", "none/tty"], &["none/tty", "its folder is not there"]),
        (&["--flash", "f", "--screens", "text"], &["text", "a folder is needed"]),
    ] {
        check(folder.path(), arguments, words);
    }
}

#[test]
fn help_names_every_option_with_its_limit_and_an_example() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(folder.path(), &["--help"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    for word in [
        "--flash",
        "--settings",
        "--speed",
        "--hours",
        "--screens",
        "--serial",
        "--power-cuts",
        "--recorded",
        "1 to 100000",
        "casement device image",
        "casement-sim --flash",
    ] {
        assert!(text.contains(word), "{word:?} is missing:\n{text}");
    }
    assert!(run(folder.path(), &["--version"]).status.success());
}

#[test]
fn an_hour_passes_in_a_second_and_leaves_screens() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = run(
        folder.path(),
        &["--flash", "f", "--hours", "0.01", "--speed", "100000", "--screens", "screens", "--serial", "tty"],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(" start "), "{said}");
    assert!(folder.path().join("screens/now.png").is_file());
    assert!(folder.path().join("tty").symlink_metadata().is_err(), "the link is gone with the device");
}
