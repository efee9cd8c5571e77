//! Templates: Jinja in quotes, compiled and checked at load, rendered once a slice.
//!
//! ```text
//! "{{ parent.issue_id }}"          exactly one expression: keeps its native type (a number stays one)
//! "/v3/issues/{{ parent.key }}"    text around it: always text
//! "plain"                          no expression: the value as it stands
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use minijinja::{
    Environment, UndefinedBehavior, escape_formatter,
    value::{Serde, ValueKind},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use thiserror::Error;

use super::SliceContext;

/// A template that could not be rendered for a slice.
#[derive(Debug, Error)]
#[error("template `{template}`: {reason}")]
pub struct RenderError {
    /// The template as it stands in the file.
    pub template: String,
    /// What is wrong, without the values of variables.
    pub reason: String,
}

/// A value of the pipeline file that may depend on the slice.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// Known when the file is loaded.
    Constant(Value),
    /// One expression, whose native type is kept. The text is what stands between the braces.
    Expression(String, Vars),
    /// Text with expressions in it.
    Text(String, Vars),
}

/// The variables that a template reads, with their values; they are never printed.
#[derive(Clone, Default, PartialEq)]
pub struct Vars(Arc<BTreeMap<String, Value>>);

impl Vars {
    /// Keeps the values that a template reads.
    pub fn new(values: BTreeMap<String, Value>) -> Self {
        Self(Arc::new(values))
    }
}

impl fmt::Debug for Vars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// How the values of expressions are put into the text around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// As they are.
    Nothing,
    /// Percent-encoded, so that a value is always one segment of a URL's path.
    PathSegment,
}

impl Template {
    /// Takes a text of the pipeline file apart, without checking its expressions.
    pub fn parse(text: &str) -> Self {
        let trimmed = text.trim();
        let inner = trimmed.strip_prefix("{{").and_then(|it| it.strip_suffix("}}"));
        match inner {
            Some(inner) if !inner.contains("{{") && !inner.contains("}}") => {
                let source = inner.trim_matches(['-', ' ', '\n', '\t']).to_owned();
                Self::Expression(source, Vars::default())
            }
            _ if ["{{", "{%", "{#"].iter().any(|it| text.contains(it)) => {
                Self::Text(text.to_owned(), Vars::default())
            }
            _ => Self::Constant(Value::String(text.to_owned())),
        }
    }

    /// Gives the template the values of its variables.
    #[must_use]
    pub fn with_vars(self, vars: Vars) -> Self {
        match self {
            Self::Constant(value) => Self::Constant(value),
            Self::Expression(source, _) => Self::Expression(source, vars),
            Self::Text(source, _) => Self::Text(source, vars),
        }
    }

    /// Everything that the value depends on but the slice, as text.
    pub fn identity(&self) -> String {
        match self {
            Self::Constant(value) => value.to_string(),
            Self::Expression(source, vars) | Self::Text(source, vars) => {
                format!(
                    "{source} {:?}",
                    vars.0.iter().map(|(k, v)| (k, v.to_string())).collect::<Vec<_>>()
                )
            }
        }
    }

    /// Whether the value was written out, with no expression in it.
    pub fn is_constant(&self) -> bool {
        matches!(self, Self::Constant(_))
    }

    /// The value for a slice.
    pub fn render(&self, context: &SliceContext, escape: Escape) -> Result<Value, RenderError> {
        let (source, vars) = match self {
            Self::Constant(value) => return Ok(value.clone()),
            Self::Expression(source, vars) | Self::Text(source, vars) => (source, vars),
        };
        let environment = environment(escape);
        let failed = |reason: String| RenderError { template: source.clone(), reason };
        let scopes = minijinja::context! {
            vars => minijinja::Value::from(Serde(vars.0.as_ref())),
            parent => minijinja::Value::from(Serde(&context.parent)),
            slice => minijinja::Value::from(Serde(&context.slice)),
        };
        if let Self::Text(..) = self {
            return environment
                .template_from_str(source)
                .and_then(|it| it.render(scopes))
                .map(Value::String)
                .map_err(|err| failed(reason(&err)));
        }
        let value = environment
            .compile_expression(source)
            .and_then(|it| it.eval(scopes))
            .map_err(|err| failed(reason(&err)))?;
        if value.is_undefined() {
            return Err(failed("the value is not defined".to_owned()));
        }
        match escape {
            Escape::PathSegment => Ok(Value::String(encode_segment(&display(&value)))),
            Escape::Nothing => serde_json::to_value(&value).map_err(|err| failed(err.to_string())),
        }
    }

    /// The dotted names that the template reads, such as `vars.token` and `slice.start`.
    ///
    /// # Errors
    ///
    /// What is wrong with the template's grammar, for a person.
    pub fn names(&self) -> Result<Vec<String>, RenderError> {
        let environment = environment(Escape::Nothing);
        let (source, names) = match self {
            Self::Constant(_) => return Ok(Vec::new()),
            Self::Expression(source, _) => (
                source,
                environment.compile_expression(source).map(|it| it.undeclared_variables(true)),
            ),
            Self::Text(source, _) => (
                source,
                environment.template_from_str(source).map(|it| it.undeclared_variables(true)),
            ),
        };
        let names =
            names.map_err(|err| RenderError { template: source.clone(), reason: reason(&err) })?;
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort();
        Ok(names)
    }
}

/// What a rendered value looks like inside a URL or a header.
pub fn value_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// Everything but the unreserved characters of RFC 3986.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn encode_segment(text: &str) -> String {
    // `.` and `..` are unreserved, but as whole segments they would lead out of the path.
    if text == "." || text == ".." {
        return text.replace('.', "%2E");
    }
    utf8_percent_encode(text, SEGMENT).to_string()
}

fn display(value: &minijinja::Value) -> String {
    if value.kind() == ValueKind::None { String::new() } else { value.to_string() }
}

fn environment(escape: Escape) -> &'static Environment<'static> {
    static PLAIN: OnceLock<Environment<'static>> = OnceLock::new();
    static PATH: OnceLock<Environment<'static>> = OnceLock::new();
    let make = || {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment
    };
    match escape {
        Escape::Nothing => PLAIN.get_or_init(|| {
            let mut environment = make();
            environment.set_formatter(|out, state, value| {
                // Null is nothing here as everywhere, not the word `none`.
                let nothing = minijinja::Value::from("");
                let is_null = value.kind() == ValueKind::None;
                escape_formatter(out, state, if is_null { &nothing } else { value })
            });
            environment
        }),
        Escape::PathSegment => PATH.get_or_init(|| {
            let mut environment = make();
            environment.set_formatter(|out, state, value| {
                let text = display(value);
                if text.is_empty() {
                    // `/projects//items` may well be an answer to another question.
                    let kind = minijinja::ErrorKind::InvalidOperation;
                    return Err(minijinja::Error::new(kind, "a value in the path is empty"));
                }
                let encoded = minijinja::Value::from(encode_segment(&text));
                escape_formatter(out, state, &encoded)
            });
            environment
        }),
    }
}

fn reason(err: &minijinja::Error) -> String {
    match err.detail() {
        Some(detail) => format!("{}: {detail}", err.kind()),
        None => err.kind().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn context() -> SliceContext {
        SliceContext {
            parent: [("id".to_owned(), json!(41)), ("key".to_owned(), json!("a/b c"))].into(),
            slice: [("mode".to_owned(), json!("audit"))].into(),
        }
    }

    #[track_caller]
    fn check(text: &str, escape: Escape, expected: &Value) {
        assert_eq!(Template::parse(text).render(&context(), escape).unwrap(), *expected, "{text}");
    }

    #[test]
    fn one_expression_keeps_its_type_and_text_does_not() {
        check("{{ parent.id }}", Escape::Nothing, &json!(41));
        check("id {{ parent.id }}", Escape::Nothing, &json!("id 41"));
        check("plain", Escape::Nothing, &json!("plain"));
        check("{{ slice.mode }}-{{ parent.id }}", Escape::Nothing, &json!("audit-41"));
        check("{{ parent.id + 1 }}", Escape::Nothing, &json!(42));
    }

    #[test]
    fn a_value_in_a_path_is_always_one_segment() {
        check("/issues/{{ parent.key }}/log", Escape::PathSegment, &json!("/issues/a%2Fb%20c/log"));
        check("{{ parent.key }}", Escape::PathSegment, &json!("a%2Fb%20c"));
    }

    #[test]
    fn an_undefined_name_is_an_error_that_names_the_template() {
        let err =
            Template::parse("{{ slice.end }}").render(&context(), Escape::Nothing).unwrap_err();

        assert_eq!(err.template, "slice.end");
    }

    #[test]
    fn names_are_found_with_their_scope() {
        let names = Template::parse("{{ vars.a }} {{ slice.b | upper }}").names().unwrap();

        assert_eq!(names, ["slice.b", "vars.a"]);
    }
}
