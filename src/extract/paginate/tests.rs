mod foreseen;

use serde_json::json;

use super::*;
use crate::plan::{JsonPath, Place, SizePlan};

fn path(text: &str) -> JsonPath {
    text.parse().unwrap()
}

fn param(name: &str) -> Placement {
    Placement { place: Place::Query, name: name.to_owned() }
}

fn body(text: &str) -> Signal {
    Signal::Body(path(text))
}

/// A page of so many new records that says this about itself.
fn page(records: u64, says: &Value) -> (PageFacts, Vec<(String, String)>) {
    let envelope = says.as_object().unwrap().iter();
    let envelope = envelope.map(|(key, value)| (path(key), value.clone())).collect();
    let last_record_field = says.get("last_id").cloned();
    let facts = PageFacts { records, envelope, last_record_field, ..PageFacts::default() };
    (facts, Vec::new())
}

fn with_header(name: &str, value: &str) -> (PageFacts, Vec<(String, String)>) {
    let (facts, _) = page(2, &json!({}));
    (facts, vec![(name.to_owned(), value.to_owned())])
}

/// Feeds pages to a paginator and writes down what it asks for after each.
#[track_caller]
fn check(plan: &PaginatePlan, pages: &[(PageFacts, Vec<(String, String)>)], expected: &[&str]) {
    let mut paginator = Paginator::new(plan);
    let mut ledger = Ledger::new(true, 1);
    let mut identity = 0;
    let mut asked = vec![text(Ok(Next::Page(paginator.first())))];
    for (facts, headers) in pages {
        let identities = (0..facts.records).map(|it| identity + it).collect();
        identity += facts.records;
        let facts = PageFacts { identities, ..facts.clone() };
        let total = paginator.total(&facts, headers).unwrap();
        let news = ledger.add(&facts, total);
        asked.push(text(paginator.after(&facts, headers, news, &ledger)));
    }
    assert_eq!(asked, expected);
}

fn text(next: Result<Next, StuckPaging>) -> String {
    match next {
        Ok(Next::End) => "end".to_owned(),
        Ok(Next::Page(Ask { url: Some(url), .. })) => url,
        Ok(Next::Page(Ask { params, url: None })) => {
            let params =
                params.iter().map(|(it, value)| format!("{}={}", it.name, value_text(value)));
            params.collect::<Vec<_>>().join("&")
        }
        Err(err) => err.to_string(),
    }
}

fn offset(signals: Signals, max: Option<u64>) -> PaginatePlan {
    PaginatePlan {
        scheme: PageScheme::Offset {
            param: param("offset"),
            start: 0,
            max,
            multiple_of_size: true,
        },
        size: Some(SizePlan { param: Some(param("limit")), size: 10 }),
        signals,
    }
}

fn numbered(signals: Signals) -> PaginatePlan {
    let scheme = PageScheme::Number { param: param("page"), start: 1 };
    PaginatePlan { scheme, size: None, signals }
}

fn token(from: Signal) -> PaginatePlan {
    let scheme = PageScheme::Token {
        from,
        param: param("after"),
        end_on_empty_page: false,
        may_repeat: false,
    };
    PaginatePlan { scheme, ..PaginatePlan::default() }
}

#[test]
fn one_request_is_all_without_paging() {
    check(&PaginatePlan::default(), &[page(5, &json!({}))], &["", "end"]);
}

#[test]
fn offsets_advance_by_what_was_returned_until_the_total() {
    let plan = offset(Signals { total: Some(body("total")), ..Signals::default() }, None);
    let pages = [page(10, &json!({"total": 14})), page(4, &json!({"total": 14}))];

    check(&plan, &pages, &["offset=0&limit=10", "offset=10&limit=10", "end"]);
}

#[test]
fn a_server_that_lowers_the_page_size_is_followed() {
    let plan = offset(Signals { total: Some(body("total")), ..Signals::default() }, None);
    let pages = [page(4, &json!({"total": 6})), page(2, &json!({"total": 6}))];

    check(&plan, &pages, &["offset=0&limit=10", "offset=4&limit=4", "end"]);
}

#[test]
fn a_flag_is_stronger_than_a_total() {
    let signals =
        Signals { last: Some(body("isLast")), total: Some(body("total")), ..Signals::default() };
    let pages = [
        page(10, &json!({"total": 5, "isLast": false})),
        page(1, &json!({"total": 50, "isLast": true})),
    ];

    check(&offset(signals, None), &pages, &["offset=0&limit=10", "offset=10&limit=10", "end"]);

    let signals =
        Signals { more: Some(body("hasNext")), total: Some(body("total")), ..Signals::default() };
    let pages = [
        page(10, &json!({"total": 5, "hasNext": true})),
        page(1, &json!({"total": 50, "hasNext": false})),
    ];

    check(&offset(signals, None), &pages, &["offset=0&limit=10", "offset=10&limit=10", "end"]);
}

#[test]
fn a_flag_may_be_a_text() {
    let signals =
        Signals { last: Some(body("isLast")), total: Some(body("total")), ..Signals::default() };
    let pages = [
        page(1, &json!({"isLast": "False", "total": 1})),
        page(1, &json!({"isLast": "TRUE", "total": 9})),
    ];

    check(&numbered(signals), &pages, &["page=1", "page=2", "end"]);
}

#[test]
fn a_false_more_flag_ends() {
    let signals = Signals { more: Some(body("hasNext")), ..Signals::default() };

    check(
        &numbered(signals),
        &[page(1, &json!({"hasNext": true})), page(1, &json!({"hasNext": false}))],
        &["page=1", "page=2", "end"],
    );
}

#[test]
fn an_empty_page_ends_where_nothing_else_says_so_but_not_where_more_was_promised() {
    check(
        &numbered(Signals::default()),
        &[page(1, &json!({})), page(0, &json!({}))],
        &["page=1", "page=2", "end"],
    );
    let signals = Signals { last: Some(body("isLast")), ..Signals::default() };
    check(
        &numbered(signals),
        &[page(0, &json!({"isLast": false}))],
        &["page=1", "page 1 is empty, although the API says that more follows"],
    );
}

#[test]
fn an_empty_page_ends_where_as_many_records_came_as_the_api_counts_whatever_its_flag_says() {
    let signals =
        Signals { last: Some(body("isLast")), total: Some(body("total")), ..Signals::default() };
    let says = |total: u64| json!({"isLast": false, "total": total});

    check(&numbered(signals.clone()), &[page(0, &says(0))], &["page=1", "end"]);
    check(
        &numbered(signals.clone()),
        &[page(2, &says(2)), page(0, &says(2))],
        &["page=1", "page=2", "end"],
    );
    check(
        &numbered(signals),
        &[page(2, &says(3)), page(0, &says(3))],
        &["page=1", "page=2", "page 2 is empty, although the API says that more follows"],
    );
}

#[test]
fn a_number_of_pages_in_a_header_ends() {
    let signals =
        Signals { total_pages: Some(Signal::Header("x-total-pages".into())), ..Signals::default() };
    let pages = [with_header("x-total-pages", "2"), with_header("x-total-pages", "2")];

    check(&numbered(signals), &pages, &["page=1", "page=2", "end"]);
}

#[test]
fn a_short_page_ends_only_where_the_pipeline_says_so() {
    let signals = Signals { end_on_short_page: true, ..Signals::default() };
    check(
        &offset(signals, None),
        &[page(10, &json!({})), page(9, &json!({}))],
        &["offset=0&limit=10", "offset=10&limit=10", "end"],
    );
    check(
        &offset(Signals::default(), None),
        &[page(9, &json!({}))],
        &["offset=0&limit=10", "offset=9&limit=9"],
    );
}

#[test]
fn an_offset_beyond_the_largest_is_an_error() {
    let plan = offset(Signals::default(), Some(10));

    check(
        &plan,
        &[page(10, &json!({})), page(10, &json!({}))],
        &[
            "offset=0&limit=10",
            "offset=10&limit=10",
            "the next page starts at 20, beyond 10, the largest that the API takes",
        ],
    );
}

#[test]
fn a_total_is_capped_at_its_cap_and_beyond_what_offsets_reach() {
    let signals = Signals { cap: Some(10_000), ..Signals::default() };
    assert!(Paginator::new(&offset(signals, None)).is_capped(10_000));
    let reach = offset(Signals::default(), Some(10_000));
    assert!(!Paginator::new(&numbered(Signals::default())).is_capped(u64::MAX));
    assert!(!Paginator::new(&reach).is_capped(10_010));
    assert!(Paginator::new(&reach).is_capped(10_011));
    // Pages of 12 start at 9 996, and then beyond the largest offset.
    let mut uneven = offset(Signals::default(), Some(10_000));
    uneven.size = Some(SizePlan { param: Some(param("limit")), size: 12 });
    assert!(!Paginator::new(&uneven).is_capped(10_008));
    assert!(Paginator::new(&uneven).is_capped(10_009));
}

#[test]
fn a_link_is_followed_or_gives_its_parameter() {
    let follow =
        PaginatePlan { scheme: PageScheme::Link { param: None }, ..PaginatePlan::default() };
    let link =
        r#"<https://a/x?page=1>; rel="prev"; title=next, <https://a/x?page=3>; rel="next last""#;
    check(
        &follow,
        &[with_header("link", link), page(1, &json!({}))],
        &["", "https://a/x?page=3", "end"],
    );

    let extract = PaginatePlan {
        scheme: PageScheme::Link { param: Some("id".into()) },
        ..PaginatePlan::default()
    };
    let link = r#"<api.example.net/v3/x?perPage=50&id=6%2Fa>; rel="next""#;
    check(&extract, &[with_header("link", link)], &["", "id=6/a"]);
}

#[test]
fn a_link_without_its_parameter_is_an_error_and_not_the_end() {
    let extract = PaginatePlan {
        scheme: PageScheme::Link { param: Some("id".into()) },
        ..PaginatePlan::default()
    };
    let empty = r#"<api.example.net/v3/x?id=>; rel="next""#;
    check(&extract, &[with_header("link", empty)], &["", "end"]);
    for target in ["api.example.net/v3/x?cursor=2", "/v3/x"] {
        let link = format!(r#"<{target}>; rel="next""#);
        let error = "the link to the page after page 1 has no parameter `id`, which it is asked by";
        check(&extract, &[with_header("link", &link)], &["", error]);
    }
}

#[test]
fn a_link_that_comes_back_is_an_error_not_a_loop() {
    let follow =
        PaginatePlan { scheme: PageScheme::Link { param: None }, ..PaginatePlan::default() };
    let link = with_header("link", "<https://a/x?page=3>; rel=next");

    check(
        &follow,
        &[link.clone(), link],
        &[
            "",
            "https://a/x?page=3",
            "the token of the next page, `https://a/x?page=3`, came back twice",
        ],
    );
}

#[test]
fn a_token_ends_where_it_is_missing_null_or_empty() {
    let plan = token(Signal::Body(path("next")));
    for end in [json!({}), json!({"next": null}), json!({"next": ""})] {
        let pages = [page(1, &json!({"next": "a"})), page(1, &json!({"next": "b"})), page(1, &end)];
        check(&plan, &pages, &["", "after=a", "after=b", "end"]);
    }
}

#[test]
fn a_token_that_comes_back_is_an_error_not_a_loop() {
    let same = page(1, &json!({"next": "a"}));

    check(
        &token(Signal::Body(path("next"))),
        &[same.clone(), same],
        &["", "after=a", "the token of the next page, `a`, came back twice"],
    );
}

#[test]
fn a_watermark_stops_on_its_flag_although_it_names_a_next_page() {
    let mut plan = token(Signal::Body(path("until")));
    plan.signals.last = Some(body("lastPage"));
    let pages = [
        page(2, &json!({"until": 5, "lastPage": false})),
        page(1, &json!({"until": 9, "lastPage": true})),
    ];

    check(&plan, &pages, &["", "after=5", "end"]);
}

#[test]
fn a_scroll_ends_on_an_empty_page_and_may_repeat_its_token() {
    let scheme = PageScheme::Token {
        from: Signal::Header("x-scroll-id".into()),
        param: param("scrollId"),
        end_on_empty_page: true,
        may_repeat: true,
    };
    let plan = PaginatePlan { scheme, ..PaginatePlan::default() };
    let mut empty = with_header("x-scroll-id", "s1");
    empty.0.records = 0;

    check(
        &plan,
        &[with_header("x-scroll-id", "s1"), with_header("x-scroll-id", "s1"), empty],
        &["", "scrollId=s1", "scrollId=s1", "end"],
    );
}

#[test]
fn an_absolute_url_is_followed_until_it_is_missing() {
    let plan = PaginatePlan {
        scheme: PageScheme::NextUrl { from: path("metadata.next") },
        ..PaginatePlan::default()
    };
    let next = PageFacts {
        records: 1,
        envelope: vec![(path("metadata.next"), json!("https://a/x?offset=2"))],
        ..PageFacts::default()
    };

    let next = (next, Vec::new());

    check(&plan, &[next.clone(), page(1, &json!({}))], &["", "https://a/x?offset=2", "end"]);
    check(
        &plan,
        &[next.clone(), next],
        &[
            "",
            "https://a/x?offset=2",
            "the token of the next page, `https://a/x?offset=2`, came back twice",
        ],
    );
}

#[test]
fn only_one_token_for_all_pages_is_moved_by_asking() {
    let moved = |may_repeat, tokens: &[&str]| {
        let PageScheme::Token { from, param, .. } = token(body("next")).scheme else {
            unreachable!()
        };
        let scheme = PageScheme::Token { from, param, end_on_empty_page: false, may_repeat };
        let plan = PaginatePlan { scheme, ..PaginatePlan::default() };
        let mut paginator = Paginator::new(&plan);
        for token in tokens {
            let (facts, headers) = page(1, &json!({ "next": token }));
            paginator.after(&facts, &headers, PageNews::New, &Ledger::new(false, 1)).unwrap();
        }
        paginator.is_moved_by_asking()
    };

    assert!(!moved(true, &[]), "the first page is asked for without a token");
    assert!(moved(true, &["a"]), "nothing is known of the token yet");
    assert!(moved(true, &["a", "a"]));
    assert!(!moved(true, &["a", "b"]));
    assert!(moved(true, &["a", "b", "b"]));
    assert!(!moved(false, &["a"]));
}

#[test]
fn a_smaller_page_starts_at_the_record_that_was_due() {
    let sized = |mut plan: PaginatePlan, param: Option<Placement>, size| {
        plan.size = Some(SizePlan { param, size });
        plan
    };
    let of_pages = sized(numbered(Signals::default()), Some(param("per_page")), 25);
    let mut paginator = Paginator::new(&of_pages);
    let mut due = paginator.first();
    for _ in 0..3 {
        let (facts, headers) = page(25, &json!({}));
        let next = paginator.after(&facts, &headers, PageNews::New, &Ledger::new(false, 1));
        let Ok(Next::Page(next)) = next else { panic!("{next:?}") };
        due = next;
    }
    assert_eq!(text(Ok(Next::Page(due.clone()))), "page=4&per_page=25");

    // 75 records were read: fifteen pages of 5, the largest size up to 12 that divides 75.
    let Some((Shrunk::Ask(smaller), 5)) = paginator.shrink(&due) else { panic!("it can be less") };
    assert_eq!(text(Ok(Next::Page(smaller))), "page=16&per_page=5");
    let (facts, headers) = page(5, &json!({}));
    let next = paginator.after(&facts, &headers, PageNews::New, &Ledger::new(false, 1));
    assert_eq!(text(next), "page=17&per_page=5");
    assert_eq!(text(Ok(Next::Page(paginator.restart()))), "page=1&per_page=5");
    let next = paginator.after(&facts, &headers, PageNews::New, &Ledger::new(false, 1));
    assert_eq!(text(next), "page=2&per_page=5");

    for (size_param, size, expected) in
        [(Some(param("limit")), 2, true), (Some(param("limit")), 1, false), (None, 2, false)]
    {
        let plan = sized(offset(Signals::default(), None), size_param, size);
        assert_eq!(Paginator::new(&plan).can_shrink(), expected, "{size}");
        let mut paginator = Paginator::new(&plan);
        let first = paginator.first();
        assert_eq!(paginator.shrink(&first).is_some(), expected, "{size}");
    }
}

#[test]
fn the_last_record_is_asked_after_until_an_empty_page() {
    let scheme = PageScheme::LastRecord { from: path("last_id"), param: param("id") };
    let plan = PaginatePlan { scheme, ..PaginatePlan::default() };

    check(&plan, &[page(2, &json!({"last_id": 41})), page(0, &json!({}))], &["", "id=41", "end"]);
    check(
        &plan,
        &[page(2, &json!({}))],
        &["", "the last record of page 1 has no `last_id`, which the next page is asked by"],
    );
}

#[test]
fn a_page_without_a_new_record_is_an_error_or_the_end_as_declared() {
    let scheme = PageScheme::LastRecord { from: path("last_id"), param: param("id") };
    let mut plan = PaginatePlan { scheme, ..PaginatePlan::default() };
    let facts = PageFacts { records: 1, identities: vec![1], ..PageFacts::default() };
    let ledger = Ledger::new(true, 1);

    let strict = Paginator::new(&plan).after(&facts, &[], PageNews::Repeated, &ledger);
    assert_eq!(strict, Err(StuckPaging::RepeatedPage { page: 1 }));

    plan.signals.end_on_repeat = true;
    let lenient = Paginator::new(&plan).after(&facts, &[], PageNews::Repeated, &ledger);
    assert_eq!(lenient, Ok(Next::End));

    // As full as was asked for, it may have more behind it that cannot be reached.
    plan.size = Some(SizePlan { param: Some(param("perPage")), size: 1 });
    let ask = |paginator: &mut Paginator<'_>, ledger: &Ledger| {
        text(paginator.after(&facts, &[], PageNews::Repeated, ledger))
    };
    let mut paginator = Paginator::new(&plan);
    assert_eq!(ask(&mut paginator, &ledger), "perPage=2");
    assert_eq!(ask(&mut paginator, &ledger), "end", "half a record cannot be asked for");
    let repeated = "page 1 came back with nothing but records that earlier pages had";
    assert_eq!(ask(&mut Paginator::new(&plan), &Ledger::new(false, 1)), repeated);
    plan.size = Some(SizePlan { param: Some(param("perPage")), size: 2 });
    let mut paginator = Paginator::new(&plan);
    let first = paginator.first();
    assert!(paginator.shrink(&first).is_some());
    assert_eq!(ask(&mut paginator, &ledger), repeated);
}

#[test]
fn a_page_of_half_the_size_tells_a_largest_page_from_sizes_that_are_ignored() {
    let scheme = PageScheme::LastRecord { from: path("last_id"), param: param("id") };
    let signals = Signals { end_on_repeat: true, ..Signals::default() };
    let size = Some(SizePlan { param: Some(param("perPage")), size: 100 });
    let plan = PaginatePlan { scheme, size, signals };
    let ledger = Ledger::new(true, 1);
    let largest = "every page has the same records, and none more than 100: whether there are more \
        cannot be told";
    for (records, expected) in [
        (&[100, 100, 50][..], &["perPage=200", "perPage=50", largest][..]),
        (&[100, 100, 100], &["perPage=200", "perPage=50", "end"]),
        (&[100, 137], &["perPage=200", "end"]),
        (&[137], &["end"]),
    ] {
        let mut paginator = Paginator::new(&plan);
        let mut ask = |&records: &u64| {
            let facts = PageFacts { records, identities: vec![1], ..PageFacts::default() };
            text(paginator.after(&facts, &[], PageNews::Repeated, &ledger))
        };
        assert_eq!(records.iter().map(&mut ask).collect::<Vec<_>>(), expected, "{records:?}");
    }
}

#[test]
fn a_total_that_is_no_number_is_an_error() {
    let plan = offset(Signals { total: Some(body("total")), ..Signals::default() }, None);
    let (facts, headers) = page(1, &json!({"total": "many"}));

    let err = Paginator::new(&plan).total(&facts, &headers).unwrap_err();

    assert_eq!(err.to_string(), "`total` is `many`, expected a number");
}

#[test]
fn a_link_of_any_seed_of_the_fuzzer_is_a_part_of_its_header() {
    let seeds = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/link")).unwrap();
    let mut found = 0;
    for seed in seeds {
        let header = std::fs::read_to_string(seed.unwrap().path()).unwrap();
        if let Some(link) = next_link(&[("link".to_owned(), header.clone())]) {
            assert!(header.contains(&link), "{link:?} is not in {header:?}");
            found += 1;
        }
    }
    assert!(found >= 3, "{found}");
}

#[test]
fn a_page_size_that_had_to_divide_an_odd_offset_is_larger_again_after_it() {
    // The server gives a record less than it is asked for.
    let plan = offset(Signals { total: Some(body("total")), ..Signals::default() }, None);
    let of = |records| page(records, &json!({"total": 36}));

    check(
        &plan,
        &[of(9), of(8), of(1), of(8), of(1), of(9)],
        &[
            "offset=0&limit=10",
            "offset=9&limit=9",
            "offset=17&limit=1",
            "offset=18&limit=9",
            "offset=26&limit=2",
            "offset=27&limit=9",
            "end",
        ],
    );
}

#[test]
fn a_token_that_is_as_long_as_a_page_is_refused_by_its_length() {
    let plan = token(Signal::Body(path("next")));
    let longest = "x".repeat(64 << 10);
    let after = format!("after={longest}");

    check(&plan, &[page(1, &json!({ "next": longest }))], &["", &after]);
    let longer = page(1, &json!({ "next": longest + "x" }));
    check(&plan, &[longer], &["", "the token of the next page has 65537 bytes, more than 65536"]);
}

#[test]
fn pages_without_records_are_not_followed_for_ever() {
    let scheme = PageScheme::Token {
        from: Signal::Header("x-scroll-id".into()),
        param: param("scrollId"),
        end_on_empty_page: false,
        may_repeat: true,
    };
    let plan = PaginatePlan { scheme, ..PaginatePlan::default() };
    let with = |records| {
        let mut page = with_header("x-scroll-id", "s1");
        page.0.records = records;
        page
    };
    // What is between them starts the count anew.
    let mut pages = vec![with(0); 999];
    pages.push(with(2));
    pages.extend(vec![with(0); 1_000]);
    let mut expected = vec![""];
    expected.extend(vec!["scrollId=s1"; 1_999]);
    expected.push("the last 1000 pages were empty, and the API says that more follows");

    check(&plan, &pages, &expected);
}
