//! `sixty doctor`: checks the settings, the stores and the mail provider once, and prints what it found.

use std::fmt::Write as _;

use clap::Args;

use super::error::CliError;
use super::process::print;
use crate::app::self_check::{self, Finding, Status};
use crate::config::{Config, InvalidSetting, ServeArgs};

#[derive(Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    settings: ServeArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub async fn run(args: DoctorArgs) -> Result<(), CliError> {
    report(&findings(args.settings).await?, args.json)
}

async fn findings(settings: ServeArgs) -> Result<Vec<Finding>, CliError> {
    let findings = async { Ok(self_check::run(&Config::new(settings)?).await?) };
    match findings.await {
        Err(CliError::Setting(InvalidSetting { name, reason })) => Ok(vec![Finding::failed(name, reason)]),
        other => other,
    }
}

/// Prints a report about settings that the parser of the command line has refused.
pub(super) fn report_refused(message: &str, json: bool) -> Result<(), CliError> {
    report(&[Finding::failed("settings", message)], json)
}

fn report(findings: &[Finding], json: bool) -> Result<(), CliError> {
    let failed = findings.iter().filter(|finding| finding.status == Status::Failed).count();
    if json {
        print(&format!("{}\n", serde_json::json!({ "ok": failed == 0, "checks": findings })))?;
    } else {
        print(&table(findings))?;
    }
    match failed {
        0 => Ok(()),
        1 => Err(CliError::Failed("1 check failed".to_owned())),
        _ => Err(CliError::Failed(format!("{failed} checks failed"))),
    }
}

fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    let mut table = String::new();
    for Finding { check, status, found } in findings {
        let status = match status {
            Status::Ok => "ok",
            Status::Warning => "warning",
            Status::Failed => "FAILED",
        };
        writeln!(table, "{status:<7}  {check:<width$}  {found}").expect("writing to a string does not fail");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_check() {
        let findings = [
            Finding { check: "redis", status: Status::Ok, found: "Redis 7".to_owned() },
            Finding { check: "redis clock", status: Status::Failed, found: "wrong".to_owned() },
        ];
        assert_eq!(table(&findings), "ok       redis        Redis 7\nFAILED   redis clock  wrong\n");
    }
}
