//! Timing side channels: whether response times reveal which addresses are registered.
//!
//! Requests about addresses in different states are sent in random order. The response times of a state are compared
//! with those of another state, from which they must not differ. The measure is the AUC of the Mann-Whitney U test: the
//! probability that a time of one state exceeds a time of the other. Chance gives 0.5, and the target is 0.5 ± 0.1.
//!
//! At an AUC of 0.6 an attacker guesses right three times in five. Certainty of 90 % then takes about fifty samples of
//! one address, and an address can be registered only a few times a day. Chance alone misses the target about once in
//! 2,000 comparisons. `p` is the probability that chance makes the difference. A small `p` within the target means a
//! real difference that is too small to use.
//!
//! The service remembers the passwords of the registrations, so right passwords cost no hash here, and nothing hides other
//! differences. The comparisons are repeated after the cost of the password hashes was raised and lowered, and with accounts
//! of which some have the hashes of another system.

use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use reqwest::{Method, RequestBuilder};
use serde_json::json;
use sqlx::PgPool;

use crate::report::Report;
use crate::service::{Bench, HASH_COST, PASSWORD, Service, read_body};
use crate::statistics::{mann_whitney, median, millis};

/// The number of addresses in each state. Each address gets one request of each comparison.
const ADDRESSES: usize = 200;
const OWNERS_PASSWORD: &str = "the owner's own words";
const WRONG_PASSWORD: &str = "nobody has this one";
/// Mailed codes have four digits, so this code is always wrong.
const WRONG_CODE: &str = "0000000000";
/// One code in 10^8 is this one.
const WRONG_RESET_CODE: &str = "00000000";

/// What the service stores about an address.
#[derive(Debug, Clone, Copy, PartialEq)]
enum AddressState {
    Unknown,
    /// A pending registration.
    Pending,
    /// An active account.
    Active,
    /// An active account, and a pending registration by somebody else.
    Shadowed,
}
use AddressState::{Active, Pending, Shadowed, Unknown};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operation {
    Register,
    Resend,
    Activate,
    ViewAccount,
    DeleteAccount,
    RequestReset,
    ResetPassword,
}
use Operation::{Activate, DeleteAccount, Register, RequestReset, Resend, ResetPassword, ViewAccount};

/// Requests whose response times must not differ between `states`.
struct Comparison {
    operation: Operation,
    password: &'static str,
    states: &'static [AddressState],
    name: &'static str,
}

const ALL: &[AddressState] = &[Unknown, Pending, Active, Shadowed];
const WITH_REGISTRATION: &[AddressState] = &[Pending, Shadowed];

/// Four steps. Between two steps, the waits for the next code of all addresses end.
const STEPS: [&[Comparison]; 4] = [
    &[
        Comparison {
            operation: ViewAccount,
            password: WRONG_PASSWORD,
            states: ALL,
            name: "view account, wrong password",
        },
        Comparison { operation: Activate, password: WRONG_PASSWORD, states: ALL, name: "activate, wrong password" },
        Comparison { operation: Resend, password: WRONG_PASSWORD, states: ALL, name: "resend, wrong password" },
        Comparison {
            operation: DeleteAccount,
            password: WRONG_PASSWORD,
            states: ALL,
            name: "delete account, wrong password",
        },
        Comparison {
            operation: ViewAccount,
            password: PASSWORD,
            states: WITH_REGISTRATION,
            name: "view account, right password",
        },
        Comparison { operation: Activate, password: PASSWORD, states: WITH_REGISTRATION, name: "activate, wrong code" },
        Comparison { operation: Resend, password: PASSWORD, states: WITH_REGISTRATION, name: "resend, too soon" },
        Comparison { operation: RequestReset, password: PASSWORD, states: ALL, name: "request reset" },
    ],
    &[
        Comparison { operation: Resend, password: PASSWORD, states: WITH_REGISTRATION, name: "resend" },
        Comparison { operation: RequestReset, password: PASSWORD, states: ALL, name: "request reset, too soon" },
        Comparison { operation: ResetPassword, password: PASSWORD, states: ALL, name: "reset password, wrong code" },
    ],
    &[Comparison { operation: Register, password: PASSWORD, states: ALL, name: "register" }],
    &[Comparison { operation: DeleteAccount, password: PASSWORD, states: WITH_REGISTRATION, name: "delete account" }],
];

pub fn run(bench: &Bench, report: &mut Report) {
    let database = bench.runtime.block_on(bench.create_database("secrecy"));
    let (mail_url, _) = bench.start_mail_provider();
    // Neither codes nor remembered passwords may expire during the run.
    let flags = ["--code-ttl=30m", "--code-wait=30m", "--reset-code-ttl=30m", "--auth-cache-ttl=30m"];
    let service = bench.cores.on_any_core(|| bench.serve("secrecy", &database, &mail_url, &flags));
    println!("  |AUC - 0.5| of the response times of two states, with the difference of their medians:");
    bench.runtime.block_on(async {
        service.wait_until_ready().await;
        let db = PgPool::connect(&database).await.unwrap();
        prepare(&service, &db).await;
        let mut order = StdRng::seed_from_u64(60);
        for comparisons in STEPS {
            measure(&service, 0, comparisons, &mut order, report).await;
            wait_for_empty_outbox(&db).await;
            age_grants(&db).await;
        }
    });
    drop(service);
    run_with_changed_costs(bench, report);
    run_with_imported_hashes(bench, report);
}

/// The configured costs (m, t) of the rounds after the first: m raised, t raised too, both lowered below the first.
const LATER_COSTS: [(u32, u32); 3] = [(32768, 2), (32768, 3), (12288, 1)];

/// Two steps of each later round.
const LATER_STEPS: [&[Comparison]; 2] = [
    &[
        Comparison {
            operation: ViewAccount,
            password: WRONG_PASSWORD,
            states: ALL,
            name: "view account, wrong password",
        },
        Comparison { operation: Activate, password: WRONG_PASSWORD, states: ALL, name: "activate, wrong password" },
        Comparison { operation: Resend, password: WRONG_PASSWORD, states: ALL, name: "resend, wrong password" },
        Comparison { operation: Activate, password: PASSWORD, states: WITH_REGISTRATION, name: "activate, wrong code" },
        Comparison { operation: Resend, password: PASSWORD, states: WITH_REGISTRATION, name: "resend, too soon" },
    ],
    &[Comparison { operation: Register, password: PASSWORD, states: ALL, name: "register" }],
];

/// Changes the cost of the hashes in several rounds. In each round a third of the owners log in, which raises the cost of
/// their hashes, before the addresses in the other states are registered.
fn run_with_changed_costs(bench: &Bench, report: &mut Report) {
    let database = bench.runtime.block_on(bench.create_database("secrecy_costs"));
    let (mail_url, _) = bench.start_mail_provider();
    let mut order = StdRng::seed_from_u64(61);
    for (round, (m, t)) in [HASH_COST].into_iter().chain(LATER_COSTS).enumerate() {
        let flags = ["--code-ttl=30m", "--code-wait=30m", "--auth-cache-ttl=30m"].map(str::to_owned);
        let costs = [format!("--argon2-memory-kib={m}"), format!("--argon2-passes={t}")];
        let flags: Vec<&str> = flags.iter().chain(&costs).map(String::as_str).collect();
        let serve = || bench.cores.on_any_core(|| bench.serve("secrecy_costs", &database, &mail_url, &flags));
        let service = serve();
        let db = bench.runtime.block_on(async {
            service.wait_until_ready().await;
            let db = PgPool::connect(&database).await.unwrap();
            if round == 0 {
                register(&service, 0, Active, OWNERS_PASSWORD).await;
                register(&service, 0, Shadowed, OWNERS_PASSWORD).await;
                wait_for_empty_outbox(&db).await;
                sqlx::query("UPDATE users SET status = 'active', activated_at = now()").execute(&db).await.unwrap();
            } else {
                sqlx::query("DELETE FROM users WHERE status = 'pending'").execute(&db).await.unwrap();
                for (state, n) in
                    [Active, Shadowed].into_iter().flat_map(|state| (0..ADDRESSES).map(move |n| (state, n)))
                {
                    if n % 3 == round - 1 {
                        let login = service.http.get(service.url_of("/v1/users/me"));
                        let login = login.basic_auth(address(0, state, n), Some(OWNERS_PASSWORD));
                        assert_eq!(read_body(login.send().await.unwrap()).await.status(), 200);
                    }
                }
            }
            db
        });
        drop(service);
        if round == 0 {
            continue;
        }
        // The restarted service reads the costs of the accounts again.
        let service = serve();
        report.start_section(&format!("after the cost was changed to m={m}, t={t}"));
        bench.runtime.block_on(async {
            service.wait_until_ready().await;
            age_grants(&db).await;
            register(&service, round, Pending, PASSWORD).await;
            register(&service, round, Shadowed, PASSWORD).await;
            wait_for_empty_outbox(&db).await;
            for comparisons in LATER_STEPS {
                measure(&service, round, comparisons, &mut order, report).await;
                wait_for_empty_outbox(&db).await;
                age_grants(&db).await;
            }
        });
    }
}

/// bcrypt of another password, at the cost that most programs choose.
const IMPORTED_HASH: &str = "$2y$10$WAiwtzyjkGlk7nkq0vNPZ.fzcjn/flm1t6IgAEBenNPSkEcSJnF3G";

/// Gives a third of the accounts an imported hash before the addresses in the other states are registered.
fn run_with_imported_hashes(bench: &Bench, report: &mut Report) {
    let database = bench.runtime.block_on(bench.create_database("secrecy_imported"));
    let (mail_url, _) = bench.start_mail_provider();
    let flags = ["--code-ttl=30m", "--code-wait=30m", "--auth-cache-ttl=30m"];
    let serve = || bench.cores.on_any_core(|| bench.serve("secrecy_imported", &database, &mail_url, &flags));
    let service = serve();
    let db = bench.runtime.block_on(async {
        service.wait_until_ready().await;
        let db = PgPool::connect(&database).await.unwrap();
        register(&service, 0, Active, OWNERS_PASSWORD).await;
        register(&service, 0, Shadowed, OWNERS_PASSWORD).await;
        wait_for_empty_outbox(&db).await;
        sqlx::query("UPDATE users SET status = 'active', activated_at = now()").execute(&db).await.unwrap();
        let import = "UPDATE users SET foreign_hash = $1, password_hash = left(password_hash, -4) || 'AAAA'
            WHERE substring(address FROM '([0-9]+)@')::integer % 3 = 0";
        sqlx::query(import).bind(IMPORTED_HASH).execute(&db).await.unwrap();
        db
    });
    drop(service);
    // The restarted service reads the costs of the accounts again.
    let service = serve();
    report.start_section("with imported hashes of a third of the accounts");
    bench.runtime.block_on(async {
        service.wait_until_ready().await;
        age_grants(&db).await;
        register(&service, 1, Pending, PASSWORD).await;
        register(&service, 1, Shadowed, PASSWORD).await;
        wait_for_empty_outbox(&db).await;
        let mut order = StdRng::seed_from_u64(62);
        for comparisons in LATER_STEPS {
            measure(&service, 1, comparisons, &mut order, report).await;
            wait_for_empty_outbox(&db).await;
            age_grants(&db).await;
        }
    });
}

/// Returns an address of this state. Accounts are the same in all rounds, other addresses are new in each.
fn address(round: usize, state: AddressState, n: usize) -> String {
    let round = if [Active, Shadowed].contains(&state) { 0 } else { round };
    format!("{state:?}-{round}-{n}@example.com")
}

async fn register(service: &Service, round: usize, state: AddressState, password: &str) {
    for n in 0..ADDRESSES {
        assert_eq!(service.register(&address(round, state, n), password).await.status(), 201);
    }
}

async fn prepare(service: &Service, db: &PgPool) {
    register(service, 0, Active, OWNERS_PASSWORD).await;
    register(service, 0, Shadowed, OWNERS_PASSWORD).await;
    wait_for_empty_outbox(db).await;
    sqlx::query("UPDATE users SET status = 'active', activated_at = now()").execute(db).await.unwrap();
    age_grants(db).await;
    register(service, 0, Pending, PASSWORD).await;
    register(service, 0, Shadowed, PASSWORD).await;
    wait_for_empty_outbox(db).await;
}

/// Waits until all mails are sent, and so all codes are in Redis.
pub async fn wait_for_empty_outbox(db: &PgPool) {
    while sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT FROM outbox)").fetch_one(db).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Moves all grants into the past, so that the next code of each address may be sent at once.
async fn age_grants(db: &PgPool) {
    sqlx::query("UPDATE addresses SET granted_at = granted_at - interval '4 hours'").execute(db).await.unwrap();
}

async fn measure(service: &Service, round: usize, comparisons: &[Comparison], order: &mut StdRng, report: &mut Report) {
    let mut requests: Vec<(usize, usize, usize)> = Vec::new();
    for (q, comparison) in comparisons.iter().enumerate() {
        requests.extend((0..comparison.states.len()).flat_map(|s| (0..ADDRESSES).map(move |n| (q, s, n))));
    }
    requests.shuffle(order);
    let mut times: Vec<Vec<Vec<f64>>> = comparisons.iter().map(|q| vec![vec![]; q.states.len()]).collect();
    let mut statuses: Vec<Vec<u16>> = comparisons.iter().map(|_| vec![]).collect();
    for (q, s, n) in requests {
        let comparison = &comparisons[q];
        let request = request(service, comparison, &address(round, comparison.states[s], n));
        let started = Instant::now();
        let answer = read_body(request.send().await.unwrap()).await;
        times[q][s].push(millis(started.elapsed()));
        statuses[q].push(answer.status().as_u16());
    }
    for ((comparison, times), statuses) in comparisons.iter().zip(times).zip(statuses) {
        assert!(
            statuses.iter().all(|status| *status == statuses[0]),
            "{}: the states get different statuses",
            comparison.name
        );
        for (state, others) in comparison.states.iter().zip(&times).skip(1) {
            let separation = mann_whitney(&times[0], others);
            let apart = median(others) - median(&times[0]);
            let what = format!("{} ({}), {state:?}/{:?}", comparison.name, statuses[0], comparison.states[0]);
            let explanation = format!(": {apart:+.2} ms, p {:.3}", separation.p);
            report.explained_at_most(&what.to_lowercase(), &explanation, (separation.auc - 0.5).abs(), "", 0.1);
        }
    }
}

fn request(service: &Service, comparison: &Comparison, address: &str) -> RequestBuilder {
    let (method, path) = match comparison.operation {
        Register => (Method::POST, "/v1/users"),
        Resend => (Method::POST, "/v1/users/me/verification-code"),
        Activate => (Method::POST, "/v1/users/me/activation"),
        ViewAccount => (Method::GET, "/v1/users/me"),
        DeleteAccount => (Method::DELETE, "/v1/users/me"),
        RequestReset => (Method::POST, "/v1/password-resets"),
        ResetPassword => (Method::PUT, "/v1/password-resets"),
    };
    let request = service.http.request(method, service.url_of(path));
    match comparison.operation {
        Register => request.json(&json!({ "email": address, "password": comparison.password })),
        RequestReset => request.json(&json!({ "email": address })),
        ResetPassword => {
            request.json(&json!({ "email": address, "code": WRONG_RESET_CODE, "password": comparison.password }))
        }
        Activate => request.basic_auth(address, Some(comparison.password)).json(&json!({ "code": WRONG_CODE })),
        Resend | ViewAccount | DeleteAccount => request.basic_auth(address, Some(comparison.password)),
    }
}
