//! The hash cost of an address without a password hash of its own: drawn from the costs of the accounts.
//!
//! After the configured cost was changed, accounts have hashes of both costs. If addresses without an account had one of
//! the two, the time of a hash evaluation would reveal the accounts with the other. So such an address gets a cost as
//! probable as among the accounts. A MAC of the address draws the cost, so that the same address always has the same one.
//! The same holds for accounts with hashes of another system, whose evaluation costs something else.

use std::sync::{Arc, PoisonError, RwLock};

use super::foreign::ForeignCost;
use super::params::HashCost;
use crate::domain::code::CodeSecret;
use crate::domain::email::Address;

/// The cost of a login at an address: one evaluation of argon2id, and one of the account's foreign hash, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressCost {
    pub argon2id: HashCost,
    pub foreign: Option<ForeignCost>,
}

/// The numbers of accounts with each cost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CostDistribution(Vec<(AddressCost, u64)>);

impl CostDistribution {
    pub fn new(mut accounts_by_cost: Vec<(AddressCost, u64)>) -> Self {
        // In a fixed order, a small change of the numbers changes the draws of few addresses.
        accounts_by_cost.sort_unstable();
        Self(accounts_by_cost)
    }

    /// Returns the cost at a position, where 0 is the beginning of the accounts in order of their cost, and 2^64 the end.
    /// `None` without accounts.
    fn at(&self, position: u64) -> Option<AddressCost> {
        let accounts: u64 = self.0.iter().map(|(_, accounts)| accounts).sum();
        let mut before = (u128::from(position) * u128::from(accounts)) >> 64;
        self.0.iter().find_map(|(cost, accounts)| match before.checked_sub(u128::from(*accounts)) {
            None => Some(*cost),
            Some(rest) => {
                before = rest;
                None
            }
        })
    }
}

/// Draws the hash costs of addresses without a hash. Clones share the distribution.
#[derive(Clone)]
pub struct CostDraw {
    secret: CodeSecret,
    /// The cost while there are no accounts.
    configured: AddressCost,
    /// `None` until the distribution is loaded.
    distribution: Arc<RwLock<Option<CostDistribution>>>,
}

impl CostDraw {
    /// `configured` is the cost of every address as long as there are no accounts.
    pub fn new(secret: CodeSecret, configured: HashCost) -> Self {
        let configured = AddressCost { argon2id: configured, foreign: None };
        Self { secret, configured, distribution: Arc::default() }
    }

    /// Replaces the distribution of the costs.
    pub fn set(&self, distribution: CostDistribution) {
        *self.distribution.write().unwrap_or_else(PoisonError::into_inner) = Some(distribution);
    }

    /// Returns the cost of an address without a hash. `None` if no distribution was set.
    pub fn draw(&self, address: &Address) -> Option<AddressCost> {
        let position = self.secret.cost_position(address);
        let distribution = self.distribution.read().unwrap_or_else(PoisonError::into_inner);
        distribution.as_ref().map(|distribution| distribution.at(position).unwrap_or(self.configured))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::email::Email;

    fn argon2id(passes: u32) -> HashCost {
        HashCost::new(8, passes, 1).unwrap()
    }

    fn cost(passes: u32) -> AddressCost {
        AddressCost { argon2id: argon2id(passes), foreign: None }
    }

    fn draws(accounts_by_cost: &[(AddressCost, u64)]) -> Vec<AddressCost> {
        let draw = CostDraw::new(CodeSecret::new(vec![60; 32]).unwrap(), argon2id(9));
        draw.set(CostDistribution::new(accounts_by_cost.to_vec()));
        let addresses = (0..1000).map(|n| Email::parse(&format!("user{n}@example.com")).unwrap());
        addresses.map(|email| draw.draw(email.address()).unwrap()).collect()
    }

    #[test]
    fn costs_are_drawn_as_often_as_accounts_have_them() {
        let drawn = draws(&[(cost(3), 100), (cost(1), 600), (cost(2), 300)]);
        for (passes, expected) in [(1, 600), (2, 300), (3, 100)] {
            let count = drawn.iter().filter(|drawn| **drawn == cost(passes)).count();
            // Four standard deviations are at most 62. The addresses are fixed, so the test cannot be flaky.
            assert!(count.abs_diff(expected) < 62, "{passes}: {count}");
        }
        assert!(draws(&[(cost(1), 0), (cost(2), 7)]).iter().all(|drawn| *drawn == cost(2)));
    }

    #[test]
    fn foreign_costs_are_drawn_as_often_as_accounts_have_them() {
        let foreign = |cost: u8| AddressCost { foreign: Some(ForeignCost::Bcrypt { cost }), ..cost_of_all() };
        let drawn = draws(&[(foreign(12), 300), (cost_of_all(), 500), (foreign(10), 200)]);
        for (cost, expected) in [(cost_of_all(), 500), (foreign(10), 200), (foreign(12), 300)] {
            let count = drawn.iter().filter(|drawn| **drawn == cost).count();
            assert!(count.abs_diff(expected) < 64, "{cost:?}: {count}");
        }
    }

    fn cost_of_all() -> AddressCost {
        cost(1)
    }

    #[test]
    fn a_new_account_changes_few_draws() {
        let before = draws(&[(cost(1), 600), (cost(2), 300)]);
        let after = draws(&[(cost(1), 599), (cost(2), 301)]);
        assert!(before.iter().zip(&after).filter(|(before, after)| before != after).count() < 10);
    }

    #[test]
    fn the_configured_cost_is_drawn_without_accounts() {
        assert!(draws(&[]).iter().all(|drawn| *drawn == cost(9)));
        let not_loaded = CostDraw::new(CodeSecret::new(vec![60; 32]).unwrap(), argon2id(9));
        assert_eq!(not_loaded.draw(Email::parse("ada@example.com").unwrap().address()), None);
    }
}
