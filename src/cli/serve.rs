//! `sixty serve`: runs the API and the mail worker with existing stores.

use tracing::info;

use super::error::CliError;
use super::process::on_signal;
use crate::app::App;
use crate::config::{Config, ServeArgs};
use crate::telemetry;

pub async fn run(settings: ServeArgs) -> Result<(), CliError> {
    settings.service.start_telemetry()?;
    let metrics = telemetry::metrics::start().map_err(|error| CliError::Failed(error.to_string()))?;
    let config = Config::new(settings)?;
    let stop = on_signal()?;
    let app = App::bind(config, move || metrics.render()).await?;
    app.warn_about_settings();
    info!(api = %app.api_addr(), ops = %app.ops_addr(), "listening");
    // On a thread of the runtime: this thread would otherwise have to be woken for every event beside it.
    let served = tokio::spawn(app.run(stop)).await;
    Ok(served.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?)
}
