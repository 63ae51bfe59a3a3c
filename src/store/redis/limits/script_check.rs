//! Runs each script of the limits once, on keys of the check, and deletes the keys.

use deadpool_redis::redis;

use super::fail_open::FailOpen;
use super::levels::NetworkKeys;
use super::{LimitsClock, LimitsConfig, RedisLimits};
use crate::domain::code::CodeSecret;
use crate::domain::email::{Address, Email};
use crate::domain::network::Network;
use crate::rng::Rng;
use crate::store::fault::Fault;
use crate::store::redis::Redis;

/// Runs the scripts. `redis` has a key prefix that no other check uses.
pub async fn run_each_script(redis: &Redis, config: LimitsConfig, rng: &Rng) -> Result<(), Fault> {
    let secret = CodeSecret::new(rng.bytes::<32>().to_vec()).expect("32 octets are enough");
    let limits = RedisLimits::on(FailOpen::unlogged(redis.clone()), secret.clone(), config, LimitsClock::default());
    // TEST-NET-1 (RFC 5737): nobody's network.
    let network = Network::of("192.0.2.1".parse().expect("an address"));
    let email = Email::parse("check@sixty.example").expect("an address");
    let address = email.address();
    let (quotas, throttle) = (&limits.quotas, &limits.auth_throttle);
    if let Ok(Some(consumed)) = quotas.consume_code(network, address).await {
        quotas.refund(consumed).await;
    }
    quotas.count_miss(network, true).await;
    if let Ok(attempt) = throttle.admit(network, Some(address)).await {
        throttle.record_failure(attempt).await;
    }
    throttle.defer(network, address, std::time::Duration::from_secs(1)).await;
    throttle.release_all(network, address).await;
    match limits.redis.latest_fault() {
        Some(fault) => Err(fault),
        None => delete_keys(redis, &secret, network, address).await,
    }
}

async fn delete_keys(redis: &Redis, secret: &CodeSecret, network: Network, address: &Address) -> Result<(), Fault> {
    let keys = NetworkKeys::new(&redis.prefix, network);
    let mac = hex::encode(&secret.pseudonym(Some(address))[..16]);
    let of_network = ["codes", "misses", "misses-per-day", "failures", "back"].map(|name| keys.own(name));
    let of_pair = ["first", "failures", "back"].map(|name| format!("{}:{mac}", keys.own(name)));
    let flood = format!("{}:limit:{{flood}}", redis.prefix);
    for keys in [of_network.to_vec(), of_pair.to_vec(), vec![flood]] {
        let () = redis.command(redis::cmd("DEL").arg(&keys)).await?;
    }
    Ok(())
}
