//! The files that `DATABASE_URL` names. The driver reports a missing one without its name.

use std::fs::File;
use std::io::Read as _;

use url::Url;

use super::STORE;
use crate::store::fault::{Cure, Fault};

/// Parameters of the URL that name files, under all names that the driver knows.
const PARAMETERS: [(&str, &[&str]); 3] = [
    ("sslrootcert", &["sslrootcert", "ssl-root-cert", "ssl-ca"]),
    ("sslcert", &["sslcert", "ssl-cert"]),
    ("sslkey", &["sslkey", "ssl-key"]),
];

/// The parameter and the path of each file.
#[derive(Debug)]
pub(super) struct TlsFiles(Vec<(&'static str, String)>);

impl TlsFiles {
    pub fn of(database_url: &str) -> Self {
        let url = Url::parse(database_url).ok();
        let parameters = url.iter().flat_map(Url::query_pairs);
        let named = parameters.filter_map(|(name, value)| {
            let (parameter, _) = PARAMETERS.into_iter().find(|(_, names)| names.contains(&&*name))?;
            // A value may be a certificate in PEM form instead of a path.
            (!value.starts_with("-----BEGIN")).then(|| (parameter, value.into_owned()))
        });
        Self(named.collect())
    }

    /// Checks that all files can be read.
    pub fn check(&self) -> Result<(), Fault> {
        for (parameter, path) in &self.0 {
            // Reading an octet also fails for a folder, which orchestrators mount in place of a missing file.
            let read = File::open(path).and_then(|mut file| file.read(&mut [0]));
            if let Err(error) = read {
                let reason = format!(
                    "DATABASE_URL: {parameter}: the file {path} cannot be read ({}); correct the path, or mount the file",
                    error.kind()
                );
                return Err(Fault { store: STORE, summary: "cannot be reached", reason, cure: Cure::Setting });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named_with_its_parameter() {
        for (parameter, path) in [("sslrootcert", "/no/ca.pem"), ("sslcert", "/no/cert.pem"), ("sslkey", "/no/key.pem")]
        {
            let files = TlsFiles::of(&format!("postgres://u:p@h/db?sslmode=verify-full&{parameter}={path}"));
            let fault = files.check().unwrap_err();
            let expected = format!("DATABASE_URL: {parameter}: the file {path} cannot be read (entity not found)");
            assert!(fault.reason.starts_with(&expected) && fault.cure == Cure::Setting, "{fault}");
        }
        let folder = TlsFiles::of("postgres://u:p@h/db?sslrootcert=src").check().unwrap_err();
        assert!(folder.reason.contains("the file src cannot be read (is a directory)"), "{folder}");
        assert_eq!(TlsFiles::of("postgres://u:p@h/db?sslmode=require").check(), Ok(()));
        assert_eq!(TlsFiles::of("postgres://u:p@h/db?sslrootcert=Cargo.toml").check(), Ok(()));
    }
}
