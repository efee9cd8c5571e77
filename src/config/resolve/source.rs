//! The API: where it is, how to log in, how fast to ask.

use std::time::Duration;

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use url::Url;

use super::{
    Resolver,
    auth::LogIn,
    value::{parse_span, parse_status},
};
use crate::{
    config::{
        shape::Scalar,
        spec::{
            LimitsSpec, OutcomeSpec, RateHeadersSpec, ResetFormatSpec, ResponseSpec, RetrySpec,
            SourceSpec, TlsSpec,
        },
        template::{self, Scope, Secrecy},
    },
    plan::{
        AuthPlan, Limits, Outcome, RateHeaders, ResetFormat, ResponseRule, RetryPlan, SourcePlan,
        Template, TlsPlan, is_loopback, value_text,
    },
};

impl Resolver<'_> {
    pub(super) fn source(&mut self, spec: SourceSpec) -> Option<SourcePlan> {
        let SourceSpec { base_url, allow_http, auth, tls, headers, limits, retry, responses } =
            spec;
        let base_url = self.base_url(&base_url, allow_http);
        let auth = match auth {
            Some(auth) => {
                let place = LogIn { base_url: base_url.as_ref(), allow_http };
                self.auth("source.auth", &auth, place)
            }
            None => Some(AuthPlan::None),
        };
        let tls = self.tls(&tls);
        let headers = headers
            .iter()
            .filter_map(|(name, value)| {
                let template =
                    self.header(&format!("source.headers.{name}"), name, value, &Scope::default())?;
                Some((name.clone(), template))
            })
            .collect();
        let limits = self.limits(&limits);
        let retry = self.retry(&retry);
        let responses = self.responses("source.responses", &responses);
        // What a variable without a value leaves open must not keep the file from being valid.
        let open = self.tolerant();
        let left_open = || Url::parse("https://unset.invalid").ok().filter(|_| open);
        Some(SourcePlan {
            base_url: base_url.or_else(left_open)?,
            allow_http,
            auth: auth.or(open.then_some(AuthPlan::None))?,
            tls,
            headers,
            limits,
            retry,
            responses,
        })
    }

    fn base_url(&mut self, scalar: &Scalar, allow_http: bool) -> Option<Url> {
        let path = "source.base_url";
        let text = self.text(path, scalar, Secrecy::Refused)?;
        let url = self.url(path, &text, allow_http)?;
        if url.query().is_some() || url.fragment().is_some() {
            self.problem(
                path,
                "the URL has a query or a fragment: move it to the request of each stream",
                None,
            );
            return None;
        }
        Some(url)
    }

    /// A URL to which credentials may be sent.
    pub(super) fn url(&mut self, path: &str, text: &str, allow_http: bool) -> Option<Url> {
        let url = match Url::parse(text) {
            Ok(url) if url.has_host() => url,
            Ok(_) | Err(_) => {
                let message = format!(
                    "`{text}` is not a URL: write it with its scheme and host, such as `https://example.org`"
                );
                self.problem(path, message, None);
                return None;
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            self.problem(
                path,
                "the URL has credentials in it: use `auth` instead, where they are kept secret",
                None,
            );
            return None;
        }
        match url.scheme() {
            "https" => Some(url),
            "http" if allow_http || is_loopback(&url) => Some(url),
            "http" => {
                let message = format!(
                    "`{text}` would send credentials unencrypted: use `https:`, or set `source.allow_http: true`"
                );
                self.problem(path, message, None);
                None
            }
            other => {
                self.problem(path, format!("`{other}:` is not supported: use `https:`"), None);
                None
            }
        }
    }

    fn tls(&mut self, spec: &TlsSpec) -> TlsPlan {
        let path = "source.tls.ca_file";
        let Some(file) = &spec.ca_file else { return TlsPlan::default() };
        let Some(file) = self.text(path, file, Secrecy::Refused) else { return TlsPlan::default() };
        if file.is_empty() || self.tolerant() {
            return TlsPlan::default();
        }
        let text = match self.inputs.read(&file) {
            Ok(text) => text,
            Err(err) => {
                self.problem(path, err.to_string(), None);
                return TlsPlan::default();
            }
        };
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        match read {
            Ok(found) if !found.is_empty() => {
                TlsPlan { ca_certificates: found.iter().map(|it| it.to_vec()).collect() }
            }
            Ok(_) | Err(_) => {
                let message = format!("`{file}` has no certificates in PEM");
                self.problem(path, message, None);
                TlsPlan::default()
            }
        }
    }

    pub(super) fn header_name(&mut self, path: &str, name: &str) -> bool {
        let allowed = |it: char| it.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(it);
        let valid = !name.is_empty() && name.chars().all(allowed);
        if !valid {
            self.problem(path, format!("`{name}` is not a header name"), None);
        }
        valid
    }

    /// The value of a header; `None` if it has a problem or renders to nothing.
    pub(super) fn header(
        &mut self,
        path: &str,
        name: &str,
        value: &Scalar,
        scope: &Scope,
    ) -> Option<Template> {
        if !self.header_name(path, name) {
            return None;
        }
        let checked = self.template(path, value, scope, Secrecy::Allowed)?;
        if let Template::Constant(constant) = &checked.template
            && !self.header_value(path, value, &value_text(constant))
        {
            return None;
        }
        (!(checked.dynamic && super::value::is_nothing(&checked.template)))
            .then_some(checked.template)
    }

    /// Whether a header can carry a value, which is not shown: it may be a credential.
    pub(super) fn header_value(&mut self, path: &str, scalar: &Scalar, value: &str) -> bool {
        let forbidden = value.chars().find(|it| it.is_ascii_control() && *it != '\t');
        let Some(forbidden) = forbidden else { return true };
        let what = match forbidden {
            '\r' | '\n' => "a line break",
            _ => "a control character",
        };
        let names: Vec<String> =
            template::vars_named(scalar).iter().map(|it| self.vars.label(it)).collect();
        let whose =
            if names.is_empty() { String::new() } else { format!(" of {}", names.join(", ")) };
        let message = format!("the value{whose} has {what} in it, which a header cannot carry");
        self.problem(path, message, None);
        false
    }

    fn limits(&mut self, spec: &LimitsSpec) -> Limits {
        let LimitsSpec {
            requests_per_second,
            max_in_flight,
            timeout_secs,
            max_response_mb,
            max_requests,
            deadline,
            rate_headers,
        } = spec;
        let timeout = self.number("source.limits.timeout_secs", timeout_secs.as_ref(), 60.0);
        let megabytes = self.whole("source.limits.max_response_mb", max_response_mb.as_ref(), 64);
        Limits {
            requests_per_second: self.number(
                "source.limits.requests_per_second",
                requests_per_second.as_ref(),
                10.0,
            ),
            max_in_flight: self.whole("source.limits.max_in_flight", max_in_flight.as_ref(), 8)
                as usize,
            timeout: Duration::from_secs_f64(timeout.min(86_400.0)),
            max_response_bytes: u64::from(megabytes) << 20,
            max_requests: self.max_requests(max_requests.as_ref()),
            deadline: self.deadline(deadline.as_ref()),
            rate_headers: rate_headers.as_ref().and_then(|it| self.rate_headers(it)),
            is_shared: false,
        }
    }

    /// A number of requests; nothing where a variable leaves it empty.
    fn max_requests(&mut self, scalar: Option<&Scalar>) -> Option<u64> {
        let path = "source.limits.max_requests";
        let scalar = scalar?;
        let text = self.text(path, scalar, Secrecy::Refused)?;
        (!text.trim().is_empty()).then(|| u64::from(self.whole(path, Some(scalar), u32::MAX)))
    }

    /// A length of time; nothing where a variable leaves it empty.
    fn deadline(&mut self, scalar: Option<&Scalar>) -> Option<Duration> {
        let path = "source.limits.deadline";
        let text = self.text(path, scalar?, Secrecy::Refused)?;
        if text.trim().is_empty() {
            return None;
        }
        let span = parse_span(&text).and_then(|it| it.to_std().ok());
        let span = span.filter(|it| !it.is_zero());
        if span.is_none() {
            let message = format!(
                "`{text}` is not a length of time: write a number and `s`, `m`, `h`, `d` or `w`, such as `2h`"
            );
            self.problem(path, message, None);
        }
        span
    }

    fn rate_headers(&mut self, spec: &RateHeadersSpec) -> Option<RateHeaders> {
        let RateHeadersSpec { remaining, reset, reset_format } = spec;
        let at = "source.limits.rate_headers";
        let mut are_names = self.header_name(&format!("{at}.remaining"), remaining);
        are_names &= self.header_name(&format!("{at}.reset"), reset);
        let reset_format = match reset_format {
            ResetFormatSpec::DeltaS => ResetFormat::DeltaSeconds,
            ResetFormatSpec::EpochS => ResetFormat::EpochSeconds,
            ResetFormatSpec::Rfc3339 => ResetFormat::Rfc3339,
        };
        let (remaining, reset) = (remaining.to_ascii_lowercase(), reset.to_ascii_lowercase());
        are_names.then_some(RateHeaders { remaining, reset, reset_format })
    }

    fn retry(&mut self, spec: &RetrySpec) -> RetryPlan {
        let RetrySpec { max_attempts, max_delay_secs } = spec;
        let max_delay = self.number("source.retry.max_delay_secs", max_delay_secs.as_ref(), 120.0);
        RetryPlan {
            max_attempts: self.whole("source.retry.max_attempts", max_attempts.as_ref(), 8),
            max_delay: Duration::from_secs_f64(max_delay.min(86_400.0)),
        }
    }

    pub(super) fn responses(&mut self, path: &str, specs: &[ResponseSpec]) -> Vec<ResponseRule> {
        let mut rules = Vec::new();
        for (i, ResponseSpec { when, then }) in specs.iter().enumerate() {
            let path = format!("{path}.{i}.when");
            let mut statuses = Vec::new();
            for status in when.status.iter().flat_map(|it| &it.0) {
                match parse_status(status) {
                    Some(range) => statuses.push(range),
                    None => self.problem(
                        format!("{path}.status"),
                        "expected a status such as `404`, or a class such as `5xx`",
                        None,
                    ),
                }
            }
            let header =
                when.header.as_ref().map(|it| (it.name.to_ascii_lowercase(), it.equals.clone()));
            let body = when.body.as_ref().and_then(|it| {
                let parsed = self.json_path(&format!("{path}.body.path"), &it.path)?;
                Some((parsed, it.equals.as_ref().map(template::plain)))
            });
            if statuses.is_empty() && header.is_none() && body.is_none() {
                self.problem(&path, "expected at least one of `status`, `header` and `body`", None);
                continue;
            }
            let then = match then {
                OutcomeSpec::Ok => Outcome::Ok,
                OutcomeSpec::Retry => Outcome::Retry,
                OutcomeSpec::Skip => Outcome::Skip,
                OutcomeSpec::Gone => Outcome::Gone,
                OutcomeSpec::Fail => Outcome::Fail,
            };
            rules.push(ResponseRule { statuses, header, body, then });
        }
        rules
    }
}
