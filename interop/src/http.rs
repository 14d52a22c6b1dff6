//! As much of HTTP/1.1 as asking a tracker or a daemon takes.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::network::Host;

/// An answer.
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The status line and the headers, as they came.
    pub head: String,
    /// What follows them.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(':'));
        pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }
}

/// Sends one request from `host`; no answer when nobody listens, or when it breaks off.
pub fn ask(host: &Host, to: SocketAddr, head: &str, body: &str) -> Result<Option<Answer>> {
    let Some(mut stream) = host.connect(to)? else { return Ok(None) };
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let request =
        format!("{head}\r\nHost: {to}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut answer = Vec::new();
    if stream.write_all(request.as_bytes()).and_then(|()| read_answer(&mut stream, &mut answer)).is_err() {
        return Ok(None);
    }
    parse(&answer).map(Some)
}

/// As a value stands in a query or a form.
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => escaped.push(char::from(byte)),
            byte => escaped.extend(format!("%{byte:02X}").chars()),
        }
    }
    escaped
}

/// Reads to the end of the answer. Some servers (qBittorrent's) hold the connection for seconds after it, so where
/// the answer tells its length, that is believed.
fn read_answer(stream: &mut impl Read, answer: &mut Vec<u8>) -> std::io::Result<()> {
    let mut chunk = [0; 4096];
    loop {
        let length = stream.read(&mut chunk)?;
        answer.extend(chunk.iter().take(length));
        let whole = parse(answer).is_ok_and(|answer| {
            answer.header("Content-Length").and_then(|length| length.parse().ok()) == Some(answer.body.len())
        });
        if length == 0 || whole {
            return Ok(());
        }
    }
}

fn parse(answer: &[u8]) -> Result<Answer> {
    let ends = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .context("an HTTP answer without end of head")?;
    let (head, body) = answer.split_at(ends);
    let head = String::from_utf8_lossy(head).into_owned();
    let status =
        head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("an HTTP answer without status")?;
    Ok(Answer { status, head, body: body.get(4..).unwrap_or_default().to_vec() })
}

#[cfg(test)]
mod tests {
    use super::{parse, read_answer};

    /// Gives its bytes one by one, and fails beyond them as a connection that is held open.
    struct Held<'a>(&'a [u8]);

    impl std::io::Read for Held<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let (first, rest) = self.0.split_first().ok_or(std::io::ErrorKind::TimedOut)?;
            buffer[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    #[test]
    fn an_answer_that_tells_its_length_ends_with_it() {
        let mut answer = Vec::new();
        read_answer(&mut Held(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"), &mut answer).unwrap();
        assert!(answer.ends_with(b"abc"));
        read_answer(&mut Held(b"HTTP/1.1 200 OK\r\n\r\nabc"), &mut Vec::new()).unwrap_err();
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let answer = parse(b"HTTP/1.1 409 Conflict\r\nX-Name: a: b\r\nOther:c\r\n\r\nbody\r\n\r\n").unwrap();
        assert_eq!(answer.status, 409);
        assert_eq!(answer.header("x-name"), Some("a: b"));
        assert_eq!(answer.header("absent"), None);
        assert_eq!(answer.body, b"body\r\n\r\n");
    }
}
