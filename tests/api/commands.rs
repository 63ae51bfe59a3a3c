//! Commands that need no store, and the error messages of all commands for bad arguments and settings.

use std::net::TcpListener;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::process::Command;

use super::process::{Folder, PROGRAM, Running, failure_line, output, sixty};

/// Every secret in these tests contains this text; no output may contain it.
const CANARY: &str = "c4n4ry";
/// The settings with credentials of mail providers.
const CREDENTIALS: [&str; 6] = [
    "MAILJET_API_KEY",
    "MAILJET_API_SECRET",
    "POSTMARK_SERVER_TOKEN",
    "BREVO_API_KEY",
    "SENDGRID_API_KEY",
    "RESEND_API_KEY",
];

/// Returns `sixty serve` with valid settings that name no running store.
fn serve() -> Command {
    let mut serve = sixty(&["serve"]);
    serve
        .env("API_ADDR", "127.0.0.1:0")
        .env("OPS_ADDR", "127.0.0.1:0")
        .env("DATABASE_URL", format!("postgres://sixty:{CANARY}@127.0.0.1:1/sixty"))
        .env("REDIS_URL", format!("redis://:{CANARY}@127.0.0.1:1"))
        .env("MAIL_URL", format!("http://sixty:{CANARY}@127.0.0.1:1"))
        .env("CODE_SECRET", CANARY.repeat(8));
    serve
}

#[tokio::test]
async fn a_bad_setting_is_reported_in_one_line_with_its_name_and_without_its_value() {
    for (setting, value) in [
        ("CODE_SECRET", "c4n4ryc4"),
        ("CODE_SECRET", "not base64: c4n4ry"),
        ("CODE_TTL", "c4n4ry"),
        ("CODE_STORAGE", "c4n4ry"),
        ("DATABASE_URL", "c4n4ry"),
        ("DATABASE_URL", "nonsense://sixty:c4n4ry@127.0.0.1:1/sixty"),
        ("DATABASE_URL", "postgres://sixty:c4n4ry@127.0.0.1:port/sixty"),
        ("DATABASE_URL", "postgres://sixty:c4n4ry@127.0.0.1:1/sixty?sslmode=c4n4ry"),
        ("REDIS_URL", "c4n4ry"),
        ("REDIS_URL", "nonsense://:c4n4ry@127.0.0.1:1"),
        ("MAIL_URL", "c4n4ry"),
        ("MAIL_URL", "mailto:c4n4ry@127.0.0.1"),
        ("MAIL_FROM", "c4n4ry"),
        ("MAIL_CONCURRENCY", "c4n4ry"),
        ("MAIL_DIALECT", "c4n4ry"),
        ("ARGON2_MEMORY_KIB", "1"),
        ("API_ADDR", "c4n4ry"),
        ("MIGRATE", "c4n4ry"),
        ("LOG_LEVEL", "c4n4ry=c4n4ry"),
        ("LOG_FORMAT", "c4n4ry"),
    ] {
        let (status, line) = failure_line(serve().env(setting, value)).await;
        assert!(line.starts_with(&format!("sixty: {setting}: ")), "{setting}={value}: {line}");
        assert!(!line.contains(CANARY), "{setting}={value}: {line}");
        assert_eq!(status, 2, "{setting}={value}: {line}");
    }
}

/// Returns the names of the settings of `sixty serve`, from the file that lists them.
fn names_of_settings() -> Vec<String> {
    let file = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example")).unwrap();
    let (serve, _) = file.split_once("# --- `sixty dev`").unwrap();
    let lines = serve.lines().filter_map(|line| line.trim_start_matches('#').split_once('='));
    let names = lines.map(|(name, _)| name.to_owned());
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_uppercase() || b"_0123456789".contains(&byte))).collect()
}

#[tokio::test]
async fn nonsense_in_any_setting_is_refused_in_our_words() {
    let names = names_of_settings();
    assert!(names.len() > 45, "{names:?}");
    for name in names {
        let free_texts = ["SERVICE_NAME", "MAIL_FROM_NAME", "REDIS_PREFIX"];
        if free_texts.iter().chain(&CREDENTIALS).any(|free| *free == name) {
            continue;
        }
        let mut serve = serve();
        let mut expected = "must ";
        if let Some(secret) = name.strip_suffix("_FILE") {
            serve.env_remove(secret);
            expected = "there is no such file";
        }
        let (status, line) = failure_line(serve.env(&name, "c4n4ry \u{e9}")).await;
        assert_eq!(status, 2, "{line}");
        assert!(line.starts_with(&format!("sixty: {name}: ")) && line.contains(expected), "{line}");
        // The path of a file is no secret.
        assert_eq!(line.contains(CANARY), name.ends_with("_FILE"), "{line}");
        let parsers = ["invalid digit", "invalid socket", "invalid value", "relative URL", "provided string", "error:"];
        assert!(!parsers.iter().any(|words| line.contains(words)), "{line}");
    }
}

#[tokio::test]
async fn unknown_parameters_and_undecodable_parts_of_store_urls_are_refused_without_their_values() {
    for (setting, url, reason) in [
        (
            "DATABASE_URL",
            "postgres://sixty@127.0.0.1:1/sixty?Password=c4n4ry",
            "the parameter Password is not supported",
        ),
        ("DATABASE_URL", "postgres://sixty:c4n4ry@one,two/sixty?port=1,2,3", "as many ports as hosts"),
        ("DATABASE_URL", "postgres://sixty:c4n4/ry@127.0.0.1:1/sixty", "must be percent-encoded"),
        ("DATABASE_URL", "postgres://sixty:c4n4#c4n4ry@127.0.0.1:1/sixty", "must be percent-encoded"),
        ("REDIS_URL", "redis://127.0.0.1:1?password=c4n4ry", "the parameter password is not supported"),
        ("REDIS_URL", "redis://:c4n4ry@127.0.0.1:1/1,redis://:c4n4ry@127.0.0.1:2/1", "database 0 only"),
        ("REDIS_URL", "redis://:c4n4ry/@127.0.0.1:1", "must be percent-encoded"),
    ] {
        let (status, line) = failure_line(serve().env(setting, url)).await;
        assert_eq!(status, 2, "{line}");
        assert!(line.starts_with(&format!("sixty: {setting}: ")) && line.contains(reason), "{line}");
        assert!(!line.contains(CANARY), "{line}");
    }
    let url = "postgres://sixty@127.0.0.1:1/sixty?Password=c4n4ry";
    for arguments in [&["migrate", "status"][..], &["users", "list"]] {
        let (status, line) = failure_line(sixty(arguments).env("DATABASE_URL", url)).await;
        assert!(status == 2 && line.contains("the parameter Password is not supported"), "{line}");
        assert!(!line.contains(CANARY), "{line}");
    }
}

#[tokio::test]
async fn a_mail_mock_fault_out_of_range_is_reported_in_one_line() {
    for (flag, line) in [
        ("--mail-mock-fail-rate=2", "MAIL_MOCK_FAIL_RATE: must be between 0 and 1"),
        ("--mail-mock-drop-rate=2", "MAIL_MOCK_DROP_RATE: must be between 0 and 1"),
        ("--mail-mock-status=200", "MAIL_MOCK_STATUS: must be between 400 and 599"),
        ("--mail-mock-latency-ms=600001", "MAIL_MOCK_LATENCY_MS: must be at most 600000"),
    ] {
        assert_eq!(failure_line(&mut sixty(&["mail-mock", flag])).await, (2, format!("sixty: {line}\n")));
    }
}

#[tokio::test]
async fn missing_settings_are_reported_in_one_line() {
    for (command, settings) in [
        (serve().env_remove("CODE_SECRET"), "CODE_SECRET"),
        (&mut sixty(&["serve"]), "DATABASE_URL, REDIS_URL, MAIL_URL, CODE_SECRET"),
        (&mut sixty(&["migrate", "status"]), "DATABASE_URL"),
        (sixty(&["mail-mock"]).env("MAILJET_API_KEY", CANARY), "MAILJET_API_SECRET"),
        (serve().env("MAILJET_API_KEY", CANARY), "MAILJET_API_SECRET"),
        (serve().env("MAIL_FALLBACK_URL", "http://127.0.0.1:2"), "MAIL_FALLBACK_DIALECT"),
        (serve().env("MAIL_FALLBACK_DIALECT", "mailpit"), "MAIL_FALLBACK_URL"),
    ] {
        assert_eq!(failure_line(command).await, (2, format!("sixty: {settings}: must be set\n")));
    }
}

#[tokio::test]
async fn a_provider_without_its_credentials_stops_the_start() {
    for (dialect, setting) in [
        ("mailjet", "MAILJET_API_KEY"),
        ("postmark", "POSTMARK_SERVER_TOKEN"),
        ("brevo", "BREVO_API_KEY"),
        ("sendgrid", "SENDGRID_API_KEY"),
        ("resend", "RESEND_API_KEY"),
    ] {
        let line = |chosen: &str| format!("sixty: {setting}: must be set if {chosen} is {dialect}\n");
        assert_eq!(failure_line(serve().env("MAIL_DIALECT", dialect)).await, (2, line("MAIL_DIALECT")));
        let mut fallback = serve();
        fallback.env("MAIL_FALLBACK_URL", "http://127.0.0.1:2").env("MAIL_FALLBACK_DIALECT", dialect);
        assert_eq!(failure_line(&mut fallback).await, (2, line("MAIL_FALLBACK_DIALECT")));
    }
}

#[tokio::test]
async fn an_empty_variable_means_that_the_setting_is_not_set() {
    for empty in ["", " ", "\n"] {
        let missing = failure_line(serve().env("CODE_SECRET", empty)).await;
        assert_eq!(missing, (2, "sixty: CODE_SECRET: must be set\n".to_owned()), "{empty:?}");
        let optional =
            ["API_ADDR", "OPS_ADDR", "PUBLIC_URL", "CONTACT", "CODE_TTL", "CODE_DIGITS", "MIGRATE", "LOG_LEVEL"];
        let more =
            ["LOG_FORMAT", "MAIL_FROM", "MAIL_DIALECT", "MAIL_FALLBACK_URL", "MAIL_FALLBACK_DIALECT", "CLIENT_LIMITS"];
        let mut serve = serve();
        serve.envs(optional.into_iter().chain(more).chain(CREDENTIALS).map(|name| (name, empty)));
        let (mut running, _) = Running::serve(&mut serve).await;
        assert!(running.end(Signal::SIGTERM).await.success(), "{empty:?}");
    }
}

#[tokio::test]
async fn settings_are_trimmed_and_control_characters_inside_are_refused() {
    let settings =
        ["DATABASE_URL", "REDIS_URL", "MAIL_URL", "MAIL_FROM", "MAIL_FROM_NAME", "REDIS_PREFIX", "PUBLIC_URL"];
    for setting in settings.into_iter().chain(CREDENTIALS) {
        let mut serve = serve();
        serve.env("MAILJET_API_KEY", "key").env("MAILJET_API_SECRET", "secret");
        let (status, line) = failure_line(serve.env(setting, "http://c4n4ry\nx@example.com")).await;
        assert_eq!(status, 2, "{line}");
        assert!(line.starts_with(&format!("sixty: {setting}: must not contain a line break")), "{line}");
        assert!(!line.contains(CANARY), "{line}");
    }
    let mut serve = serve();
    let written = |value: &str| format!(" {value}\n");
    serve
        .env("DATABASE_URL", written("postgres://sixty@127.0.0.1:1/sixty"))
        .env("REDIS_URL", written("redis://127.0.0.1:1"))
        .env("MAIL_URL", written("http://127.0.0.1:1"))
        .env("MAIL_FROM", written("no-reply@sixty.example"))
        .env("CODE_SECRET", written(&CANARY.repeat(8)))
        .env("CODE_TTL", written("60s"));
    let (mut running, _) = Running::serve(&mut serve).await;
    assert!(running.end(Signal::SIGTERM).await.success());
}

/// Writes a file into the folder. Returns its path.
fn write(folder: &Folder, name: &str, content: &str) -> String {
    std::fs::create_dir_all(&folder.0).unwrap();
    std::fs::write(folder.join(name), content).unwrap();
    folder.join(name).to_str().unwrap().to_owned()
}

#[tokio::test]
async fn secrets_are_read_from_files() {
    let folder = Folder::new("secret-files");
    let secrets = [
        ("DATABASE_URL", format!("postgres://sixty:{CANARY}@127.0.0.1:1/sixty")),
        ("REDIS_URL", format!("redis://:{CANARY}@127.0.0.1:1")),
        ("MAIL_URL", "http://127.0.0.1:1".to_owned()),
        ("CODE_SECRET", CANARY.repeat(8)),
        ("MAILJET_API_KEY", CANARY.to_owned()),
        ("MAILJET_API_SECRET", CANARY.to_owned()),
        ("MAIL_FALLBACK_URL", format!("http://{CANARY}@127.0.0.1:2")),
        ("POSTMARK_SERVER_TOKEN", CANARY.to_owned()),
        ("BREVO_API_KEY", CANARY.to_owned()),
        ("SENDGRID_API_KEY", CANARY.to_owned()),
        ("RESEND_API_KEY", CANARY.to_owned()),
    ];
    let mut serve = sixty(&["serve", "--mail-dialect=mailjet", "--mail-fallback-dialect=postmark"]);
    for (name, value) in &secrets {
        let path = write(&folder, name, &format!("\u{feff}{value}\r\n\n"));
        // Compose sets a variable that has no value to an empty text.
        serve.env(name, "").env(format!("{name}_FILE"), format!("{path}\n"));
    }
    let (mut running, _) = Running::serve(&mut serve).await;
    assert!(running.end(Signal::SIGTERM).await.success());
    assert!(!running.stderr().contains(CANARY), "{}", running.stderr());

    // The flag of a file, before and after the action of a command.
    let path = folder.join("DATABASE_URL");
    let flag = format!("--database-url-file={}", path.display());
    for arguments in [["migrate", &flag, "status"], ["migrate", "status", &flag], ["users", "list", &flag]] {
        let output = output(sixty(&arguments).env("DATABASE_TIMEOUT", "1s")).await;
        let line = String::from_utf8(output.stderr).unwrap();
        assert!(!line.contains("must be set") && !line.contains(CANARY), "{line}");
        assert!(!output.status.success(), "nothing listens on port 1");
    }
}

#[tokio::test]
async fn a_secret_file_that_cannot_be_used_is_reported_with_its_path_and_without_its_content() {
    let folder = Folder::new("bad-secret-files");
    let good = write(&folder, "good", CANARY);
    let empty = write(&folder, "empty", " \n");
    let bad = write(&folder, "bad", "c4n4ry");
    let long = write(&folder, "long", &CANARY.repeat(20_000));
    let missing = folder.join("missing").to_str().unwrap().to_owned();
    let parent = folder.0.to_str().unwrap().to_owned();
    for name in ["DATABASE_URL", "REDIS_URL", "MAIL_URL", "CODE_SECRET"] {
        let setting = format!("{name}_FILE");
        for (path, reason) in [
            (&missing, "there is no such file"),
            (&parent, "it is a folder, not a file"),
            (&empty, "it is empty"),
            (&long, "it is longer than 64 KiB"),
        ] {
            let failure = failure_line(serve().env_remove(name).env(&setting, path)).await;
            assert_eq!(failure, (2, format!("sixty: {setting}: cannot use {path}: {reason}\n")));
        }
        let (status, line) = failure_line(serve().env(&setting, &good)).await;
        assert_eq!(
            (status, line.as_str()),
            (2, &*format!("sixty: {setting}: must not be set, because {name} is set too\n"))
        );
        let (status, line) = failure_line(serve().env_remove(name).env(&setting, &bad)).await;
        assert!(status == 2 && line.starts_with(&format!("sixty: {name}: must ")), "{line}");
        assert!(!line.contains(CANARY), "{line}");
    }
    // Empty variables are not set.
    for (name, file) in [("CODE_SECRET_FILE", ""), ("DATABASE_URL_FILE", " ")] {
        let (mut running, _) = Running::serve(serve().env(name, file)).await;
        assert!(running.end(Signal::SIGTERM).await.success());
    }
}

#[tokio::test]
async fn a_value_that_is_not_utf_8_is_reported() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    for name in ["CODE_TTL", "DATABASE_URL", "MAIL_FROM_NAME"] {
        let failure = failure_line(serve().env(name, OsStr::from_bytes(b"c4n4ry\xff"))).await;
        assert_eq!(failure, (2, format!("sixty: {name}: must be text in UTF-8\n")));
    }
}

#[tokio::test]
async fn every_form_of_an_address_listens() {
    for form in ["127.0.0.1:0", "localhost:0", ":0", "[::]:0", "*:0", "0.0.0.0:0", " localhost:0\n"] {
        let mut serve = serve();
        serve.env("API_ADDR", form).env("OPS_ADDR", form).env("LOG_FORMAT", "json");
        let mut running = Running::start(&mut serve);
        let listening = running.until("log line with the addresses", async |running| {
            let log = running.stderr();
            let mut events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            events.find(|event| event["message"] == "listening")
        });
        let listening = listening.await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let status = async |url: String| http.get(url).send().await.unwrap().status().as_u16();
        for port in [&listening["api"], &listening["ops"]] {
            let (_, port) = port.as_str().unwrap().rsplit_once(':').unwrap();
            assert_eq!(status(format!("http://127.0.0.1:{port}/livez")).await, 200, "{form}");
            assert_eq!(status(format!("http://localhost:{port}/livez")).await, 200, "{form}");
            if TcpListener::bind("[::1]:0").is_ok() && [":0", "[::]:0", "*:0"].contains(&form) {
                assert_eq!(status(format!("http://[::1]:{port}/livez")).await, 200, "{form}");
            }
        }
        let (_, port) = listening["api"].as_str().unwrap().rsplit_once(':').unwrap();
        let addr = form.replace(":0", &format!(":{port}"));
        let healthy = output(sixty(&["healthcheck"]).env("API_ADDR", addr)).await;
        assert!(healthy.status.success(), "{form}: {healthy:?}");
        assert!(running.end(Signal::SIGTERM).await.success());
    }
}

#[tokio::test]
async fn an_unknown_flag_is_refused_with_a_suggestion() {
    let refused = output(serve().arg(format!("--code-secrte={CANARY}"))).await;
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(words.contains("'--code-secret'") && !words.contains(CANARY), "{words}");
}

#[tokio::test]
async fn help_shows_settings_and_defaults_and_no_secret() {
    let help = output(serve().arg("--help")).await;
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(help.status.success());
    assert!(
        text.contains("[env: CODE_TTL]") && text.contains("[default: 60s]") && text.contains("[env: DATABASE_URL]"),
        "{text}"
    );
    assert!(!text.contains(CANARY), "{text}");
}

#[tokio::test]
async fn short_help_is_short_and_a_command_without_action_prints_it() {
    let short = String::from_utf8(output(serve().arg("-h")).await.stdout).unwrap();
    assert!(short.contains("--code-ttl <TIME>") && !short.contains("[env:") && !short.contains("[default:"), "{short}");
    assert!(!short.contains(CANARY));

    let short_help = output(&mut sixty(&["migrate", "-h"])).await;
    let without_action = output(&mut sixty(&["migrate"])).await;
    assert_eq!((short_help.status.code(), without_action.status.code()), (Some(0), Some(2)));
    assert_eq!(short_help.stdout, without_action.stderr);
}

#[tokio::test]
async fn bash_completes_commands_flags_and_values() {
    if Command::new("bash").arg("--version").output().await.is_err() {
        return;
    }
    let script = r#"
        sixty() { "$PROGRAM" "$@"; }
        source <(sixty completions bash)
        for words in 'mig' 'serve --code-s' 'migrate up --log-f' 'dev --code-storage pl'; do
            COMP_WORDS=(sixty $words) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _sixty sixty "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "${COMPREPLY[@]}"
        done"#;
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-euc", script]).env("PROGRAM", PROGRAM).stdout(Stdio::piped()).stderr(Stdio::piped());
    let completed = output(&mut bash).await;
    let words = String::from_utf8(completed.stdout).unwrap();
    assert_eq!(
        (words.as_str(), completed.stderr.as_slice()),
        ("migrate\n--code-secret --code-storage\n--log-format\nplain\n", &b""[..])
    );
}

#[tokio::test]
async fn a_taken_port_is_reported_in_one_line_with_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for (mut command, setting) in
        [(serve(), "API_ADDR"), (serve(), "OPS_ADDR"), (sixty(&["mail-mock"]), "MAIL_MOCK_ADDR")]
    {
        let (status, line) = failure_line(command.env(setting, &addr)).await;
        assert!(line.starts_with(&format!("sixty: {setting}: cannot listen on {addr}: ")), "{line}");
        assert_eq!(status, 1);
    }
}

#[tokio::test]
async fn the_openapi_document_is_printed_without_a_running_service() {
    let json = output(&mut sixty(&["openapi"])).await;
    let yaml = output(&mut sixty(&["openapi", "--yaml"])).await;
    for output in [&json, &yaml] {
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    let yaml: Value = serde_saphyr::from_slice(&yaml.stdout).unwrap();
    assert_eq!(json, yaml);
    assert!(json["openapi"].is_string() && json["paths"]["/v1/users"]["post"].is_object());
}

#[tokio::test]
async fn a_closed_pipe_is_no_failure_and_a_full_disk_is_one() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let closed_pipe = output(sixty(&["openapi"]).stdout(Stdio::from(writer))).await;
    assert!(closed_pipe.status.success() && closed_pipe.stderr.is_empty(), "{closed_pipe:?}");

    if let Ok(full) = std::fs::File::options().write(true).open("/dev/full") {
        let (status, line) = failure_line(sixty(&["openapi"]).stdout(full)).await;
        assert_eq!(status, 1);
        assert!(line.starts_with("sixty: cannot write to standard output: "), "{line}");
    }
}

#[tokio::test]
async fn the_mail_mock_runs_until_a_signal_stops_it() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut mock = Running::start(&mut sixty(&["mail-mock", "--mail-mock-addr=127.0.0.1:0"]));
        let url = mock.until("line with the URL", async |mock| {
            Some(mock.stdout().trim().strip_prefix("The mock mail provider listens on ")?.to_owned())
        });
        let url = url.await;
        let live = reqwest::get(format!("{url}/livez")).await.unwrap();
        assert_eq!(live.status(), 200);
        assert!(mock.end(signal).await.success());
        assert_eq!(mock.stderr(), "");
    }
}
