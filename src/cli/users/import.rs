//! `sixty users import`: accounts of another system, from JSON lines.
//!
//! A thread reads and parses; meanwhile PostgreSQL stores the batch before. So the memory does not depend on the length of the
//! file. An account that exists is never changed: a second run of the same file does the rest of an interrupted one.

mod line;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use self::line::Refusal;
use super::failed;
use crate::cli::error::CliError;
use crate::cli::process::{print, print_error};
use crate::config::PasswordArgs;
use crate::passwords::Salt;
use crate::rng::Rng;
use crate::store::postgres::users::PgUsers;
use crate::store::postgres::users::import::ImportedUser;

/// Lines per statement.
const BATCH: usize = 2000;
/// Parsed batches that wait for PostgreSQL.
const WAITING_BATCHES: usize = 2;

#[derive(Args)]
pub(super) struct ImportArgs {
    /// File of JSON lines, or - for standard input
    file: PathBuf,
    /// Check all lines and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Also report the lines whose address has an account
    #[arg(long)]
    show_skipped: bool,
    #[command(flatten)]
    passwords: PasswordArgs,
}

/// Consecutive lines of the file.
#[derive(Default)]
struct Batch {
    users: Vec<ImportedUser>,
    /// The number of each user's line, counted from 1.
    numbers: Vec<u64>,
    refused: Vec<(u64, Refusal)>,
    /// Lines with an address of an earlier line of the batch.
    repeated: Vec<u64>,
    last_line: u64,
}

#[derive(Default)]
struct Summary {
    imported: u64,
    skipped: u64,
    refused: u64,
}

pub(super) async fn run(users: &PgUsers, args: ImportArgs, as_json: bool) -> Result<(), CliError> {
    let cost = args.passwords.hash_cost()?;
    let now = users.now().await.map_err(failed)?;
    let (rng, input) = (Rng::from_system(), open(&args.file)?);
    let (sender, mut batches) = mpsc::channel(WAITING_BATCHES);
    let for_reader = rng.clone();
    let reader = std::thread::spawn(move || read(input, now, &for_reader, &sender));
    let mut report = Report { as_json, show_skipped: args.show_skipped, progress: io::stderr().is_terminal() };
    let (mut summary, mut stored_until) = (Summary::default(), 0);
    while let Some(batch) = batches.recv().await {
        let batch = batch.map_err(|error| unfinished(stored_until, &format!("cannot read the file: {error}")))?;
        let random = || (Salt(rng.bytes()), rng.bytes());
        let imported =
            if args.dry_run { absent(users, &batch).await } else { users.import(&batch.users, cost, random).await };
        let imported = imported.map_err(|error| unfinished(stored_until, &error.to_string()))?;
        stored_until = batch.last_line;
        report.batch(&batch, &imported, &mut summary)?;
    }
    // A reader that panicked has sent no error, and its lines are missing.
    reader.join().map_err(|_| unfinished(stored_until, "the file was not read to its end"))?;
    report.end(&summary, args.dry_run)?;
    match summary.refused {
        0 => Ok(()),
        refused => Err(CliError::Failed(format!("lines refused: {refused}; correct them and import the file again"))),
    }
}

/// Returns the addresses that an import of the batch would create accounts for.
async fn absent(users: &PgUsers, batch: &Batch) -> Result<HashSet<String>, crate::accounts::errors::StoreError> {
    let addresses = batch.users.iter().map(|user| user.email.address().as_str().to_owned());
    let addresses: Vec<String> = addresses.collect();
    let present = users.with_account(&addresses).await?;
    Ok(addresses.into_iter().filter(|address| !present.contains(address)).collect())
}

fn unfinished(stored_until: u64, reason: &str) -> CliError {
    CliError::Failed(format!(
        "{reason}; the lines up to {stored_until} are done; the same command does the rest and skips what is there"
    ))
}

fn open(file: &Path) -> Result<Box<dyn BufRead + Send>, CliError> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let file = File::open(file).map_err(|error| CliError::Failed(format!("cannot open the file: {error}")))?;
    Ok(Box::new(BufReader::with_capacity(1 << 18, file)))
}

/// Reads and parses all lines. Ends early if nobody receives the batches any more.
fn read(mut input: impl BufRead, now: OffsetDateTime, rng: &Rng, batches: &mpsc::Sender<io::Result<Batch>>) {
    let (mut number, mut octets) = (0, Vec::new());
    let (mut batch, mut addresses) = (Batch::default(), HashSet::new());
    loop {
        octets.clear();
        let read = next_line(&mut input, &mut octets);
        let is_end = matches!(read, Ok(0));
        if let Err(error) = read {
            let _ = batches.blocking_send(Err(error));
            return;
        }
        if !is_end {
            number += 1;
            batch.last_line = number;
            match parse(&octets, number, now, rng) {
                None => {}
                Some(Err(refusal)) => batch.refused.push((number, refusal)),
                Some(Ok(user)) if addresses.insert(user.email.address().clone()) => {
                    batch.users.push(user);
                    batch.numbers.push(number);
                }
                Some(Ok(_)) => batch.repeated.push(number),
            }
        }
        let lines = batch.users.len() + batch.refused.len() + batch.repeated.len();
        if lines == BATCH || (is_end && lines > 0) {
            addresses.clear();
            if batches.blocking_send(Ok(std::mem::take(&mut batch))).is_err() {
                return;
            }
        }
        if is_end {
            return;
        }
    }
}

/// Parses a line. `None` for an empty one. The first may begin with a byte order mark.
fn parse(octets: &[u8], number: u64, now: OffsetDateTime, rng: &Rng) -> Option<Result<ImportedUser, Refusal>> {
    if octets.len() > line::MAX_OCTETS {
        return Some(Err(Refusal::TooLong));
    }
    let octets = if number == 1 { octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets) } else { octets };
    let octets = octets.trim_ascii();
    (!octets.is_empty()).then(|| line::parse(octets, now, rng))
}

/// Reads a line with its line break; of a line that is too long the beginning only. Returns the octets that it kept.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    // Room for the line break.
    let most = line::MAX_OCTETS + 2;
    input.by_ref().take(most as u64).read_until(b'\n', line)?;
    if line.len() == most && !line.ends_with(b"\n") {
        input.skip_until(b'\n')?;
    }
    if line.ends_with(b"\n") {
        let text = line.trim_ascii_end().len();
        // A line with blanks alone is not the end of the file.
        line.truncate(text.max(1));
    }
    Ok(line.len())
}

struct Report {
    as_json: bool,
    show_skipped: bool,
    progress: bool,
}

impl Report {
    /// Reports the refused lines of a batch, and adds its lines to the summary.
    fn batch(&mut self, batch: &Batch, imported: &HashSet<String>, summary: &mut Summary) -> Result<(), CliError> {
        let skipped = batch.users.iter().zip(&batch.numbers).filter(|(user, _)| {
            let address = user.email.address().as_str();
            !imported.contains(address)
        });
        let skipped: Vec<u64> = skipped.map(|(_, number)| *number).chain(batch.repeated.iter().copied()).collect();
        summary.imported += imported.len() as u64;
        summary.skipped += skipped.len() as u64;
        summary.refused += batch.refused.len() as u64;
        let mut lines: Vec<(u64, String)> =
            batch.refused.iter().map(|(number, refusal)| (*number, refusal.to_string())).collect();
        if self.show_skipped {
            lines.extend(skipped.into_iter().map(|number| (number, "skipped: the address has an account".to_owned())));
            lines.sort_unstable();
        }
        for (number, reason) in lines {
            if self.as_json {
                print(&(json!({ "line": number, "reason": reason }).to_string() + "\n"))?;
            } else {
                print_error(format_args!("line {number}: {reason}"));
            }
        }
        if self.progress {
            let _ = write!(io::stderr(), "\r{} lines", batch.last_line);
        }
        Ok(())
    }

    fn end(&self, summary: &Summary, dry_run: bool) -> Result<(), CliError> {
        if self.progress {
            print_error("");
        }
        let Summary { imported, skipped, refused } = summary;
        print(&if self.as_json {
            json!({ "imported": imported, "skipped": skipped, "refused": refused, "dry_run": dry_run }).to_string()
                + "\n"
        } else {
            let done = if dry_run { "would be imported" } else { "imported" };
            format!("{imported} {done}, {skipped} skipped because the address has an account, {refused} refused\n")
        })
    }
}
