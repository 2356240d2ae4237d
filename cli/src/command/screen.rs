//! The table of a watch on a terminal: drawn in place, over the one that stands there.

use vitals_proto::v1::Entity;

use crate::follow::View;
use crate::output::{Output, Size, terminal_size};
use crate::{Error, table, text};

/// What stands above the table takes one of so many parts of the terminal at most.
const HEAD_SHARE: usize = 3;

/// Lines above the first row of the table.
const HEADINGS: usize = 1;

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
    /// What is waited for.
    pub(super) awaited: String,
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
///
/// One fewer than it has, since the cursor stands below the last: with one more it would scroll, and what is drawn next
/// would not stand where this stood.
fn picture(output: &Output, screen: &Screen, view: &View, size: Size) -> Vec<String> {
    let lines_max = size.lines.saturating_sub(1);
    let mut lines = head(screen, (size.lines / HEAD_SHARE).max(1));
    let mut foot = foot(screen, view);
    let mut entities: Vec<&Entity> = view.entities().values().collect();
    let room = lines_max.saturating_sub(lines.len() + HEADINGS + foot.len());
    if entities.len() > room {
        // The last line of the room says how many there are besides.
        let rows = room.saturating_sub(1);
        foot.insert(0, format!("… and {} more that are no worse", entities.len() - rows));
        entities.sort_by_key(|entity| std::cmp::Reverse(text::status_of(entity.verdict.as_ref())));
        entities.truncate(rows);
    }
    let shorten = |line: &String| table::shorten(&text::clean(line), size.columns);
    lines = lines.iter().map(shorten).collect();
    let table = super::get::table(entities, output.now());
    lines.extend(table.render(output.paint, Some(size.columns)).lines().map(str::to_owned));
    lines.extend(foot.iter().map(shorten));
    // A terminal of a few lines has no room for all of these.
    lines.truncate(lines_max);
    lines
}

/// What stands above the table, in so many lines at most.
fn head(screen: &Screen, lines_max: usize) -> Vec<String> {
    let mut lines = screen.head.as_ref().map(|head| (head.0)()).unwrap_or_default();
    if lines.len() > lines_max {
        let shown = lines_max.saturating_sub(1);
        let hidden = lines.len() - shown;
        lines.truncate(shown);
        lines.push(format!("… and {hidden} more"));
    }
    lines
}

/// What stands below the table.
fn foot(screen: &Screen, view: &View) -> Vec<String> {
    let mut lines = Vec::new();
    match view.incoming() {
        Some(count) if !view.is_whole() => lines.push(format!("loading, {count} so far")),
        _ => {}
    }
    let said = [&screen.awaited, &screen.trouble].into_iter().filter(|it| !it.is_empty());
    lines.extend(said.cloned());
    lines
}

#[cfg(test)]
mod tests {
    use vitals_proto::v1::watch_entities_response::Event;
    use vitals_proto::v1::{HealthStatus, SnapshotBegin, Synced, Verdict, WatchEntitiesResponse};

    use super::*;
    use crate::args::Format;
    use crate::output::testing;

    /// So many entities, of which the last is degraded; whole or still coming in.
    fn view(entities: usize, is_whole: bool) -> View {
        let mut view = View::default();
        let mut apply = |event| drop(view.apply(WatchEntitiesResponse { event: Some(event) }));
        apply(Event::Snapshot(SnapshotBegin::default()));
        for number in 1..=entities {
            let status =
                if number == entities { HealthStatus::Degraded } else { HealthStatus::Healthy };
            let verdict = Some(Verdict { status: status.into(), ..Verdict::default() });
            let r#ref = format!("component:default/e{number}");
            apply(Event::Upsert(Entity { r#ref, verdict, ..Entity::default() }));
        }
        if is_whole {
            apply(Event::Synced(Synced::default()));
        }
        view
    }

    /// Each line by its first word, rows of the table by their name.
    fn words(lines: &[String]) -> Vec<&str> {
        lines
            .iter()
            .map(|line| line.strip_prefix("component:default/").unwrap_or(line))
            .map(|line| if line.starts_with('…') { line } else { line.split(' ').next().unwrap() })
            .collect()
    }

    /// What is drawn on a terminal of so many lines, with so many lines of head.
    fn drawn(lines: usize, contexts: usize, view: &View, trouble: &str) -> Vec<String> {
        let (output, ..) = testing::output(Format::Table);
        let head = move || (1..=contexts).map(|it| format!("watching c{it}")).collect();
        let mut screen = Screen::new(Some(Head(Box::new(head))));
        screen.trouble = trouble.to_owned();
        picture(&output, &screen, view, Size { columns: 80, lines })
    }

    #[test]
    fn what_is_drawn_never_scrolls() {
        let (three, five, loading) = (view(3, true), view(5, true), view(3, false));
        let more = "… and 2 more that are no worse";
        for (case, lines, drawn, want) in [
            ("all", 6, drawn(6, 1, &three, ""), vec!["watching", "ENTITY", "e1", "e2", "e3"]),
            ("the worst", 5, drawn(5, 1, &three, ""), vec!["watching", "ENTITY", "e3", more]),
            ("no head", 4, drawn(4, 0, &three, ""), vec!["ENTITY", "e3", more]),
            (
                "many contexts",
                9,
                drawn(9, 40, &five, ""),
                vec!["watching", "watching", "… and 38 more", "ENTITY", "e5", "e1", "e2", more],
            ),
            (
                "trouble",
                6,
                drawn(6, 1, &three, "broke"),
                vec!["watching", "ENTITY", "e3", more, "broke"],
            ),
            ("loading", 5, drawn(5, 0, &loading, "broke"), vec!["ENTITY", "loading,", "broke"]),
            ("tiny", 3, drawn(3, 5, &three, "broke"), vec!["… and 5 more", "ENTITY"]),
        ] {
            assert_eq!(words(&drawn), want, "{case}");
            assert!(drawn.len() < lines, "{case}: {} of {lines} lines", drawn.len());
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_or_obeyed_by_it() {
        let (output, ..) = testing::output(Format::Table);
        let head = || vec![format!("watching \x1b[2J{}", "c".repeat(50))];
        let mut screen = Screen::new(Some(Head(Box::new(head))));
        screen.trouble = "x".repeat(50);
        for line in picture(&output, &screen, &view(1, true), Size { columns: 30, lines: 10 }) {
            assert!(line.chars().count() <= 30 && !line.contains('\x1b'), "{line:?}");
        }
    }
}
