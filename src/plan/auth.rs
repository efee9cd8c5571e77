//! How requests log in.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use url::{Url, form_urlencoded::byte_serialize};

use super::{JsonPath, Method, Secret};

/// How to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthPlan {
    /// Not at all.
    None,
    /// `Authorization: Bearer <token>`.
    Bearer {
        /// The token.
        token: Secret,
    },
    /// `Authorization: Basic <base64 of user:password>`.
    Basic {
        /// May be empty.
        user: Secret,
        /// May be empty.
        password: Secret,
    },
    /// A header with a value of one's own.
    Header {
        /// The header.
        name: String,
        /// Its whole value.
        value: Secret,
    },
    /// A key with a name.
    ApiKey(ApiKeyPlan),
    /// A request of its own gives a token for the others.
    Login(Box<LoginPlan>),
    /// An IAM token of Yandex Cloud.
    YandexIam(YandexIamPlan),
    /// An access token after RFC 6749.
    Oauth2(Box<Oauth2Plan>),
    /// A signature over each request, as Huawei Cloud's API gateway takes it.
    SdkHmacSha256(SigningPlan),
}

impl AuthPlan {
    /// Whether the credentials are those of a user of the API, in a place where it looks for them, and not
    /// the key of a gateway or of a plugin that answers whoever asks.
    pub fn names_user(&self) -> bool {
        match self {
            Self::Bearer { .. } | Self::Basic { .. } | Self::Login(_) | Self::Oauth2(_) => true,
            Self::Header { name, .. } => {
                ["authorization", "cookie"].iter().any(|it| name.eq_ignore_ascii_case(it))
            }
            Self::None | Self::ApiKey(_) | Self::YandexIam(_) | Self::SdkHmacSha256(_) => false,
        }
    }
}

/// A key that stands in every request under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyPlan {
    /// Where it stands.
    pub place: KeyPlace,
    /// The name of the header or of the query parameter.
    pub name: String,
    /// The key.
    pub value: Secret,
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyPlace {
    /// In the query, which is never shown.
    Query,
    /// In a header.
    Header,
}

/// A request that gives a token for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginPlan {
    /// The method.
    pub method: Method,
    /// The whole URL, perhaps at another host.
    pub url: Url,
    /// Headers of this request only.
    pub headers: Vec<(String, Secret)>,
    /// The JSON body, which has the password in it.
    pub body: Option<Secret>,
    /// Where the answer has the token.
    pub token: TokenPlace,
    /// What the answer says about the token's end; `None` to use it until it is refused.
    pub expires: Option<Expiry>,
    /// The header that takes the token.
    pub send: TokenHeader,
}

/// Where the answer to a log-in has the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenPlace {
    /// In a header, its name in lower case.
    Header(String),
    /// In the JSON body.
    Body(JsonPath),
}

/// How the end of a token is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expiry {
    /// The body has the instant: RFC 3339, or a number of seconds or milliseconds since 1970.
    At(JsonPath),
    /// The body has the number of seconds that it is good for.
    In(JsonPath),
    /// It is good for a time that is known beforehand.
    After(Duration),
}

/// The header that takes a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenHeader {
    /// Its name.
    pub name: String,
    /// What stands before the token, such as `Bearer `.
    pub prefix: String,
}

impl TokenHeader {
    /// `Authorization: Bearer <token>`.
    pub fn bearer() -> Self {
        Self { name: "authorization".to_owned(), prefix: "Bearer ".to_owned() }
    }
}

/// An IAM token of Yandex Cloud, in exchange for something that lives longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YandexIamPlan {
    /// Where tokens are given.
    pub url: Url,
    /// What is given for them.
    pub exchange: YandexExchange,
}

/// What an IAM token of Yandex Cloud is given for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum YandexExchange {
    /// The OAuth token of an account.
    OauthToken(Secret),
    /// A JWT that is signed with the authorized key of a service account.
    ServiceAccount(ServiceAccountKey),
}

/// The authorized key of a service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceAccountKey {
    /// The key's id.
    pub id: String,
    /// The service account's id.
    pub service_account_id: String,
    /// The private key: PEM, PKCS #8 or PKCS #1, perhaps with a line of text before it.
    pub private_key: Secret,
}

/// An access token after RFC 6749.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oauth2Plan {
    /// The token endpoint.
    pub token_url: Url,
    /// The client.
    pub client_id: String,
    /// Its secret; a public client has none.
    pub client_secret: Option<Secret>,
    /// How the client says who it is.
    pub client_auth: ClientAuth,
    /// What the token is asked with.
    pub grant: Grant,
    /// What the token is for, as the server names it.
    pub scope: Option<String>,
    /// Further parameters, such as `audience`.
    pub params: Vec<(String, Secret)>,
}

/// How a client says who it is (RFC 6749, 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// `Authorization: Basic`.
    Basic,
    /// `client_id` and `client_secret` in the body.
    Body,
}

/// What an access token is asked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grant {
    /// The client's own credentials (RFC 6749, 4.4).
    ClientCredentials,
    /// A refresh token (RFC 6749, 6).
    RefreshToken(Secret),
}

/// The keys for SDK-HMAC-SHA256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningPlan {
    /// Says whose signature it is.
    pub access_key: Secret,
    /// Signs, and is never sent.
    pub secret_key: Secret,
    /// Goes with keys that expire.
    pub security_token: Option<Secret>,
    /// The IAM project (a region), not that of the API.
    pub project_id: Option<String>,
}

impl AuthPlan {
    /// What must not be shown, in each form in which it goes over the wire. What variables put into
    /// the headers, body and parameters of a log-in is known to the [`Redactor`](super::Redactor) only.
    pub fn secrets(&self) -> Vec<Secret> {
        match self {
            Self::None | Self::Login(_) => Vec::new(),
            Self::Bearer { token } => vec![token.clone()],
            Self::Basic { user, password } => {
                vec![password.clone(), pair(user.expose(), password.expose())]
            }
            Self::Header { name: _, value } => {
                // The scheme before it may be left out where the rest is repeated.
                let last = value.expose().rsplit(' ').next().unwrap_or_default();
                vec![value.clone(), Secret::new(last)]
            }
            Self::ApiKey(key) => vec![key.value.clone()],
            Self::YandexIam(plan) => match &plan.exchange {
                YandexExchange::OauthToken(token) => vec![token.clone()],
                YandexExchange::ServiceAccount(key) => {
                    // An excerpt may show one line of it.
                    let lines = key.private_key.expose().lines().map(Secret::new);
                    lines.chain([key.private_key.clone()]).filter(is_long).collect()
                }
            },
            Self::Oauth2(plan) => {
                let secret = plan.client_secret.clone();
                let form = |it: &str| byte_serialize(it.as_bytes()).collect::<String>();
                let basic =
                    secret.as_ref().map(|it| pair(&form(&plan.client_id), &form(it.expose())));
                let grant = match &plan.grant {
                    Grant::ClientCredentials => None,
                    Grant::RefreshToken(token) => Some(token.clone()),
                };
                [secret, basic, grant].into_iter().flatten().collect()
            }
            Self::SdkHmacSha256(plan) => {
                let SigningPlan { access_key, secret_key, security_token, project_id: _ } = plan;
                let all = [Some(access_key), Some(secret_key), security_token.as_ref()];
                all.into_iter().flatten().cloned().collect()
            }
        }
    }
}

/// The base64 of `user:password`, as `Basic` sends it.
fn pair(user: &str, password: &str) -> Secret {
    Secret::new(STANDARD.encode(format!("{user}:{password}")))
}

/// Whether it is more than a mark such as `-----BEGIN PRIVATE KEY-----`, which is no secret.
fn is_long(line: &Secret) -> bool {
    line.expose().len() >= 40
}
