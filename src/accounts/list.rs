//! Looking at users, as an operator: at one, or at all of them a page at a time.

use super::Accounts;
use super::ports::{Codes, Cursor, Filter, StoreError, Users};
use crate::domain::user::{User, UserId};

/// A part of a list.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    pub items: Vec<User>,
    /// Where the next one begins; none if this is the last.
    pub next: Option<Cursor>,
}

impl<U: Users, C: Codes> Accounts<U, C> {
    /// At most `limit` users, at least one being asked for. Who registers meanwhile appears on no later page, and nobody
    /// on two.
    pub async fn list(&self, filter: &Filter, after: Option<Cursor>, limit: u32) -> Result<Page, StoreError> {
        // One more than is shown tells whether there are more.
        let mut items = self.users.list(filter, after, limit + 1).await?;
        let is_last = items.len() <= limit as usize;
        items.truncate(limit as usize);
        let end = items.last().map(|user| Cursor { created_at: user.created_at, id: user.id });
        Ok(Page { items, next: end.filter(|_| !is_last) })
    }

    pub async fn find(&self, id: UserId) -> Result<Option<User>, StoreError> {
        self.users.find(id).await
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::Duration;

    use super::super::memory::Twins;
    use super::*;

    #[tokio::test]
    async fn pages_hold_everybody_once_whoever_comes_meanwhile() {
        let twins = Twins::new();
        let mut registered = vec![];
        for n in 0..5 {
            registered.push(twins.register(&format!("{n}@example.com"), "correct horse").await.unwrap());
            // Two at a time, so that the id decides, too.
            twins.clock.advance(Duration::from_secs(n % 2));
        }
        let (mut seen, mut after) = (vec![], None);
        loop {
            let page = twins.accounts.list(&Filter::default(), after, 2).await.unwrap();
            twins.register(&format!("{}@later.example", seen.len()), "correct horse").await.unwrap();
            seen.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        registered.sort_by_key(|user| std::cmp::Reverse((user.created_at, user.id)));
        assert_eq!(seen, registered);
    }
}
