//! How a request logs in; one file a scheme.
//!
//! ```text
//! Request --Wire::new--> final method, URL, headers, body
//!         --Auth-------> header | key in the query | token, fetched once for all | signature     (THIS MODULE)
//!         --Sender-----> the wire
//! ```
//!
//! This is the last step before sending: a signature covers the bytes that go out.

mod api_key;
mod error;
mod header;
mod login;
mod oauth2;
mod sdk_hmac_sha256;
mod token;
mod yandex_iam;

use std::{sync::Arc, time::SystemTime};

use chrono::{DateTime, Utc};
use http::HeaderMap;
use tracing::info;

pub use error::{InvalidCredential, LogInError};

use self::{
    sdk_hmac_sha256::Signer,
    token::{Granted, TokenSource, to_its_end},
};
use super::{
    quota,
    redact::detail,
    request::Request,
    send::{Answer, SendError, Sender, Wire},
};
use crate::plan::{
    ApiKeyPlan, AuthPlan, KeyPlace, LoginPlan, Oauth2Plan, Redactor, Secret, TokenHeader,
    YandexIamPlan,
};

/// Logs the requests of one source in.
#[derive(Debug)]
pub(super) struct Auth {
    scheme: Scheme,
    redactor: Redactor,
}

#[derive(Debug)]
enum Scheme {
    /// The same headers for every request; each is marked as sensitive, so that no log shows it.
    Fixed(HeaderMap),
    ApiKey(ApiKeyPlan),
    Token(Arc<TokenScheme>),
    Signed(Signer),
}

impl Scheme {
    fn token(way: TokenWay, send: TokenHeader) -> Self {
        Self::Token(Arc::new(TokenScheme { way, send, source: TokenSource::default() }))
    }
}

/// A token that is obtained during the run.
#[derive(Debug)]
struct TokenScheme {
    way: TokenWay,
    send: TokenHeader,
    source: TokenSource,
}

/// How a token is obtained.
#[derive(Debug)]
enum TokenWay {
    Login(LoginPlan),
    YandexIam(YandexIamPlan),
    Oauth2(Oauth2Plan),
}

/// What a request was logged in with, for judging its answer.
#[derive(Debug)]
pub(super) struct Used {
    /// Which token, or which clock.
    version: u64,
    /// The canonical request that was signed.
    canonical: Option<String>,
}

impl Auth {
    /// Prepares a way to log in; nothing is sent yet.
    pub(super) fn new(plan: &AuthPlan, redactor: &Redactor) -> Result<Self, SendError> {
        let mut headers = HeaderMap::new();
        let scheme = match plan {
            AuthPlan::None => Ok(Scheme::Fixed(headers)),
            AuthPlan::Bearer { token } => {
                header::bearer(&mut headers, token).map(|()| Scheme::Fixed(headers))
            }
            AuthPlan::Basic { user, password } => {
                header::basic(&mut headers, user, password).map(|()| Scheme::Fixed(headers))
            }
            AuthPlan::Header { name, value } => {
                header::raw(&mut headers, name, value.expose()).map(|()| Scheme::Fixed(headers))
            }
            AuthPlan::ApiKey(plan) => Ok(Scheme::ApiKey(plan.clone())),
            AuthPlan::Login(plan) => {
                Ok(Scheme::token(TokenWay::Login((**plan).clone()), plan.send.clone()))
            }
            AuthPlan::YandexIam(plan) => {
                Ok(Scheme::token(TokenWay::YandexIam(plan.clone()), TokenHeader::bearer()))
            }
            AuthPlan::Oauth2(plan) => {
                Ok(Scheme::token(TokenWay::Oauth2((**plan).clone()), TokenHeader::bearer()))
            }
            AuthPlan::SdkHmacSha256(plan) => Ok(Scheme::Signed(Signer::new(plan.clone()))),
        };
        let scheme = scheme.map_err(SendError::Credential)?;
        Ok(Self { scheme, redactor: redactor.clone() })
    }

    /// The final bytes of a request.
    pub(super) async fn wire(
        &self,
        request: &Request,
        sender: &Sender,
    ) -> Result<(Wire, Used), SendError> {
        let mut wire = Wire::new(request)?;
        let mut used = Used { version: 0, canonical: None };
        match &self.scheme {
            Scheme::Fixed(headers) => wire.headers.extend(headers.clone()),
            Scheme::ApiKey(plan) => {
                api_key::add(&mut wire, plan).map_err(SendError::Credential)?;
            }
            Scheme::Token(scheme) => {
                let (token, version) = match scheme.source.ready() {
                    Some(ready) => ready,
                    None => self.log_in(scheme, sender).await.map_err(SendError::LogIn)?,
                };
                let value = format!("{}{}", scheme.send.prefix, token.expose());
                header::raw(&mut wire.headers, &scheme.send.name, &value)
                    .map_err(SendError::Credential)?;
                used.version = version;
            }
            Scheme::Signed(signer) => {
                let (canonical, version) =
                    signer.sign(&mut wire, now()).map_err(SendError::Credential)?;
                used = Used { version, canonical: Some(canonical) };
            }
        }
        Ok((wire, used))
    }

    /// Whether the same request may be answered when it is logged in anew: its token has ended, or
    /// its signature had another time than the server. Of tokens only one more is tried.
    pub(super) async fn is_outdated(&self, used: &Used, answer: &Answer, is_second: bool) -> bool {
        match &self.scheme {
            Scheme::Token(scheme) if answer.status == 401 && !is_second => {
                scheme.source.forget(used.version).await;
                true
            }
            Scheme::Fixed(_) | Scheme::ApiKey(_) | Scheme::Token(_) => false,
            Scheme::Signed(signer) => signer.is_outdated(used.version, answer, now()),
        }
    }

    /// What helps a person with a refusal.
    pub(super) fn explain(&self, used: &Used, answer: &Answer) -> Option<String> {
        sdk_hmac_sha256::explain(used.canonical.as_deref()?, answer, &self.redactor, now())
    }

    /// Why a redirect within the origin was not followed, where the way to log in is why.
    pub(super) fn why_not_redirected(&self) -> Option<&'static str> {
        match &self.scheme {
            Scheme::Signed(_) => Some("which the signature does not cover"),
            Scheme::ApiKey(ApiKeyPlan { place: KeyPlace::Query, .. }) => {
                Some("where the key would be missing from the query")
            }
            Scheme::Fixed(_) | Scheme::ApiKey(_) | Scheme::Token(_) => None,
        }
    }

    /// Waits for a token. A log-in that has begun goes on to its end, even if nobody waits for it
    /// any more: its answer may be the only one that tells what the next log-in needs.
    async fn log_in(
        &self,
        scheme: &Arc<TokenScheme>,
        sender: &Sender,
    ) -> Result<(Secret, u64), LogInError> {
        let (scheme, sender) = (Arc::clone(scheme), sender.clone());
        let redactor = self.redactor.clone();
        let log_in = async move {
            let obtain = async |refresh| scheme.way.obtain(refresh, &sender, &redactor).await;
            scheme.source.get(obtain).await
        };
        to_its_end(log_in).await
    }
}

impl TokenWay {
    /// Asks for a token. `refresh` is what the last answer gave for asking again.
    async fn obtain(
        &self,
        refresh: Option<Secret>,
        sender: &Sender,
        redactor: &Redactor,
    ) -> Result<Granted, LogInError> {
        let wire = match self {
            Self::Login(plan) => login::wire(plan)?,
            Self::YandexIam(plan) => yandex_iam::wire(plan, now())?,
            Self::Oauth2(plan) => oauth2::wire(plan, refresh.as_ref())?,
        };
        let url = wire.shown();
        let unanswered = |err: SendError| LogInError::Unanswered {
            url: url.clone(),
            may_pass: err.may_pass(),
            reason: redactor.redact(&innermost(&err)).into_owned(),
        };
        let answer = sender.send(wire).await.map_err(unanswered)?;
        let status = answer.status;
        if !(200..300).contains(&status) {
            let detail = detail(&answer.body, redactor);
            let wait = quota::asked_wait(None, status, &answer.headers, now().into());
            return Err(LogInError::Status { url, status, detail, wait });
        }
        let granted = match self {
            Self::Login(plan) => login::read(plan, &answer, now()),
            Self::YandexIam(_) => yandex_iam::read(&answer, now()),
            Self::Oauth2(_) => oauth2::read(&answer),
        };
        let granted = granted.map_err(|reason| LogInError::NoToken { url: url.clone(), reason })?;
        redactor.learn(&granted.token);
        granted.refresh.iter().for_each(|it| redactor.learn(it));
        info!(url, lifetime_secs = granted.lifetime.map(|it| it.as_secs()), "logged in");
        Ok(granted)
    }
}

/// The clock of this moment. Signatures and the ends of tokens are about now, not about the time
/// that a run is about.
#[expect(clippy::disallowed_methods, reason = "servers compare it with their own clocks")]
fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// When an answer was written: by the server's clock where it says so, so that a wrong one here
/// does no harm.
fn answered_at(answer: &Answer, now: DateTime<Utc>) -> DateTime<Utc> {
    server_date(answer).unwrap_or(now)
}

/// The `Date` header (RFC 9110, 6.6.1).
fn server_date(answer: &Answer) -> Option<DateTime<Utc>> {
    httpdate::parse_http_date(answer.header("date")?).ok().map(DateTime::from)
}

/// The last cause of an error; the ones before it repeat the URL.
fn innermost(err: &SendError) -> String {
    let mut innermost: &dyn std::error::Error = err;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
