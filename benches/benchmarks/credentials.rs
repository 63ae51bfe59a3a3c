//! What remembered passwords save: whole flows and authenticated requests on one core, with and without the cache.

use futures_util::future::join_all;

use crate::contender::Contender;
use crate::report::Report;
use crate::service::Bench;
use crate::statistics::median;

const ROUNDS: usize = 5;
const CLIENTS: usize = 8;
/// Accounts whose credentials are checked again and again.
const ACCOUNTS: usize = 4;

pub fn run(bench: &Bench, report: &mut Report) {
    let services = [
        Contender::start_sixty(bench, "remembering", &[]),
        Contender::start_sixty(bench, "forgetting", &["--auth-cache-ttl=0"]),
    ];
    let (mut flows, mut reads) = ([vec![], vec![]], [vec![], vec![]]);
    bench.runtime.block_on(async {
        for _ in 0..ROUNDS {
            for (n, service) in services.iter().enumerate() {
                let accounts = join_all((0..ACCOUNTS).map(|_| service.flow())).await;
                flows[n].push(service.flows(CLIENTS).await.rate());
                reads[n].push(service.reads(CLIENTS, &accounts).await.rate());
            }
        }
    });
    let [with, without] = flows.each_ref().map(|rates| median(rates));
    report.figure("flows per second with remembered passwords, median", with, "/s");
    report.figure("flows per second without, median", without, "/s");
    report.at_least("ratio of these medians", with / without, "×", 1.8);
    let [with, without] = reads.each_ref().map(|rates| median(rates));
    report.at_least("GET /v1/users/me per second with remembered passwords, median", with, "/s", 3000.0);
    report.figure("GET /v1/users/me per second without, median", without, "/s");
}
