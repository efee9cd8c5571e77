//! A key that stands in every request under a name, in a header or in the query.

use super::{InvalidCredential, header};
use crate::{
    extract::send::{Redirects, Wire},
    plan::{ApiKeyPlan, KeyPlace},
};

/// Adds the key; one that a link of the API has in it already is replaced.
pub(super) fn add(wire: &mut Wire, plan: &ApiKeyPlan) -> Result<(), InvalidCredential> {
    let ApiKeyPlan { place, name, value } = plan;
    match place {
        KeyPlace::Header => header::raw(&mut wire.headers, name, value.expose()),
        KeyPlace::Query => {
            let is_key = |pair: &&str| {
                let pair = url::form_urlencoded::parse(pair.as_bytes()).next();
                pair.is_some_and(|(key, _)| key == name.as_str())
            };
            // The other pairs stay as they are written: their encoding may matter.
            let query = wire.url.query().unwrap_or_default().to_owned();
            let pairs = query.split('&').filter(|it| !it.is_empty());
            let key = encoded_pair(name, value.expose());
            let pairs: Vec<&str> = pairs.filter(|it| !is_key(it)).chain([key.as_str()]).collect();
            wire.url.set_query(Some(&pairs.join("&")));
            // The target of a redirect would be asked without the key.
            wire.redirects = Redirects::Taken;
            Ok(())
        }
    }
}

fn encoded_pair(name: &str, value: &str) -> String {
    let encode = crate::extract::request::encode;
    format!("{}={}", encode(name), encode(value))
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::plan::{Method, Secret};

    #[track_caller]
    fn check(url: &str, expected: &str) {
        let mut wire = Wire {
            method: Method::Get,
            url: url.parse().unwrap(),
            headers: HeaderMap::new(),
            body: None,
            redirects: Redirects::Followed,
        };
        let value = Secret::new("a b+c/&");
        let plan = ApiKeyPlan { place: KeyPlace::Query, name: "api key".to_owned(), value };

        add(&mut wire, &plan).unwrap();

        assert_eq!(wire.url.as_str(), expected);
        assert_eq!(wire.shown(), "https://host/x", "no query is shown");
    }

    #[test]
    fn a_key_in_the_query_stands_behind_the_other_parameters() {
        check("https://host/x", "https://host/x?api%20key=a%20b%2Bc%2F%26");
        check("https://host/x?a=%2C,b", "https://host/x?a=%2C,b&api%20key=a%20b%2Bc%2F%26");
    }

    #[test]
    fn a_key_that_a_link_has_already_does_not_stand_there_twice() {
        check("https://host/x?api+key=old&a=1", "https://host/x?a=1&api%20key=a%20b%2Bc%2F%26");
    }
}
