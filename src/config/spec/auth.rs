//! How to log in, and whose certificates are trusted, as it is typed.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::MethodSpec;
use crate::config::shape::Scalar;

/// How to log in.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum AuthSpec {
    /// Not at all.
    None,
    /// `Authorization: Bearer <token>`.
    Bearer {
        /// The token.
        token: Scalar,
    },
    /// `Authorization: Basic <user:password>`.
    Basic {
        /// The user; may be empty.
        user: Scalar,
        /// The password; may be empty.
        password: Scalar,
    },
    /// A header of one's own, such as `X-Auth-Token`.
    Header {
        /// The header's name.
        name: String,
        /// The header's whole value.
        value: Scalar,
    },
    /// A key in a header or in the query; it is hidden wherever a URL is shown.
    ApiKey(ApiKeySpec),
    /// A request of its own gives a token for the others. The token is shared by all requests,
    /// fetched again before it ends, and once more where a request is refused with 401.
    Login(Box<LoginSpec>),
    /// An IAM token of Yandex Cloud, fetched again before it ends.
    YandexIam(YandexIamSpec),
    /// An access token of an OAuth 2.0 server (RFC 6749), fetched again before it ends.
    Oauth2(Box<Oauth2Spec>),
    /// Every request is signed with an access key (AK/SK), as Huawei Cloud's API gateway takes it.
    SdkHmacSha256(SdkHmacSha256Spec),
    /// Several ways, of which exactly one has its variables set.
    OneOf(Vec<AuthSpec>),
}

/// A key that stands in every request under a name.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct ApiKeySpec {
    /// Where it stands.
    pub(in crate::config) place: KeyPlaceSpec,
    /// The name of the header or of the query parameter.
    pub(in crate::config) name: String,
    /// The key.
    pub(in crate::config) value: Scalar,
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum KeyPlaceSpec {
    /// In the query of the URL.
    Query,
    /// In a header.
    Header,
}

/// A request that gives a token for the others.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct LoginSpec {
    /// A whole URL, or a path below `base_url`.
    pub(in crate::config) url: Scalar,
    /// Default: `post`.
    pub(in crate::config) method: Option<MethodSpec>,
    /// Headers of this request.
    #[serde(default)]
    pub(in crate::config) headers: IndexMap<String, Scalar>,
    /// The JSON body; a member whose template renders to nothing is left out.
    pub(in crate::config) body: Option<serde_json::Value>,
    /// Where the answer has the token.
    pub(in crate::config) token: TokenPlaceSpec,
    /// When the token ends. Default: when a request is refused with 401.
    pub(in crate::config) expires: Option<ExpirySpec>,
    /// The header that takes the token. Default: `Authorization: Bearer <token>`.
    pub(in crate::config) send: Option<TokenHeaderSpec>,
}

/// Where the answer to a log-in has the token.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum TokenPlaceSpec {
    /// In this header.
    Header(String),
    /// At this dotted path of the JSON body.
    Body(String),
}

/// When a token ends.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum ExpirySpec {
    /// At the instant at this dotted path of the body: RFC 3339, or a number of seconds or
    /// milliseconds since 1970.
    At(String),
    /// After the number of seconds at this dotted path of the body.
    In(String),
    /// After a time that is known, such as `12h`.
    After(String),
}

/// The header that takes a token.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TokenHeaderSpec {
    /// Its name.
    pub(in crate::config) name: String,
    /// What stands before the token, such as `"Bearer "`. Default: nothing.
    #[serde(default)]
    pub(in crate::config) prefix: String,
}

/// An IAM token of Yandex Cloud.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct YandexIamSpec {
    /// Where tokens are given. Default: `https://iam.api.cloud.yandex.net/iam/v1/tokens`.
    pub(in crate::config) url: Option<Scalar>,
    /// What is given for them.
    pub(in crate::config) exchange: YandexExchangeSpec,
}

/// What an IAM token of Yandex Cloud is given for.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum YandexExchangeSpec {
    /// The OAuth token of an account.
    OauthToken(Scalar),
    /// The authorized key of a service account: the JSON that `yc iam key create` writes.
    ServiceAccountKey(Scalar),
}

/// An access token of an OAuth 2.0 server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Oauth2Spec {
    /// The token endpoint: a whole URL, or a path below `base_url`.
    pub(in crate::config) token_url: Scalar,
    /// The client.
    pub(in crate::config) client_id: Scalar,
    /// The client's secret. Default: none, for a public client.
    pub(in crate::config) client_secret: Option<Scalar>,
    /// How the client says who it is. Default: `basic`.
    #[serde(default)]
    pub(in crate::config) client_auth: ClientAuthSpec,
    /// What the token is asked with. Default: `client_credentials`.
    #[serde(default)]
    pub(in crate::config) grant: GrantSpec,
    /// What the token is for. Default: what the server gives.
    pub(in crate::config) scope: Option<Scalar>,
    /// Further parameters, such as `audience`.
    #[serde(default)]
    pub(in crate::config) params: IndexMap<String, Scalar>,
}

/// How a client says who it is.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum ClientAuthSpec {
    /// `Authorization: Basic`.
    #[default]
    Basic,
    /// `client_id` and `client_secret` in the body.
    Body,
}

/// What an access token is asked with.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum GrantSpec {
    /// The client's own credentials.
    #[default]
    ClientCredentials,
    /// A refresh token. One that the server gives in its place is used until the run ends; it is
    /// not kept.
    RefreshToken(Scalar),
}

/// The keys that sign requests.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct SdkHmacSha256Spec {
    /// The access key (AK).
    pub(in crate::config) access_key: Scalar,
    /// The secret key (SK).
    pub(in crate::config) secret_key: Scalar,
    /// Goes with temporary keys.
    pub(in crate::config) security_token: Option<Scalar>,
    /// The IAM project (a region), which is sent as `X-Project-Id`.
    pub(in crate::config) project_id: Option<Scalar>,
}

/// Whose certificates are trusted.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct TlsSpec {
    /// A PEM file with certificates of authorities, which are trusted beside those of the system.
    pub(in crate::config) ca_file: Option<Scalar>,
}
