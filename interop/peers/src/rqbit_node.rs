//! rqbit's node of the DHT, by its crate librqbit-dht.

use crate::{PAUSE, hex};
use anyhow::{Context, Result, bail};
use futures_lite::StreamExt;
use librqbit_core::hash_id::Id20;
use librqbit_dht::{DhtBuilder, DhtConfig};
use std::net::{SocketAddr, SocketAddrV4};

pub async fn run(listen: SocketAddrV4, node: Option<&str>, task: &[&str]) -> Result<()> {
    // It keeps peers of torrents alone whose hashes have 20 bits in common with its id.
    let peer_id = match task {
        ["serve", near] => Some(id(near)?),
        _ => None,
    };
    let config = DhtConfig {
        peer_id,
        // It gives up when nobody answers, so the first one asks itself.
        bootstrap_addrs: Some(vec![node.map_or(listen.to_string(), str::to_owned)]),
        listen_addr: Some(SocketAddr::V4(listen)),
        ..DhtConfig::default()
    };
    let dht = DhtBuilder::with_config(config).await?;
    while node.is_some() && dht.stats().routing_table_size == 0 {
        tokio::time::sleep(PAUSE).await;
    }
    println!("READY");
    match task {
        ["serve", _] => {}
        // It announces to nodes alone whose ids have 16 bits in common with the hash.
        ["announce", hash, port] => {
            let mut peers = dht.get_peers(id(hash)?, Some(port.parse()?));
            while peers.next().await.is_some() {}
        }
        ["find", hash] => {
            let mut peers = dht.get_peers(id(hash)?, None);
            while let Some(peer) = peers.next().await {
                println!("PEER {peer}");
            }
        }
        _ => bail!("there is no task {task:?}"),
    }
    std::future::pending().await
}

fn id(text: &str) -> Result<Id20> {
    Ok(Id20::new(hex(text)?.try_into().ok().context("a hash is 20 bytes")?))
}
