//! Pages for people: the interactive documentation, and what a problem means.

use askama::Template;
use poem::http::StatusCode;
use poem::web::Html;
use poem::{IntoResponse, Request, Response};
use poem_openapi::{OpenApi, OpenApiService};
use serde_json::json;

use super::kind::Kind;
use super::openapi::Document;
use super::problem::Problem;

/// Swagger UI, with everything that it needs in one page: it works without the internet.
pub fn docs<T: OpenApi>(service: &OpenApiService<T, ()>, document: &Document) -> String {
    // The page embeds the framework's own document; ours says more.
    let page = service.swagger_ui_html().replacen(&service.spec(), &document.json(), 1);
    format!("<!doctype html>{}", page.replacen("<title>Swagger UI</title>", "<title>Sixty API</title>", 1))
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    name: &'a str,
    status: u16,
    title: &'a str,
    advice: &'a str,
}

/// `/problems/{name}`: what a problem's `type` points at, for a browser as HTML, otherwise as JSON.
pub fn problem(request: &Request) -> Response {
    let name = request.uri().path().rsplit('/').next().unwrap_or_default();
    let Some(kind) = Kind::from_name(name) else {
        return Problem::new(Kind::NotFound, "There is no problem of this name.").into_response();
    };
    let (status, title, advice) = (kind.status().as_u16(), kind.title(), kind.advice());
    if request.header("accept").is_some_and(|accept| accept.contains("text/html")) {
        let page = ProblemPage { name: kind.name(), status, title, advice };
        return match page.render() {
            Ok(page) => Html(page).into_response(),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into(),
        };
    }
    let about = json!({ "name": kind.name(), "status": status, "title": title, "advice": advice });
    Response::builder().content_type("application/json").body(format!("{about}\n"))
}
