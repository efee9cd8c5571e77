//! How a server is reached: whose certificate is trusted, and through which proxy.

#![expect(clippy::unwrap_used, reason = "a helper of tests reports by panicking")]

mod support;

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
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

/// A connection that a client has opened, as the server sees it.
type Session = BufReader<StreamOwned<ServerConnection, TcpStream>>;

/// Hands every connection to `answer`, one after the other; gives the URL. The thread ends with the test.
fn serve(
    certificate: &[u8],
    key: Vec<u8>,
    protocols: &[&str],
    answer: impl Fn(&mut Session) + Send + 'static,
) -> String {
    let key = PrivateKeyDer::Pkcs8(key.into());
    let chain = vec![CertificateDer::from(certificate.to_vec())];
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key);
    let mut config = config.unwrap();
    config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            answer(&mut BufReader::new(StreamOwned::new(session, connection.unwrap())));
        }
    });
    url
}

const BODY: &str = r#"{"items":[{"id":1,"day":"2024-07-25"}]}"#;

/// Answers a request over HTTP/1.1 with one record.
fn answer_one(session: &mut Session) {
    // A client that does not trust the certificate goes away.
    let mut line = String::new();
    while session.read_line(&mut line).is_ok_and(|it| it > 2) {
        line.clear();
    }
    let length = BODY.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    let stream = session.get_mut();
    let _ = stream.write_all(format!("{head}{BODY}").as_bytes());
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

/// A directory that has the certificate in `ca.pem`.
#[expect(clippy::disallowed_methods, reason = "a test's own file")]
fn workspace_that_trusts(certificate: &[u8]) -> Workspace {
    let workspace = Workspace::new();
    let pem = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode(certificate)
    );
    fs::write(workspace.path().join("ca.pem"), pem).unwrap();
    workspace
}

#[test]
fn an_authority_of_ones_own_is_trusted_where_the_pipeline_names_it() {
    let (certificate, key) = certificate();
    let workspace = workspace_that_trusts(&certificate);
    let url = serve(&certificate, key, &[], answer_one);
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

/// A frame of HTTP/2 (RFC 9113, section 4.1).
struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Frame {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const WINDOW_UPDATE: u8 = 8;

    fn read(session: &mut Session) -> Option<Self> {
        let mut head = [0; 9];
        session.read_exact(&mut head).ok()?;
        let [a, b, c, kind, _flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        session.read_exact(&mut payload).ok()?;
        Some(Self { kind, stream: u32::from_be_bytes(stream), payload })
    }

    /// The bytes of a frame that is sent.
    fn bytes(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// The value of a setting, where the frame has it (section 6.5.1).
    fn setting(&self, wanted: u16) -> Option<u32> {
        let pairs = self.payload.chunks_exact(6).filter(|_| self.kind == Self::SETTINGS);
        let mut pairs = pairs.map(|it| (&it[..2], &it[2..]));
        let (_, value) = pairs.find(|(name, _)| **name == wanted.to_be_bytes())?;
        value.try_into().ok().map(u32::from_be_bytes)
    }
}

/// Answers the first request over HTTP/2 with one record; gives the frames that came before.
fn answer_over_http2(session: &mut Session) -> Vec<Frame> {
    const INDEXED_STATUS_200: u8 = 0x88;
    let mut preface = [0; 24];
    session.read_exact(&mut preface).unwrap();
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let mut frames = Vec::new();
    while let Some(frame) = Frame::read(session) {
        if frame.kind == Frame::HEADERS {
            let answer = [
                Frame::bytes(Frame::SETTINGS, 0, 0, &[]),
                Frame::bytes(Frame::HEADERS, 4, frame.stream, &[INDEXED_STATUS_200]),
                Frame::bytes(Frame::DATA, 1, frame.stream, BODY.as_bytes()),
            ];
            session.get_mut().write_all(&answer.concat()).unwrap();
            session.get_mut().flush().unwrap();
        }
        frames.push(frame);
    }
    frames
}

#[test]
fn http2_is_spoken_where_the_server_offers_it_with_room_for_large_pages() {
    let (certificate, key) = certificate();
    let workspace = workspace_that_trusts(&certificate);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let url = serve(&certificate, key, &["h2", "http/1.1"], {
        let seen = Arc::clone(&seen);
        move |session| {
            let frames = answer_over_http2(session);
            *seen.lock().unwrap() = frames;
        }
    });

    let ended = workspace.run(&pipeline(&url, "{ ca_file: ca.pem }"), &[], &[]);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(workspace.rows("items").len(), 1);
    // SETTINGS_INITIAL_WINDOW_SIZE is 4; a connection starts with 65535 bytes and is told of more.
    let seen = seen.lock().unwrap();
    let of_stream = seen.iter().find_map(|it| it.setting(4));
    let of_connection = seen.iter().find(|it| it.kind == Frame::WINDOW_UPDATE && it.stream == 0);
    assert_eq!(of_stream, Some(4 << 20));
    assert_eq!(
        of_connection.map(|it| it.payload.clone()),
        Some(((16_u32 << 20) - 65535).to_be_bytes().to_vec())
    );
}

/// Answers with one record a page, and the total, on connections that stay open; gives the URL and
/// counts the connections and the requests. The threads end with the test.
fn serve_on_and_on(total: usize) -> (String, Arc<[AtomicUsize; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let counted = Arc::clone(&counts);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            counted[0].fetch_add(1, SeqCst);
            let counted = Arc::clone(&counted);
            std::thread::spawn(move || {
                let mut connection = BufReader::new(connection.unwrap());
                let mut line = String::new();
                while connection.read_line(&mut line).is_ok_and(|it| it > 0) {
                    let target = line.split(' ').nth(1).unwrap().to_owned();
                    while line.trim_end() != "" {
                        line.clear();
                        connection.read_line(&mut line).unwrap();
                    }
                    line.clear();
                    counted[1].fetch_add(1, SeqCst);
                    let offset: usize = target.split("offset=").nth(1).unwrap().parse().unwrap();
                    let items = json!([{ "id": offset, "day": "2024-07-25" }]);
                    let body = json!({ "items": items, "total": total }).to_string();
                    let length = body.len();
                    let answer =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                    connection.get_mut().write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    (url, counts)
}

#[test]
fn connections_serve_one_page_after_the_other() {
    for in_flight in [1, 3] {
        let (url, counts) = serve_on_and_on(60);
        let limits = format!(
            "  limits: {{ requests_per_second: 10000, max_in_flight: {in_flight} }}\n  tls:"
        );
        let paging = "records: items\n    paginate: { offset: { total: total } }";
        let yaml =
            pipeline(&url, "{}").replace("  tls:", &limits).replace("records: items", paging);

        let workspace = Workspace::new();
        let ended = workspace.run(&yaml, &[], &[]);

        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert_eq!(workspace.rows("items").len(), 60);
        let [connections, requests] = [0, 1].map(|it: usize| counts[it].load(SeqCst));
        assert_eq!(requests, 60);
        // A request may be ready before the connection of the last one is, more than once on a busy
        // machine; a connection for each of them would be sixty.
        assert!(connections <= 2 * in_flight + 6, "{connections} connections");
    }
}
