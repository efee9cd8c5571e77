//! The part of Tracker's query language that exports use.
//!
//! ```text
//!   Queue: OPS AND (Updated: >= "2024-07-25 00:00:00") "Sort by": Updated ASC
//! ```
//!
//! Anything else is refused rather than guessed: a filter that silently matched everything would hide a
//! pipeline's mistake. Times are in UTC.

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, Utc};

use super::world::tracker::TrackerIssue;

/// A parsed query: conditions that must all hold, and an order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Query {
    conditions: Vec<Condition>,
    order: Option<(Field, Direction)>,
}

/// A field that can be asked for or sorted by.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Field {
    Queue,
    Key,
    Created,
    Updated,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Direction {
    Ascending,
    Descending,
}

#[derive(Debug, PartialEq)]
enum Condition {
    Text(Field, String),
    /// From the first instant, inclusive, to the second, exclusive.
    Time(Field, DateTime<Utc>, DateTime<Utc>),
}

impl Query {
    /// Understands a query, or says what it does not understand.
    pub(super) fn parse(text: &str) -> Result<Query, String> {
        let mut parser = Parser { tokens: tokens(text)?, at: 0, query: Query::default() };
        if !parser.at_sort() && parser.peek().is_some() {
            parser.conditions()?;
        }
        parser.order()?;
        match parser.peek() {
            None => Ok(parser.query),
            Some(token) => Err(format!("unexpected `{}`", token.text())),
        }
    }

    pub(super) fn matches(&self, issue: &TrackerIssue) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Text(Field::Queue, text) => issue.queue.key.eq_ignore_ascii_case(text),
            Condition::Text(_, text) => issue.key.eq_ignore_ascii_case(text),
            Condition::Time(Field::Created, from, to) => (from..to).contains(&&issue.created_at),
            Condition::Time(_, from, to) => (from..to).contains(&&issue.updated_at),
        })
    }

    /// Puts issues into the order asked for; without one they stay as they are.
    pub(super) fn sort(&self, issues: &mut [&TrackerIssue]) {
        let Some((field, direction)) = self.order else { return };
        match field {
            Field::Updated => issues.sort_by_key(|it| it.updated_at),
            Field::Created => issues.sort_by_key(|it| it.created_at),
            Field::Key | Field::Queue => issues.sort_by(|a, b| a.key.cmp(&b.key)),
        }
        if direction == Direction::Descending {
            issues.reverse();
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Sign(&'static str),
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Token::Word(text) | Token::Quoted(text) => text,
            Token::Sign(text) => text,
        }
    }
}

const SIGNS: [&str; 8] = ["(", ")", ":", ">=", "<=", "..", ">", "<"];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('"') {
            let (quoted, after) = after.split_once('"').ok_or("a quotation mark is not closed")?;
            tokens.push(Token::Quoted(quoted.to_owned()));
            rest = after;
        } else if let Some(sign) = SIGNS.into_iter().find(|sign| rest.starts_with(sign)) {
            tokens.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else {
            let ends = |it: char| it.is_whitespace() || "():\"<>".contains(it);
            let end = rest.find(ends).unwrap_or(rest.len()).max(1);
            let (word, after) = rest.split_at_checked(end).ok_or("unexpected character")?;
            tokens.push(Token::Word(word.to_owned()));
            rest = after;
        }
        rest = rest.trim_start();
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    query: Query,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn takes(&mut self, sign: &str) -> bool {
        let found = self.peek().is_some_and(|it| matches!(it, Token::Sign(it) if *it == sign));
        self.at += usize::from(found);
        found
    }

    fn at_sort(&self) -> bool {
        matches!(self.peek(), Some(Token::Quoted(text)) if text.eq_ignore_ascii_case("sort by"))
    }

    fn conditions(&mut self) -> Result<(), String> {
        loop {
            if self.takes("(") {
                self.conditions()?;
                if !self.takes(")") {
                    return Err("a parenthesis is not closed".to_owned());
                }
            } else {
                self.condition()?;
            }
            match self.peek() {
                Some(Token::Word(word)) if word.eq_ignore_ascii_case("and") => self.at += 1,
                _ => return Ok(()),
            }
        }
    }

    fn condition(&mut self) -> Result<(), String> {
        let field = self.field()?;
        let sign = [">=", "<=", ">", "<"].into_iter().find(|sign| self.takes(sign));
        let value = self.value()?;
        if matches!(field, Field::Queue | Field::Key) {
            if sign.is_some() {
                return Err(format!("{field:?} cannot be compared"));
            }
            self.query.conditions.push(Condition::Text(field, value));
            return Ok(());
        }
        let (first, last) = moment(&value)?;
        let (from, to) = match sign {
            Some(">=") => (first, DateTime::<Utc>::MAX_UTC),
            Some(">") => (last, DateTime::<Utc>::MAX_UTC),
            Some("<") => (DateTime::<Utc>::MIN_UTC, first),
            Some(_) => (DateTime::<Utc>::MIN_UTC, last),
            None if self.takes("..") => {
                let end = self.value()?;
                (first, moment(&end)?.1)
            }
            None => (first, last),
        };
        self.query.conditions.push(Condition::Time(field, from, to));
        Ok(())
    }

    fn order(&mut self) -> Result<(), String> {
        if !self.at_sort() {
            return Ok(());
        }
        self.at += 1;
        if !self.takes(":") {
            return Err("`Sort by` without a colon".to_owned());
        }
        let field = match self.take() {
            Some(Token::Word(word)) => named(&word)?,
            _ => return Err("`Sort by` without a field".to_owned()),
        };
        let direction = match self.peek() {
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("asc") => Direction::Ascending,
            Some(Token::Word(word)) if word.eq_ignore_ascii_case("desc") => Direction::Descending,
            _ => {
                self.query.order = Some((field, Direction::Descending));
                return Ok(());
            }
        };
        self.at += 1;
        self.query.order = Some((field, direction));
        Ok(())
    }

    fn field(&mut self) -> Result<Field, String> {
        let name = match self.take() {
            Some(Token::Word(name)) => name,
            other => {
                let found = other.as_ref().map_or("the end", Token::text);
                return Err(format!("expected a field, found `{found}`"));
            }
        };
        if !self.takes(":") {
            return Err(format!("`{name}` without a colon"));
        }
        named(&name)
    }

    fn value(&mut self) -> Result<String, String> {
        match self.take() {
            Some(Token::Word(text) | Token::Quoted(text)) => Ok(text),
            _ => Err("a value is missing".to_owned()),
        }
    }
}

fn named(name: &str) -> Result<Field, String> {
    match name.to_ascii_lowercase().as_str() {
        "queue" => Ok(Field::Queue),
        "key" => Ok(Field::Key),
        "created" => Ok(Field::Created),
        "updated" => Ok(Field::Updated),
        _ => Err(format!("unknown field `{name}`")),
    }
}

/// The first instant of a date, minute or second, and the first instant after it.
fn moment(text: &str) -> Result<(DateTime<Utc>, DateTime<Utc>), String> {
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        let next = date.checked_add_days(Days::new(1)).unwrap_or(date);
        return Ok((
            date.and_time(NaiveTime::MIN).and_utc(),
            next.and_time(NaiveTime::MIN).and_utc(),
        ));
    }
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S");
    let time = time.or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S"));
    let first = time.map_err(|_| format!("`{text}` is not a date"))?.and_utc();
    Ok((first, first + chrono::TimeDelta::seconds(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::world::World;

    fn keys(text: &str) -> Vec<String> {
        let world = World::generate(1, 30, NaiveDate::from_ymd_opt(2024, 7, 25).unwrap());
        let query = Query::parse(text).unwrap();
        let mut found: Vec<_> =
            world.tracker.issues.iter().filter(|it| query.matches(it)).collect();
        query.sort(&mut found);
        found.into_iter().map(|it| it.key.clone()).collect()
    }

    #[test]
    fn conditions_narrow_and_windows_split_without_loss() {
        let all = keys("");
        let before = keys(r#"Updated: < "2024-07-10 00:00:00""#);
        let after = keys(r#"(Updated: >= "2024-07-10 00:00:00")"#);

        assert_eq!(all.len(), 30);
        assert_eq!(before.len() + after.len(), 30);
        assert!(!before.is_empty() && !after.is_empty());
        assert_eq!(keys("Key: DEV-1"), ["DEV-1"]);
        let both = keys(
            r#"Queue: DEV AND (Updated: >= "2024-07-10" AND Updated: < "2024-07-25") "Sort by": Updated ASC"#,
        );
        assert!(both.iter().all(|it| it.starts_with("DEV")));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "Author: me()",
            "Updated: >= now()-12h",
            "Queue OPS",
            "Queue: OPS OR Queue: DEV",
            "(Queue: OPS",
            "\"open",
        ] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
    }
}
