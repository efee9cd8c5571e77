//! What answers is an object store, and no page of a proxy or of a log-in.
//!
//! ```text
//! GET /b?list-type=2   200 <ListBucketResult>…          an answer
//! GET /b?list-type=2   200 <html>Please log in</html>   none, although it could be read as a list of nothing
//! PUT /b/k             200 <!DOCTYPE html>…             none either
//! ```
//!
//! A list that is empty says that nothing was committed, and that no file has to go: to take a page for one would lose rows or
//! have them twice.

use std::{error::Error as StdError, fmt};

use async_trait::async_trait;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
        HttpService, ReqwestConnector,
    },
};

/// What the lists of S3 and Google, and those of Azure, are called.
const LISTS: [&[u8]; 2] = [b"ListBucketResult", b"EnumerationResults"];
/// Within so many bytes of an answer its root is.
const START: usize = 1_024;

/// Makes clients that look at what answers.
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Checked(ReqwestConnector::default().connect(options)?)))
    }
}

/// Something else than an object store has answered.
#[derive(Debug)]
pub(super) struct NotAStore;

impl fmt::Display for NotAStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what answered is no object store")
    }
}

impl StdError for NotAStore {}

#[derive(Debug)]
struct Checked(HttpClient);

#[async_trait]
impl HttpService for Checked {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let is_get = request.method() == http::Method::GET;
        let wants_list = is_get && wants_list(request.uri().query().unwrap_or_default());
        let answer = self.0.execute(request).await?;
        let headers = answer.headers();
        let is_page = headers.get(http::header::CONTENT_TYPE).is_some_and(|it| {
            it.as_bytes().get(..9).is_some_and(|it| it.eq_ignore_ascii_case(b"text/html"))
        });
        // Errors are read as such, and objects, which may be large, have a tag.
        let is_object = is_get && !wants_list && headers.contains_key(http::header::ETAG);
        if !answer.status().is_success() || is_object || !wants_list && !is_page {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        let body = body.bytes().await?;
        let is_answer =
            if wants_list { is_list(&body) } else { body.is_empty() || !is_html(&body) };
        if is_answer {
            return Ok(HttpResponse::from_parts(head, body.into()));
        }
        // It is not asked for again: a page stays until a person does something.
        Err(HttpError::new(HttpErrorKind::Decode, NotAStore))
    }
}

/// Whether a query asks for a list, of S3, Google or Azure.
fn wants_list(query: &str) -> bool {
    query.split('&').any(|it| it == "list-type=2" || it == "comp=list")
}

fn is_list(body: &[u8]) -> bool {
    let start = &body[..body.len().min(START)];
    LISTS.iter().any(|it| memchr::memmem::find(start, it).is_some())
}

/// Whether it begins as a page does.
fn is_html(body: &[u8]) -> bool {
    let start = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii_start();
    [&b"<!doctype html"[..], b"<html"]
        .iter()
        .any(|it| start.get(..it.len()).is_some_and(|start| start.eq_ignore_ascii_case(it)))
}

#[cfg(test)]
mod tests {
    use http::Method;
    use object_store::client::{HttpRequestBody, HttpResponseBody};

    use super::*;

    /// Answers with 200, a type, a body, and maybe a tag.
    #[derive(Debug, Clone, Copy)]
    struct Says(&'static str, &'static str, bool);

    #[async_trait]
    impl HttpService for Says {
        async fn call(&self, _: HttpRequest) -> Result<HttpResponse, HttpError> {
            let Self(kind, body, is_tagged) = *self;
            let mut answer = http::Response::builder().header("content-type", kind);
            if is_tagged {
                answer = answer.header("etag", "\"1\"");
            }
            Ok(answer.body(HttpResponseBody::from(body.to_owned())).unwrap())
        }
    }

    #[tokio::test]
    async fn a_page_is_no_answer_to_anything_and_a_list_has_to_be_one() {
        const PAGE: &str = "\n<!DOCTYPE html><html><body>Please log in</body></html>";
        const XML: &str = "application/xml";
        const S3: &str =
            "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"x\"></ListBucketResult>";
        const AZURE: &str = "\u{feff}<?xml version=\"1.0\"?><EnumerationResults/>";
        const COPIED: &str = "<CopyObjectResult/>";
        const LIST: &str = "http://b/?list-type=2&prefix=p";
        const LISTED: &str = "http://b/?restype=container&comp=list";
        for (method, uri, says, is_answer) in [
            (Method::GET, LIST, Says(XML, S3, false), true),
            // What a type is called does not make it one, and a small server may not know better.
            (Method::GET, LIST, Says("text/html", S3, false), true),
            (Method::GET, LIST, Says("text/html; charset=utf-8", PAGE, true), false),
            (Method::GET, LIST, Says(XML, PAGE, false), false),
            (Method::GET, LIST, Says(XML, "", false), false),
            (Method::GET, LIST, Says(XML, "<Error><Code>SlowDown</Code></Error>", false), false),
            (Method::GET, LISTED, Says(XML, AZURE, false), true),
            (Method::GET, LISTED, Says("text/plain", "OK", false), false),
            (Method::GET, "http://b/k", Says("text/html", "what somebody stored", true), true),
            (Method::GET, "http://b/k", Says("Text/HTML", PAGE, false), false),
            (Method::PUT, "http://b/k", Says("text/html", "", true), true),
            (Method::PUT, "http://b/k", Says("text/html", COPIED, false), true),
            (Method::PUT, "http://b/k", Says("text/html", PAGE, true), false),
            (Method::DELETE, "http://b/k", Says("text/html", "<HTML></HTML>", false), false),
            (Method::PUT, "http://b/k", Says("application/octet-stream", PAGE, true), true),
        ] {
            let name = format!("{method} {uri} {says:?}");
            let mut request = HttpRequest::new(HttpRequestBody::empty());
            *request.method_mut() = method;
            *request.uri_mut() = uri.parse().unwrap();

            let answer = Checked(HttpClient::new(says)).call(request).await;

            assert_eq!(answer.is_ok(), is_answer, "{name}");
            if let Ok(answer) = answer {
                assert_eq!(answer.into_body().bytes().await.unwrap(), says.1, "{name}");
            }
        }
    }
}
