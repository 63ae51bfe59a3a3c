//! Findings about PostgreSQL.

use super::Finding;
use crate::store::postgres::{Inspection, State};

/// A clock that differs by more makes times in logs and in user ids misleading.
pub(super) const MAX_CLOCK_OFFSET: f64 = 2.0;

/// `pool_size` is the number of connections that this process may open.
pub fn findings(inspection: &Inspection, pool_size: usize) -> Vec<Finding> {
    let mut findings = vec![Finding::ok(
        "postgresql",
        format!("PostgreSQL {}, answered in {} ms", inspection.version(), inspection.answered_in.as_millis()),
    )];
    match inspection.fault() {
        Some(fault) => findings.push(Finding::of_fault("postgresql database", &fault)),
        None => findings.push(Finding::ok(
            "postgresql database",
            format!("encoding {}, collation {}", inspection.encoding(), inspection.collation()),
        )),
    }
    findings.push(if inspection.read_only {
        let advice = "DATABASE_URL: PostgreSQL is read-only; the URL must lead to the primary server";
        Finding::failed("postgresql writes", advice)
    } else {
        Finding::ok("postgresql writes", "the server accepts changes")
    });
    findings.push(match inspection.missing_rights() {
        Some(fault) => Finding::of_fault("postgresql rights", &fault),
        None => Finding::ok("postgresql rights", rights(inspection)),
    });
    findings.push(connections(inspection, pool_size));
    findings.push(if inspection.has_statement_timeout() {
        Finding::ok("postgresql timeouts", "the server ends statements after DATABASE_TIMEOUT")
    } else {
        Finding::warning(
            "postgresql timeouts",
            "DATABASE_TIMEOUT: a connection pooler drops the time limits of the session; set statement_timeout and \
             idle_in_transaction_session_timeout for the role (ALTER ROLE … SET)",
        )
    });
    findings.push(clock("postgresql clock", inspection.clock_offset));
    findings
}

fn rights(inspection: &Inspection) -> String {
    let create = if inspection.may_create() { "and may create tables" } else { "and may not create tables" };
    let schema = inspection.schema().unwrap_or_default();
    format!("the role may read and change all tables in schema {schema}, {create}")
}

/// One more connection is the relay's.
fn connections(inspection: &Inspection, pool_size: usize) -> Finding {
    let (free, most) = inspection.free_connections();
    let needed = pool_size as i64 + 1;
    let found = format!("{free} of {most} connections are free, and this process opens up to {needed}");
    if free >= needed {
        Finding::ok("postgresql connections", found)
    } else {
        let advice = "lower DATABASE_MAX_CONNECTIONS, or raise max_connections or the limit of the role";
        Finding::warning("postgresql connections", format!("{found}; {advice}"))
    }
}

pub(super) fn clock(check: &'static str, offset: f64) -> Finding {
    let found = format!("the clock differs from this machine's by {:.1} s", offset.abs());
    if offset.abs() <= MAX_CLOCK_OFFSET {
        Finding::ok(check, found)
    } else {
        Finding::warning(check, format!("{found}; synchronise both by NTP"))
    }
}

/// `apply`: whether `serve` applies pending migrations.
pub(super) fn migrations(inspection: &Inspection, apply: bool) -> Finding {
    let count = |state| inspection.migrations.iter().filter(|migration| migration.state == state).count();
    let (applied, pending, newer) = (count(State::Applied), count(State::Pending), count(State::Newer));
    let name = "postgresql migrations";
    if count(State::Edited) + count(State::Half) > 0 {
        return Finding::failed(name, "a migration was edited or is half applied; see `sixty migrate status`");
    }
    match (pending, apply) {
        (0, _) if newer > 0 => {
            Finding::warning(name, format!("all applied, and {newer} of a newer release; upgrade this release"))
        }
        (0, _) => Finding::ok(name, format!("all {applied} applied")),
        (_, true) if inspection.may_create() => {
            Finding::ok(name, format!("{pending} pending; `serve` applies them at its start"))
        }
        (_, true) => Finding::failed(
            name,
            format!(
                "DATABASE_URL: {pending} pending, and the role may not create tables; GRANT CREATE ON SCHEMA to it, or run \
                 `sixty migrate up` as the owner"
            ),
        ),
        (_, false) => {
            Finding::failed(name, format!("MIGRATE: is false, and {pending} are pending; run `sixty migrate up`"))
        }
    }
}
