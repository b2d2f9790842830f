//! Where a request ends in what its peer sends: the framing of HTTP/1.1, carried over from reading to
//! reading.
//!
//! Judges nothing: what is no request the parser refuses, and then the connection ends. It only has to
//! agree with the parser on where a request ends that the parser takes.

use actix_web::http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING, UPGRADE};

/// What follows the head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks, the last of them empty, and trailers (RFC 9112, section 7.1).
    Chunked,
    /// Whatever comes.
    ToTheEnd,
}

impl Body {
    const CHUNKED_BITS: u64 = u64::MAX;
    const TO_THE_END_BITS: u64 = u64::MAX - 1;

    /// Of a head that the parser took, and that announces a body.
    pub fn of_head(headers: &HeaderMap) -> Body {
        if headers.contains_key(TRANSFER_ENCODING) {
            return Body::Chunked;
        }
        // The parser reads to the end then, whatever the length says.
        let is_websocket = |value: &HeaderValue| {
            value.to_str().is_ok_and(|value| value.trim().eq_ignore_ascii_case("websocket"))
        };
        if headers.get_all(UPGRADE).any(is_websocket) {
            return Body::ToTheEnd;
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        match length.and_then(|length| length.trim().parse().ok()) {
            Some(length) => Body::Length(length),
            None => Body::ToTheEnd,
        }
    }

    /// As a number, for an atomic.
    pub(super) const fn bits(self) -> u64 {
        match self {
            Body::None => 0,
            Body::Length(length) if length < Body::TO_THE_END_BITS => length,
            Body::Length(_) | Body::ToTheEnd => Body::TO_THE_END_BITS,
            Body::Chunked => Body::CHUNKED_BITS,
        }
    }

    pub(super) const fn of(bits: u64) -> Body {
        match bits {
            0 => Body::None,
            Body::CHUNKED_BITS => Body::Chunked,
            Body::TO_THE_END_BITS => Body::ToTheEnd,
            length => Body::Length(length),
        }
    }
}

/// Where in a request the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Before its first byte.
    Before,
    /// In the head; whether nothing stands in its present line yet.
    Head { line_is_empty: bool },
    /// So many bytes of the body are still to come.
    Length(u64),
    /// In a body of chunks.
    Chunked(Chunk),
    /// What comes is one request without an end.
    ToTheEnd,
}

/// Where in a body of chunks the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the line that says its size, as far as that was read; whether an extension has begun.
    Size { size: u64, is_extended: bool },
    /// So many bytes of it are still to come.
    Data(u64),
    /// Behind its last byte.
    DataEnd,
    /// Behind the last chunk; whether nothing stands in the present line yet, and whether `\r` came
    /// last. The parser takes a line break without one for a part of the line, other than in a head.
    Trailer { line_is_empty: bool, is_after_return: bool },
}

impl Framing {
    /// What comes next is this body.
    pub const fn of_body(body: Body) -> Framing {
        match body {
            Body::None => Framing::Before,
            Body::Length(length) => Framing::Length(length),
            Body::Chunked => Framing::Chunked(Chunk::Size { size: 0, is_extended: false }),
            Body::ToTheEnd => Framing::ToTheEnd,
        }
    }

    /// Whether the peer is in a body.
    pub const fn is_body(self) -> bool {
        match self {
            Framing::Before | Framing::Head { .. } => false,
            Framing::Length(_) | Framing::Chunked(_) | Framing::ToTheEnd => true,
        }
    }

    /// How many bytes at the beginning belong to no request: empty lines before one (RFC 9112, section
    /// 2.2).
    pub fn skipped(self, bytes: &[u8]) -> usize {
        match self {
            Framing::Before => {
                let is_line_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
                bytes.iter().take_while(is_line_end).count()
            }
            Framing::Head { .. } | Framing::Length(_) | Framing::Chunked(_) | Framing::ToTheEnd => {
                0
            }
        }
    }

    /// How many of these bytes belong to the present head or body, and whether it ends with them.
    pub fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        match self {
            Framing::ToTheEnd => (bytes.len(), false),
            Framing::Length(left) => {
                let count =
                    usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= count as u64;
                let ends = *left == 0;
                if ends {
                    *self = Framing::Before;
                }
                (count, ends)
            }
            Framing::Chunked(chunk) => match chunk.take(bytes) {
                Some(count) => {
                    *self = Framing::Before;
                    (count, true)
                }
                None => (bytes.len(), false),
            },
            Framing::Before => {
                *self = Framing::Head { line_is_empty: true };
                // Nothing stands in it yet, and its first line is not the one that ends it.
                self.take(bytes)
            }
            Framing::Head { line_is_empty } => match end_of_lines(line_is_empty, bytes) {
                Some(count) => {
                    *self = Framing::Before;
                    (count, true)
                }
                None => (bytes.len(), false),
            },
        }
    }
}

/// How many bytes there are up to the end of the first empty line.
fn end_of_lines(line_is_empty: &mut bool, bytes: &[u8]) -> Option<usize> {
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' if *line_is_empty => return Some(at + 1),
            b'\n' => *line_is_empty = true,
            b'\r' => {}
            _ => *line_is_empty = false,
        }
    }
    None
}

impl Chunk {
    /// How many bytes there are up to the end of the body; `None` if it does not end with them.
    fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match self {
                Chunk::Size { size, is_extended } => {
                    match char::from(*byte).to_digit(16) {
                        Some(digit) if !*is_extended => {
                            *size = size.saturating_mul(16).saturating_add(u64::from(digit));
                        }
                        Some(_) | None => match byte {
                            b'\n' if *size == 0 => {
                                *self =
                                    Chunk::Trailer { line_is_empty: true, is_after_return: false };
                            }
                            b'\n' => *self = Chunk::Data(*size),
                            b'\r' => {}
                            _ => *is_extended = true,
                        },
                    }
                    at += 1;
                }
                Chunk::Data(left) => {
                    let there = (bytes.len() - at) as u64;
                    let count = there.min(*left);
                    *left -= count;
                    if *left == 0 {
                        *self = Chunk::DataEnd;
                    }
                    at += usize::try_from(count).expect("no more than there are bytes");
                }
                Chunk::DataEnd => {
                    if *byte == b'\n' {
                        *self = Chunk::Size { size: 0, is_extended: false };
                    }
                    at += 1;
                }
                Chunk::Trailer { line_is_empty, is_after_return } => {
                    at += 1;
                    match byte {
                        b'\n' if *is_after_return && *line_is_empty => return Some(at),
                        b'\n' if *is_after_return => *line_is_empty = true,
                        b'\r' => {}
                        _ => *line_is_empty = false,
                    }
                    *is_after_return = *byte == b'\r';
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the parts of `sent` end, which is cut into pieces of this size.
    fn ends(mut framing: Framing, body: Body, sent: &[u8], piece: usize) -> Vec<usize> {
        let (mut ends, mut at) = (Vec::new(), 0);
        for piece in sent.chunks(piece) {
            let mut left = piece;
            while !left.is_empty() {
                let skipped = framing.skipped(left);
                let (count, is_end) = framing.take(&left[skipped..]);
                at += skipped + count;
                left = &left[skipped + count..];
                if is_end {
                    ends.push(at);
                    if ends.len() == 1 {
                        framing = Framing::of_body(body);
                    }
                }
            }
        }
        ends
    }

    const HEAD: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

    #[test]
    fn a_request_ends_where_it_ends_wherever_it_is_cut() {
        for (head, body, sent) in [
            (HEAD, Body::None, ""),
            ("GET / HTTP/1.1\nHost: x\n\n", Body::None, ""),
            ("GET / HTTP/1.1\nHost: x\n\r\n", Body::None, ""),
            (HEAD, Body::Length(2), "{}"),
            (HEAD, Body::Length(4), "\r\n\r\n"),
            (HEAD, Body::Chunked, "0\r\n\r\n"),
            (HEAD, Body::Chunked, "2\r\n{}\r\n0\r\n\r\n"),
            (
                HEAD,
                Body::Chunked,
                "4;a=b\r\n\n\n\n\n\r\nA\r\n0123456789\r\n000\r\nTrailer: 1\r\n\r\n",
            ),
            // As the parser does, which takes these for one line of a trailer.
            (HEAD, Body::Chunked, "0\r\n\n\r\n\r\n"),
            (HEAD, Body::Chunked, "0\r\nTrailer: 1\n\r\n\r\n"),
        ] {
            let whole = format!("{head}{sent}{HEAD}");
            let mut wanted = vec![head.len()];
            if body != Body::None {
                wanted.push(head.len() + sent.len());
            }
            wanted.push(whole.len());
            for piece in 1..=whole.len() {
                let found = ends(Framing::Before, body, whole.as_bytes(), piece);
                assert_eq!(found, wanted, "{whole:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn empty_lines_before_a_request_belong_to_none() {
        assert_eq!(Framing::Before.skipped(b"\r\n\n\nGET"), 4);
        assert_eq!(Framing::Head { line_is_empty: false }.skipped(b"\r\n"), 0);
        assert_eq!(Framing::Length(1).skipped(b"\n"), 0);
    }

    #[test]
    fn a_body_survives_as_a_number() {
        for body in
            [Body::None, Body::Length(1), Body::Length(1 << 40), Body::Chunked, Body::ToTheEnd]
        {
            assert_eq!(Body::of(body.bits()), body);
        }
        assert_eq!(Body::of(Body::Length(u64::MAX).bits()), Body::ToTheEnd, "longer than any");
    }

    #[test]
    fn a_head_says_what_follows_it() {
        use actix_web::http::header::{HeaderName, HeaderValue};
        let of = |name: HeaderName, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            Body::of_head(&headers)
        };
        assert_eq!(of(CONTENT_LENGTH, "17"), Body::Length(17));
        assert_eq!(of(TRANSFER_ENCODING, "chunked"), Body::Chunked);
        assert_eq!(Body::of_head(&HeaderMap::new()), Body::ToTheEnd);
        let mut upgrade = HeaderMap::new();
        upgrade.insert(CONTENT_LENGTH, HeaderValue::from_static("2"));
        upgrade.insert(UPGRADE, HeaderValue::from_static("WebSocket"));
        assert_eq!(Body::of_head(&upgrade), Body::ToTheEnd, "it is not counted");
    }
}
