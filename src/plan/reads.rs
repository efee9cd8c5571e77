//! Which values a request reads.

use super::{BodyPlan, QueryValue, RequestPlan, Template};

impl RequestPlan {
    /// Whether a template of the request reads a value, such as `slice.end`.
    pub fn reads(&self, name: &str) -> bool {
        let Self { method: _, path, query, headers, body } = self;
        reads(path, name)
            || query.iter().any(|(_, it)| it.reads(name))
            || headers.iter().any(|(_, it)| reads(it, name))
            || body.as_ref().is_some_and(|it| it.reads(name))
    }
}

impl QueryValue {
    fn reads(&self, name: &str) -> bool {
        match self {
            Self::One(template) => reads(template, name),
            Self::Repeat(templates) | Self::Csv(templates) => {
                templates.iter().any(|it| reads(it, name))
            }
            Self::Json(body) => body.reads(name),
        }
    }
}

impl BodyPlan {
    fn reads(&self, name: &str) -> bool {
        match self {
            Self::Object(members) => members.iter().any(|(_, it)| it.reads(name)),
            Self::Array(items) => items.iter().any(|it| it.reads(name)),
            Self::Leaf(template) => reads(template, name),
        }
    }
}

/// A template that is in a plan has been parsed before.
fn reads(template: &Template, name: &str) -> bool {
    template.names().is_ok_and(|names| names.iter().any(|it| it == name))
}
