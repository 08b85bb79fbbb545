//! What may stand behind an option, and what is said when it may not: what, why, and what helps.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::RangeInclusive;
use std::path::Path;

/// How fast time may pass.
pub const SPEED: RangeInclusive<f64> = 1.0..=100_000.0;
/// How long a device may run, in hours of its world: 11 years.
pub const HOURS: RangeInclusive<f64> = 0.001..=100_000.0;
/// Most bytes of a recording: an answer each five seconds for some six weeks.
pub const RECORDING_BYTES_MAX: u64 = 16 << 20;

/// Reads how fast time passes.
///
/// # Errors
/// In words, after “invalid value …”.
pub fn speed(text: &str) -> Result<f64, String> {
    within(text, &SPEED, "At 1 time passes as it does outside, at 3600 an hour in each second")
}

/// Reads how long to run.
///
/// # Errors
/// In words, after “invalid value …”.
pub fn hours(text: &str) -> Result<f64, String> {
    within(text, &HOURS, "A week has 168 hours; without the option the device runs until it is stopped")
}

fn within(text: &str, range: &RangeInclusive<f64>, help: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!("a number from {} to {} is needed. {help}.", range.start(), range.end())),
    }
}

/// Whether speed and hours go together.
///
/// # Errors
/// In words.
pub fn span(speed: f64, hours: Option<f64>) -> Result<Option<i64>> {
    match hours {
        Some(hours) => Ok(Some((hours * 3_600_000.0) as i64)),
        None if speed > 1.0 => bail!(
            "--speed {speed} needs --hours: the world begins so many hours ago and ends in the present, because readings \
             from the future are refused. For a day: --speed {speed} --hours 24"
        ),
        None => Ok(None),
    }
}

/// Reads a file whole.
///
/// # Errors
/// It cannot be read, is a folder, or is larger.
pub fn read(path: &Path, bytes_max: u64, what: &str) -> Result<Vec<u8>> {
    let file = File::open(path).with_context(|| format!("{} cannot be read as {what}", path.display()))?;
    let mut bytes = vec![];
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("{} cannot be read as {what}", path.display()))?;
    if bytes.len() as u64 > bytes_max {
        bail!(
            "{} cannot be read as {what}: it is larger than {bytes_max} bytes. Is it another file?",
            path.display()
        );
    }
    Ok(bytes)
}

/// What helps against an error of the file that holds the flash.
pub fn flash_help(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "its folder is not there; make it, or name another one",
        ErrorKind::PermissionDenied => "this user may not write there; name a place that you own",
        ErrorKind::IsADirectory => "a file is needed; name one in that folder, such as flash.bin",
        ErrorKind::InvalidInput => "name a file that casement-sim made, or one that is not there yet",
        _ => "name another file",
    }
}

/// What helps when there can be no serial line at a path.
pub fn serial_help(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::AlreadyExists => {
            "something is there already: stop the casement-sim that uses it, delete it, or name another path"
        }
        ErrorKind::NotFound => "its folder is not there; make it, or name another one",
        _ => "name a path that you may write to",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_limits_and_the_error_says_them() {
        for (text, number) in [("1", 1.0), ("3600", 3_600.0), ("1e5", 100_000.0), ("1.5", 1.5)] {
            assert_eq!(speed(text), Ok(number), "{text}");
        }
        for text in ["0", "0.99", "-1", "100001", "NaN", "inf", "fast", "", "1 "] {
            assert!(speed(text).is_err_and(|why| why.contains("from 1 to 100000")), "{text}");
        }
        assert_eq!(hours("0.5"), Ok(0.5));
        for text in ["0", "-3", "1e9", "NaN", "a day"] {
            assert!(hours(text).is_err_and(|why| why.contains("168")), "{text}");
        }
        assert_eq!(span(1.0, None).expect("for ever"), None);
        assert_eq!(span(60.0, Some(0.5)).expect("half an hour"), Some(1_800_000));
        assert!(span(60.0, None).is_err_and(|why| why.to_string().contains("--hours 24")));
    }
}
