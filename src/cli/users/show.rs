//! Prints users as a table for people, or as JSON, one object a line, in the form of the API.

use poem_openapi::types::ToJSON as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::domain::user::User;
use crate::http::user_schemas::UserJson;

const COLUMN_TITLES: [&str; 6] = ["ID", "EMAIL", "STATUS", "ROLE", "CREATED", "ACTIVATED"];

pub(super) fn json(users: &[User]) -> String {
    users.iter().map(|user| UserJson::from(user.clone()).to_json_string() + "\n").collect()
}

pub(super) fn table(users: &[User]) -> String {
    let row = |user: &User| {
        let activated = user.activated_at.map_or_else(|| "-".to_owned(), seconds);
        [
            user.id.to_string(),
            user.email.clone(),
            user.status.as_str().to_owned(),
            user.role.as_str().to_owned(),
            seconds(user.created_at),
            activated,
        ]
    };
    let rows: Vec<[String; 6]> = [COLUMN_TITLES.map(str::to_owned)].into_iter().chain(users.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 6] = std::array::from_fn(width);
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        })
        .collect()
}

/// Formats a time in UTC to the second: `2026-11-21 10:36:24Z`.
fn seconds(time: OffsetDateTime) -> String {
    let whole_seconds = time.replace_nanosecond(0).expect("0 is a valid nanosecond");
    whole_seconds.format(&Rfc3339).expect("the year has four digits").replace('T', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::user::{Role, Status, UserId};
    use uuid::Uuid;

    fn users() -> [User; 2] {
        let created_at = OffsetDateTime::from_unix_timestamp_nanos(1_795_000_000_123_456_000).unwrap();
        let user = |id, email: &str, status, role, activated_at| User {
            id: UserId(Uuid::from_u128(id)),
            email: email.to_owned(),
            status,
            role,
            created_at,
            activated_at,
            locale: None,
        };
        [
            user(1, "Ada@b\u{fc}cher.example", Status::Active, Role::Admin, Some(created_at)),
            user(2, "bob@example.com", Status::Pending, Role::User, None),
        ]
    }

    #[test]
    fn table_columns_are_aligned() {
        insta::assert_snapshot!(table(&users()), @r"
        ID                                    EMAIL               STATUS   ROLE   CREATED               ACTIVATED
        00000000-0000-0000-0000-000000000001  Ada@bücher.example  active   admin  2026-11-18 11:06:40Z  2026-11-18 11:06:40Z
        00000000-0000-0000-0000-000000000002  bob@example.com     pending  user   2026-11-18 11:06:40Z  -
        ");
        assert_eq!(table(&[]), "ID  EMAIL  STATUS  ROLE  CREATED  ACTIVATED\n");
    }

    #[test]
    fn json_has_one_object_per_line() {
        insta::assert_snapshot!(json(&users()), @r#"
        {"id":"00000000-0000-0000-0000-000000000001","email":"Ada@bücher.example","status":"active","role":"admin","created_at":"2026-11-18T11:06:40.123456Z","activated_at":"2026-11-18T11:06:40.123456Z","locale":null}
        {"id":"00000000-0000-0000-0000-000000000002","email":"bob@example.com","status":"pending","role":"user","created_at":"2026-11-18T11:06:40.123456Z","activated_at":null,"locale":null}
        "#);
    }
}
