//! `quelea dht`: a short visit to the DHT.
//!
//! The node answers others, however soon it is gone: who answers no ping (BEP 43) has not shown that it receives at its
//! address, so that careful nodes give it short answers, without the filters of a scrape and without long items.

use crate::args::{DhtAction, DhtArgs, DhtTarget, join_by};
use crate::clock;
use crate::display;
use crate::exit::Status;
use crate::report;
use crate::state;
use anyhow::Context;
use quelea::dht::{Dht, Found, Id, Item, RouterState, Standing, Told, public_key, target_of};
use quelea::{Session, Settings};
use quelea_metainfo::PublisherLink;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

/// The table is looked at until it has not grown for this long, and for this long at most.
const STILL: Duration = Duration::from_millis(1_500);
const FILLING: Duration = Duration::from_secs(15);
const GLANCE: Duration = Duration::from_millis(100);
/// A file with a key holds 64 digits and a line's end.
const KEY_FILE: u64 = 128;

pub(crate) fn run(args: &DhtArgs) -> anyhow::Result<Status> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(visit(args));
    runtime.shutdown_background();
    ended
}

async fn visit(args: &DhtArgs) -> anyhow::Result<Status> {
    let options = &args.options;
    let mut settings = Settings::new(".");
    settings.port = options.port;
    join_by(&mut settings, &options.bind, &options.dht_bootstrap);
    let (state_dir, trouble) = state::prepared(options.state_dir.as_deref());
    settings.state_dir = state_dir;
    trouble.iter().for_each(|message| report::warning(message));
    settings.dht = true;
    // What can be wrong with the key is found before anybody is asked.
    let secret = match &args.action {
        DhtAction::Put { key: Some(path), .. } | DhtAction::Publish { key: path, .. } => Some(key_of(path)?),
        DhtAction::Status
        | DhtAction::GetPeers { .. }
        | DhtAction::Scrape { .. }
        | DhtAction::Put { key: None, .. }
        | DhtAction::Get { .. } => None,
    };
    let session = Session::start(settings)?;
    let Some(dht) = session.dht() else {
        let why = format!("the UDP port {} cannot be used: name another with --port", session.port());
        return Err(Status::Network.because(why));
    };
    let ended = tokio::select! {
        ended = ask(&dht, args, secret) => ended,
        stopped = tokio::signal::ctrl_c() => stopped.map(|()| Status::Interrupted).map_err(Into::into),
    };
    session.close().await;
    ended
}

async fn ask(dht: &Dht, args: &DhtArgs, secret: Option<[u8; 32]>) -> anyhow::Result<Status> {
    join(dht).await?;
    let json = args.options.json;
    match &args.action {
        DhtAction::Status => status(dht, json).await,
        DhtAction::GetPeers { info_hash } => get_peers(dht, *info_hash, json).await,
        DhtAction::Scrape { info_hash } => scrape(dht, *info_hash, json).await,
        DhtAction::Put { text, salt, sequence, .. } => match secret {
            None => put(dht, Item::fixed(bencoded(text)), None, Shown::Target(json)).await,
            Some(secret) => {
                put_signed(dht, secret, bencoded(text), salt, *sequence, Shown::Target(json)).await
            }
        },
        DhtAction::Publish { info_hash, salt, .. } => {
            let secret = secret.context("no key")?;
            let link = PublisherLink::new(public_key(secret), salt.as_bytes().to_vec());
            let stored = put_signed(
                dht,
                secret,
                PublisherLink::item(info_hash.0),
                salt,
                None,
                Shown::Link(&link, json),
            );
            stored.await
        }
        DhtAction::Get { target, salt } => get(dht, target, salt, json).await,
    }
}

/// Waits for the network. An error says whom we tried.
async fn join(dht: &Dht) -> anyhow::Result<()> {
    if dht.joined().await? == Standing::Joined {
        return Ok(());
    }
    let routers = dht.status().await?.routers;
    let tried: Vec<String> = routers
        .iter()
        .map(|router| {
            let state = match &router.state {
                RouterState::Failed(why) => display::plain(&display::clean(why)),
                RouterState::Resolving => "its name is still being looked up".to_owned(),
                RouterState::Asked => "no answer".to_owned(),
                RouterState::Answered => "it knows nobody".to_owned(),
            };
            format!("\n  {}: {state}", display::clean(&router.name))
        })
        .collect();
    let advice = "is UDP let through? --dht-bootstrap names other nodes";
    Err(Status::Network.because(format!("no node of the DHT answers; {advice}{}", tried.concat())))
}

async fn status(dht: &Dht, json: bool) -> anyhow::Result<Status> {
    let began = clock::now();
    let (mut most, mut grown) = (0, began);
    let status = loop {
        let status = dht.status().await?;
        let nodes: usize = status.stats.nodes.iter().sum();
        if nodes > most {
            (most, grown) = (nodes, clock::now());
        }
        if grown.elapsed() >= STILL || began.elapsed() >= FILLING {
            break status;
        }
        tokio::time::sleep(GLANCE).await;
    };
    let id = |family: usize| status.stats.ids[family].map(|id: Id| id.to_string());
    if json {
        let routers: Vec<Value> = status
            .routers
            .iter()
            .map(|router| json!({ "name": router.name, "answered": router.state == RouterState::Answered }))
            .collect();
        return line(&json!({
            "nodes": { "ipv4": status.stats.nodes[0], "ipv6": status.stats.nodes[1] },
            "ids": { "ipv4": id(0), "ipv6": id(1) },
            "routers": routers,
        }));
    }
    let mut text = String::new();
    for (family, name) in ["IPv4", "IPv6"].iter().enumerate() {
        if let Some(id) = id(family) {
            let nodes = display::count(status.stats.nodes[family], "node", "nodes");
            text.push_str(&format!("{name}  {nodes}, our id {id}\n"));
        }
    }
    super::print(text.as_bytes())
}

async fn get_peers(dht: &Dht, info_hash: Id, json: bool) -> anyhow::Result<Status> {
    let mut search = dht.find_peers(info_hash, None).await?;
    let mut all = Vec::new();
    let mut last = Found::default();
    while let Some(told) = search.next().await {
        match told {
            Told::Peers(peers) => {
                if !json {
                    let lines: String = peers.iter().map(|peer| format!("{peer}\n")).collect();
                    super::print(lines.as_bytes())?;
                }
                all.extend(peers.iter().map(ToString::to_string));
            }
            Told::Done(found) => last = found,
            Told::Item(_) | Told::Torrents { .. } | _ => {}
        }
    }
    answered(&last)?;
    if json {
        let hash = info_hash.to_string();
        return line(
            &json!({ "info_hash": hash, "peers": all, "nodes": last.nodes.len(), "queries": last.queries }),
        );
    }
    let (peers, queries) = (display::count(all.len(), "peer", "peers"), last.queries);
    say(&format!("{peers}, by {}", display::count(queries, "query", "queries")));
    Ok(Status::Done)
}

async fn scrape(dht: &Dht, info_hash: Id, json: bool) -> anyhow::Result<Status> {
    let found = dht.scrape(info_hash).await?;
    answered(&found)?;
    let (seeds, peers) = (found.seeds.unwrap_or_default().round(), found.peers.unwrap_or_default().round());
    if json {
        return line(&json!({ "info_hash": info_hash.to_string(), "seeds": seeds, "peers": peers }));
    }
    super::print(format!("about {seeds} seeds and {peers} other peers\n").as_bytes())
}

/// What is printed of something that was stored; the flag says whether as JSON.
enum Shown<'a> {
    /// Where it is found.
    Target(bool),
    /// The link that leads to it.
    Link(&'a PublisherLink, bool),
}

async fn put_signed(
    dht: &Dht,
    secret: [u8; 32],
    value: Vec<u8>,
    salt: &str,
    sequence: Option<i64>,
    shown: Shown<'_>,
) -> anyhow::Result<Status> {
    let (key, salt) = (public_key(secret), salt.as_bytes().to_vec());
    let sequence = match sequence {
        Some(sequence) => sequence,
        None => {
            let (newest, found) = dht.owned_item(key, salt.clone()).await?;
            answered(&found)?;
            newest.map_or(1, |newest| newest.sequence().saturating_add(1))
        }
    };
    put(dht, Item::sign(secret, salt, sequence, value), Some(key), shown).await
}

async fn put(
    dht: &Dht,
    item: Result<Item, quelea::dht::Invalid>,
    key: Option<[u8; 32]>,
    shown: Shown<'_>,
) -> anyhow::Result<Status> {
    let item = item.map_err(|why| {
        Status::Usage.because(match why {
            quelea::dht::Invalid::ValueTooBig => "the text is longer than an item may be: 996 bytes",
            quelea::dht::Invalid::SaltTooBig => "the salt is longer than 64 bytes",
            quelea::dht::Invalid::NotBencoded
            | quelea::dht::Invalid::Sequence
            | quelea::dht::Invalid::Signature => "this cannot be stored",
        })
    })?;
    let (target, sequence) = (item.target(), item.sequence());
    let found = dht.put(item, None).await?;
    answered(&found)?;
    if found.written == 0 {
        let why = "no node took it: with --sequence, a newer one may be there already";
        return Err(Status::Failed.because(why));
    }
    let (link, json) = match shown {
        Shown::Target(json) => (None, json),
        Shown::Link(link, json) => (Some(link.to_string()), json),
    };
    let text = link.clone().unwrap_or_else(|| key.map_or_else(|| target.to_string(), |key| digits(&key)));
    if json {
        let key = key.map(|key| digits(&key));
        let sequence = key.is_some().then_some(sequence);
        let target = target.to_string();
        let nodes = found.written;
        return line(&json!({
            "target": target, "public_key": key, "sequence": sequence, "nodes": nodes, "link": link,
        }));
    }
    say(&format!("stored at {}", display::count(found.written, "node", "nodes")));
    super::print(format!("{text}\n").as_bytes())
}

async fn get(dht: &Dht, target: &DhtTarget, salt: &str, json: bool) -> anyhow::Result<Status> {
    let (id, (item, found)) = match target {
        DhtTarget::Hash(id) => (*id, dht.fixed_item(*id).await?),
        DhtTarget::Key(key) => {
            let salt = salt.as_bytes();
            (target_of(key, salt), dht.owned_item(*key, salt.to_vec()).await?)
        }
    };
    answered(&found)?;
    let Some(item) = item else {
        let nodes = display::count(found.nodes.len(), "node", "nodes");
        return Err(Status::Failed.because(format!("nothing is stored there, as {nodes} nearest to it say")));
    };
    let value = quelea_bencode::parse(&item.value, quelea_bencode::Limits::TORRENT)
        .context("what is stored there is not valid")?;
    let text = value.as_str().map(str::to_owned);
    if json {
        let sequence = item.owner.as_ref().map(|owner| owner.sequence);
        return line(&json!({
            "target": id.to_string(), "sequence": sequence, "text": text, "value": digits(&item.value),
        }));
    }
    match text {
        Some(text) => super::print(format!("{text}\n").as_bytes()),
        // Others store numbers, lists and bytes that are no text.
        None => super::print(&[&item.value[..], b"\n"].concat()),
    }
}

/// An error where nobody answered.
fn answered(found: &Found) -> anyhow::Result<()> {
    if found.nodes.is_empty() {
        return Err(Status::Network.because("no node of the DHT answered the search; try again"));
    }
    Ok(())
}

fn bencoded(text: &str) -> Vec<u8> {
    format!("{}:{text}", text.len()).into_bytes()
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn say(text: &str) {
    // Nobody may read it, which is no error.
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn line(value: &Value) -> anyhow::Result<Status> {
    super::print(format!("{value}\n").as_bytes())
}

/// The secret in this file, which is made where there is none.
fn key_of(path: &Path) -> anyhow::Result<[u8; 32]> {
    let shown = display::clean(&path.to_string_lossy());
    let refused = |error: std::io::Error| {
        Status::Disk.because(format!("the key {shown}: {}", display::plain(&error.to_string())))
    };
    match File::open(path) {
        Ok(file) => {
            let mut text = String::new();
            file.take(KEY_FILE).read_to_string(&mut text).map_err(refused)?;
            crate::args::hex::<32>(text.trim())
                .ok_or_else(|| Status::Usage.because(format!("{shown} is no key: 64 hexadecimal digits")))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let secret = quelea::dht::make_secret().map_err(refused)?;
            let mut options = File::options();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(path).map_err(refused)?;
            writeln!(file, "{}", digits(&secret)).and_then(|()| file.sync_all()).map_err(refused)?;
            say(&format!("made a key: {shown}; whoever has this file can change what it signs"));
            Ok(secret)
        }
        Err(error) => Err(refused(error)),
    }
}
