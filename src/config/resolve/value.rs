//! Values inside the file: lengths of time, zones, numbers, statuses, bodies.

use std::ops::RangeInclusive;

use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, Utc};
use chrono_tz::Tz;
use serde_json::Value;

use super::Resolver;
use crate::{
    config::{
        problem::suggest,
        shape::Scalar,
        template::{Scope, Secrecy},
    },
    plan::{BodyPlan, JsonPath, StatusRange, Template, WindowStart},
};

/// The longest length of time; no clock leaves its calendar by it.
const LONGEST: TimeDelta = TimeDelta::days(100 * 365);

/// The years in which a window can start or end; outside of them there are no work records.
const YEARS: RangeInclusive<i32> = 1900..=2200;

/// A length of time such as `3d`, `12h`, `30m`, `45s` or `2w`, of 100 years at most.
pub(super) fn parse_span(text: &str) -> Option<TimeDelta> {
    let text = text.trim();
    let digits = text.find(|it: char| !it.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: i64 = number.parse().ok()?;
    let span = match unit.trim() {
        "s" => TimeDelta::try_seconds(number),
        "m" | "min" => TimeDelta::try_minutes(number),
        "h" => TimeDelta::try_hours(number),
        "d" => TimeDelta::try_days(number),
        "w" => TimeDelta::try_weeks(number),
        _ => None,
    };
    span.filter(|it| *it <= LONGEST)
}

/// Where windows start: `2024-07-25`, an RFC 3339 instant, or `90d` back from now; in the years from
/// 1900 to 2200.
pub(crate) fn parse_start(text: &str) -> Option<WindowStart> {
    let text = text.trim();
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return YEARS.contains(&date.year()).then_some(WindowStart::On(date));
    }
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        let instant = instant.with_timezone(&Utc);
        return YEARS.contains(&instant.year()).then_some(WindowStart::At(instant));
    }
    parse_span(text).map(WindowStart::Ago)
}

/// One status (`404`) or a class of them (`5xx`).
pub(super) fn parse_status(scalar: &Scalar) -> Option<StatusRange> {
    let text = match scalar {
        Scalar::Int(it) => it.to_string(),
        Scalar::Text(it) => it.clone(),
        Scalar::Null | Scalar::Bool(_) | Scalar::Float(_) => return None,
    };
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|it| (1..=5).contains(it))?;
        return Some(StatusRange { first: class * 100, last: class * 100 + 99 });
    }
    let status: u16 = text.parse().ok().filter(|it| (100..=599).contains(it))?;
    Some(StatusRange { first: status, last: status })
}

impl Resolver<'_> {
    pub(super) fn span(&mut self, path: &str, text: Option<&String>) -> TimeDelta {
        let Some(text) = text else { return TimeDelta::zero() };
        parse_span(text).unwrap_or_else(|| {
            let message = format!("`{text}` is not a length of time: write a number and `s`, `m`, `h`, `d` or `w`, such as `3d`, of 36500d at most");
            self.problem(path, message, None);
            TimeDelta::zero()
        })
    }

    pub(super) fn zone(&mut self, path: &str, scalar: Option<&Scalar>) -> Option<Tz> {
        let text = self.text(path, scalar?, Secrecy::Refused)?;
        if text.is_empty() {
            return None;
        }
        if let Ok(zone) = text.parse() {
            return Some(zone);
        }
        let names = chrono_tz::TZ_VARIANTS.iter().map(|it| it.name());
        let suggestion = suggest(&text, names);
        self.problem(
            path,
            format!("`{text}` is not a time zone of the IANA database, such as `Europe/Moscow`"),
            suggestion,
        );
        None
    }

    /// A positive number that may be given as text, as variables are.
    pub(super) fn number(&mut self, path: &str, scalar: Option<&Scalar>, default: f64) -> f64 {
        let Some(scalar) = scalar else { return default };
        let Some(text) = self.text(path, scalar, Secrecy::Refused) else { return default };
        match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() && number > 0.0 => number,
            _ => {
                self.problem(path, format!("`{text}` is not a positive number"), None);
                default
            }
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole and positive"
    )]
    pub(super) fn whole(&mut self, path: &str, scalar: Option<&Scalar>, default: u32) -> u32 {
        let number = self.number(path, scalar, f64::from(default));
        if number.fract() != 0.0 || number > f64::from(u32::MAX) {
            self.problem(path, format!("`{number}` is not a whole number"), None);
            return default;
        }
        number as u32
    }

    pub(super) fn json_path(&mut self, path: &str, text: &str) -> Option<JsonPath> {
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(err) => {
                self.problem(path, err.to_string(), None);
                None
            }
        }
    }

    /// A JSON body with templates in its texts. What renders to nothing is left out.
    pub(super) fn body(&mut self, path: &str, value: &Value, scope: &Scope) -> Option<BodyPlan> {
        match value {
            Value::Object(members) => {
                let members = members.iter().filter_map(|(key, value)| {
                    let value = self.body(&format!("{path}.{key}"), value, scope)?;
                    Some((key.clone(), value))
                });
                Some(BodyPlan::Object(members.collect()))
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                let items =
                    items.filter_map(|(i, it)| self.body(&format!("{path}.{i}"), it, scope));
                Some(BodyPlan::Array(items.collect()))
            }
            Value::String(text) => {
                let scalar = Scalar::Text(text.clone());
                let checked = self.template(path, &scalar, scope, Secrecy::Allowed)?;
                if checked.dynamic && is_nothing(&checked.template) {
                    return None;
                }
                Some(BodyPlan::Leaf(checked.template))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                Some(BodyPlan::Leaf(Template::Constant(value.clone())))
            }
        }
    }
}

/// Whether a rendered value means "leave it out".
pub(super) fn is_nothing(template: &Template) -> bool {
    match template {
        Template::Constant(Value::Null) => true,
        Template::Constant(Value::String(text)) => text.is_empty(),
        Template::Constant(_) | Template::Expression(..) | Template::Text(..) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_a_number_and_a_unit() {
        assert_eq!(parse_span("3d"), Some(TimeDelta::days(3)));
        assert_eq!(parse_span(" 30 m"), Some(TimeDelta::minutes(30)));
        assert_eq!(parse_span("2w"), Some(TimeDelta::days(14)));
        assert_eq!(parse_span("36500d"), Some(TimeDelta::days(36_500)));
        for wrong in
            ["", "3", "d", "3y", "-3d", "3.5d", "99999999999999999999d", "99999999d", "36501d"]
        {
            assert_eq!(parse_span(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_start_is_a_date_an_instant_or_a_length_of_time_back() {
        let date = NaiveDate::from_ymd_opt(2024, 7, 25).unwrap();
        let instant = date.and_hms_opt(7, 0, 0).unwrap().and_utc();

        assert_eq!(parse_start("2024-07-25"), Some(WindowStart::On(date)));
        assert_eq!(parse_start("2024-07-25T10:00:00+03:00"), Some(WindowStart::At(instant)));
        assert_eq!(parse_start("90d"), Some(WindowStart::Ago(TimeDelta::days(90))));
        for wrong in ["yesterday", "99999999d", "9999-12-31", "1899-12-31", "2201-01-01T00:00:00Z"]
        {
            assert_eq!(parse_start(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn statuses_are_numbers_or_classes() {
        let text = |it: &str| Scalar::Text(it.to_owned());

        assert_eq!(parse_status(&Scalar::Int(404)), Some(StatusRange { first: 404, last: 404 }));
        assert_eq!(parse_status(&text("5xx")), Some(StatusRange { first: 500, last: 599 }));
        assert_eq!(parse_status(&text("9xx")), None);
        assert_eq!(parse_status(&Scalar::Int(99)), None);
    }
}
