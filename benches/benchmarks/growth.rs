//! What a registration takes beside a million users, against a thousand.

use std::time::Instant;

use sqlx::{Connection as _, PgConnection};

use crate::program::{Bench, PASSWORD, Service, fresh_address};
use crate::report::Report;
use crate::samples::{median, millis};

const FEW: i64 = 1_000;
const MANY: i64 = 1_000_000;
const REGISTRATIONS: usize = 300;

pub fn run(bench: &Bench, report: &mut Report) {
    let (mail_url, _) = bench.provider();
    let grown = |name: &str, users: i64, flags: &[&str]| {
        let database = bench.runtime.block_on(bench.database(name));
        let service = bench.cores.anywhere(|| bench.serve(name, &database, &mail_url, flags));
        bench.runtime.block_on(async {
            service.ready().await;
            fill(&database, users).await;
        });
        (database, service)
    };
    let ((few_at, few), (many_at, many)) = (grown("few", FEW, &[]), grown("many", MANY, &[]));
    let (small, large) = bench.runtime.block_on(compare(&few, &many));
    report.fact("a registration beside 1,000 users, median", small, "ms");
    report.fact("a registration beside 1,000,000 users, median", large, "ms");
    report.at_most("ratio", large / small, "×", 1.1);
    drop((few, many));

    // A hash hides much, so that it is left out once to see the rest.
    let cheap = ["--argon2-memory-kib=8", "--argon2-passes=1"];
    let serve = |name, database: &str| bench.cores.anywhere(|| bench.serve(name, database, &mail_url, &cheap));
    let (few, many) = (serve("few", &few_at), serve("many", &many_at));
    let (small, large) = bench.runtime.block_on(async {
        tokio::join!(few.ready(), many.ready());
        compare(&few, &many).await
    });
    report.fact("without the hash, beside 1,000 users", small, "ms");
    report.fact("without the hash, beside 1,000,000 users", large, "ms");

    let (small, large) = bench.runtime.block_on(async {
        make_admin(&few, &few_at).await;
        make_admin(&many, &many_at).await;
        compare_lists(&few, &many).await
    });
    report.fact("a page of 100 of 1,000 users, without the hash", small, "ms");
    report.fact("a page of 100 of 1,000,000 users, without the hash", large, "ms");
}

const ADMIN: &str = "admin@example.com";

async fn make_admin(service: &Service, database: &str) {
    assert_eq!(service.register(ADMIN, PASSWORD).await.status(), 201);
    let mut connection = PgConnection::connect(database).await.unwrap();
    let promote = "UPDATE users SET status = 'active', role = 'admin', activated_at = now() WHERE address = $1";
    assert_eq!(sqlx::query(promote).bind(ADMIN).execute(&mut connection).await.unwrap().rows_affected(), 1);
}

/// The pages of one status that follow each other, by turns.
async fn compare_lists(few: &Service, many: &Service) -> (f64, f64) {
    const PAGES: usize = 9;
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for _ in 0..REGISTRATIONS / PAGES {
        let mut cursors = [None, None];
        for _ in 0..PAGES {
            for ((service, times), cursor) in [(few, &mut small), (many, &mut large)].into_iter().zip(&mut cursors) {
                let mut query = vec![("status", "active".to_owned()), ("limit", "100".to_owned())];
                query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
                let request = service.http.get(service.at("/v1/users")).query(&query).basic_auth(ADMIN, Some(PASSWORD));
                let begun = Instant::now();
                let page: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
                times.push(millis(begun.elapsed()));
                assert_eq!(page["items"].as_array().map(Vec::len), Some(100), "{page}");
                *cursor = page["next_cursor"].as_str().map(str::to_owned);
            }
        }
    }
    (median(&small), median(&large))
}

/// By turns, so that whatever else the machine does happens to both.
async fn compare(few: &Service, many: &Service) -> (f64, f64) {
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for _ in 0..REGISTRATIONS {
        for (service, times) in [(few, &mut small), (many, &mut large)] {
            let begun = Instant::now();
            assert_eq!(service.register(&fresh_address(), PASSWORD).await.status(), 201);
            times.push(millis(begun.elapsed()));
        }
    }
    (median(&small), median(&large))
}

/// Users as if they had registered one after the other: ids in the order of time, addresses in none, every tenth pending.
async fn fill(database: &str, users: i64) {
    let mut connection = PgConnection::connect(database).await.unwrap();
    // What is made here refers to what is there.
    sqlx::query("SET session_replication_role = replica").execute(&mut connection).await.unwrap();
    for insert in [
        "INSERT INTO addresses
         SELECT md5(n::text) || '@example.com', decode(md5(n::text), 'hex'), 'm=19456,t=2,p=1', now() - interval '1 day',
             interval '1 minute', ARRAY[now() - interval '1 day']
         FROM generate_series(1, $1) AS n",
        "INSERT INTO users
         SELECT (lpad(to_hex(n), 12, '0') || '70008000000000000000')::uuid, md5(n::text) || '@example.com',
             md5(n::text) || '@example.com',
             '$argon2id$v=19$m=19456,t=2,p=1$' || repeat('A', 22) || '$' || repeat('A', 43),
             CASE WHEN n % 10 = 0 THEN 'pending' ELSE 'active' END, 'user', now() - interval '1 day',
             CASE WHEN n % 10 = 0 THEN NULL ELSE now() END
         FROM generate_series(1, $1) AS n",
    ] {
        sqlx::query(insert).bind(users).execute(&mut connection).await.unwrap();
    }
    for settle in ["VACUUM ANALYZE", "CHECKPOINT"] {
        sqlx::query(settle).execute(&mut connection).await.unwrap();
    }
}
