//! The head of an answer: status line and headers.

use crate::fault::Fault;
use casement_core::http::{HEADERS_MAX, header, length};
use embedded_svc::http::{Headers, Status};

/// Longest head of an answer, in bytes. Also what a connection sets aside for it.
pub const HEAD_BYTES_MAX: usize = 2048;

/// A head as it came, and what of it decides about the connection.
#[derive(Debug, Default)]
pub struct Head {
    text: heapless::Vec<u8, HEAD_BYTES_MAX>,
    status: u16,
}

/// What follows the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Follows {
    /// Bytes of the head itself.
    pub(crate) head: usize,
    /// Bytes of the body.
    pub(crate) body: u64,
    /// Whether the connection can be used again.
    pub(crate) keep: bool,
}

impl Head {
    /// Looks for a whole head at the beginning of what came, and keeps it. `None` while it is not whole. Interim answers
    /// (RFC 9110 §15.2) are no heads; they give a status below 200 and no body.
    ///
    /// # Errors
    /// [`Fault::Protocol`] for anything but HTTP/1.1 with a `Content-Length`.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Option<Follows>, Fault> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let head = match response.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Fault::Protocol),
        };
        if response.version != Some(1) {
            return Err(Fault::Protocol);
        }
        let status = response.code.ok_or(Fault::Protocol)?;
        let body = match (status, length(response.headers).map_err(|_| Fault::Protocol)?) {
            (100..=199 | 204 | 304, _) => 0,
            (_, Some(length)) => length,
            // The end could be a cut.
            (_, None) => return Err(Fault::Protocol),
        };
        let connection = header(response.headers, "Connection");
        let keep = connection.is_none_or(|value| !value.eq_ignore_ascii_case("close"));
        self.status = status;
        self.text.clear();
        let text = bytes.get(..head).unwrap_or_default();
        self.text.extend_from_slice(text).map_err(|_| Fault::TooLarge)?;
        Ok(Some(Follows { head, body, keep }))
    }
}

impl Status for Head {
    fn status(&self) -> u16 {
        self.status
    }

    fn status_message(&self) -> Option<&str> {
        None
    }
}

impl Headers for Head {
    fn header(&self, name: &str) -> Option<&str> {
        let text = core::str::from_utf8(&self.text).ok()?;
        text.lines().skip(1).find_map(|line| {
            let (have, value) = line.split_once(':')?;
            have.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_what_follows() {
        for (text, outcome) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\n", Ok(Some((39, 41, true)))),
            (
                "HTTP/1.1 200 OK\r\ncontent-length:  2 \r\nConnection: Close\r\n\r\nhi",
                Ok(Some((59, 2, false))),
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", Ok(Some((27, 0, true)))),
            ("HTTP/1.1 100 Continue\r\n\r\n", Ok(Some((25, 0, true)))),
            ("HTTP/1.1 200 OK\r\nContent-Le", Ok(None)),
            ("", Ok(None)),
            // No length.
            ("HTTP/1.1 200 OK\r\n\r\n", Err(Fault::Protocol)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Err(Fault::Protocol)),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
                Err(Fault::Protocol),
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", Err(Fault::Protocol)),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", Err(Fault::Protocol)),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", Err(Fault::Protocol)),
            ("SSH-2.0-OpenSSH_9.2p1\r\n", Err(Fault::Protocol)),
            ("\0\0\0\0", Err(Fault::Protocol)),
        ] {
            let follows = Head::default().take(text.as_bytes());
            let follows = follows.map(|some| some.map(|it| (it.head, it.body, it.keep)));
            assert_eq!(follows, outcome, "{text:?}");
        }
    }

    #[test]
    fn headers_are_found_whatever_their_case() {
        let mut head = Head::default();
        head.take(b"HTTP/1.1 503 Busy\r\nretry-after: 7\r\nContent-Length: 0\r\nX-Odd: a:b\r\n\r\n")
            .expect("is one");
        assert_eq!(
            (head.status(), head.header("Retry-After"), head.header("x-odd")),
            (503, Some("7"), Some("a:b"))
        );
        assert_eq!(head.header("HTTP/1.1 503 Busy"), None);
    }
}
