//! The table of a watch on a terminal: drawn in place, over the one that stands there.

use vitals_proto::v1::Entity;

use crate::follow::View;
use crate::output::{Output, Size, terminal_size};
use crate::{Error, text};

/// What stands above the table, made anew each time it is drawn.
pub(super) struct Head(pub(super) Box<dyn Fn() -> Vec<String> + Send + Sync>);

/// What stands on the terminal.
#[derive(Default)]
pub(super) struct Screen {
    head: Option<Head>,
    lines: usize,
    pub(super) is_stale: bool,
    /// What is wrong with the connection.
    pub(super) trouble: String,
}

impl Screen {
    /// Nothing stands there yet.
    pub(super) fn new(head: Option<Head>) -> Self {
        Self { head, ..Self::default() }
    }
}

/// Draws the table over the one that stands there.
pub(super) fn draw(output: &mut Output, screen: &mut Screen, view: &View) -> Result<(), Error> {
    let Some(size) = terminal_size().or(output.terminal) else { return Ok(()) };
    // The last column stays free: a terminal that has written there may begin a new line.
    let size = Size { columns: size.columns.saturating_sub(1), ..size };
    let lines = picture(output, screen, view, size);
    let mut frame = String::new();
    if screen.lines > 0 {
        frame.push_str(&format!("\x1b[{}A\r", screen.lines));
    }
    for line in &lines {
        frame.push_str(line);
        frame.push_str("\x1b[K\n");
    }
    frame.push_str("\x1b[J");
    screen.lines = lines.len();
    screen.is_stale = false;
    output.data.write_all(frame.as_bytes())?;
    Ok(output.data.flush()?)
}

/// The lines that fit the terminal: the worst first where not all fit.
fn picture(output: &Output, screen: &Screen, view: &View, size: Size) -> Vec<String> {
    let mut lines = screen.head.as_ref().map(|head| (head.0)()).unwrap_or_default();
    let rows_max = size.lines.saturating_sub(4 + lines.len()).max(1);
    let mut entities: Vec<&Entity> = view.entities().values().collect();
    let hidden = entities.len().saturating_sub(rows_max);
    if hidden > 0 {
        entities.sort_by_key(|entity| std::cmp::Reverse(text::status_of(entity.verdict.as_ref())));
        entities.truncate(rows_max);
    }
    let table = super::get::table(entities, output.now());
    for line in &mut lines {
        *line = crate::table::shorten(&text::clean(line), size.columns);
    }
    lines.extend(table.render(output.paint, Some(size.columns)).lines().map(str::to_owned));
    let mut foot = Vec::new();
    if hidden > 0 {
        foot.push(format!("… and {hidden} more that are no worse"));
    }
    match view.incoming() {
        Some(count) if !view.is_whole() => foot.push(format!("loading, {count} so far")),
        _ => {}
    }
    if !screen.trouble.is_empty() {
        foot.push(screen.trouble.clone());
    }
    lines.extend(foot.iter().map(|line| crate::table::shorten(line, size.columns)));
    lines
}
