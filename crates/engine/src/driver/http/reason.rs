//! Errors of the HTTP library, in words for people.

use super::clients::LedAstray;
use quelea_tracker::Failure;
use std::error::Error;

pub(super) fn failure(error: &reqwest::Error) -> Failure {
    let text = innermost(error);
    if causes(error).any(|cause| cause.downcast_ref::<LedAstray>().is_some()) {
        Failure::Redirect(text)
    } else if error.is_timeout() {
        Failure::TimedOut
    } else if text.contains("InvalidContentType") {
        // What a TLS library says of bytes that are no TLS.
        Failure::Tls("the server does not speak TLS at this port; try http:// instead of https://".to_owned())
    } else if text.contains("certificate") {
        Failure::Tls(text)
    } else if error.is_connect() {
        Failure::Connect(text)
    } else {
        Failure::Malformed(text)
    }
}

/// The innermost reason, which is the one that says something.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
