//! A service of a test's own: the production code on free ports, with a database and a key prefix that nobody else has,
//! over a PostgreSQL and a Redis that all tests of the run share and that end with it.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Parser;
use dev_stack::{Stack, StackOptions};
use mail_mock::{MailMock, Options};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sixty::app::App;
use sixty::config::{Config, ServeArgs};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

pub const PASSWORD: &str = "correct horse battery";
/// 32 octets of nothing.
pub const CODE_SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const PATIENCE: Duration = Duration::from_secs(60);

/// The servers of this run. Nothing stops them but the end of the process: their guardian notices it.
pub fn stack() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stack");
        let program = env!("CARGO_BIN_EXE_sixty").into();
        Stack::start(&StackOptions { program, folder, keep: false }, |_| ()).unwrap()
    })
}

/// An empty database of one's own.
pub async fn database() -> String {
    let stack = tokio::task::spawn_blocking(stack).await.unwrap();
    let name = format!("t{}", unique());
    let mut admin = PgConnection::connect(stack.database_url()).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create).execute(&mut admin).await.unwrap();
    let (server, _) = stack.database_url().rsplit_once('/').unwrap();
    format!("{server}/{name}")
}

#[expect(clippy::disallowed_methods, reason = "names that two runs must not share")]
pub fn unique() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Polls until the condition gives something.
pub async fn eventually<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, condition).await
}

/// The same, with another patience.
pub async fn within<T>(patience: Duration, what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    let mut condition = condition;
    let poll = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            if let Some(value) = condition().await {
                return value;
            }
        }
    };
    tokio::time::timeout(patience, poll).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// The last of a flag's values holds, so that a test may override what every test gets.
#[derive(Parser)]
#[command(args_override_self = true)]
struct Flags {
    #[command(flatten)]
    settings: ServeArgs,
}

pub struct Service {
    pub url: String,
    pub mail_url: String,
    pub database_url: String,
    pub prefix: String,
    pub db: PgPool,
    pub http: Client,
    _stop: DropGuard,
}

/// What a test looks at in an answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    pub async fn of(request: RequestBuilder) -> Self {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = client.execute(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let is =
            |kind: &str| headers.get("content-type").is_some_and(|value| value.to_str().unwrap().starts_with(kind));
        let body = match &*text {
            "" => Value::Null,
            page if is("text/html") || is("application/yaml") => page.into(),
            json => serde_json::from_str(json).unwrap(),
        };
        // Only the page that mails lead to is for people, whatever becomes of them there.
        let page = is("text/html") && path.starts_with("/not-me/");
        let answer = Self { status, headers, body };
        if (status.is_client_error() || status.is_server_error()) && !page {
            answer.is_a_problem();
        }
        answer.is_declared(&method, &path);
        answer
    }

    /// Whatever an operation answers, its document has said so.
    fn is_declared(&self, method: &Method, path: &str) {
        static DOCUMENT: OnceLock<Value> = OnceLock::new();
        let document = DOCUMENT.get_or_init(|| serde_json::from_str(&sixty::app::document().json()).unwrap());
        let path = match path.strip_prefix("/v1/users/") {
            Some(id) if !id.is_empty() && id != "me" && !id.contains('/') => "/v1/users/{id}",
            _ => path,
        };
        let operation = &document["paths"][path][method.as_str().to_lowercase()];
        if operation.is_null() {
            return;
        }
        let (status, name) = self.outcome();
        let response = &operation["responses"][status.to_string()];
        assert!(response.is_object(), "{method} {path} does not declare {status}");
        if !name.is_empty() {
            let examples = &response["content"]["application/problem+json"]["examples"];
            assert!(examples[name].is_object(), "{method} {path} does not declare {name}");
        }
    }

    /// What RFC 9457 and our document ask of every error.
    fn is_a_problem(&self) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], self.status.as_u16(), "{self:?}");
        assert!(self.body["title"].is_string() && self.body["detail"].is_string(), "{self:?}");
        assert!(self.body["type"].as_str().unwrap().starts_with("/problems/"), "{self:?}");
        match self.status.as_u16() {
            401 => assert_eq!(self.header("www-authenticate"), r#"Basic realm="sixty", charset="UTF-8""#),
            405 => assert!(!self.header("allow").is_empty()),
            429 | 503 => assert_eq!(self.header("retry-after"), self.body["retry_after"].to_string()),
            _ => {}
        }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and problem name, or the empty string.
    pub fn outcome(&self) -> (u16, &str) {
        let name = self.body["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/")).unwrap_or_default();
        (self.status.as_u16(), name)
    }

    pub fn pointers(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
        errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect()
    }
}

/// Runs the service with what every test needs and these flags; returns its URL at once, ready or not.
pub async fn run(flags: &[&str], stop: CancellationToken) -> String {
    let mut args = vec!["sixty", "--api-addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0"];
    args.extend(["--argon2-memory-kib=8", "--argon2-passes=1", "--hash-threads=2"]);
    // All tests come from one network.
    args.extend(["--client-limits=false"]);
    args.extend(["--code-secret", CODE_SECRET]);
    args.extend(flags);
    let flags = Flags::parse_from(args);
    let config = Config::new(flags.settings).unwrap();
    let app = App::bind(config, String::new).await.unwrap();
    let url = format!("http://{}", app.api_addr());
    tokio::spawn(async move { app.run(stop).await.unwrap() });
    url
}

/// A provider of a test's own; returns its URL.
pub async fn start_mail_mock(options: Options, stop: CancellationToken) -> String {
    let mail = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mail_url = format!("http://{}", mail.local_addr().unwrap());
    tokio::spawn(async move { mail_mock::serve(mail, &MailMock::new(options, 60), stop).await });
    mail_url
}

impl Service {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Flags as `sixty serve` takes them.
    pub async fn start_with(flags: &[&str]) -> Self {
        let stop = CancellationToken::new();
        let mail_url = start_mail_mock(Options::default(), stop.clone()).await;
        Self::join(&database().await, &format!("t{}", unique()), &mail_url, flags, stop).await
    }

    /// Another process of the same service, as it were: the same stores, other ports.
    pub async fn replica(&self, flags: &[&str]) -> Self {
        Self::join(&self.database_url, &self.prefix, &self.mail_url, flags, CancellationToken::new()).await
    }

    async fn join(database_url: &str, prefix: &str, mail_url: &str, flags: &[&str], stop: CancellationToken) -> Self {
        let mut args = vec!["--database-url", database_url, "--redis-url", stack().redis_url()];
        args.extend(["--redis-prefix", prefix, "--mail-url", mail_url]);
        args.extend(flags);
        let url = run(&args, stop.clone()).await;
        Self::reach(url, mail_url, database_url, prefix, stop).await
    }

    /// A service that runs already, in this process or in another.
    pub async fn reach(url: String, mail_url: &str, database_url: &str, prefix: &str, stop: CancellationToken) -> Self {
        let service = Self {
            url,
            mail_url: mail_url.to_owned(),
            database_url: database_url.to_owned(),
            prefix: prefix.to_owned(),
            db: PgPool::connect(database_url).await.unwrap(),
            // Servers close what was idle for ten seconds: it must not be used in that moment.
            http: Client::builder().no_proxy().pool_idle_timeout(Duration::from_secs(5)).build().unwrap(),
            _stop: stop.drop_guard(),
        };
        eventually("the service to be ready", async || {
            let ready = service.http.get(service.at("/readyz")).send().await.unwrap();
            ready.status().is_success().then_some(())
        })
        .await;
        service
    }

    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.at(path))
    }

    pub async fn register(&self, email: &str, password: &str) -> Answer {
        let body = json!({ "email": email, "password": password });
        Answer::of(self.request(Method::POST, "/v1/users").json(&body)).await
    }

    /// Registers with [`PASSWORD`]; returns the user's id.
    pub async fn registered(&self, email: &str) -> String {
        let answer = self.register(email, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    pub async fn activate(&self, email: &str, password: &str, code: &str) -> Answer {
        let request = self.request(Method::POST, "/v1/users/me/activation").basic_auth(email, Some(password));
        Answer::of(request.json(&json!({ "code": code }))).await
    }

    pub async fn resend(&self, email: &str, password: &str) -> Answer {
        let request = self.request(Method::POST, "/v1/users/me/verification-code");
        Answer::of(request.basic_auth(email, Some(password))).await
    }

    pub async fn me(&self, email: &str, password: &str) -> Answer {
        Answer::of(self.request(Method::GET, "/v1/users/me").basic_auth(email, Some(password))).await
    }

    pub async fn delete(&self, email: &str, password: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, "/v1/users/me").basic_auth(email, Some(password))).await
    }

    /// The mails to an address, newest first, as the provider shows them.
    pub async fn mails(&self, email: &str) -> Vec<Value> {
        let url = format!("{}/api/v1/search", self.mail_url);
        let query = [("query", format!("to:{email}"))];
        let found: Value = self.http.get(url).query(&query).send().await.unwrap().json().await.unwrap();
        found["messages"].as_array().unwrap().clone()
    }

    /// Waits for the `n`-th mail to the address and reads the newest.
    pub async fn mail(&self, email: &str, n: usize) -> String {
        let newest = eventually("a mail", async || {
            let mails = self.mails(email).await;
            (mails.len() >= n).then(|| mails[0].clone())
        })
        .await;
        // It may be read before the provider's answer is; a code that is not yet armed anew is armed once.
        self.text(&newest).await
    }

    /// The text of a mail that was listed.
    pub async fn text(&self, mail: &Value) -> String {
        self.whole(mail).await["Text"].as_str().unwrap().to_owned()
    }

    /// All of a mail that was listed.
    pub async fn whole(&self, mail: &Value) -> Value {
        let url = format!("{}/api/v1/message/{}", self.mail_url, mail["ID"].as_str().unwrap());
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Waits for the `n`-th mail to the address and takes the code from the newest.
    pub async fn code(&self, email: &str, n: usize) -> String {
        let text = self.mail(email, n).await;
        code_in(&text).unwrap_or_else(|| panic!("no code in {text}"))
    }

    /// Waits for the `n`-th mail to the address and takes the link from the end of the newest.
    pub async fn not_me_link(&self, email: &str, n: usize) -> String {
        let text = self.mail(email, n).await;
        let link = text.lines().last().unwrap();
        assert!(link.starts_with(&self.at("/not-me/")), "{text}");
        link.to_owned()
    }

    pub async fn faults(&self, faults: Value) {
        let answer = self.http.put(format!("{}/api/faults", self.mail_url)).json(&faults).send().await.unwrap();
        assert!(answer.status().is_success());
    }

    /// Registers and activates; two mails have come when it is done, that of the code and that of the activation.
    pub async fn account(&self, email: &str) -> String {
        let id = self.registered(email).await;
        let code = self.code(email, 1).await;
        assert_eq!(self.activate(email, PASSWORD, &code).await.status, StatusCode::OK);
        self.mail(email, 2).await;
        id
    }

    /// Makes all that is remembered of addresses older, so that their wait is over.
    pub async fn let_waits_pass(&self, by: Duration) {
        age(&self.db, by).await;
    }

    /// How many mails are unfinished.
    pub async fn unfinished(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&self.db).await.unwrap()
    }

    /// Waits until an attempt to send the only mail has begun.
    pub async fn attempted(&self) {
        eventually("an attempt", async || {
            let attempts: i32 = sqlx::query_scalar("SELECT attempts FROM outbox").fetch_one(&self.db).await.unwrap();
            (attempts >= 1).then_some(())
        })
        .await;
    }

    pub async fn outbox_is_empty(&self) {
        eventually("the outbox to be empty", async || (self.unfinished().await == 0).then_some(())).await;
    }

    /// Runs a command on this run's Redis.
    pub async fn redis<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(stack().redis_url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(word);
        });
        command.query_async(&mut connection).await.unwrap()
    }

    pub fn key(&self, kind: &str, user: &str) -> String {
        format!("{}:{kind}:{{{user}}}", self.prefix)
    }
}

/// Makes all that a database remembers of addresses older.
pub async fn age(db: &PgPool, by: Duration) {
    sqlx::query(
        "UPDATE addresses SET granted_at = granted_at - make_interval(secs => $1),
         short_granted_at = ARRAY(SELECT at - make_interval(secs => $1) FROM unnest(short_granted_at) AS at)",
    )
    .bind(by.as_secs_f64())
    .execute(db)
    .await
    .unwrap();
    sqlx::query("UPDATE not_me_links SET expires_at = expires_at - make_interval(secs => $1)")
        .bind(by.as_secs_f64())
        .execute(db)
        .await
        .unwrap();
}

/// The code in a mail, if it carries one.
pub fn code_in(text: &str) -> Option<String> {
    let digits = |word: &&str| word.len() >= 4 && word.bytes().all(|byte| byte.is_ascii_digit());
    text.split_whitespace().find(digits).map(str::to_owned)
}

/// A code of the same length that is not this one.
pub fn wrong(code: &str) -> String {
    code.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect()
}

/// Runs the same request many times at the same instant.
pub async fn at_once<F, Fut>(n: usize, request: F) -> Vec<Answer>
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = Answer> + Send + 'static,
{
    let barrier = Arc::new(tokio::sync::Barrier::new(n));
    let tasks: Vec<_> = (0..n)
        .map(|i| {
            let (barrier, request) = (Arc::clone(&barrier), request(i));
            tokio::spawn(async move {
                barrier.wait().await;
                request.await
            })
        })
        .collect();
    futures_util::future::join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}
