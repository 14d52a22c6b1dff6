//! Cookies that a browser has saved, as text in Netscape's form, and which of them belong to a URL (RFC 6265).

use reqwest::Url;
use std::net::IpAddr;

/// Cookies that are read at most.
const MAX_COOKIES: usize = 10_000;
/// What is sent of them to one URL at most, in bytes: more than servers take.
const MAX_SENT: usize = 16 << 10;

/// Cookies, each with the servers that it belongs to.
///
/// They are never printed: whoever has a cookie is taken for the user.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Cookies {
    cookies: Vec<Cookie>,
}

#[derive(Clone, PartialEq, Eq)]
struct Cookie {
    /// In lower case, without a dot in front.
    domain: String,
    /// Whether hosts below that domain get it too.
    below: bool,
    path: String,
    tls_only: bool,
    /// In seconds since 1970; 0 for one that lives as long as the browser.
    expires: u64,
    pair: String,
}

/// Why a file of cookies cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CookieError {
    /// A line is no cookie.
    #[error(
        "line {line} is not a cookie in Netscape's form: domain, TRUE or FALSE, path, TRUE or FALSE, expiry, name and \
         value, with tabs between them"
    )]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// There are too many.
    #[error("there are more than {MAX_COOKIES} cookies")]
    TooMany,
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cookies({})", self.cookies.len())
    }
}

impl Cookies {
    /// Reads what a browser, its extensions, curl or wget have saved as `cookies.txt`.
    ///
    /// # Errors
    /// [`CookieError`] names the first line that is none.
    pub fn parse(text: &str) -> Result<Self, CookieError> {
        let mut cookies = Vec::new();
        for (at, line) in text.lines().enumerate() {
            // Of a comment of this form curl and browsers make a cookie that scripts cannot read.
            let line = line.strip_prefix("#HttpOnly_").unwrap_or(line);
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if cookies.len() >= MAX_COOKIES {
                return Err(CookieError::TooMany);
            }
            cookies.push(Cookie::parse(line).ok_or(CookieError::Line { line: at + 1 })?);
        }
        Ok(Self { cookies })
    }

    /// The value of the header "Cookie" for a URL at a moment in seconds since 1970; `None` where none belongs to it.
    pub(super) fn header(&self, url: &Url, now: u64) -> Option<String> {
        let mut fitting: Vec<&Cookie> = self.cookies.iter().filter(|cookie| cookie.fits(url, now)).collect();
        // Those of longer paths come first (section 5.4).
        fitting.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let mut text = String::new();
        for cookie in fitting {
            if text.len() + cookie.pair.len() > MAX_SENT {
                break;
            }
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(&cookie.pair);
        }
        (!text.is_empty()).then_some(text)
    }
}

impl Cookie {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split('\t');
        let mut next = || fields.next().map(str::trim);
        let (domain, below, path, tls_only, expires, name) =
            (next()?, next()?, next()?, next()?, next()?, next()?);
        // A cookie without a value may lack its last tab.
        let value = next().unwrap_or_default();
        if fields.next().is_some() || domain.is_empty() || format!("{name}{value}").contains([';', '\0']) {
            return None;
        }
        let is_true = |field: &str| match &*field.to_ascii_uppercase() {
            "TRUE" => Some(true),
            "FALSE" => Some(false),
            _ => None,
        };
        Some(Self {
            // A dot in front says that hosts below get it too, whatever the second field says.
            below: is_true(below)? || domain.starts_with('.'),
            domain: domain.trim_start_matches('.').to_ascii_lowercase(),
            path: if path.starts_with('/') { path.to_owned() } else { "/".to_owned() },
            tls_only: is_true(tls_only)?,
            // Some write a fraction, or -1 for one that lives as long as the browser.
            expires: expires
                .split('.')
                .next()?
                .parse::<i64>()
                .ok()
                .map(|at| u64::try_from(at).unwrap_or(0))?,
            pair: format!("{name}={value}"),
        })
    }

    fn fits(&self, url: &Url, now: u64) -> bool {
        let Some(host) = url.host_str() else { return false };
        let host = host.trim_end_matches('.');
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let is_below = || host.strip_suffix(&*self.domain).is_some_and(|rest| rest.ends_with('.'));
        let is_its_host = host == self.domain || (self.below && !is_address && is_below());
        let is_on_path = url
            .path()
            .strip_prefix(&*self.path)
            .is_some_and(|rest| rest.is_empty() || self.path.ends_with('/') || rest.starts_with('/'));
        let lives = self.expires == 0 || self.expires > now;
        is_its_host && is_on_path && lives && (!self.tls_only || url.scheme() == "https")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SAVED: &str = "# Netscape HTTP Cookie File\r\n\r\n\
        .example.org\tTRUE\t/\tFALSE\t0\tall\t1\r\n\
        example.org\tFALSE\t/torrents\tFALSE\t2000\tlonger\t2\r\n\
        #HttpOnly_tracker.example.org\tFALSE\t/\tTRUE\t2000\tsecret\ta=b\r\n\
        other.example\tFALSE\t/\tFALSE\t1000.5\told\t4\r\n\
        192.0.2.1\tTRUE\t/\tFALSE\t-1\tat\t5\r\n\
        example.org\tFALSE\t/\tFALSE\t0\tempty\r\n";

    fn sent(url: &str) -> Option<String> {
        Cookies::parse(SAVED).unwrap().header(&Url::parse(url).unwrap(), 1500)
    }

    #[test]
    fn a_cookie_goes_to_its_own_servers_alone() {
        for (url, expected) in [
            ("http://example.org/", Some("all=1; empty=")),
            ("http://EXAMPLE.org./", Some("all=1; empty=")),
            ("http://example.org/torrents", Some("longer=2; all=1; empty=")),
            ("http://example.org/torrents/1", Some("longer=2; all=1; empty=")),
            ("http://example.org/torrentsx", Some("all=1; empty=")),
            ("http://www.example.org/torrents", Some("all=1")),
            ("http://notexample.org/", None),
            ("http://example.org.evil.example/", None),
            ("http://tracker.example.org/", Some("all=1")),
            ("https://tracker.example.org/", Some("all=1; secret=a=b")),
            ("https://other.example/", None),
            ("http://192.0.2.1/", Some("at=5")),
            ("http://1.192.0.2.1.example/", None),
        ] {
            assert_eq!(sent(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_line_that_is_no_cookie_is_named() {
        let good = "a.example\tTRUE\t/\tFALSE\t0\tn\tv\n";
        for bad in [
            "a.example TRUE / FALSE 0 n v",
            "a\tb\t/\tFALSE\t0\tn\tv",
            "\tTRUE\t/\tFALSE\t0\tn\tv",
            "a\tTRUE",
        ] {
            let error = Cookies::parse(&format!("{good}{bad}\n")).unwrap_err();
            assert_eq!(error, CookieError::Line { line: 2 }, "{bad}");
        }
        assert_eq!(Cookies::parse(&good.repeat(MAX_COOKIES + 1)), Err(CookieError::TooMany));
        assert_eq!(format!("{:?}", Cookies::parse(good).unwrap()), "Cookies(1)");
    }
}
