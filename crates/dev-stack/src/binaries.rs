//! Finds the programs of PostgreSQL and Redis on this machine.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest supported major version of PostgreSQL.
const OLDEST_POSTGRES: u32 = 14;

/// The programs of the private servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    pub postgres: PostgresBinaries,
    pub redis: PathBuf,
}

/// `initdb` and `postgres` from one folder, so that both have the same version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PostgresBinaries {
    pub initdb: PathBuf,
    pub postgres: PathBuf,
    /// The major version, 14 or newer.
    pub major: u32,
}

/// Programs are missing. The message names the packages that contain them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MissingBinaries {
    #[error(
        "PostgreSQL's server programs (initdb, postgres) were not found: `apt-get install postgresql` (Debian, Ubuntu), \
         `dnf install postgresql-server` (Fedora), `brew install postgresql@17` (macOS)"
    )]
    Postgres,
    #[error(
        "Redis (redis-server or valkey-server) was not found: `apt-get install redis-server` (Debian, Ubuntu), \
         `dnf install valkey` (Fedora), `brew install redis` (macOS)"
    )]
    Redis,
    #[error(
        "neither PostgreSQL's server programs (initdb, postgres) nor Redis (redis-server) were found: \
         `apt-get install postgresql redis-server` (Debian, Ubuntu), `dnf install postgresql-server valkey` (Fedora), \
         `brew install postgresql@17 redis` (macOS)"
    )]
    Both,
    #[error(
        "PostgreSQL {major} in {folder} is too old, {OLDEST_POSTGRES} or newer is needed: `apt-get install postgresql` \
         (Debian, Ubuntu), `dnf install postgresql-server` (Fedora), `brew install postgresql@17` (macOS)"
    )]
    OldPostgres { major: u32, folder: PathBuf },
}

impl Binaries {
    /// Searches `PATH`, then the folders in which packages install server programs.
    ///
    /// # Errors
    ///
    /// One error that names all missing programs.
    pub fn find() -> Result<Binaries, MissingBinaries> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Binaries::find_in(postgres_folders(&path), redis_folders(&path))
    }

    /// Searches the given folders in their order.
    fn find_in(
        postgres: impl Iterator<Item = PathBuf>,
        redis: impl Iterator<Item = PathBuf>,
    ) -> Result<Binaries, MissingBinaries> {
        match (postgres_in(postgres), redis_in(redis)) {
            (Ok(postgres), Some(redis)) => Ok(Binaries { postgres, redis }),
            (Ok(_), None) => Err(MissingBinaries::Redis),
            (Err(MissingBinaries::Postgres), None) => Err(MissingBinaries::Both),
            (Err(error), _) => Err(error),
        }
    }
}

fn postgres_in(folders: impl Iterator<Item = PathBuf>) -> Result<PostgresBinaries, MissingBinaries> {
    let mut too_old = None;
    for folder in folders {
        let (initdb, postgres) = (folder.join("initdb"), folder.join("postgres"));
        if !is_program(&initdb) || !is_program(&postgres) {
            continue;
        }
        match major_version(&postgres) {
            Some(major) if major >= OLDEST_POSTGRES => return Ok(PostgresBinaries { initdb, postgres, major }),
            Some(major) => too_old = too_old.or(Some(MissingBinaries::OldPostgres { major, folder })),
            None => {}
        }
    }
    Err(too_old.unwrap_or(MissingBinaries::Postgres))
}

/// Finds Redis or Valkey. Valkey has the same protocol and replaces Redis in several distributions.
fn redis_in(folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let folders: Vec<PathBuf> = folders.collect();
    ["redis-server", "valkey-server"]
        .into_iter()
        .find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|program| is_program(program)))
}

fn postgres_folders(path: &OsStr) -> impl Iterator<Item = PathBuf> {
    let in_path: Vec<PathBuf> = std::env::split_paths(path).collect();
    in_path
        .into_iter()
        // Lazy, because `pg_config` is a slow script on Debian.
        .chain(std::iter::once_with(bindir_of_pg_config).flatten())
        .chain(std::iter::once_with(packaged_postgres_folders).flatten())
}

fn redis_folders(path: &OsStr) -> impl Iterator<Item = PathBuf> {
    let packaged = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/opt/homebrew/bin"].map(PathBuf::from);
    std::env::split_paths(path).collect::<Vec<_>>().into_iter().chain(packaged)
}

fn bindir_of_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let folder = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(folder.trim())).filter(|folder| folder.is_absolute())
}

fn packaged_postgres_folders() -> Vec<PathBuf> {
    let mut folders = versions_below(Path::new("/usr/lib/postgresql"), "");
    folders.extend(versions_below(Path::new("/usr"), "pgsql-"));
    folders.push(PathBuf::from("/usr/local/pgsql"));
    folders.extend(versions_below(Path::new("/opt/homebrew/opt"), "postgresql"));
    folders.extend(versions_below(Path::new("/usr/local/opt"), "postgresql"));
    folders.into_iter().map(|folder| folder.join("bin")).collect()
}

/// Returns the folders in `parent` named `prefix` plus a version (`17`, `@17` or empty), newest version first.
fn versions_below(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = parent.read_dir() else { return Vec::new() };
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?.trim_start_matches('@');
            if version.is_empty() { Some((0, entry.path())) } else { Some((leading_number(version)?, entry.path())) }
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, folder)| folder).collect()
}

fn major_version(postgres: &Path) -> Option<u32> {
    let output = Command::new(postgres).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    parse_major(&String::from_utf8_lossy(&output.stdout))
}

/// Parses `postgres (PostgreSQL) 17.5 (Debian 17.5-1)`, `… 18beta1` or `… 19devel`.
fn parse_major(line: &str) -> Option<u32> {
    leading_number(line.split_once("(PostgreSQL) ")?.1)
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_about_missing_programs_names_the_packages_in_one_line() {
        let nowhere = || std::iter::once(PathBuf::from("/nonexistent"));
        let error = Binaries::find_in(nowhere(), nowhere()).unwrap_err();
        assert_eq!(error, MissingBinaries::Both);
        for error in [error, MissingBinaries::Postgres, MissingBinaries::Redis] {
            let line = error.to_string();
            assert_eq!(line.lines().count(), 1, "{line}");
            for word in ["found", "apt-get install", "dnf install", "brew install"] {
                assert!(line.contains(word), "{line}");
            }
        }
    }

    #[test]
    fn major_versions_of_releases_betas_and_development_builds_are_parsed() {
        assert_eq!(parse_major("postgres (PostgreSQL) 17.5 (Debian 17.5-1.pgdg12+1)\n"), Some(17));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse_major("postgres (PostgreSQL) 19devel"), Some(19));
        assert_eq!(parse_major("command not found"), None);
    }

    #[test]
    fn version_folders_are_sorted_newest_first() {
        let parent = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tmp/versions-newest-first");
        for name in ["9.6", "17", "16", "common", "postgresql@14", "postgresql"] {
            std::fs::create_dir_all(parent.join(name)).unwrap();
        }
        let names = |prefix| -> Vec<String> {
            let name = |folder: PathBuf| folder.file_name().unwrap().to_str().unwrap().to_owned();
            versions_below(&parent, prefix).into_iter().map(name).collect()
        };
        assert_eq!(names(""), ["17", "16", "9.6"]);
        assert_eq!(names("postgresql"), ["postgresql@14", "postgresql"]);
        std::fs::remove_dir_all(&parent).unwrap();
    }
}
