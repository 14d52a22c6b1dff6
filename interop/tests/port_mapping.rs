//! A real router (miniupnpd, with the kernel's NAT) forwards Quelea's port, and peers outside come in by it.
#![allow(missing_docs)]

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use quelea::mapping::{Method, PortMapping, Transport};
use quelea::{AddTorrent, PortMappingSettings, Session, Settings};
use quelea_interop::gateway::{self, Gateway, Lease, Speaks};
use quelea_interop::network::Host;
use quelea_interop::programs;
use quelea_interop::{Client, Layout, Payload, Scenario, Torrent, quelea as program, wait};
use tokio::runtime::Runtime;

/// The lease that is asked for, in seconds. Short, so that it is renewed and ends while the test waits, and long enough
/// for a busy machine to give a port back before.
const LEASE: u32 = 30;
/// The lease where none is to be renewed. miniupnpd 2.3.1 loses the nonce of an IPv6 pinhole when it renews it: its new rule
/// has another description, and from then on it refuses to renew or remove the pinhole ("Unauthorized to remove PCP mapping").
const LONG_LEASE: u32 = 3600;
/// Where clients inside listen.
const PORT: u16 = 16_881;

#[test]
fn by_upnp() -> Result<()> {
    a_port_is_forwarded(Speaks::Upnp, Method::Upnp)
}

#[test]
fn by_nat_pmp() -> Result<()> {
    a_port_is_forwarded(Speaks::Control, Method::NatPmp)
}

#[test]
fn by_pcp() -> Result<()> {
    a_port_is_forwarded(Speaks::Control, Method::Pcp)
}

/// The whole life of a mapping: made, used by a peer outside, renewed, given back.
fn a_port_is_forwarded(speaks: Speaks, method: Method) -> Result<()> {
    with_gateway(speaks, |world| {
        let inside = world.gateway.client()?;
        let session = world.seed(&inside, vec![method])?;
        let mappings = mapped(&session)?;
        for (mapping, transport) in mappings.iter().zip([Transport::Tcp, Transport::Udp]) {
            ensure!((mapping.method, mapping.transport) == (method, transport), "{mapping:?}");
            ensure!(mapping.external_ip == Some(world.gateway.external.into()), "{mapping:?}");
            let gateway = mapping.gateway.map(|gateway| gateway.address);
            ensure!(gateway == Some(world.gateway.internal().into()), "{mapping:?}");
            ensure!(mapping.external_port == PORT, "the port was free: {mapping:?}");
        }
        let leases = world.leases()?;
        let ours = SocketAddrV4::new(inside.address, PORT);
        let right = |lease: &&Lease| (lease.external, lease.internal) == (PORT, ours);
        ensure!(leases.len() == 2 && leases.iter().filter(right).count() == 2, "{leases:?}");

        world.download_outside(PORT)?;

        let until = |leases: &[Lease]| leases.iter().map(|lease| lease.until).min();
        let first = until(&leases);
        wait::until("both leases to be renewed", wait::LIMIT, || {
            let leases = world.leases()?;
            Ok((leases.len() == 2 && until(&leases) > first).then_some(()))
        })?;
        ensure!(session.port_mappings() == mappings, "{:?}", session.port_mappings());

        world.runtime.block_on(session.close());
        // A session that has ended has said so to the router.
        ensure!(world.leases()?.is_empty(), "still forwarded: {:?}", world.leases()?);
        Ok(())
    })
}

/// A router that lets nobody in by IPv6 does so for our port while we wish it.
#[test]
fn by_pcp_for_ipv6() -> Result<()> {
    with_gateway_and_lease(Speaks::Control, LONG_LEASE, |world| {
        let [(inside, address), (outside, its_address)] = world.gateway.open_ipv6()?;
        let unmapped = world.seed(&inside, Vec::new())?;
        let at = SocketAddr::from((address, unmapped.port()));
        ensure!(
            inside.connect(at)?.is_some() && outside.connect(at)?.is_none(),
            "the firewall keeps others out"
        );
        world.runtime.block_on(unmapped.close());

        let session = world.seed(&inside, vec![Method::Pcp])?;
        let at = SocketAddr::from((address, session.port()));
        let mappings = wait::until("mappings of IPv6", wait::LIMIT, || {
            let mut mappings = session.port_mappings();
            mappings.retain(|mapping| mapping.local.is_ipv6());
            Ok((mappings.len() == 2).then_some(mappings))
        })?;
        for (mapping, transport) in mappings.iter().zip([Transport::Tcp, Transport::Udp]) {
            ensure!((mapping.method, mapping.transport) == (Method::Pcp, transport), "{mapping:?}");
            ensure!(mapping.local == at && mapping.external_port == at.port(), "{mapping:?}");
        }
        ensure!(world.gateway.pinholes(address)? == 2, "{:?}", world.gateway.pinholes(address));

        let folder = world.scenario.scratch.folder("leech-of-ipv6")?;
        let mut job = world.scenario.job(&outside, &world.torrent, folder);
        job.listen = (its_address, PORT).into();
        job.peers.push(at);
        Client::Quelea.leech(&job)?.must_complete()?;
        world.payload.check_alone(&job.folder)?;

        world.runtime.block_on(session.close());
        // Given back and not run out: the lease is an hour.
        wait::until("the pinholes to be closed again", wait::LIMIT, || {
            Ok((world.gateway.pinholes(address)? == 0).then_some(()))
        })
    })
}

#[test]
fn a_taken_port_is_replaced_by_another() -> Result<()> {
    with_gateway(Speaks::Upnp, |world| {
        let (one, other) = (world.gateway.client()?, world.gateway.client()?);
        let first = world.seed(&one, vec![Method::Upnp])?;
        mapped(&first)?;
        let second = world.seed(&other, vec![Method::Upnp])?;
        let mappings = mapped(&second)?;
        let ports: Vec<u16> = mappings.iter().map(|mapping| mapping.external_port).collect();
        ensure!(ports[0] != PORT && ports[0] == ports[1], "{ports:?}");
        world.runtime.block_on(first.close());
        world.download_outside(ports[0])?;
        world.runtime.block_on(second.close());
        ensure!(world.leases()?.is_empty(), "{:?}", world.leases()?);
        Ok(())
    })
}

#[test]
fn every_method_is_tried_until_one_works() -> Result<()> {
    with_gateway(Speaks::Upnp, |world| {
        let session = world.seed(&world.gateway.client()?, Method::ALL.to_vec())?;
        ensure!(mapped(&session)?.iter().all(|mapping| mapping.method == Method::Upnp));
        world.runtime.block_on(session.close());
        Ok(())
    })
}

#[test]
fn the_program_forwards_its_port_and_what_it_leaves_when_killed_ends() -> Result<()> {
    with_gateway(Speaks::Control, |world| {
        let inside = world.gateway.client()?;
        let folder = world.scenario.scratch.folder("seed")?;
        world.payload.copy_to(&folder)?;
        let job = world.scenario.job(&inside, &world.torrent, folder);
        let seed = program::seed_through_gateway(&job)?;
        wait::until("two ports", wait::LIMIT, || Ok((world.leases()?.len() == 2).then_some(())))?;
        world.download_outside(PORT)?;
        let log = std::fs::read_to_string(program::log(&job, "seed"))?;
        let told = log.lines().filter(|line| line.contains("\"event\":\"port_mapped\"")).count();
        ensure!(told == 2, "told of {told} ports");
        // The guard kills it.
        drop(seed);
        ensure!(world.leases()?.len() == 2, "nobody gave them back");
        wait::until("the leases to end", wait::LIMIT, || Ok(world.leases()?.is_empty().then_some(())))
    })
}

#[test]
fn doctor_tries_it_when_asked_and_only_then() -> Result<()> {
    with_gateway(Speaks::Control, |world| {
        let inside = world.gateway.client()?;
        let doctor = |options: &[&str]| -> Result<String> {
            let program = program::program().context("no build of quelea")?;
            let mut command = inside.command(&program.to_string_lossy());
            command.args(["doctor", "--state-dir", "none", "-o"]).arg(world.scenario.scratch.folder("out")?);
            command.env("XDG_CONFIG_HOME", "/nonexistent").env_remove("QUELEA_NO_PORT_MAP");
            let said = String::from_utf8(command.args(options).output()?.stdout)?;
            let line = said.lines().find(|line| line.contains("port mapping"));
            line.map(str::to_owned).with_context(|| format!("not a word of it in:\n{said}"))
        };
        let planned = doctor(&[])?;
        ensure!(
            planned.contains(&format!("the router {} would be asked", world.gateway.internal())),
            "{planned}"
        );
        ensure!(world.leases()?.is_empty(), "asked without being told to");
        let tried = doctor(&["--port-map"])?;
        let external = world.gateway.external;
        ensure!(
            tried.starts_with("ok") && tried.contains(&format!("forwards TCP {external}:6881 (PCP)")),
            "{tried}"
        );
        ensure!(world.leases()?.is_empty(), "and given back");
        Ok(())
    })
}

/// A router at work and a torrent.
struct World<'a> {
    scenario: &'a Scenario,
    gateway: Gateway,
    payload: Payload,
    torrent: Torrent,
    runtime: Runtime,
    /// In seconds.
    lease: u32,
}

fn with_gateway(speaks: Speaks, test: impl FnOnce(&World<'_>) -> Result<()>) -> Result<()> {
    with_gateway_and_lease(speaks, LEASE, test)
}

/// The same with a lease of so many seconds.
fn with_gateway_and_lease(
    speaks: Speaks,
    lease: u32,
    test: impl FnOnce(&World<'_>) -> Result<()>,
) -> Result<()> {
    let missing: Vec<_> =
        [gateway::PROGRAM, gateway::NFT].into_iter().filter(|name| programs::find(name).is_none()).collect();
    if !programs::may_run(&missing)? {
        return Ok(());
    }
    Scenario::run(&[Client::Quelea], |scenario| {
        let Some(gateway) = Gateway::new()? else { return Ok(()) };
        let mut daemon = gateway.serve(&scenario.scratch, speaks, lease)?;
        let folder = scenario.scratch.folder("payload")?;
        let payload = Payload::write(Layout::Single, 1, &folder)?;
        // Nobody is there: the peer outside is told where the seed is.
        let (file, tracker) = (scenario.scratch.file("test.torrent"), "http://20.83.0.250:9/announce");
        let torrent = Torrent::make(&payload, &folder, file, tracker)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        test(&World { scenario, gateway, payload, torrent, runtime, lease })?;
        daemon.must_run()
    })
}

impl World<'_> {
    fn leases(&self) -> Result<Vec<Lease>> {
        self.gateway.leases(&self.scenario.scratch)
    }

    /// A session on a host inside, with all of the payload. Its threads stay in the host's network.
    fn seed(&self, host: &Host, methods: Vec<Method>) -> Result<Session> {
        let folder = self.scenario.scratch.folder(&format!("seed-{}", host.address))?;
        self.payload.copy_to(&folder)?;
        let mut settings = Settings::new(folder);
        settings.port = PORT;
        let mut port_mapping = PortMappingSettings::default();
        port_mapping.methods = methods;
        port_mapping.lease = Duration::from_secs(self.lease.into());
        settings.port_mapping = Some(port_mapping);
        let session = host.within(|| Session::start(settings))??;
        self.runtime.block_on(session.add(AddTorrent::from_file(&self.torrent.file)?))?;
        Ok(session)
    }

    /// A peer outside, which knows nothing but the router's address, gets every byte.
    fn download_outside(&self, port: u16) -> Result<()> {
        let host = self.gateway.outside.host()?;
        let folder = self.scenario.scratch.folder(&format!("leech-{}", host.address))?;
        let mut job = self.scenario.job(&host, &self.torrent, folder);
        job.peers.push(SocketAddr::new(self.gateway.external.into(), port));
        Client::Quelea.leech(&job)?.must_complete()?;
        self.payload.check_alone(&job.folder)
    }
}

/// What is forwarded to a session, once both transports are.
fn mapped(session: &Session) -> Result<Vec<PortMapping>> {
    wait::until("two mappings", wait::LIMIT, || {
        let mappings = session.port_mappings();
        Ok((mappings.len() == 2).then_some(mappings))
    })
}
