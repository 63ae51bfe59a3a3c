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
