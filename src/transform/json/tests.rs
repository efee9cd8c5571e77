use proptest::prelude::*;
use serde_json::Value;

use super::super::canonical;
use super::*;

fn parse(text: &str) -> Result<(), Fault> {
    let mut parser = Parser::new(text);
    parser.skip()?;
    parser.finish()
}

#[track_caller]
fn refused(text: &str, at: usize, what: &'static str) {
    let fault = parse(text).unwrap_err();

    assert_eq!((fault.at(), fault.kind.expected()), (at, what), "{text}");
}

#[test]
fn what_rfc_8259_has_is_accepted() {
    for text in [
        "null",
        " true ",
        "-0",
        "0.0e-10",
        "1E+5",
        "\"\"",
        "[]",
        "{}",
        "\t[ 1 , 2 ]\r\n",
        r#"{"a":{"b":[null]},"":0}"#,
        r#""\"\\\/\b\f\n\r\t\u0000\ud83d\ude00""#,
        "\"\u{7f}é😀\"",
    ] {
        assert_eq!(parse(text), Ok(()), "{text}");
    }
}

#[test]
fn what_rfc_8259_does_not_have_is_refused_with_its_place() {
    refused("", 0, "a value");
    refused("nul", 0, "a value");
    refused("nullx", 4, "nothing after the value");
    refused("012", 1, "nothing after the value");
    refused("[012]", 2, "`,` or `]`");
    refused("-", 1, "a digit");
    refused("1.", 2, "a digit");
    refused(".5", 0, "a value");
    refused("+1", 0, "a value");
    refused("1e", 2, "a digit");
    refused("[1,]", 3, "a value");
    refused("{\"a\":1,}", 7, "a key in quotes");
    refused("{a:1}", 1, "a key in quotes");
    refused("{\"a\" 1}", 5, "`:`");
    refused("[1 2]", 3, "`,` or `]`");
    refused("\"ab", 3, "the closing quote of a string");
    refused("\"a\nb\"", 2, "no raw control character in a string");
    refused("\"0123456789\0\"", 11, "no raw control character in a string");
    refused(r#""\x""#, 1, "an escape that JSON has");
    refused(r#""\u12g4""#, 1, "four hexadecimal digits after `\\u`");
    refused(r#""\ud83d""#, 1, "no lone surrogate in a string");
    refused(r#""\ud83d\u0041""#, 1, "no lone surrogate in a string");
    refused(r#""\ude00""#, 1, "no lone surrogate in a string");
    refused("NaN", 0, "a value");
}

#[test]
fn nesting_beyond_the_limit_is_refused_not_followed() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);

    assert_eq!(parse(&nested(128)), Ok(()));
    assert_eq!(parse(&nested(129)), Err(Fault::new(128, FaultKind::TooDeep)));
    assert_eq!(parse(&"[".repeat(5000)), Err(Fault::new(128, FaultKind::TooDeep)));
    assert_eq!(parse(&"{\"a\":".repeat(5000)), Err(Fault::new(640, FaultKind::TooDeep)));
}

#[test]
fn a_special_byte_is_found_at_every_offset() {
    for special in ["\"", "\\", "\0", "\u{1f}"] {
        for before in 0..40 {
            let text = "é".repeat(before / 2) + &"x".repeat(before % 2) + special + "\"\\\u{1}tail";

            assert_eq!(end_of_plain_text(text.as_bytes(), 0), text.len() - 7 - special.len());
        }
    }
}

#[test]
fn digits_end_where_something_else_follows() {
    for length in 1..40 {
        let digits = "9".repeat(length);

        assert_eq!(parse(&digits), Ok(()));
        assert_eq!(parse(&format!("[-{digits}.{digits}e+{digits},{digits}]")), Ok(()));
        for other in ['/', ':', '\u{1}', 'é'] {
            refused(&format!("{digits}{other}0123456789abcdef"), length, "nothing after the value");
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[\\x00-\\x7f]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,4}", inner, 0..6)
                .prop_map(|it| Value::Object(it.into_iter().rev().collect())),
        ]
    })
}

fn sorted_keys(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.keys().is_sorted() && map.values().all(sorted_keys),
        Value::Array(items) => items.iter().all(sorted_keys),
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_parser_accepts_exactly_what_serde_json_accepts(
        value in any_json(),
        edits in prop::collection::vec(
            (any::<prop::sample::Index>(), prop::sample::select(r#"{}[]",:\u0-+.eE1 ntd8"#.chars().collect::<Vec<_>>())),
            0..4,
        ),
    ) {
        let mut text: Vec<char> = value.to_string().chars().collect();
        for (index, edit) in edits {
            let at = index.index(text.len());
            text[at] = edit;
        }
        let text: String = text.into_iter().collect();

        match serde_json::from_str::<Value>(&text) {
            // Our numbers keep their text: a number that no f64 can hold is no error.
            Err(err) if err.to_string().starts_with("number out of range") => {}
            expected => prop_assert_eq!(parse(&text).is_ok(), expected.is_ok(), "{}", text),
        }
    }

    #[test]
    fn canonical_text_is_the_same_value_with_sorted_keys(value in any_json()) {
        let text = value.to_string();
        let mut out = String::new();
        let mut again = String::new();

        canonical::append(&text, &mut out).unwrap();
        canonical::append(&out, &mut again).unwrap();

        let back: Value = serde_json::from_str(&out).unwrap();
        prop_assert_eq!(&back, &serde_json::from_str::<Value>(&text).unwrap());
        prop_assert!(sorted_keys(&back));
        prop_assert_eq!(again, out);
    }
}
