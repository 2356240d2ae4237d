//! Logs: to standard error, as text for a person or as JSON for a machine.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The flags of logging.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// What to log: a level (error, warn, info, debug, trace), or directives such as info,vitals_hub=debug
    #[arg(long, env = "VITALS_LOG", value_name = "FILTER", default_value = "info,async_nats=warn")]
    pub log: String,
    /// How to log
    #[arg(long, env = "VITALS_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For a person, in colour where standard error is a terminal and `NO_COLOR` is not set
    Text,
    /// One JSON object per line
    Json,
}

/// Why logging could not begin. Final.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter is not one.
    #[error("cannot read the log filter {filter:?}")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// There is a subscriber already.
    #[error("cannot begin logging")]
    Begun(#[source] tracing_subscriber::util::TryInitError),
}

/// Begins logging for the whole process. Once, at the start of `main`.
pub fn init(args: &LogArgs) -> Result<(), Error> {
    let LogArgs { log, log_format } = args;
    let filter =
        EnvFilter::try_new(log).map_err(|source| Error::Filter { filter: log.clone(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log_format {
        LogFormat::Text => builder.with_ansi(colour_on_stderr()).finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    }
    .map_err(Error::Begun)
}

/// Colour only for a person who did not decline it (no-color.org: set and not empty).
fn colour_on_stderr() -> bool {
    let declined = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !declined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_named() {
        let args = LogArgs { log: "info,=x=".into(), log_format: LogFormat::Text };
        let message = init(&args).map_err(|error| error.to_string());
        assert_eq!(message, Err("cannot read the log filter \"info,=x=\"".to_owned()));
    }
}
