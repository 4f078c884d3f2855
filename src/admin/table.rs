//! Tables for people, as wide as their content or as a terminal allows. If that is too narrow, the
//! least important columns are left out first, and the last one is cut.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The format of a column.
pub(super) struct Column {
    pub(super) title: &'static str,
    /// Numbers are right-aligned.
    pub(super) is_right: bool,
    /// Narrow terminals lose the columns with the highest number first, and those with 0 never.
    pub(super) drop_order: u8,
}

impl Column {
    pub(super) const fn left(title: &'static str, drop_order: u8) -> Self {
        Self { title, is_right: false, drop_order }
    }

    pub(super) const fn right(title: &'static str, drop_order: u8) -> Self {
        Self { title, is_right: true, drop_order }
    }
}

/// A table with a title row. The last column may have any width.
pub(super) struct Table {
    columns: &'static [Column],
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: &'static [Column]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row of one cell for each column.
    pub(super) fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Returns its lines, the title first, none wider than `room`.
    pub(super) fn lines(&self, room: Option<usize>) -> Vec<String> {
        let mut widths = self.widths(room.map(|_| CELL_WIDTH_MAX));
        let last = self.columns.len() - 1;
        if let Some(room) = room {
            let wanted = widths[last].unwrap_or(0);
            widths[last] = Some(wanted.min(LAST_WIDTH_MIN));
            while total(&widths) > room && self.drop_one(&mut widths) {}
            let spare = room.saturating_sub(total(&widths));
            widths[last] = widths[last].map(|width| wanted.min(width + spare));
        }
        let titles: Vec<String> = self.columns.iter().map(|column| column.title.to_string()).collect();
        std::iter::once(&titles).chain(&self.rows).map(|cells| self.line(cells, &widths, room)).collect()
    }

    /// Returns the width of each column; the last one is unbounded.
    fn widths(&self, most: Option<usize>) -> Vec<Option<usize>> {
        let width = |(index, column): (usize, &Column)| {
            let cells = self.rows.iter().map(|row| row[index].width());
            let widest = cells.max().unwrap_or(0).max(column.title.width());
            let is_last = index + 1 == self.columns.len();
            Some(if is_last { widest } else { widest.min(most.unwrap_or(usize::MAX)) })
        };
        self.columns.iter().enumerate().map(width).collect()
    }

    fn drop_one(&self, widths: &mut [Option<usize>]) -> bool {
        let shown = (0..widths.len()).filter(|&index| widths[index].is_some() && self.columns[index].drop_order > 0);
        let Some(least) = shown.max_by_key(|&index| self.columns[index].drop_order) else { return false };
        widths[least] = None;
        true
    }

    fn line(&self, cells: &[String], widths: &[Option<usize>], room: Option<usize>) -> String {
        let mut line = String::new();
        for (index, width) in widths.iter().enumerate() {
            let Some(width) = *width else { continue };
            if !line.is_empty() {
                line.push(' ');
            }
            let is_last = index + 1 == widths.len();
            let cell = if is_last { end_of(&cells[index], width) } else { start_of(&cells[index], width) };
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            if self.columns[index].is_right {
                line.push_str(&padding);
            }
            line.push_str(&cell);
            if !self.columns[index].is_right && !is_last {
                line.push_str(&padding);
            }
        }
        match room {
            Some(room) => start_of(line.trim_end(), room),
            None => line.trim_end().into(),
        }
    }
}

fn total(widths: &[Option<usize>]) -> usize {
    let shown = || widths.iter().flatten();
    (shown().sum::<usize>() + shown().count()).saturating_sub(1)
}

/// Returns the beginning of `text`, as far as it fits.
pub(super) fn start_of(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.into();
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used < width
    };
    let mut start: String = text.chars().take_while(fits).collect();
    if width > 0 {
        start.push('…');
    }
    start
}

/// Returns the end of `text`, as far as it fits: the more useful part of a path.
fn end_of(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.into();
    }
    let turned = start_of(&text.chars().rev().collect::<String>(), width);
    turned.chars().rev().collect()
}

/// On a terminal all cells but the last are cut to this: a name may be much longer.
const CELL_WIDTH_MAX: usize = 24;
/// If the last column has less, other columns are left out.
const LAST_WIDTH_MIN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] =
        &[Column::right("NR", 0), Column::left("WHO", 1), Column::left("WHERE", 2), Column::left("PATH", 0)];

    fn table() -> Table {
        let mut table = Table::new(COLUMNS);
        table.push(["7", "ann", "127.0.0.1", "/a/long/path/to/a/file"].map(String::from).into());
        table.push(["12", &"b".repeat(64), "::1", "/名前"].map(String::from).into());
        table
    }

    #[test]
    fn a_table_is_as_wide_as_what_is_in_it() {
        let lines = table().lines(None);
        assert_eq!(lines[0], format!("NR WHO{:61} WHERE     PATH", ""));
        assert_eq!(lines[1], format!(" 7 ann{:61} 127.0.0.1 /a/long/path/to/a/file", ""));
    }

    #[test]
    fn no_line_is_wider_than_the_room_and_paths_keep_their_end() {
        for room in 0..100 {
            for line in table().lines(Some(room)) {
                assert!(line.width() <= room, "{room}: {line}");
            }
        }
        assert_eq!(table().lines(Some(40))[1], " 7 ann                      …h/to/a/file");
        assert_eq!(table().lines(Some(20))[1], " 7 …g/path/to/a/file");
        assert_eq!(table().lines(Some(20))[2], "12 /名前");
    }
}
