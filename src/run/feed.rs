//! From a stream to its child streams: each parent once, as its own text while it waits.
//!
//! ```text
//! row         id 41 | number 7 | created_at 2024-01-01T00:00:00Z | 30 more columns
//! bound       issue_id 41, number 7, $version 2024-01-01T00:00:00Z
//! seen        8 bytes of a hash, so that a row that comes again is not followed again
//! waits as    {"$version":"2024-01-01T00:00:00+00:00","issue_id":41,"number":7}
//! ```
//!
//! Parents come a thousand times faster than they are followed: all of them wait at once. As a map
//! of values each would take 1.2 KiB, as text it takes what it says.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimestampMicrosecondType},
};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{extract::ParentValues, plan::Name};

/// Under which the parent's cursor value travels with the values that are bound from it. Templates
/// cannot name it.
pub(super) const PARENT_VERSION: &str = "$version";

/// The way to a child stream: each row of the parent is sent once.
#[derive(Debug)]
pub(super) struct ChildFeed {
    /// Names and the columns that they are bound to; with the parent's cursor column, if it has one.
    bind: Vec<(String, Name)>,
    sender: mpsc::UnboundedSender<WaitingParent>,
    /// Hashes of the parents that were sent.
    seen: Mutex<HashSet<u64>>,
}

/// The child's end of a feed.
pub(super) type Parents = mpsc::UnboundedReceiver<WaitingParent>;

/// A parent that is not followed yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum WaitingParent {
    /// JSON.
    Text(Box<[u8]>),
    /// As it is, because its text would not read as the same: the digits of a fraction may be off
    /// by the last bit.
    Values(Box<ParentValues>),
}

impl From<ParentValues> for WaitingParent {
    fn from(values: ParentValues) -> Self {
        match serde_json::to_vec(&values) {
            Ok(text) if read(&text).as_ref() == Some(&values) => {
                Self::Text(text.into_boxed_slice())
            }
            Ok(_) | Err(_) => Self::Values(Box::new(values)),
        }
    }
}

impl From<WaitingParent> for ParentValues {
    fn from(parent: WaitingParent) -> Self {
        match parent {
            // It was read once before, when it was written.
            WaitingParent::Text(text) => read(&text).unwrap_or_default(),
            WaitingParent::Values(values) => *values,
        }
    }
}

fn read(text: &[u8]) -> Option<ParentValues> {
    serde_json::from_slice(text).ok()
}

impl ChildFeed {
    /// A feed and its other end.
    pub(super) fn new(mut bind: Vec<(String, Name)>, cursor: Option<&Name>) -> (Self, Parents) {
        let (sender, receiver) = mpsc::unbounded_channel();
        bind.extend(cursor.map(|it| (PARENT_VERSION.to_owned(), it.clone())));
        (Self { bind, sender, seen: Mutex::default() }, receiver)
    }

    /// Sends the rows that were not sent before.
    pub(super) fn send(&self, batch: &RecordBatch) {
        let columns: Vec<_> = self
            .bind
            .iter()
            .filter_map(|(name, column)| Some((name, batch.column_by_name(column.as_str())?)))
            .collect();
        for row in 0..batch.num_rows() {
            let values: ParentValues =
                columns.iter().map(|(name, array)| ((*name).clone(), cell(array, row))).collect();
            self.send_values(values);
        }
    }

    /// Sends a parent, unless it was sent before.
    pub(super) fn send_values(&self, values: ParentValues) {
        if self.is_new(&values) {
            // A child that has ended needs no more parents.
            let _ = self.sender.send(values.into());
        }
    }

    fn is_new(&self, values: &ParentValues) -> bool {
        let mut hasher = DefaultHasher::new();
        for (name, value) in values.iter().filter(|(name, _)| *name != PARENT_VERSION) {
            (name, value.to_string()).hash(&mut hasher);
        }
        // What is behind the lock is only added to: a panic elsewhere cannot leave it half changed.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(hasher.finish())
    }
}

/// A cell as a template sees it.
fn cell(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Utf8 => Value::from(array.as_string::<i32>().value(row)),
        DataType::Int64 => Value::from(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => Value::from(array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Value::from(array.as_boolean().value(row)),
        DataType::Date32 => {
            let date = array.as_primitive::<Date32Type>().value_as_date(row);
            date.map_or(Value::Null, |it| Value::from(it.to_string()))
        }
        DataType::Timestamp(..) => {
            let instant = array.as_primitive::<TimestampMicrosecondType>().value_as_datetime(row);
            instant.map_or(Value::Null, |it| Value::from(it.and_utc().to_rfc3339()))
        }
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, Float64Array, Int64Array, StringArray},
        datatypes::{Field, Schema},
    };
    use serde_json::json;

    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        let field =
            |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|it| it.1).collect())
            .unwrap()
    }

    fn waiting(parents: &mut Parents) -> Vec<WaitingParent> {
        std::iter::from_fn(|| parents.try_recv().ok()).collect()
    }

    #[test]
    fn each_parent_comes_once_with_the_values_that_are_bound() {
        let bind = vec![("issue".to_owned(), name("id")), ("hours".to_owned(), name("spent"))];
        let (feed, mut parents) = ChildFeed::new(bind, Some(&name("seen")));
        let rows = batch(vec![
            ("id", Arc::new(StringArray::from(vec!["OPS-1", "ОПС-\"2\"", "OPS-1"]))),
            ("spent", Arc::new(Float64Array::from(vec![Some(0.1), None, Some(0.1)]))),
            ("seen", Arc::new(Int64Array::from(vec![1, 2, 3]))),
            ("text", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
        ]);

        feed.send(&rows);
        feed.send_values(ParentValues::from([("issue".to_owned(), json!("OPS-3"))]));
        feed.send(&rows);

        let values: Vec<Value> = waiting(&mut parents)
            .into_iter()
            .map(|it| serde_json::to_value(ParentValues::from(it)).unwrap())
            .collect();
        assert_eq!(
            values,
            [
                json!({"issue": "OPS-1", "hours": 0.1, "$version": 1}),
                json!({"issue": "ОПС-\"2\"", "hours": null, "$version": 2}),
                json!({"issue": "OPS-3"}),
            ]
        );
    }

    #[test]
    fn a_parent_that_waits_becomes_what_it_was_to_the_last_bit() {
        for value in [
            json!(null),
            json!(true),
            json!(i64::MIN),
            json!(u64::MAX),
            json!("a\n\u{1f}\"ж"),
            json!([1, {"a": null}]),
            json!(0.1),
            json!(-0.0),
            json!(5e-324),
            json!(1.797_693_134_862_315_7e308),
            // Of these serde_json reads other bits.
            json!(51.248_178_375_505_404),
            json!(2.638_344_616_030_823e-256),
            json!(7.101_215_824_554_616e260),
        ] {
            let values = ParentValues::from([("key".to_owned(), value)]);

            let back = ParentValues::from(WaitingParent::from(values.clone()));

            assert_eq!(format!("{back:?}"), format!("{values:?}"));
            let bits = |it: &ParentValues| it["key"].as_f64().map(f64::to_bits);
            assert_eq!(bits(&back), bits(&values));
        }
    }

    #[test]
    fn a_parent_that_waits_takes_what_its_values_say() {
        let (feed, mut parents) = ChildFeed::new(
            vec![("issue_id".to_owned(), name("id")), ("number".to_owned(), name("number"))],
            None,
        );
        let ids: Vec<String> = (0..1_000).map(|it| format!("6033f986bd6c4a0426{it:06x}")).collect();
        let numbers: Vec<i64> = (100_000..101_000).collect();
        feed.send(&batch(vec![
            ("id", Arc::new(StringArray::from(ids))),
            ("number", Arc::new(Int64Array::from(numbers))),
        ]));

        let waiting = waiting(&mut parents);

        assert_eq!(waiting.len(), 1_000);
        for parent in waiting {
            let WaitingParent::Text(text) = parent else { panic!("{parent:?}") };
            assert_eq!(
                text.len(),
                r#"{"issue_id":"6033f986bd6c4a0426000000","number":100000}"#.len()
            );
        }
        // In the queue the text's address and length are beside it.
        assert!(size_of::<WaitingParent>() <= 16 + 8, "{}", size_of::<WaitingParent>());
    }
}
