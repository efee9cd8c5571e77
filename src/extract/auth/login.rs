//! A request of its own that gives a token, as IAM of Huawei Cloud needs it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use serde_json::Value;

use super::{LogInError, answered_at, header, token::Granted};
use crate::{
    extract::send::{Answer, Redirects, Wire},
    plan::{Expiry, JsonPath, LoginPlan, Secret, TokenPlace},
};

/// Numbers above it are milliseconds since 1970: as seconds they would lie beyond the year 5000.
const MOST_SECONDS: i64 = 100_000_000_000;

/// The request for a token.
pub(super) fn wire(plan: &LoginPlan) -> Result<Wire, LogInError> {
    let mut headers = HeaderMap::new();
    if plan.body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in &plan.headers {
        header::raw(&mut headers, name, value.expose())?;
    }
    Ok(Wire {
        method: plan.method,
        url: plan.url.clone(),
        headers,
        body: plan.body.as_ref().map(|it| it.expose().to_owned()),
        // A password must not go where nobody has sent it.
        redirects: Redirects::Taken,
    })
}

/// The token in an answer, or what is wrong, without the answer's own words.
pub(super) fn read(
    plan: &LoginPlan,
    answer: &Answer,
    now: DateTime<Utc>,
) -> Result<Granted, String> {
    let body: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let token = match &plan.token {
        TokenPlace::Header(name) => {
            let value = answer.header(name).filter(|it| !it.is_empty());
            value.map(str::to_owned).ok_or_else(|| format!("it has no header `{name}`"))?
        }
        TokenPlace::Body(path) => text_at(body.as_ref(), path)?,
    };
    let lifetime = plan.expires.as_ref().and_then(|expiry| match expiry {
        Expiry::After(span) => Some(*span),
        Expiry::In(path) => seconds(path.find(body.as_ref()?)?),
        Expiry::At(path) => {
            let end = instant(path.find(body.as_ref()?)?)?;
            Some((end - answered_at(answer, now)).to_std().unwrap_or_default())
        }
    });
    Ok(Granted { token: Secret::new(token), lifetime, refresh: None })
}

/// The text at a path of a JSON body.
pub(super) fn text_at(body: Option<&Value>, path: &JsonPath) -> Result<String, String> {
    let body = body.ok_or("it is not JSON")?;
    let text = path.find(body).and_then(Value::as_str).filter(|it| !it.is_empty());
    text.map(str::to_owned).ok_or_else(|| format!("it has no text at `{path}`"))
}

/// A number of seconds, as a number or as text.
pub(super) fn seconds(value: &Value) -> Option<Duration> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    Duration::try_from_secs_f64(number.max(0.0)).ok()
}

/// An instant: RFC 3339 with any number of digits, or seconds or milliseconds since 1970.
pub(super) fn instant(value: &Value) -> Option<DateTime<Utc>> {
    let number = value.as_i64().or_else(|| value.as_str()?.trim().parse().ok());
    match number {
        Some(number) if number > MOST_SECONDS => DateTime::from_timestamp_millis(number),
        Some(number) => DateTime::from_timestamp(number, 0),
        None => DateTime::parse_from_rfc3339(value.as_str()?.trim())
            .ok()
            .map(|it| it.with_timezone(&Utc)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::{Method, TokenHeader};

    fn plan(token: TokenPlace, expires: Option<Expiry>) -> LoginPlan {
        LoginPlan {
            method: Method::Post,
            url: "https://iam.example.org/v3/auth/tokens".parse().unwrap(),
            headers: Vec::new(),
            body: None,
            token,
            expires,
            send: TokenHeader::bearer(),
        }
    }

    fn answer(headers: &[(&str, &str)], body: &Value) -> Answer {
        let headers = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Answer {
            status: 201,
            headers: headers.collect(),
            body: body.to_string().into(),
            explained: None,
            turn: 0,
        }
    }

    #[track_caller]
    fn check(expiry: Expiry, headers: &[(&str, &str)], body: &Value, expected: Option<u64>) {
        let plan = plan(TokenPlace::Body("token".parse().unwrap()), Some(expiry));
        let now = "2024-07-25T12:00:00Z".parse().unwrap();
        let granted = read(&plan, &answer(headers, body), now).unwrap();
        assert_eq!(granted.lifetime, expected.map(Duration::from_secs), "{body}");
    }

    #[test]
    fn a_token_ends_at_an_instant_after_seconds_or_after_a_known_time() {
        let at = || Expiry::At("end".parse().unwrap());
        let within = || Expiry::In("end".parse().unwrap());
        let body = |end: Value| json!({ "token": "t", "end": end });

        check(at(), &[], &body(json!("2024-07-25T13:00:00.000000Z")), Some(3600));
        check(at(), &[], &body(json!("2024-07-25T15:00:01.000000000+03:00")), Some(1));
        check(at(), &[], &body(json!(1_721_908_860)), Some(60));
        check(at(), &[], &body(json!("1721908860000")), Some(60));
        check(at(), &[], &body(json!("2024-07-25T11:00:00Z")), Some(0));
        check(at(), &[], &body(json!("tomorrow")), None);
        check(within(), &[], &body(json!(3599)), Some(3599));
        check(within(), &[], &body(json!("3599")), Some(3599));
        check(within(), &[], &json!({ "token": "t" }), None);
        check(Expiry::After(Duration::from_hours(12)), &[], &body(json!(null)), Some(43200));
    }

    #[test]
    fn an_instant_is_compared_with_the_clock_that_wrote_it() {
        let end = Expiry::At("end".parse().unwrap());
        let body = json!({ "token": "t", "end": "2026-01-01T01:00:00Z" });

        check(end, &[("date", "Thu, 01 Jan 2026 00:00:00 GMT")], &body, Some(3600));
    }

    #[test]
    fn an_answer_without_a_token_says_where_it_was_looked_for() {
        let now = "2024-07-25T12:00:00Z".parse().unwrap();
        let header = plan(TokenPlace::Header("x-subject-token".to_owned()), None);
        let body = plan(TokenPlace::Body("data.token".parse().unwrap()), None);
        let empty = answer(&[("x-subject-token", "")], &json!({ "data": { "token": 7 } }));

        assert_eq!(read(&header, &empty, now).unwrap_err(), "it has no header `x-subject-token`");
        assert_eq!(read(&body, &empty, now).unwrap_err(), "it has no text at `data.token`");
    }
}
