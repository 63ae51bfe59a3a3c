//! The mock mail provider of a [`Service`]: the mails that it received, and the faults that it simulates.

use mail_mock::{MailMock, MockOptions};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Service, eventually};

/// Starts a mock mail provider on a free port. Returns its URL.
pub async fn start_mail_mock(options: MockOptions, stop: CancellationToken) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mail_url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { mail_mock::serve(listener, &MailMock::new(options, 60), stop).await });
    mail_url
}

impl Service {
    /// Returns the provider's summaries of the mails to an address, newest first.
    pub async fn mails(&self, email: &str) -> Vec<Value> {
        let url = format!("{}/api/v1/search", self.mail_url);
        let query = [("query", format!("to:{email}"))];
        let found: Value = self.http.get(url).query(&query).send().await.unwrap().json().await.unwrap();
        found["messages"].as_array().unwrap().clone()
    }

    /// Waits until an address has received `n` mails. Returns the text of the newest.
    ///
    /// The mail may be readable before the service has received the provider's answer. A code in the mail is live by
    /// then, and its 60 seconds start again when the answer arrives.
    pub async fn wait_for_mail(&self, email: &str, n: usize) -> String {
        let newest = eventually("mail", async || {
            let mails = self.mails(email).await;
            (mails.len() >= n).then(|| mails[0].clone())
        })
        .await;
        self.mail_text(&newest).await
    }

    /// Returns the text part of a mail that [`Service::mails`] listed.
    pub async fn mail_text(&self, mail: &Value) -> String {
        self.mail_json(mail).await["Text"].as_str().unwrap().to_owned()
    }

    /// Returns all parts and header fields of a mail that [`Service::mails`] listed.
    pub async fn mail_json(&self, mail: &Value) -> Value {
        let url = format!("{}/api/v1/message/{}", self.mail_url, mail["ID"].as_str().unwrap());
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Waits until an address has received `n` mails. Returns the verification code in the newest.
    pub async fn wait_for_code(&self, email: &str, n: usize) -> String {
        let text = self.wait_for_mail(email, n).await;
        code_in(&text).unwrap_or_else(|| panic!("no code in {text}"))
    }

    /// Waits until an address has received `n` mails. Returns the "not me" link on the last line of the newest.
    pub async fn wait_for_not_me_link(&self, email: &str, n: usize) -> String {
        let text = self.wait_for_mail(email, n).await;
        let link = text.lines().last().unwrap();
        assert!(link.starts_with(&self.url_of("/not-me/")), "{text}");
        link.to_owned()
    }

    /// Sets the faults that the mock provider simulates. `{}` ends all faults.
    pub async fn set_mail_faults(&self, faults: Value) {
        let answer = self.http.put(format!("{}/api/faults", self.mail_url)).json(&faults).send().await.unwrap();
        assert!(answer.status().is_success());
    }
}

/// Returns the verification code in the text of a mail: the first word of four or more digits.
pub fn code_in(text: &str) -> Option<String> {
    let is_code = |word: &&str| word.len() >= 4 && word.bytes().all(|byte| byte.is_ascii_digit());
    text.split_whitespace().find(is_code).map(str::to_owned)
}

/// Returns a code of the same length that differs from `code`.
pub fn wrong_code(code: &str) -> String {
    code.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect()
}
