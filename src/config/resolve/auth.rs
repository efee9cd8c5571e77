//! How to log in.

use serde_json::Value;
use url::Url;

use super::{Resolver, value::parse_span};
use crate::{
    config::{
        shape::Scalar,
        spec::{
            ApiKeySpec, AuthSpec, ClientAuthSpec, ExpirySpec, GrantSpec, KeyPlaceSpec, LoginSpec,
            MethodSpec, Oauth2Spec, SdkHmacSha256Spec, TokenHeaderSpec, TokenPlaceSpec,
            YandexExchangeSpec, YandexIamSpec,
        },
        template::{self, Scope, Secrecy},
    },
    plan::{
        ApiKeyPlan, AuthPlan, BodyPlan, ClientAuth, Expiry, Grant, KeyPlace, LoginPlan, Method,
        Oauth2Plan, Secret, ServiceAccountKey, SigningPlan, Template, TokenHeader, TokenPlace,
        YandexExchange, YandexIamPlan,
    },
};

/// Where Yandex Cloud gives IAM tokens.
const YANDEX_IAM: &str = "https://iam.api.cloud.yandex.net/iam/v1/tokens";

/// What the URL of a log-in is checked against.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogIn<'a> {
    pub(super) base_url: Option<&'a Url>,
    pub(super) allow_http: bool,
}

impl Resolver<'_> {
    pub(super) fn auth(&mut self, path: &str, spec: &AuthSpec, at: LogIn<'_>) -> Option<AuthPlan> {
        match spec {
            AuthSpec::None => Some(AuthPlan::None),
            AuthSpec::Bearer { token } => Some(AuthPlan::Bearer {
                token: self.secret_of_header(&format!("{path}.bearer.token"), token)?,
            }),
            AuthSpec::Basic { user, password } => {
                let user = self.secret(&format!("{path}.basic.user"), user);
                let password = self.secret(&format!("{path}.basic.password"), password);
                Some(AuthPlan::Basic { user: user?, password: password? })
            }
            AuthSpec::Header { name, value } => {
                let path = format!("{path}.header");
                let valid = self.header_name(&format!("{path}.name"), name);
                let value = self.secret_of_header(&format!("{path}.value"), value)?;
                valid.then(|| AuthPlan::Header { name: name.clone(), value })
            }
            AuthSpec::ApiKey(spec) => self.api_key(&format!("{path}.api_key"), spec),
            AuthSpec::Login(spec) => self.login(&format!("{path}.login"), spec, at),
            AuthSpec::YandexIam(spec) => self.yandex_iam(&format!("{path}.yandex_iam"), spec, at),
            AuthSpec::Oauth2(spec) => self.oauth2(&format!("{path}.oauth2"), spec, at),
            AuthSpec::SdkHmacSha256(spec) => self.signing(&format!("{path}.sdk_hmac_sha256"), spec),
            AuthSpec::OneOf(ways) => self.auth_one_of(path, ways, at),
        }
    }

    fn secret(&mut self, path: &str, scalar: &Scalar) -> Option<Secret> {
        self.text(path, scalar, Secrecy::Allowed).map(Secret::new)
    }

    /// A credential that stands in a header as it is.
    fn secret_of_header(&mut self, path: &str, scalar: &Scalar) -> Option<Secret> {
        let secret = self.secret(path, scalar)?;
        self.header_value(path, scalar, secret.expose()).then_some(secret)
    }

    /// What may be left out, also by a variable that is not set.
    fn optional_secret(&mut self, path: &str, scalar: Option<&Scalar>) -> Option<Secret> {
        self.secret(path, scalar?).filter(|it| !it.expose().is_empty())
    }

    /// Keeps what a variable puts into a log-in from being shown. What stands in a URL, such as the
    /// name of a region, is no credential.
    fn learn(&mut self, scalar: &Scalar, value: &Secret, shown: &[Option<&Url>]) {
        let text = value.expose();
        let is_shown = shown.iter().flatten().any(|it| it.as_str().contains(text));
        if !is_shown && !template::vars_named(scalar).is_empty() {
            // The scheme before a credential may be left out where the rest is repeated.
            let last = text.rsplit(' ').next().unwrap_or_default();
            self.of_log_in.extend([value.clone(), Secret::new(last)]);
        }
    }

    /// As [`Resolver::learn`], for a body that has been found to be sound.
    fn learn_body(&mut self, path: &str, body: &Value, shown: &[Option<&Url>]) {
        match body {
            Value::String(text) => {
                let scalar = Scalar::Text(text.clone());
                if let Some(value) = self.secret(path, &scalar) {
                    self.learn(&scalar, &value, shown);
                }
            }
            Value::Array(items) => items.iter().for_each(|it| self.learn_body(path, it, shown)),
            Value::Object(members) => {
                members.values().for_each(|it| self.learn_body(path, it, shown));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn optional_text(&mut self, path: &str, scalar: Option<&Scalar>) -> Option<String> {
        self.text(path, scalar?, Secrecy::Refused).filter(|it| !it.is_empty())
    }

    /// A whole URL, or a path below the source's base URL.
    fn log_in_url(&mut self, path: &str, scalar: &Scalar, at: LogIn<'_>) -> Option<Url> {
        let text = self.text(path, scalar, Secrecy::Refused)?;
        if !text.starts_with('/') {
            return self.url(path, &text, at.allow_http);
        }
        let base = at.base_url?.as_str().trim_end_matches('/');
        self.url(path, &format!("{base}{text}"), at.allow_http)
    }

    fn api_key(&mut self, path: &str, spec: &ApiKeySpec) -> Option<AuthPlan> {
        let ApiKeySpec { place, name, value } = spec;
        let place = match place {
            KeyPlaceSpec::Query => KeyPlace::Query,
            KeyPlaceSpec::Header => KeyPlace::Header,
        };
        let at_name = format!("{path}.name");
        let valid = match place {
            KeyPlace::Header => self.header_name(&at_name, name),
            KeyPlace::Query if name.is_empty() => {
                self.problem(at_name, "the name is empty", None);
                false
            }
            KeyPlace::Query => true,
        };
        let at_value = format!("{path}.value");
        let value = match place {
            KeyPlace::Header => self.secret_of_header(&at_value, value)?,
            KeyPlace::Query => self.secret(&at_value, value)?,
        };
        valid.then(|| AuthPlan::ApiKey(ApiKeyPlan { place, name: name.clone(), value }))
    }

    fn login(&mut self, path: &str, spec: &LoginSpec, at: LogIn<'_>) -> Option<AuthPlan> {
        let LoginSpec { url, method, headers, body, token, expires, send } = spec;
        let method = match method {
            Some(MethodSpec::Get) => Method::Get,
            Some(MethodSpec::Post) | None => Method::Post,
        };
        if method == Method::Get && body.is_some() {
            let message = "a GET request has no body: set `method: post`";
            self.problem(format!("{path}.body"), message, None);
        }
        let url = self.log_in_url(&format!("{path}.url"), url, at);
        let shown = [at.base_url, url.as_ref()];
        let mut of_request = Vec::new();
        for (name, value) in headers {
            let path = format!("{path}.headers.{name}");
            if self.header_name(&path, name)
                && let Some(secret) = self.secret_of_header(&path, value)
                && !secret.expose().is_empty()
            {
                self.learn(value, &secret, &shown);
                of_request.push((name.clone(), secret));
            }
        }
        let body = match body {
            Some(body) => {
                let path = format!("{path}.body");
                let problems = self.problems.len();
                let plan = self.body(&path, body, &Scope::default())?;
                if self.problems.len() == problems {
                    self.learn_body(&path, body, &shown);
                }
                Some(Secret::new(constant(&plan)?.to_string()))
            }
            None => None,
        };
        let token = match token {
            TokenPlaceSpec::Header(name) => self
                .header_name(&format!("{path}.token.header"), name)
                .then(|| TokenPlace::Header(name.to_ascii_lowercase())),
            TokenPlaceSpec::Body(at) => {
                self.json_path(&format!("{path}.token.body"), at).map(TokenPlace::Body)
            }
        };
        let expires = match expires {
            Some(expires) => Some(self.expiry(&format!("{path}.expires"), expires)?),
            None => None,
        };
        let send = match send {
            Some(TokenHeaderSpec { name, prefix }) => self
                .header_name(&format!("{path}.send.name"), name)
                .then(|| TokenHeader { name: name.clone(), prefix: prefix.clone() }),
            None => Some(TokenHeader::bearer()),
        };
        let (url, token, send) = (url?, token?, send?);
        let plan = LoginPlan { method, url, headers: of_request, body, token, expires, send };
        Some(AuthPlan::Login(Box::new(plan)))
    }

    fn expiry(&mut self, path: &str, spec: &ExpirySpec) -> Option<Expiry> {
        match spec {
            ExpirySpec::At(at) => self.json_path(&format!("{path}.at"), at).map(Expiry::At),
            ExpirySpec::In(at) => self.json_path(&format!("{path}.in"), at).map(Expiry::In),
            ExpirySpec::After(text) => {
                let span = parse_span(text).and_then(|it| it.to_std().ok());
                if span.is_none() {
                    let message = format!("`{text}` is not a length of time, such as `12h`");
                    self.problem(format!("{path}.after"), message, None);
                }
                span.map(Expiry::After)
            }
        }
    }

    fn yandex_iam(&mut self, path: &str, spec: &YandexIamSpec, at: LogIn<'_>) -> Option<AuthPlan> {
        let YandexIamSpec { url, exchange } = spec;
        let default = Scalar::Text(YANDEX_IAM.to_owned());
        let url = self.log_in_url(&format!("{path}.url"), url.as_ref().unwrap_or(&default), at);
        let path = format!("{path}.exchange");
        let exchange = match exchange {
            YandexExchangeSpec::OauthToken(token) => {
                YandexExchange::OauthToken(self.secret(&format!("{path}.oauth_token"), token)?)
            }
            YandexExchangeSpec::ServiceAccountKey(key) => {
                let path = format!("{path}.service_account_key");
                let text = self.secret(&path, key)?;
                YandexExchange::ServiceAccount(self.service_account_key(&path, &text)?)
            }
        };
        Some(AuthPlan::YandexIam(YandexIamPlan { url: url?, exchange }))
    }

    fn service_account_key(&mut self, path: &str, text: &Secret) -> Option<ServiceAccountKey> {
        if text.expose().is_empty() && self.tolerant() {
            return None;
        }
        let json: Option<Value> = serde_json::from_str(text.expose()).ok();
        let member = |name: &str| json.as_ref()?.get(name)?.as_str().map(str::to_owned);
        let names = ["id", "service_account_id", "private_key"];
        let [Some(id), Some(service_account_id), Some(private_key)] = names.map(member) else {
            // What it is instead is not said: it may be half of a key.
            let message = format!(
                "this is not the JSON that `yc iam key create` writes, with `{}`",
                names.join("`, `")
            );
            self.problem(path, message, None);
            return None;
        };
        let private_key = Secret::new(private_key);
        Some(ServiceAccountKey { id, service_account_id, private_key })
    }

    fn oauth2(&mut self, path: &str, spec: &Oauth2Spec, at: LogIn<'_>) -> Option<AuthPlan> {
        let Oauth2Spec { token_url, client_id, client_secret, client_auth, grant, scope, params } =
            spec;
        let token_url = self.log_in_url(&format!("{path}.token_url"), token_url, at);
        let client_id = self.text(&format!("{path}.client_id"), client_id, Secrecy::Allowed);
        let client_secret =
            self.optional_secret(&format!("{path}.client_secret"), client_secret.as_ref());
        let grant = match grant {
            GrantSpec::ClientCredentials => Some(Grant::ClientCredentials),
            GrantSpec::RefreshToken(token) => {
                self.secret(&format!("{path}.grant.refresh_token"), token).map(Grant::RefreshToken)
            }
        };
        let scope = self.optional_text(&format!("{path}.scope"), scope.as_ref());
        let shown = [at.base_url, token_url.as_ref()];
        let params = params.iter().filter_map(|(name, value)| {
            let secret = self.optional_secret(&format!("{path}.params.{name}"), Some(value))?;
            self.learn(value, &secret, &shown);
            Some((name.clone(), secret))
        });
        let params = params.collect();
        let client_auth = match client_auth {
            ClientAuthSpec::Basic => ClientAuth::Basic,
            ClientAuthSpec::Body => ClientAuth::Body,
        };
        Some(AuthPlan::Oauth2(Box::new(Oauth2Plan {
            token_url: token_url?,
            client_id: client_id?,
            client_secret,
            client_auth,
            grant: grant?,
            scope,
            params,
        })))
    }

    fn signing(&mut self, path: &str, spec: &SdkHmacSha256Spec) -> Option<AuthPlan> {
        let SdkHmacSha256Spec { access_key, secret_key, security_token, project_id } = spec;
        let access_key = self.secret_of_header(&format!("{path}.access_key"), access_key);
        let secret_key = self.secret(&format!("{path}.secret_key"), secret_key);
        let security_token = security_token
            .as_ref()
            .and_then(|it| self.secret_of_header(&format!("{path}.security_token"), it))
            .filter(|it| !it.expose().is_empty());
        let project_id = self.optional_text(&format!("{path}.project_id"), project_id.as_ref());
        Some(AuthPlan::SdkHmacSha256(SigningPlan {
            access_key: access_key?,
            secret_key: secret_key?,
            security_token,
            project_id,
        }))
    }

    /// Takes the one way whose variables are all set.
    fn auth_one_of(&mut self, path: &str, ways: &[AuthSpec], at: LogIn<'_>) -> Option<AuthPlan> {
        let path = format!("{path}.one_of");
        let vars_of: Vec<Vec<String>> = ways.iter().map(vars_named).collect();
        for (i, vars) in vars_of.iter().enumerate() {
            if vars.is_empty() {
                let message = "this way names no variable, so nothing could choose it";
                self.problem(format!("{path}.{i}"), message, None);
                return None;
            }
        }
        let describe = |this: &Self, vars: &[String]| {
            vars.iter().map(|it| this.vars.label(it)).collect::<Vec<_>>().join(" and ")
        };
        let any_set = |this: &Self, vars: &[String]| vars.iter().any(|it| this.vars.is_set(it));
        let chosen: Vec<usize> = (0..ways.len()).filter(|i| any_set(self, &vars_of[*i])).collect();
        match chosen.as_slice() {
            [only] => {
                let vars = &vars_of[*only];
                let unset: Vec<&String> = vars
                    .iter()
                    .filter(|it| !self.vars.is_set(it) && !self.vars.is_missing(it))
                    .collect();
                for name in &unset {
                    let message = format!(
                        "`{name}` has no value, but the rest of this way to log in has: {}",
                        self.vars.how_to_set(name)
                    );
                    self.problem(format!("{path}.{only}"), message, None);
                }
                if !unset.is_empty() {
                    return None;
                }
                self.auth(&format!("{path}.{only}"), &ways[*only], at)
            }
            [] if self.tolerant() => {
                // Only the file is checked: every way must be sound by itself.
                for (i, way) in ways.iter().enumerate() {
                    self.auth(&format!("{path}.{i}"), way, at);
                }
                Some(AuthPlan::None)
            }
            // Why a variable has no value has been said already.
            [] if vars_of.iter().flatten().any(|it| self.vars.is_missing(it)) => None,
            [] => {
                let listed: Vec<String> = vars_of.iter().map(|it| describe(self, it)).collect();
                let message = format!("no way to log in is set: set {}", listed.join(", or "));
                self.problem(path, message, None);
                None
            }
            several => {
                let listed: Vec<String> =
                    several.iter().map(|i| describe(self, &vars_of[*i])).collect();
                let message = format!(
                    "{} ways to log in are set ({}): unset all but one",
                    several.len(),
                    listed.join("; ")
                );
                self.problem(path, message, None);
                None
            }
        }
    }
}

/// The variables that choose a way to log in: those without which it does not work.
fn vars_named(spec: &AuthSpec) -> Vec<String> {
    let of = template::vars_named;
    let all = match spec {
        AuthSpec::None => Vec::new(),
        AuthSpec::Bearer { token } => of(token),
        AuthSpec::Basic { user, password } => [of(user), of(password)].concat(),
        AuthSpec::Header { name: _, value } => of(value),
        AuthSpec::ApiKey(key) => of(&key.value),
        AuthSpec::Login(login) => {
            let mut names = of(&login.url);
            names.extend(login.headers.values().flat_map(of));
            login.body.iter().for_each(|it| vars_in(it, &mut names));
            names
        }
        AuthSpec::YandexIam(iam) => match &iam.exchange {
            YandexExchangeSpec::OauthToken(it) | YandexExchangeSpec::ServiceAccountKey(it) => {
                of(it)
            }
        },
        AuthSpec::Oauth2(oauth2) => {
            let grant = match &oauth2.grant {
                GrantSpec::ClientCredentials => Vec::new(),
                GrantSpec::RefreshToken(token) => of(token),
            };
            let secret = oauth2.client_secret.as_ref().map(of).unwrap_or_default();
            [of(&oauth2.client_id), secret, grant].concat()
        }
        AuthSpec::SdkHmacSha256(keys) => [of(&keys.access_key), of(&keys.secret_key)].concat(),
        AuthSpec::OneOf(ways) => ways.iter().flat_map(vars_named).collect(),
    };
    let mut names = Vec::new();
    for name in all {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn vars_in(body: &Value, names: &mut Vec<String>) {
    match body {
        Value::String(text) => names.extend(template::vars_named(&Scalar::Text(text.clone()))),
        Value::Array(items) => items.iter().for_each(|it| vars_in(it, names)),
        Value::Object(members) => members.values().for_each(|it| vars_in(it, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The value of a body that depends on variables only.
fn constant(body: &BodyPlan) -> Option<Value> {
    match body {
        BodyPlan::Object(members) => {
            members.iter().map(|(key, it)| Some((key.clone(), constant(it)?))).collect()
        }
        BodyPlan::Array(items) => items.iter().map(constant).collect(),
        BodyPlan::Leaf(Template::Constant(value)) => Some(value.clone()),
        BodyPlan::Leaf(Template::Expression(..) | Template::Text(..)) => None,
    }
}
