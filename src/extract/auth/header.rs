//! Credentials that stand in a header as they are.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::InvalidCredential;
use crate::plan::Secret;

/// `Authorization: Bearer <token>` (RFC 6750).
pub(super) fn bearer(headers: &mut HeaderMap, token: &Secret) -> Result<(), InvalidCredential> {
    raw(headers, "authorization", &format!("Bearer {}", token.expose()))
}

/// `Authorization: Basic <base64 of user:password>` (RFC 7617); both may be empty.
pub(super) fn basic(
    headers: &mut HeaderMap,
    user: &Secret,
    password: &Secret,
) -> Result<(), InvalidCredential> {
    let pair = STANDARD.encode(format!("{}:{}", user.expose(), password.expose()));
    raw(headers, "authorization", &format!("Basic {pair}"))
}

/// Any header with any value.
pub(super) fn raw(
    headers: &mut HeaderMap,
    name: &str,
    value: &str,
) -> Result<(), InvalidCredential> {
    let invalid = || InvalidCredential { header: name.to_owned() };
    let mut value = HeaderValue::from_str(value).map_err(|_| invalid())?;
    value.set_sensitive(true);
    let name: HeaderName = name.parse().map_err(|_| invalid())?;
    headers.insert(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_joins_user_and_password_even_where_one_is_empty() {
        let mut headers = HeaderMap::new();

        basic(&mut headers, &Secret::new("apikey"), &Secret::new("")).unwrap();

        assert_eq!(headers["authorization"], "Basic YXBpa2V5Og==");
        assert_eq!(format!("{:?}", headers["authorization"]), "Sensitive");
    }

    #[test]
    fn a_token_with_a_line_break_is_refused_without_showing_it() {
        let err = bearer(&mut HeaderMap::new(), &Secret::new("a\nb")).unwrap_err();

        assert_eq!(
            err.to_string(),
            "the credential for `authorization` has characters that a header cannot carry"
        );
    }
}
