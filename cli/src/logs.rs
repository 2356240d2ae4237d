//! Logs of `vitals up`: to standard error, or to a file where a table is drawn on the terminal.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::Error;

/// What is logged unless `VITALS_LOG` says otherwise.
const FILTER: &str = "info,async_nats=warn";

/// Begins to log, once a process. The path of the file, where it is one.
///
/// # Errors
/// When the file cannot be written, or `VITALS_LOG` is no filter.
pub fn begin(folder: &Path, is_drawing: bool) -> Result<Option<PathBuf>, Error> {
    let setting = |what: &str, source: Box<dyn std::error::Error + Send + Sync>| Error::Setting {
        what: what.to_owned(),
        source,
    };
    let filter = std::env::var_os("VITALS_LOG").unwrap_or_else(|| FILTER.into());
    let filter = EnvFilter::try_new(filter.to_string_lossy())
        .map_err(|error| setting("VITALS_LOG", error.into()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    if !is_drawing {
        let begun = builder.with_writer(std::io::stderr).finish().try_init();
        return begun.map(|()| None).map_err(|error| setting("logging", error.into()));
    }
    let path = folder.join("vitals.log");
    let file = std::fs::create_dir_all(folder).and_then(|()| File::create(&path));
    let what = format!("the log {}", path.display());
    let file = file.map_err(|error| setting(&what, error.into()))?;
    let begun = builder.with_writer(Mutex::new(file)).finish().try_init();
    begun.map(|()| Some(path)).map_err(|error| setting("logging", error.into()))
}
