//! A request for each of many parents, to a server that takes its time.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Instant,
};

use crate::{
    pipelines,
    process::{self, Used},
    server::{Server, World},
};

const ISSUES: u32 = 2_000;
const LATENCY_MS: u32 = 20;
const IN_FLIGHT: u32 = 32;

/// Measures the run beside the time that the latency alone takes.
pub(crate) fn table(rounds: usize, binary: &Path) -> String {
    let server = Server::start(&World {
        issues: ISSUES.into(),
        latency_ms: LATENCY_MS.into(),
        ..World::default()
    });
    let (mut bare, mut measured) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        bare.push(ask_everything(&server.url));
        let dir = tempfile::tempdir().unwrap();
        let pipeline = pipelines::fan_out(IN_FLIGHT);
        measured.push(process::run(&mut process::tracklake(
            binary,
            &pipeline,
            &server.url,
            dir.path(),
        )));
    }
    bare.sort_by(f64::total_cmp);
    let bare = bare[bare.len() / 2];
    let Used { seconds, peak } = Used::median(&measured);
    let least = f64::from(ISSUES) / f64::from(IN_FLIGHT) * f64::from(LATENCY_MS) / 1_000.0;
    let mut text = format!(
        "{ISSUES} parents at {LATENCY_MS} ms latency, {IN_FLIGHT} in flight, 10 records each, one file a day; median of\n\
         {rounds} interleaved rounds, from the program's start to its end. The bare requests, which drop what comes,\n\
         show what the load of the machine leaves of the theory.\n\n\
         | fan-out | wall s | of the latency alone | of the bare requests | CPU s | peak memory, MB |\n\
         |---|---:|---:|---:|---:|---:|\n"
    );
    writeln!(
        text,
        "| latency alone, in theory | {least:.2} | 1.00 x | | | |\n\
         | the same requests, bare | {bare:.2} | {:.2} x | 1.00 x | | |\n\
         | tracklake run (target: 1.30 x) | {:.2} | {:.2} x | {:.2} x | {:.2} | {} |",
        bare / least,
        seconds.wall,
        seconds.wall / least,
        seconds.wall / bare,
        seconds.cpu,
        peak / 1_000_000
    )
    .unwrap();
    text
}

/// Sends all requests from as many threads as may be in flight; gives the seconds that it took.
fn ask_everything(url: &str) -> f64 {
    let (started, next) = (Instant::now(), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..IN_FLIGHT {
            scope.spawn(|| ask_some(url, &next));
        }
    });
    started.elapsed().as_secs_f64()
}

fn ask_some(url: &str, next: &AtomicU32) {
    let host = url.trim_start_matches("http://");
    let mut connection = BufReader::new(TcpStream::connect(host).unwrap());
    loop {
        let issue = next.fetch_add(1, Ordering::Relaxed);
        if issue >= ISSUES {
            return;
        }
        let request = format!("GET /issues/{issue}/worklog HTTP/1.1\r\nHost: {host}\r\n\r\n");
        connection.get_mut().write_all(request.as_bytes()).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            connection.read_line(&mut line).unwrap();
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.trim().parse().unwrap(),
                None if line == "\r\n" => break,
                _ => {}
            }
        }
        connection.read_exact(&mut vec![0; length]).unwrap();
    }
}
