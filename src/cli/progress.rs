//! Bars on a terminal, nothing elsewhere: one line a stream, from the numbers of the run.

use std::{
    fmt::Write as _,
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use chrono::{DateTime, FixedOffset, Local, Utc};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    extract::Retry,
    run::{Progress, StreamProgress},
};

/// How often the bars are drawn anew.
const TICK: Duration = Duration::from_millis(150);

/// Whether bars are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bars {
    /// On a terminal.
    Shown,
    /// With `--quiet`, or where nobody looks.
    Hidden,
}

/// Draws the numbers of a run until the future is dropped.
pub(super) async fn draw(progress: &Progress, bars: Bars) {
    if bars == Bars::Hidden {
        return std::future::pending().await;
    }
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("  {prefix:14} {bar:10} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let drawn: Vec<(ProgressBar, &StreamProgress)> = progress
        .streams
        .iter()
        .map(|stream| {
            let bar = all.add(ProgressBar::new(0).with_style(style.clone()));
            bar.set_prefix(stream.name.to_string());
            (bar, stream)
        })
        .collect();
    let _clear = ClearOnDrop(&all);
    *shown() = Some(all.clone());
    loop {
        #[expect(
            clippy::disallowed_methods,
            reason = "a person looks at it now, and at a clock beside it"
        )]
        let now = Local::now().fixed_offset();
        for (bar, stream) in &drawn {
            update(bar, stream, now);
        }
        tokio::time::sleep(TICK).await;
    }
}

fn update(bar: &ProgressBar, stream: &StreamProgress, now: DateTime<FixedOffset>) {
    let count = |it: &AtomicU64| it.load(Relaxed);
    // A bar of nothing would be a full one.
    bar.set_length(count(&stream.slices).max(1));
    bar.set_position(count(&stream.slices_done));
    let rows = count(&stream.rows);
    let elapsed = bar.elapsed().as_secs_f64().max(0.001);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = rows as f64 / elapsed;
    let retries = count(&stream.source.retries);
    let waits = stream.source.retry.total().as_secs();
    let mut text = String::new();
    // A narrow terminal cuts the end off, and what is waited for says most.
    let facts = Facts {
        resumes_at: i64::try_from(count(&stream.source.resumes_at))
            .ok()
            .and_then(|it| DateTime::from_timestamp(it, 0)),
        retry: stream.source.last_retry(),
        slices: count(&stream.slices),
        is_done: stream.is_done.load(Relaxed),
    };
    if let Some(wait) = waits_for(&facts, now) {
        let _ = write!(text, "{wait}  ");
    }
    let _ = write!(
        text,
        "{}/{} slices  {rows} rows  {rate:.0}/s  {}",
        count(&stream.slices_done),
        count(&stream.slices),
        HumanBytes(count(&stream.source.bytes)),
    );
    if retries > 0 {
        let _ = write!(text, "  {retries} retries, {waits} s waited");
    }
    if stream.is_done.load(Relaxed) {
        text.push_str("  done");
    }
    bar.set_message(text);
}

/// What says whether a stream waits, and for what.
#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    /// Until when the source wants no requests.
    resumes_at: Option<DateTime<Utc>>,
    /// The last request that was to be sent again.
    retry: Option<Retry>,
    /// Slices known so far.
    slices: u64,
    is_done: bool,
}

/// What a stream waits for, if anything, on a clock that shows `now`.
fn waits_for(facts: &Facts, now: DateTime<FixedOffset>) -> Option<String> {
    let Facts { resumes_at, retry, slices, is_done } = *facts;
    if is_done {
        return None;
    }
    if let Some(until) = resumes_at.filter(|it| *it > now) {
        return Some(format!("rate limit: resumes at {}", on_the_clock(until, now)));
    }
    if let Some(Retry { status, attempt, most, at }) = retry.filter(|it| it.at > now) {
        let what = match status {
            Some(status) => format!("{status} from the source"),
            None => "no answer from the source".to_owned(),
        };
        let at = on_the_clock(at, now);
        return Some(format!("{what}: attempt {attempt} of {most} at {at}"));
    }
    (slices == 0).then(|| "waits for its first slice".to_owned())
}

/// The time of day, with its date where that is another one than today's.
fn on_the_clock(at: DateTime<Utc>, now: DateTime<FixedOffset>) -> String {
    let at = at.with_timezone(&now.timezone());
    let is_today = at.date_naive() == now.date_naive();
    at.format(if is_today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
}

/// The bars that are on the screen: a process has one, and logs know of no run.
static SHOWN: Mutex<Option<MultiProgress>> = Mutex::new(None);

fn shown() -> MutexGuard<'static, Option<MultiProgress>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The standard error, above the bars if there are any: a line between them would tear them.
#[derive(Debug)]
pub(super) struct AboveBars;

impl io::Write for AboveBars {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let shown = shown().clone();
        match shown {
            Some(bars) => bars.suspend(|| io::stderr().write(text)),
            None => io::stderr().write(text),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Takes the bars off the screen, so that the closing table stands alone.
struct ClearOnDrop<'a>(&'a MultiProgress);

impl Drop for ClearOnDrop<'_> {
    fn drop(&mut self) {
        *shown() = None;
        // A terminal that is gone needs no clearing.
        let _ = self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_bar_says_what_its_stream_waits_for_on_the_clock_of_who_looks() {
        let now = DateTime::parse_from_rfc3339("2024-07-26T02:13:00+08:00").unwrap();
        let reading = Facts { slices: 3, ..Facts::default() };
        let held = Facts { resumes_at: Some(utc("2024-07-25T18:14:05Z")), ..reading };
        let retry = |status, at| Retry { status, attempt: 3, most: 8, at: utc(at) };
        let again = |status, at| Facts { retry: Some(retry(status, at)), ..reading };
        for (facts, expected) in [
            (reading, None),
            (held, Some("rate limit: resumes at 02:14:05")),
            (
                Facts { resumes_at: Some(utc("2024-07-26T17:00:00Z")), ..reading },
                Some("rate limit: resumes at 2024-07-27 01:00:00"),
            ),
            (Facts { resumes_at: Some(utc("2024-07-25T18:13:00Z")), ..reading }, None),
            (
                again(Some(503), "2024-07-25T18:14:05Z"),
                Some("503 from the source: attempt 3 of 8 at 02:14:05"),
            ),
            (
                again(None, "2024-07-25T18:13:01Z"),
                Some("no answer from the source: attempt 3 of 8 at 02:13:01"),
            ),
            (again(Some(503), "2024-07-25T18:12:59Z"), None),
            (
                Facts { retry: Some(retry(Some(429), "2024-07-25T18:15:00Z")), ..held },
                Some("rate limit: resumes at 02:14:05"),
            ),
            (Facts::default(), Some("waits for its first slice")),
            (Facts { is_done: true, ..held }, None),
        ] {
            assert_eq!(waits_for(&facts, now).as_deref(), expected, "{facts:?}");
        }
    }
}
