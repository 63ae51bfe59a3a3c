//! `sixty mail`: the mails as files, to look at them and to change them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::error::CliError;
use super::process::print;
use crate::config::BrandArgs;
use crate::domain::locale::Locale;
use crate::language::escape;
use crate::mail::mail_name::MailName;
use crate::mail::mails::{Mails, built_in_sources};

#[derive(Args)]
pub struct MailArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Write all mails in all languages to a folder, to look at them
    ///
    /// With sample data, as HTML and text. Open index.html
    Preview {
        /// Folder of the files
        folder: PathBuf,
        #[command(flatten)]
        brand: Box<BrandArgs>,
    },
    /// Write the built-in templates to a folder, to change them
    ///
    /// Set MAIL_TEMPLATES to the folder. Keep only the files that you change: the others follow later versions. A file that
    /// exists is not replaced
    Templates {
        /// Folder of the files
        folder: PathBuf,
    },
}

pub fn run(args: MailArgs) -> Result<(), CliError> {
    match args.action {
        Action::Preview { folder, brand } => preview(&folder, &brand),
        Action::Templates { folder } => templates(&folder),
    }
}

fn preview(folder: &Path, brand: &BrandArgs) -> Result<(), CliError> {
    let mails = brand.mails()?;
    for locale in Locale::ALL {
        let of_language = folder.join(locale.tag());
        fs::create_dir_all(&of_language).map_err(|error| file_error("create", &of_language, &error))?;
        for mail in MailName::ALL {
            let rendered = mails.sample(mail, locale).map_err(|error| CliError::Failed(error.to_string()))?;
            let file = |extension| of_language.join(format!("{}.{extension}", mail.as_str()));
            write(&file("html"), &rendered.html)?;
            write(&file("txt"), &format!("Subject: {}\n\n{}", rendered.subject, rendered.text))?;
        }
    }
    let index = folder.join("index.html");
    write(&index, &index_page(&mails, &brand.service_name)?)?;
    print(&format!("{} mails: open {}\n", MailName::ALL.len() * Locale::ALL.len(), index.display()))
}

/// A page that shows all mails: a row a mail, a column a language.
fn index_page(mails: &Mails, service: &str) -> Result<String, CliError> {
    let mut page = INDEX.replace("{service}", &escape(service));
    for mail in MailName::ALL {
        let name = mail.as_str();
        let _ = writeln!(page, "<h2 id=\"{name}\">{name}</h2>\n<div class=\"mails\">");
        for locale in Locale::ALL {
            let rendered = mails.sample(mail, locale).map_err(|error| CliError::Failed(error.to_string()))?;
            let (subject, language, dir) = (escape(&rendered.subject), locale.name(), locale.direction());
            let _ = writeln!(
                page,
                "<figure><figcaption><bdi>{language}</bdi> <a href=\"{locale}/{name}.html\">HTML</a> \
                 <a href=\"{locale}/{name}.txt\">text</a><br><b lang=\"{locale}\" dir=\"{dir}\">{subject}</b></figcaption>\n\
                 <iframe src=\"{locale}/{name}.html\" title=\"{name}, {language}\" loading=\"lazy\"></iframe></figure>"
            );
        }
        page += "</div>\n";
    }
    Ok(page + "</body>\n</html>\n")
}

const INDEX: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{service}: all mails</title>
<style>
body { margin: 0; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; }
.mails { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { flex: 1 1 22rem; min-width: 0; margin: 0; }
b { display: block; }
iframe { box-sizing: border-box; width: 100%; height: 38rem; border: 1px solid #8b8e9b; border-radius: 0.5rem; }
</style>
</head>
<body>
<h1>{service}: all mails</h1>
"#;

fn templates(folder: &Path) -> Result<(), CliError> {
    fs::create_dir_all(folder).map_err(|error| file_error("create", folder, &error))?;
    let (mut written, mut kept) = (0, 0);
    for source in built_in_sources() {
        let path = folder.join(&source.name);
        if path.exists() {
            kept += 1;
        } else {
            write(&path, &source.text)?;
            written += 1;
        }
    }
    let kept = if kept > 0 { format!("; kept {kept} that exist") } else { String::new() };
    print(&format!("Wrote {written} templates to {}{kept}\n", folder.display()))
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    fs::write(path, text).map_err(|error| file_error("write", path, &error))
}

fn file_error(action: &str, path: &Path, error: &std::io::Error) -> CliError {
    CliError::Failed(format!("cannot {action} {}: {error}", path.display()))
}
