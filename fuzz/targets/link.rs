#![no_main]

libfuzzer_sys::fuzz_target!(|header: &str| {
    let headers = [("link".to_owned(), header.to_owned())];
    if let Some(link) = tracklake::extract::next_link(&headers) {
        assert!(header.contains(&link), "{link:?} is not in {header:?}");
    }
});
