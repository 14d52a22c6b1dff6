//! Options of every command that takes a torrent's URL: what is sent with it.

use super::path;
use crate::display;
use crate::exit::Status;
use crate::source::WebAccess;
use clap::{Args, ValueHint};
use quelea::web::{Cookies, Headers};
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A file of cookies is read up to this many bytes.
const COOKIES_LIMIT: u64 = 4 << 20;

/// Headers and cookies that are sent with a torrent's URL.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Web {
    /// Send this header when the torrent file is fetched from a URL; repeatable
    ///
    /// For example 'Authorization: Bearer …' or 'User-Agent: Mozilla/5.0', which replaces the program's own. It goes to
    /// the server of the URL, and to no other that this one redirects to. Trackers get none of it.
    #[arg(long, value_name = "NAME: VALUE", env = "QUELEA_HEADER", hide_env = true, value_parser = header)]
    #[arg(value_delimiter = '\n')]
    pub(crate) header: Vec<String>,

    /// Send the cookies in this file when the torrent file is fetched from a URL
    ///
    /// A cookies.txt as browser extensions, curl and wget write it. Each cookie goes to the servers that it belongs to.
    #[arg(long, value_name = "FILE", env = "QUELEA_COOKIES", hide_env = true, value_parser = path())]
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) cookies: Option<PathBuf>,
}

impl Web {
    /// How URLs are fetched: from one of `bind`, with what these options add.
    pub(crate) fn access(&self, bind: &[IpAddr]) -> anyhow::Result<WebAccess> {
        let mut headers = Headers::default();
        for line in &self.header {
            headers.push(line).map_err(|error| Status::Usage.because(format!("--header: {error}")))?;
        }
        let cookies = self.cookies.as_deref().map_or_else(|| Ok(Cookies::default()), read_cookies)?;
        Ok(WebAccess { bind: bind.to_vec(), headers, cookies })
    }
}

fn header(text: &str) -> Result<String, String> {
    Headers::default().push(text).map_err(|error| error.to_string())?;
    Ok(text.to_owned())
}

fn read_cookies(path: &Path) -> anyhow::Result<Cookies> {
    let shown = display::clean(&path.to_string_lossy());
    let failed = |why: &str| Status::Disk.because(format!("cannot read the cookies in {shown}: {why}"));
    let file = File::open(path).map_err(|error| failed(&display::plain(&error.to_string())))?;
    let mut bytes = Vec::new();
    let read = file.take(COOKIES_LIMIT + 1).read_to_end(&mut bytes);
    read.map_err(|error| failed(&display::plain(&error.to_string())))?;
    if bytes.len() as u64 > COOKIES_LIMIT {
        return Err(failed(&format!("it is larger than {}", display::bytes(COOKIES_LIMIT))));
    }
    // Cookies of servers that are not asked may be in any encoding.
    Cookies::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| failed(&error.to_string()))
}
