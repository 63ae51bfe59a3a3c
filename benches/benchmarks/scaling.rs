//! How CPU time and latency grow with the users, the live codes and the connections. Draws
//! `docs/performance-growth.svg`.
//!
//! The hashes are as cheap as possible, so that they hide nothing. Users grow first. Codes and connections then grow
//! with the greatest number of users.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::future::join_all;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use plotters::coord::combinators::IntoLogRange as _;
use plotters::prelude::{
    ChartBuilder, Circle, DashedLineSeries, IntoDrawingArea as _, LineSeries, PathElement, RGBColor, SVGBackend, Text,
    WHITE,
};
use plotters::style::{Color as _, IntoFont as _};
use reqwest::RequestBuilder;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

use crate::cpu::CpuTime;
use crate::growth::insert_users;
use crate::report::Report;
use crate::secrecy::wait_for_empty_outbox;
use crate::service::{Bench, PASSWORD, Service, fresh_address, read_body};
use crate::statistics::{median, millis, quantile};

const USERS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
const LIVE_CODES: [usize; 4] = [0, 1_000, 10_000, 100_000];
const CONNECTIONS: [usize; 6] = [1, 4, 16, 64, 256, 1024];
/// Requests of a measurement, or four for each connection if that is more.
const REQUESTS: usize = 1_000;
const WARM_UP: usize = 100;
/// Enough for the connections of the load, the pool of the mail provider and the files of the benchmark.
const OPEN_FILES: u64 = 4096;
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance-growth.svg");

pub fn run(bench: &Bench, report: &mut Report) {
    let (mail_url, _) = bench.start_mail_provider();
    // One client network gets only a share of the connections.
    let flags = ["--argon2-memory-kib=8", "--argon2-passes=1", "--max-connections=4096"];
    let mut panels = [Panel::new("users"), Panel::new("live codes"), Panel::new("connections")];
    let [by_users, by_codes, by_connections] = &mut panels;
    let mut last = None;
    for users in USERS {
        let name = format!("scaling_{users}");
        let database = bench.runtime.block_on(bench.create_database(&name));
        let service = bench.cores.on_service_core(|| bench.serve(&name, &database, &mail_url, &flags));
        let db = bench.runtime.block_on(async {
            service.wait_until_ready().await;
            insert_users(&database, users.try_into().unwrap(), "m=8,t=1,p=1").await;
            PgPool::connect(&database).await.unwrap()
        });
        let point = bench.runtime.block_on(measure(&service, &db, 1));
        by_users.add(users, point, report);
        last = Some((name, service, db));
    }
    let (name, service, db) = last.unwrap();
    for codes in LIVE_CODES {
        let point = bench.runtime.block_on(async {
            put_codes(bench.redis_url(), &name, codes).await;
            measure(&service, &db, 1).await
        });
        by_codes.add(codes, point, report);
    }
    // The services have started before, with the limit of the environment.
    raise_open_files();
    for connections in CONNECTIONS {
        let point = bench.runtime.block_on(measure(&service, &db, connections));
        by_connections.add(connections, point, report);
    }
    draw(&panels, Path::new(PICTURE));
    println!("  drawn: docs/performance-growth.svg");
}

/// Raises this process's limit of open files. Fails later, with "too many open files", if the hard limit is too low.
fn raise_open_files() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(OPEN_FILES.min(hard)), hard).unwrap();
}

/// What was measured at one point of an axis. Times are in milliseconds.
struct Point {
    /// CPU time of a registration beyond the hash, its mail included. `None` on systems without `/proc`.
    cpu: Option<f64>,
    registrations: Vec<f64>,
    accounts: Vec<f64>,
    /// The share of the requests that got 503 or a closed connection, and of those for the accounts that thus lack.
    failed: f64,
}

async fn measure(service: &Service, db: &PgPool, connections: usize) -> Point {
    let requests = REQUESTS.max(4 * connections);
    let addresses: Vec<String> = (0..requests).map(|_| fresh_address()).collect();
    let register = |address: &str| {
        let body = json!({ "email": address, "password": PASSWORD });
        service.http.post(service.url_of("/v1/users")).json(&body)
    };
    let get_account =
        |n: usize| service.http.get(service.url_of("/v1/users/me")).basic_auth(&addresses[n], Some(PASSWORD));

    // Opens the connections.
    load(connections, WARM_UP.max(connections), 201, |_| register(&fresh_address())).await;
    wait_for_empty_outbox(db).await;
    let before = CpuTime::of_process(service.pid());
    let registrations = load(connections, requests, 201, |n| register(&addresses[n])).await;
    wait_for_empty_outbox(db).await;
    let after = CpuTime::of_process(service.pid());

    // Only registrations of the benchmark have a known password.
    let activate = "UPDATE users SET status = 'active', activated_at = now() WHERE address = ANY($1)";
    sqlx::query(activate).bind(&addresses).execute(db).await.unwrap();
    let accounts = load(connections, requests, 200, get_account).await;
    let cpu = before.zip(after).map(|(before, after)| (after.others - before.others) as f64 / 1e6);
    let cpu = cpu.map(|cpu| cpu / registrations.len() as f64);
    let failed = 1.0 - (registrations.len() + accounts.len()) as f64 / (2 * requests) as f64;
    Point { cpu, registrations, accounts, failed }
}

/// Sends requests over so many connections, each without a pause. Returns the latencies of the requests that got
/// `status`, in milliseconds. The others got 503 or a closed connection, or have no account for that reason.
async fn load(connections: usize, requests: usize, status: u16, request: impl Fn(usize) -> RequestBuilder) -> Vec<f64> {
    let (next, times) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let connection = async |_| {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= requests {
                return;
            }
            let request = request(n);
            let started = Instant::now();
            // When all connections are taken, the service closes an idle one for a new one. A request may be on its way.
            let Ok(answer) = request.send().await else { continue };
            let answer = read_body(answer).await;
            if answer.status().as_u16() == status {
                times.lock().unwrap().push(millis(started.elapsed()));
            }
        }
    };
    join_all((0..connections).map(connection)).await;
    times.into_inner().unwrap()
}

/// Stores live codes of `count` users under the prefix of the service, in the form of `src/store/redis/codes.rs`.
async fn put_codes(redis_url: &str, prefix: &str, count: usize) {
    const BATCH: usize = 1_000;
    const LIFETIME: i64 = 60 * 60 * 1000;
    let client = redis::Client::open(redis_url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let users: Vec<usize> = (0..count).collect();
    for batch in users.chunks(BATCH) {
        let mut pipe = redis::pipe();
        for n in batch {
            let user = Uuid::from_u128(*n as u128);
            let (code, tries) = (format!("{prefix}:code:{{{user}}}"), format!("{prefix}:tries:{{{user}}}"));
            pipe.hset_multiple(&code, &[("mac", format!("{n:064x}").as_str()), ("grant", "1")]).ignore();
            pipe.pexpire(&code, LIFETIME).ignore();
            let fields = [("grant", "1"), ("misses", "0"), ("attempt", "1"), ("ends", "4102444800000")];
            pipe.hset_multiple(&tries, &fields).ignore();
            pipe.pexpire(&tries, LIFETIME).ignore();
        }
        pipe.exec_async(&mut connection).await.unwrap();
    }
}

/// The lines of each panel.
const LINES: [Line; 5] = [
    Line { name: "CPU of a registration", color: RGBColor(0x33, 0x33, 0x33), dashed: false },
    Line { name: "registration, median", color: RGBColor(0x09, 0x69, 0xda), dashed: false },
    Line { name: "registration, p99", color: RGBColor(0x09, 0x69, 0xda), dashed: true },
    Line { name: "GET /v1/users/me, median", color: RGBColor(0xbc, 0x4c, 0x00), dashed: false },
    Line { name: "GET /v1/users/me, p99", color: RGBColor(0xbc, 0x4c, 0x00), dashed: true },
];

struct Line {
    name: &'static str,
    color: RGBColor,
    dashed: bool,
}

/// A diagram. Each value on its axis is a constant multiple of the one before, so equal distances are a logarithmic scale.
struct Panel {
    axis: &'static str,
    labels: Vec<String>,
    /// The values of [`LINES`] at each point. Those that were not measured are NaN.
    values: Vec<[f64; LINES.len()]>,
}

impl Panel {
    fn new(axis: &'static str) -> Self {
        Self { axis, labels: Vec::new(), values: Vec::new() }
    }

    fn add(&mut self, count: usize, point: Point, report: &mut Report) {
        let values = [
            point.cpu.unwrap_or(f64::NAN),
            median(&point.registrations),
            quantile(&point.registrations, 0.99),
            median(&point.accounts),
            quantile(&point.accounts, 0.99),
        ];
        let at = format!("{count} {}", self.axis);
        for (Line { name, .. }, value) in LINES.iter().zip(values) {
            let what = format!("{at}: {name}");
            if value.is_nan() {
                report.not_measured(&what, "requires Linux's /proc");
            } else {
                report.figure(&what, value, "ms");
            }
        }
        report.figure(&format!("{at}: share of failed requests"), point.failed, "");
        self.labels.push(match count {
            1_000 => "1k".into(),
            10_000 => "10k".into(),
            100_000 => "100k".into(),
            1_000_000 => "1M".into(),
            _ => count.to_string(),
        });
        self.values.push(values);
    }
}

/// Draws the panels side by side, with one legend below. The background is white, so that all colours are readable on a
/// dark page too.
fn draw(panels: &[Panel], file: &Path) {
    const HEIGHT: i32 = 330;
    let values = || panels.iter().flat_map(|panel| panel.values.iter().flatten()).filter(|value| !value.is_nan());
    let (low, high) = (values().copied().fold(f64::INFINITY, f64::min), values().copied().fold(0.0, f64::max));
    let root = SVGBackend::new(file, (960, 370)).into_drawing_area();
    root.fill(&WHITE).unwrap();
    let (diagrams, legend) = root.split_vertically(HEIGHT);
    for (panel, area) in panels.iter().zip(diagrams.split_evenly((1, panels.len()))) {
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .margin_right(24)
            .x_label_area_size(40)
            .y_label_area_size(50)
            .build_cartesian_2d(0..panel.labels.len() as i32 - 1, (low * 0.7..high * 1.4).log_scale())
            .unwrap();
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .x_labels(panel.labels.len())
            .x_label_formatter(&|n| panel.labels[*n as usize].clone())
            .y_label_formatter(&|value| format!("{value} ms"))
            .x_desc(panel.axis)
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 14))
            .draw()
            .unwrap();
        for (n, Line { color, dashed, .. }) in LINES.iter().enumerate() {
            let points = panel.values.iter().map(|values| values[n]).enumerate().filter(|(_, value)| !value.is_nan());
            let points: Vec<(i32, f64)> = points.map(|(x, value)| (x as i32, value)).collect();
            if *dashed {
                let line = DashedLineSeries::new(points.clone(), 5, 4, color.stroke_width(2));
                chart.draw_series(line).unwrap();
            } else {
                chart.draw_series(LineSeries::new(points.clone(), color.stroke_width(2))).unwrap();
            }
            chart.draw_series(points.into_iter().map(|point| Circle::new(point, 3, color.filled()))).unwrap();
        }
    }
    for (n, Line { name, color, dashed }) in LINES.iter().enumerate() {
        let x = 20 + 190 * n as i32;
        let dashes: &[(i32, i32)] = if *dashed { &[(0, 7), (13, 20)] } else { &[(0, 20)] };
        for (from, to) in dashes {
            legend.draw(&PathElement::new([(x + from, 20), (x + to, 20)], color.stroke_width(2))).unwrap();
        }
        legend.draw(&Text::new(*name, (x + 26, 13), ("sans-serif", 13).into_font())).unwrap();
    }
    root.present().unwrap();
}
