//! Latency of a client while another client network floods the service with right passwords.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Client;
use sqlx::{Connection as _, PgConnection};
use tokio::time::MissedTickBehavior;

use crate::registration::bare_argon2;
use crate::report::Report;
use crate::service::{Bench, PASSWORD, Service, fresh_address, read_body};
use crate::statistics::{median, millis, quantile};

/// The measured requests of the client, alone and again during the flood.
const REQUESTS: usize = 200;
/// The time from one request of the client to the next.
const INTERVAL: Duration = Duration::from_millis(100);
/// Requests before the measurement: they open connections, or fill the queue of the hasher.
const WARM_UP: usize = 10;
/// Offered requests of the flood, in units of the evaluations that the service's core can make.
const FLOOD: f64 = 50.0;
const FLOOD_CONNECTIONS: usize = 80;
/// Accounts that the flood authenticates as. The service limits concurrent attempts at one account.
const FLOOD_ACCOUNTS: usize = 30;
const CLIENT_IP: &str = "192.0.2.1";
const FLOOD_IP: &str = "198.51.100.1";

pub fn run(bench: &Bench, report: &mut Report) {
    let database = bench.runtime.block_on(bench.create_database("fairness"));
    let (mail_url, mut mails) = bench.start_mail_provider();
    // The benchmark is a trusted proxy, so `X-Forwarded-For` names the client. Each request of the flood must cost a hash.
    let flags = ["--client-limits=true", "--trusted-proxies=127.0.0.1", "--auth-cache-ttl=0"];
    let service = bench.cores.on_service_core(|| bench.serve("fairness", &database, &mail_url, &flags));
    let mut accounts = bench.runtime.block_on(async {
        service.wait_until_ready().await;
        let accounts = register(&service, FLOOD_ACCOUNTS + 1).await;
        for _ in &accounts {
            tokio::time::timeout(Duration::from_secs(10), mails.recv()).await.unwrap().unwrap();
        }
        activate_all(&database).await;
        accounts
    });
    let client = accounts.pop().unwrap();
    let (evaluations_per_second, _) = bench.cores.on_service_core(bare_argon2);
    let evaluation = 1000.0 / evaluations_per_second;
    let alone = bench.runtime.block_on(measure_client(&service, &client));
    let flood = Flood::default();
    let started = Instant::now();
    let flooded = bench.runtime.block_on(async {
        tokio::select! {
            flooded = measure_client(&service, &client) => flooded,
            () = flood.run(&service, &accounts, FLOOD * evaluations_per_second) => unreachable!("the flood does not end"),
        }
    });
    let per_second = |count: &AtomicUsize| count.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
    let (accepted, refused) = (per_second(&flood.accepted), per_second(&flood.refused));
    report.figure("one bare argon2 evaluation", evaluation, "ms");
    report.figure(
        "flood: answered requests / bare evaluations per second",
        (accepted + refused) / evaluations_per_second,
        "×",
    );
    report.figure("flood: accepted per second", accepted, "/s");
    report.figure("flood: refused per second", refused, "/s");
    for (name, measured) in [("alone", &alone), ("during the flood", &flooded)] {
        report.figure(&format!("client {name}: latency, median"), median(&measured.times), "ms");
        report.figure(&format!("client {name}: latency, p99"), quantile(&measured.times, 0.99), "ms");
    }
    let difference = quantile(&flooded.times, 0.99) - quantile(&alone.times, 0.99);
    report.at_most("client: p99 added by the flood, in evaluations", difference / evaluation, "×", 3.0);
    report.at_most("client: refused requests, alone", alone.refused as f64, "", 0.0);
    report.at_most("client: refused requests, during the flood", flooded.refused as f64, "", 0.0);
}

async fn register(service: &Service, count: usize) -> Vec<String> {
    let mut addresses = Vec::new();
    for _ in 0..count {
        let address = fresh_address();
        assert_eq!(service.register(&address, PASSWORD).await.status(), 201);
        addresses.push(address);
    }
    addresses
}

async fn activate_all(database: &str) {
    let mut connection = PgConnection::connect(database).await.unwrap();
    let activate = "UPDATE users SET status = 'active', activated_at = now()";
    sqlx::query(activate).execute(&mut connection).await.unwrap();
}

/// Authenticates with the right password as a client with the address `ip`. Returns the status.
async fn get_account(http: &Client, service: &Service, ip: &str, account: &str) -> u16 {
    let request = http.get(service.url_of("/v1/users/me")).header("X-Forwarded-For", ip);
    let answer = request.basic_auth(account, Some(PASSWORD)).send().await.unwrap();
    read_body(answer).await.status().as_u16()
}

/// The requests of the measured client.
struct Measured {
    /// The latencies of all requests, in milliseconds.
    times: Vec<f64>,
    refused: usize,
}

async fn measure_client(service: &Service, account: &str) -> Measured {
    let mut measured = Measured { times: Vec::new(), refused: 0 };
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 0..WARM_UP + REQUESTS {
        ticks.tick().await;
        let started = Instant::now();
        let status = get_account(&service.http, service, CLIENT_IP, account).await;
        if n >= WARM_UP {
            measured.times.push(millis(started.elapsed()));
            measured.refused += usize::from(status != 200);
        }
    }
    measured
}

/// Counts the responses to the flood.
#[derive(Default)]
struct Flood {
    accepted: AtomicUsize,
    refused: AtomicUsize,
}

impl Flood {
    /// Offers `rate` requests per second, as far as [`FLOOD_CONNECTIONS`] connections allow. Does not end.
    async fn run(&self, service: &Service, accounts: &[String], rate: f64) {
        let http = Client::builder().no_proxy().build().unwrap();
        let connection = async |n: usize| {
            let mut ticks = tokio::time::interval(Duration::from_secs_f64(FLOOD_CONNECTIONS as f64 / rate));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            for account in accounts.iter().cycle().skip(n) {
                ticks.tick().await;
                let status = get_account(&http, service, FLOOD_IP, account).await;
                let count = if status == 200 { &self.accepted } else { &self.refused };
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        join_all((0..FLOOD_CONNECTIONS).map(connection)).await;
    }
}
