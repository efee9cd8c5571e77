//! What servers compress for the way: bytes and their `Content-Encoding` in, bytes within a limit
//! out. Pure.
//!
//! ```text
//!   Content-Encoding: gzip      1f 8b 08 … 133 KB  -->  {"items":[{"id":"7","start":… 756 KB
//! ```
//!
//! Sizes that the bytes say of themselves are hints for the first allocation, never believed: what
//! ends a bomb is the limit on what comes out.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use zstd::{stream::read::Decoder as ZstdDecoder, zstd_safe::get_frame_content_size};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Zstd,
}

/// What requests say that they take, the cheapest to unpack first.
pub(super) const ACCEPTED: &str = "zstd, gzip";

/// Codings of one body, one around the other. More of them are an attack or a mistake.
const MOST_CODINGS: usize = 2;

/// The largest window of zstd that HTTP allows, 8 MiB (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;

/// How much larger than what came the first allocation may be. Pages of JSON are 5 to 20 times.
const LIKELY_RATIO: usize = 32;

/// A `Content-Encoding` that was not asked for, as it stands there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownCoding(pub(super) String);

/// Why a body cannot be unpacked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InflateError {
    /// It is longer than allowed.
    TooLong,
    /// It ends too early, or is not what it is said to be.
    Damaged(String),
}

/// The codings of a body in the order in which they were applied, from the values of
/// `Content-Encoding`.
pub(super) fn codings<'a>(
    values: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<Coding>, UnknownCoding> {
    let values: Vec<_> = values.map(String::from_utf8_lossy).collect();
    let all = values.join(", ");
    let mut found = Vec::new();
    for name in all.split(',').map(str::trim) {
        match name.to_ascii_lowercase().as_str() {
            // Some servers name what is no coding.
            "" | "identity" | "none" | "utf-8" => {}
            "gzip" | "x-gzip" => found.push(Coding::Gzip),
            "zstd" => found.push(Coding::Zstd),
            _ => return Err(UnknownCoding(all)),
        }
    }
    if found.len() > MOST_CODINGS { Err(UnknownCoding(all)) } else { Ok(found) }
}

/// Unpacks a whole body. No body at all is none in any coding.
pub(super) fn inflate(body: Bytes, codings: &[Coding], limit: u64) -> Result<Bytes, InflateError> {
    let (bytes, end) = unpack(body, codings, limit);
    end.map(|()| bytes)
}

/// As much of the start of a body as can be unpacked, at most `limit` bytes.
pub(super) fn inflate_start(body: Bytes, codings: &[Coding], limit: u64) -> Bytes {
    unpack(body, codings, limit).0
}

fn unpack(body: Bytes, codings: &[Coding], limit: u64) -> (Bytes, Result<(), InflateError>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut bytes, mut end) = (body, Ok(()));
    for coding in codings.iter().rev() {
        if bytes.is_empty() {
            break;
        }
        let (unpacked, ended) = coding.unpack(&bytes, limit);
        bytes = unpacked;
        // What is wrong outside is why the inside breaks off.
        end = end.and(ended);
    }
    (bytes, end)
}

impl Coding {
    fn unpack(self, bytes: &[u8], limit: usize) -> (Bytes, Result<(), InflateError>) {
        let room = self.room(bytes).min(limit);
        let decoder: io::Result<Box<dyn Read + '_>> = match self {
            Self::Gzip => Ok(Box::new(MultiGzDecoder::new(bytes))),
            Self::Zstd => ZstdDecoder::with_buffer(bytes).and_then(|mut it| {
                it.window_log_max(ZSTD_WINDOW_LOG)?;
                Ok(Box::new(it) as _)
            }),
        };
        match decoder {
            Ok(decoder) => self.read(decoder, room, limit),
            Err(err) => (Bytes::new(), Err(self.damaged(&err))),
        }
    }

    /// Reads to the end, or until one byte more than allowed has come.
    fn read(
        self,
        mut from: impl Read,
        room: usize,
        limit: usize,
    ) -> (Bytes, Result<(), InflateError>) {
        // The byte more is where the end shows, too.
        let most = limit.saturating_add(1);
        let mut bytes = vec![0; room.saturating_add(1)];
        let mut filled = 0;
        let end = loop {
            if filled == most {
                break Err(InflateError::TooLong);
            }
            if filled == bytes.len() {
                bytes.resize(filled.saturating_mul(2).min(most), 0);
            }
            match from.read(&mut bytes[filled..]) {
                Ok(0) => break Ok(()),
                Ok(n_read) => filled += n_read,
                Err(err) => break Err(self.damaged(&err)),
            }
        };
        bytes.truncate(filled.min(limit));
        (bytes.into(), end)
    }

    /// Bytes to begin with: what the last part (gzip, modulo 4 GiB) or the first (zstd) says that it
    /// has, within what is likely.
    fn room(self, bytes: &[u8]) -> usize {
        let announced = match self {
            Self::Gzip => bytes.last_chunk().map(|it| u64::from(u32::from_le_bytes(*it))),
            Self::Zstd => get_frame_content_size(bytes).ok().flatten(),
        };
        let likely = bytes.len().saturating_mul(LIKELY_RATIO);
        announced.map_or(likely / 4, |it| usize::try_from(it).unwrap_or(likely).min(likely))
    }

    fn damaged(self, err: &io::Error) -> InflateError {
        let name = match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        };
        InflateError::Damaged(match err.kind() {
            io::ErrorKind::UnexpectedEof => format!("the {name} data ends too early"),
            _ => format!("the {name} data is damaged: {err}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    const PAGE: &[u8] = br#"{"items":[{"id":1,"day":"2024-07-25"},{"id":2,"day":"2024-07-25"}]}"#;

    /// A name, a packed body, how it is said to be packed, and what becomes of it.
    type Case<T> = (&'static str, Vec<u8>, &'static [Coding], T);

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(plain: &[u8]) -> Vec<u8> {
        zstd::encode_all(plain, 3).unwrap()
    }

    fn unpacked(packed: &[u8], codings: &[Coding], limit: u64) -> Result<Vec<u8>, InflateError> {
        inflate(Bytes::copy_from_slice(packed), codings, limit).map(|it| it.to_vec())
    }

    #[track_caller]
    fn check_codings(values: &[&str], expected: Result<&[Coding], &str>) {
        let found = codings(values.iter().map(|it| it.as_bytes()));
        let expected = expected.map(<[Coding]>::to_vec).map_err(|it| UnknownCoding(it.to_owned()));
        assert_eq!(found, expected, "{values:?}");
    }

    #[test]
    fn codings_are_told_by_their_names_in_whatever_case() {
        use Coding::{Gzip, Zstd};

        check_codings(&[], Ok(&[]));
        check_codings(&[""], Ok(&[]));
        check_codings(&["identity"], Ok(&[]));
        check_codings(&["gzip"], Ok(&[Gzip]));
        check_codings(&["GZip"], Ok(&[Gzip]));
        check_codings(&["x-gzip"], Ok(&[Gzip]));
        check_codings(&["zstd"], Ok(&[Zstd]));
        check_codings(&["gzip, identity"], Ok(&[Gzip]));
        check_codings(&[" gzip ,, "], Ok(&[Gzip]));
        check_codings(&["gzip,zstd"], Ok(&[Gzip, Zstd]));
        check_codings(&["gzip", "zstd"], Ok(&[Gzip, Zstd]));
        check_codings(&["gzip, gzip, gzip"], Err("gzip, gzip, gzip"));
        check_codings(&["br"], Err("br"));
        check_codings(&["deflate"], Err("deflate"));
        check_codings(&["gzip", "br"], Err("gzip, br"));
        check_codings(&["UTF-8"], Ok(&[]));
        check_codings(&["gzip;q=1"], Err("gzip;q=1"));
    }

    #[test]
    fn a_value_that_is_not_text_is_no_coding() {
        let found = codings([&b"gz\xffip"[..]].into_iter());

        assert_eq!(found, Err(UnknownCoding("gz\u{fffd}ip".into())));
    }

    #[test]
    fn what_was_packed_comes_out() {
        use Coding::{Gzip, Zstd};
        let large = PAGE.repeat(40_000);
        let cases: Vec<Case<&[u8]>> = vec![
            ("as it is", PAGE.to_vec(), &[], PAGE),
            ("nothing, as gzip", Vec::new(), &[Gzip], b""),
            ("nothing, as zstd in gzip", Vec::new(), &[Zstd, Gzip], b""),
            ("gzip of nothing", gzip(b""), &[Gzip], b""),
            ("gzip", gzip(PAGE), &[Gzip], PAGE),
            ("gzip, larger than is likely", gzip(&large), &[Gzip], &large),
            ("two members", [gzip(&PAGE[..9]), gzip(&PAGE[9..])].concat(), &[Gzip], PAGE),
            (
                "two members, of which the last is empty",
                [gzip(PAGE), gzip(b"")].concat(),
                &[Gzip],
                PAGE,
            ),
            ("zstd", zstd(PAGE), &[Zstd], PAGE),
            ("zstd of nothing", zstd(b""), &[Zstd], b""),
            ("zstd, larger than is likely", zstd(&large), &[Zstd], &large),
            ("two frames", [zstd(&PAGE[..9]), zstd(&PAGE[9..])].concat(), &[Zstd], PAGE),
            ("gzip twice", gzip(&gzip(PAGE)), &[Gzip, Gzip], PAGE),
            ("gzip, then zstd", zstd(&gzip(PAGE)), &[Gzip, Zstd], PAGE),
        ];
        for (name, packed, codings, expected) in cases {
            let found = unpacked(&packed, codings, 64 << 20).unwrap();

            assert!(
                found == expected,
                "{name}: {} bytes instead of {}",
                found.len(),
                expected.len()
            );
        }
    }

    #[test]
    fn what_is_damaged_is_named_by_its_coding() {
        use Coding::{Gzip, Zstd};
        let with = |mut bytes: Vec<u8>, at: usize| {
            let at = bytes.len() - at;
            bytes[at] ^= 1;
            bytes
        };
        let wide = || {
            let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
            encoder.window_log(24).unwrap();
            encoder.write_all(PAGE).unwrap();
            encoder.finish().unwrap()
        };
        let cases: Vec<Case<&str>> = vec![
            ("plain, said to be gzip", PAGE.to_vec(), &[Gzip], "the gzip data is damaged"),
            ("plain, said to be zstd", PAGE.to_vec(), &[Zstd], "the zstd data is damaged"),
            ("zstd, said to be gzip", zstd(PAGE), &[Gzip], "the gzip data is damaged"),
            (
                "garbage after gzip",
                [gzip(PAGE), b"<!-- -->".repeat(9)].concat(),
                &[Gzip],
                "damaged",
            ),
            ("zeros after gzip", [gzip(PAGE), vec![0; 512]].concat(), &[Gzip], "damaged"),
            ("garbage after zstd", [zstd(PAGE), b"<!-- -->".to_vec()].concat(), &[Zstd], "damaged"),
            ("a wrong checksum", with(gzip(PAGE), 8), &[Gzip], "damaged"),
            ("a wrong length", with(gzip(PAGE), 1), &[Gzip], "damaged"),
            ("a window beyond HTTP's", wide(), &[Zstd], "requires too much memory"),
            ("gzip once, said twice", gzip(PAGE), &[Gzip, Gzip], "the gzip data is damaged"),
            (
                "cut off inside",
                gzip(&zstd(PAGE)[..20]),
                &[Zstd, Gzip],
                "the zstd data ends too early",
            ),
        ];
        for (name, packed, codings, says) in cases {
            let found = unpacked(&packed, codings, 64 << 20);

            let Err(InflateError::Damaged(reason)) = found else { panic!("{name}: {found:?}") };
            assert!(reason.contains(says), "{name}: {reason}");
        }
    }

    #[test]
    fn what_is_cut_off_anywhere_ends_too_early_and_its_start_can_be_read() {
        for (coding, packed) in [(Coding::Gzip, gzip(PAGE)), (Coding::Zstd, zstd(PAGE))] {
            for end in 1..packed.len() {
                let cut = &packed[..end];

                let found = unpacked(cut, &[coding], 64 << 20);

                let Err(InflateError::Damaged(reason)) = found else { panic!("{end}: {found:?}") };
                assert!(reason.ends_with("ends too early"), "{coding:?} of {end} bytes: {reason}");
                let start = inflate_start(Bytes::copy_from_slice(cut), &[coding], 64 << 20);
                assert!(PAGE.starts_with(&start), "{coding:?} of {end} bytes: {start:?}");
            }
        }
        let start = inflate_start(gzip(PAGE).into(), &[Coding::Gzip], 9);
        assert_eq!(start, PAGE[..9]);
    }

    #[test]
    fn as_much_as_is_allowed_comes_out_and_not_a_byte_more() {
        let plain = vec![b' '; 100_000];
        let length = plain.len() as u64;
        let cases: [(&[Coding], Vec<u8>); 3] = [
            (&[Coding::Gzip], gzip(&plain)),
            (&[Coding::Zstd], zstd(&plain)),
            (&[Coding::Gzip, Coding::Gzip], gzip(&gzip(&plain))),
        ];
        for (codings, packed) in cases {
            assert!(unpacked(&packed, codings, u64::MAX).unwrap() == plain, "{codings:?}");
            assert!(unpacked(&packed, codings, length).unwrap() == plain, "{codings:?}");
            let found = unpacked(&packed, codings, length - 1);
            assert_eq!(found, Err(InflateError::TooLong), "{codings:?}");
        }
    }

    #[test]
    fn a_size_that_is_a_lie_gets_no_room() {
        let mut liar = gzip(PAGE);
        let size = liar.len() - 4;
        liar[size..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Coding::Gzip.room(&liar), 32 * liar.len());

        // A frame with its size in 8 bytes, here 2^64 - 3.
        let mut liar = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
        liar.extend((u64::MAX - 2).to_le_bytes());
        assert_eq!(Coding::Zstd.room(&liar), 32 * 13);
        assert!(unpacked(&liar, &[Coding::Zstd], 64 << 20).is_err());

        let sized = zstd::bulk::compress(PAGE, 3).unwrap();
        assert_eq!(Coding::Gzip.room(&gzip(PAGE)), PAGE.len());
        assert_eq!(Coding::Zstd.room(&sized), PAGE.len());
        assert_eq!(Coding::Zstd.room(&zstd(PAGE)), 8 * zstd(PAGE).len(), "no size is said");
        assert_eq!((Coding::Gzip.room(b"ab"), Coding::Zstd.room(b"ab")), (16, 16));
    }

    proptest! {
        #[test]
        fn any_bytes_end_within_the_limit(
            start in prop::sample::select(vec![Vec::new(), gzip(PAGE), zstd(PAGE)]),
            kept in 0..200_usize,
            rest in prop::collection::vec(any::<u8>(), 0..100),
            twice in any::<bool>(),
            limit in 0..100_u64,
        ) {
            let bytes = Bytes::from([&start[..kept.min(start.len())], &rest[..]].concat());
            for coding in [Coding::Gzip, Coding::Zstd] {
                let codings = vec![coding; 1 + usize::from(twice)];
                let start = inflate_start(bytes.clone(), &codings, limit);
                prop_assert!(start.len() as u64 <= limit || bytes.is_empty());
                if let Ok(whole) = inflate(bytes.clone(), &codings, limit) {
                    prop_assert_eq!(whole, start);
                }
            }
        }
    }
}
