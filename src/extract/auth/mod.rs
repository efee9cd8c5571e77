//! How a request logs in; one file a scheme.

mod header;

use http::HeaderMap;

use crate::plan::AuthPlan;

/// A credential that cannot be put into a header.
#[derive(Debug, thiserror::Error)]
#[error("the credential for `{header}` has characters that a header cannot carry")]
pub struct InvalidCredential {
    header: String,
}

/// The headers that log a request in; each is marked as sensitive, so that no log shows it.
pub(super) fn headers(plan: &AuthPlan) -> Result<HeaderMap, InvalidCredential> {
    let mut headers = HeaderMap::new();
    match plan {
        AuthPlan::None => {}
        AuthPlan::Bearer { token } => header::bearer(&mut headers, token)?,
        AuthPlan::Basic { user, password } => header::basic(&mut headers, user, password)?,
        AuthPlan::Header { name, value } => header::raw(&mut headers, name, value.expose())?,
    }
    Ok(headers)
}
