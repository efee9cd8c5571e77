//! Bars on a terminal, nothing elsewhere: one line a stream, from the numbers of the run.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use chrono::{DateTime, Utc};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::run::{Progress, StreamProgress};

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
    loop {
        for (bar, stream) in &drawn {
            update(bar, stream);
        }
        tokio::time::sleep(TICK).await;
    }
}

fn update(bar: &ProgressBar, stream: &StreamProgress) {
    let count = |it: &AtomicU64| it.load(Relaxed);
    bar.set_length(count(&stream.slices));
    bar.set_position(count(&stream.slices_done));
    let rows = count(&stream.rows);
    let elapsed = bar.elapsed().as_secs_f64().max(0.001);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = rows as f64 / elapsed;
    let retries = count(&stream.source.retries);
    let waits = stream.source.retry.total().as_secs();
    let mut text = String::new();
    // A narrow terminal cuts the end off, and what is waited for says most.
    if let Some(until) = resumes_at(count(&stream.source.resumes_at)) {
        let _ = write!(text, "rate limit: resumes at {} UTC  ", until.format("%H:%M:%S"));
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

/// When requests go on, while that is ahead.
fn resumes_at(seconds: u64) -> Option<DateTime<Utc>> {
    #[expect(clippy::disallowed_methods, reason = "a person looks at it now")]
    let now = Utc::now();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, 0).filter(|it| *it > now)
}

/// Takes the bars off the screen, so that the closing table stands alone.
struct ClearOnDrop<'a>(&'a MultiProgress);

impl Drop for ClearOnDrop<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs no clearing.
        let _ = self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_shown_while_it_is_ahead() {
        assert_eq!(resumes_at(0), None);
        assert_eq!(resumes_at(1_721_908_800), None, "that was in 2024");
        let far = resumes_at(32_503_680_000).map(|it| it.to_string());
        assert_eq!(far.as_deref(), Some("3000-01-01 00:00:00 UTC"));
        assert_eq!(resumes_at(u64::MAX), None);
    }
}
