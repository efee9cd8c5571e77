//! Two engines read a body, and must not differ in what they give.

use tracklake::{
    plan::{SliceContext, StreamPlan},
    transform::{BodyError, Decoded, Decoder, Notices},
};

use super::reference::{self, NoPage, Page, tree::Fault};

/// The engine of the program and the reference, for one stream.
#[derive(Debug)]
pub struct Engines {
    stream: StreamPlan,
    decoder: Decoder,
}

impl Engines {
    pub fn new(stream: StreamPlan) -> Self {
        Self { decoder: Decoder::new(&stream), stream }
    }

    pub fn stream(&self) -> &StreamPlan {
        &self.stream
    }

    /// A body gives rows and rejects for each of its records, twice the same and the same as by the
    /// reference, or an error.
    ///
    /// Gives what they agree on. Left out are identities, of which only the number is compared, and texts for a person beyond
    /// what was expected and found.
    pub fn agree(&self, body: &[u8], context: &SliceContext) -> Result<Decoded, BodyError> {
        let first = self.decoder.decode(body, context);
        let second = self.decoder.decode(body, context);
        let expected = reference::decode(&self.stream, body, context);
        match (first, second, expected) {
            (Ok(first), Ok(second), Ok(expected)) => {
                assert_eq!(first.batch, second.batch);
                assert_eq!(first.rejects, second.rejects);
                assert_eq!(first.facts, second.facts);
                assert_eq!(first.notices, second.notices);
                adds_up(&first, body);
                same_page(&first, &expected);
                Ok(first)
            }
            (Err(first), Err(second), Err(expected)) => {
                assert_eq!(first, second);
                same_error(&first, &expected, body);
                Err(first)
            }
            (first, _, expected) => panic!("{first:?}, but the reference has {expected:?}"),
        }
    }
}

fn adds_up(decoded: &Decoded, body: &[u8]) {
    let Decoded { facts, batch, rejects, notices } = decoded;
    assert_eq!(facts.identities.len() as u64, facts.records);
    let rejected = rejects.len() as u64;
    assert!(rejected + notices.dropped_empty <= facts.records);
    // An exploded record has several rows, and never none without being counted.
    assert!(batch.num_rows() as u64 >= facts.records - rejected - notices.dropped_empty);
    for reject in rejects {
        let raw = reject.raw.as_bytes();
        // Records that are text inside of JSON have been unescaped.
        let is_part = !reject.masked.is_empty()
            || raw.is_empty()
            || body.windows(raw.len()).any(|it| it == raw);
        assert!(is_part || body.contains(&b'\\'), "{:?} is not in the body", reject.raw);
    }
}

fn same_page(decoded: &Decoded, expected: &Page) {
    assert_eq!(decoded.rejects.len(), expected.rejects.len(), "{:?}", decoded.rejects);
    for (reject, expected) in decoded.rejects.iter().zip(&expected.rejects) {
        assert_eq!(reject.position, expected.position);
        assert_eq!(reject.raw, expected.raw);
        assert_eq!(reject.masked, expected.masked);
        assert_eq!(reject.column, expected.misfit.column, "{reject:?} {expected:?}");
        assert!(reject.reason.starts_with(&expected.misfit.reason), "{reject:?} {expected:?}");
    }
    assert_eq!(decoded.batch, expected.batch);
    assert_eq!(decoded.facts.records, expected.records);
    assert_eq!(decoded.facts.envelope, expected.envelope);
    assert_eq!(decoded.facts.last_record_field, expected.last_record_field);
    let missing = &decoded.facts.records_missing;
    assert_eq!(missing.is_none(), expected.has_records, "{missing:?}");
    let Notices { gaps, folds, duplicate_keys, dropped_empty } = decoded.notices;
    assert_eq!((gaps, folds), (expected.irregular.gaps, expected.irregular.folds));
    assert_eq!(dropped_empty, expected.dropped_empty);
    // Keys that come again where nothing is read are not counted, some that are read several times
    // more than once.
    assert!(duplicate_keys == 0 || expected.duplicates > 0, "{duplicate_keys} duplicates");
    if expected.reads_once {
        assert!(duplicate_keys <= expected.duplicates, "{duplicate_keys} duplicates");
    }
}

fn same_error(error: &BodyError, expected: &NoPage, body: &[u8]) {
    match (error, expected) {
        (BodyError::Empty, NoPage::Empty) => {}
        (BodyError::NotUtf8 { offset }, NoPage::NotUtf8 { offset: expected }) => {
            assert_eq!(offset, expected);
        }
        (BodyError::TooDeep { offset, .. }, NoPage::Fault(mark, Fault::TooDeep(expected))) => {
            assert_eq!(*offset, mark + expected);
        }
        (
            BodyError::Syntax { offset, line, column, .. },
            NoPage::Fault(mark, Fault::Syntax(from, to)),
        ) => {
            assert!((mark + from..=mark + to).contains(offset), "{error:?} {expected:?}");
            let before = String::from_utf8_lossy(&body[*mark..*offset]);
            let last_line = before.rsplit('\n').next().unwrap_or_default();
            assert_eq!(*line, 1 + before.matches('\n').count(), "{error:?}");
            assert_eq!(*column, 1 + last_line.chars().count(), "{error:?}");
        }
        _ => panic!("{error:?}, but the reference has {expected:?}"),
    }
}
