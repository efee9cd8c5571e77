//! What of a stream `--since` and `--until` do not bound; pure.
//!
//! ```text
//! yandex_tracker.worklogs     one slice a row of `issues`: the bounds pick issues
//! jira_timesheet.audit_log    mode=revoke-audit and mode=revoke-view have no window
//! ```

use crate::{
    extract::{Horizon, ParentValues, slices},
    plan::{Name, SlicesPlan, StreamPlan, WindowParams},
};

/// What is read although it may lie outside of the part that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unbounded {
    /// The rows of each parent, of which the bounds pick those that are read.
    OfParents(Name),
    /// The stream, which has no windows.
    Whole,
    /// These slices, which have none.
    Slices(Vec<String>),
    /// What comes after `--until`, because no request says where a window ends.
    After,
}

/// What a run of this part of the time reads of the stream beside it.
pub fn unbounded(stream: &StreamPlan, horizon: &Horizon) -> Option<Unbounded> {
    let window = first_window(&stream.slices);
    match (stream.slices.parent(), window) {
        (Some(parent), None) => return Some(Unbounded::OfParents(parent.stream.clone())),
        (None, None) => return Some(Unbounded::Whole),
        (_, Some(params)) if horizon.until.is_some() && !sends_end(stream, params) => {
            return Some(Unbounded::After);
        }
        (Some(_), Some(_)) => return None,
        (None, Some(_)) => {}
    }
    let slices = slices(&stream.slices, horizon, &ParentValues::new());
    let whole: Vec<String> =
        slices.into_iter().filter(|it| it.start().is_none()).map(|it| it.id).collect();
    (!whole.is_empty()).then_some(Unbounded::Slices(whole))
}

fn first_window(plan: &SlicesPlan) -> Option<&WindowParams> {
    match plan {
        SlicesPlan::Window(window) => Some(&window.params),
        SlicesPlan::Product(parts) | SlicesPlan::Union(parts) => {
            parts.iter().find_map(first_window)
        }
        SlicesPlan::Whole
        | SlicesPlan::List { .. }
        | SlicesPlan::Parent(_)
        | SlicesPlan::Given(_) => None,
    }
}

fn sends_end(stream: &StreamPlan, params: &WindowParams) -> bool {
    let by_itself = match params {
        WindowParams::Pair(_) => true,
        WindowParams::Bounds { end, .. } => end.is_some(),
        WindowParams::None => false,
    };
    by_itself || ["slice.end", "slice.until"].iter().any(|it| stream.request.reads(it))
}
