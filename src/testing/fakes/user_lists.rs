//! Lists of users in the fake of the users.

use super::users::Tables;
use crate::accounts::ports::{AddressSearch, Cursor, FoundUser, SearchCursor, UserFilter};
use crate::domain::user::User;

impl Tables {
    pub(super) fn list(&self, filter: &UserFilter, after: Option<Cursor>, limit: u32) -> Vec<User> {
        let mut listed: Vec<User> = self
            .users
            .iter()
            .filter(|row| filter.address.as_ref().is_none_or(|address| *address == row.address))
            .filter(|row| filter.domain.as_ref().is_none_or(|domain| domain.as_str() == row.address.domain()))
            .map(|row| &row.user)
            .filter(|user| filter.status.is_none_or(|status| status == user.status))
            .filter(|user| after.is_none_or(|after| Cursor::at(user) < after))
            .cloned()
            .collect();
        listed.sort_by_key(|user| std::cmp::Reverse(Cursor::at(user)));
        listed.truncate(limit as usize);
        listed
    }

    pub(super) fn search(&self, search: &AddressSearch, after: Option<&SearchCursor>, limit: u32) -> Vec<FoundUser> {
        let mut found: Vec<FoundUser> = self
            .users
            .iter()
            .filter(|row| row.address.as_str().starts_with(search.prefix.as_str()))
            .filter(|row| search.domain.as_ref().is_none_or(|domain| domain.as_str() == row.address.domain()))
            .filter(|row| search.status.is_none_or(|status| status == row.user.status))
            .map(|row| FoundUser {
                user: row.user.clone(),
                position: SearchCursor { address: row.address.as_str().to_owned(), id: row.user.id },
            })
            .filter(|found| after.is_none_or(|after| found.position > *after))
            .collect();
        found.sort_by(|a, b| a.position.cmp(&b.position));
        found.truncate(limit as usize);
        found
    }
}
