//! Read users, as an operator: one user, or all users page by page.

use super::Accounts;
use super::ports::{AddressSearch, Codes, Cursor, FoundUser, SearchCursor, StoreError, UserFilter, Users};
use crate::domain::user::{User, UserId};

/// One page of a list of users. `C` is a position in the list.
#[derive(Debug, PartialEq, Eq)]
pub struct Page<C> {
    pub items: Vec<User>,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<C>,
}

impl<U: Users, C: Codes> Accounts<U, C> {
    /// Returns a page of at most `limit` users; `limit` must be at least 1.
    ///
    /// A user who registers between two pages appears on no later page. No user appears on two pages.
    pub async fn list(
        &self,
        filter: &UserFilter,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page<Cursor>, StoreError> {
        // One row more than the page holds shows whether there is a next page.
        let mut items = self.users.list(filter, after, limit + 1).await?;
        let is_last = items.len() <= limit as usize;
        items.truncate(limit as usize);
        let end = items.last().map(Cursor::at);
        Ok(Page { items, next: end.filter(|_| !is_last) })
    }

    /// Returns a page of at most `limit` users whose address has this prefix, sorted by address; `limit` must be at least 1.
    pub async fn search(
        &self,
        search: &AddressSearch,
        after: Option<&SearchCursor>,
        limit: u32,
    ) -> Result<Page<SearchCursor>, StoreError> {
        let mut found = self.users.search(search, after, limit + 1).await?;
        let is_last = found.len() <= limit as usize;
        found.truncate(limit as usize);
        let next = found.last().map(|last| last.position.clone()).filter(|_| !is_last);
        Ok(Page { items: found.into_iter().map(|FoundUser { user, .. }| user).collect(), next })
    }

    pub async fn find(&self, id: UserId) -> Result<Option<User>, StoreError> {
        self.users.find(id).await
    }
}
