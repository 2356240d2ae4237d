//! The table that is printed, and how busy the machine was meanwhile.

use std::fmt;

/// What is compared with a budget.
pub(crate) enum Budget {
    /// At most so much.
    Most(f64),
    /// At least so much.
    Least(f64),
    /// There is none.
    None,
}

/// One figure.
pub(crate) struct Row {
    pub(crate) what: String,
    /// Of the same run.
    pub(crate) baseline: String,
    pub(crate) ours: String,
    /// What the budget speaks of: usually ours by the baseline's.
    pub(crate) ratio: f64,
    pub(crate) budget: Budget,
}

#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// Adds a figure, and shows it at once: the rest may take long.
    pub(crate) fn add(&mut self, row: Row) {
        eprintln!("[load {}] {row}", load());
        self.0.push(row);
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, baseline, ours, ratio, budget } = self;
        let (budget, kept) = match budget {
            Budget::Most(most) => (format!("≤ {most}"), ratio <= most),
            Budget::Least(least) => (format!("≥ {least}"), ratio >= least),
            Budget::None => return write!(f, "| {what} | {baseline} | {ours} | {ratio:.2} | | |"),
        };
        let kept = if kept { "PASS" } else { "OVER" };
        write!(f, "| {what} | {baseline} | {ours} | {ratio:.2} | {budget} | {kept} |")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | baseline, same run | ours | ratio | budget | |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        self.0.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

/// Date, cores and load.
pub(crate) fn machine() -> String {
    let now = vitals_runtime::clock::SystemClock.now();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("?");
    let model = model.trim_start_matches([' ', '\t', ':']);
    format!("{now:.0}, {cores} cores ({model}), load {}", load())
}

/// The machine's load over 1, 5 and 15 minutes, as Linux says it.
pub(crate) fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// A number from the environment.
pub(crate) fn setting(name: &str, default: usize) -> usize {
    let value = std::env::var_os(name);
    value.and_then(|value| value.to_str()?.parse().ok()).unwrap_or(default)
}

/// The value below which so many per cent of the sorted values are.
pub(crate) fn percentile(sorted: &[f64], per_cent: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * per_cent / 100).copied().unwrap_or(f64::NAN)
}
