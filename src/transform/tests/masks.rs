//! What a rejected record shows where columns are masked.

use super::*;

// ---- Masks

/// What stands of a record that does not fit, and where something else stands than was received:
/// `id` rejects it, the other columns are dropped, but for `to`, which is a constant.
#[track_caller]
fn withheld(explode: Option<ExplodeShape>, body: &str, expected: &str, masked: &[&str]) {
    let mut plan = stream(&[("id", INT64), ("a.mail", TEXT), ("list.mail", TEXT), ("to", JSON)]);
    for (column, mask) in plan.columns.iter_mut().skip(1).zip([
        MaskPlan::Drop,
        MaskPlan::Drop,
        MaskPlan::Constant(MaskConstant::Text("7".to_owned())),
    ]) {
        column.mask = Some(mask);
    }
    plan.explode = explode
        .map(|shape| ExplodePlan { path: path("list"), shape, when_empty: WhenEmpty::Keep })
        .into_iter()
        .collect();
    let decoded = decode(&plan, body);
    assert_eq!(decoded.rejects.len(), 1, "{body}: {decoded:?}");
    assert_eq!(decoded.rejects[0].raw, expected, "{body}");
    assert_eq!(decoded.rejects[0].masked, masked, "{body}");
    assert!(!decoded.rejects[0].reason.contains('@'), "{:?}", decoded.rejects[0]);
}

#[test]
fn a_rejected_record_has_masks_in_the_place_of_values_and_is_the_same_else() {
    let array = Some(ExplodeShape::Array);
    let map = Some(ExplodeShape::Map);
    withheld(
        None,
        r#"{ "id" : "x", "a": {"n": 1, "mail" : "l@i" , "m":[1 ]}}"#,
        r#"{ "id" : "x", "a": {"n": 1, "mail" : null , "m":[1 ]}}"#,
        &["a.mail"],
    );
    withheld(
        None,
        r#"{"a":{"m\u0061il":"l@i","mail":{"x":"l@i"}},"id":"x","a":{"mail":null}}"#,
        r#"{"a":{"m\u0061il":null,"mail":null},"id":"x","a":{"mail":null}}"#,
        &["a.mail"],
    );
    withheld(None, r#"{"id":"x","a":["l@i"]}"#, r#"{"id":"x","a":"***"}"#, &["a"]);
    withheld(None, r#"{"id":1,"a":"l@i"}"#, r#"{"id":1,"a":"***"}"#, &["a"]);
    withheld(None, r#"["l@i"]"#, r#""***""#, &["$"]);
    withheld(None, r#"{"id":"x","to":["l@i"]}"#, r#"{"id":"x","to":7}"#, &["to"]);
    withheld(None, r#"{"id":"x","to":null}"#, r#"{"id":"x","to":null}"#, &[]);
    withheld(
        array,
        r#"{"id":"x","list":[{"mail":"l@i"},null,{"mail":"w@u"},"n@g"]}"#,
        r#"{"id":"x","list":[{"mail":null},null,{"mail":null},"***"]}"#,
        &["list.mail", "list"],
    );
    withheld(
        map,
        r#"{"id":"x","list":{"k":{"mail":"l@i"},"mail":"w@u"}}"#,
        r#"{"id":"x","list":{"k":{"mail":null},"mail":"***"}}"#,
        &["list.mail", "list"],
    );
    withheld(map, r#"{"id":1,"list":["l@i"]}"#, r#"{"id":1,"list":"***"}"#, &["list"]);
}

#[test]
fn masked_keys_of_a_map_go_with_the_map() {
    let mut plan = stream(&[("id", INT64), ("by.$key", TEXT)]);
    plan.columns[1].mask = Some(MaskPlan::Drop);
    plan.explode = vec![ExplodePlan {
        path: path("by"),
        shape: ExplodeShape::Map,
        when_empty: WhenEmpty::Keep,
    }];

    let decoded = decode(&plan, r#"{"id":"x","by":{"l@i":{"h":1}}}"#);

    assert_eq!(decoded.rejects[0].raw, r#"{"id":"x","by":"***"}"#);
}

#[test]
fn what_is_masked_as_a_whole_leaves_nothing_in_extra() {
    let mut plan = stream(&[("a", JSON), ("a.id", INT64)]);
    plan.unknown_fields = UnknownFields::Keep;
    plan.columns[0].mask = Some(MaskPlan::Drop);

    check(&plan, r#"{"a":{"id":7,"mail":"l@i","b":{"c":"l@i"}},"n":1}"#, "null 7 '{\"n\":1}'");
}
