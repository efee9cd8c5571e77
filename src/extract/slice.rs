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
    /// Whether it ends at the clock because nobody says where: what comes meanwhile may be in it.
    is_open: bool,
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
                midnight(days_before(today, back), window.zone)
            }
            WindowFormat::EpochMillis
            | WindowFormat::EpochSeconds
            | WindowFormat::Rfc3339
            | WindowFormat::Custom(_) => before(now, back),
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
            let n = spans.len();
            let windows = spans.into_iter().enumerate().map(|(at, span)| {
                let is_open = horizon.until.is_none() && at + 1 == n;
                base.in_window(Window { plan: plan.clone(), span, is_open })
            });
            windows.collect()
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
        SlicesPlan::Window(_) => names.extend(["start", "end", "until"]),
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
        let half =
            |span, is_open| without.in_window(Window { plan: window.plan.clone(), span, is_open });
        Some([half(first, false), half(second, window.is_open)])
    }

    /// Whether the slice's window ends at the clock because nobody says where.
    pub(super) fn is_open(&self) -> bool {
        self.window.as_ref().is_some_and(|it| it.is_open)
    }

    /// The slice with a window that ends at the clock of whoever planned it.
    pub(super) fn opened(self) -> Self {
        let Some(window) = self.window.clone() else { return self };
        self.without_window().in_window(Window { is_open: true, ..window })
    }

    /// The first and the last date of the slice's window, where it is one of dates.
    pub fn dates(&self) -> Option<(NaiveDate, NaiveDate)> {
        match self.window.as_ref()?.span {
            Span::Dates(first, last) => Some((first, last)),
            Span::Instants(..) => None,
        }
    }

    /// The slice's window, the end excluded; instants are told as they are asked for.
    pub fn window(&self) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let window = self.window.as_ref()?;
        Some(match window.span {
            Span::Dates(first, last) => {
                let after = last.succ_opt().unwrap_or(last);
                (midnight(first, window.plan.zone), midnight(after, window.plan.zone))
            }
            Span::Instants(start, end) => (start, end),
        })
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
        let until = if window.is_open { Value::Null } else { end.clone() };
        slice.context.slice.insert("start".to_owned(), start);
        slice.context.slice.insert("until".to_owned(), until);
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
                let half = ((end - start) / 2).num_milliseconds();
                let half = half - half % grain.num_milliseconds();
                let middle = start + TimeDelta::try_milliseconds(half)?;
                (half > 0).then_some((Self::Instants(start, middle), Self::Instants(middle, end)))
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
                WindowStart::Ago(back) => days_before(today, back),
            };
            let ahead = today.checked_add_signed(plan.ahead).unwrap_or(NaiveDate::MAX);
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
                WindowStart::Ago(back) => before(horizon.now, back),
            };
            // A last date is meant to be read as a whole.
            let last = horizon.until.map_or(before(horizon.now, -plan.ahead), |it| match it {
                WindowStart::On(date) => midnight(date.succ_opt().unwrap_or(date), plan.zone),
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
        let Some(next) = end.succ_opt() else { break };
        start = next;
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

/// So long before an instant, or at the end of the calendar.
fn before(now: DateTime<Utc>, back: TimeDelta) -> DateTime<Utc> {
    let end =
        if back < TimeDelta::zero() { DateTime::<Utc>::MAX_UTC } else { DateTime::<Utc>::MIN_UTC };
    now.checked_sub_signed(back).unwrap_or(end)
}

/// So many whole days before a date, or the first one of the calendar.
fn days_before(today: NaiveDate, back: TimeDelta) -> NaiveDate {
    today.checked_sub_days(Days::new(back.num_days().unsigned_abs())).unwrap_or(NaiveDate::MIN)
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
mod tests;
