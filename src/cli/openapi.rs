//! `sixty openapi`: prints the OpenAPI document without starting a server.

use clap::Args;

use super::error::CliError;
use super::process::print;
use crate::app;

#[derive(Args)]
pub struct OpenapiArgs {
    /// Print YAML instead of JSON
    #[arg(long)]
    yaml: bool,
}

pub async fn run(args: OpenapiArgs) -> Result<(), CliError> {
    let document = app::document();
    print(&if args.yaml { document.yaml() } else { document.json() })
}
