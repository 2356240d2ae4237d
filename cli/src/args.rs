//! What can be said on the command line: the flags of every command; each command's own are in its file.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, ValueEnum};

use crate::command::Command;

/// Live health of the services of a Kubernetes fleet.
#[derive(Debug, Parser)]
#[command(name = "vitals", version, propagate_version = true, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 fine, 1 error, or verify found a difference or could not compare all, 2 usage, 3 an entity is unhealthy (with --exit-code)."
)]
pub struct Args {
    /// Flags of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// Which command.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, ClapArgs)]
pub struct GlobalArgs {
    /// Which hub, and how to reach it.
    #[command(flatten)]
    pub hub: HubArgs,
    /// How the output is written: json is one document, or one per line in watches [default: table; of check: json]
    #[arg(short, long, global = true, value_name = "FORMAT", help_heading = "Output")]
    pub output: Option<Format>,
    /// When to use colour; never where NO_COLOR is set, unless always
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Output"
    )]
    pub color: Color,
}

/// Which hub, and how to reach it.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct HubArgs {
    /// Address of the hub: http://HOST:PORT, or https:// for TLS
    #[arg(
        long, global = true, env = "VITALS_HUB", value_name = "URL",
        default_value = DEFAULT_HUB, help_heading = "Hub"
    )]
    pub hub: String,
    /// File with the bearer token that the hub wants; read anew at each connection
    #[arg(
        long,
        global = true,
        env = "VITALS_TOKEN_FILE",
        value_name = "FILE",
        help_heading = "Hub"
    )]
    pub token_file: Option<PathBuf>,
    /// The token itself. Only by the environment: a command line can be read by everybody on the machine.
    #[arg(long, global = true, env = "VITALS_TOKEN", hide = true, hide_env_values = true)]
    pub token: Option<String>,
    /// File with the certificate authorities (PEM) that sign the hub's certificate, instead of the system's
    #[arg(long, global = true, env = "VITALS_TLS_CA", value_name = "FILE", help_heading = "Hub")]
    pub tls_ca: Option<PathBuf>,
    /// Send the token even where nothing encrypts it: plain http:// to another machine
    #[arg(long, global = true, env = "VITALS_INSECURE_TOKEN", help_heading = "Hub")]
    pub insecure_token: bool,
}

/// Where a hub of this machine listens.
pub const DEFAULT_HUB: &str = "http://127.0.0.1:7700";

/// How the output is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Table,
    /// For programs: the proto3 JSON mapping of the API's messages
    Json,
    /// The same as YAML
    Yaml,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_of_every_command_may_stand_behind_it() {
        let args =
            Args::try_parse_from(["vitals", "get", "shop", "-o", "json", "--hub", "http://h:1"])
                .unwrap();
        assert_eq!(args.global.output, Some(Format::Json));
        assert_eq!(args.global.hub.hub, "http://h:1");
    }
}
