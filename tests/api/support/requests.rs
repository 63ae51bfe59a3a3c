//! Requests to the API of a [`Service`].

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;

use super::{Answer, PASSWORD, Service};

impl Service {
    pub fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url_of(path))
    }

    pub async fn register(&self, email: &str, password: &str) -> Answer {
        let body = json!({ "email": email, "password": password });
        Answer::of(self.request(Method::POST, "/v1/users").json(&body)).await
    }

    /// Registers the address with [`PASSWORD`] and asserts success. Returns the id of the pending registration.
    pub async fn register_pending(&self, email: &str) -> String {
        let answer = self.register(email, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// Registers the address with [`PASSWORD`] and activates the account. Returns the account's id.
    ///
    /// The code mail and the activation notice have arrived when this function returns.
    pub async fn register_active(&self, email: &str) -> String {
        let id = self.register_pending(email).await;
        let code = self.wait_for_code(email, 1).await;
        assert_eq!(self.activate(email, PASSWORD, &code).await.status, StatusCode::OK);
        self.wait_for_mail(email, 2).await;
        id
    }

    pub async fn activate(&self, email: &str, password: &str, code: &str) -> Answer {
        let request = self.request(Method::POST, "/v1/users/me/activation").basic_auth(email, Some(password));
        Answer::of(request.json(&json!({ "code": code }))).await
    }

    pub async fn resend(&self, email: &str, password: &str) -> Answer {
        let request = self.request(Method::POST, "/v1/users/me/verification-code");
        Answer::of(request.basic_auth(email, Some(password))).await
    }

    pub async fn me(&self, email: &str, password: &str) -> Answer {
        Answer::of(self.request(Method::GET, "/v1/users/me").basic_auth(email, Some(password))).await
    }

    pub async fn delete(&self, email: &str, password: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, "/v1/users/me").basic_auth(email, Some(password))).await
    }
}
