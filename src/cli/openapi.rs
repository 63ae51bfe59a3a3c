//! `sixty openapi`: prints the OpenAPI document. No server is needed.

use clap::Args;

use super::{CliError, print};
use crate::app;

#[derive(Args)]
pub struct OpenapiArgs {
    /// As YAML rather than JSON
    #[arg(long)]
    yaml: bool,
}

pub async fn run(args: OpenapiArgs) -> Result<(), CliError> {
    let document = app::document();
    print(&if args.yaml { document.yaml() } else { document.json() })
}
