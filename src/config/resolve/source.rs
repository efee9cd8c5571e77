//! The API: where it is, how to log in, how fast to ask.

use std::time::Duration;

use url::Url;

use super::{
    Resolver,
    value::{parse_span, parse_status},
};
use crate::{
    config::{
        shape::Scalar,
        spec::{
            AuthSpec, LimitsSpec, OutcomeSpec, RateHeadersSpec, ResetFormatSpec, ResponseSpec,
            RetrySpec, SourceSpec,
        },
        template::{self, Scope, Secrecy},
    },
    plan::{
        AuthPlan, Limits, Outcome, RateHeaders, ResetFormat, ResponseRule, RetryPlan, Secret,
        SourcePlan, Template,
    },
};

impl Resolver<'_> {
    pub(super) fn source(&mut self, spec: SourceSpec) -> Option<SourcePlan> {
        let SourceSpec { base_url, allow_http, auth, headers, limits, retry, responses } = spec;
        let base_url = self.base_url(&base_url, allow_http);
        let auth = match auth {
            Some(auth) => self.auth("source.auth", &auth),
            None => Some(AuthPlan::None),
        };
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
            headers,
            limits,
            retry,
            responses,
        })
    }

    fn base_url(&mut self, scalar: &Scalar, allow_http: bool) -> Option<Url> {
        let path = "source.base_url";
        let text = self.text(path, scalar, Secrecy::Refused)?;
        let url = match Url::parse(&text) {
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
        if url.query().is_some() || url.fragment().is_some() {
            self.problem(
                path,
                "the URL has a query or a fragment: move it to the request of each stream",
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

    fn auth(&mut self, path: &str, spec: &AuthSpec) -> Option<AuthPlan> {
        let secret = |this: &mut Self, path: String, scalar: &Scalar| {
            this.text(&path, scalar, Secrecy::Allowed).map(Secret::new)
        };
        match spec {
            AuthSpec::None => Some(AuthPlan::None),
            AuthSpec::Bearer { token } => Some(AuthPlan::Bearer {
                token: secret(self, format!("{path}.bearer.token"), token)?,
            }),
            AuthSpec::Basic { user, password } => {
                let user = secret(self, format!("{path}.basic.user"), user);
                let password = secret(self, format!("{path}.basic.password"), password);
                Some(AuthPlan::Basic { user: user?, password: password? })
            }
            AuthSpec::Header { name, value } => {
                let path = format!("{path}.header");
                if !self.header_name(&format!("{path}.name"), name) {
                    return None;
                }
                let value = secret(self, format!("{path}.value"), value)?;
                Some(AuthPlan::Header { name: name.clone(), value })
            }
            AuthSpec::OneOf(ways) => self.auth_one_of(path, ways),
        }
    }

    /// Takes the one way whose variables are all set.
    fn auth_one_of(&mut self, path: &str, ways: &[AuthSpec]) -> Option<AuthPlan> {
        let path = format!("{path}.one_of");
        let vars_of: Vec<Vec<String>> = ways.iter().map(vars_named).collect();
        for (i, vars) in vars_of.iter().enumerate() {
            if vars.is_empty() {
                let message = "this way names no variable, so nothing could choose it";
                self.problem(format!("{path}.{i}"), message, None);
                return None;
            }
        }
        let describe = |this: &Self, vars: &[String]| {
            vars.iter().map(|it| this.vars.label(it)).collect::<Vec<_>>().join(" and ")
        };
        let any_set = |this: &Self, vars: &[String]| vars.iter().any(|it| this.vars.is_set(it));
        let chosen: Vec<usize> = (0..ways.len()).filter(|i| any_set(self, &vars_of[*i])).collect();
        match chosen.as_slice() {
            [only] => {
                let vars = &vars_of[*only];
                let unset =
                    vars.iter().find(|it| !self.vars.is_set(it) && !self.vars.is_missing(it));
                if let Some(name) = unset {
                    let message = format!(
                        "`{name}` has no value, but the rest of this way to log in has: {}",
                        self.vars.how_to_set(name)
                    );
                    self.problem(format!("{path}.{only}"), message, None);
                    return None;
                }
                self.auth(&format!("{path}.{only}"), &ways[*only])
            }
            [] if self.tolerant() => {
                // Only the file is checked: every way must be sound by itself.
                for (i, way) in ways.iter().enumerate() {
                    self.auth(&format!("{path}.{i}"), way);
                }
                Some(AuthPlan::None)
            }
            [] => {
                let listed: Vec<String> = vars_of.iter().map(|it| describe(self, it)).collect();
                let message = format!("no way to log in is set: set {}", listed.join(", or "));
                self.problem(path, message, None);
                None
            }
            several => {
                let listed: Vec<String> =
                    several.iter().map(|i| describe(self, &vars_of[*i])).collect();
                let message = format!(
                    "{} ways to log in are set ({}): unset all but one",
                    several.len(),
                    listed.join("; ")
                );
                self.problem(path, message, None);
                None
            }
        }
    }

    fn header_name(&mut self, path: &str, name: &str) -> bool {
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
        (!(checked.dynamic && super::value::is_nothing(&checked.template)))
            .then_some(checked.template)
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

fn vars_named(spec: &AuthSpec) -> Vec<String> {
    let mut names = match spec {
        AuthSpec::None => Vec::new(),
        AuthSpec::Bearer { token } => template::vars_named(token),
        AuthSpec::Basic { user, password } => {
            [template::vars_named(user), template::vars_named(password)].concat()
        }
        AuthSpec::Header { name: _, value } => template::vars_named(value),
        AuthSpec::OneOf(ways) => ways.iter().flat_map(vars_named).collect(),
    };
    names.dedup();
    names
}

/// Whether a URL's host is this machine itself.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
