//! Access tokens after RFC 6749: client credentials (4.4) and refresh tokens (6).

use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde_json::Value;
use tracing::warn;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::{LogInError, header, login, token::Granted};
use crate::{
    extract::send::{Answer, Redirects, Wire},
    plan::{ClientAuth, Grant, Method, Oauth2Plan, Secret},
};

/// The request for a token; `refresh` is the refresh token that the last answer gave.
pub(super) fn wire(plan: &Oauth2Plan, refresh: Option<&Secret>) -> Result<Wire, LogInError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let mut form = Serializer::new(String::new());
    match &plan.grant {
        Grant::ClientCredentials => {
            form.append_pair("grant_type", "client_credentials");
        }
        Grant::RefreshToken(token) => {
            form.append_pair("grant_type", "refresh_token");
            form.append_pair("refresh_token", refresh.unwrap_or(token).expose());
        }
    }
    if let Some(scope) = &plan.scope {
        form.append_pair("scope", scope);
    }
    match (plan.client_auth, &plan.client_secret) {
        (ClientAuth::Basic, Some(secret)) => {
            // Both are form-encoded before they are joined (2.3.1): they may have a colon.
            let encode = |it: &str| Secret::new(byte_serialize(it.as_bytes()).collect::<String>());
            header::basic(&mut headers, &encode(&plan.client_id), &encode(secret.expose()))?;
        }
        (ClientAuth::Body, Some(secret)) => {
            form.append_pair("client_id", &plan.client_id);
            form.append_pair("client_secret", secret.expose());
        }
        (ClientAuth::Basic | ClientAuth::Body, None) => {
            form.append_pair("client_id", &plan.client_id);
        }
    }
    for (name, value) in &plan.params {
        form.append_pair(name, value.expose());
    }
    Ok(Wire {
        method: Method::Post,
        url: plan.token_url.clone(),
        headers,
        body: Some(form.finish()),
        redirects: Redirects::Taken,
    })
}

/// The token in an answer (5.1), or what is wrong, without the answer's own words.
pub(super) fn read(answer: &Answer) -> Result<Granted, String> {
    let body: Value = serde_json::from_slice(&answer.body).map_err(|_| "it is not JSON")?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|it| !it.is_empty());
    let token = text("access_token").ok_or("it has no text at `access_token`")?;
    if text("token_type").is_some_and(|it| !it.eq_ignore_ascii_case("bearer")) {
        return Err("the token is none that is sent as `Bearer`".to_owned());
    }
    let refresh = text("refresh_token").map(Secret::new);
    if refresh.is_some() {
        warn!(
            "the server has given a refresh token, which is used until this run ends; if the one \
             that is set has ended with it, the next run needs another"
        );
    }
    let lifetime = body.get("expires_in").and_then(login::seconds);
    Ok(Granted { token: Secret::new(token), lifetime, refresh })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn plan() -> Oauth2Plan {
        Oauth2Plan {
            token_url: "https://auth.example.org/token".parse().unwrap(),
            client_id: "etl:1".to_owned(),
            client_secret: Some(Secret::new("p+q r")),
            client_auth: ClientAuth::Basic,
            grant: Grant::ClientCredentials,
            scope: Some("read:issues read:logs".to_owned()),
            params: vec![("audience".to_owned(), Secret::new("https://api"))],
        }
    }

    #[track_caller]
    fn check(plan: &Oauth2Plan, refresh: Option<&str>, authorization: Option<&str>, body: &str) {
        let wire = wire(plan, refresh.map(Secret::new).as_ref()).unwrap();

        let sent = wire.headers.get("authorization").map(|it| it.to_str().unwrap());
        assert_eq!(sent, authorization);
        assert_eq!(wire.body.unwrap(), body);
    }

    #[test]
    fn a_client_says_who_it_is_in_a_header_or_in_the_body() {
        let rest = "grant_type=client_credentials&scope=read%3Aissues+read%3Alogs";
        // base64 of "etl%3A1:p%2Bq+r"
        let basic = Some("Basic ZXRsJTNBMTpwJTJCcSty");
        check(&plan(), None, basic, &format!("{rest}&audience=https%3A%2F%2Fapi"));

        let in_body = Oauth2Plan { client_auth: ClientAuth::Body, ..plan() };
        let client = "client_id=etl%3A1&client_secret=p%2Bq+r";
        check(&in_body, None, None, &format!("{rest}&{client}&audience=https%3A%2F%2Fapi"));
    }

    #[test]
    fn a_public_client_refreshes_with_the_newest_token() {
        let grant = Grant::RefreshToken(Secret::new("r1"));
        let public =
            Oauth2Plan { client_secret: None, grant, scope: None, params: Vec::new(), ..plan() };

        let with =
            |token| format!("grant_type=refresh_token&refresh_token={token}&client_id=etl%3A1");
        check(&public, None, None, &with("r1"));
        check(&public, Some("r2"), None, &with("r2"));
    }

    fn answer(body: &Value) -> Answer {
        let body = body.to_string().into();
        Answer { status: 200, headers: Vec::new(), body, explained: None, turn: 0 }
    }

    #[test]
    fn a_token_comes_with_its_lifetime_and_perhaps_a_refresh_token() {
        let body = json!({ "access_token": "a", "token_type": "bearer", "expires_in": 3600, "refresh_token": "r" });
        let expected = Granted {
            token: Secret::new("a"),
            lifetime: Some(Duration::from_hours(1)),
            refresh: Some(Secret::new("r")),
        };
        assert_eq!(read(&answer(&body)), Ok(expected));
    }

    #[test]
    fn a_token_of_another_type_is_not_used() {
        let body = json!({ "access_token": "a", "token_type": "mac" });
        let reason = "the token is none that is sent as `Bearer`";
        assert_eq!(read(&answer(&body)), Err(reason.to_owned()));
    }
}
