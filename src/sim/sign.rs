//! Verifies request signatures of the scheme SDK-HMAC-SHA256.
//!
//! ```text
//!   request ─canonical_request─▶ text ─signature(secret, date)─▶ hex, compared with `Authorization`
//! ```
//!
//! The canonical form is worked out anew from the bytes that arrived, never taken from the caller, so a
//! client that signs one query string and sends another is refused as the real gateway refuses it.

use std::fmt::Write as _;

use axum::http::HeaderMap;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

const ALGORITHM: &str = "SDK-HMAC-SHA256";
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The parts of a request that a signature covers.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

/// Why a signature does not hold.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// The header is not in the scheme's form, or the access key is unknown.
    Malformed(&'static str),
    /// The date is too far from the server's clock.
    Expired { signed_at: String, server: String },
    /// The signature differs; the canonical request as this side sees it.
    Mismatch { canonical: String },
}

/// Whether `Authorization` uses this scheme.
pub(super) fn is_signed(headers: &HeaderMap) -> bool {
    text(headers, "authorization").is_some_and(|it| it.starts_with(ALGORITHM))
}

/// Recomputes the signature and compares; without a clock the age of the request is not looked at.
pub(super) fn verify(
    request: &Signed<'_>,
    access_key: &str,
    secret_key: &str,
    clock: Option<DateTime<Utc>>,
) -> Result<(), Refusal> {
    let header = text(request.headers, "authorization").unwrap_or_default();
    let rest = header.strip_prefix(ALGORITHM).ok_or(Refusal::Malformed("algorithm"))?;
    let part =
        |name: &str| rest.split(',').find_map(|it| it.trim().strip_prefix(name)?.strip_prefix('='));
    if part("Access") != Some(access_key) {
        return Err(Refusal::Malformed("access key"));
    }
    let signed = part("SignedHeaders").ok_or(Refusal::Malformed("signed headers"))?;
    let given = part("Signature").ok_or(Refusal::Malformed("signature"))?;
    let date = text(request.headers, "x-sdk-date").ok_or(Refusal::Malformed("x-sdk-date"))?;
    if !signed.split(';').any(|it| it == "x-sdk-date") {
        return Err(Refusal::Malformed("x-sdk-date is not signed"));
    }
    let signed_at = NaiveDateTime::parse_from_str(date, "%Y%m%dT%H%M%SZ")
        .map_err(|_| Refusal::Malformed("x-sdk-date"))?
        .and_utc();
    if let Some(now) = clock.filter(|now| (*now - signed_at).abs() > TimeDelta::minutes(15)) {
        let server = now.format("%Y%m%dT%H%M%SZ").to_string();
        return Err(Refusal::Expired { signed_at: date.to_owned(), server });
    }
    let canonical = canonical_request(request, signed);
    if signature(secret_key, date, &canonical) == given {
        return Ok(());
    }
    Err(Refusal::Mismatch { canonical })
}

/// Writes the request in the one form that both sides can agree on.
pub(super) fn canonical_request(request: &Signed<'_>, signed: &str) -> String {
    let mut names: Vec<_> = signed.split(';').collect();
    names.sort_unstable();
    let mut headers = String::new();
    for name in &names {
        let value = text(request.headers, name).unwrap_or_default().trim();
        let _ = writeln!(headers, "{}:{value}", name.to_ascii_lowercase());
    }
    let payload = match text(request.headers, "x-sdk-content-sha256") {
        Some(hash) => hash.to_owned(),
        None => sha256_hex(request.body),
    };
    let (uri, query) = (canonical_uri(request.path), canonical_query(request.query));
    format!("{}\n{uri}\n{query}\n{headers}\n{}\n{payload}", request.method, names.join(";"))
}

/// Signs a canonical request, in one step and with no derived key.
pub(super) fn signature(secret_key: &str, date: &str, canonical: &str) -> String {
    let to_sign = format!("{ALGORITHM}\n{date}\n{}", sha256_hex(canonical.as_bytes()));
    // HMAC takes keys of every length, so the empty text is never returned.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret_key.as_bytes()) else {
        return String::new();
    };
    mac.update(to_sign.as_bytes());
    hex(&mac.finalize().into_bytes())
}

/// The SHA-256 of the bytes in lower-case hexadecimal.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn canonical_uri(path: &str) -> String {
    let mut uri: String = path.split('/').map(encode).collect::<Vec<_>>().join("/");
    if !uri.ends_with('/') {
        uri.push('/');
    }
    uri
}

fn canonical_query(query: &str) -> String {
    let pairs = query.split('&').filter(|it| !it.is_empty());
    let mut pairs: Vec<_> = pairs
        .map(|it| it.split_once('=').unwrap_or((it, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect();
    pairs.sort_unstable();
    let pairs = pairs.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Encodes anew what may have been encoded in another way.
fn encode(text: &str) -> String {
    utf8_percent_encode(&decode(text), UNRESERVED).to_string()
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS: &str = "AKEXAMPLE0000000001";
    const SECRET: &str = "SKexampleSecretKey00000000000000000001";
    const HOST: &str = "projectman-ext.cn-north-4.myhuaweicloud.com";

    #[track_caller]
    fn check(request: &Signed<'_>, signed: &str, secret: &str, canonical: &str, expected: &str) {
        let text = canonical_request(request, signed);
        let date = request.headers["x-sdk-date"].to_str().unwrap();

        assert_eq!(sha256_hex(text.as_bytes()), canonical, "{text}");
        assert_eq!(signature(secret, date, &text), expected);
    }

    fn headers(host: &str, date: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("host", host.parse().unwrap());
        headers.insert("content-type", "application/json".parse().unwrap());
        headers.insert("x-sdk-date", date.parse().unwrap());
        headers
    }

    #[test]
    fn published_example_is_reproduced() {
        let headers = headers("service.region.example.com", "20191115T033655Z");
        let request = Signed {
            method: "GET",
            path: "/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs",
            query: "limit=2&marker=13551d6b-755d-4757-b956-536f674975c0",
            headers: &headers,
            body: b"",
        };

        check(
            &request,
            "content-type;host;x-sdk-date",
            "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc",
            "b25362e603ee30f4f25e7858e8a7160fd36e803bb2dfe206278659d71a9bcd7a",
            "7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe",
        );
    }

    #[test]
    fn query_is_sorted_before_it_is_signed() {
        let headers = headers(HOST, "20240725T120000Z");
        let request = Signed {
            method: "GET",
            path: "/v2/issues/get-record",
            query: "type=Scrum&project_id=41ba1d1d7ad04c5aa1a30ed0bd9ddbc6&issue_id=6505032&limit=10&offset=0",
            headers: &headers,
            body: b"",
        };

        check(
            &request,
            "content-type;host;x-sdk-date",
            SECRET,
            "f47e25cc6e5ac33f288c325488ed0a0d4fb8f080bc5c1f2b7ba708a27ee201b7",
            "13b1ed277092268f94c0e83159cfe316f56b7ce868faa0464a913d24bcec60e0",
        );
    }

    #[test]
    fn body_and_project_header_are_covered() {
        let mut headers = headers(HOST, "20240725T120000Z");
        headers.insert("x-project-id", "0123456789abcdef0123456789abcdef".parse().unwrap());
        let request = Signed {
            method: "POST",
            path: "/v4/projects/work-hours",
            query: "",
            headers: &headers,
            body: br#"{"begin_time":"2024-07-01","end_time":"2024-07-31","limit":100,"offset":0}"#,
        };

        check(
            &request,
            "content-type;host;x-project-id;x-sdk-date",
            SECRET,
            "a603d7267ffcd86f75dd27c4b41978001d115aefb68428ef08ffad1e5da46b1f",
            "d229d325848a01359343c163f824715b14453ace7786ebd4e77f3d6fb96961dd",
        );
    }

    #[test]
    fn encoding_of_the_sender_does_not_matter() {
        for query in [
            "limit=100&offset=0&subject=a%20b%2Bc%2F%D0%B4&updated_time_interval=1721865600000%2C1721952000000",
            "offset=0&limit=100&subject=a%20b%2bc/%d0%b4&updated_time_interval=1721865600000,1721952000000",
        ] {
            let headers = headers(HOST, "20240725T120000Z");
            let request = Signed {
                method: "GET",
                path: "/v4/projects/41ba1d1d7ad04c5aa1a30ed0bd9ddbc6/issues",
                query,
                headers: &headers,
                body: b"",
            };

            check(
                &request,
                "content-type;host;x-sdk-date",
                SECRET,
                "491c0735d6a736c27740830dd6a9919122a5821d34015e980857ed1b34daea3b",
                "a0b36a15689595647db949aa8ebd3f369b2f6a91880f68121a0343b6a89d18ac",
            );
        }
    }

    #[test]
    fn mismatch_echoes_the_canonical_request_and_age_is_checked_only_with_a_clock() {
        let mut headers = headers(HOST, "20240725T120000Z");
        let authorization = format!(
            "{ALGORITHM} Access={ACCESS}, SignedHeaders=content-type;host;x-sdk-date, Signature=00"
        );
        headers.insert("authorization", authorization.parse().unwrap());
        let request = Signed { method: "GET", path: "/a", query: "", headers: &headers, body: b"" };
        let late = "2024-07-25T12:16:00Z".parse().unwrap();

        let mismatch = verify(&request, ACCESS, SECRET, None).unwrap_err();
        let expired = verify(&request, ACCESS, SECRET, Some(late)).unwrap_err();

        assert!(
            matches!(mismatch, Refusal::Mismatch { canonical } if canonical.starts_with("GET\n/a/\n\n"))
        );
        assert!(matches!(expired, Refusal::Expired { server, .. } if server == "20240725T121600Z"));
    }
}
