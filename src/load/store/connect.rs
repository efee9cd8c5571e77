//! A client of an object store: settings from the environment, credentials that are there.
//!
//! ```text
//! s3://b/x     AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL, …     or what the host's role gives
//! gs://b/x     GOOGLE_SERVICE_ACCOUNT, …
//! az://c/x     AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY, …
//! ```
//!
//! The names are those of the object-store crate, which are those of the services' own tools.

use std::{
    future::Future,
    sync::{Arc, OnceLock, mpsc},
    time::Duration,
};

use object_store::{
    BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
};
use tokio::{runtime::Runtime, time::Instant};
use url::{Host, Url};

use super::{
    answer::Connector,
    refusal::{Refusal, RefusalKind},
};
use crate::plan::{BucketUrl, Service};

/// How long credentials are looked for.
const CREDENTIALS_WITHIN: Duration = Duration::from_secs(15);

/// A request is tried again for about a minute: a store that is overloaded gets over it, and a person is
/// still there.
fn patient() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            base: 3.0,
        },
        max_retries: 10,
        retry_timeout: Duration::from_mins(1),
    }
}

/// For credentials and the first contact: what does not answer at once is mostly not there.
fn hasty() -> RetryConfig {
    RetryConfig { max_retries: 2, retry_timeout: Duration::from_secs(10), ..patient() }
}

/// Clients of one bucket.
pub(super) struct Clients {
    /// Finds out quickly whether anyone is there.
    pub(super) first: Arc<dyn ObjectStore>,
    /// Does the work.
    pub(super) store: Arc<dyn ObjectStore>,
}

/// Waits for what a store is asked, on threads of its own: whoever asks may be on a thread of another runtime,
/// which must not be given up.
pub(super) fn wait<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, Refusal> {
    let (send, receive) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        // Nobody waits any more where the receiver is gone.
        let _ = send.send(future.await);
    });
    receive.recv().map_err(|_| Refusal::new(RefusalKind::Other, "the request was given up"))
}

/// How long an answer that breaks off is asked for again.
const AGAIN_WITHIN: Duration = Duration::from_secs(10);

/// Asks again where an answer broke off: the client does so only until it begins. For what may be done twice.
pub(super) async fn again<T, F: Future<Output = object_store::Result<T>>>(
    ask: impl Fn() -> F,
) -> object_store::Result<T> {
    let start = Instant::now();
    loop {
        match ask().await {
            Err(err)
                if Refusal::of(&err).kind == RefusalKind::Dropped
                    && start.elapsed() < AGAIN_WITHIN =>
            {
                tokio::time::sleep(AGAIN_WITHIN / 40).await;
            }
            answer => return answer,
        }
    }
}

/// The runtime of all stores of the process.
pub(super) fn runtime() -> Result<&'static Runtime, Refusal> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    let start = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).thread_name("store").enable_all().build().ok()
    };
    let runtime = RUNTIME.get_or_init(start);
    runtime.as_ref().ok_or_else(|| Refusal::new(RefusalKind::Other, "no thread can be started"))
}

/// Connects to a bucket; sends nothing to it yet.
pub(super) fn connect(url: &BucketUrl) -> Result<Clients, Refusal> {
    match url.service {
        Service::S3 => s3(url),
        Service::Google => google(url),
        Service::Azure => azure(url),
        #[cfg(test)]
        Service::Memory => {
            let store = super::memory::connect(&url.bucket);
            Ok(Clients { first: Arc::clone(&store), store })
        }
    }
}

fn is_true(value: Option<String>) -> bool {
    value.is_some_and(|it| it.eq_ignore_ascii_case("true"))
}

fn s3(url: &BucketUrl) -> Result<Clients, Refusal> {
    let key = AmazonS3ConfigKey::Client;
    let mut builder = AmazonS3Builder::from_env()
        .with_http_connector(Connector)
        .with_url(&url.bucket)
        .with_config(key(ClientConfigKey::Timeout), REQUEST)
        .with_config(key(ClientConfigKey::ReadTimeout), READ);
    let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
    let is_allowed = is_true(builder.get_config_value(&key(ClientConfigKey::AllowHttp)));
    builder = builder.with_allow_http(may_be_plain(endpoint.as_deref(), is_allowed, "AWS")?);
    if is_true(builder.get_config_value(&AmazonS3ConfigKey::SkipSignature)) {
        let first = built(builder.clone().with_retry(hasty()).build())?;
        return Ok(Clients { first, store: built(builder.with_retry(patient()).build())? });
    }
    let first = built(builder.clone().with_retry(hasty()).build())?;
    let credentials = Arc::clone(first.credentials());
    let provider = Arc::clone(&credentials);
    check(async move { provider.get_credential().await.map(|_| ()) })?;
    let store = built(builder.with_retry(patient()).with_credentials(credentials).build())?;
    Ok(Clients { first, store })
}

fn google(url: &BucketUrl) -> Result<Clients, Refusal> {
    let key = GoogleConfigKey::Client;
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_http_connector(Connector)
        .with_url(&url.bucket)
        .with_config(key(ClientConfigKey::Timeout), REQUEST)
        .with_config(key(ClientConfigKey::ReadTimeout), READ);
    let endpoint = builder.get_config_value(&GoogleConfigKey::BaseUrl);
    // This service's builder allows plain HTTP where nobody has said so, and does not tell who did.
    let is_allowed = is_true(std::env::var("GOOGLE_ALLOW_HTTP").ok());
    let may_be_plain = may_be_plain(endpoint.as_deref(), is_allowed, "GOOGLE")?;
    builder = builder.with_config(key(ClientConfigKey::AllowHttp), may_be_plain.to_string());
    let first = built(builder.clone().with_retry(hasty()).build())?;
    if is_true(builder.get_config_value(&GoogleConfigKey::SkipSignature)) {
        return Ok(Clients { first, store: built(builder.with_retry(patient()).build())? });
    }
    let credentials = Arc::clone(first.credentials());
    let provider = Arc::clone(&credentials);
    check(async move { provider.get_credential().await.map(|_| ()) })?;
    let store = built(builder.with_retry(patient()).with_credentials(credentials).build())?;
    Ok(Clients { first, store })
}

fn azure(url: &BucketUrl) -> Result<Clients, Refusal> {
    let key = AzureConfigKey::Client;
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_http_connector(Connector)
        .with_url(&url.bucket)
        .with_config(key(ClientConfigKey::Timeout), REQUEST)
        .with_config(key(ClientConfigKey::ReadTimeout), READ);
    let endpoint = builder.get_config_value(&AzureConfigKey::Endpoint);
    let is_allowed = is_true(builder.get_config_value(&key(ClientConfigKey::AllowHttp)));
    builder = builder.with_allow_http(may_be_plain(endpoint.as_deref(), is_allowed, "AZURE")?);
    let first = built(builder.clone().with_retry(hasty()).build())?;
    let credentials = Arc::clone(first.credentials());
    let provider = Arc::clone(&credentials);
    check(async move { provider.get_credential().await.map(|_| ()) })?;
    let store = built(builder.with_retry(patient()).with_credentials(credentials).build())?;
    Ok(Clients { first, store })
}

/// A request with its answer: a part of a file, or a whole one over a slow line.
const REQUEST: &str = "600s";
/// Between two pieces of an answer.
const READ: &str = "30s";

fn built<T>(built: object_store::Result<T>) -> Result<Arc<T>, Refusal> {
    built.map(Arc::new).map_err(|err| match &err {
        // What was not understood may be a secret; what is missing is none.
        object_store::Error::Generic { source, .. }
            if source.to_string().starts_with("Missing") =>
        {
            Refusal::new(RefusalKind::NoCredentials, source.to_string())
        }
        object_store::Error::Generic { source, .. }
            if source.to_string().contains("must be specified") =>
        {
            Refusal::new(RefusalKind::Setting, source.to_string())
        }
        _ => Refusal::plain(RefusalKind::Setting),
    })
}

/// Whether there are credentials.
fn check(
    credential: impl Future<Output = object_store::Result<()>> + Send + 'static,
) -> Result<(), Refusal> {
    match wait(async { tokio::time::timeout(CREDENTIALS_WITHIN, credential).await })? {
        Ok(Ok(())) => Ok(()),
        // The address of the host's role service, and what it answered, is of no use to anyone who has no role.
        Ok(Err(_)) | Err(_) => Err(Refusal::plain(RefusalKind::NoCredentials)),
    }
}

/// Whether an endpoint may be spoken to without TLS: one on this host, or where someone has said so.
fn may_be_plain(
    endpoint: Option<&str>,
    is_allowed: bool,
    variables: &str,
) -> Result<bool, Refusal> {
    let Some(endpoint) = endpoint else { return Ok(is_allowed) };
    let url = Url::parse(endpoint).map_err(|_| {
        Refusal::new(RefusalKind::Setting, format!("the endpoint of {variables}_* is no URL"))
    })?;
    let is_here = match url.host() {
        Some(Host::Domain(domain)) => domain == "localhost" || domain.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(is_allowed),
        "http" if is_allowed || is_here => Ok(true),
        "http" => Err(Refusal::new(
            RefusalKind::Setting,
            format!(
                "the endpoint is `http:` and not on this host, so that all would go in the clear: use `https:`, or set {variables}_ALLOW_HTTP=true"
            ),
        )),
        _ => Err(Refusal::new(
            RefusalKind::Setting,
            format!("the endpoint of {variables}_* is neither `https:` nor `http:`"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn plain_http_goes_only_to_this_host_unless_someone_says_otherwise() {
        let check = |endpoint: &str, is_allowed| may_be_plain(Some(endpoint), is_allowed, "AWS");
        for endpoint in ["http://127.0.0.1:9000", "http://localhost", "http://[::1]:9000"] {
            assert_eq!(check(endpoint, false), Ok(true), "{endpoint}");
        }
        for endpoint in ["http://minio:9000", "http://192.168.0.4", "http://localhost.example.com"]
        {
            let err = check(endpoint, false).unwrap_err();
            assert!(err.to_string().contains("AWS_ALLOW_HTTP"), "{err}");
            assert_eq!(check(endpoint, true), Ok(true), "{endpoint}");
        }
        assert_eq!(check("https://minio:9000", false), Ok(false));
        assert!(check("ftp://minio", true).is_err());
        assert!(check("minio:9000", true).is_err());
        assert_eq!(may_be_plain(None, false, "AWS"), Ok(false));
        assert_eq!(may_be_plain(None, true, "AWS"), Ok(true));
    }

    fn error(text: &'static str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.into() }
    }

    /// Time goes by as soon as all wait for it.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_breaks_off_is_asked_for_again_for_a_while_and_a_refusal_is_not() {
        for (failures, text, expected) in [
            (0, "", 1..=1),
            (3, "connection closed before message completed", 4..=4),
            (usize::MAX, "connection closed before message completed", 40..=50),
            (usize::MAX, "Server returned non-2xx status code: 403 Forbidden", 1..=1),
        ] {
            let asked = AtomicUsize::new(0);
            let answer = again(async || {
                let is_there = asked.fetch_add(1, Ordering::SeqCst) >= failures;
                is_there.then_some(()).ok_or_else(|| error(text))
            });
            assert_eq!(answer.await.is_ok(), failures < usize::MAX, "{text}");
            let asked = asked.into_inner();
            assert!(expected.contains(&asked), "{text}: {asked}");
        }
    }
}
