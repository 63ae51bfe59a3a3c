//! Read users, as an operator: one user, or all users page by page.

use super::Accounts;
use super::ports::{Codes, Cursor, StoreError, UserFilter, Users};
use crate::domain::user::{User, UserId};

/// One page of a list of users.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    pub items: Vec<User>,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<Cursor>,
}

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Returns a page of at most `limit` users; `limit` must be at least 1.
    ///
    /// A user who registers between two pages appears on no later page. No user appears on two pages.
    pub async fn list(&self, filter: &UserFilter, after: Option<Cursor>, limit: u32) -> Result<Page, StoreError> {
        // One row more than the page holds shows whether there is a next page.
        let mut items = self.users.list(filter, after, limit + 1).await?;
        let is_last = items.len() <= limit as usize;
        items.truncate(limit as usize);
        let end = items.last().map(Cursor::at);
        Ok(Page { items, next: end.filter(|_| !is_last) })
    }

    pub async fn find(&self, id: UserId) -> Result<Option<User>, StoreError> {
        self.users.find(id).await
    }
}
