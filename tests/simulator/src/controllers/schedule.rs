//! The schedules of CronJobs: five fields, in UTC. Pure.

use jiff::{Timestamp, tz::TimeZone};

/// When something is to run: bits of the minutes, hours, days, months and weekdays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Where both days and weekdays are restricted, one of them is enough.
    either_day: bool,
}

/// How many days are looked ahead: the 29th of February comes within eight years.
const DAYS_MAX: u32 = 366 * 8 + 1;

impl Schedule {
    /// `None` where it cannot be read.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else { return None };
        let both = !days.starts_with('*') && !weekdays.starts_with('*');
        let sunday = field(weekdays, 0, 7, &DAYS)?;
        Some(Self {
            minutes: field(minutes, 0, 59, &[])?,
            hours: field(hours, 0, 23, &[])?,
            days: field(days, 1, 31, &[])?,
            months: field(months, 1, 12, &MONTHS)?,
            weekdays: sunday | (sunday >> 7),
            either_day: both,
        })
    }

    /// The first time after another one.
    pub(crate) fn after(&self, time: Timestamp) -> Option<Timestamp> {
        let start = time.to_zoned(TimeZone::UTC).datetime();
        let mut date = start.date();
        for day in 0..DAYS_MAX {
            if self.is_on(date) {
                for minute in 0..24 * 60_u32 {
                    let (hour, minute) = (minute / 60, minute % 60);
                    if self.hours & (1 << hour) == 0 || self.minutes & (1 << minute) == 0 {
                        continue;
                    }
                    let (hour, minute) = (i8::try_from(hour).ok()?, i8::try_from(minute).ok()?);
                    let at = date.at(hour, minute, 0, 0);
                    if day > 0 || at > start {
                        return at.to_zoned(TimeZone::UTC).ok().map(|it| it.timestamp());
                    }
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn is_on(&self, date: jiff::civil::Date) -> bool {
        let bit = |bits: u64, index: i8| bits & (1 << index) != 0;
        let day = bit(self.days, date.day());
        let weekday = bit(self.weekdays, date.weekday().to_sunday_zero_offset());
        let fits = if self.either_day { day || weekday } else { day && weekday };
        fits && bit(self.months, date.month())
    }
}

const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MONTHS: [&str; 13] =
    ["", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

fn field(text: &str, first: u32, last: u32, names: &[&str]) -> Option<u64> {
    let mut bits = 0;
    let number = |text: &str| -> Option<u32> {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = named.filter(|_| !text.is_empty()).and_then(|it| u32::try_from(it).ok());
        number.or_else(|| text.parse().ok()).filter(|it| (first..=last).contains(it))
    };
    for part in text.split(',') {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let step: usize = step.parse().ok().filter(|it| *it > 0)?;
        let (from, to) = if range == "*" {
            (first, last)
        } else if let Some((from, to)) = range.split_once('-') {
            (number(from)?, number(to)?)
        } else {
            let from = number(range)?;
            (from, if part.contains('/') { last } else { from })
        };
        (from..=to).step_by(step).for_each(|it| bits |= 1 << it);
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_is_found() {
        for (schedule, after, want) in [
            ("* * * * *", "2026-01-01T00:00:30Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"),
            ("0 3 * * mon-fri", "2026-01-02T04:00:00Z", "2026-01-05T03:00:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("30 12 1 * 0", "2026-01-02T00:00:00Z", "2026-01-04T12:30:00Z"),
            ("@daily", "2026-12-31T23:59:00Z", "2027-01-01T00:00:00Z"),
            ("0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
        ] {
            let parsed = Schedule::parse(schedule).unwrap();
            let next = parsed.after(after.parse().unwrap()).unwrap();
            assert_eq!(next.to_string(), want, "{schedule}");
        }
        for bad in ["", "* * * *", "60 * * * *", "x * * * *", "*/0 * * * *"] {
            assert_eq!(Schedule::parse(bad), None, "{bad}");
        }
    }
}
