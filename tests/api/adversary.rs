//! Simulated attackers who know the limits of client networks, against the real limiter with a scripted clock.
//!
//! Each strategy makes as many wrong guesses as it can in 36 hours of scripted time. The most guesses within any 24 hours
//! must not exceed the bound. SECURITY.md shows the figures: `UPDATE_SECURITY=1 cargo test --test api adversary::`.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use sixty::domain::code::CodeSecret;
use sixty::domain::email::Email;
use sixty::domain::network::Network;
use sixty::store::redis::limits::{LimitsClock, LimitsConfig, NotAdmitted, Quota, RedisLimits};
use sixty::store::redis::{Redis, RedisConfig};

use crate::support;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CODE_TTL: Duration = Duration::from_secs(60);

/// Wrong codes of one network in a day before limits knew first guesses: 30 at once and 30 an hour.
const CODE_BOUND: usize = 30 + 24 * 30;
/// Wrong passwords of one network in a day: 60 free ones, seven waits of up to a minute, then one a minute.
const PASSWORD_BOUND: usize = 1_505;
/// Wrong passwords for one address from one network in a day.
const PAIR_BOUND: usize = 160;

struct Attack {
    limits: RedisLimits,
    clock: LimitsClock,
    /// Scripted time since the start.
    elapsed: Duration,
    /// The times of all wrong guesses that were answered.
    guesses: Vec<Duration>,
    names: u32,
}

/// A registration of the attacker, who does not read the mail.
#[derive(Debug)]
struct Target {
    email: Email,
    network: Network,
    dies_at: Duration,
    guesses_left: u8,
}

fn ipv4(n: u32) -> Network {
    Network::of(IpAddr::V4(Ipv4Addr::from_bits(0xc633_6400 + n)))
}

/// One of the 65,536 networks of a rented /48.
fn of_rented_prefix(n: u16) -> Network {
    Network::of(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, n, 0, 0, 0, 1)))
}

impl Attack {
    async fn begin() -> Self {
        let stack = tokio::task::spawn_blocking(support::stack).await.unwrap();
        let redis = RedisConfig {
            url: stack.redis_url().into(),
            max_connections: 4,
            timeout: Duration::from_secs(60),
            prefix: format!("t{}", support::unique_name()),
        };
        let config = LimitsConfig {
            codes: Quota::per_hour(100),
            misses: Quota::per_hour(30),
            pending_logins: Quota::per_hour(300),
            // Flood mode makes guesses dearer. The bounds must hold without it.
            flood: Quota { units: 1_000_000, window: Duration::from_secs(60) },
            max_wait: Duration::from_secs(60),
        };
        let clock = LimitsClock::scripted(1_800_000_000_000_000);
        let secret = CodeSecret::new(vec![60; 32]).unwrap();
        let limits = RedisLimits::with_clock(Redis::new(&redis).unwrap(), secret, config, clock.clone());
        Self { limits, clock, elapsed: Duration::ZERO, guesses: vec![], names: 0 }
    }

    fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
        self.elapsed += by;
    }

    fn is_over(&self) -> bool {
        self.elapsed >= DAY * 3 / 2
    }

    fn new_name(&mut self) -> Email {
        self.names += 1;
        Email::parse(&format!("victim{}@example.com", self.names)).unwrap()
    }

    /// Registers another address. `Err`: the wait.
    async fn register(&mut self, network: Network) -> Result<Target, Duration> {
        let email = self.new_name();
        match self.limits.quotas.consume_code(network, email.address()).await {
            Ok(consumed) => {
                let _ = consumed.expect("Redis responds");
                Ok(Target { email, network, dies_at: self.elapsed + CODE_TTL, guesses_left: 3 })
            }
            Err(state) => Err(state.next),
        }
    }

    /// Guesses once, from the network of the registration unless another is given. `false`: refused, or there is no code.
    async fn guess(&mut self, target: &mut Target, from: Option<Network>) -> bool {
        if target.guesses_left == 0 || target.dies_at <= self.elapsed {
            return false;
        }
        let network = from.unwrap_or(target.network);
        match self.limits.quotas.consume_guess(network, target.email.address()).await {
            Ok(consumed) => {
                let _ = consumed.expect("Redis responds");
                target.guesses_left -= 1;
                self.guesses.push(self.elapsed);
                true
            }
            Err(_) => false,
        }
    }

    /// Tries a wrong password. `Err`: the wait.
    async fn try_password(&mut self, network: Network, email: &Email) -> Result<(), Duration> {
        let throttle = self.limits.auth_throttle.clone();
        match throttle.admit(network, Some(email.address())).await {
            Ok(attempt) => {
                assert!(attempt.is_counted_in_redis());
                throttle.record_failure(attempt).await;
                self.guesses.push(self.elapsed);
                Ok(())
            }
            Err(NotAdmitted::TooManyFailures(wait)) => Err(wait.max(Duration::from_micros(1))),
            Err(NotAdmitted::Busy(_)) => panic!("one attempt at a time"),
        }
    }

    /// The most guesses within any 24 hours.
    fn most_in_a_day(&self) -> usize {
        let mut window = VecDeque::new();
        let mut most = 0;
        for at in &self.guesses {
            window.push_back(*at);
            while window.front().is_some_and(|first| *first + DAY <= *at) {
                window.pop_front();
            }
            most = most.max(window.len());
        }
        most
    }
}

/// Three guesses at each registration, one registration after the other.
async fn three_guesses(attack: &mut Attack) {
    while !attack.is_over() {
        match attack.register(ipv4(1)).await {
            Ok(mut target) => while attack.guess(&mut target, None).await {},
            Err(wait) => attack.advance(wait),
        }
        // Nothing is gained by registering while guesses are refused, except first guesses.
        attack.advance(Duration::from_secs(10));
    }
}

/// One guess at each registration: first guesses are never refused.
async fn first_guesses_only(attack: &mut Attack) {
    while !attack.is_over() {
        match attack.register(ipv4(1)).await {
            Ok(mut target) => {
                attack.guess(&mut target, None).await;
            }
            Err(wait) => attack.advance(wait),
        }
    }
}

/// As many registrations as are to be had, then all guesses at all of them, as often as possible.
async fn bursts(attack: &mut Attack, pause: Duration) {
    while !attack.is_over() {
        let mut targets = vec![];
        let wait = loop {
            match attack.register(ipv4(1)).await {
                Ok(target) => targets.push(target),
                Err(wait) => break wait,
            }
        };
        // The other guesses first: they are refused when first guesses have used the quota up.
        for target in &mut targets {
            while attack.guess(target, None).await {}
        }
        attack.advance(wait.max(pause));
    }
}

/// A quiet day first, so that every quota is whole, then everything at the end of one day and the beginning of the next.
async fn saved_up(attack: &mut Attack) {
    attack.advance(DAY - Duration::from_secs(60 * 60));
    bursts(attack, Duration::from_secs(1)).await;
}

/// Registrations from one network, guesses from another.
async fn guesses_from_elsewhere(attack: &mut Attack) {
    while !attack.is_over() {
        match attack.register(ipv4(2)).await {
            Ok(mut target) => while attack.guess(&mut target, Some(ipv4(1))).await {},
            Err(wait) => attack.advance(wait),
        }
        attack.advance(Duration::from_secs(30));
    }
}

/// Another /64 of one rented /48 for each registration.
async fn rented_prefix(attack: &mut Attack) {
    let mut n = 0_u16;
    while !attack.is_over() {
        n = n.wrapping_add(1);
        match attack.register(of_rented_prefix(n)).await {
            Ok(mut target) => while attack.guess(&mut target, None).await {},
            Err(wait) => attack.advance(wait),
        }
    }
}

/// One address from one network.
async fn passwords_of_one_address(attack: &mut Attack) {
    let ada = attack.new_name();
    while !attack.is_over() {
        if let Err(wait) = attack.try_password(ipv4(1), &ada).await {
            attack.advance(wait);
        }
    }
}

/// A new address each time, from one network.
async fn passwords_of_many_addresses(attack: &mut Attack) {
    while !attack.is_over() {
        let name = attack.new_name();
        if let Err(wait) = attack.try_password(ipv4(1), &name).await {
            attack.advance(wait);
        }
    }
}

/// Many addresses, of which each comes back exactly when it may: both lanes of the network are used up.
async fn patient_addresses(attack: &mut Attack) {
    let mut names: VecDeque<(Duration, Email)> = VecDeque::new();
    while !attack.is_over() {
        while names.front().is_some_and(|(due, _)| *due <= attack.elapsed) {
            let (_, name) = names.pop_front().unwrap();
            if let Err(wait) = attack.try_password(ipv4(1), &name).await {
                names.push_back((attack.elapsed + wait, name));
            }
        }
        let name = attack.new_name();
        if let Err(wait) = attack.try_password(ipv4(1), &name).await
            && names.len() < 20
        {
            names.push_back((attack.elapsed + wait, name));
        }
        attack.advance(Duration::from_secs(5));
        names.make_contiguous().sort_by_key(|(due, _)| *due);
    }
}

/// A new address and another /64 of one rented /48 each time.
async fn passwords_from_a_rented_prefix(attack: &mut Attack) {
    let mut n = 0_u16;
    while !attack.is_over() {
        n = n.wrapping_add(1);
        let name = attack.new_name();
        if let Err(wait) = attack.try_password(of_rented_prefix(n), &name).await {
            attack.advance(wait);
        }
    }
}

/// Tries a wrong password for a new address.
async fn fail_once(attack: &mut Attack) -> Result<(), Duration> {
    let name = attack.new_name();
    attack.try_password(ipv4(1), &name).await
}

/// Four loops of random addresses keep a network's lane for everybody busy. A neighbour who obeys `Retry-After` gets in.
#[tokio::test]
async fn a_patient_neighbour_gets_in_beside_four_loops_of_random_addresses() {
    let mut attack = Attack::begin().await;
    let neighbour = Email::parse("neighbour@example.com").unwrap();
    while fail_once(&mut attack).await.is_ok() {}
    let (mut logins, mut due) = (0, Duration::ZERO);
    let throttle = attack.limits.auth_throttle.clone();
    // Ten minutes.
    for _ in 0..600 {
        for _ in 0..4 {
            let name = attack.new_name();
            let _ = attack.try_password(ipv4(1), &name).await;
        }
        if due <= attack.elapsed {
            match throttle.admit(ipv4(1), Some(neighbour.address())).await {
                Ok(attempt) => {
                    throttle.release(attempt).await;
                    logins += 1;
                    due = attack.elapsed + Duration::from_secs(30);
                }
                Err(NotAdmitted::TooManyFailures(wait)) => due = attack.elapsed + wait,
                Err(NotAdmitted::Busy(_)) => panic!("one attempt at a time"),
            }
        }
        attack.advance(Duration::from_secs(1));
    }
    assert!(logins >= 10, "{logins} logins");
}

/// Whoever waits as long as it was told is never refused for having come too early.
#[tokio::test]
async fn a_patient_neighbour_is_refused_once() {
    let mut attack = Attack::begin().await;
    while fail_once(&mut attack).await.is_ok() {}
    let throttle = attack.limits.auth_throttle.clone();
    for n in 0..30 {
        let neighbour = Email::parse(&format!("neighbour{n}@example.com")).unwrap();
        let Err(NotAdmitted::TooManyFailures(wait)) = throttle.admit(ipv4(1), Some(neighbour.address())).await else {
            panic!("the network is throttled");
        };
        assert_eq!(wait.subsec_nanos(), 0, "whole seconds, as `Retry-After` has them");
        attack.advance(wait);
        // The loops come first.
        while fail_once(&mut attack).await.is_ok() {}
        let admitted = throttle.admit(ipv4(1), Some(neighbour.address())).await;
        throttle.release(admitted.unwrap_or_else(|why| panic!("{n}: {why:?} after {wait:?}"))).await;
    }
}

struct Row {
    strategy: &'static str,
    guesses: usize,
    bound: usize,
}

async fn simulate(strategy: &'static str, bound: usize, run: impl AsyncFnOnce(&mut Attack)) -> Row {
    let mut attack = Attack::begin().await;
    run(&mut attack).await;
    let guesses = attack.most_in_a_day();
    println!("{strategy}: {guesses} of at most {bound}");
    Row { strategy, guesses, bound }
}

const BEGIN: &str = "<!-- simulated attacks: begin -->\n";
const END: &str = "<!-- simulated attacks: end -->\n";

#[tokio::test]
async fn simulated_attackers_stay_within_the_bounds_and_security_md_shows_it() {
    let rows = [
        simulate("codes: three guesses at each registration", CODE_BOUND, three_guesses).await,
        simulate("codes: first guesses only", CODE_BOUND, first_guesses_only).await,
        simulate("codes: all registrations at once, then all guesses", CODE_BOUND, async |attack: &mut Attack| {
            bursts(attack, Duration::from_secs(1)).await;
        })
        .await,
        simulate("codes: the same once an hour", CODE_BOUND, async |attack: &mut Attack| {
            bursts(attack, Duration::from_secs(60 * 60)).await;
        })
        .await,
        simulate("codes: a quiet day, then bursts", CODE_BOUND, saved_up).await,
        simulate("codes: registrations from another network", CODE_BOUND, guesses_from_elsewhere).await,
        simulate("codes: every /64 of a rented IPv6 /48", 16 * CODE_BOUND, rented_prefix).await,
        simulate("passwords: one address", PAIR_BOUND, passwords_of_one_address).await,
        simulate("passwords: a new address each time", PASSWORD_BOUND, passwords_of_many_addresses).await,
        simulate("passwords: addresses that obey `Retry-After`", PASSWORD_BOUND, patient_addresses).await,
        simulate("passwords: every /64 of a rented IPv6 /48", 16 * PASSWORD_BOUND, passwords_from_a_rented_prefix)
            .await,
    ];
    let mut table =
        "\n| strategy, from one client network | wrong guesses in 24 h | bound |\n|---|---|---|\n".to_owned();
    for Row { strategy, guesses, bound } in &rows {
        assert!(guesses <= bound, "{strategy}: {guesses} guesses, at most {bound} allowed");
        assert!(*guesses > 50, "{strategy}: {guesses} guesses are too few for a real attack");
        writeln!(table, "| {strategy} | {guesses} | {bound} |").unwrap();
    }
    table.push('\n');

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("SECURITY.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("SECURITY.md has a place for the table");
    let (shown, after) = rest.split_once(END).expect("the place ends");
    if std::env::var_os("UPDATE_SECURITY").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(shown, table, "to accept: UPDATE_SECURITY=1 cargo test --test api adversary::");
    }
}

/// A failover may lead to a Redis server whose clock is behind.
#[tokio::test]
async fn waits_stay_within_their_rules_when_the_clock_is_set_back() {
    let hour = Duration::from_secs(60 * 60);
    for back in [hour / 2, 2 * hour, 3 * DAY, 3650 * DAY] {
        let mut attack = Attack::begin().await;
        let network = ipv4(1);
        let victim = attack.new_name();
        let consumed = attack.limits.quotas.consume_code(network, victim.address()).await.unwrap().unwrap();
        while attack.register(network).await.is_ok() {}
        while attack.try_password(network, &victim).await.is_ok() {}
        loop {
            let unknown = attack.new_name();
            if attack.try_password(network, &unknown).await.is_err() {
                break;
            }
        }
        attack.clock.set_back(back);
        // The hourly quota of codes, and one unit of it.
        let longest = hour + Duration::from_secs(36);
        let wait = attack.register(network).await.unwrap_err();
        assert!(wait <= longest, "{wait:?} after {back:?}");
        let refunded = attack.limits.quotas.refund(consumed).await.unwrap();
        assert!(refunded.remaining <= 1 && refunded.next <= longest, "{refunded:?} after {back:?}");
        let unknown = attack.new_name();
        for name in [victim, unknown] {
            let wait = attack.try_password(network, &name).await.unwrap_err();
            assert!(wait <= hour, "{wait:?} after {back:?}");
        }
        // The quota returns as usual.
        attack.clock.advance(longest);
        let _ = attack.register(network).await.unwrap();
    }
}
