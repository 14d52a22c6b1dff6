//! A node of the DHT that is another's work, for the tests of `interop/`.
//!
//! ```text
//! peers mainline|rqbit ADDRESS:PORT NODE|- TASK
//! ```
//!
//! `NODE` is where it joins the network, `-` that it begins one. What comes of the task is told a line each. But for `put`
//! and `sign`, which end when the network has taken the item, it stays until it is ended.
//!
//! ```text
//! serve ID                 answers others; rqbit's is called so
//! announce HASH PORT       and is a peer of this torrent
//! find HASH                `PEER ADDRESS:PORT` for each peer of this torrent
//! put VALUE                `STORED TARGET`                          (mainline alone, as the rest)
//! get TARGET               `VALUE VALUE`
//! sign SEED SEQUENCE VALUE `STORED KEY`
//! follow KEY               `VALUE VALUE` of the newest state
//! ```

mod mainline_node;
mod rqbit_node;

use anyhow::{Context, Result, bail};
use std::net::SocketAddrV4;
use std::time::Duration;

/// How long nothing is asked again.
pub const PAUSE: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [kind, listen, node, task @ ..] = arguments.as_slice() else {
        bail!("peers mainline|rqbit ADDRESS:PORT NODE|- TASK");
    };
    let listen: SocketAddrV4 = listen.parse().context("no ADDRESS:PORT")?;
    let node = Some(*node).filter(|&node| node != "-");
    match *kind {
        "mainline" => mainline_node::run(listen, node, task).await,
        "rqbit" => rqbit_node::run(listen, node, task).await,
        other => bail!("there is no node of the kind {other}"),
    }
}

/// Bytes in hexadecimal digits.
pub fn hex(text: &str) -> Result<Vec<u8>> {
    let byte = |at: usize| Some(u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?);
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    bytes.with_context(|| format!("`{text}` is not hexadecimal"))
}
