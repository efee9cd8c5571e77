use serde_json::json;

use super::*;
use crate::plan::Secret;

const HOST_NAME: &str = "https://projectman-ext.cn-north-4.myhuaweicloud.com";

fn keys() -> SigningPlan {
    SigningPlan {
        access_key: Secret::new("AKEXAMPLE0000000001"),
        secret_key: Secret::new("SKexampleSecretKey00000000000000000001"),
        security_token: None,
        project_id: None,
    }
}

fn at(text: &str) -> DateTime<Utc> {
    NaiveDateTime::parse_from_str(text, DATE).unwrap().and_utc()
}

fn wire(url: &str, body: Option<&str>) -> Wire {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    Wire {
        method: if body.is_some() { Method::Post } else { Method::Get },
        url: url.parse().unwrap(),
        headers,
        body: body.map(str::to_owned),
        redirects: Redirects::Followed,
    }
}

/// Signs at the time of the vectors 1 to 3; the expected values are those of the vendor's own SDK.
#[track_caller]
fn check(keys: &SigningPlan, wire: &mut Wire, hash: &str, signature: &str) -> String {
    let canonical = sign(keys, wire, at("20240725T120000Z")).unwrap();

    assert_eq!(sha256_hex(canonical.as_bytes()), hash, "{canonical}");
    let sent = wire.headers[AUTHORIZATION].to_str().unwrap();
    assert!(sent.ends_with(&format!(", Signature={signature}")), "{sent}");
    assert!(wire.headers[AUTHORIZATION].is_sensitive());
    assert_eq!(wire.redirects, Redirects::Taken, "a signature holds for one URL only");
    canonical
}

#[test]
fn vector_0_the_published_example() {
    let keys = SigningPlan {
        access_key: Secret::new("QTWAOYTTINDUT2QVKYUC"),
        secret_key: Secret::new("MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc"),
        ..keys()
    };
    let url = "https://service.region.example.com/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs?limit=2&marker=13551d6b-755d-4757-b956-536f674975c0";
    let mut wire = wire(url, None);

    let canonical = sign(&keys, &mut wire, at("20191115T033655Z")).unwrap();

    assert_eq!(
        sha256_hex(canonical.as_bytes()),
        "b25362e603ee30f4f25e7858e8a7160fd36e803bb2dfe206278659d71a9bcd7a"
    );
    assert_eq!(
        wire.headers[AUTHORIZATION],
        "SDK-HMAC-SHA256 Access=QTWAOYTTINDUT2QVKYUC, SignedHeaders=content-type;host;x-sdk-date, \
         Signature=7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe"
    );
}

#[test]
fn vector_1_the_query_is_sorted_and_sent_as_it_was_signed() {
    let mut wire = wire(
        &format!(
            "{HOST_NAME}/v2/issues/get-record?project_id=41ba1d1d7ad04c5aa1a30ed0bd9ddbc6&issue_id=6505032&limit=10&offset=0&type=Scrum"
        ),
        None,
    );

    let canonical = check(
        &keys(),
        &mut wire,
        "f47e25cc6e5ac33f288c325488ed0a0d4fb8f080bc5c1f2b7ba708a27ee201b7",
        "13b1ed277092268f94c0e83159cfe316f56b7ce868faa0464a913d24bcec60e0",
    );

    let query =
        "issue_id=6505032&limit=10&offset=0&project_id=41ba1d1d7ad04c5aa1a30ed0bd9ddbc6&type=Scrum";
    assert_eq!(wire.url.query(), Some(query));
    assert_eq!(wire.url.path(), "/v2/issues/get-record");
    assert_eq!(
        canonical,
        format!(
            "GET\n/v2/issues/get-record/\n{query}\ncontent-type:application/json\n\
             host:projectman-ext.cn-north-4.myhuaweicloud.com\nx-sdk-date:20240725T120000Z\n\n\
             content-type;host;x-sdk-date\n\
             e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        )
    );
}

#[test]
fn vector_2_the_body_and_the_project_are_signed() {
    let body = r#"{"begin_time":"2024-07-01","end_time":"2024-07-31","limit":100,"offset":0}"#;
    let mut wire = wire(&format!("{HOST_NAME}/v4/projects/work-hours"), Some(body));
    let project_id = Some("0123456789abcdef0123456789abcdef".to_owned());

    let canonical = check(
        &SigningPlan { project_id, ..keys() },
        &mut wire,
        "a603d7267ffcd86f75dd27c4b41978001d115aefb68428ef08ffad1e5da46b1f",
        "d229d325848a01359343c163f824715b14453ace7786ebd4e77f3d6fb96961dd",
    );

    assert!(canonical.ends_with(
        "content-type;host;x-project-id;x-sdk-date\n\
         7e00eb788ce7bf1783cf883242b7cd3ffb0a7faab060c6b31b0174e576962ba0"
    ));
}

#[test]
fn vector_3_values_are_encoded_by_one_rule_however_they_were_written() {
    let path = format!("{HOST_NAME}/v4/projects/41ba1d1d7ad04c5aa1a30ed0bd9ddbc6/issues");
    for query in [
        "limit=100&offset=0&updated_time_interval=1721865600000,1721952000000&subject=a%20b%2Bc/д",
        "updated_time_interval=1721865600000%2c1721952000000&subject=a+b%2bc%2F%d0%b4&offset=0&limit=100",
    ] {
        let mut wire = wire(&format!("{path}?{query}"), None);

        check(
            &keys(),
            &mut wire,
            "491c0735d6a736c27740830dd6a9919122a5821d34015e980857ed1b34daea3b",
            "a0b36a15689595647db949aa8ebd3f369b2f6a91880f68121a0343b6a89d18ac",
        );

        assert_eq!(
            wire.url.query(),
            Some(
                "limit=100&offset=0&subject=a%20b%2Bc%2F%D0%B4&updated_time_interval=1721865600000%2C1721952000000"
            )
        );
    }
}

#[test]
fn a_security_token_and_the_pipelines_own_headers_are_signed_and_a_port_is_part_of_the_host() {
    let security_token = Some(Secret::new("temporary"));
    let mut wire = wire("http://127.0.0.1:8080/a%2fb", None);
    wire.headers.insert("x-language", HeaderValue::from_static(" en-us "));
    wire.headers.insert("x_dropped", HeaderValue::from_static("1"));

    let keys = SigningPlan { security_token, ..keys() };
    let canonical = sign(&keys, &mut wire, at("20240725T120000Z")).unwrap();

    let lines: Vec<&str> = canonical.lines().collect();
    assert_eq!(
        lines[..9],
        [
            "GET",
            "/a%2Fb/",
            "",
            "content-type:application/json",
            "host:127.0.0.1:8080",
            "x-language:en-us",
            "x-sdk-date:20240725T120000Z",
            "x-security-token:temporary",
            "",
        ]
    );
    assert_eq!(wire.url.query(), None);
}

fn refusal(message: &str, date: Option<&str>) -> Answer {
    let body = json!({ "error_code": "APIGW.0303", "error_msg": message, "request_id": "1" });
    let headers = date.map(|it| ("date".to_owned(), it.to_owned()));
    Answer {
        status: 401,
        headers: headers.into_iter().collect(),
        body: body.to_string().into(),
        explained: None,
        turn: 0,
    }
}

const EXPIRED: &str =
    "signature expired, signature time:20240725T100000Z,server time:20240725T120000Z";

#[track_caller]
fn check_clock(message: &str, date: Option<&str>, expected: Option<&str>) {
    let signer = Signer::new(keys());
    let now = at("20240725T100000Z");
    let answer = refusal(message, date);
    let mut wire = wire("https://host/a", None);

    let is_outdated = signer.is_outdated(0, &answer, now);
    let (_, version) = signer.sign(&mut wire, now).unwrap();

    assert_eq!(is_outdated, expected.is_some());
    assert_eq!(wire.headers["x-sdk-date"], expected.unwrap_or("20240725T100000Z"));
    assert!(!signer.is_outdated(version, &answer, now), "only once for one time");
    assert_eq!(signer.is_outdated(0, &answer, now), is_outdated, "but for every request under way");
}

#[test]
fn a_signature_that_is_refused_for_its_time_takes_the_servers_clock() {
    check_clock(EXPIRED, Some("Thu, 01 Jan 2099 00:00:00 GMT"), Some("20240725T120000Z"));
    check_clock(
        "signature expired",
        Some("Thu, 25 Jul 2024 12:00:00 GMT"),
        Some("20240725T120000Z"),
    );
    check_clock(EXPIRED, Some("Thu, 25 Jul 2024 12:00:00 GMT"), Some("20240725T120000Z"));
    check_clock(EXPIRED, None, Some("20240725T120000Z"));
}

#[test]
fn a_signature_that_is_refused_otherwise_is_not_sent_again() {
    check_clock("verify signature failed", Some("Thu, 25 Jul 2024 12:00:00 GMT"), None);
    check_clock("signature expired", Some("Thu, 25 Jul 2024 10:00:30 GMT"), None);
    check_clock("signature expired,server time:20240725T100030Z", None, None);
}

/// Tells a signer what the server's time is; gives whether it signs anew, and with which time.
fn follow(signer: &Signer, version: u64, server: &str) -> (bool, String) {
    let answer = refusal(&format!("signature expired,server time:{server}"), None);
    let now = at("20240725T100000Z");
    let mut wire = wire("https://host/a", None);
    let is_outdated = signer.is_outdated(version, &answer, now);
    signer.sign(&mut wire, now).unwrap();
    (is_outdated, wire.headers["x-sdk-date"].to_str().unwrap().to_owned())
}

#[test]
fn a_wrong_time_of_the_server_is_followed_by_the_right_one_and_not_without_end() {
    let signer = Signer::new(keys());
    let right = "20240725T120000Z";
    let wrong = "20990101T000000Z";

    for (version, server) in [wrong, right, wrong, right, wrong].into_iter().enumerate() {
        let followed = follow(&signer, version as u64, server);
        assert_eq!(followed, (true, server.to_owned()), "{version}");
    }

    assert_eq!(follow(&signer, 5, right), (false, wrong.to_owned()));
}

#[test]
fn a_refused_time_says_by_how_much_the_clocks_differ() {
    let explained =
        explain("GET", &refusal(EXPIRED, None), &Redactor::default(), at("20240725T100000Z"));

    assert_eq!(
        explained.unwrap(),
        format!("APIGW.0303 {EXPIRED}: the clocks of this machine and the server differ by 7200 s")
    );
}

#[test]
fn a_refused_signature_shows_both_canonical_requests() {
    let redactor = Redactor::new([Secret::new("temporary")]);
    let now = at("20240725T100000Z");
    let theirs = "GET|/a/||host:x|x-security-token:temporary||host|00";
    let answer = refusal(&format!("verify signature failed, canonicalRequest:{theirs}"), None);
    let ours = "GET\n/a/\n\nhost:y\nx-security-token:temporary\n\nhost\n00";

    assert_eq!(
        explain(ours, &answer, &redactor, now).unwrap(),
        "APIGW.0303 verify signature failed
    the server's canonical request: GET|/a/||host:x|x-security-token:***||host|00
    the one that was signed here:   GET|/a/||host:y|x-security-token:***||host|00"
    );
    assert_eq!(
        explain(&theirs.replace('|', "\n"), &answer, &redactor, now).unwrap(),
        "APIGW.0303 verify signature failed, though both sides sign the same canonical request: \
         the secret key does not go with the access key"
    );
    assert_eq!(explain("GET", &refusal("no", None), &redactor, now), None);
}
