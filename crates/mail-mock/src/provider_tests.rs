//! Tests of Postmark's, Brevo's, SendGrid's and Resend's APIs.

use poem::Response;
use poem::http::Method;
use serde_json::{Value, json};

use super::tests::{call, mock, read, set_faults};
use super::*;

struct Api {
    path: &'static str,
    account: &'static str,
    key: (&'static str, &'static str),
    mail: fn(&str) -> Value,
}

const APIS: [Api; 4] = [
    Api {
        path: "/email",
        account: "/server",
        key: ("X-Postmark-Server-Token", "secret"),
        mail: |to| {
            json!({"From": "\"App\" <app@example.org>", "To": to, "Subject": "Hi", "TextBody": "1234", "HtmlBody": "<p>",
                "Headers": [{"Name": "X-A", "Value": "b"}], "MessageStream": "outbound"})
        },
    },
    Api {
        path: "/v3/smtp/email",
        account: "/v3/account",
        key: ("api-key", "secret"),
        mail: |to| {
            json!({"sender": {"email": "app@example.org", "name": "App"}, "to": [{"email": to}], "subject": "Hi",
                "textContent": "1234", "htmlContent": "<p>", "headers": {"idempotencyKey": "k", "X-A": "b"}})
        },
    },
    Api {
        path: "/v3/mail/send",
        account: "/v3/scopes",
        key: ("Authorization", "Bearer secret"),
        mail: |to| {
            json!({"personalizations": [{"to": [{"email": to}]}], "from": {"email": "app@example.org", "name": "App"},
                "subject": "Hi", "headers": {"X-A": "b"},
                "content": [{"type": "text/plain", "value": "1234"}, {"type": "text/html", "value": "<p>"}]})
        },
    },
    Api {
        path: "/emails",
        account: "/domains",
        key: ("Authorization", "Bearer secret"),
        mail: |to| {
            json!({"from": "App <app@example.org>", "to": [to], "subject": "Hi", "text": "1234", "html": "<p>",
                "headers": {"X-A": "b"}})
        },
    },
];

async fn send(mock: &MailMock, api: &Api, key: &str, body: String) -> Response {
    let headers = [(api.key.0, key), ("User-Agent", "test/1"), ("Idempotency-Key", "k")];
    call(mock, Method::POST, api.path, &headers, body).await
}

async fn body(response: Response) -> Value {
    response.into_body().into_json().await.unwrap()
}

#[tokio::test]
async fn each_api_stores_the_mail_and_answers_with_an_id() {
    for (api, status) in APIS.iter().zip([200, 201, 202, 200]) {
        let mock = mock();
        let answer = send(&mock, api, api.key.1, (api.mail)("ann@example.org").to_string()).await;
        assert_eq!(answer.status(), status, "{}", api.path);
        let header = answer.header("X-Message-Id").map(str::to_owned);
        let id = match header {
            Some(id) => id,
            None => {
                let answer = body(answer).await;
                ["MessageID", "messageId", "id"].iter().find_map(|name| answer[*name].as_str()).unwrap().to_owned()
            }
        };
        assert!(id.len() >= 22, "{id}");
        let (_, shown) = read(&mock, "/api/v1/message/latest").await;
        assert_eq!(shown["From"], json!({"Name": "App", "Address": "app@example.org"}));
        assert_eq!(shown["To"], json!([{"Name": "", "Address": "ann@example.org"}]));
        let parts = [&shown["Subject"], &shown["Text"], &shown["HTML"], &shown["Headers"]];
        assert_eq!(parts, [&json!("Hi"), &json!("1234"), &json!("<p>"), &json!({"X-A": "b"})]);
    }
}

#[tokio::test]
async fn each_api_refuses_keys_recipients_senders_and_bodies_in_its_own_form() {
    let codes = |answer: &Value| -> Vec<Value> {
        ["/ErrorCode", "/code", "/errors/0/field", "/name"]
            .iter()
            .filter_map(|path| answer.pointer(path).cloned())
            .collect()
    };
    let expected = [
        [(401, json!(10)), (422, json!(406)), (422, json!(300)), (422, json!(402))],
        [
            (401, json!("unauthorized")),
            (400, json!("invalid_parameter")),
            (400, json!("invalid_parameter")),
            (400, json!("bad_request")),
        ],
        [(401, Value::Null), (400, json!("personalizations.0.to.0.email")), (403, json!("from")), (400, Value::Null)],
        [
            (401, json!("validation_error")),
            (422, json!("validation_error")),
            (422, json!("validation_error")),
            (422, json!("missing_required_field")),
        ],
    ];
    for (api, expected) in APIS.iter().zip(expected) {
        let secret = || Some("secret".into());
        let keys = ApiKeys { postmark: secret(), brevo: secret(), sendgrid: secret(), resend: secret() };
        let mock = MailMock::new(MockOptions { keys, ..MockOptions::default() }, 1);
        let good = (api.mail)("ann@example.org").to_string();
        let wrong = api.key.1.replace("secret", "other");
        let requests = [
            (&*wrong, good.clone()),
            (api.key.1, (api.mail)("ann@refused.example").to_string()),
            (api.key.1, good.replace("app@example.org", "nobody")),
            (api.key.1, "{".to_owned()),
        ];
        for ((key, request), (status, code)) in requests.into_iter().zip(expected) {
            let answer = send(&mock, api, key, request).await;
            assert_eq!(answer.status(), status, "{}", api.path);
            assert_eq!(codes(&body(answer).await), [code], "{}", api.path);
        }
        assert_eq!(read(&mock, "/api/v1/messages").await.1["total"], 0);

        let account = async |key: &str| {
            let headers = [(api.key.0, key), ("User-Agent", "test/1")];
            let answer = call(&mock, Method::GET, api.account, &headers, ()).await;
            (answer.status().as_u16(), body(answer).await)
        };
        let (status, answer) = account(api.key.1).await;
        assert!(status == 200 || answer["name"] == "restricted_api_key", "{answer}");
        let (status, answer) = account(&wrong).await;
        assert!(status == 401 && answer["name"] != "restricted_api_key", "{answer}");
    }
}

#[tokio::test]
async fn a_repeated_key_is_known_to_brevo_and_resend() {
    for (api, mails) in APIS.iter().zip([2, 1, 2, 1]) {
        let mock = mock();
        let mail = (api.mail)("ann@example.org").to_string();
        send(&mock, api, api.key.1, mail.clone()).await;
        let again = send(&mock, api, api.key.1, mail).await;
        assert_eq!(again.status() == 400, api.path == "/v3/smtp/email");
        assert_eq!(read(&mock, "/api/v1/messages").await.1["total"], mails, "{}", api.path);
    }
}

#[tokio::test]
async fn the_faults_concern_each_api() {
    for api in &APIS {
        let mock = mock();
        set_faults(&mock, json!({"fail_rate": 1, "status": 429})).await;
        let answer = send(&mock, api, api.key.1, (api.mail)("ann@example.org").to_string()).await;
        assert_eq!((answer.status().as_u16(), answer.header("Retry-After")), (429, Some("1")), "{}", api.path);
    }
}
