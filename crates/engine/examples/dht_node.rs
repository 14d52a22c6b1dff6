//! A node of the DHT that answers everybody, for `bench/dht.py`.
//!
//! ```text
//! dht_node ADDRESS PORT BOOTSTRAP
//! ```
//!
//! It says `ready` when it has joined the network, and stays until its standard input ends.
#![allow(clippy::print_stdout)]

use quelea::dht::{DhtAllowance, Standing};
use quelea::{Session, Settings};
use std::error::Error;
use std::io::{Read, Write};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, port, bootstrap] = arguments.as_slice() else {
        return Err("dht_node ADDRESS PORT BOOTSTRAP".into());
    };
    let mut settings = Settings::new(std::env::temp_dir());
    settings.bind = vec![address.parse()?];
    settings.port = port.parse()?;
    settings.dht = true;
    settings.dht_bootstrap = vec![bootstrap.clone()];
    settings.dht_allowance = DhtAllowance { queries: u32::MAX, burst: u32::MAX, answered: u32::MAX };
    let session = Session::start(settings)?;
    let dht = session.dht().ok_or("there is no socket for the node")?;
    if dht.joined().await? != Standing::Joined {
        return Err("nobody answered".into());
    }
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    session.close().await;
    Ok(())
}
