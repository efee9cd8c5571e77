//! What is known of the keys of records in quarantine where there are more than are followed.

use super::{
    super::{KeyWatch, Whose},
    append, batch, row, stream,
};

#[test]
fn of_keys_beyond_the_limit_nothing_is_taken_for_known() {
    let record = |id: i64| batch(&[row(id, 0, "")]);
    let watch = KeyWatch::new(&stream(append()), &record(0).schema(), 4).unwrap();
    let watched = [
        (1, Whose::Earlier),
        (2, Whose::Earlier),
        (3, Whose::Earlier), // beyond half of the limit
        (4, Whose::Own),
        (5, Whose::Own),
        (6, Whose::Own), // beyond the limit
        (1, Whose::Own),
    ];
    for (id, whose) in watched {
        watch.watch(&record(id), whose).unwrap();
    }

    let of = |is_so: fn(&KeyWatch, i64) -> bool| {
        (1..7).filter(|id| is_so(&watch, *id)).collect::<Vec<_>>()
    };

    let may_have_come = of(|watch, id| watch.may_have_come(&batch(&[row(id, 0, "")])).unwrap());
    let is_overtaken = of(|watch, id| watch.is_overtaken(&batch(&[row(id, 0, "")])).unwrap());
    assert_eq!(may_have_come, [3, 6], "so that a replay leaves their rows alone");
    assert_eq!(is_overtaken, [1, 4, 5], "so that the others stay in quarantine");
}
