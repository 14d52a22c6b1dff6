//! The DHT with nodes of other libraries: peers and items that one has stored are found by the other, and what they
//! store for each other is found by a third.
#![allow(missing_docs)]

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use quelea::dht::{Announce, Dht, Found, Id, Item, Standing, Told, public_key};
use quelea::{Session, Settings};
use quelea_interop::network::Host;
use quelea_interop::peers::Library::{Mainline, Rqbit};
use quelea_interop::peers::{self, Library, Node};
use quelea_interop::{Scenario, programs, wait};

const PORT: u16 = 26_881;
const TORRENT: Id = Id([0x5a; 20]);
/// A port at which somebody shares the torrent.
const SHARED: u16 = 40_001;
const SEED: [u8; 32] = [9; 32];

#[test]
fn mainline_finds_whom_quelea_announced() -> Result<()> {
    finds_whom_quelea_announced(Mainline)
}

#[test]
fn rqbit_finds_whom_quelea_announced() -> Result<()> {
    finds_whom_quelea_announced(Rqbit)
}

#[test]
fn quelea_finds_whom_mainline_announced() -> Result<()> {
    quelea_finds_whom_it_announced(Mainline)
}

#[test]
fn quelea_finds_whom_rqbit_announced() -> Result<()> {
    quelea_finds_whom_it_announced(Rqbit)
}

/// The library's node looks for peers in a network of Quelea's.
fn finds_whom_quelea_announced(library: Library) -> Result<()> {
    run(|world| {
        let network = world.network(3)?;
        ensure!(world.announce(&network[0])?.written > 0, "nobody took it");
        let (_host, mut node) =
            world.node(library, Some(network[1].address), &["find", &TORRENT.to_string()])?;
        node.must_say(&format!("PEER {}", SocketAddr::new(network[0].address.ip(), SHARED)))
    })
}

/// The library's node announces a peer in a network of Quelea's.
fn quelea_finds_whom_it_announced(library: Library) -> Result<()> {
    run(|world| {
        let network = world.network(3)?;
        // rqbit announces only where that is near.
        let ids = world.wait_for(network[0].dht.status())?.stats.ids;
        let torrent = near(ids[0].context("a node without an id")?);
        let task = ["announce", &torrent.to_string(), &SHARED.to_string()];
        let (host, _node) = world.node(library, Some(network[1].address), &task)?;
        world.must_find(&network[2], torrent, SocketAddr::new(host.address.into(), SHARED))
    })
}

#[test]
fn mainline_keeps_peers_for_quelea() -> Result<()> {
    keeps_peers_for_quelea(Mainline)
}

#[test]
fn rqbit_keeps_peers_for_quelea() -> Result<()> {
    keeps_peers_for_quelea(Rqbit)
}

/// The library's node is the only one that answers: one Quelea announces there, and another finds it.
fn keeps_peers_for_quelea(library: Library) -> Result<()> {
    run(|world| {
        let (host, _node) = world.node(library, None, &["serve", &near(TORRENT).to_string()])?;
        let keeper = SocketAddr::new(host.address.into(), PORT);
        let (giver, seeker) = (world.quelea(&[keeper], true)?, world.quelea(&[keeper], true)?);
        ensure!(world.announce(&giver)?.written == 1, "it was not taken");
        world.must_find(&seeker, TORRENT, SocketAddr::new(giver.address.ip(), SHARED))
    })
}

#[test]
fn mainline_gets_items_of_quelea() -> Result<()> {
    run(|world| {
        let network = world.network(3)?;
        let fixed = fixed_item()?;
        let owned = owned_item()?;
        for item in [&fixed, &owned] {
            ensure!(world.wait_for(network[0].dht.put(item.clone(), None))?.written > 0, "nobody took it");
        }
        let task = ["get", &fixed.target().to_string()];
        let (_host, mut node) = world.node(Mainline, Some(network[1].address), &task)?;
        node.must_say("VALUE fixed")?;
        let task = ["follow", &hex(&public_key(SEED))];
        let (_host, mut node) = world.node(Mainline, Some(network[1].address), &task)?;
        node.must_say("VALUE owned")
    })
}

#[test]
fn quelea_gets_items_of_mainline() -> Result<()> {
    run(|world| {
        let network = world.network(3)?;
        let target = fixed_item()?.target();
        let (_host, mut node) = world.node(Mainline, Some(network[1].address), &["put", "fixed"])?;
        node.must_say(&format!("STORED {target}"))?;
        let (item, _) = world.wait_for(network[2].dht.fixed_item(target))?;
        ensure!(item.context("no item")?.value == b"5:fixed");

        let task = ["sign", &hex(&SEED), "7", "owned"];
        let (_host, mut node) = world.node(Mainline, Some(network[1].address), &task)?;
        node.must_say("STORED")?;
        let (item, _) = world.wait_for(network[2].dht.owned_item(public_key(SEED), Vec::new()))?;
        let item = item.context("no item")?;
        ensure!(item.value == b"5:owned" && item.sequence() == 7);
        Ok(())
    })
}

#[test]
fn mainline_keeps_items_for_quelea() -> Result<()> {
    run(|world| {
        let (host, _node) = world.node(Mainline, None, &["serve", &near(TORRENT).to_string()])?;
        let keeper = SocketAddr::new(host.address.into(), PORT);
        let (giver, seeker) = (world.quelea(&[keeper], true)?, world.quelea(&[keeper], true)?);
        let (fixed, owned) = (fixed_item()?, owned_item()?);
        for item in [&fixed, &owned] {
            ensure!(world.wait_for(giver.dht.put(item.clone(), None))?.written == 1, "it was not taken");
        }
        let (item, _) = world.wait_for(seeker.dht.fixed_item(fixed.target()))?;
        ensure!(item.as_ref() == Some(&fixed));
        let (item, _) = world.wait_for(seeker.dht.owned_item(public_key(SEED), Vec::new()))?;
        ensure!(item.as_ref() == Some(&owned));
        Ok(())
    })
}

/// One of Quelea's nodes.
struct Ours {
    _session: Session,
    _host: Host,
    dht: Dht,
    address: SocketAddr,
}

struct World<'a> {
    scenario: &'a Scenario,
    runtime: tokio::runtime::Runtime,
}

fn run(test: impl FnOnce(&World<'_>) -> Result<()>) -> Result<()> {
    if peers::program().is_none() && !programs::may_run(&["a build of interop/peers"])? {
        return Ok(());
    }
    Scenario::run(&[], |scenario| {
        test(&World { scenario, runtime: tokio::runtime::Builder::new_current_thread().build()? })
    })
}

impl World<'_> {
    /// So many nodes of Quelea that know of each other.
    fn network(&self, count: usize) -> Result<Vec<Ours>> {
        let mut network: Vec<Ours> = Vec::new();
        for number in 0..count {
            let entrance: Vec<SocketAddr> = network.iter().take(1).map(|first| first.address).collect();
            network.push(self.start(&entrance, false)?);
            if number > 0 {
                self.must_join(&network[number])?;
            }
        }
        Ok(network)
    }

    /// A node of Quelea that has joined by `nodes`, and that answers nobody where it is read-only.
    fn quelea(&self, nodes: &[SocketAddr], read_only: bool) -> Result<Ours> {
        let ours = self.start(nodes, read_only)?;
        self.must_join(&ours)?;
        Ok(ours)
    }

    fn start(&self, nodes: &[SocketAddr], read_only: bool) -> Result<Ours> {
        let host = self.scenario.network.host()?;
        let mut settings = Settings::new(self.scenario.scratch.folder("quelea")?);
        settings.bind = vec![host.address.into()];
        settings.port = PORT;
        settings.dht = true;
        settings.dht_read_only = read_only;
        settings.dht_bootstrap = nodes.iter().map(ToString::to_string).collect();
        let session = host.within(|| Session::start(settings))??;
        let dht = session.dht().context("a node without UDP")?;
        let address = SocketAddr::new(host.address.into(), session.port());
        Ok(Ours { _session: session, _host: host, dht, address })
    }

    fn must_join(&self, ours: &Ours) -> Result<()> {
        wait::until("a node to join", wait::LIMIT, || {
            Ok((self.wait_for(ours.dht.joined())? == Standing::Joined).then_some(()))
        })
    }

    /// A node of another library, on a host of its own.
    fn node(&self, library: Library, by: Option<SocketAddr>, task: &[&str]) -> Result<(Host, Node)> {
        let host = self.scenario.network.host()?;
        let listen = SocketAddr::new(host.address.into(), PORT);
        let node = Node::start(&self.scenario.scratch, &host, library, (listen, by), task)?;
        Ok((host, node))
    }

    fn announce(&self, ours: &Ours) -> Result<Found> {
        self.runtime.block_on(async {
            let announce = Announce { port: Some(SHARED), seed: false };
            let mut search = ours.dht.find_peers(TORRENT, Some(announce)).await?;
            while let Some(told) = search.next().await {
                if let Told::Done(found) = told {
                    return Ok(found);
                }
            }
            anyhow::bail!("the search was given up")
        })
    }

    /// Looks for the torrent's peers until this one is among them.
    fn must_find(&self, ours: &Ours, torrent: Id, peer: SocketAddr) -> Result<()> {
        wait::until(&format!("{peer} to be found"), wait::LIMIT, || {
            let found = self.runtime.block_on(async {
                let mut search = ours.dht.find_peers(torrent, None).await?;
                let mut found = false;
                while let Some(told) = search.next().await {
                    found |= matches!(told, Told::Peers(peers) if peers.contains(&peer));
                }
                Ok::<_, anyhow::Error>(found)
            })?;
            if !found {
                std::thread::sleep(Duration::from_millis(200));
            }
            Ok(found.then_some(()))
        })
    }

    fn wait_for<T>(&self, asked: impl Future<Output = quelea::Result<T>>) -> Result<T> {
        Ok(self.runtime.block_on(asked)?)
    }
}

fn fixed_item() -> Result<Item> {
    Item::fixed(b"5:fixed".to_vec()).map_err(|invalid| anyhow!("{invalid:?}"))
}

fn owned_item() -> Result<Item> {
    Item::sign(SEED, Vec::new(), 7, b"5:owned".to_vec()).map_err(|invalid| anyhow!("{invalid:?}"))
}

/// An id that is hardly another.
fn near(id: Id) -> Id {
    let mut near = id;
    near.0[19] ^= 1;
    near
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
