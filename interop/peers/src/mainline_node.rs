//! A node of the crate mainline.

use crate::{PAUSE, hex};
use anyhow::{Context, Result, anyhow, bail};
use futures_lite::StreamExt;
use mainline::async_dht::AsyncDht;
use mainline::{Dht, Id, MutableItem, SigningKey};
use std::net::SocketAddrV4;

pub async fn run(listen: SocketAddrV4, node: Option<&str>, task: &[&str]) -> Result<()> {
    let mut builder = Dht::builder();
    builder.server_mode().bind_address(*listen.ip()).port(listen.port());
    match node {
        Some(node) => builder.bootstrap(&[node]),
        None => builder.no_bootstrap(),
    };
    let dht = builder.build()?.as_async();
    while node.is_some() && !dht.bootstrapped().await {
        tokio::time::sleep(PAUSE).await;
    }
    println!("READY");
    match task {
        ["serve", _] => {}
        ["announce", hash, port] => {
            dht.announce_peer(id(hash)?, Some(port.parse()?)).await.map_err(|error| anyhow!("{error:?}"))?;
            println!("ANNOUNCED");
        }
        ["find", hash] => find(&dht, id(hash)?).await,
        ["put", value] => {
            let target = dht.put_immutable(value.as_bytes()).await.map_err(|error| anyhow!("{error:?}"))?;
            println!("STORED {target}");
            return Ok(());
        }
        ["get", target] => {
            let target = id(target)?;
            while told(dht.get_immutable(target).await.as_deref()).is_none() {
                tokio::time::sleep(PAUSE).await;
            }
        }
        ["sign", seed, sequence, value] => {
            let seed: [u8; 32] = hex(seed)?.try_into().ok().context("a seed is 32 bytes")?;
            let item =
                MutableItem::new(SigningKey::from_bytes(&seed), value.as_bytes(), sequence.parse()?, None);
            dht.put_mutable(item, None).await.map_err(|error| anyhow!("{error:?}"))?;
            println!("STORED");
            return Ok(());
        }
        ["follow", key] => {
            let key: [u8; 32] = hex(key)?.try_into().ok().context("a key is 32 bytes")?;
            loop {
                let item = dht.get_mutable_most_recent(&key, None).await;
                if told(item.as_ref().map(MutableItem::value)).is_some() {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        _ => bail!("there is no task {task:?}"),
    }
    std::future::pending().await
}

/// Says which peers there are, again and again.
async fn find(dht: &AsyncDht, info_hash: Id) {
    loop {
        let mut found = dht.get_peers(info_hash);
        while let Some(peers) = found.next().await {
            peers.iter().for_each(|peer| println!("PEER {peer}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn told(value: Option<&[u8]>) -> Option<()> {
    value.map(|value| println!("VALUE {}", String::from_utf8_lossy(value)))
}

fn id(text: &str) -> Result<Id> {
    Id::from_bytes(hex(text)?).map_err(|error| anyhow!("{error:?}"))
}
