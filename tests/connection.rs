//! How a server is reached: whose certificate is trusted, and through which proxy.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::Arc,
};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use serde_json::json;
use support::{
    cli::Workspace,
    server::{Response, Server},
};

fn pipeline(url: &str, tls: &str) -> String {
    format!(
        "version: 1
pipeline: own
source:
  base_url: {url}
  tls: {tls}
  retry: {{ max_attempts: 1 }}
streams:
  items:
    request: {{ path: /items }}
    records: items
    columns:
      id: {{ from: id, type: int64 }}
      day: {{ from: day, type: date }}
    write: {{ merge: {{ key: [id] }} }}
    partition_by: {{ column: day }}
"
    )
}

/// A value in DER (X.690): a tag, its length, its content.
fn der(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let head = match length {
        [0, short] if short < 128 => vec![tag, short],
        [0, short] => vec![tag, 0x81, short],
        [high, low] => vec![tag, 0x82, high, low],
    };
    [head, content].concat()
}

/// A certificate (RFC 5280) for 127.0.0.1 that its own key has signed, and that key.
fn certificate() -> (Vec<u8>, Vec<u8>) {
    const SEQUENCE: u8 = 0x30;
    const ECDSA_WITH_SHA256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    const COMMON_NAME: &[u8] = &[0x06, 3, 0x55, 4, 3];
    const SUBJECT_ALT_NAME: &[u8] = &[0x06, 3, 0x55, 0x1d, 0x11];

    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let algorithm = der(SEQUENCE, &[ECDSA_WITH_SHA256]);
    let common_name = der(SEQUENCE, &[COMMON_NAME, &der(0x0c, &[b"tracklake test"])]);
    let name = der(SEQUENCE, &[&der(0x31, &[&common_name])]);
    let instant = |text: &str| der(0x18, &[text.as_bytes()]);
    let validity = der(SEQUENCE, &[&instant("20200101000000Z"), &instant("21200101000000Z")]);
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(key.public_key()).unwrap();
    let address = der(SEQUENCE, &[&der(0x87, &[&[127, 0, 0, 1]])]);
    let alternative = der(SEQUENCE, &[SUBJECT_ALT_NAME, &der(0x04, &[&address])]);
    let to_sign = der(
        SEQUENCE,
        &[
            &der(0xa0, &[&der(0x02, &[&[2]])]),
            &der(0x02, &[&[1]]),
            &algorithm,
            &name,
            &validity,
            &name,
            public.as_ref(),
            &der(0xa3, &[&der(SEQUENCE, &[&alternative])]),
        ],
    );
    let signature = key.sign(&SystemRandom::new(), &to_sign).unwrap();
    let signature = der(0x03, &[&[0], signature.as_ref()]);
    let private = key.to_pkcs8v1().unwrap();
    (der(SEQUENCE, &[&to_sign, &algorithm, &signature]), private.as_ref().to_vec())
}

/// Answers every request with one record; gives the URL. The thread ends with the test.
fn serve(certificate: &[u8], key: Vec<u8>) -> String {
    let key = PrivateKeyDer::Pkcs8(key.into());
    let chain = vec![CertificateDer::from(certificate.to_vec())];
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(session, connection.unwrap()));
            // A client that does not trust the certificate goes away.
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|it| it > 2) {
                line.clear();
            }
            let body = r#"{"items":[{"id":1,"day":"2024-07-25"}]}"#;
            let length = body.len();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            let stream = stream.get_mut();
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    url
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn an_authority_of_ones_own_is_trusted_where_the_pipeline_names_it() {
    let (certificate, key) = certificate();
    let workspace = Workspace::new();
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode(&certificate)
    );
    fs::write(workspace.path().join("ca.pem"), pem).unwrap();
    let url = serve(&certificate, key);
    let strange = workspace.run(&pipeline(&url, "{}"), &[], &[]);
    let trusted = workspace.run(&pipeline(&url, "{ ca_file: ca.pem }"), &[], &[]);

    assert_eq!(strange.code, Some(4), "{}", strange.stderr);
    assert!(strange.stderr.contains("UnknownIssuer"), "{}", strange.stderr);
    assert_eq!(trusted.code, Some(0), "{}", trusted.stderr);
    assert_eq!(workspace.rows("items").len(), 1);
}

fn one_item() -> Response {
    Response::json(&json!({ "items": [{ "id": 1, "day": "2024-07-25" }] }))
}

#[test]
fn a_proxy_of_the_environment_is_asked_instead_of_the_host() {
    let proxy = Server::start(|_| one_item());
    let workspace = Workspace::new();
    // Names below `test` are never resolved (RFC 6761).
    let yaml =
        pipeline("http://tracker.test", "{}").replace("  tls:", "  allow_http: true\n  tls:");

    let direct = workspace.run(&yaml, &[], &[]);
    let ended = workspace.run(&yaml, &[], &[("HTTP_PROXY", &proxy.url())]);

    assert_eq!(direct.code, Some(4), "{}", direct.stderr);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(proxy.lines(), ["GET http://tracker.test/items"]);
}

#[test]
fn credentials_that_stay_on_this_machine_are_not_given_to_a_proxy() {
    let proxy = Server::start(|_| one_item());
    let server = Server::start(|request| match request.path.as_str() {
        "/login" => Response::json(&json!({ "token": "given" })),
        _ => one_item(),
    });
    let auth = "auth: { login: { url: /login, body: { password: own }, token: { body: token } } }";
    let yaml = pipeline(&server.url(), "{}").replace("  tls:", &format!("  {auth}\n  tls:"));
    let environment = [("HTTP_PROXY", &*proxy.url()), ("ALL_PROXY", &*proxy.url())];

    let ended = Workspace::new().run(&yaml, &[], &environment);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(server.lines(), [r#"POST /login {"password":"own"}"#, "GET /items"]);
    assert_eq!(proxy.lines(), [""; 0]);

    let allowed = yaml.replace("  tls:", "  allow_http: true\n  tls:");
    let ended = Workspace::new().run(&allowed, &[], &environment);

    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert_eq!(proxy.lines().len(), 1, "what the pipeline allows goes through the proxy");
}
