//! How things are said to people: ages, statuses, objects.
//!
//! Texts that come from a cluster pass through [`clean`]: a terminal obeys control characters, and anybody who may write
//! to a cluster could otherwise write to the terminal of whoever looks.

use std::borrow::Cow;

use prost_types::Timestamp;
use vitals_proto::kind::Kind;
use vitals_proto::v1::{
    EntityOrigin, Freshness, FreshnessState, HealthStatus, KindState, ObjectHealth, ObjectRef,
    Severity, Verdict,
};

use crate::output::Style;

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn unix_ms(timestamp: &Timestamp) -> i64 {
    timestamp.seconds.saturating_mul(1_000).saturating_add(i64::from(timestamp.nanos / 1_000_000))
}

/// How long ago, in one unit, two where the first says too little: `12s`, `3m`, `2h5m`, `5d`; `-` where absent.
///
/// A time that is yet to come, by a clock that is ahead, counts as now.
#[must_use]
pub fn age(since: Option<&Timestamp>, now_unix_ms: i64) -> String {
    since.map_or_else(
        || "-".to_owned(),
        |since| duration(now_unix_ms.saturating_sub(unix_ms(since)) / 1_000),
    )
}

/// Seconds as people read them.
#[must_use]
pub fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 != 0 => format!("{minutes}m{}s", seconds % 60),
        120..7_200 => format!("{minutes}m"),
        7_200..36_000 if minutes % 60 != 0 => format!("{hours}h{}m", minutes % 60),
        7_200..172_800 => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

/// As RFC 3339 in UTC with milliseconds; `-` where absent or out of range.
#[must_use]
pub fn time(timestamp: Option<&Timestamp>) -> String {
    timestamp
        .and_then(|timestamp| jiff::Timestamp::from_millisecond(unix_ms(timestamp)).ok())
        .map_or_else(|| "-".to_owned(), |timestamp| format!("{timestamp:.3}"))
}

/// Without control characters and without what turns the direction of writing: they become `�`, line breaks and tabs a space.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    let is_hostile = |character: char| {
        character.is_control()
            || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let replace = |character: char| match character {
        '\n' | '\r' | '\t' => ' ',
        hostile if is_hostile(hostile) => '\u{fffd}',
        other => other,
    };
    Cow::Owned(text.chars().map(replace).collect())
}

/// A line of a log for a terminal: as [`clean`], but that tabs stay, and colours (`ESC [ … m`), which end with the line.
#[must_use]
pub fn log_line(line: &str) -> Cow<'_, str> {
    const RESET: &str = "\x1b[0m";
    if !line.contains(char::is_control) {
        return clean(line);
    }
    let (mut shown, mut is_coloured, mut rest) = (String::with_capacity(line.len()), false, line);
    while let Some(character) = rest.chars().next() {
        if let Some(colour) = colour(rest) {
            shown.push_str(colour);
            is_coloured = true;
            rest = rest.get(colour.len()..).unwrap_or_default();
            continue;
        }
        let (one, behind) = rest.split_at(character.len_utf8());
        if character == '\t' {
            shown.push('\t')
        } else {
            shown.push_str(&clean(one))
        }
        rest = behind;
    }
    if is_coloured {
        shown.push_str(RESET);
    }
    Cow::Owned(shown)
}

/// The escape at the beginning of a text, where it does nothing but set colours.
fn colour(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\x1b[")?;
    let end =
        parameters.find(|character: char| !(character.is_ascii_digit() || character == ';'))?;
    parameters.get(end..)?.starts_with('m').then(|| text.get(..end + 3)).flatten()
}

/// The word and the style of a status.
#[must_use]
pub fn status(status: HealthStatus) -> (&'static str, Style) {
    match status {
        HealthStatus::Unspecified => ("-", Style::Dim),
        HealthStatus::Healthy => ("Healthy", Style::Good),
        HealthStatus::Suspended => ("Suspended", Style::Dim),
        HealthStatus::Progressing => ("Progressing", Style::Busy),
        HealthStatus::Missing => ("Missing", Style::Warn),
        HealthStatus::Unknown => ("Unknown", Style::Warn),
        HealthStatus::Degraded => ("Degraded", Style::Bad),
    }
}

/// The status of a verdict; of none, unspecified.
#[must_use]
pub fn status_of(verdict: Option<&Verdict>) -> HealthStatus {
    verdict.map_or(HealthStatus::Unspecified, Verdict::status)
}

/// The status of an object.
#[must_use]
pub fn health_of(health: Option<&ObjectHealth>) -> HealthStatus {
    health.map_or(HealthStatus::Unspecified, ObjectHealth::status)
}

/// Fails, is missing, or is not known: what `--exit-code` tells.
#[must_use]
pub fn is_unhealthy(status: HealthStatus) -> bool {
    match status {
        HealthStatus::Healthy | HealthStatus::Suspended | HealthStatus::Progressing => false,
        HealthStatus::Unspecified
        | HealthStatus::Missing
        | HealthStatus::Unknown
        | HealthStatus::Degraded => true,
    }
}

/// The word for a severity.
#[must_use]
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Unspecified => "-",
        Severity::None => "none",
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// The words and the style of a freshness.
#[must_use]
pub fn freshness(freshness: Option<&Freshness>) -> (&'static str, Style) {
    match freshness.map_or(FreshnessState::Unspecified, Freshness::state) {
        FreshnessState::Unspecified => ("-", Style::Dim),
        FreshnessState::Fresh => ("fresh", Style::Good),
        FreshnessState::Unverified => ("unverified", Style::Busy),
        FreshnessState::BlindSpot => ("blind spot", Style::Warn),
        FreshnessState::ApiServerUnreachable => ("API server unreachable", Style::Bad),
        FreshnessState::AgentLost => ("agent lost", Style::Bad),
        FreshnessState::Conflict => ("conflict", Style::Bad),
        FreshnessState::HubBlind => ("hub blind", Style::Bad),
    }
}

/// The word and the style of the state of a kind's watch.
#[must_use]
pub fn kind_state(state: KindState) -> (&'static str, Style) {
    match state {
        KindState::Unspecified => ("-", Style::Dim),
        KindState::Complete => ("complete", Style::Good),
        KindState::Listing => ("listing", Style::Busy),
        KindState::Forbidden => ("forbidden", Style::Bad),
        KindState::Absent => ("absent", Style::Dim),
        KindState::Stalled => ("stalled", Style::Bad),
    }
}

/// Where the name of an entity comes from.
#[must_use]
pub fn origin(origin: EntityOrigin) -> &'static str {
    match origin {
        EntityOrigin::Unspecified => "-",
        EntityOrigin::Registered => "registered",
        EntityOrigin::Labelled => "labelled",
        EntityOrigin::Derived => "derived",
    }
}

/// `Deployment pay/web`.
#[must_use]
pub fn object(object: &ObjectRef) -> String {
    let kind = Kind::from_resource(&object.kind);
    let title = kind.title();
    let ObjectRef { namespace, name, .. } = object;
    if namespace.is_empty() {
        format!("{title} {name}")
    } else {
        format!("{title} {namespace}/{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, want) in [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (190, "3m10s"),
            (3_600, "60m"),
            (7_200, "2h"),
            (9_000, "2h30m"),
            (90_000, "25h"),
            (172_800, "2d"),
            (40_000_000, "462d"),
        ] {
            assert_eq!(duration(seconds), want);
        }
        assert_eq!(age(None, 0), "-");
        assert_eq!(age(Some(&Timestamp { seconds: 10, nanos: 500_000_000 }), 13_600), "3s");
        assert_eq!(
            time(Some(&Timestamp { seconds: 1, nanos: 1_000_000 })),
            "1970-01-01T00:00:01.001Z"
        );
    }

    #[test]
    fn a_cluster_does_not_write_to_the_terminal() {
        assert_eq!(clean("plain – ünïcode"), "plain – ünïcode");
        assert_eq!(clean("a\x1b[2Jb\nc\u{202e}d\x07"), "a\u{fffd}[2Jb c\u{fffd}d\u{fffd}");
    }

    #[test]
    fn a_log_may_have_colours_and_nothing_else() {
        assert_eq!(log_line("plain\u{202e}"), "plain\u{fffd}");
        assert_eq!(
            log_line("a\t\x1b[1;31merror\x1b[0m \x1b[2J\x07\x1b["),
            "a\t\x1b[1;31merror\x1b[0m \u{fffd}[2J\u{fffd}\u{fffd}[\x1b[0m"
        );
        assert_eq!(log_line("\x1b[38;5;1"), "\u{fffd}[38;5;1");
    }
}
