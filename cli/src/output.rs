//! Where output goes, and how: data to standard output, all else to standard error; colour and width of the terminal.

use std::ffi::OsStr;
use std::io::{IsTerminal as _, Write};

use vitals_runtime::clock::SystemClock;

use crate::Error;
use crate::args::{Color, Format, GlobalArgs};
use crate::json::{self, Described};
use crate::table::Table;

/// What a command writes to.
pub struct Output {
    /// As `-o` says.
    pub format: Format,
    /// `-o` was left out.
    pub is_default_format: bool,
    /// Whether text is styled.
    pub paint: Paint,
    /// Size of the terminal on standard output; `None` where it is none: nothing is shortened then.
    pub terminal: Option<Size>,
    /// Whether standard error is a terminal, on which a line can be written over.
    pub progress_on_terminal: bool,
    /// The time now. Milliseconds since the Unix epoch.
    pub now_unix_ms: fn() -> i64,
    /// Standard output.
    pub data: Box<dyn Write + Send>,
    /// Standard error.
    pub notes: Box<dyn Write + Send>,
}

/// Size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub columns: usize,
    /// Lines.
    pub lines: usize,
}

/// Whether text is styled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// With ANSI escapes.
    Styled,
    /// Not at all.
    Plain,
}

/// What a text means, hence how it looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    #[default]
    Plain,
    /// All is well.
    Good,
    /// On its way.
    Busy,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
    /// Less important.
    Dim,
    /// A heading.
    Strong,
}

impl Output {
    /// To the process's own standard output and error.
    #[must_use]
    pub fn standard(args: &GlobalArgs) -> Self {
        let stdout = std::io::stdout();
        let is_terminal = stdout.is_terminal();
        let no_color = std::env::var_os("NO_COLOR");
        Self {
            format: args.output.unwrap_or_default(),
            is_default_format: args.output.is_none(),
            paint: styled(args.color, is_terminal, no_color.as_deref()),
            terminal: is_terminal.then(terminal_size).flatten(),
            progress_on_terminal: std::io::stderr().is_terminal(),
            now_unix_ms: || SystemClock.unix_ms(),
            data: Box::new(stdout),
            notes: Box::new(std::io::stderr()),
        }
    }

    /// One whole message as JSON or YAML; for [`Format::Table`] as JSON too.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn document<M: Described>(&mut self, message: &M) -> Result<(), Error> {
        let text = match self.format {
            Format::Json | Format::Table => json::pretty(message)?,
            Format::Yaml => json::yaml(message)?,
        };
        Ok(writeln!(self.data, "{}", text.trim_end())?)
    }

    /// One of many messages: a line of JSON, or a document of YAML.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record<M: Described>(&mut self, message: &M) -> Result<(), Error> {
        match self.format {
            Format::Json | Format::Table => writeln!(self.data, "{}", json::line(message)?)?,
            Format::Yaml => writeln!(self.data, "---\n{}", json::yaml(message)?.trim_end())?,
        }
        Ok(self.data.flush()?)
    }

    /// A document that is no message of the API, as JSON or YAML.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn value<T: serde::Serialize>(&mut self, value: &T) -> Result<(), Error> {
        let encode = |source: Box<dyn std::error::Error + Send + Sync>| Error::Encode {
            what: "the document",
            source,
        };
        let text = match self.format {
            Format::Json | Format::Table => {
                serde_json::to_string_pretty(value).map_err(|error| encode(error.into()))?
            }
            Format::Yaml => serde_saphyr::to_string(value).map_err(|error| encode(error.into()))?,
        };
        Ok(writeln!(self.data, "{}", text.trim_end())?)
    }

    /// One of many documents that are no messages of the API: a line of JSON, or a document of YAML.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn value_line<T: serde::Serialize>(&mut self, value: &T) -> Result<(), Error> {
        if self.format == Format::Yaml {
            writeln!(self.data, "---")?;
            return self.value(value);
        }
        let encode = |source: serde_json::Error| Error::Encode {
            what: "the document",
            source: source.into(),
        };
        Ok(writeln!(self.data, "{}", serde_json::to_string(value).map_err(encode)?)?)
    }

    /// A table, as wide as the terminal at most.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn table(&mut self, table: &Table) -> Result<(), Error> {
        let columns = self.terminal.map(|size| size.columns);
        Ok(self.data.write_all(table.render(self.paint, columns).as_bytes())?)
    }

    /// A line of data.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn line(&mut self, line: &str) -> Result<(), Error> {
        Ok(writeln!(self.data, "{line}")?)
    }

    /// A line for the person, which is no data. Where standard error is closed, nobody misses it.
    pub fn note(&mut self, line: &str) {
        writeln!(self.notes, "{line}").ok();
    }

    /// The time now. Milliseconds since the Unix epoch.
    #[must_use]
    pub fn now(&self) -> i64 {
        (self.now_unix_ms)()
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { format, paint, terminal, .. } = self;
        formatter
            .debug_struct("Output")
            .field("format", format)
            .field("paint", paint)
            .field("terminal", terminal)
            .finish_non_exhaustive()
    }
}

impl Paint {
    /// The text in this style.
    #[must_use]
    pub fn text(self, text: &str, style: Style) -> String {
        match (self, style.escape()) {
            (Self::Styled, Some(code)) => format!("\x1b[{code}m{text}\x1b[0m"),
            (Self::Plain, _) | (Self::Styled, None) => text.to_owned(),
        }
    }
}

impl Style {
    /// Parameters of ANSI's SGR.
    fn escape(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Busy => Some("36"),
            Self::Warn => Some("33"),
            Self::Bad => Some("1;31"),
            Self::Dim => Some("2"),
            Self::Strong => Some("1"),
        }
    }
}

/// As `--color` says; left to us, where there is a terminal and `NO_COLOR` is not set, or empty (no-color.org).
fn styled(color: Color, is_terminal: bool, no_color: Option<&OsStr>) -> Paint {
    let is_declined = no_color.is_some_and(|value| !value.is_empty());
    match color {
        Color::Always => Paint::Styled,
        Color::Auto if is_terminal && !is_declined => Paint::Styled,
        Color::Auto | Color::Never => Paint::Plain,
    }
}

/// Size of the terminal on standard output; `None` where it does not say.
#[must_use]
pub fn terminal_size() -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok()?;
    let (columns, lines) = (usize::from(size.ws_col), usize::from(size.ws_row));
    (columns > 0 && lines > 0).then_some(Size { columns, lines })
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub(crate) fn text(&self) -> String {
            let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8(bytes.clone()).unwrap()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The time of all tests: 2026-01-01T00:00:00Z.
    pub(crate) const NOW_UNIX_MS: i64 = 1_767_225_600_000;

    /// An output that is kept, 100 columns wide.
    pub(crate) fn output(format: Format) -> (Output, Written, Written) {
        let (data, notes) = (Written::default(), Written::default());
        let output = Output {
            format,
            is_default_format: false,
            paint: Paint::Plain,
            terminal: Some(Size { columns: 100, lines: 40 }),
            progress_on_terminal: false,
            now_unix_ms: || NOW_UNIX_MS,
            data: Box::new(data.clone()),
            notes: Box::new(notes.clone()),
        };
        (output, data, notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_unless_it_is_declined() {
        let (set, empty) = (Some("1"), Some(""));
        for (color, is_terminal, no_color, want) in [
            (Color::Auto, true, None, Paint::Styled),
            (Color::Auto, true, empty, Paint::Styled),
            (Color::Auto, true, set, Paint::Plain),
            (Color::Auto, false, None, Paint::Plain),
            (Color::Auto, false, set, Paint::Plain),
            (Color::Always, true, set, Paint::Styled),
            (Color::Always, false, None, Paint::Styled),
            (Color::Never, true, None, Paint::Plain),
            (Color::Never, false, None, Paint::Plain),
        ] {
            let got = styled(color, is_terminal, no_color.map(OsStr::new));
            assert_eq!(got, want, "{color:?}, terminal {is_terminal}, NO_COLOR {no_color:?}");
        }
    }
}
