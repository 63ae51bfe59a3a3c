//! `sixty serve`: the API and the mail worker, against existing stores.

use clap::Args;
use tracing::info;

use super::{CliError, on_signal};
use crate::app::App;
use crate::config::{Config, ListenArgs, ProviderArgs, ServiceArgs, StoreArgs};
use crate::telemetry;

#[derive(Args)]
pub struct ServeArgs {
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    stores: StoreArgs,
    #[command(flatten)]
    provider: ProviderArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

pub async fn run(args: ServeArgs) -> Result<(), CliError> {
    telemetry::log(&args.service.log)?;
    let metrics = telemetry::metrics().map_err(|error| CliError::Failed(error.to_string()))?;
    let config = Config::new(args.listen, args.stores, args.provider, args.service)?;
    let stop = on_signal()?;
    let app = App::bind(config, move || metrics.render()).await?;
    info!(api = %app.api_addr(), ops = %app.ops_addr(), "listening");
    Ok(app.run(stop).await?)
}
