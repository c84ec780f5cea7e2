//! The key that a request shows.

use axum::http::{HeaderMap, StatusCode, header};

use crate::problem::Problem;

/// Longer keys than this are none of ours.
const KEY_MAX: usize = 128;

/// The key of `Authorization: Bearer KEY`, if there is such a field.
pub fn bearer(fields: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut fields = fields.get_all(header::AUTHORIZATION).iter();
    let Some(field) = fields.next() else {
        return Ok(None);
    };
    let unusable = || {
        Problem::new(
            StatusCode::UNAUTHORIZED,
            "the Authorization field cannot be used: it must be one, of the form \"Bearer KEY\"",
        )
    };
    if fields.next().is_some() {
        return Err(unusable());
    }
    let (scheme, key) = field
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or_else(unusable)?;
    let key = key.trim();
    let good = scheme.eq_ignore_ascii_case("bearer") && !key.is_empty() && key.len() <= KEY_MAX;
    if good { Ok(Some(key)) } else { Err(unusable()) }
}
