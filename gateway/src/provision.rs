//! What a new device is told, and what it is called. Pure.

use casement_proto::DeviceId;
use casement_proto::device_settings::{self, DeviceSettings, GatewayUrl, SettingsError};
use std::ops::RangeInclusive;

/// Longest name of a room or device, in characters.
pub const LABEL_MAX: usize = 80;

/// Most devices that one pattern or file may name.
pub const DEVICES_MAX: usize = 1_000;

/// Every board there is firmware for: one table for the tools that build it and for the page that flashes it.
const BOARDS: &str = include_str!("../../firmware/tools/boards");

/// A board, as the flash page has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// Its name in files, for example `stamp-c3`.
    pub id: &'static str,
    /// Its chip as esptool calls it, for example `esp32c3`.
    pub chip: &'static str,
    /// Size of its flash in MiB: with the chip it tells one board from another.
    pub flash_mib: u32,
}

/// Every board, in the order of the table.
pub fn boards() -> impl Iterator<Item = Board> {
    BOARDS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut words = line.split_whitespace();
        let (id, chip, _target) = (words.next()?, words.next()?, words.next()?);
        Some(Board { id, chip, flash_mib: words.next()?.parse().ok()? })
    })
}

/// Takes the name of a room or device for people.
///
/// # Errors
/// What is allowed.
pub fn label(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > LABEL_MAX || text.chars().any(char::is_control) {
        return Err(format!("use 1 to {LABEL_MAX} printable characters"));
    }
    Ok(text.to_owned())
}

/// A name for the device in a room: the room's, as far as a device can be called so, with a number behind it when that
/// one is taken.
pub fn name_for(room: &str, taken: impl Fn(&DeviceId) -> bool) -> DeviceId {
    let mut name = String::new();
    for c in room.chars().flat_map(char::to_lowercase) {
        let spelled = match c {
            'ä' => "ae",
            'ö' => "oe",
            'ü' => "ue",
            'ß' => "ss",
            'à' | 'á' | 'â' | 'ã' | 'å' => "a",
            'ç' => "c",
            'è' | 'é' | 'ê' | 'ë' => "e",
            'ì' | 'í' | 'î' | 'ï' => "i",
            'ñ' => "n",
            'ò' | 'ó' | 'ô' | 'õ' | 'ø' => "o",
            'ù' | 'ú' | 'û' => "u",
            _ => "",
        };
        match c {
            c if c.is_ascii_alphanumeric() => name.push(c),
            _ if !spelled.is_empty() => name.push_str(spelled),
            _ if !name.ends_with('-') && !name.is_empty() => name.push('-'),
            _ => {}
        }
    }
    name.truncate(48);
    let stem = match name.trim_end_matches('-') {
        // Of a script that is not spelled out here, nothing is left.
        "" => "device",
        stem => stem,
    };
    (1_u32..)
        .map(|n| if n == 1 { stem.to_owned() } else { format!("{stem}-{n}") })
        .filter_map(|name| DeviceId::parse(&name))
        .find(|id| !taken(id))
        // A stem of 48 bytes with any number fits, and no gateway has four billion devices.
        .expect("one of the numbers is free")
}

/// Names that a pattern stands for, each with its number: `room-01…room-30`, or with two dots.
///
/// # Errors
/// What a pattern looks like.
pub fn series(pattern: &str) -> Result<Vec<(DeviceId, String)>, String> {
    const SHAPE: &str = "write the first and the last name: room-01..room-30";
    let (first, last) =
        pattern.split_once('…').or_else(|| pattern.split_once("..")).ok_or(SHAPE.to_owned())?;
    let digits = |name: &str| name.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (stem, from) = first.split_at(first.len() - digits(first));
    let (other, to) = last.split_at(last.len() - digits(last));
    if stem != other || from.is_empty() || to.is_empty() {
        return Err(format!(
            "\"{first}\" and \"{last}\" must be the same but for the number at the end; {SHAPE}"
        ));
    }
    let range: RangeInclusive<u32> = match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) if from <= to => from..=to,
        _ => return Err(format!("\"{pattern}\" does not count up; {SHAPE}")),
    };
    if (*range.end() - *range.start()) as usize >= DEVICES_MAX {
        return Err(format!("\"{pattern}\" is more than {DEVICES_MAX} devices; take fewer at once"));
    }
    let width = from.len();
    range
        .map(|number| {
            let number = format!("{number:0width$}");
            let id = DeviceId::parse(&format!("{stem}{number}"));
            id.map(|id| (id, number))
                .ok_or_else(|| format!("\"{stem}\" cannot begin a device's name; {SHAPE}"))
        })
        .collect()
}

/// The address that devices are told, from the names in the certificate: the first that leads here from elsewhere.
pub fn address(names: &[String], port: u16) -> Option<String> {
    let name = names.iter().find(|name| !is_local(name) && !name.starts_with("*."))?;
    let host = if name.contains(':') { format!("[{name}]") } else { name.clone() };
    Some(if port == 443 { format!("https://{host}") } else { format!("https://{host}:{port}") })
}

/// Whether a name leads from everywhere to the machine that asks.
pub fn is_local(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost") || name.starts_with("127.") || name == "::1"
}

/// Adds to settings who a device is and whom it sends to.
///
/// # Errors
/// [`SettingsError`] of what cannot be taken.
pub fn introduce(
    mut settings: DeviceSettings,
    device: DeviceId,
    gateway: &GatewayUrl,
    token: &str,
    authority: Option<&[u8]>,
) -> Result<DeviceSettings, SettingsError> {
    settings.device = Some(device);
    settings.gateway = Some(gateway.clone());
    settings.token = Some(device_settings::token(token)?);
    settings.ca = authority.map(device_settings::ca).transpose()?;
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boards_of_the_tools_are_known() {
        let boards: Vec<_> = boards().collect();
        assert_eq!(boards[0], Board { id: "stamp-c3", chip: "esp32c3", flash_mib: 4 });
        assert_eq!(boards.len(), 6);
        // The page tells boards apart by chip and flash; two that are alike would need a question.
        for (at, board) in boards.iter().enumerate() {
            assert!(
                boards[at + 1..].iter().all(|o| (o.chip, o.flash_mib) != (board.chip, board.flash_mib)),
                "{board:?}"
            );
        }
    }

    #[test]
    fn a_device_is_called_after_its_room() {
        for (room, name) in [
            ("Room 101", "room-101"),
            ("  Küche / Büro!", "kueche-buero"),
            ("École", "ecole"),
            ("会議室", "device"),
            ("-", "device"),
            (&"x".repeat(80), &"x".repeat(48)),
        ] {
            assert_eq!(name_for(room, |_| false).as_str(), name, "{room}");
        }
        let taken = ["lab", "lab-2"];
        assert_eq!(name_for("Lab", |id| taken.contains(&id.as_str())).as_str(), "lab-3");
    }

    #[test]
    fn a_pattern_is_a_series_of_names() {
        for pattern in ["room-08..room-11", "room-08…room-11"] {
            let names: Vec<_> = series(pattern).unwrap().iter().map(|(id, _)| id.to_string()).collect();
            assert_eq!(names, ["room-08", "room-09", "room-10", "room-11"]);
        }
        assert_eq!(series("r1..r1").unwrap(), [(DeviceId::parse("r1").unwrap(), "1".to_owned())]);
        for bad in ["room-1", "a1..b2", "a..b", "a2..a1", "a1..a2000", "-1..-2", "..", "a1..a99999999999"] {
            let why = series(bad).unwrap_err();
            assert!(why.contains("write the first") || why.contains("fewer"), "{bad}: {why}");
        }
        assert_eq!(series("a1..a1000").unwrap().len(), DEVICES_MAX);
    }

    #[test]
    fn devices_are_told_a_name_that_leads_here() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (given, port, url) in [
            (&["localhost", "127.0.0.1", "::1"][..], 8443, None),
            (&["*.example.org", "localhost", "air.example.org"], 443, Some("https://air.example.org")),
            (&["192.168.1.5"], 8443, Some("https://192.168.1.5:8443")),
            (&["2001:db8::1"], 443, Some("https://[2001:db8::1]")),
            (&[], 443, None),
        ] {
            assert_eq!(address(&names(given), port).as_deref(), url);
            assert!(url.is_none_or(|url| GatewayUrl::parse(url).is_ok()));
        }
    }

    #[test]
    fn what_a_device_is_told_can_be_read_back() {
        let url = GatewayUrl::parse("https://air.example.org").unwrap();
        let (id, ca) = (DeviceId::parse("lab").unwrap(), [0x30, 0x82, 0, 1, 7]);
        let told = introduce(DeviceSettings::default(), id, &url, "cas_dev_x", Some(&ca)).unwrap();
        let read = DeviceSettings::decode(&told.encode()).unwrap();
        assert_eq!(read, told);
        assert_eq!((read.device, read.ca.as_deref()), (Some(id), Some(&ca[..])));
        let bad = introduce(DeviceSettings::default(), id, &url, "a b", None);
        assert_eq!(bad, Err(SettingsError::Token));
    }
}
