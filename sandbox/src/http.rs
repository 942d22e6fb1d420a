//! HTTP/1.1 messages: as much of RFC 9112 as the two servers need.

use std::io::{self, Read, Write};
use std::time::SystemTime;

use time::OffsetDateTime;

/// A whole head may be this long. Quay's own limit (8 KiB a line) is far below: the rest is read
/// so that the refusal reaches a client that is still sending.
const LONGEST_HEAD: usize = 512 * 1024;
const LONGEST_BODY: usize = 16 * 1024 * 1024;

/// A request as read from a connection.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query as sent.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) keep_alive: bool,
}

impl Request {
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub(crate) fn query(&self) -> Vec<(String, String)> {
        self.target.split_once('?').map(|(_, query)| parameters(query)).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The length of the longest header line, without its end of line.
    pub(crate) fn longest_header_line(&self) -> usize {
        self.headers.iter().map(|(name, value)| name.len() + 2 + value.len()).max().unwrap_or(0)
    }
}

/// A reply to send.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type".to_owned(), content_type.to_owned())],
            body: body.into(),
        }
    }

    pub(crate) fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, "application/json", body)
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Status line and headers, `Content-Length` among them where `length` is known.
    pub(crate) fn head(&self, length: Option<u64>, keep_alive: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let mut line = |name: &str, value: &str| {
            head.push_str(name);
            head.push_str(": ");
            head.push_str(value);
            head.push_str("\r\n");
        };
        line("Date", &http_date(SystemTime::now()));
        for (name, value) in &self.headers {
            line(name, value);
        }
        match length {
            Some(length) => line("Content-Length", &length.to_string()),
            None => line("Transfer-Encoding", "chunked"),
        }
        line("Connection", if keep_alive { "keep-alive" } else { "close" });
        head.push_str("\r\n");
        head.into_bytes()
    }
}

/// Reads one request. `rest` carries what was read beyond the previous one. `None`: the client
/// has closed the connection.
pub(crate) fn read_request<S: Read + Write>(
    stream: &mut S,
    rest: &mut Vec<u8>,
) -> io::Result<Option<Request>> {
    loop {
        if let Some((mut request, head_length)) = parse_head(rest)? {
            rest.drain(..head_length);
            if request.header("expect").is_some_and(|value| value.contains("100-continue")) {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
                stream.flush()?;
            }
            if request.header("transfer-encoding").is_some() {
                return Err(invalid("a request body in chunks"));
            }
            let length: usize = match request.header("content-length") {
                Some(length) => length.parse().map_err(|_| invalid("the request's length"))?,
                None => 0,
            };
            if length > LONGEST_BODY {
                return Err(invalid("the request's body is too long"));
            }
            while rest.len() < length {
                if read_more(stream, rest)? == 0 {
                    return Ok(None);
                }
            }
            request.body = rest.drain(..length).collect();
            return Ok(Some(request));
        }
        if rest.len() > LONGEST_HEAD {
            return Err(invalid("the request's head is too long"));
        }
        if read_more(stream, rest)? == 0 {
            return Ok(None);
        }
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<(Request, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(bytes).map_err(invalid)? else {
        return Ok(None);
    };
    let headers = owned(parsed.headers);
    let wants_close =
        header(&headers, "connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        keep_alive: parsed.version == Some(1) && !wants_close,
        headers,
        body: Vec::new(),
    };
    Ok(Some((request, length)))
}

/// Reads one reply, up to `limit` bytes of body.
pub(crate) fn read_reply<S: Read>(stream: &mut S, limit: usize) -> io::Result<Reply> {
    let mut bytes = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut parsed = httparse::Response::new(&mut headers);
        if let httparse::Status::Complete(length) = parsed.parse(&bytes).map_err(invalid)? {
            let mut reply = Reply {
                status: parsed.code.unwrap_or_default(),
                headers: owned(parsed.headers),
                body: Vec::new(),
            };
            reply.body = read_body(stream, &reply.headers, bytes.split_off(length), limit)?;
            return Ok(reply);
        }
        if bytes.len() > LONGEST_HEAD || read_more(stream, &mut bytes)? == 0 {
            return Err(invalid("a reply cut short"));
        }
    }
}

fn read_body<S: Read>(
    stream: &mut S,
    headers: &[(String, String)],
    mut bytes: Vec<u8>,
    limit: usize,
) -> io::Result<Vec<u8>> {
    if header(headers, "transfer-encoding").is_some() {
        return read_chunks(stream, bytes, limit);
    }
    let length = header(headers, "content-length").and_then(|length| length.parse::<usize>().ok());
    while length.is_none_or(|length| bytes.len() < length) {
        if bytes.len() > limit {
            return Err(invalid("the reply's body is too long"));
        }
        if read_more(stream, &mut bytes)? == 0 {
            return match length {
                Some(_) => Err(invalid("a body cut short")),
                None => Ok(bytes),
            };
        }
    }
    bytes.truncate(length.unwrap_or(usize::MAX));
    Ok(bytes)
}

fn read_chunks<S: Read>(stream: &mut S, mut bytes: Vec<u8>, limit: usize) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        match httparse::parse_chunk_size(&bytes).map_err(|_| invalid("a chunk's size"))? {
            httparse::Status::Complete((_, 0)) => return Ok(body),
            httparse::Status::Complete((head, size)) => {
                let size = usize::try_from(size).map_err(invalid)?;
                if body.len().saturating_add(size) > limit {
                    return Err(invalid("the reply's body is too long"));
                }
                while bytes.len() < head + size + 2 {
                    if read_more(stream, &mut bytes)? == 0 {
                        return Err(invalid("a body cut short"));
                    }
                }
                body.extend_from_slice(&bytes[head..head + size]);
                bytes.drain(..head + size + 2);
            }
            httparse::Status::Partial => {
                if read_more(stream, &mut bytes)? == 0 {
                    return Err(invalid("a body cut short"));
                }
            }
        }
    }
}

fn read_more<S: Read>(stream: &mut S, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let mut part = [0; 8192];
    let count = stream.read(&mut part)?;
    bytes.extend_from_slice(&part[..count]);
    Ok(count)
}

fn owned(headers: &[httparse::Header<'_>]) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect()
}

pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

/// The parameters of a query or of a form. What cannot be decoded is kept as it is.
pub(crate) fn parameters(encoded: &str) -> Vec<(String, String)> {
    let decode = |part: &str| form_decode(part).unwrap_or_else(|| part.to_owned());
    encoded
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// Decodes one part of `application/x-www-form-urlencoded`; `None` for a stray `%` or for what
/// is not UTF-8 afterwards.
pub(crate) fn form_decode(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return None;
                }
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

/// A date as `Date` has it (RFC 9110, 5.6.7).
fn http_date(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let weekday = at.weekday().to_string();
    let month = at.month().to_string();
    format!(
        "{}, {:02} {} {} {:02}:{:02}:{:02} GMT",
        &weekday[..3],
        at.day(),
        &month[..3],
        at.year(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Request Entity Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Time-out",
        _ => "Unknown",
    }
}

pub(crate) fn invalid(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{form_decode, http_date};

    #[test]
    fn a_date_is_written_as_rfc_9110_says() {
        let at = UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(http_date(at), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn a_stray_percent_sign_is_refused() {
        assert_eq!(form_decode("a%2Bb+c"), Some("a+b c".to_owned()));
        for encoded in ["100%", "%zz", "%+1", "%ff"] {
            assert_eq!(form_decode(encoded), None, "{encoded}");
        }
    }
}
