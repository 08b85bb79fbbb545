//! Who sent a request, as an argument of a handler.

use super::ApiError;
use crate::access::Who;
use crate::desk::{BadCredentials, Desk, Peer, same_origin};
use axum::extract::{FromRequestParts, Query};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use casement_proto::DeviceId;
use serde::de::DeserializeOwned;

/// Somebody who may read: signed in, holding a token, or anybody when the dashboard is public.
pub(super) struct Reader {
    /// A token or a session was shown.
    pub(super) signed_in: bool,
}

/// Somebody who may look at the gateway's own numbers: an administrator, or a process on the same machine.
pub(super) struct Operator;

/// Somebody who belongs here: whoever has signed in or shows a token that reads, or a process on the same machine. An
/// open dashboard does not make visitors insiders.
pub(super) struct Insider {
    /// It may do everything.
    pub(super) admin: bool,
}

/// An administrator. A browser's session counts only on our own pages.
pub(super) struct Admin;

/// What the query string asks for; one that cannot be read is a problem like any other.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Desk> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _desk: &Desk) -> Result<Self, ApiError> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => {
                Err(ApiError::unreadable(format!("the query cannot be read: {}", error.body_text())))
            }
        }
    }
}

/// A name in a query; nothing and an empty text are no name.
pub(super) fn named<T>(
    text: Option<&str>,
    what: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, ApiError> {
    match text {
        None | Some("") => Ok(None),
        Some(text) => match parse(text) {
            Some(name) => Ok(Some(name)),
            None => Err(ApiError::unreadable(format!("\"{text}\" cannot be a {what}"))),
        },
    }
}

/// The device that sends.
pub(super) struct Sender(pub(super) DeviceId);

const SEND_TOKEN: &str =
    "send the device's token: \"Authorization: Bearer cas_dev_…\"; `casement device add ID` makes one";

async fn who(parts: &Parts, desk: &Desk) -> Result<Option<Who>, ApiError> {
    desk.who(&parts.headers, Peer::of(&parts.extensions)).await.map_err(|bad| match bad {
        BadCredentials::Malformed => {
            ApiError::unauthorized("the Authorization header must be \"Bearer TOKEN\"")
        }
        BadCredentials::Denied(denied) => denied.into(),
    })
}

impl FromRequestParts<Desk> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, ApiError> {
        let public = desk.settings.load().public;
        match who(parts, desk).await? {
            Some(Who::Reader | Who::Admin) => Ok(Self { signed_in: true }),
            Some(Who::Device(_)) | None if public => Ok(Self { signed_in: false }),
            Some(Who::Device(_)) => Err(ApiError::forbidden(
                "a device's token sends readings; reading needs one of `casement token create`",
            )),
            None => Err(ApiError::unauthorized(
                "sign in at /login, or send a token made with `casement token create --scope read`",
            )),
        }
    }
}

impl FromRequestParts<Desk> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, ApiError> {
        if Peer::of(&parts.extensions).is_loopback() {
            return Ok(Self);
        }
        match who(parts, desk).await? {
            Some(Who::Admin) => Ok(Self),
            Some(Who::Reader | Who::Device(_)) => {
                Err(ApiError::forbidden("this needs a token of scope admin"))
            }
            None => Err(ApiError::unauthorized("this needs a token of scope admin")),
        }
    }
}

impl FromRequestParts<Desk> for Insider {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, ApiError> {
        match who(parts, desk).await? {
            Some(Who::Admin) => Ok(Self { admin: true }),
            Some(Who::Reader) => Ok(Self { admin: false }),
            None | Some(Who::Device(_)) if Peer::of(&parts.extensions).is_loopback() => {
                Ok(Self { admin: false })
            }
            Some(Who::Device(_)) => Err(ApiError::forbidden("a device's token sends readings")),
            None => Err(ApiError::unauthorized(
                "sign in at /login, or send a token made with `casement token create --scope read`",
            )),
        }
    }
}

impl FromRequestParts<Desk> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, ApiError> {
        if !parts.headers.contains_key(AUTHORIZATION) && !same_origin(&parts.headers) {
            return Err(ApiError::forbidden("this request was sent from another site"));
        }
        match who(parts, desk).await? {
            Some(Who::Admin) => Ok(Self),
            Some(Who::Reader | Who::Device(_)) => {
                Err(ApiError::forbidden("this needs a token of scope admin"))
            }
            None => Err(ApiError::unauthorized(
                "this needs a token of scope admin: `casement token create --scope admin`",
            )),
        }
    }
}

impl FromRequestParts<Desk> for Sender {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, desk: &Desk) -> Result<Self, ApiError> {
        // A browser's session never sends readings: without a header there is no token.
        if !parts.headers.contains_key(AUTHORIZATION) {
            return Err(ApiError::unauthorized(SEND_TOKEN));
        }
        match who(parts, desk).await? {
            Some(Who::Device(device)) => Ok(Self(device)),
            Some(Who::Reader | Who::Admin) => {
                Err(ApiError::forbidden("readings need a device's token; `casement device add ID` makes one"))
            }
            None => Err(ApiError::unauthorized(SEND_TOKEN)),
        }
    }
}
