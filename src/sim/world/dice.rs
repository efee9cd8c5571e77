//! Deterministic choices: the same (seed, kind, number) rolls the same values on every host.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, TimeDelta, Utc};

/// Texts that break naive writers: quotes, line ends, separators, formulas, three scripts.
const TEXTS: [&str; 20] = [
    "Rotate keys",
    "night shift",
    "Ночная смена: проверка резервных копий",
    "修复登录页面,二次确认",
    "release 🚀 done 👩‍💻",
    "he said \"ship it\"",
    "line one\nline two",
    "windows\r\nline end",
    "a, b; c",
    "C:\\temp\\new",
    "=SUM(A1:A9)",
    "+7 495 000-00-00",
    "@later",
    "-1",
    "  padded  ",
    "tab\there",
    "<b>HTML</b> &amp; entities",
    "naïve café",
    "null",
    "\"",
];

/// Milliseconds of the UTC day that lie at midnight in UTC, Moscow (21:00Z) or Shanghai (16:00Z).
const EDGES: [i64; 9] = [
    0,
    30_000,
    86_399_999,
    75_600_000 - 1,
    75_600_000,
    75_600_000 + 45_000,
    57_600_000 - 1_000,
    57_600_000,
    57_600_000 + 61_000,
];

const DAY_MS: i64 = 86_400_000;

/// A source of choices for one record.
pub(super) struct Dice(fastrand::Rng);

impl Dice {
    /// The dice of one record: `kind` keeps two sorts of records with the same number apart.
    pub(super) fn of(seed: u64, kind: &str, number: i64) -> Self {
        Dice(fastrand::Rng::with_seed(mix(seed, kind, number)))
    }

    /// A number from 0 up to, and without, `bound`.
    pub(super) fn below(&mut self, bound: i64) -> i64 {
        self.0.i64(0..bound.max(1))
    }

    /// True in so many cases of a hundred.
    pub(super) fn chance(&mut self, percent: i64) -> bool {
        self.below(100) < percent
    }

    /// One of the choices of a table that is never empty.
    pub(super) fn one_of<T: Copy, const N: usize>(&mut self, choices: &[T; N]) -> T {
        const { assert!(N > 0, "a table of choices has rows") };
        let at = self.0.u32(..).checked_rem(u32::try_from(N).unwrap_or(1)).unwrap_or(0);
        choices[at as usize]
    }

    /// A text that is hard to quote.
    pub(super) fn text(&mut self) -> String {
        self.one_of(&TEXTS).to_owned()
    }

    /// A text, the empty text, or none.
    pub(super) fn maybe_text(&mut self) -> Option<String> {
        match self.below(10) {
            0 => None,
            1 => Some(String::new()),
            _ => Some(self.text()),
        }
    }

    /// An instant on the UTC date, one time in three beside somebody's midnight, never after `latest`.
    pub(super) fn instant(&mut self, date: NaiveDate, latest: DateTime<Utc>) -> DateTime<Utc> {
        let ms = if self.chance(33) { self.one_of(&EDGES) } else { self.below(DAY_MS) };
        let at = midnight(date) + TimeDelta::milliseconds(ms);
        if at <= latest {
            return at;
        }
        let days = (at - latest).num_days() + 1;
        at - TimeDelta::days(days)
    }
}

/// A number that differs in every bit between neighbours (the finalizer of splitmix64).
pub(super) fn mix(seed: u64, kind: &str, number: i64) -> u64 {
    let kind = kind.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut it = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ kind ^ number.cast_unsigned();
    it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    it ^ (it >> 31)
}

/// The start of a UTC date.
pub(super) fn midnight(date: NaiveDate) -> DateTime<Utc> {
    date.and_time(NaiveTime::MIN).and_utc()
}

/// The middle of a UTC date, where the world's clock stands.
pub(in crate::sim) fn noon(date: NaiveDate) -> DateTime<Utc> {
    midnight(date) + TimeDelta::hours(12)
}

/// An instant on the morning of `today`: after the world's clock of yesterday, before that of today.
pub(super) fn morning(today: NaiveDate, number: i64) -> DateTime<Utc> {
    midnight(today) + TimeDelta::seconds((number.rem_euclid(600)) * 60 + 17)
}

/// The date so many days earlier.
pub(super) fn days_before(date: NaiveDate, days: i64) -> NaiveDate {
    let count = Days::new(days.unsigned_abs());
    let moved = if days < 0 { date.checked_add_days(count) } else { date.checked_sub_days(count) };
    moved.unwrap_or(date)
}

/// A number that grows by one from one date to the next; varies what a day changes.
pub(super) fn day_number(today: NaiveDate) -> i64 {
    i64::from(today.num_days_from_ce())
}

/// Cuts an instant to whole seconds, for systems that keep no more.
pub(super) fn whole_seconds(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(at.timestamp(), 0).unwrap_or(at)
}
