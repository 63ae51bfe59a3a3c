//! Contract tests: the behaviour that every implementation of a port must have.
//!
//! The fakes run these tests within milliseconds, the real stores run them in `tests/api/stores.rs`. Behaviour that only
//! one implementation has is a missing contract test.

mod activation;
mod address_changes;
mod codes;
mod fixture;
mod not_me;
mod operators;
mod password_resets;
mod passwords;
mod purge;
mod registration;
mod under_test;

use std::time::Duration;

pub use codes::codes;
use fixture::Fixture;
pub use under_test::{CodesUnderTest, UsersUnderTest};

use crate::passwords::{HashCost, Hasher};
use crate::rng::Rng;

/// Tests everything that [`Users`](crate::accounts::ports::Users) promises. Later tests rely on rows of earlier ones.
pub async fn users(store: &impl UsersUnderTest) {
    let minimum = HashCost::new(8, 1, 1).expect("the minimum cost of argon2");
    let hasher = Hasher::start(minimum, 1, Duration::from_secs(10));
    let fixture = Fixture { store, rng: Rng::from_system(), hasher };
    registration::registration_writes_a_pending_row_and_queues_one_mail(&fixture).await;
    registration::requests_inside_the_wait_change_nothing(&fixture).await;
    registration::second_registration_replaces_row_and_mail(&fixture).await;
    registration::waits_double_and_short_codes_are_limited(&fixture).await;
    registration::hash_with_other_params_is_not_written(&fixture).await;
    passwords::rehash_needs_the_old_hash_and_no_pending_registration(&fixture).await;
    passwords::password_change_needs_an_active_account_with_the_old_hash(&fixture).await;
    password_resets::reset_mails_are_paced_for_every_address(&fixture).await;
    password_resets::reset_changes_the_password_that_the_code_was_made_for(&fixture).await;
    password_resets::reset_code_dies_with_the_password_or_the_account(&fixture).await;
    passwords::foreign_hash_is_replaced_once_and_ends_with_any_new_hash(&fixture).await;
    address_changes::confirmed_change_moves_the_account_once(&fixture).await;
    address_changes::address_of_an_account_cannot_be_taken(&fixture).await;
    address_changes::link_restores_the_old_address_and_ends_the_password(&fixture).await;
    registration::resend_replaces_the_queued_mail(&fixture).await;
    activation::activation_succeeds_once_and_changes_only_this_row(&fixture).await;
    activation::operator_activates_a_pending_row_once(&fixture).await;
    activation::address_has_at_most_one_account(&fixture).await;
    operators::deletion_removes_the_row_and_its_mail_and_nothing_else(&fixture).await;
    operators::only_an_operator_deletes_a_disabled_account(&fixture).await;
    operators::operator_changes_accounts_but_not_pending_rows(&fixture).await;
    operators::language_is_kept_and_can_be_changed(&fixture).await;
    operators::last_active_admin_cannot_be_removed(&fixture).await;
    operators::list_is_newest_first_and_continues_after_the_cursor(&fixture).await;
    operators::searches_find_parts_of_addresses_and_continue_after_the_cursor(&fixture).await;
    not_me::link_deletes_its_registration_once_and_keeps_the_wait(&fixture).await;
    not_me::deleted_registration_is_recognised_for_a_day(&fixture).await;
    not_me::ticket_passes_the_wait_of_its_address_once(&fixture).await;
    not_me::ticket_expires_after_15_minutes(&fixture).await;
    not_me::ticket_does_not_give_a_short_code_back(&fixture).await;
    not_me::invalid_link_changes_nothing(&fixture).await;
    passwords::accounts_are_counted_by_hash_cost(&fixture).await;
    purge::purge_deletes_pending_rows_without_a_recent_grant(&fixture).await;
    purge::code_mail_is_queued_until_it_is_not_needed(&fixture).await;
    purge::grants_of_an_address_without_a_user_count_for_a_year(&fixture).await;
}
