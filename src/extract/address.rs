//! A slice in words that stand for themselves: whoever has them and the pipeline can read it. Pure.
//!
//! ```text
//! Slice "mode=audit,2024-07-18..2024-07-24"  <-->  {"slice":{"mode":"audit"},"dates":["2024-07-18","2024-07-24"]}
//! Slice "TEST-7"                             <-->  {"parent":{"issue_id":"41","issue_key":"TEST-7"}}
//! ```

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::slice::{Horizon, ParentValues, Slice, Span, slices};
use crate::plan::{SlicesPlan, WindowStart};

/// What templates call the bounds of a window, which an address has on their own.
const BOUNDS: [&str; 3] = ["start", "end", "until"];

/// Everything that makes a slice. The same slice has the same address in every run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SliceAddress {
    /// Listed values by their name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    slice: BTreeMap<String, Value>,
    /// What is bound from the parent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parent: ParentValues,
    /// The first and the last date of a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    dates: Option<(NaiveDate, NaiveDate)>,
    /// The bounds of a window.
    #[serde(skip_serializing_if = "Option::is_none")]
    instants: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Whether its window ends at the clock of the plan because nobody says where: what comes meanwhile
    /// may be in it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    open: bool,
    /// Rows whose cursor is at or after this are not of the slice, though the source gives them.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<DateTime<Utc>>,
}

impl SliceAddress {
    /// The address of a slice.
    pub fn of(slice: &Slice) -> Self {
        let is_listed = |(name, value): &(&String, &Value)| {
            !BOUNDS.contains(&name.as_str()) && !value.is_null()
        };
        // What starts with `$` travels with a parent, but does not make the slice.
        let is_bound = |(name, _): &(&String, &Value)| !name.starts_with('$');
        let owned = |(name, value): (&String, &Value)| (name.clone(), value.clone());
        let (dates, instants) = match slice.span() {
            Some(Span::Dates(first, last)) => (Some((first, last)), None),
            Some(Span::Instants(start, end)) => (None, Some((start, end))),
            None => (None, None),
        };
        Self {
            slice: slice.context.slice.iter().filter(is_listed).map(owned).collect(),
            parent: slice.context.parent.iter().filter(is_bound).map(owned).collect(),
            dates,
            instants,
            open: slice.is_open(),
            before: slice.before,
        }
    }

    /// The slice of a stream that has this address, if there is one.
    pub fn find(&self, plan: &SlicesPlan, now: DateTime<Utc>) -> Option<Slice> {
        if plan.parent().is_some() && !self.names_a_parent_of(plan) {
            return None;
        }
        let (since, until) = match (self.dates, self.instants) {
            (Some((first, last)), None) => {
                (Some(WindowStart::On(first)), Some(WindowStart::On(last)))
            }
            (None, Some((start, end))) => {
                (Some(WindowStart::At(start)), Some(WindowStart::At(end)))
            }
            (None, None) => (None, None),
            (Some(_), Some(_)) => return None,
        };
        let horizon = Horizon { now, since, until };
        let whole = slices(plan, &horizon, &self.parent);
        let with_end = |slice: Slice| {
            let mut slice = if self.open { slice.opened() } else { slice };
            slice.before = self.before;
            slice
        };
        whole.into_iter().map(with_end).find(|it| Self::of(it) == *self)
    }

    /// Whether all values are there that a slice of a parent has, each a list where it has several.
    fn names_a_parent_of(&self, plan: &SlicesPlan) -> bool {
        let Some(parent) = plan.parent() else { return false };
        let wanted: BTreeSet<&str> = parent.bind.iter().map(|(name, _)| name.as_str()).collect();
        let lengths = self.parent.values().map(|it| it.as_array().map(Vec::len));
        let lengths: BTreeSet<Option<usize>> = lengths.collect();
        let has_room = |it: &Option<usize>| match (it, parent.batch) {
            (None, None) => true,
            (Some(len), Some(batch)) => (1..=batch).contains(len),
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.parent.keys().map(String::as_str).eq(wanted)
            && lengths.len() == 1
            && lengths.iter().all(has_room)
    }
}

/// Has each window of instants end before its end, so that no row is of two of them; the last one
/// ends with everything that the source gives, unless `until` says where.
pub fn part(slices: &mut [Slice], until: Option<DateTime<Utc>>) {
    let end = |slice: &Slice| match slice.span() {
        Some(Span::Instants(_, end)) => Some(end),
        Some(Span::Dates(..)) | None => None,
    };
    let last = slices.iter().filter_map(end).max();
    for slice in slices {
        let own = end(slice);
        slice.before = if own == last { own.and(until) } else { own };
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use chrono_tz::Europe::Moscow;
    use serde_json::json;

    use super::*;
    use crate::plan::{ParentPlan, WindowFormat, WindowParams, WindowPlan};

    const NOW: &str = "2024-07-25T10:00:00Z";

    fn window(format: WindowFormat, days: i64) -> SlicesPlan {
        SlicesPlan::Window(WindowPlan {
            from: WindowStart::Ago(TimeDelta::days(9)),
            ahead: TimeDelta::zero(),
            step: Some(TimeDelta::days(days)),
            reread: None,
            format,
            zone: Moscow,
            params: WindowParams::None,
        })
    }

    fn modes(values: &[&str]) -> SlicesPlan {
        let values = values.iter().map(|it| json!(it)).collect();
        SlicesPlan::List { name: "mode".to_owned(), values }
    }

    fn issues(batch: Option<usize>) -> SlicesPlan {
        let bind = vec![("id".to_owned(), "id".parse().unwrap())];
        SlicesPlan::Parent(ParentPlan { stream: "issues".parse().unwrap(), bind, batch })
    }

    fn all(plan: &SlicesPlan, parent: &ParentValues) -> Vec<Slice> {
        let horizon = Horizon { now: NOW.parse().unwrap(), since: None, until: None };
        let mut slices = slices(plan, &horizon, parent);
        part(&mut slices, None);
        slices
    }

    #[test]
    fn a_slice_is_found_again_by_its_address_at_any_time() {
        let parent = ParentValues::from([("id".to_owned(), json!("41"))]);
        let parents = ParentValues::from([("id".to_owned(), json!([41, 42]))]);
        for (plan, parent, expected) in [
            (SlicesPlan::Whole, None, vec!["{}"]),
            (
                window(WindowFormat::Date, 7),
                None,
                vec![
                    r#"{"dates":["2024-07-16","2024-07-22"]}"#,
                    r#"{"dates":["2024-07-23","2024-07-25"],"open":true}"#,
                ],
            ),
            (
                window(WindowFormat::EpochMillis, 7),
                None,
                vec![
                    r#"{"instants":["2024-07-16T10:00:00Z","2024-07-23T10:00:00Z"],"before":"2024-07-23T10:00:00Z"}"#,
                    r#"{"instants":["2024-07-23T10:00:00Z","2024-07-25T10:00:00Z"],"open":true}"#,
                ],
            ),
            (
                SlicesPlan::Union(vec![
                    SlicesPlan::Product(vec![modes(&["audit"]), window(WindowFormat::Date, 30)]),
                    modes(&["revoke"]),
                ]),
                None,
                vec![
                    r#"{"slice":{"mode":"audit"},"dates":["2024-07-16","2024-07-25"],"open":true}"#,
                    r#"{"slice":{"mode":"revoke"}}"#,
                ],
            ),
            (issues(None), Some(&parent), vec![r#"{"parent":{"id":"41"}}"#]),
            (issues(Some(2)), Some(&parents), vec![r#"{"parent":{"id":[41,42]}}"#]),
        ] {
            let slices = all(&plan, parent.unwrap_or(&ParentValues::new()));

            let texts = slices.iter().map(|it| serde_json::to_string(&SliceAddress::of(it)));
            assert_eq!(texts.map(Result::unwrap).collect::<Vec<_>>(), expected);
            for (slice, text) in slices.iter().zip(&expected) {
                let address: SliceAddress = serde_json::from_str(text).unwrap();
                let later = "2025-01-01T00:00:00Z".parse().unwrap();
                assert_eq!(address.find(&plan, later).as_ref(), Some(slice), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_slice_of_the_stream_is_not_found() {
        for (plan, text) in [
            (SlicesPlan::Whole, r#"{"slice":{"mode":"audit"}}"#),
            (SlicesPlan::Whole, r#"{"parent":{"id":"41"}}"#),
            (modes(&["audit"]), r#"{"slice":{"mode":"view"}}"#),
            (modes(&["audit"]), "{}"),
            (issues(None), "{}"),
            (issues(None), r#"{"parent":{"key":"41"}}"#),
            (issues(None), r#"{"parent":{"id":"41","key":"OPS-1"}}"#),
            (issues(None), r#"{"parent":{"id":[41]}}"#),
            (issues(Some(2)), r#"{"parent":{"id":41}}"#),
            (issues(Some(2)), r#"{"parent":{"id":[]}}"#),
            (issues(Some(2)), r#"{"parent":{"id":[1,2,3]}}"#),
            (window(WindowFormat::Date, 7), "{}"),
            (window(WindowFormat::Date, 7), r#"{"dates":["2024-07-16","2024-07-23"]}"#),
            (window(WindowFormat::Date, 7), r#"{"dates":["2024-07-16","2024-07-15"]}"#),
            (
                window(WindowFormat::Date, 7),
                r#"{"instants":["2024-07-16T00:00:00Z","2024-07-17T00:00:00Z"]}"#,
            ),
        ] {
            let address: SliceAddress = serde_json::from_str(text).unwrap();
            assert_eq!(address.find(&plan, NOW.parse().unwrap()), None, "{text}");
        }
    }

    #[test]
    fn windows_that_end_at_an_instant_leave_out_what_is_at_it() {
        let plan = window(WindowFormat::Rfc3339, 30);
        let mut slices = all(&plan, &ParentValues::new());
        assert_eq!(slices[0].before, None);

        part(&mut slices, Some(NOW.parse().unwrap()));

        assert_eq!(slices[0].before, Some(NOW.parse().unwrap()));
    }
}
