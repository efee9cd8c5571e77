//! Into which slices a stream is cut: windows, listed values, parents, and combinations. Pure.
//!
//! ```text
//! SlicesPlan --> Slice { id "mode=audit,2024-07-18..2024-07-24",
//!                        context slice.mode, slice.start, slice.end,
//!                        params startDate=2024-07-18, endDate=2024-07-24 }
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use serde_json::Value;

use super::split::Lineage;
use crate::plan::{
    Placement, SliceContext, SlicesPlan, WindowFormat, WindowParams, WindowPlan, WindowStart,
    value_text,
};

/// A bounded part of a stream that is read, retried and reconciled by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// For people, logs and quarantine: the values that make it different from the others.
    pub id: String,
    /// What templates and columns see.
    pub context: SliceContext,
    /// Parameters that the slice itself puts into each request.
    pub params: Vec<(Placement, Value)>,
    /// Rows whose cursor is at or after this are left out: another slice has them.
    pub before: Option<DateTime<Utc>>,
    window: Option<Window>,
    pub(super) lineage: Lineage,
}

/// The values of one parent row by the names that they are bound to.
pub type ParentValues = BTreeMap<String, Value>;

/// When a run happens, and which part of the time it is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Horizon {
    /// The run's clock.
    pub now: DateTime<Utc>,
    /// Where windows start instead of where the pipeline says.
    pub since: Option<WindowStart>,
    /// Where windows end instead of at the clock.
    pub until: Option<WindowStart>,
}

#[derive(Debug, Clone, PartialEq)]
struct Window {
    plan: Arc<WindowPlan>,
    span: Span,
}

/// The bounds of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Span {
    /// Both dates are in it.
    Dates(NaiveDate, NaiveDate),
    /// The two instants are shared with the neighbours, because APIs differ in whether a bound is
    /// included; a record on it is read twice and recognised by its key.
    Instants(DateTime<Utc>, DateTime<Utc>),
}

/// Where the first window of a stream starts by its plan; `None` where it has no windows.
pub fn planned_start(plan: &SlicesPlan, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    asked_start(plan, &Horizon { now, since: None, until: None })
}

/// Where the first window of a stream starts that a run asks for; `None` where it has no windows.
pub fn asked_start(plan: &SlicesPlan, horizon: &Horizon) -> Option<DateTime<Utc>> {
    match plan {
        SlicesPlan::Window(window) => {
            Some(instant_of(horizon.since.unwrap_or(window.from), window, horizon.now))
        }
        SlicesPlan::Product(parts) | SlicesPlan::Union(parts) => {
            parts.iter().filter_map(|it| asked_start(it, horizon)).min()
        }
        SlicesPlan::Whole
        | SlicesPlan::List { .. }
        | SlicesPlan::Parent(_)
        | SlicesPlan::Given(_) => None,
    }
}

fn instant_of(start: WindowStart, window: &WindowPlan, now: DateTime<Utc>) -> DateTime<Utc> {
    match start {
        WindowStart::At(instant) => instant,
        WindowStart::On(date) => midnight(date, window.zone),
        WindowStart::Ago(back) => match window.format {
            WindowFormat::Date => {
                let today = now.with_timezone(&window.zone).date_naive();
                midnight(today - Days::new(back.num_days().unsigned_abs()), window.zone)
            }
            WindowFormat::EpochMillis
            | WindowFormat::EpochSeconds
            | WindowFormat::Rfc3339
            | WindowFormat::Custom(_) => now - back,
        },
    }
}

/// How far back the windows of a stream start once everything before has been read.
pub fn reread(plan: &SlicesPlan) -> Option<TimeDelta> {
    match plan {
        SlicesPlan::Window(window) => window.reread,
        SlicesPlan::Product(parts) | SlicesPlan::Union(parts) => parts.iter().find_map(reread),
        SlicesPlan::Whole
        | SlicesPlan::List { .. }
        | SlicesPlan::Parent(_)
        | SlicesPlan::Given(_) => None,
    }
}

/// The slices of a stream for one parent, or all its slices where it has no parent.
pub fn slices(plan: &SlicesPlan, horizon: &Horizon, parent: &ParentValues) -> Vec<Slice> {
    let whole = Slice {
        id: String::new(),
        context: SliceContext::default(),
        params: Vec::new(),
        before: None,
        window: None,
        lineage: Lineage::default(),
    };
    let mut slices = expand(plan, horizon, parent, &whole);
    let mut names = BTreeSet::new();
    names_of(plan, &mut names);
    for slice in &mut slices {
        // It is cut by itself.
        slice.lineage = Lineage::default();
        // What only another part of a union has a value for is nothing here, which leaves the
        // parameters that name it out.
        for name in &names {
            slice.context.slice.entry((*name).to_owned()).or_insert(Value::Null);
        }
        if slice.id.is_empty() {
            "all".clone_into(&mut slice.id);
        }
    }
    slices
}

fn expand(plan: &SlicesPlan, horizon: &Horizon, parent: &ParentValues, base: &Slice) -> Vec<Slice> {
    match plan {
        SlicesPlan::Whole => vec![base.clone()],
        SlicesPlan::List { name, values } => {
            let one = |value: &Value| {
                let mut slice = base.named(&format!("{name}={}", value_text(value)));
                slice.context.slice.insert(name.clone(), value.clone());
                slice
            };
            values.iter().map(one).collect()
        }
        SlicesPlan::Window(window) => {
            let plan = Arc::new(window.clone());
            let spans = spans(window, horizon);
            spans
                .into_iter()
                .map(|span| base.in_window(Window { plan: plan.clone(), span }))
                .collect()
        }
        SlicesPlan::Parent(_) => vec![base.of_parent(parent)],
        SlicesPlan::Given(parent) => vec![base.of_parent(parent)],
        SlicesPlan::Product(parts) => parts.iter().fold(vec![base.clone()], |slices, part| {
            slices.iter().flat_map(|it| expand(part, horizon, parent, it)).collect()
        }),
        SlicesPlan::Union(parts) => {
            parts.iter().flat_map(|it| expand(it, horizon, parent, base)).collect()
        }
    }
}

/// The names that the slices of a plan have values for.
fn names_of<'a>(plan: &'a SlicesPlan, names: &mut BTreeSet<&'a str>) {
    match plan {
        SlicesPlan::Whole | SlicesPlan::Parent(_) | SlicesPlan::Given(_) => {}
        SlicesPlan::List { name, values: _ } => {
            names.insert(name);
        }
        SlicesPlan::Window(_) => names.extend(["start", "end"]),
        SlicesPlan::Product(parts) | SlicesPlan::Union(parts) => {
            for part in parts {
                names_of(part, names);
            }
        }
    }
}

impl Slice {
    /// Cuts the slice's window in two halves; `None` where there is no window, or it is as short
    /// as the API can say.
    pub fn split(&self) -> Option<[Self; 2]> {
        let window = self.window.as_ref()?;
        let (first, second) = window.span.halves(&window.plan.format)?;
        let without = self.without_window();
        let half = |span| without.in_window(Window { plan: window.plan.clone(), span });
        Some([half(first), half(second)])
    }

    /// The first and the last date of the slice's window, where it is one of dates.
    pub fn dates(&self) -> Option<(NaiveDate, NaiveDate)> {
        match self.window.as_ref()?.span {
            Span::Dates(first, last) => Some((first, last)),
            Span::Instants(..) => None,
        }
    }

    pub(super) fn span(&self) -> Option<Span> {
        self.window.as_ref().map(|it| it.span)
    }

    /// Where the slice's window starts.
    pub fn start(&self) -> Option<DateTime<Utc>> {
        let window = self.window.as_ref()?;
        Some(match window.span {
            Span::Dates(first, _) => midnight(first, window.plan.zone),
            Span::Instants(start, _) => start,
        })
    }

    fn named(&self, part: &str) -> Self {
        let id = if self.id.is_empty() { part.to_owned() } else { format!("{},{part}", self.id) };
        Self { id, ..self.clone() }
    }

    fn of_parent(&self, parent: &ParentValues) -> Self {
        // What starts with `$` travels with the values, but does not make the slice.
        let named = parent.iter().filter(|(name, _)| !name.starts_with('$'));
        let id: Vec<String> = named.map(|(_, value)| short(value)).collect();
        let mut slice = self.named(&id.join(","));
        slice.context.parent.clone_from(parent);
        slice
    }

    fn without_window(&self) -> Self {
        let mut slice = self.clone();
        if let Some(window) = slice.window.take() {
            let part = window.span.id();
            slice.id =
                slice.id.strip_suffix(&part).unwrap_or(&slice.id).trim_end_matches(',').to_owned();
            let mine = window.param_names();
            slice.params.retain(|(it, _)| !mine.contains(&it));
        }
        slice
    }

    fn in_window(&self, window: Window) -> Self {
        let mut slice = self.named(&window.span.id());
        let (start, end) = window.bounds();
        match &window.plan.params {
            WindowParams::None => {}
            WindowParams::Pair(placement) => {
                let pair = format!("{},{}", value_text(&start), value_text(&end));
                slice.params.push((placement.clone(), Value::String(pair)));
            }
            WindowParams::Bounds { start: at_start, end: at_end } => {
                let placed = |at: &Option<Placement>, value: &Value| {
                    at.as_ref().map(|it| (it.clone(), value.clone()))
                };
                slice.params.extend(placed(at_start, &start));
                slice.params.extend(placed(at_end, &end));
            }
        }
        slice.context.slice.insert("start".to_owned(), start);
        slice.context.slice.insert("end".to_owned(), end);
        slice.window = Some(window);
        slice
    }
}

impl Window {
    fn param_names(&self) -> Vec<&Placement> {
        match &self.plan.params {
            WindowParams::None => Vec::new(),
            WindowParams::Pair(placement) => vec![placement],
            WindowParams::Bounds { start, end } => start.iter().chain(end).collect(),
        }
    }

    /// The two bounds as the API wants them.
    fn bounds(&self) -> (Value, Value) {
        let zone = self.plan.zone;
        let instant = |at: DateTime<Utc>| match &self.plan.format {
            WindowFormat::Date => Value::String(at.with_timezone(&zone).date_naive().to_string()),
            WindowFormat::EpochMillis => Value::from(at.timestamp_millis()),
            WindowFormat::EpochSeconds => Value::from(at.timestamp()),
            WindowFormat::Rfc3339 => Value::String(at.format("%Y-%m-%dT%H:%M:%SZ").to_string()),
            WindowFormat::Custom(pattern) => {
                Value::String(at.with_timezone(&zone).format(pattern).to_string())
            }
        };
        match self.span {
            Span::Dates(first, last) => {
                (Value::String(first.to_string()), Value::String(last.to_string()))
            }
            Span::Instants(start, end) => (instant(start), instant(end)),
        }
    }
}

impl Span {
    fn id(self) -> String {
        match self {
            Self::Dates(first, last) if first == last => first.to_string(),
            Self::Dates(first, last) => format!("{first}..{last}"),
            Self::Instants(start, end) => {
                format!(
                    "{}..{}",
                    start.format("%Y-%m-%dT%H:%M:%SZ"),
                    end.format("%Y-%m-%dT%H:%M:%SZ")
                )
            }
        }
    }

    fn halves(self, format: &WindowFormat) -> Option<(Self, Self)> {
        match self {
            Self::Dates(first, last) => {
                let days = (last - first).num_days();
                let middle = first.checked_add_days(Days::new(u64::try_from(days / 2).ok()?))?;
                (days > 0)
                    .then(|| (Self::Dates(first, middle), Self::Dates(middle + Days::new(1), last)))
            }
            Self::Instants(start, end) => {
                // A bound finer than the API can say would ask for the same window again.
                let grain = match format {
                    WindowFormat::EpochMillis => TimeDelta::milliseconds(1),
                    WindowFormat::Date => TimeDelta::days(1),
                    WindowFormat::EpochSeconds
                    | WindowFormat::Rfc3339
                    | WindowFormat::Custom(_) => TimeDelta::seconds(1),
                };
                let half = (end - start) / 2;
                let ticks = half.num_milliseconds() / grain.num_milliseconds();
                let middle = start + grain * i32::try_from(ticks).ok()?;
                (ticks > 0).then_some((Self::Instants(start, middle), Self::Instants(middle, end)))
            }
        }
    }
}

fn spans(plan: &WindowPlan, horizon: &Horizon) -> Vec<Span> {
    let from = horizon.since.unwrap_or(plan.from);
    match plan.format {
        WindowFormat::Date => {
            let today = horizon.now.with_timezone(&plan.zone).date_naive();
            let date = |start: WindowStart| match start {
                WindowStart::On(date) => date,
                WindowStart::At(instant) => instant.with_timezone(&plan.zone).date_naive(),
                WindowStart::Ago(back) => today - Days::new(back.num_days().unsigned_abs()),
            };
            let ahead = today + TimeDelta::days(plan.ahead.num_days());
            let last = horizon.until.map_or(ahead, date);
            let step = plan.step.map_or(i64::MAX, |it| it.num_days().max(1));
            steps_of_dates(date(from), last, step)
        }
        WindowFormat::EpochMillis
        | WindowFormat::EpochSeconds
        | WindowFormat::Rfc3339
        | WindowFormat::Custom(_) => {
            let instant = |start: WindowStart| match start {
                WindowStart::At(instant) => instant,
                WindowStart::On(date) => midnight(date, plan.zone),
                WindowStart::Ago(back) => horizon.now - back,
            };
            // A last date is meant to be read as a whole.
            let last = horizon.until.map_or(horizon.now + plan.ahead, |it| match it {
                WindowStart::On(date) => midnight(date + Days::new(1), plan.zone),
                WindowStart::At(_) | WindowStart::Ago(_) => instant(it),
            });
            steps_of_instants(instant(from), last, plan.step)
        }
    }
}

fn steps_of_dates(first: NaiveDate, last: NaiveDate, step: i64) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut start = first;
    while start <= last {
        let end = start
            .checked_add_signed(TimeDelta::try_days(step - 1).unwrap_or(TimeDelta::MAX))
            .map_or(last, |it| it.min(last));
        spans.push(Span::Dates(start, end));
        start = end + Days::new(1);
    }
    spans
}

fn steps_of_instants(
    first: DateTime<Utc>,
    last: DateTime<Utc>,
    step: Option<TimeDelta>,
) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut start = first;
    while start < last {
        let end = step.and_then(|it| start.checked_add_signed(it)).map_or(last, |it| it.min(last));
        spans.push(Span::Instants(start, end));
        start = end;
    }
    spans
}

/// The first instant of a date; where the clock skips midnight, the first one after the gap.
fn midnight(date: NaiveDate, zone: chrono_tz::Tz) -> DateTime<Utc> {
    let mut local = date.and_time(NaiveTime::MIN);
    for _ in 0..8 {
        if let Some(instant) = zone.from_local_datetime(&local).earliest() {
            return instant.with_timezone(&Utc);
        }
        local += TimeDelta::minutes(30);
    }
    local.and_utc()
}

/// A value as part of a slice's id.
fn short(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("{} parents", items.len()),
        other => value_text(other),
    }
}

#[cfg(test)]
mod tests {
    use chrono_tz::Europe::Moscow;
    use serde_json::json;

    use super::*;
    use crate::plan::Place;

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn instant(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn horizon(now: &str) -> Horizon {
        Horizon { now: instant(now), since: None, until: None }
    }

    fn query(name: &str) -> Placement {
        Placement { place: Place::Query, name: name.to_owned() }
    }

    fn weeks() -> SlicesPlan {
        SlicesPlan::Window(WindowPlan {
            from: WindowStart::Ago(TimeDelta::days(9)),
            ahead: TimeDelta::days(3),
            step: Some(TimeDelta::days(7)),
            reread: None,
            format: WindowFormat::Date,
            zone: Moscow,
            params: WindowParams::Bounds {
                start: Some(query("startDate")),
                end: Some(query("endDate")),
            },
        })
    }

    #[track_caller]
    fn check(plan: &SlicesPlan, horizon: &Horizon, expected: &[&str]) -> Vec<Slice> {
        let slices = slices(plan, horizon, &ParentValues::new());
        let ids: Vec<&str> = slices.iter().map(|it| it.id.as_str()).collect();
        assert_eq!(ids, expected);
        slices
    }

    #[test]
    fn windows_of_dates_count_from_today_in_their_zone_and_reach_ahead() {
        // 22:30 UTC is already the next day in Moscow.
        let expected = ["2024-07-17..2024-07-23", "2024-07-24..2024-07-29"];
        let slices = check(&weeks(), &horizon("2024-07-25T22:30:00Z"), &expected);

        assert_eq!(
            slices[0].params,
            [(query("startDate"), json!("2024-07-17")), (query("endDate"), json!("2024-07-23"))]
        );
        assert_eq!(slices[1].context.slice["end"], json!("2024-07-29"));
    }

    #[test]
    fn since_and_until_replace_the_ends() {
        let mut horizon = horizon("2024-07-25T10:00:00Z");
        horizon.since = Some(WindowStart::On(date("2024-07-01")));
        horizon.until = Some(WindowStart::On(date("2024-07-03")));

        check(&weeks(), &horizon, &["2024-07-01..2024-07-03"]);
    }

    #[test]
    fn windows_of_instants_share_their_bounds() {
        let plan = SlicesPlan::Window(WindowPlan {
            from: WindowStart::On(date("2024-07-24")),
            ahead: TimeDelta::zero(),
            step: Some(TimeDelta::days(1)),
            reread: None,
            format: WindowFormat::EpochMillis,
            zone: Moscow,
            params: WindowParams::Pair(query("interval")),
        });
        let expected = [
            "2024-07-23T21:00:00Z..2024-07-24T21:00:00Z",
            "2024-07-24T21:00:00Z..2024-07-25T10:00:00Z",
        ];
        let slices = check(&plan, &horizon("2024-07-25T10:00:00Z"), &expected);

        assert_eq!(slices[0].params[0].1, json!("1721768400000,1721854800000"));
    }

    #[test]
    fn a_union_of_a_product_and_a_list_has_the_slices_of_both() {
        let list = |values: &[&str]| SlicesPlan::List {
            name: "mode".to_owned(),
            values: values.iter().map(|it| json!(it)).collect(),
        };
        let plan = SlicesPlan::Union(vec![
            SlicesPlan::Product(vec![list(&["audit"]), weeks()]),
            list(&["revoke-audit"]),
        ]);
        let expected = [
            "mode=audit,2024-07-16..2024-07-22",
            "mode=audit,2024-07-23..2024-07-28",
            "mode=revoke-audit",
        ];
        let slices = check(&plan, &horizon("2024-07-25T10:00:00Z"), &expected);

        assert!(slices[2].params.is_empty());
        assert_eq!(slices[2].context.slice["start"], json!(null), "it has no window");
    }

    #[test]
    fn a_window_is_split_until_the_api_cannot_say_a_shorter_one() {
        let slice = &check(
            &weeks(),
            &horizon("2024-07-25T10:00:00Z"),
            &["2024-07-16..2024-07-22", "2024-07-23..2024-07-28"],
        )[0];

        let [first, second] = slice.split().unwrap();

        assert_eq!(
            (first.id.as_str(), second.id.as_str()),
            ("2024-07-16..2024-07-19", "2024-07-20..2024-07-22")
        );
        assert_eq!(
            first.params,
            [(query("startDate"), json!("2024-07-16")), (query("endDate"), json!("2024-07-19"))]
        );
        let day = first.split().unwrap()[0].split().unwrap()[0].clone();
        assert_eq!(day.id, "2024-07-16");
        assert_eq!(day.split(), None);
    }

    #[test]
    fn a_slice_of_a_parent_carries_its_values() {
        let plan = SlicesPlan::Parent(crate::plan::ParentPlan {
            stream: "issues".parse().unwrap(),
            bind: vec![("key".to_owned(), "key".parse().unwrap())],
            batch: None,
        });
        let parent: ParentValues = [("key".to_owned(), json!("OPS-7"))].into();

        let slices = slices(&plan, &horizon("2024-07-25T10:00:00Z"), &parent);

        assert_eq!(slices[0].id, "OPS-7");
        assert_eq!(slices[0].context.parent["key"], json!("OPS-7"));
    }
}
