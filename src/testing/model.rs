//! What registering comes to, in plain words and in any order: a model that predicts every answer of the use cases, to be
//! played against the service and against the real stores.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use time::OffsetDateTime;

use super::fakes::other_than;
use crate::accounts::Accounts;
use crate::accounts::activate::ActivateError;
use crate::accounts::authenticate::AuthenticateError;
use crate::accounts::ports::{Codes, GrantedCode, NoCode, Users};
use crate::accounts::register::RegisterError;
use crate::accounts::resend::ResendError;
use crate::domain::code::{Code, CodeSecret, MAX_MISSES};
use crate::domain::email::Email;
use crate::domain::not_me::{self, NotMeHash, NotMeToken};
use crate::domain::pacing::{History, Pacing};
use crate::domain::password::Password;
use crate::domain::policy::Policy;
use crate::domain::user::{Status, User, UserId};

/// The use cases over some stores with [`Pacing::default`] and a `CODE_TTL` of 60 s, and time that can be moved.
pub trait World {
    type Users: Users;
    type Codes: Codes;
    fn accounts(&self) -> &Accounts<Self::Users, Self::Codes>;
    fn codes(&self) -> &Self::Codes;
    /// Makes everything that the stores remember older.
    fn advance(&self, by: Duration) -> impl Future<Output = ()>;
    /// The mails that wait to be sent.
    fn queued(&self) -> impl Future<Output = Vec<(UserId, GrantedCode)>>;
    /// Notes the link of a mail to the user; whether there is such a pending user.
    fn link(&self, user: UserId, link: NotMeHash) -> impl Future<Output = bool>;
}

/// One thing that somebody does. `who` and `password` are small numbers: two addresses, two passwords.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    Register {
        who: usize,
        password: usize,
    },
    Resend {
        who: usize,
        password: usize,
    },
    Guess {
        who: usize,
        password: usize,
        right: bool,
    },
    /// The worker sends what is queued; what it sent before, it sends again, as after a lost answer.
    Mail,
    Wait(Duration),
    Delete {
        who: usize,
        password: usize,
    },
    /// The link in the latest mail to the address, or in an earlier one, is used.
    Disown {
        who: usize,
        latest: bool,
    },
    Purge,
}

impl Step {
    /// A step of any number, so that whoever generates numbers generates stories. Most are about one address and its one
    /// password, or the steps would rarely have to do with each other.
    pub fn from_number(number: u32) -> Self {
        let (kind, rest) = (number % 32, (number / 32) as usize);
        let (who, password) = (usize::from(rest % 5 == 0), usize::from(rest / 5 % 5 == 0));
        match kind {
            0 | 1 => Self::Register { who, password },
            2 | 3 => Self::Resend { who, password },
            4..15 => Self::Guess { who, password, right: false },
            15 => Self::Guess { who, password, right: true },
            16..24 => Self::Mail,
            24 => Self::Delete { who, password },
            25 => Self::Disown { who, latest: password == 0 },
            26 => Self::Purge,
            // Most are short: in a long one every code dies, and not much is left to go wrong.
            _ => {
                let (minute, hour, day) = (60, 60 * 60, 24 * 60 * 60);
                let seconds =
                    [10, 10, 10, 30, 30, 50, 60, 60, minute * 2, minute * 10, hour, 4 * hour, day, 7 * day, 365 * day];
                Self::Wait(Duration::from_secs(seconds[rest % seconds.len()]))
            }
        }
    }
}

const PASSWORDS: [&str; 2] = ["correct horse", "battery staple"];
const CODE_TTL: Duration = Duration::from_secs(60);
/// A mail older than this is not sent again.
const GIVE_UP: Duration = Duration::from_secs(15 * 60);
/// How long wrong guesses are remembered after the last mail.
const TRIES_TTL: Duration = Duration::from_secs(60 * 60);
const PENDING_TTL: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Real clocks go on by themselves while the model's stands; the steps of [`Step::Wait`] are no shorter.
const DRIFT: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Address {
    account: Option<usize>,
    pending: Option<Pending>,
    history: Option<History>,
    /// That were mailed, to whom and when.
    links: Vec<(NotMeToken, UserId, OffsetDateTime)>,
}

struct Pending {
    user: User,
    password: usize,
    /// When its latest code was granted.
    granted_at: OffsetDateTime,
    /// The latest that was mailed.
    code: Option<Mailed>,
}

struct Mailed {
    grant: GrantedCode,
    misses: u8,
    put_at: OffsetDateTime,
    decoy: bool,
}

/// Plays the story and holds every answer to the model.
///
/// # Panics
/// When an answer is another than the model's.
pub async fn play<W: World>(world: &W, secret: &CodeSecret, domain: &str, story: &[Step]) {
    let mut model = Model {
        world,
        secret,
        emails: [format!("ada@{domain}"), format!("bob@{domain}")]
            .map(|email| Email::parse(&email).expect("an address")),
        pacing: Pacing::default(),
        now: OffsetDateTime::UNIX_EPOCH,
        addresses: Default::default(),
        misses: HashMap::new(),
    };
    for step in story {
        match *step {
            Step::Register { who, password } => model.register(who, password).await,
            Step::Resend { who, password } => model.resend(who, password).await,
            Step::Guess { who, password, right } => model.guess(who, password, right).await,
            Step::Mail => model.mail().await,
            Step::Wait(by) => {
                world.advance(by).await;
                model.now += by;
            }
            Step::Delete { who, password } => model.delete(who, password).await,
            Step::Disown { who, latest } => model.report_not_me(who, latest).await,
            Step::Purge => model.purge().await,
        }
    }
}

struct Model<'a, W> {
    world: &'a W,
    secret: &'a CodeSecret,
    emails: [Email; 2],
    pacing: Pacing,
    now: OffsetDateTime,
    addresses: [Address; 2],
    /// Wrong guesses that were answered as such, by grant.
    misses: HashMap<i64, u8>,
}

impl<W: World> Model<'_, W> {
    async fn register(&mut self, who: usize, password: usize) {
        let email = &self.emails[who];
        let chosen = Policy::default().password(PASSWORDS[password], Some(email)).expect("a password");
        let answer = self.world.accounts().register(email, chosen).await;
        let address = &mut self.addresses[who];
        match (self.pacing.grant(address.history.as_ref(), self.now), answer) {
            (Ok((history, _)), Ok(user)) => {
                assert_eq!(user.status, Status::Pending);
                address.history = Some(history);
                address.pending = Some(Pending { user, password, granted_at: self.now, code: None });
            }
            (Err(expected), Err(RegisterError::TooSoon { left })) => about(expected.left, left),
            (expected, answer) => panic!("registering: {answer:?} instead of {expected:?}"),
        }
    }

    /// Whom the credentials fit: an account, a pending row, or nobody.
    async fn authenticate(&self, who: usize, password: usize) -> Option<User> {
        let presented = Password::present(PASSWORDS[password]).expect("a password");
        let answer = self.world.accounts().authenticate(Some(self.emails[who].address()), presented).await;
        let Address { account, pending, .. } = &self.addresses[who];
        let pending = pending.as_ref().filter(|pending| pending.password == password);
        match answer {
            Ok(ref row) if *account == Some(password) => assert_eq!(row.user.status, Status::Active),
            Ok(ref row) => assert_eq!(Some(&row.user), pending.map(|pending| &pending.user)),
            Err(AuthenticateError::WrongCredentials) => assert!(*account != Some(password) && pending.is_none()),
            Err(ref error) => panic!("{error}"),
        }
        answer.ok().map(|row| row.user)
    }

    async fn resend(&mut self, who: usize, password: usize) {
        let Some(user) = self.authenticate(who, password).await else {
            return;
        };
        let answer = self.world.accounts().resend(&user).await;
        let address = &mut self.addresses[who];
        if user.status == Status::Active {
            assert!(matches!(answer, Err(ResendError::AlreadyActive)));
            return;
        }
        match (self.pacing.grant(address.history.as_ref(), self.now), answer) {
            (Ok((history, _)), Ok(wait)) => {
                assert_eq!(wait, history.wait);
                address.history = Some(history);
                address.pending.as_mut().expect("it was authenticated").granted_at = self.now;
            }
            (Err(expected), Err(ResendError::TooSoon { left })) => about(expected.left, left),
            (expected, answer) => panic!("asking for a code: {answer:?} instead of {expected:?}"),
        }
    }

    async fn mail(&mut self) {
        let queued = self.world.queued().await;
        for address in &mut self.addresses {
            let shadow = address.account.is_some();
            let Some(pending) = &mut address.pending else {
                continue;
            };
            if self.now > pending.granted_at + GIVE_UP {
                continue;
            }
            let mails: Vec<_> = queued.iter().filter(|(user, _)| *user == pending.user.id).collect();
            assert_eq!(mails.len(), 1, "a pending row has one mail");
            let grant = mails[0].1;
            let code = self.secret.code(&grant.nonce, grant.length);
            let put = self.world.codes().put(pending.user.id, grant.grant, (!shadow).then_some(&code)).await;
            put.expect("the store answers");
            let link = self.secret.not_me(&grant.nonce);
            assert!(self.world.link(pending.user.id, link.hash()).await);
            address.links.push((link, pending.user.id, self.now));
            let same = pending.code.take().filter(|mailed| mailed.grant == grant);
            let misses = same.as_ref().map_or(0, |mailed| mailed.misses);
            // What three misses destroyed is not put again.
            let put_at = same.filter(|_| misses >= MAX_MISSES).map_or(self.now, |mailed| mailed.put_at);
            pending.code = Some(Mailed { grant, misses, put_at, decoy: shadow });
        }
    }

    async fn guess(&mut self, who: usize, password: usize, right: bool) {
        let Some(user) = self.authenticate(who, password).await else {
            return;
        };
        let address = &mut self.addresses[who];
        let mailed = address.pending.as_mut().and_then(|pending| pending.code.as_mut());
        let code = match &mailed {
            Some(mailed) => self.secret.code(&mailed.grant.nonce, mailed.grant.length),
            None => Code::parse("0042").expect("digits"),
        };
        let guess = if right { code } else { other_than(&code) };
        let answer = self.world.accounts().activate(&user, &guess).await;
        if user.status == Status::Active {
            assert!(matches!(answer, Err(ActivateError::AlreadyActive)));
            return;
        }
        let expected = match mailed {
            None => Err(NoCode::NotMailed),
            Some(mailed) if self.now >= mailed.put_at + TRIES_TTL => Err(NoCode::NotMailed),
            Some(mailed) if mailed.misses >= MAX_MISSES => Err(NoCode::Destroyed),
            Some(mailed) if self.now >= mailed.put_at + CODE_TTL => Err(NoCode::Expired),
            Some(mailed) => Ok(mailed),
        };
        match (expected, answer) {
            (Err(expected), Err(ActivateError::NoCode(why))) => assert_eq!(why, expected),
            // A right guess at a shadow is answered like a wrong one.
            (Ok(mailed), Err(ActivateError::Incorrect { remaining })) if !right || mailed.decoy => {
                mailed.misses += 1;
                assert_eq!(remaining, MAX_MISSES - mailed.misses);
                let misses = self.misses.entry(mailed.grant.grant.0).or_default();
                *misses += 1;
                assert!(*misses <= MAX_MISSES, "a grant is good for three guesses for life");
            }
            (Ok(mailed), Ok(active)) if right && !mailed.decoy => {
                assert_eq!((active.id, active.status), (user.id, Status::Active));
                address.account = Some(password);
                address.pending = None;
            }
            (expected, answer) => panic!("guessing: {answer:?} instead of {:?}", expected.map(|mailed| mailed.misses)),
        }
    }
}

impl<W: World> Model<'_, W> {
    async fn delete(&mut self, who: usize, password: usize) {
        let Some(user) = self.authenticate(who, password).await else {
            return;
        };
        self.world.accounts().delete(&user).await.expect("nobody is disabled here");
        let address = &mut self.addresses[who];
        if user.status == Status::Active {
            address.account = None;
        } else {
            address.pending = None;
        }
    }

    async fn report_not_me(&mut self, who: usize, latest: bool) {
        let address = &mut self.addresses[who];
        let link = if latest { address.links.last() } else { address.links.first() };
        let Some((token, user, mailed_at)) = link else {
            return;
        };
        let pending = address.pending.as_ref().is_some_and(|pending| pending.user.id == *user);
        // One that was mailed again works for a day since then.
        let since = address.links.iter().filter(|(of, ..)| of == token).map(|(.., at)| *at).max().unwrap_or(*mailed_at);
        let works = pending && self.now < since + not_me::LIFETIME;
        assert_eq!(self.world.accounts().report_not_me(token).await.expect("the store answers"), works);
        if works {
            address.pending = None;
            let history = address.history.as_mut().expect("it was registered");
            history.granted_at = history.granted_at.min(self.now - history.wait);
        }
    }

    /// How many rows it deletes is not asked: a real database holds those of other stories, too.
    async fn purge(&mut self) {
        self.world.accounts().users.purge(PENDING_TTL).await.expect("the store answers");
        for address in &mut self.addresses {
            let is_stale = |history: &History| history.granted_at + PENDING_TTL <= self.now;
            if address.history.as_ref().is_some_and(is_stale) {
                address.pending = None;
            }
        }
    }
}

fn about(expected: Duration, answered: Duration) {
    assert!(answered <= expected && answered + DRIFT > expected, "{answered:?} instead of {expected:?}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fakes::{InMemoryCodes, InMemoryService, InMemoryUsers};
    use super::*;

    impl World for InMemoryService {
        type Users = InMemoryUsers;
        type Codes = InMemoryCodes;
        fn accounts(&self) -> &Accounts<InMemoryUsers, InMemoryCodes> {
            &self.accounts
        }
        fn codes(&self) -> &InMemoryCodes {
            &self.codes
        }
        async fn advance(&self, by: Duration) {
            self.clock.advance(by);
        }
        async fn queued(&self) -> Vec<(UserId, GrantedCode)> {
            self.users.queued().into_iter().map(|mail| (mail.user, mail.code)).collect()
        }
        async fn link(&self, user: UserId, link: NotMeHash) -> bool {
            self.users.link(user, link)
        }
    }

    proptest! {
        #[test]
        fn whatever_the_order_the_twins_answer_as_the_model_says(story in prop::collection::vec(any::<u32>(), 1..200)) {
            let story: Vec<Step> = story.into_iter().map(Step::from_number).collect();
            let secret = CodeSecret::new(vec![60; 32]).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(play(&InMemoryService::new(), &secret, "example.com", &story));
        }
    }
}
