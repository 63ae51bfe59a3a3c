//! Latency with 1,000,000 users in the database, compared with the latency with 1,000 users.

use std::time::Instant;

use sqlx::{Connection as _, PgConnection};

use crate::report::Report;
use crate::service::{Bench, PASSWORD, Service, fresh_address};
use crate::statistics::{median, millis};

const FEW_USERS: i64 = 1_000;
const MANY_USERS: i64 = 1_000_000;
const REGISTRATIONS: usize = 300;

pub fn run(bench: &Bench, report: &mut Report) {
    let (mail_url, _) = bench.start_mail_provider();
    let with_users = |name: &str, users: i64| {
        let database = bench.runtime.block_on(bench.create_database(name));
        let service = bench.cores.on_any_core(|| bench.serve(name, &database, &mail_url, &[]));
        bench.runtime.block_on(async {
            service.wait_until_ready().await;
            insert_users(&database, users, "m=19456,t=2,p=1").await;
        });
        (database, service)
    };
    let (few_database, few) = with_users("few", FEW_USERS);
    let (many_database, many) = with_users("many", MANY_USERS);
    let (small, large) = bench.runtime.block_on(compare_registrations(&few, &many));
    report.figure("registration with 1,000 users, median", small, "ms");
    report.figure("registration with 1,000,000 users, median", large, "ms");
    report.at_most("ratio of these medians", large / small, "×", 1.1);
    drop((few, many));

    // The time of a password hash hides differences between the databases, so the second comparison uses cheap hashes.
    let cheap_hashes = ["--argon2-memory-kib=8", "--argon2-passes=1"];
    let serve =
        |name, database: &str| bench.cores.on_any_core(|| bench.serve(name, database, &mail_url, &cheap_hashes));
    let (few, many) = (serve("few", &few_database), serve("many", &many_database));
    let (small, large) = bench.runtime.block_on(async {
        tokio::join!(few.wait_until_ready(), many.wait_until_ready());
        compare_registrations(&few, &many).await
    });
    report.figure("registration with 1,000 users, cheap hash", small, "ms");
    report.figure("registration with 1,000,000 users, cheap hash", large, "ms");

    let (small, large) = bench.runtime.block_on(async {
        create_admin(&few, &few_database).await;
        create_admin(&many, &many_database).await;
        compare_lists(&few, &many).await
    });
    report.figure("page of 100 out of 1,000 users, cheap hash", small, "ms");
    report.figure("page of 100 out of 1,000,000 users, cheap hash", large, "ms");
}

const ADMIN: &str = "admin@example.com";

async fn create_admin(service: &Service, database: &str) {
    assert_eq!(service.register(ADMIN, PASSWORD).await.status(), 201);
    let mut connection = PgConnection::connect(database).await.unwrap();
    let promote = "UPDATE users SET status = 'active', role = 'admin', activated_at = now() WHERE address = $1";
    assert_eq!(sqlx::query(promote).bind(ADMIN).execute(&mut connection).await.unwrap().rows_affected(), 1);
}

/// Returns the median latencies of a page of active users, in milliseconds. The services alternate page by page.
async fn compare_lists(few: &Service, many: &Service) -> (f64, f64) {
    const PAGES: usize = 9;
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for _ in 0..REGISTRATIONS / PAGES {
        let mut cursors = [None, None];
        for _ in 0..PAGES {
            for ((service, times), cursor) in [(few, &mut small), (many, &mut large)].into_iter().zip(&mut cursors) {
                let mut query = vec![("status", "active".to_owned()), ("limit", "100".to_owned())];
                query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
                let request =
                    service.http.get(service.url_of("/v1/users")).query(&query).basic_auth(ADMIN, Some(PASSWORD));
                let started = Instant::now();
                let page: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
                times.push(millis(started.elapsed()));
                assert_eq!(page["items"].as_array().map(Vec::len), Some(100), "{page}");
                *cursor = page["next_cursor"].as_str().map(str::to_owned);
            }
        }
    }
    (median(&small), median(&large))
}

/// Returns the median latencies of a registration, in milliseconds. The services alternate request by request, so that
/// other load on the machine affects both.
async fn compare_registrations(few: &Service, many: &Service) -> (f64, f64) {
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for _ in 0..REGISTRATIONS {
        for (service, times) in [(few, &mut small), (many, &mut large)] {
            let started = Instant::now();
            assert_eq!(service.register(&fresh_address(), PASSWORD).await.status(), 201);
            times.push(millis(started.elapsed()));
        }
    }
    (median(&small), median(&large))
}

/// Inserts users as if they had registered one after the other: ids in order of time, addresses in random order, every
/// tenth user pending. `hash_cost` is that of their passwords, which the service takes over for new addresses.
pub async fn insert_users(database: &str, users: i64, hash_cost: &str) {
    let mut connection = PgConnection::connect(database).await.unwrap();
    // Skips the checks of foreign keys, which the inserted rows satisfy.
    sqlx::query("SET session_replication_role = replica").execute(&mut connection).await.unwrap();
    for insert in [
        "INSERT INTO addresses
         SELECT md5(n::text) || '@example.com', decode(md5(n::text), 'hex'), $2, now() - interval '1 day',
             interval '1 minute', ARRAY[now() - interval '1 day']
         FROM generate_series(1, $1) AS n",
        "INSERT INTO users
         SELECT (lpad(to_hex(n), 12, '0') || '70008000000000000000')::uuid, md5(n::text) || '@example.com',
             md5(n::text) || '@example.com',
             '$argon2id$v=19$' || $2 || '$' || repeat('A', 22) || '$' || repeat('A', 43),
             CASE WHEN n % 10 = 0 THEN 'pending' ELSE 'active' END, 'user', now() - interval '1 day',
             CASE WHEN n % 10 = 0 THEN NULL ELSE now() END
         FROM generate_series(1, $1) AS n",
    ] {
        sqlx::query(insert).bind(users).bind(hash_cost).execute(&mut connection).await.unwrap();
    }
    for statement in ["VACUUM ANALYZE", "CHECKPOINT"] {
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }
}
