//! The request for one page: the stream's templates rendered for a slice, with the parameters of
//! the slice and of paging put into their places. Pure.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};
use url::Url;

use super::paginate::Ask;
use crate::plan::{
    BodyPlan, Escape, Method, Place, QueryValue, RenderError, RequestPlan, SliceContext, Template,
    value_text,
};

/// A request as it goes over the wire, without what logs it in.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The whole URL.
    pub url: Url,
    /// Headers of the source, the stream and paging.
    pub headers: Vec<(String, String)>,
    /// The JSON body.
    pub body: Option<String>,
}

impl Request {
    /// The URL without its query, which may hold values that are nobody's business.
    pub fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.to_string()
    }
}

/// A request that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// A template cannot be rendered.
    #[error("cannot render a template for this slice")]
    Render(#[source] RenderError),
    /// What came out is no URL below the source.
    #[error("`{path}` does not lead to a URL below the source's base URL")]
    Url {
        /// The rendered path, or the URL that the API named.
        path: String,
    },
    /// The API names a next page elsewhere, where the credentials must not go.
    #[error("the next page is at `{url}`, another origin")]
    OtherOrigin {
        /// The URL without its query.
        url: String,
    },
    /// A page parameter has no object to stand in.
    #[error("the parameter `{name}` has no place in the request's body")]
    Placement {
        /// The dotted path.
        name: String,
    },
}

/// Everything but the unreserved characters of RFC 3986, so that `+`, `,` and `/` arrive as sent.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Encodes a name or a value of a query.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, QUERY).to_string()
}

/// Makes the request for a page.
pub(super) fn request(
    base: &Url,
    source_headers: &[(String, Template)],
    plan: &RequestPlan,
    context: &SliceContext,
    slice_params: &[(crate::plan::Placement, Value)],
    ask: &Ask,
) -> Result<Request, RequestError> {
    let render = |it: &Template| it.render(context, Escape::Nothing).map_err(RequestError::Render);
    let mut headers = Vec::new();
    for (name, template) in source_headers.iter().chain(&plan.headers) {
        let value = render(template)?;
        if !is_left_out(template, &value) {
            headers.push((name.clone(), value_text(&value)));
        }
    }
    let params = || slice_params.iter().chain(&ask.params);
    let path = plan.path.render(context, Escape::PathSegment).map_err(RequestError::Render)?;
    let mut path = value_text(&path);
    let mut query: Vec<(String, String)> = Vec::new();
    for (name, value) in &plan.query {
        query_pairs(name, value, context, &mut query)?;
    }
    let mut in_body = Vec::new();
    for (placement, value) in params() {
        match placement.place {
            Place::Query => {
                query.retain(|(name, _)| *name != placement.name);
                query.push((placement.name.clone(), value_text(value)));
            }
            Place::Body => in_body.push((placement.name.as_str(), value)),
            Place::Header => headers.push((placement.name.clone(), value_text(value))),
            Place::Path => {
                let encoded = encode(&value_text(value));
                path = path.replace(&format!("{{{}}}", placement.name), &encoded);
            }
        }
    }
    let body = body_text(plan, context, &in_body)?;
    let mut url = url(base, &path, &query)?;
    if let Some(next) = &ask.url {
        // The API's own URL takes the place of path and query; what stands elsewhere stays.
        let invalid = |_| RequestError::Url { path: without_query(next).to_owned() };
        url = url.join(next).map_err(invalid)?;
        if url.origin() != base.origin() {
            return Err(RequestError::OtherOrigin { url: without_query(url.as_str()).to_owned() });
        }
    }
    Ok(Request { method: plan.method, url, headers, body })
}

pub(super) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}

fn url(base: &Url, path: &str, query: &[(String, String)]) -> Result<Url, RequestError> {
    let invalid = || RequestError::Url { path: path.to_owned() };
    let root = base.as_str().trim_end_matches('/');
    let pairs: Vec<String> =
        query.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    let separator = match (pairs.is_empty(), path.contains('?')) {
        (true, _) => "",
        (false, true) => "&",
        (false, false) => "?",
    };
    let url = Url::parse(&format!("{root}{path}{separator}{}", pairs.join("&")))
        .map_err(|_| invalid())?;
    // `..` in a path would lead out of the source's own tree.
    let below =
        url.origin() == base.origin() && url.path().starts_with(base.path().trim_end_matches('/'));
    if below { Ok(url) } else { Err(invalid()) }
}

fn query_pairs(
    name: &str,
    value: &QueryValue,
    context: &SliceContext,
    pairs: &mut Vec<(String, String)>,
) -> Result<(), RequestError> {
    let render = |it: &Template| it.render(context, Escape::Nothing).map_err(RequestError::Render);
    let texts = |templates: &[Template]| -> Result<Vec<String>, RequestError> {
        let mut texts = Vec::new();
        for template in templates {
            match render(template)? {
                Value::Array(items) => texts.extend(items.iter().map(value_text)),
                value if is_left_out(template, &value) => {}
                value => texts.push(value_text(&value)),
            }
        }
        Ok(texts)
    };
    match value {
        QueryValue::One(template) => {
            let value = render(template)?;
            if !is_left_out(template, &value) {
                pairs.push((name.to_owned(), value_text(&value)));
            }
        }
        QueryValue::Repeat(templates) => {
            pairs.extend(texts(templates)?.into_iter().map(|it| (name.to_owned(), it)));
        }
        QueryValue::Csv(templates) => {
            let texts = texts(templates)?;
            if !texts.is_empty() {
                pairs.push((name.to_owned(), texts.join(",")));
            }
        }
        QueryValue::Json(body) => {
            if let Some(value) = body_value(body, context)? {
                pairs.push((name.to_owned(), value.to_string()));
            }
        }
    }
    Ok(())
}

/// Whether a template has rendered to nothing, which means "leave it out"; what was written out as
/// empty stays.
fn is_left_out(template: &Template, value: &Value) -> bool {
    let nothing = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    nothing && !template.is_constant()
}

fn body_text(
    plan: &RequestPlan,
    context: &SliceContext,
    params: &[(&str, &Value)],
) -> Result<Option<String>, RequestError> {
    let mut body = match &plan.body {
        Some(body) => body_value(body, context)?,
        None if params.is_empty() => return Ok(None),
        None => Some(Value::Object(Map::new())),
    };
    for (name, value) in params {
        let missing = || RequestError::Placement { name: (*name).to_owned() };
        place(body.as_mut().ok_or_else(missing)?, name, value).ok_or_else(missing)?;
    }
    Ok(body.map(|it| it.to_string()))
}

/// Puts a value at a dotted path, making the objects on the way.
fn place(body: &mut Value, path: &str, value: &Value) -> Option<()> {
    let (parents, last) = path.rsplit_once('.').map_or(("", path), |(a, b)| (a, b));
    let mut at = body;
    for key in parents.split('.').filter(|it| !it.is_empty()) {
        at = at.as_object_mut()?.entry(key).or_insert_with(|| Value::Object(Map::new()));
        if at.is_null() {
            *at = Value::Object(Map::new());
        }
    }
    at.as_object_mut()?.insert(last.to_owned(), value.clone());
    Some(())
}

fn body_value(body: &BodyPlan, context: &SliceContext) -> Result<Option<Value>, RequestError> {
    Ok(match body {
        BodyPlan::Object(members) => {
            let mut object = Map::new();
            for (key, member) in members {
                if let Some(value) = body_value(member, context)? {
                    object.insert(key.clone(), value);
                }
            }
            Some(Value::Object(object))
        }
        BodyPlan::Array(items) => {
            let mut array = Vec::new();
            for item in items {
                array.extend(body_value(item, context)?);
            }
            Some(Value::Array(array))
        }
        BodyPlan::Leaf(template) => {
            let value = template.render(context, Escape::Nothing).map_err(RequestError::Render)?;
            (!is_left_out(template, &value)).then_some(value)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::Placement;

    fn context() -> SliceContext {
        SliceContext {
            parent: [("ids".to_owned(), json!([1, 2])), ("key".to_owned(), json!("a/b"))].into(),
            slice: [("start".to_owned(), json!("")), ("from".to_owned(), json!("x:1+2"))].into(),
        }
    }

    fn plan(method: Method, path: &str) -> RequestPlan {
        RequestPlan {
            method,
            path: Template::parse(path),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
        }
    }

    fn at(place: Place, name: &str) -> Placement {
        Placement { place, name: name.to_owned() }
    }

    fn make(plan: &RequestPlan, params: &[(Placement, Value)]) -> Result<Request, RequestError> {
        let base: Url = "https://host/ctx/".parse().unwrap();
        let ask = Ask { params: params.to_vec(), url: None };
        request(&base, &[], plan, &context(), &[], &ask)
    }

    #[test]
    fn query_values_are_repeated_joined_or_encoded_and_left_out_when_empty() {
        let one = |it: &str| Template::parse(it);
        let mut plan = plan(Method::Get, "/rest/{{ parent.key }}");
        plan.query = vec![
            (
                "createdAt".into(),
                QueryValue::Repeat(vec![one("from:{{ slice.from }}"), one("to:z")]),
            ),
            ("ids".into(), QueryValue::Csv(vec![one("{{ parent.ids }}")])),
            ("none".into(), QueryValue::One(one("{{ slice.start }}"))),
            ("empty".into(), QueryValue::One(one(""))),
            ("filters".into(), QueryValue::Json(BodyPlan::Array(vec![BodyPlan::Leaf(one("a"))]))),
        ];

        let url = make(&plan, &[]).unwrap().url;

        assert_eq!(
            url.as_str(),
            "https://host/ctx/rest/a%2Fb?createdAt=from%3Ax%3A1%2B2&createdAt=to%3Az&ids=1%2C2&empty=&filters=%5B%22a%22%5D"
        );
    }

    #[test]
    fn parameters_stand_in_query_body_header_and_path() {
        let mut plan = plan(Method::Post, "/pages/{page}");
        plan.body = Some(BodyPlan::Object(vec![(
            "ids".into(),
            BodyPlan::Leaf(Template::parse("{{ parent.ids }}")),
        )]));
        let params = [
            (at(Place::Path, "page"), json!(3)),
            (at(Place::Query, "size"), json!(10)),
            (at(Place::Body, "page_info.offset"), json!(20)),
            (at(Place::Header, "x-cursor"), json!("c")),
        ];

        let request = make(&plan, &params).unwrap();

        assert_eq!(request.url.as_str(), "https://host/ctx/pages/3?size=10");
        assert_eq!(request.body.unwrap(), r#"{"ids":[1,2],"page_info":{"offset":20}}"#);
        assert_eq!(request.headers, [("x-cursor".to_owned(), "c".to_owned())]);
    }

    #[test]
    fn a_path_cannot_lead_out_of_the_source() {
        let err = make(&plan(Method::Get, "/../admin"), &[]).unwrap_err();

        assert_eq!(
            err.to_string(),
            "`/../admin` does not lead to a URL below the source's base URL"
        );
    }

    #[test]
    fn a_url_that_is_shown_has_no_query() {
        let mut plan = plan(Method::Get, "/x");
        plan.query = vec![("q".into(), QueryValue::One(Template::parse("private")))];

        assert_eq!(make(&plan, &[]).unwrap().shown(), "https://host/ctx/x");
    }
}
