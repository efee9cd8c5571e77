//! IAM tokens of Yandex Cloud, in exchange for the OAuth token of an account or for a JWT that is
//! signed with the authorized key of a service account.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{RSA_PSS_SHA256, RsaKeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};

use super::{
    LogInError, answered_at,
    login::{instant, text_at},
    token::Granted,
};
use crate::{
    extract::send::{Answer, Redirects, Wire},
    plan::{Method, Secret, ServiceAccountKey, YandexExchange, YandexIamPlan},
};

/// Whom the JWT is for, wherever it is sent.
const AUDIENCE: &str = "https://iam.api.cloud.yandex.net/iam/v1/tokens";

/// Seconds that a JWT is good for; Yandex Cloud takes none that is good for more than an hour.
const JWT_LIFETIME: i64 = 3600;

/// Seconds that a JWT is dated back: one from the future is refused, and this machine's clock may be
/// ahead.
const DATED_BACK: i64 = 60;

/// The request for a token.
pub(super) fn wire(plan: &YandexIamPlan, now: DateTime<Utc>) -> Result<Wire, LogInError> {
    let body = match &plan.exchange {
        YandexExchange::OauthToken(token) => json!({ "yandexPassportOauthToken": token.expose() }),
        YandexExchange::ServiceAccount(key) => json!({ "jwt": jwt(key, now)? }),
    };
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Wire {
        method: Method::Post,
        url: plan.url.clone(),
        headers,
        body: Some(body.to_string()),
        redirects: Redirects::Taken,
    })
}

/// The token in an answer, or what is wrong, without the answer's own words.
pub(super) fn read(answer: &Answer, now: DateTime<Utc>) -> Result<Granted, String> {
    let path = |it: &str| it.parse().map_err(|_| it.to_owned());
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let token = text_at(body.as_ref(), &path("iamToken")?)?;
    let end = body.as_ref().and_then(|it| instant(it.get("expiresAt")?));
    let lifetime = end.map(|it| (it - answered_at(answer, now)).to_std().unwrap_or_default());
    Ok(Granted { token: Secret::new(token), lifetime, refresh: None })
}

/// A JWT with the algorithm PS256 (RFC 7518, 3.5) that says which service account this is.
fn jwt(key: &ServiceAccountKey, now: DateTime<Utc>) -> Result<String, LogInError> {
    let encode = |it: &Value| URL_SAFE_NO_PAD.encode(it.to_string());
    let header = json!({ "typ": "JWT", "alg": "PS256", "kid": key.id });
    let issued = now.timestamp() - DATED_BACK;
    let claims = json!({
        "iss": key.service_account_id,
        "aud": AUDIENCE,
        "iat": issued,
        "exp": issued + JWT_LIFETIME,
    });
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let signature = sign(key, signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn sign(key: &ServiceAccountKey, bytes: &[u8]) -> Result<Vec<u8>, LogInError> {
    let unusable = || LogInError::Unusable {
        reason: "the private key of the service account is no RSA key in PEM".to_owned(),
    };
    // The line of text that stands before the PEM in keys of Yandex Cloud is skipped.
    let pem = PrivateKeyDer::from_pem_slice(key.private_key.expose().as_bytes());
    let pair = match pem.map_err(|_| unusable())? {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err(unusable()),
    };
    let pair = pair.map_err(|_| unusable())?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), bytes, &mut signature)
        .map_err(|_| unusable())?;
    Ok(signature)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_lc_rs::{
        encoding::{AsDer, Pkcs8V1Der},
        rsa::{KeyPair, KeySize},
        signature::{KeyPair as _, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey},
    };
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn now() -> DateTime<Utc> {
        "2024-07-25T12:00:00Z".parse().unwrap()
    }

    /// A key as `yc iam key create` writes it, and its public half.
    fn key() -> (ServiceAccountKey, Vec<u8>) {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
        let pem = format!(
            "PLEASE DO NOT REMOVE THIS LINE! Yandex.Cloud SA Key ID <ajekey>\n\
             -----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        let key = ServiceAccountKey {
            id: "ajekey".to_owned(),
            service_account_id: "ajeaccount".to_owned(),
            private_key: Secret::new(pem),
        };
        (key, pair.public_key().as_ref().to_vec())
    }

    #[test]
    fn a_jwt_says_who_asks_whom_for_an_hour_from_a_minute_ago_and_is_signed() {
        let (key, public) = key();

        let jwt = jwt(&key, now()).unwrap();

        let parts: Vec<&str> = jwt.split('.').collect();
        let decode = |it: &str| URL_SAFE_NO_PAD.decode(it).unwrap();
        let json = |it: &str| -> Value { serde_json::from_slice(&decode(it)).unwrap() };
        assert_eq!(json(parts[0]), json!({ "typ": "JWT", "alg": "PS256", "kid": "ajekey" }));
        assert_eq!(
            json(parts[1]),
            json!({
                "iss": "ajeaccount",
                "aud": "https://iam.api.cloud.yandex.net/iam/v1/tokens",
                // 2024-07-25 at 11:59 and 12:59
                "iat": 1_721_908_740,
                "exp": 1_721_912_340,
            })
        );
        let signed = format!("{}.{}", parts[0], parts[1]);
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, public)
            .verify(signed.as_bytes(), &decode(parts[2]))
            .unwrap();
    }

    #[test]
    fn a_key_that_is_none_is_not_shown() {
        let (mut key, _) = key();
        key.private_key =
            Secret::new("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----");

        let err = jwt(&key, now()).unwrap_err();

        assert_eq!(
            err.to_string(),
            "the credentials cannot be used: the private key of the service account is no RSA key in PEM"
        );
    }

    #[test]
    fn a_token_comes_with_the_instant_at_which_it_ends() {
        let body =
            json!({ "iamToken": "t1.9euelZ", "expiresAt": "2024-07-25T23:59:59.535215444Z" });
        let body = body.to_string().into();
        let answer = Answer { status: 200, headers: Vec::new(), body, explained: None, turn: 0 };

        let granted = read(&answer, now()).unwrap();

        assert_eq!(granted.token, Secret::new("t1.9euelZ"));
        assert_eq!(granted.lifetime, Some(Duration::new(43_199, 535_215_444)));
    }
}
