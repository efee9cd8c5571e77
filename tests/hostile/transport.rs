//! Connections and bodies that break off, stall or never end.

use std::{
    io::{self, Write},
    sync::LazyLock,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};

use crate::{
    after_a_good_run, fails, fails_with, file, ids, page,
    raw::{Close, Raw, Wire},
    run,
};

type Behave = fn(&mut Wire) -> io::Result<()>;

/// A server that misbehaves, what is said about it, and after how many tries.
struct Case {
    name: &'static str,
    close: Close,
    behave: Behave,
    says: &'static [&'static str],
    tries: usize,
}

/// A proper answer.
fn good(wire: &mut Wire) -> io::Result<()> {
    let body = page(3).to_string();
    write!(
        wire,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A head that announces `length` bytes.
fn head(wire: &mut Wire, length: u64) -> io::Result<()> {
    write!(
        wire,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// The head of a body in pieces, of any length.
fn chunked(wire: &mut Wire, encoding: &str) -> io::Result<()> {
    write!(
        wire,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n{encoding}\r\n"
    )
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).unwrap_or_default()
}

fn encoded_head(wire: &mut Wire, encoding: &str, length: usize) -> io::Result<()> {
    write!(
        wire,
        "HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// What may be better the next time: it is tried again, and then named.
const PASSING: &[Case] = &[
    Case {
        name: "reset before a response",
        close: Close::WithReset,
        behave: |_| Ok(()),
        says: &["failed after 2 tries", "broke off", "reset"],
        tries: 2,
    },
    Case {
        name: "reset in the middle of a body",
        close: Close::WithReset,
        behave: |wire| {
            head(wire, 1000)?;
            wire.write_all(br#"{"items":[{"id":1,"#)
        },
        says: &["failed after 2 tries", "broke off"],
        tries: 2,
    },
    Case {
        name: "closed in the middle of a body",
        close: Close::Properly,
        behave: |wire| {
            head(wire, 1000)?;
            wire.write_all(br#"{"items":[{"id":1,"#)
        },
        says: &["failed after 2 tries", "broke off", "end of file before message length reached"],
        tries: 2,
    },
    Case {
        name: "closed in the middle of a head",
        close: Close::Properly,
        behave: |wire| wire.write_all(b"HTTP/1.1 200 OK\r\ncontent-le"),
        says: &["failed after 2 tries", "broke off"],
        tries: 2,
    },
    Case {
        name: "closed between two chunks",
        close: Close::Properly,
        behave: |wire| {
            chunked(wire, "")?;
            wire.write_all(b"d\r\n{\"items\": [] \r\n")
        },
        says: &["failed after 2 tries", "broke off"],
        tries: 2,
    },
    Case {
        name: "not HTTP",
        close: Close::Properly,
        behave: |wire| wire.write_all(b"SSH-2.0-OpenSSH_9.6\r\n"),
        says: &["failed after 2 tries", "broke off"],
        tries: 2,
    },
    Case {
        name: "gzip that is cut off",
        close: Close::Properly,
        behave: |wire| {
            let body = gzipped(page(500).to_string().as_bytes());
            let half = &body[..body.len() / 2];
            encoded_head(wire, "gzip", half.len())?;
            wire.write_all(half)
        },
        says: &["failed after 2 tries", "broke off"],
        tries: 2,
    },
    Case {
        name: "gzip with a wrong checksum",
        close: Close::Properly,
        behave: |wire| {
            let mut body = gzipped(page(500).to_string().as_bytes());
            let checksum = body.len() - 8;
            body[checksum] ^= 1;
            encoded_head(wire, "gzip", body.len())?;
            wire.write_all(&body)
        },
        says: &["failed after 2 tries", "broke off"],
        tries: 2,
    },
    Case {
        name: "gzip that is none",
        close: Close::Properly,
        behave: |wire| {
            let body = page(3).to_string();
            encoded_head(wire, "gzip", body.len())?;
            wire.write_all(body.as_bytes())
        },
        says: &["failed after 2 tries", "broke off"],
        tries: 2,
    },
    Case {
        name: "gzip with something behind it",
        close: Close::Properly,
        behave: |wire| {
            let body = [gzipped(page(3).to_string().as_bytes()), b"<!-- ok -->".repeat(9)].concat();
            encoded_head(wire, "gzip", body.len())?;
            wire.write_all(&body)
        },
        says: &["failed after 2 tries", "broke off", "the gzip data is damaged"],
        tries: 2,
    },
    Case {
        name: "gzip once that should be twice",
        close: Close::Properly,
        behave: |wire| {
            let body = gzipped(page(3).to_string().as_bytes());
            encoded_head(wire, "gzip, gzip", body.len())?;
            wire.write_all(&body)
        },
        says: &["failed after 2 tries", "broke off", "the gzip data is damaged"],
        tries: 2,
    },
    Case {
        name: "zstd that is cut off",
        close: Close::Properly,
        behave: |wire| {
            let body = zstd::encode_all(page(500).to_string().as_bytes(), 3)?;
            let half = &body[..body.len() / 2];
            encoded_head(wire, "zstd", half.len())?;
            wire.write_all(half)
        },
        says: &["failed after 2 tries", "broke off", "the zstd data ends too early"],
        tries: 2,
    },
    Case {
        name: "nothing, in gzip",
        close: Close::Properly,
        behave: |wire| encoded_head(wire, "gzip", 0),
        says: &["the body is empty", "after 2 tries"],
        tries: 2,
    },
    Case {
        name: "no response",
        close: Close::Properly,
        behave: |wire| wire.hang(),
        says: &["failed after 2 tries", "no whole response", "within 1 s", "limits.timeout_secs"],
        tries: 2,
    },
    Case {
        name: "a head that stops",
        close: Close::Properly,
        behave: |wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: appl")?;
            wire.hang()
        },
        says: &["no whole response", "within 1 s"],
        tries: 2,
    },
    Case {
        name: "a body that stops",
        close: Close::Properly,
        behave: |wire| {
            head(wire, 1000)?;
            wire.write_all(br#"{"items":[{"id":1,"#)?;
            wire.hang()
        },
        says: &["no whole response", "within 1 s"],
        tries: 2,
    },
    Case {
        name: "a body that drips",
        close: Close::Properly,
        behave: |wire| {
            head(wire, 1_000_000)?;
            wire.drip(b' ')
        },
        says: &["no whole response", "within 1 s"],
        tries: 2,
    },
    Case {
        name: "headers that drip",
        close: Close::Properly,
        behave: |wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
            wire.drip(b'a')
        },
        says: &["no whole response", "within 1 s"],
        tries: 2,
    },
    Case {
        name: "endless headers",
        close: Close::Properly,
        behave: |wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\n")?;
            wire.forever(format!("x-{}: {}\r\n", "a".repeat(500), "b".repeat(500)).as_bytes())
        },
        says: &["failed after 2 tries", "broke off"],
        tries: 2,
    },
    Case {
        name: "one endless header",
        close: Close::Properly,
        behave: |wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
            wire.forever(&[b'a'; 1024])
        },
        says: &["failed after 2 tries", "broke off"],
        tries: 2,
    },
    Case {
        name: "provisional responses without end",
        close: Close::Properly,
        behave: |wire| wire.forever(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
        says: &["failed after 2 tries"],
        tries: 2,
    },
    Case {
        name: "endless chunk extension",
        close: Close::Properly,
        behave: |wire| {
            chunked(wire, "")?;
            wire.write_all(b"2;")?;
            wire.forever(&[b'a'; 1024])
        },
        says: &["failed after 2 tries"],
        tries: 2,
    },
    Case {
        name: "endless trailers",
        close: Close::Properly,
        behave: |wire| {
            chunked(wire, "")?;
            wire.write_all(b"2\r\n{}\r\n0\r\n")?;
            wire.forever(format!("x-{}: b\r\n", "a".repeat(500)).as_bytes())
        },
        says: &["failed after 2 tries"],
        tries: 2,
    },
    Case {
        name: "two lengths",
        close: Close::Properly,
        behave: |wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}")
        },
        says: &["failed after 2 tries", "broke off"],
        tries: 2,
    },
];

/// What asking again cannot help.
const LASTING: &[Case] = &[
    Case {
        name: "an endless body",
        close: Close::Properly,
        behave: |wire| {
            chunked(wire, "")?;
            wire.forever(format!("1000\r\n{}\r\n", " ".repeat(0x1000)).as_bytes())
        },
        says: &["failed after 1 try", "is larger than 1 MiB", "limits.max_response_mb"],
        tries: 1,
    },
    Case {
        name: "an endless body without a length",
        close: Close::Properly,
        behave: |wire| {
            wire.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
            wire.forever(&[b'['; 4096])
        },
        says: &["is larger than 1 MiB"],
        tries: 1,
    },
    Case {
        name: "a body of a terabyte",
        close: Close::Properly,
        behave: |wire| {
            // That it is too large is known before any of it comes.
            head(wire, 1 << 40)?;
            wire.hang()
        },
        says: &["is larger than 1 MiB"],
        tries: 1,
    },
    Case {
        name: "a gzip bomb",
        close: Close::Properly,
        behave: |wire| {
            encoded_head(wire, "gzip", GZIP_BOMB.len())?;
            wire.write_all(&GZIP_BOMB)
        },
        says: &["is larger than 1 MiB"],
        tries: 1,
    },
    Case {
        name: "a zstd bomb",
        close: Close::Properly,
        behave: |wire| {
            encoded_head(wire, "zstd", ZSTD_BOMB.len())?;
            wire.write_all(&ZSTD_BOMB)
        },
        says: &["is larger than 1 MiB"],
        tries: 1,
    },
    Case {
        name: "a gzip bomb in gzip",
        close: Close::Properly,
        behave: |wire| {
            let bomb = gzipped(&GZIP_BOMB);
            encoded_head(wire, "gzip, gzip", bomb.len())?;
            wire.write_all(&bomb)
        },
        says: &["is larger than 1 MiB"],
        tries: 1,
    },
    Case {
        name: "gzip members without end",
        close: Close::Properly,
        behave: |wire| {
            chunked(wire, "content-encoding: gzip\r\n")?;
            let member = gzipped(&vec![b' '; 1 << 20]);
            let mut chunk = format!("{:x}\r\n", member.len()).into_bytes();
            chunk.extend(&member);
            chunk.extend(b"\r\n");
            wire.forever(&chunk)
        },
        says: &["failed after 1 try", "is larger than 1 MiB"],
        tries: 1,
    },
    Case {
        name: "an encoding that was not asked for",
        close: Close::Properly,
        behave: |wire| {
            encoded_head(wire, "br", 3)?;
            wire.write_all(&[0x3b, 0, 0])
        },
        says: &[
            "failed after 1 try",
            "is encoded as `br`, which was not asked for",
            "`Accept-Encoding: identity`",
        ],
        tries: 1,
    },
    Case {
        name: "encodings without end",
        close: Close::Properly,
        behave: |wire| {
            let body = page(3).to_string();
            encoded_head(wire, &"gzip, ".repeat(1000), body.len())?;
            wire.write_all(body.as_bytes())
        },
        says: &["failed after 1 try", "is encoded as `gzip, gzip, gzip, "],
        tries: 1,
    },
];

/// Responses that are passed over, as they come, until the time is over; none is kept.
const BOUNDED_BY_TIME: &[&str] = &["provisional responses without end"];

/// 64 MiB of spaces, packed before anybody waits for them.
static GZIP_BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| gzipped(&vec![b' '; 64 << 20]));

/// The same in zstd.
static ZSTD_BOMB: LazyLock<Vec<u8>> =
    LazyLock::new(|| zstd::encode_all(&*vec![b' '; 64 << 20], 3).unwrap_or_default());

/// What the buffers of the system may take beyond what the program reads.
const BUFFERS: u64 = 12 << 20;

#[test]
fn what_breaks_off_stalls_or_never_ends_is_named_within_bounded_time_and_bytes() {
    let check = |Case { name, close, behave, says, tries }: &'static Case| {
        let server = Raw::start(*close, move |_, wire| behave(wire));

        // What is refused at the first try is not to be late for it where all cores are busy.
        let timeout = if *tries == 1 { "timeout_secs: 15" } else { "timeout_secs: 1" };
        let yaml = file(&server.url()).replace("timeout_secs: 1", timeout);

        let started = Instant::now();
        fails_with(name, &yaml, says);

        let took = started.elapsed();
        assert!(took < Duration::from_secs(20), "{name}: {took:?}");
        assert_eq!(server.requests().len(), *tries, "{name}");
        let sent = server.sent();
        let is_counted = !BOUNDED_BY_TIME.contains(name);
        assert!(sent < 2 * BUFFERS || !is_counted, "{name}: the server could send {sent} bytes");
    };
    assert!(GZIP_BOMB.len() > 10_000 && ZSTD_BOMB.len() > 1_000, "they are no bombs");
    let cases: Vec<&'static Case> = PASSING.iter().chain(LASTING).collect();
    // Most of them wait for a time to be over.
    for few in cases.chunks(13) {
        std::thread::scope(|scope| {
            for case in few {
                scope.spawn(|| check(case));
            }
        });
    }
}

#[test]
fn what_breaks_off_or_stalls_once_is_read_the_next_time() {
    for Case { name, close, behave, .. } in PASSING {
        let close = match close {
            Close::WithReset => Close::FirstWithReset,
            other => *other,
        };
        let server = Raw::start(close, move |nth, wire| match nth {
            0 => behave(wire),
            _ => good(wire),
        });
        let workspace = after_a_good_run();

        let ended = run(&workspace, &file(&server.url()));

        assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
        assert_eq!(ids(&workspace), [1, 2, 3], "{name}");
        assert_eq!(ended.report()["streams"][0]["retries"], 1, "{name}");
    }
}

/// An outage keeps its meaning, however long its page is.
#[test]
fn an_endless_error_page_is_cut_and_its_status_counts() {
    let server = Raw::start(Close::Properly, |nth, wire| match nth {
        0 => {
            write!(
                wire,
                "HTTP/1.1 503 Busy\r\nconnection: close\r\n\r\n<html><title>Busy</title>"
            )?;
            wire.forever(&[b'x'; 4096])
        }
        _ => good(wire),
    });
    let workspace = after_a_good_run();

    let ended = run(&workspace, &file(&server.url()));

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ids(&workspace), [1, 2, 3]);
    assert!(server.sent() < BUFFERS, "{}", server.sent());
}

/// Within the limit a compressed page is like any other.
#[test]
fn a_compressed_page_is_read() {
    let plain = page(3).to_string();
    let plain = plain.as_bytes();
    let members = || [gzipped(&plain[..20]), gzipped(&plain[20..])].concat();
    let zstd = || zstd::encode_all(plain, 3).unwrap();
    let cases = [
        ("gzip", gzipped(plain)),
        ("GZIP", gzipped(plain)),
        ("x-gzip", gzipped(plain)),
        ("gzip, identity", gzipped(plain)),
        ("gzip", members()),
        ("zstd", zstd()),
        ("zstd, gzip", gzipped(&zstd())),
        ("identity", plain.to_vec()),
    ];
    for (encoding, body) in cases {
        let server = Raw::start(Close::Properly, move |_, wire| {
            encoded_head(wire, encoding, body.len())?;
            wire.write_all(&body)
        });
        let workspace = after_a_good_run();

        let ended = run(&workspace, &file(&server.url()));

        assert_eq!(ended.code, Some(0), "{encoding}: {}", ended.stderr);
        assert_eq!(ids(&workspace), [1, 2, 3], "{encoding}");
        assert_eq!(ended.report()["streams"][0]["bytes_read"], plain.len(), "{encoding}");
        let request = &server.requests()[0];
        assert!(request.contains("accept-encoding: zstd, gzip\r\n"), "{request}");
    }
}

/// What an error says is shown as far as it can be read; its status counts in any case.
#[test]
fn a_compressed_error_keeps_its_status() {
    let says = br#"{"message":"no such queue"}"#;
    let cases = [
        ("gzip", gzipped(says), r#"status 400 after 1 try: {"message":"no such queue"}"#),
        ("gzip", gzipped(&[&says[..], &vec![b' '; 4 << 20]].concat()), "status 400 after 1 try"),
        ("gzip", gzipped(says)[..9].to_vec(), "status 400 after 1 try"),
        ("zstd", says.to_vec(), "status 400 after 1 try"),
        ("br", says.to_vec(), "status 400 after 1 try"),
    ];
    for (encoding, body, expected) in cases {
        let server = Raw::start(Close::Properly, move |_, wire| {
            write!(
                wire,
                "HTTP/1.1 400 -\r\nContent-Encoding: {encoding}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            )?;
            wire.write_all(&body)
        });

        fails(encoding, &server.url(), &[expected]);

        assert_eq!(server.requests().len(), 1, "{encoding}");
    }
}
