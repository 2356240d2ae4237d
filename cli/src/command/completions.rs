//! `vitals completions`: what a shell reads to complete our commands.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Outcome;
use crate::Error;
use crate::output::Output;

/// Of which shell.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Args, output: &mut Output) -> Result<Outcome, Error> {
    let mut script = Vec::new();
    let mut command = crate::args::Args::command();
    clap_complete::generate(args.shell, &mut command, "vitals", &mut script);
    output.data.write_all(&script)?;
    Ok(Outcome::Fine)
}
