//! Headers that the user gives.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// Headers of a request, in the order given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub(super) HeaderMap);

/// Why a line is no header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// There is no colon in it.
    #[error("a header is written as 'Name: value'")]
    NoColon,
    /// Its name has characters that a name cannot have; gives the name.
    #[error("{0:?} is not the name of a header")]
    Name(String),
    /// Its value has control characters.
    #[error("the value of a header cannot have control characters in it")]
    Value,
    /// It belongs to the connection, which is not the user's.
    #[error("the header {0} is set by the program itself")]
    Own(String),
}

/// Headers that say how a request is sent.
const OWN: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "te", "upgrade", "accept-encoding"];

impl Headers {
    /// Adds a header, written as `Name: value`. A header may be there several times.
    ///
    /// # Errors
    /// A [`HeaderError`] where the line is no header.
    pub fn push(&mut self, line: &str) -> Result<(), HeaderError> {
        let (name, value) = line.split_once(':').ok_or(HeaderError::NoColon)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| HeaderError::Name(name.to_owned()))?;
        if OWN.contains(&name.as_str()) {
            return Err(HeaderError::Own(name.to_string()));
        }
        let value = HeaderValue::from_str(value.trim()).map_err(|_| HeaderError::Value)?;
        self.0.append(name, value);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_names_and_values() {
        let mut headers = Headers::default();
        for line in ["User-Agent: Mozilla/5.0 (X11)", "x-key:a:b", "Empty:", "X-Key: c"] {
            headers.push(line).unwrap();
        }
        assert_eq!(headers.0.get("user-agent").unwrap(), "Mozilla/5.0 (X11)");
        assert_eq!(headers.0.get_all("X-Key").iter().collect::<Vec<_>>(), ["a:b", "c"]);
        for (line, error) in [
            ("no colon", HeaderError::NoColon),
            ("two words: x", HeaderError::Name("two words".to_owned())),
            (": x", HeaderError::Name(String::new())),
            ("X: a\r\nY: b", HeaderError::Value),
            ("Host: elsewhere.example", HeaderError::Own("host".to_owned())),
        ] {
            assert_eq!(headers.push(line), Err(error), "{line:?}");
        }
    }
}
