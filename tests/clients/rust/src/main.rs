//! Runs a registration, a password reset and a change of address with the client that openapi-generator generates for Rust.
#![deny(warnings)]

use std::time::{Duration, Instant};

use serde_json::Value;
use sixty_client::apis::account_api::{
    GetCurrentUserError, change_email, confirm_email, delete_current_user, get_current_user,
};
use sixty_client::apis::administration_api::{ListUsersError, list_users};
use sixty_client::apis::configuration::Configuration;
use sixty_client::apis::password_reset_api::{ResetPasswordError, request_password_reset, reset_password};
use sixty_client::apis::registration_api::{
    ActivateUserError, RegisterUserError, ResendCodeError, activate_user, register_user, resend_code,
};
use sixty_client::apis::{Error, ResponseContent};
use sixty_client::models::{
    ActivateUser, ChangeEmail, Problem, RegisterUser, RequestPasswordReset, ResetPassword, Status,
};

const PASSWORD: &str = "päss:wörd of Ada";
const NEW_PASSWORD: &str = "näw:päss of Ada";

/// Returns the problem in an operation's error. Every variant of the error type holds a `Problem`; serde tries the
/// variants in order, so the first variant always matches.
macro_rules! problem {
    ($answer:expr, $error:ident, $status:literal, $name:literal) => {
        match $answer {
            Err(Error::ResponseError(ResponseContent { status, entity: Some($error::Status400(problem)), .. })) => {
                assert_eq!((status.as_u16(), problem.status), ($status, $status), "{problem:?}");
                assert_eq!(problem.r#type, concat!("/problems/", $name), "{problem:?}");
                problem
            }
            other => panic!("expected a problem, found {other:?}"),
        }
    };
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

fn address(name: &str) -> String {
    format!("{name}-{}@example.com", uuid::Uuid::new_v4().simple())
}

fn anonymous() -> Configuration {
    Configuration { base_path: env("API_URL"), ..Configuration::default() }
}

fn credentials(email: &str, password: &str) -> Configuration {
    Configuration { basic_auth: Some((email.to_owned(), Some(password.to_owned()))), ..anonymous() }
}

async fn read(path: &str, query: &[(&str, String)]) -> Value {
    let url = format!("{}/api/v1/{path}", env("MAIL_URL"));
    reqwest::Client::new().get(url).query(query).send().await.unwrap().json().await.unwrap()
}

/// Waits until the newest mail to the address at the mock provider has a code of so many digits, and returns the code.
async fn code(email: &str, digits: usize) -> String {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        let found = read("search", &[("query", format!("to:{email}"))]).await;
        if let Some(id) = found["messages"][0]["ID"].as_str() {
            let mail = read(&format!("message/{id}"), &[]).await;
            let text = mail["Text"].as_str().unwrap();
            let is_code = |word: &&str| word.len() == digits && word.bytes().all(|byte| byte.is_ascii_digit());
            if let Some(code) = text.split_whitespace().find(is_code) {
                return code.to_owned();
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no mail arrived within 30 seconds");
}

fn pointers(problem: &Problem) -> Vec<&str> {
    problem.errors.iter().flatten().filter_map(|error| error.pointer.as_deref()).collect()
}

async fn register(email: &str, password: &str) -> Result<sixty_client::models::User, Error<RegisterUserError>> {
    register_user(&anonymous(), RegisterUser::new(email.to_owned(), password.to_owned()), None, None).await
}

async fn activate(email: &str, code: &str) -> Result<sixty_client::models::User, Error<ActivateUserError>> {
    activate_user(&credentials(email, PASSWORD), ActivateUser::new(code.to_owned())).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (late, ada) = (address("late"), address("ada"));
    assert_eq!(register(&late, PASSWORD).await.unwrap().status, Status::Pending);
    let (late_code, late_since) = (code(&late, 4).await, Instant::now());

    assert_eq!(register(&ada, PASSWORD).await.unwrap().email, ada);
    let right = code(&ada, 4).await;
    let wrong: String = right.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect();

    let incorrect = problem!(activate(&ada, &wrong).await, ActivateUserError, 422, "incorrect-code");
    assert_eq!((incorrect.attempts_remaining, pointers(&incorrect)), (Some(2), vec!["/code"]));
    let activated = activate(&ada, &right).await.unwrap();
    assert_eq!(activated.status, Status::Active);
    assert!(activated.activated_at.flatten().is_some_and(|at| at >= activated.created_at));
    problem!(activate(&ada, &right).await, ActivateUserError, 409, "already-active");

    let wrong_password = get_current_user(&credentials(&ada, "not her password")).await;
    problem!(wrong_password, GetCurrentUserError, 401, "unauthenticated");
    let users = list_users(&credentials(&ada, PASSWORD), None, None, Some(2), None, None, None).await;
    problem!(users, ListUsersError, 403, "forbidden");
    let invalid = problem!(register("ada", "short").await, RegisterUserError, 422, "invalid-field");
    assert_eq!(pointers(&invalid), ["/email", "/password"]);
    let too_soon = problem!(register(&late, PASSWORD).await, RegisterUserError, 429, "too-many-codes");
    assert!(too_soon.retry_after.is_some_and(|seconds| seconds > 0));
    let resent = resend_code(&credentials(&late, PASSWORD)).await;
    problem!(resent, ResendCodeError, 429, "too-many-codes");

    let queued = request_password_reset(&anonymous(), RequestPasswordReset::new(ada.clone())).await.unwrap();
    assert_eq!(queued.retry_after, 600);
    let reset = ResetPassword::new(ada.clone(), code(&ada, 8).await, NEW_PASSWORD.to_owned());
    reset_password(&anonymous(), reset.clone()).await.unwrap();
    problem!(reset_password(&anonymous(), reset).await, ResetPasswordError, 410, "code-expired");
    problem!(get_current_user(&credentials(&ada, PASSWORD)).await, GetCurrentUserError, 401, "unauthenticated");

    let (moved, owner) = (address("moved"), credentials(&ada, NEW_PASSWORD));
    change_email(&owner, ChangeEmail::new(moved.clone())).await.unwrap();
    let confirmed = confirm_email(&owner, ActivateUser::new(code(&moved, 4).await)).await.unwrap();
    assert_eq!(confirmed.email, moved);
    problem!(get_current_user(&owner).await, GetCurrentUserError, 401, "unauthenticated");

    let ttl = Duration::from_secs_f64(env("CODE_TTL_SECONDS").parse().unwrap());
    tokio::time::sleep((ttl + Duration::from_secs(1)).saturating_sub(late_since.elapsed())).await;
    problem!(activate(&late, &late_code).await, ActivateUserError, 410, "code-expired");

    delete_current_user(&credentials(&moved, NEW_PASSWORD)).await.unwrap();
    problem!(get_current_user(&credentials(&moved, NEW_PASSWORD)).await, GetCurrentUserError, 401, "unauthenticated");
}
