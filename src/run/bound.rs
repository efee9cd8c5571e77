//! What the time of a stream depended on: which of its stages would have to be faster for it to end
//! sooner. Pure.
//!
//! ```text
//!  reading 41.0 s ─────────────────────────────────┬ encoding 3.1 s ┬ publishing 0.4 s   one after the other
//!    the declared rate alone takes 40.3 s for the requests: it is the rate limit
//! ```
//!
//! The longest of the three parts counts. Within reading many things go on at the same time, so that
//! their sums say little beside the clock: a stage that was never idle bounds it, however long
//! requests take beside that; without one it is what slices spend most of their time on.

use serde::Serialize;

use super::report::TimeReport;

/// What the time of a stream or a run depended on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The declared rate, or pauses that the server asked for.
    RateLimit,
    /// Waits before requests were sent again.
    Retries,
    /// The source's answers, with as many requests at once as are declared and can be made.
    Latency,
    /// Decompressing and decoding.
    Decode,
    /// The threads that decode and encode: pages waited for them, mostly while another stream was encoded.
    Threads,
    /// The thread that sorts rows into buffers and spills them.
    Partition,
    /// Sorting, merging and encoding after the last page.
    Encode,
    /// Making the files safe and visible.
    Disk,
    /// The parent stream, whose rows a child waited for.
    Parent,
}

/// What is known about the slices of a stream beside the seconds of its report.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnderWay {
    /// Seconds that slices were under way; those at the same time add up.
    pub(super) slices: f64,
    /// Seconds that the declared rate alone takes for the requests of all streams meanwhile.
    pub(super) paced: f64,
    /// Threads that decode.
    pub(super) threads: usize,
    /// Whether the stream's slices come from the rows of another one.
    pub(super) has_parent: bool,
}

/// The part of the time from which on a stage counts as never idle.
const SATURATED: f64 = 0.8;

/// The part of the slices' time that they wait at least where the rate is used up: with less, the
/// requests are as many as the rate allows by chance.
const NOTICED: f64 = 0.02;

/// What the time of a stream depended on; `None` where there was nothing to do.
pub(super) fn of_stream(seconds: &TimeReport, under_way: &UnderWay) -> Option<Bound> {
    let TimeReport { reading, encoding, publishing, .. } = *seconds;
    let parts = [(encoding, Some(Bound::Encode)), (publishing, Some(Bound::Disk))];
    // Of equal ones the first counts.
    let longest = parts.into_iter().fold((reading, None), |a, b| if b.0 > a.0 { b } else { a });
    longest.1.or_else(|| of_reading(seconds, under_way))
}

#[expect(clippy::cast_precision_loss, reason = "a number of threads")]
fn of_reading(seconds: &TimeReport, under_way: &UnderWay) -> Option<Bound> {
    let UnderWay { slices, paced, threads, has_parent } = *under_way;
    let TimeReport {
        reading,
        waiting_for_turn,
        waiting_for_place,
        waiting_to_retry,
        fetching,
        waiting_for_thread,
        decoding,
        waiting_for_writer,
        partitioning,
        ..
    } = *seconds;
    if slices <= 0.0 || reading <= 0.0 {
        return None;
    }
    let pace = if waiting_for_turn >= NOTICED * slices { paced } else { 0.0 };
    let busy = [
        (Bound::RateLimit, pace / reading),
        (Bound::Partition, partitioning / reading),
        (Bound::Decode, decoding / threads as f64 / reading),
    ];
    let busiest = most(busy);
    if busiest.1 >= SATURATED {
        return Some(busiest.0);
    }
    if has_parent && slices < reading / 2.0 {
        return Some(Bound::Parent);
    }
    let spent = [
        (Bound::RateLimit, waiting_for_turn),
        (Bound::Retries, waiting_to_retry),
        (Bound::Latency, waiting_for_place + fetching),
        (Bound::Threads, waiting_for_thread),
        (Bound::Decode, decoding),
        (Bound::Partition, waiting_for_writer),
    ];
    Some(most(spent).0)
}

/// The first of the largest.
fn most<const N: usize>(of: [(Bound, f64); N]) -> (Bound, f64) {
    of.into_iter().fold(of[0], |a, b| if b.1 > a.1 { b } else { a })
}

/// What the time of a run depended on: that of its longest stream, given the seconds and the bound of
/// each. A child that waits for its parent says nothing that the parent does not say.
pub(super) fn of_run(streams: impl Iterator<Item = (f64, Option<Bound>)>) -> Option<Bound> {
    let told = streams.filter_map(|(seconds, bound)| Some((seconds, bound?)));
    let own = told.filter(|(_, bound)| *bound != Bound::Parent);
    own.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, bound)| bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that was read for ten seconds, in eight slices at once, by two threads.
    const SLICES: UnderWay = UnderWay { slices: 80.0, paced: 0.0, threads: 2, has_parent: false };
    const READ: TimeReport = TimeReport {
        total: 10.0,
        reading: 10.0,
        waiting_for_turn: 0.0,
        waiting_for_place: 0.0,
        waiting_to_retry: 0.0,
        fetching: 0.0,
        waiting_for_thread: 0.0,
        decoding: 0.0,
        waiting_for_writer: 0.0,
        partitioning: 0.0,
        encoding: 0.0,
        publishing: 0.0,
    };

    #[track_caller]
    fn check(name: &str, seconds: TimeReport, under_way: UnderWay, expected: Option<Bound>) {
        assert_eq!(of_stream(&seconds, &under_way), expected, "{name}");
    }

    #[test]
    fn the_longest_part_of_the_time_counts() {
        let parts = |reading, encoding, publishing| TimeReport {
            reading,
            encoding,
            publishing,
            fetching: 70.0,
            ..READ
        };
        check("reading", parts(10.0, 9.0, 9.0), SLICES, Some(Bound::Latency));
        check("encoding", parts(10.0, 11.0, 9.0), SLICES, Some(Bound::Encode));
        check("publishing", parts(10.0, 11.0, 12.0), SLICES, Some(Bound::Disk));
        check("of equal ones the first", parts(10.0, 10.0, 10.0), SLICES, Some(Bound::Latency));
    }

    #[test]
    fn the_rate_counts_where_it_is_used_up_whatever_takes_longer() {
        // 10 requests a second, 8 at once: a request of 0.5 s waits 0.3 s.
        let slow = TimeReport { waiting_for_turn: 30.0, fetching: 50.0, ..READ };
        let used_up = UnderWay { paced: 9.9, ..SLICES };
        check("slow answers", slow, used_up, Some(Bound::RateLimit));

        // A request of 1.1 s never waits, and 7.3 a second come about by themselves.
        let slower = TimeReport { waiting_for_turn: 0.0, fetching: 79.0, ..READ };
        let by_chance = UnderWay { paced: 9.1, ..SLICES };
        check("no request waits", slower, by_chance, Some(Bound::Latency));

        // Most of the ten seconds were a pause, in which nothing was asked.
        let paused = TimeReport { waiting_for_turn: 64.0, fetching: 10.0, ..READ };
        let barely = UnderWay { paced: 1.0, ..SLICES };
        check("a pause that the server wants", paused, barely, Some(Bound::RateLimit));
    }

    #[test]
    fn a_stage_that_is_never_idle_counts_whatever_slices_wait_for() {
        let decoding = TimeReport { decoding: 19.0, fetching: 50.0, ..READ };
        check("both threads decode", decoding, SLICES, Some(Bound::Decode));
        let one = TimeReport { decoding: 10.0, fetching: 50.0, ..READ };
        check("one of them does", one, SLICES, Some(Bound::Latency));

        let writing = TimeReport { partitioning: 9.5, decoding: 17.0, fetching: 60.0, ..READ };
        check("the writer", writing, SLICES, Some(Bound::Partition));
    }

    #[test]
    fn otherwise_it_is_what_slices_spend_most_of_their_time_on() {
        let at_once = TimeReport { waiting_for_place: 40.0, fetching: 30.0, ..READ };
        check("no more at once", at_once, SLICES, Some(Bound::Latency));
        let again = TimeReport { waiting_to_retry: 45.0, fetching: 30.0, ..READ };
        check("waits to retry", again, SLICES, Some(Bound::Retries));
        let queue = TimeReport { waiting_for_writer: 45.0, partitioning: 7.0, ..READ };
        check("waits for the writer", queue, SLICES, Some(Bound::Partition));
        // Another stream is encoded, and pages wait for its threads.
        let beside = TimeReport { waiting_for_thread: 60.0, decoding: 2.0, ..READ };
        check("threads are busy", beside, SLICES, Some(Bound::Threads));
        // One slice: a page after the other, of which 6 s of 10 are decoded.
        let one = UnderWay { slices: 10.0, ..SLICES };
        let in_turn = TimeReport { fetching: 4.0, decoding: 6.0, ..READ };
        check("one page after the other", in_turn, one, Some(Bound::Decode));
    }

    #[test]
    fn a_child_without_slices_under_way_waits_for_its_parent() {
        let idle = UnderWay { slices: 2.0, has_parent: true, ..SLICES };
        let fetched = TimeReport { fetching: 1.9, ..READ };
        check("a child", fetched, idle, Some(Bound::Parent));
        check("no child", fetched, UnderWay { has_parent: false, ..idle }, Some(Bound::Latency));
        let shared = TimeReport { waiting_for_turn: 1.0, fetching: 0.9, ..READ };
        let used_up = UnderWay { paced: 9.9, ..idle };
        check("a rate that the parent uses up", shared, used_up, Some(Bound::RateLimit));
    }

    #[test]
    fn nothing_to_do_is_bounded_by_nothing() {
        check("no slice", READ, UnderWay { slices: 0.0, ..SLICES }, None);
        check("no time", TimeReport::default(), SLICES, None);
    }

    #[test]
    fn a_run_is_bounded_by_what_bounds_its_longest_stream() {
        let run = |streams: &[(f64, Option<Bound>)]| of_run(streams.iter().copied());

        assert_eq!(run(&[]), None);
        assert_eq!(run(&[(3.0, None)]), None);
        assert_eq!(run(&[(2.0, Some(Bound::Encode)), (3.0, None)]), Some(Bound::Encode));
        let streams = [(2.0, Some(Bound::Disk)), (9.0, Some(Bound::Latency))];
        assert_eq!(run(&streams), Some(Bound::Latency));
        let child = [(8.0, Some(Bound::RateLimit)), (9.0, Some(Bound::Parent))];
        assert_eq!(run(&child), Some(Bound::RateLimit));
    }
}
