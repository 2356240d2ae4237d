//! `vitals`: reads the command line, runs the command, says how it ended.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use vitals::args::Args;
use vitals::command::Outcome;
use vitals::output::Output;

const ERROR: u8 = 1;
const USAGE: u8 = 2;
const UNHEALTHY: u8 = 3;

fn main() -> ExitCode {
    let Args { global, command } = Args::parse();
    let mut output = Output::standard(&global);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&mut output, &vitals::Error::Output(error)),
    };
    let ended = runtime.block_on(command.run(&global.hub, &mut output));
    match ended.and_then(|outcome| Ok(output.data.flush().map(|()| outcome)?)) {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Different) => ExitCode::from(ERROR),
        Ok(Outcome::Unhealthy) => ExitCode::from(UNHEALTHY),
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => fail(&mut output, &error),
    }
}

fn fail(output: &mut Output, error: &vitals::Error) -> ExitCode {
    output.note(&format!("error: {error}"));
    if let Some(cause) = error.root_cause() {
        output.note(&format!("  because: {cause}"));
    }
    ExitCode::from(if matches!(error, vitals::Error::Usage(_)) { USAGE } else { ERROR })
}
