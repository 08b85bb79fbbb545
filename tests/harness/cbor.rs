//! A CBOR writer (RFC 8949) that shares no code with the gateway.

use serde_json::Value;

/// Writes a JSON value as CBOR: whole numbers as integers, all others as 64-bit floats.
#[must_use]
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(no) if !no => out.push(0xf4),
        Value::Bool(_) => out.push(0xf5),
        Value::Number(number) => {
            if let Some(whole) = number.as_u64() {
                head(0, whole, out);
            } else if let Some(negative) = number.as_i64() {
                head(1, negative.unsigned_abs() - 1, out);
            } else {
                out.push(0xfb);
                out.extend(number.as_f64().unwrap_or(f64::NAN).to_be_bytes());
            }
        }
        Value::String(text) => {
            head(3, text.len() as u64, out);
            out.extend(text.as_bytes());
        }
        Value::Array(items) => {
            head(4, items.len() as u64, out);
            for item in items {
                write(item, out);
            }
        }
        Value::Object(entries) => {
            head(5, entries.len() as u64, out);
            for (key, item) in entries {
                head(3, key.len() as u64, out);
                out.extend(key.as_bytes());
                write(item, out);
            }
        }
    }
}

/// The first bytes of an item: its major type and its number or length, as short as they go.
fn head(major: u8, argument: u64, out: &mut Vec<u8>) {
    let bytes = argument.to_be_bytes();
    let (info, tail) = match argument {
        0..=23 => (bytes[7], &bytes[8..]),
        24..=0xff => (24, &bytes[7..]),
        0x100..=0xffff => (25, &bytes[6..]),
        0x1_0000..=0xffff_ffff => (26, &bytes[4..]),
        _ => (27, &bytes[..]),
    };
    out.push(major << 5 | info);
    out.extend(tail);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_examples_of_rfc_8949_appendix_a_are_written_as_there() {
        for (value, bytes) in [
            (json!(0), "00"),
            (json!(23), "17"),
            (json!(24), "1818"),
            (json!(1000), "1903e8"),
            (json!(1_000_000), "1a000f4240"),
            (json!(1_000_000_000_000_u64), "1b000000e8d4a51000"),
            (json!(-1000), "3903e7"),
            (json!(1.1), "fb3ff199999999999a"),
            (json!("IETF"), "6449455446"),
            (json!([1, [2, 3], [4, 5]]), "8301820203820405"),
            (json!({"a": 1, "b": [2, 3]}), "a26161016162820203"),
            (json!([false, true, null]), "83f4f5f6"),
        ] {
            let hex: String = encode(&value).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, bytes, "{value}");
        }
    }
}
