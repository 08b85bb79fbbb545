//! Listings: a table for people.

use comfy_table::{ContentArrangement, Table, presets};

/// A table without lines around it, as wide as it needs to be.
pub(super) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().copied());
    for row in rows {
        table.add_row(row.into_iter().map(|cell| printable(&cell)));
    }
    let mut text = String::new();
    for line in table.lines() {
        // The preset leaves a column's width of nothing on either side.
        text.push_str(line.trim_end().strip_prefix(' ').unwrap_or_default());
        text.push('\n');
    }
    text
}

/// A name that somebody chose must not move the cursor of somebody else's terminal.
fn printable(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        let text = table(&["A", "B"], vec![vec!["x\u{1b}[2J".into(), "y".into()]]);
        assert!(!text.contains('\u{1b}') && text.lines().count() == 2, "{text}");
    }
}
