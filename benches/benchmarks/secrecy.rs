//! Whether the time of an answer tells what its words do not: who is registered.
//!
//! Requests about addresses of different standing are sent in a random order, and the times of each are compared with
//! those of another standing that must look the same. The measure is the AUC of the Mann-Whitney test: how often a time
//! of the one is above a time of the other. A coin gets 0.5. The bar is 0.5 ± 0.1: whoever guesses by it is right three
//! times in five, and needs some fifty samples of one address to be 90 % sure, while an address can be registered only
//! some times a day. With these numbers chance alone goes beyond it about once in two thousand comparisons. p says how
//! probable chance is; where it is small and the AUC within the bar, there is a difference too small to use.

use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use sqlx::PgPool;

use crate::program::{Bench, PASSWORD, Service, read};
use crate::report::Report;
use crate::samples::{mann_whitney, median, millis};

/// Addresses of each standing; each is asked once about everything.
const ADDRESSES: usize = 200;
const OWNERS_PASSWORD: &str = "the owner's own words";
const WRONG_PASSWORD: &str = "nobody has this one";
/// Never that of a mail: those have four digits here.
const WRONG_CODE: &str = "0000000000";

/// What there is of an address.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Standing {
    Unknown,
    /// A registration that waits for its code.
    Pending,
    /// An account.
    Active,
    /// An account, and a registration by somebody else beside it.
    Shadowed,
}
use Standing::{Active, Pending, Shadowed, Unknown};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operation {
    Register,
    Resend,
    Activate,
    Look,
    Leave,
}
use Operation::{Activate, Leave, Look, Register, Resend};

/// Requests that must take the same time, whichever of the standings the address has.
struct Question {
    operation: Operation,
    password: &'static str,
    standings: &'static [Standing],
    what: &'static str,
}

const ALL: &[Standing] = &[Unknown, Pending, Active, Shadowed];
const REGISTERED: &[Standing] = &[Pending, Shadowed];

/// In four steps, between which the addresses' waits pass.
const STEPS: [&[Question]; 4] = [
    &[
        Question { operation: Look, password: WRONG_PASSWORD, standings: ALL, what: "look, wrong password" },
        Question { operation: Activate, password: WRONG_PASSWORD, standings: ALL, what: "activate, wrong password" },
        Question { operation: Resend, password: WRONG_PASSWORD, standings: ALL, what: "resend, wrong password" },
        Question { operation: Leave, password: WRONG_PASSWORD, standings: ALL, what: "leave, wrong password" },
        Question { operation: Look, password: PASSWORD, standings: REGISTERED, what: "look, right password" },
        Question { operation: Activate, password: PASSWORD, standings: REGISTERED, what: "activate, wrong code" },
        Question { operation: Resend, password: PASSWORD, standings: REGISTERED, what: "resend, too soon" },
    ],
    &[Question { operation: Resend, password: PASSWORD, standings: REGISTERED, what: "resend" }],
    &[Question { operation: Register, password: PASSWORD, standings: ALL, what: "register" }],
    &[Question { operation: Leave, password: PASSWORD, standings: REGISTERED, what: "leave" }],
];

pub fn run(bench: &Bench, report: &mut Report) {
    let database = bench.runtime.block_on(bench.database("secrecy"));
    let (mail_url, _) = bench.provider();
    // Codes that live as long as this takes.
    let flags = ["--code-ttl=30m", "--code-wait=30m"];
    let service = bench.cores.anywhere(|| bench.serve("secrecy", &database, &mail_url, &flags));
    println!("  |AUC - 0.5| of the times of two standings, with the difference of their medians:");
    bench.runtime.block_on(async {
        service.ready().await;
        let db = PgPool::connect(&database).await.unwrap();
        prepare(&service, &db).await;
        let mut order = StdRng::seed_from_u64(60);
        for questions in STEPS {
            ask(&service, questions, &mut order, report).await;
            settle(&db).await;
            let_waits_pass(&db).await;
        }
    });
}

fn address(standing: Standing, n: usize) -> String {
    format!("{standing:?}-{n}@example.com")
}

async fn prepare(service: &Service, db: &PgPool) {
    let register = async |standing, password: &str| {
        for n in 0..ADDRESSES {
            assert_eq!(service.register(&address(standing, n), password).await.status(), 201);
        }
    };
    register(Active, OWNERS_PASSWORD).await;
    register(Shadowed, OWNERS_PASSWORD).await;
    settle(db).await;
    sqlx::query("UPDATE users SET status = 'active', activated_at = now()").execute(db).await.unwrap();
    let_waits_pass(db).await;
    register(Pending, PASSWORD).await;
    register(Shadowed, PASSWORD).await;
    settle(db).await;
}

/// Waits until all mails are sent, and with that all codes known.
async fn settle(db: &PgPool) {
    while sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT FROM outbox)").fetch_one(db).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn let_waits_pass(db: &PgPool) {
    sqlx::query("UPDATE addresses SET granted_at = granted_at - interval '4 hours'").execute(db).await.unwrap();
}

async fn ask(service: &Service, questions: &[Question], order: &mut StdRng, report: &mut Report) {
    let mut requests: Vec<(usize, usize, usize)> = Vec::new();
    for (q, question) in questions.iter().enumerate() {
        requests.extend((0..question.standings.len()).flat_map(|s| (0..ADDRESSES).map(move |n| (q, s, n))));
    }
    requests.shuffle(order);
    let mut times: Vec<Vec<Vec<f64>>> = questions.iter().map(|q| vec![vec![]; q.standings.len()]).collect();
    let mut statuses: Vec<Vec<u16>> = questions.iter().map(|_| vec![]).collect();
    for (q, s, n) in requests {
        let question = &questions[q];
        let request = request(service, question, &address(question.standings[s], n));
        let begun = Instant::now();
        let answer = read(request.send().await.unwrap()).await;
        times[q][s].push(millis(begun.elapsed()));
        statuses[q].push(answer.status().as_u16());
    }
    for ((question, times), statuses) in questions.iter().zip(times).zip(statuses) {
        assert!(statuses.iter().all(|status| *status == statuses[0]), "{}: the answers differ", question.what);
        for (standing, others) in question.standings.iter().zip(&times).skip(1) {
            let separation = mann_whitney(&times[0], others);
            let apart = median(others) - median(&times[0]);
            let what = format!(
                "{} ({}), {standing:?}/{:?}: {apart:+.2} ms, p {:.3}",
                question.what, statuses[0], question.standings[0], separation.p
            );
            report.at_most(&what.to_lowercase(), (separation.auc - 0.5).abs(), "", 0.1);
        }
    }
}

fn request(service: &Service, question: &Question, address: &str) -> RequestBuilder {
    let (method, path) = match question.operation {
        Register => (Method::POST, "/v1/users"),
        Resend => (Method::POST, "/v1/users/me/verification-code"),
        Activate => (Method::POST, "/v1/users/me/activation"),
        Look => (Method::GET, "/v1/users/me"),
        Leave => (Method::DELETE, "/v1/users/me"),
    };
    let request = service.http.request(method, service.at(path));
    match question.operation {
        Register => request.json(&json!({ "email": address, "password": question.password })),
        Activate => request.basic_auth(address, Some(question.password)).json(&json!({ "code": WRONG_CODE })),
        Resend | Look | Leave => request.basic_auth(address, Some(question.password)),
    }
}
