//! What is said to the gateway about firmware, over any HTTP connection, and how bytes get into the slot.
//!
//! An answer is believed only where it says that it is what was asked for: the status, the range and the length. What came
//! before something broke stays in the slot, by whole sectors. There is no time-out in here: the connection has one.

use super::FetchError;
use crate::queue::{Region, WORD};
use crate::uplink::{Target, UploadError, lost, read_all, refusal};
use casement_proto::{BoardId, Release, Version};
use core::fmt::Write as _;
use core::future::poll_fn;
use core::task::Poll;
use embedded_svc::http::Method;
use embedded_svc::http::client::asynch::{Client, Connection, Response};
use sha2::{Digest, Sha256};

/// Where firmware is asked for.
pub const PATH: &str = "/api/v1/firmware";

/// Asks whether there is firmware for this board that should run instead of this version. Gives the length of the manifest
/// in `out`; `None` when there is nothing. Bytes that do not fit are no manifest.
///
/// # Errors
/// See [`UploadError`]; those of a batch do not occur.
pub async fn ask<C: Connection>(
    client: &mut Client<C>,
    target: &Target<'_>,
    (board, version): (&BoardId, Version),
    out: &mut [u8],
) -> Result<Option<usize>, UploadError> {
    let mut uri = heapless::String::<URI_BYTES_MAX>::new();
    write!(uri, "{PATH}?board={board}&version={version}").map_err(|_| UploadError::Refused)?;
    let bearer = target.bearer()?;
    let headers = [("Host", target.host), ("Authorization", bearer.as_str())];
    let request = client.request(Method::Get, &uri, &headers).await.map_err(|e| lost(&e))?;
    let mut response = request.submit().await.map_err(|e| lost(&e))?;
    let error = match response.status() {
        204 => return Ok(None),
        _ => refusal(&response),
    };
    // Read to the end in either case, so that the connection can be used again.
    let read = read_all(&mut response, out).await;
    match error {
        Some(error) => Err(error),
        None => read?.map(Some).ok_or(UploadError::Answer),
    }
}

/// Fetches bytes `from` to `to` (the last one not among them) of a release into a slot; `from` is at the start of a sector.
/// Gives how far the slot is written, in whole sectors or to `to`, and why the rest did not come.
pub async fn fetch<C: Connection, R: Region>(
    client: &mut Client<C>,
    target: &Target<'_>,
    release: &Release,
    (from, to): (u32, u32),
    slot: &mut R,
) -> (u32, Result<(), FetchError>) {
    let mut writer = Writer { slot, at: from, whole: from, buffer: [0; CHUNK_BYTES], len: 0 };
    let came = part(client, target, release, (from, to), &mut writer).await;
    let upto = if came.is_ok() { to } else { writer.whole };
    (upto, came)
}

async fn part<C: Connection, R: Region>(
    client: &mut Client<C>,
    target: &Target<'_>,
    release: &Release,
    (from, to): (u32, u32),
    writer: &mut Writer<'_, R>,
) -> Result<(), FetchError> {
    let asked = to.checked_sub(from).filter(|asked| *asked > 0).ok_or(FetchError::Answer)?;
    let mut uri = heapless::String::<URI_BYTES_MAX>::new();
    write!(uri, "{PATH}/{}/{}/image", release.board, release.version).map_err(|_| FetchError::Answer)?;
    let mut range = heapless::String::<32>::new();
    write!(range, "bytes={from}-{}", to - 1).map_err(|_| FetchError::Answer)?;
    // A token that is too long was refused with the first upload.
    let bearer = target.bearer().map_err(|_| FetchError::Status(401))?;
    let headers = [("Host", target.host), ("Authorization", bearer.as_str()), ("Range", range.as_str())];
    let request = client.request(Method::Get, &uri, &headers).await.map_err(|_| FetchError::Connection)?;
    let mut response = request.submit().await.map_err(|_| FetchError::Connection)?;
    match response.status() {
        206 if ranged(&response, (from, to), release.size) => {}
        206 => return Err(FetchError::Answer),
        200 if asked == release.size => {}
        status => return Err(FetchError::Status(status)),
    }
    if response.header("Content-Length").and_then(|length| length.parse().ok()) != Some(asked) {
        return Err(FetchError::Answer);
    }
    let mut left = asked as usize;
    while left > 0 {
        let room = writer.room(left);
        let read = response.read(room).await.map_err(|_| FetchError::Connection)?;
        // A body that ends early is no body.
        left = left.checked_sub(read).filter(|_| read > 0).ok_or(FetchError::Connection)?;
        writer.came(read, left == 0).map_err(|_| FetchError::Flash)?;
    }
    // So that the connection can be used again. There is nothing: the length said so.
    match response.read(&mut [0]).await {
        Ok(0) => Ok(()),
        Ok(_) => Err(FetchError::Answer),
        // Everything is there.
        Err(_) => Ok(()),
    }
}

/// Whether an answer is for the bytes that were asked for, of an image of the right size (RFC 9110 §14.4).
fn ranged<C: Connection>(response: &Response<C>, (from, to): (u32, u32), size: u32) -> bool {
    let mut expected = heapless::String::<48>::new();
    let written = write!(expected, "bytes {from}-{}/{size}", to.saturating_sub(1));
    written.is_ok() && response.header("Content-Range").map(str::trim) == Some(expected.as_str())
}

/// Writes what comes into a slot, and erases each sector as it comes to it.
struct Writer<'a, R: Region> {
    slot: &'a mut R,
    /// Where the buffer goes.
    at: u32,
    /// Up to here everything is written, in whole sectors.
    whole: u32,
    buffer: [u8; CHUNK_BYTES],
    len: usize,
}

impl<R: Region> Writer<'_, R> {
    fn room(&mut self, most: usize) -> &mut [u8] {
        let end = CHUNK_BYTES.min(self.len.saturating_add(most));
        self.buffer.get_mut(self.len..end).unwrap_or_default()
    }

    /// So many more bytes are in the buffer.
    fn came(&mut self, more: usize, last: bool) -> Result<(), R::Error> {
        self.len += more;
        if self.len < CHUNK_BYTES && !last {
            return Ok(());
        }
        let offset = self.at as usize;
        if offset.is_multiple_of(R::SECTOR_BYTES) {
            self.slot.erase(offset)?;
        }
        let words = self.len.next_multiple_of(WORD);
        self.buffer.iter_mut().skip(self.len).for_each(|byte| *byte = 0xff);
        self.slot.write(offset, self.buffer.get(..words).unwrap_or_default())?;
        self.at = self.at.saturating_add(self.len as u32);
        self.len = 0;
        if (self.at as usize).is_multiple_of(R::SECTOR_BYTES) {
            self.whole = self.at;
        }
        Ok(())
    }
}

/// SHA-256 of the first bytes of a slot; `None` when they cannot be read. Lets others go on after each sector.
pub async fn hash<R: Region>(slot: &mut R, size: u32) -> Option<[u8; 32]> {
    let mut hash = Sha256::new();
    let (size, mut at) = (size as usize, 0);
    let mut buffer = [0; CHUNK_BYTES];
    while at < size {
        let len = CHUNK_BYTES.min(size - at);
        slot.read(at, buffer.get_mut(..len)?).ok()?;
        hash.update(buffer.get(..len)?);
        at += len;
        if at.is_multiple_of(R::SECTOR_BYTES) {
            let mut waited = false;
            poll_fn(|context| {
                if core::mem::replace(&mut waited, true) {
                    return Poll::Ready(());
                }
                context.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        }
    }
    Some(hash.finalize().into())
}

/// The longest board name and version, and the words around them.
const URI_BYTES_MAX: usize = 96;
/// Bytes that are written at once; sectors are a multiple of it.
const CHUNK_BYTES: usize = 1_024;

#[cfg(test)]
pub(super) mod tests;
