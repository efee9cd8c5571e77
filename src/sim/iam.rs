//! IAM of Yandex Cloud: tokens for an OAuth token or for the signed JWT of a service account.

use aws_lc_rs::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
use axum::http::Method;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{SecondsFormat, TimeDelta};
use serde_json::{Value, json};

use super::options::ServiceAccount;
use super::server::{Call, reply};

/// Whom a JWT has to be for.
const AUDIENCE: &str = "https://iam.api.cloud.yandex.net/iam/v1/tokens";

/// Seconds that a JWT may be good for.
const LONGEST_JWT: i64 = 3600;

/// Answers a request below `/iam`.
pub(super) fn answer(call: &mut Call, segments: &[&str]) -> Response {
    match segments {
        ["v1", "tokens"] if call.method == Method::POST => exchange(call),
        _ => refuse(404, 5, "Not Found"),
    }
}

fn exchange(call: &Call) -> Response {
    let options = &call.shared.options;
    let body = call.json().unwrap_or_default();
    let given = |name: &str| body.get(name).and_then(Value::as_str);
    let holds = match (given("yandexPassportOauthToken"), given("jwt")) {
        (Some(token), None) => token == options.tracker_passport_token,
        (None, Some(jwt)) => {
            let account = options.tracker_service_account.as_ref();
            account.is_some_and(|it| verify(call, it, jwt).is_some())
        }
        _ => return refuse(400, 3, "One of: yandexPassportOauthToken, jwt must be specified"),
    };
    if !holds {
        return refuse(401, 16, "OAuth token or JWT is invalid or expired");
    }
    let token = format!("t1.simulated-{:08}", call.shared.next_serial());
    let lifetime = options.tracker_iam_token_lifetime;
    call.shared.issue(&token, lifetime);
    let far_ahead = || call.world.now() + TimeDelta::days(36_500);
    let issued = call.shared.clock().unwrap_or_else(far_ahead);
    let expires = (issued + lifetime).to_rfc3339_opts(SecondsFormat::Nanos, true);
    reply(200, &json!({"iamToken": token, "expiresAt": expires}))
}

/// Checks who signed a JWT, for whom, and for how long.
fn verify(call: &Call, account: &ServiceAccount, jwt: &str) -> Option<()> {
    let (signed, signature) = jwt.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let json = |it: &str| -> Option<Value> {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(it).ok()?).ok()
    };
    let (header, claims) = (json(header)?, json(claims)?);
    let named = header["alg"] == "PS256"
        && header["kid"] == *account.key_id
        && claims["iss"] == *account.id
        && claims["aud"] == AUDIENCE;
    let (from, until) = (claims["iat"].as_i64()?, claims["exp"].as_i64()?);
    let now = call.shared.clock().map_or(from, |it| it.timestamp());
    let lasts = from <= now && now < until && until - from <= LONGEST_JWT;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, &account.public_key);
    (named && lasts).then_some(())?;
    key.verify(signed.as_bytes(), &signature).ok()
}

/// An error in the form of Yandex Cloud.
fn refuse(status: u16, code: u16, message: &str) -> Response {
    reply(status, &json!({"code": code, "message": message, "details": []}))
}
