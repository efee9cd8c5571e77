//! Connections and bodies that break off, stall or never end.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};

use crate::{
    after_a_good_run, fails, file, ids, page,
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

fn gzip_head(wire: &mut Wire, length: usize) -> io::Result<()> {
    write!(
        wire,
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
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
            gzip_head(wire, half.len())?;
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
            gzip_head(wire, body.len())?;
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
            gzip_head(wire, body.len())?;
            wire.write_all(body.as_bytes())
        },
        says: &["failed after 2 tries", "broke off"],
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
        says: &["failed after 2 tries", "extra bytes after body"],
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
            let bomb = gzipped(&vec![b' '; 64 << 20]);
            gzip_head(wire, bomb.len())?;
            wire.write_all(&bomb)
        },
        says: &["is larger than 1 MiB"],
        tries: 1,
    },
    Case {
        name: "a zstd bomb",
        close: Close::Properly,
        behave: |wire| {
            let bomb = zstd::encode_all(&*vec![b' '; 64 << 20], 3)?;
            write!(
                wire,
                "HTTP/1.1 200 OK\r\ncontent-encoding: zstd\r\ncontent-length: {}\r\n\r\n",
                bomb.len()
            )?;
            wire.write_all(&bomb)
        },
        says: &["is larger than 1 MiB"],
        tries: 1,
    },
];

/// Responses that are passed over, as they come, until the time is over; none is kept.
const BOUNDED_BY_TIME: &[&str] = &["provisional responses without end"];

/// What the buffers of the system may take beyond what the program reads.
const BUFFERS: u64 = 12 << 20;

#[test]
fn what_breaks_off_stalls_or_never_ends_is_named_within_bounded_time_and_bytes() {
    let check = |Case { name, close, behave, says, tries }: &'static Case| {
        let server = Raw::start(*close, move |_, wire| behave(wire));

        let started = Instant::now();
        fails(name, &server.url(), says);

        let took = started.elapsed();
        assert!(took < Duration::from_secs(20), "{name}: {took:?}");
        assert_eq!(server.requests().len(), *tries, "{name}");
        let sent = server.sent();
        let is_counted = !BOUNDED_BY_TIME.contains(name);
        assert!(sent < 2 * BUFFERS || !is_counted, "{name}: the server could send {sent} bytes");
    };
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
    let server = Raw::start(Close::Properly, |_, wire| {
        let body = gzipped(page(3).to_string().as_bytes());
        gzip_head(wire, body.len())?;
        wire.write_all(&body)
    });
    let workspace = after_a_good_run();

    let ended = run(&workspace, &file(&server.url()));

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ids(&workspace), [1, 2, 3]);
    assert!(server.requests()[0].contains("accept-encoding: "), "{:?}", server.requests());
}
