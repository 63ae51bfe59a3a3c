//! `GET /v1/auth`: whether a gateway may let a request through, for nginx's `auth_request`, Traefik's `forwardAuth`, Caddy's
//! `forward_auth` and Envoy's `ext_authz`.

use poem::http::HeaderValue;
use poem_openapi::types::ToHeader;
use poem_openapi::{ApiResponse, NewType, OpenApi, Tags};

use super::auth::{self, BasicCredentials};
use super::client::Client;
use super::client_limits::ClientLimits;
use super::problem::Problem;
use crate::accounts::Accounts;
use crate::accounts::ports::{Codes, StoredUser, Users};
use crate::domain::user::{Status, User};

/// The path of the operation.
pub const PATH: &str = "/v1/auth";

#[derive(Tags)]
enum Tag {
    /// For gateways that let only active accounts through.
    Gateways,
}

/// A header value in UTF-8. The framework would leave out a text that is not ASCII.
#[derive(NewType)]
#[oai(from_parameter = false, to_header = false)]
struct HeaderText(String);

impl ToHeader for HeaderText {
    fn to_header(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.0.as_bytes()).ok()
    }
}

#[derive(ApiResponse)]
enum AuthResponse {
    /// The credentials are those of an active account.
    #[oai(status = 204)]
    Active(
        /// The user's id.
        #[oai(header = "X-User-Id")]
        String,
        /// The address as the user typed it, in UTF-8.
        #[oai(header = "X-User-Email")]
        HeaderText,
        /// The role: user or admin.
        #[oai(header = "X-User-Role")]
        String,
    ),
}

impl From<User> for AuthResponse {
    fn from(user: User) -> Self {
        Self::Active(user.id.to_string(), HeaderText(user.email), user.role.as_str().to_owned())
    }
}

pub struct GatewayApi<U, C> {
    accounts: Accounts<U, C>,
    limits: ClientLimits,
}

impl<U: Users, C: Codes> GatewayApi<U, C> {
    pub fn new(accounts: Accounts<U, C>, limits: ClientLimits) -> Self {
        Self { accounts, limits }
    }
}

#[OpenApi(tag = "Tag::Gateways")]
impl<U: Users, C: Codes> GatewayApi<U, C> {
    /// Check credentials for a gateway
    ///
    /// Returns 204 for an active account only: its owner has proved the address. A pending registration is refused, because
    /// anybody can register any address. The response headers name the user; the gateway passes them on, and removes headers
    /// of these names from the client's request.
    #[oai(path = "/v1/auth", method = "get", operation_id = "checkCredentials")]
    async fn check_credentials(&self, client: Client, credentials: BasicCredentials) -> poem::Result<AuthResponse> {
        let (StoredUser { user, .. }, _) =
            auth::authenticate(&self.accounts, &self.limits, &client, credentials).await?;
        match user.status {
            Status::Active => Ok(user.into()),
            _ => Err(Problem::not_active_for_gateway().into()),
        }
    }
}
