//! Tables for terminals: aligned, never wider than the terminal, never wrapped.
//!
//! What is too wide loses from its widest flexible column first, then from names, marked by `…`; where that is not enough,
//! the line is cut.
//! Cells are cleaned of control characters here, so that nothing of a cluster reaches the terminal as it is.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::output::{Paint, Style};
use crate::text::clean;

/// Between two columns.
const GAP: &str = "  ";

/// A column is not made narrower than this, or than its heading.
const SHORTENED_MIN: usize = 12;

/// Rows under headings.
#[derive(Clone, Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

/// One column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    heading: &'static str,
    fit: Fit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// As wide as its widest cell.
    Whole,
    /// Shortened where the terminal is too narrow.
    Flexible,
    /// Shortened where that of [`Fit::Flexible`] is not enough.
    Name,
    /// As [`Fit::Whole`], aligned right.
    Number,
}

/// A text with a style.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Column {
    /// As wide as its widest cell.
    #[must_use]
    pub const fn whole(heading: &'static str) -> Self {
        Self { heading, fit: Fit::Whole }
    }

    /// Shortened where the terminal is too narrow.
    #[must_use]
    pub const fn flexible(heading: &'static str) -> Self {
        Self { heading, fit: Fit::Flexible }
    }

    /// Shortened only after all that is flexible.
    #[must_use]
    pub const fn name(heading: &'static str) -> Self {
        Self { heading, fit: Fit::Name }
    }

    /// Aligned right.
    #[must_use]
    pub const fn number(heading: &'static str) -> Self {
        Self { heading, fit: Fit::Number }
    }
}

impl Cell {
    /// In a style.
    #[must_use]
    pub fn styled((text, style): (&str, Style)) -> Self {
        Self { text: clean(text).into_owned(), style }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled((text.as_ref(), Style::Plain))
    }
}

impl Table {
    /// Without rows, yet.
    #[must_use]
    pub fn new(columns: &[Column]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; cells that are missing are empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// No rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Only the first rows.
    pub fn truncate(&mut self, rows: usize) {
        self.rows.truncate(rows);
    }

    /// The lines, each ended; `columns_max` is the width of the terminal, if there is one.
    #[must_use]
    pub fn render(&self, paint: Paint, columns_max: Option<usize>) -> String {
        let widths = self.widths(columns_max);
        let headings =
            self.columns.iter().map(|column| Cell::styled((column.heading, Style::Strong)));
        let mut out = String::new();
        self.line(&headings.collect::<Vec<_>>(), &widths, paint, columns_max, &mut out);
        for row in &self.rows {
            self.line(row, &widths, paint, columns_max, &mut out);
        }
        out
    }

    fn line(
        &self,
        cells: &[Cell],
        widths: &[usize],
        paint: Paint,
        columns_max: Option<usize>,
        out: &mut String,
    ) {
        let mut left = columns_max.unwrap_or(usize::MAX);
        let last = cells.iter().rposition(|cell| !cell.text.is_empty());
        for (index, ((cell, width), column)) in
            cells.iter().zip(widths).zip(&self.columns).enumerate()
        {
            let gap = if index == 0 { "" } else { GAP };
            if last.is_none_or(|last| index > last) || left <= gap.len() {
                break;
            }
            let width = (*width).min(left - gap.len());
            let text = shorten(&cell.text, width);
            let padding = " ".repeat(width - text.width());
            let text = paint.text(&text, cell.style);
            let is_last = last == Some(index);
            out.push_str(gap);
            match column.fit {
                Fit::Number => out.extend([padding, text]),
                Fit::Whole | Fit::Flexible | Fit::Name if is_last => out.push_str(&text),
                Fit::Whole | Fit::Flexible | Fit::Name => out.extend([text, padding]),
            }
            left -= gap.len() + width;
        }
        out.push('\n');
    }

    fn widths(&self, columns_max: Option<usize>) -> Vec<usize> {
        let widest = |index: usize, column: &Column| {
            let cells = self.rows.iter().filter_map(|row| row.get(index));
            cells.map(|cell| cell.text.width()).fold(column.heading.width(), usize::max)
        };
        let mut widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(index, column)| widest(index, column)).collect();
        let gaps = GAP.len() * self.columns.len().saturating_sub(1);
        let Some(room) = columns_max.map(|columns| columns.saturating_sub(gaps)) else {
            return widths;
        };
        let mut excess = widths.iter().sum::<usize>().saturating_sub(room);
        for fit in [Fit::Flexible, Fit::Name] {
            while excess > 0 {
                let giving = widths.iter_mut().zip(&self.columns).filter_map(|(width, column)| {
                    let min = SHORTENED_MIN.max(column.heading.width());
                    (column.fit == fit && *width > min).then_some(width)
                });
                let Some(widest) = giving.max() else { break };
                *widest -= 1;
                excess -= 1;
            }
        }
        widths
    }
}

/// At most `columns` wide; `…` stands for what was cut.
#[must_use]
pub fn shorten(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut width = 1;
    for character in text.chars() {
        width += character.width().unwrap_or_default();
        if width > columns {
            break;
        }
        short.push(character);
    }
    if columns > 0 {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[
            Column::name("ENTITY"),
            Column::whole("STATUS"),
            Column::number("READY"),
            Column::flexible("MESSAGE"),
        ]);
        table.row([
            "component:default/shop".into(),
            Cell::styled(("Healthy", Style::Good)),
            "3/3".into(),
        ]);
        table.row([
            "component:default/支払い".into(),
            Cell::styled(("Degraded", Style::Bad)),
            "10/12".into(),
            "container app crashes\nagain and again, \x1b[31mexit code 1".into(),
        ]);
        table
    }

    #[test]
    fn without_a_terminal_nothing_is_shortened() {
        expect![[r#"
            ENTITY                    STATUS    READY  MESSAGE
            component:default/shop    Healthy     3/3
            component:default/支払い  Degraded  10/12  container app crashes again and again, �[31mexit code 1
        "#]]
        .assert_eq(&table().render(Paint::Plain, None));
    }

    #[test]
    fn a_narrow_terminal_shortens_the_widest_first() {
        expect![[r#"
            ENTITY                    STATUS    READY  MESSAGE
            component:default/shop    Healthy     3/3
            component:default/支払い  Degraded  10/12  container app …
        "#]]
        .assert_eq(&table().render(Paint::Plain, Some(58)));
        expect![[r#"
            ENTITY        STATUS    READY
            component:d…  Healthy     3/3
            component:d…  Degraded  10/12
        "#]]
        .assert_eq(&table().render(Paint::Plain, Some(29)));
        for columns in 0..120 {
            for line in table().render(Paint::Plain, Some(columns)).lines() {
                assert!(line.width() <= columns, "{line:?} in {columns}");
            }
        }
    }

    #[test]
    fn styles_do_not_count_as_width() {
        let styled = table().render(Paint::Styled, None);
        assert!(styled.contains("\x1b[32mHealthy\x1b[0m     3/3\n"), "{styled:?}");
    }
}
