//! What an authority refuses, and what fails on the way to it, in the scheduler's terms.

use super::http::HttpError;
use crate::renewal::Trouble;
use instant_acme::{Error, Problem};
use std::path::Path;

/// A file of ours that cannot be written.
pub(super) fn local(file: &Path, error: &std::io::Error) -> Trouble {
    Trouble::new("local", format!("{}: {error}", file.display()))
}

fn short(kind: Option<&str>) -> &str {
    kind.and_then(|kind| kind.rsplit(':').next()).filter(|kind| !kind.is_empty()).unwrap_or("unknown")
}

/// The nonce was refused, and the call not looked at (RFC 8555 §6.5).
pub(super) fn is_bad_nonce(problem: &Problem) -> bool {
    short(problem.r#type.as_deref()) == "badNonce"
}

/// The order was refused because of the certificate it replaces (RFC 9773 §5).
pub(super) fn is_about_replacing(problem: &Problem) -> bool {
    let about = |text: &str| text.to_ascii_lowercase().contains("replac");
    problem.status == Some(409)
        // "malformed" is what an authority says of a certificate that another one has issued.
        || ["alreadyReplaced", "malformed"].contains(&short(problem.r#type.as_deref()))
        || problem.detail.as_deref().is_some_and(about)
}

/// What an authority says is wrong.
pub(super) fn from_problem(problem: &Problem) -> Trouble {
    // An order as a whole may be refused for the reason of one name (RFC 8555 §6.7.1).
    let inner = problem.subproblems.first();
    let kind = match (short(problem.r#type.as_deref()), inner) {
        ("compound", Some(inner)) => short(inner.r#type.as_deref()),
        (kind, _) => kind,
    };
    let mut detail = problem.detail.clone().unwrap_or_default();
    for inner in &problem.subproblems {
        detail.push_str(&format!(" {inner}"));
    }
    Trouble::new(kind, detail.chars().take(1000).collect::<String>())
}

/// What went wrong, in the scheduler's terms.
pub(super) fn trouble(error: &Error) -> Trouble {
    match error {
        Error::Api(problem) => from_problem(problem),
        Error::Other(other) => match other.downcast_ref::<HttpError>() {
            Some(HttpError::Timeout) => Trouble::new("timeout", other.to_string()),
            Some(HttpError::Unreachable(_)) => Trouble::new("unreachable", other.to_string()),
            Some(HttpError::Roots(_)) => Trouble::new("local", other.to_string()),
            Some(HttpError::Status(500..)) => Trouble::new("serverInternal", other.to_string()),
            Some(HttpError::Status(429)) => Trouble::new("rateLimited", other.to_string()),
            Some(HttpError::Body | HttpError::Status(_)) | None => {
                Trouble::new("bad_answer", other.to_string())
            }
        },
        Error::Timeout(_) => Trouble::new("timeout", error.to_string()),
        other => Trouble::new("bad_answer", other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_told_in_the_scheduler_s_terms() {
        let problem: Problem = serde_json::from_str(
            r#"{"type":"urn:ietf:params:acme:error:compound","detail":"several","subproblems":[{"type":"urn:ietf:params:acme:error:caa","detail":"no","identifier":{"type":"dns","value":"a.example"}}]}"#,
        )
        .unwrap();
        let told = trouble(&Error::Api(problem));
        assert_eq!(told.problem, "caa");
        assert!(told.detail.contains("a.example"), "{}", told.detail);
        for (error, expected) in [
            (HttpError::Timeout, "timeout"),
            (HttpError::Unreachable("refused".to_owned()), "unreachable"),
            (HttpError::Status(503), "serverInternal"),
            (HttpError::Status(429), "rateLimited"),
            (HttpError::Status(404), "bad_answer"),
            (HttpError::Body, "bad_answer"),
        ] {
            assert_eq!(trouble(&Error::Other(Box::new(error))).problem, expected);
        }
    }
}
