//! What a stream asks for, as a number: a state of another project or query says nothing about this
//! one.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

use super::{BodyPlan, QueryValue, RequestPlan, SlicesPlan, StreamPlan, Template};

impl StreamPlan {
    /// Tells what the stream asks for: its request and listed values with the values of variables,
    /// but not where windows start, nor how fast or in which pages it is read.
    pub fn selection(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let RequestPlan { method: _, path, query, headers: _, body } = &self.request;
        path.identity().hash(&mut hasher);
        for (name, value) in query {
            (name, value.identity()).hash(&mut hasher);
        }
        body.as_ref().map(BodyPlan::identity).hash(&mut hasher);
        self.slices.listed(&mut |name, values| format!("{name} {values:?}").hash(&mut hasher));
        hasher.finish()
    }
}

impl SlicesPlan {
    /// Shows every list of values, and those of a given parent, to `see`.
    fn listed(&self, see: &mut impl FnMut(&str, &[Value])) {
        match self {
            Self::List { name, values } => see(name, values),
            Self::Given(values) => {
                for (name, value) in values {
                    see(name, std::slice::from_ref(value));
                }
            }
            Self::Product(parts) | Self::Union(parts) => {
                for part in parts {
                    part.listed(see);
                }
            }
            Self::Whole | Self::Window(_) | Self::Parent(_) => {}
        }
    }
}

impl QueryValue {
    /// Everything that the value depends on but the slice, as text.
    fn identity(&self) -> String {
        match self {
            Self::One(template) => template.identity(),
            Self::Repeat(templates) | Self::Csv(templates) => {
                templates.iter().map(Template::identity).collect::<Vec<_>>().join("\u{1f}")
            }
            Self::Json(body) => body.identity(),
        }
    }
}

impl BodyPlan {
    /// Everything that the value depends on but the slice, as text.
    fn identity(&self) -> String {
        match self {
            Self::Object(members) => members
                .iter()
                .map(|(key, member)| format!("{key}:{}", member.identity()))
                .collect::<Vec<_>>()
                .join(","),
            Self::Array(items) => items.iter().map(Self::identity).collect::<Vec<_>>().join(","),
            Self::Leaf(template) => template.identity(),
        }
    }
}
