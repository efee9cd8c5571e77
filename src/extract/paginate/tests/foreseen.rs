//! What is asked for before its turn.

use super::*;

/// What is foreseen after pages of so many records each, the last of which says this.
fn foreseen(plan: &PaginatePlan, records: &[u64], says: &Value, most: usize) -> Vec<String> {
    let mut paginator = Paginator::new(plan);
    let mut ledger = Ledger::new(false, 1);
    for records in records {
        let (facts, headers) = page(*records, says);
        let total = paginator.total(&facts, &headers).unwrap();
        let news = ledger.add(&facts, total);
        paginator.after(&facts, &headers, news, &ledger).unwrap();
    }
    let asks = paginator.foresee(ledger.total(), most).into_iter();
    asks.map(|it| text(Ok(Next::Page(it)))).collect()
}

#[test]
fn what_follows_the_next_page_is_foreseen_up_to_the_total() {
    let total = || Signals { total: Some(body("total")), ..Signals::default() };
    let pages = || Signals { total_pages: Some(body("pages")), ..Signals::default() };
    let both = || Signals { total: Some(body("total")), ..pages() };
    let of = |total: u64| json!({ "total": total });
    let any = |mut plan: PaginatePlan, first: u64| {
        if let PageScheme::Offset { multiple_of_size, start, .. } = &mut plan.scheme {
            (*multiple_of_size, *start) = (false, first);
        }
        plan
    };
    let by_offset = offset(total(), None);
    let ten = "limit=10";

    // Each page of 10; the next one starts at 10.
    for (total, expected) in [
        (11, vec![]),
        (20, vec![]),
        (21, vec!["offset=20"]),
        (30, vec!["offset=20"]),
        (45, vec!["offset=20", "offset=30", "offset=40"]),
        (1_000_000, vec!["offset=20", "offset=30", "offset=40", "offset=50"]),
        (u64::MAX, vec!["offset=20", "offset=30", "offset=40", "offset=50"]),
    ] {
        let expected: Vec<String> = expected.iter().map(|it| format!("{it}&{ten}")).collect();
        assert_eq!(foreseen(&by_offset, &[10], &of(total), 4), expected, "{total} records");
    }
    assert_eq!(foreseen(&by_offset, &[10], &of(100), 0), [""; 0]);
    assert_eq!(
        foreseen(&by_offset, &[10, 10, 10], &of(60), 9),
        ["offset=40&limit=10", "offset=50&limit=10"]
    );

    // A server that gives fewer than it is asked for, and one that counts from 1.
    let steps = foreseen(&any(offset(total(), None), 0), &[4], &of(15), 9);
    assert_eq!(steps, ["offset=8&limit=10", "offset=12&limit=10"]);
    let steps = foreseen(&any(offset(total(), None), 1), &[10], &of(31), 9);
    assert_eq!(steps, ["offset=21&limit=10", "offset=31&limit=10"]);
    // What may be asked for ends before the total.
    let steps = foreseen(&any(offset(total(), Some(20)), 0), &[10], &of(25), 9);
    assert_eq!(steps, ["offset=20&limit=10"]);

    let steps = foreseen(&numbered(total()), &[10], &of(35), 9);
    assert_eq!(steps, ["page=3", "page=4"]);
    // A page that is not full says nothing about the number of the others.
    let steps = foreseen(&numbered(total()), &[10, 3], &of(35), 9);
    assert_eq!(steps, ["page=4", "page=5"]);
    let steps = foreseen(&numbered(pages()), &[10], &json!({ "pages": 4 }), 9);
    assert_eq!(steps, ["page=3", "page=4"]);
    let steps = foreseen(&numbered(both()), &[10], &json!({ "pages": 9, "total": 30 }), 9);
    assert_eq!(steps, ["page=3"]);
}

#[test]
fn nothing_is_foreseen_where_only_the_page_before_says_what_to_ask() {
    let total = || Signals { total: Some(body("total")), ..Signals::default() };
    let from = |scheme| PaginatePlan { scheme, size: None, signals: total() };
    let token = token(body("next")).scheme;
    let last = PageScheme::LastRecord { from: path("id"), param: param("after") };
    let url = PageScheme::NextUrl { from: path("next") };
    let says = json!({ "total": 50, "next": "more", "last_id": 10 });

    for scheme in [token, last, url, PageScheme::Link { param: None }, PageScheme::Single] {
        assert_eq!(foreseen(&from(scheme.clone()), &[10], &says, 9), [""; 0], "{scheme:?}");
    }
    // Nobody says how many there are.
    assert_eq!(foreseen(&offset(Signals::default(), None), &[10], &says, 9), [""; 0]);
    assert_eq!(foreseen(&numbered(Signals::default()), &[10], &says, 9), [""; 0]);
    // The size has to divide an offset that is none of the size's multiples.
    assert_eq!(foreseen(&offset(total(), None), &[4], &says, 9), [""; 0]);
}

#[test]
fn after_a_smaller_page_nothing_is_foreseen_until_one_has_come() {
    let plan = offset(Signals { total: Some(body("total")), ..Signals::default() }, None);
    let (mut paginator, mut ledger) = (Paginator::new(&plan), Ledger::new(false, 1));
    let mut read = |paginator: &mut Paginator<'_>, records| {
        let (facts, headers) = page(records, &json!({ "total": 40 }));
        let news = ledger.add(&facts, Some(40));
        paginator.after(&facts, &headers, news, &ledger).unwrap()
    };
    let Next::Page(next) = read(&mut paginator, 10) else { panic!("30 records follow") };
    assert_eq!(paginator.foresee(Some(40), 9).len(), 2);

    paginator.shrink(&next).unwrap();
    assert_eq!(paginator.foresee(Some(40), 9), []);

    read(&mut paginator, 5);
    let asks = paginator.foresee(Some(40), 9).into_iter().map(|it| text(Ok(Next::Page(it))));
    let expected = [20, 25, 30, 35].map(|it| format!("offset={it}&limit=5"));
    assert_eq!(asks.collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_foreseen_is_what_is_asked_of_a_server_with_full_pages() {
    for (total, size) in (1..40).flat_map(|total| (1..12).map(move |size| (total, size))) {
        let mut plan = offset(Signals { total: Some(body("total")), ..Signals::default() }, None);
        plan.size = Some(SizePlan { param: Some(param("limit")), size });
        let (mut paginator, mut ledger) = (Paginator::new(&plan), Ledger::new(false, 1));
        let (mut asked, mut said) = (Vec::new(), None);
        let mut at = 0;
        loop {
            let (facts, headers) = page(size.min(total - at), &json!({ "total": total }));
            at += facts.records;
            let news = ledger.add(&facts, Some(total));
            let next = paginator.after(&facts, &headers, news, &ledger).unwrap();
            let Next::Page(ask) = next else { break };
            asked.push(ask);
            said.get_or_insert_with(|| paginator.foresee(Some(total), 99));
        }
        assert_eq!(said.unwrap_or_default(), asked.get(1..).unwrap_or_default(), "{total} {size}");
    }
}
