//! Firmware for devices: is there another one, and its bytes. Devices ask with their own token.

use super::ApiError;
use super::visitor::{Asked, Sender};
use crate::desk::Desk;
use crate::releases::ReleaseError;
use crate::updates::Found;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use casement_proto::{BoardId, Version};
use serde::Deserialize;
use std::io::SeekFrom;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

pub(super) fn router() -> Router<Desk> {
    Router::new()
        .route("/api/v1/firmware", get(offer))
        .route("/api/v1/firmware/{board}/{version}/image", get(image))
}

const BINARY: (HeaderName, HeaderValue) =
    (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));

#[derive(Deserialize)]
struct Running {
    board: Option<String>,
    version: Option<String>,
}

async fn offer(
    State(desk): State<Desk>,
    Sender(device): Sender,
    Asked(running): Asked<Running>,
) -> Result<Response<Body>, ApiError> {
    let board = board(running.board.as_deref().unwrap_or_default())?;
    let version = version(running.version.as_deref().unwrap_or_default())?;
    let offered = off_the_runtime(move || desk.updates.offer(&device, &board, version)).await?;
    Ok(match offered {
        Some(signed) => ([BINARY], signed.encode().to_vec()).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

async fn image(
    State(desk): State<Desk>,
    Sender(device): Sender,
    named: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response<Body>, ApiError> {
    let Path((named_board, named_version)) =
        named.map_err(|_| ApiError::unreadable("the path is /api/v1/firmware/BOARD/VERSION/image"))?;
    let (board, version) = (board(&named_board)?, version(&named_version)?);
    let Some(room) = desk.budget.download() else {
        return Err(ApiError::crowded("images are fetched"));
    };
    let found = off_the_runtime(move || desk.updates.image(&device, &board, version)).await?;
    let (file, release) = match found {
        Found::Image(file, release) => (file, release),
        Found::OtherBoard(own) => {
            return Err(ApiError::not_found(format!("this device has the board {own}, not {board}")));
        }
    };
    let hash: String = release.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = HeaderValue::try_from(format!("\"{hash}\"")).map_err(ApiError::internal)?;
    let size = u64::from(release.size);
    // Whoever has a part of another image gets all of this one (RFC 9110 §13.1.5).
    let same = headers.get(IF_RANGE).is_none_or(|known| *known == tag);
    let wanted = headers.get(RANGE).filter(|_| same).and_then(|range| range.to_str().ok());
    let (status, from, to) = match part(wanted, size) {
        Part::Whole => (StatusCode::OK, 0, size),
        Part::Of(from, to) => (StatusCode::PARTIAL_CONTENT, from, to),
        Part::Beyond => {
            let mut response =
                ApiError::beyond(format!("the image has {size} bytes; ask for some of them")).into_response();
            response.headers_mut().insert(CONTENT_RANGE, text(format!("bytes */{size}"))?);
            return Ok(response);
        }
    };
    let mut file = tokio::fs::File::from_std(file);
    file.seek(SeekFrom::Start(from)).await.map_err(ApiError::internal)?;
    let bytes = async_stream::try_stream! {
        let _room = room;
        let mut left = to - from;
        while left > 0 {
            let mut chunk = vec![0; usize::try_from(left.min(CHUNK_BYTES)).unwrap_or_default()];
            let count = file.read(&mut chunk).await?;
            if count == 0 {
                // Somebody cut the file short. The connection ends, and the device keeps what it has.
                Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof))?;
            }
            chunk.truncate(count);
            left -= count as u64;
            yield chunk;
        }
    };
    let bytes: std::pin::Pin<Box<dyn futures_util::Stream<Item = std::io::Result<Vec<u8>>> + Send>> =
        Box::pin(bytes);
    let mut response = (status, [BINARY], Body::from_stream(bytes)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, (to - from).into());
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(ETAG, tag);
    if status == StatusCode::PARTIAL_CONTENT {
        headers.insert(CONTENT_RANGE, text(format!("bytes {from}-{}/{size}", to - 1))?);
    }
    Ok(response)
}

/// What is in memory of an image that is sent, in bytes.
const CHUNK_BYTES: u64 = 16 * 1024;

fn board(text: &str) -> Result<BoardId, ApiError> {
    BoardId::parse(text)
        .ok_or_else(|| ApiError::unreadable("say which board: ?board=stamp-c3, as [a-z][a-z0-9-]{0,23}"))
}

fn version(text: &str) -> Result<Version, ApiError> {
    text.parse().map_err(|_| ApiError::unreadable("say which version: ?version=1.4.0, as three numbers"))
}

fn text(text: String) -> Result<HeaderValue, ApiError> {
    HeaderValue::try_from(text).map_err(ApiError::internal)
}

/// Files are read where that may wait.
async fn off_the_runtime<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, ReleaseError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(question).await {
        Ok(answer) => Ok(answer?),
        Err(panic) => Err(ApiError::internal(panic)),
    }
}

/// What a `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// Everything.
    Whole,
    /// From a byte to before another.
    Of(u64, u64),
    /// Nothing that is there.
    Beyond,
}

/// Reads a `Range` of one part (RFC 9110 §14.2). Several parts, other units and nonsense count as none, as the RFC
/// allows.
fn part(range: Option<&str>, size: u64) -> Part {
    let digits = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number too large for us lies beyond everything.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let Some((first, last)) =
        range.and_then(|range| range.trim().strip_prefix("bytes=")).and_then(|range| range.split_once('-'))
    else {
        return Part::Whole;
    };
    match (digits(first), digits(last), first, last) {
        (None, Some(0), "", _) => Part::Beyond,
        (None, Some(last), "", _) => Part::Of(size.saturating_sub(last), size),
        (Some(first), Some(last), ..) if first > last => Part::Whole,
        (Some(first), Some(_), ..) | (Some(first), None, _, "") if first >= size => Part::Beyond,
        (Some(first), Some(last), ..) => Part::Of(first, size.min(last.saturating_add(1))),
        (Some(first), None, _, "") => Part::Of(first, size),
        _ => Part::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_understood_and_everything_else_is_none() {
        for (range, expected) in [
            ("bytes=0-99", Part::Of(0, 100)),
            ("bytes=0-0", Part::Of(0, 1)),
            ("bytes=500-", Part::Of(500, 1_000)),
            ("bytes=999-5000", Part::Of(999, 1_000)),
            ("bytes=0-99999999999999999999999", Part::Of(0, 1_000)),
            ("bytes=-1", Part::Of(999, 1_000)),
            ("bytes=-5000", Part::Of(0, 1_000)),
            ("bytes=1000-", Part::Beyond),
            ("bytes=1000-1001", Part::Beyond),
            ("bytes=99999999999999999999999-", Part::Beyond),
            ("bytes=-0", Part::Beyond),
            ("bytes=5-4", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=0-1,5-6", Part::Whole),
            ("bytes=+0-1", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("items=0-1", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(part(Some(range), 1_000), expected, "{range}");
        }
        assert_eq!(part(None, 1_000), Part::Whole);
    }
}
