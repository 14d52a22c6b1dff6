//! Hosts: each with an address of its own, and nothing of the world in reach.
//!
//! Where the kernel lets us, every host is a network namespace on one bridge, as on a small LAN: clients see
//! ordinary addresses and behave as in the wild, every port is free, and tests do not meet each other. A
//! namespace has no name; it belongs to a process that sleeps in it, and goes with the last process in it.
//! Elsewhere (no root, a locked container) hosts are addresses in 127/8, which some clients treat specially.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::programs;

/// Set to `loopback` to do without namespaces where they could be made.
const CHOICE: &str = "QUELEA_INTEROP_HOSTS";

/// A few hosts that reach each other.
pub struct Network {
    /// The namespace of the bridge; none on loopback.
    switch: Option<Namespace>,
    /// The first three bytes of the hosts' addresses.
    prefix: [u8; 3],
    hosts: AtomicU8,
}

/// One host; it stays until its last clone goes.
#[derive(Clone)]
pub struct Host {
    namespace: Option<Arc<Namespace>>,
    /// Its address.
    pub address: Ipv4Addr,
}

impl Network {
    /// A network without hosts.
    pub fn new() -> Result<Self> {
        if !namespaces_work() {
            return Ok(Self { switch: None, prefix: loopback_prefix(), hosts: AtomicU8::new(0) });
        }
        Self::with_prefix([10, 83, 0])
    }

    /// A network without hosts whose addresses begin like this; none where namespaces cannot be made.
    pub fn apart(prefix: [u8; 3]) -> Result<Option<Self>> {
        if namespaces_work() { Self::with_prefix(prefix).map(Some) } else { Ok(None) }
    }

    fn with_prefix(prefix: [u8; 3]) -> Result<Self> {
        let switch = Namespace::new()?;
        switch.ip("link add bridge type bridge mcast_snooping 0\nlink set bridge up\n")?;
        Ok(Self { switch: Some(switch), prefix, hosts: AtomicU8::new(0) })
    }

    /// Whether its hosts are mere loopback addresses.
    pub fn is_loopback(&self) -> bool {
        self.switch.is_none()
    }

    /// One more host.
    pub fn host(&self) -> Result<Host> {
        if self.switch.is_none() {
            return Ok(Host { namespace: None, address: self.next_address().1 });
        }
        let namespace = Namespace::new()?;
        let address = self.plug(&namespace, "eth0")?;
        Ok(Host { namespace: Some(Arc::new(namespace)), address })
    }

    /// Puts a host of another network into this one too, by the interface `eth1`. Its address here; none on loopback.
    pub fn join(&self, host: &Host) -> Result<Option<Ipv4Addr>> {
        host.namespace.as_ref().map(|namespace| self.plug(namespace, "eth1")).transpose()
    }

    /// Lets no more than this many bytes a second reach a host; false on loopback, where that is not possible.
    pub fn limit_downlink(&self, host: &Host, bytes: u64) -> Result<bool> {
        let Some(switch) = &self.switch else { return Ok(false) };
        let [_, _, _, number] = host.address.octets();
        switch.limit(&format!("port{number}"), bytes)?;
        Ok(true)
    }

    /// Lets no multicast reach a host from here on; what it sends goes out. False on loopback, where that is not possible.
    pub fn deafen(&self, host: &Host) -> Result<bool> {
        let Some(switch) = &self.switch else { return Ok(false) };
        let [_, _, _, number] = host.address.octets();
        switch.ip(&format!("link set port{number} type bridge_slave mcast_flood off\n"))?;
        Ok(true)
    }

    fn next_address(&self) -> (u8, Ipv4Addr) {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed) + 1;
        let [a, b, c] = self.prefix;
        (number, Ipv4Addr::new(a, b, c, number))
    }

    /// Gives a namespace an interface on the bridge; its address.
    fn plug(&self, namespace: &Namespace, interface: &str) -> Result<Ipv4Addr> {
        let (number, address) = self.next_address();
        let switch = self.switch.as_ref().context("a bridge needs namespaces")?;
        switch.ip(&format!(
            "link add port{number} type veth peer name {interface} netns {}\n\
             link set port{number} master bridge up\n",
            namespace.holder.id()
        ))?;
        // Some clients leave it to the routes where multicast goes.
        namespace.ip(&format!(
            "addr add {address}/16 dev {interface}\nlink set {interface} up\nroute append 224.0.0.0/4 dev {interface}\n"
        ))?;
        Ok(address)
    }

    /// One more address of a host, in a network of 256 of its own where addresses are not those of loopback: clients
    /// that distrust neighbours take no more than one of such a network.
    pub fn address(&self, host: &Host) -> Result<Ipv4Addr> {
        let number = self.hosts.fetch_add(1, Ordering::Relaxed) + 1;
        let [a, b, c] = self.prefix;
        let Some(namespace) = &host.namespace else { return Ok(Ipv4Addr::new(a, b, c, number)) };
        let address = Ipv4Addr::new(a, b, number, 1);
        namespace.ip(&format!("addr add {address}/16 dev eth0\n"))?;
        Ok(address)
    }
}

impl Host {
    /// A command that runs on this host, and that does not outlive the thread that starts it.
    pub fn command(&self, program: &str) -> Command {
        self.command_through(&[], program)
    }

    /// As [`Self::command`], with more arguments for setpriv(1), which changes rights on the way.
    pub fn command_through(&self, setpriv: &[&str], program: &str) -> Command {
        let mut command = match &self.namespace {
            Some(namespace) => namespace.command("setpriv"),
            None => Command::new("setpriv"),
        };
        command.args(["--pdeathsig", "KILL"]).args(setpriv).arg("--").arg(program);
        // Clients that take a proxy from the environment would leave the host by it.
        for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C.UTF-8");
        command
    }

    /// Lets no more than this many bytes a second leave the host; false on loopback, where that is not possible.
    pub fn limit_uplink(&self, bytes: u64) -> Result<bool> {
        let Some(namespace) = &self.namespace else { return Ok(false) };
        namespace.limit("eth0", bytes)?;
        Ok(true)
    }

    /// Pulls the host's cable.
    pub fn unplug(&self) -> Result<()> {
        self.namespace()?.ip("link set eth0 down\n")
    }

    /// Puts the cable in again.
    pub fn plug_in(&self) -> Result<()> {
        self.namespace()?.ip("link set eth0 up\n")
    }

    /// Takes the host's address away as well, as when a lease ends.
    pub fn lose_address(&self) -> Result<()> {
        self.namespace()?.ip(&format!("addr del {}/16 dev eth0\nlink set eth0 down\n", self.address))
    }

    /// Gives the address back.
    pub fn find_address(&self) -> Result<()> {
        self.namespace()?.ip(&format!("link set eth0 up\naddr add {}/16 dev eth0\n", self.address))
    }

    /// Gives the host an IPv6 address, and takes all of IPv4 away.
    pub fn move_to_ipv6(&self) -> Result<Ipv6Addr> {
        let [_, _, _, number] = self.address.octets();
        let address = Ipv6Addr::new(0xfd83, 0, 0, 0, 0, 0, 0, number.into());
        // Without looking whether somebody else has it, which takes a second.
        self.namespace()?.ip(&format!(
            "addr del {}/16 dev eth0\naddr del 127.0.0.1/8 dev lo\naddr add {address}/64 dev eth0 nodad\n",
            self.address
        ))?;
        Ok(address)
    }

    fn namespace(&self) -> Result<&Namespace> {
        self.namespace.as_deref().context("a loopback address has no interface of its own")
    }

    /// Lets what goes to other networks leave by this router.
    pub fn leave_by(&self, router: Ipv4Addr) -> Result<()> {
        self.namespace()?.ip(&format!("route add default via {router}\n"))
    }

    /// Runs a batch of ip(8) commands on it.
    pub(crate) fn ip(&self, batch: &str) -> Result<()> {
        self.namespace()?.ip(batch)
    }

    /// Gives it one more address, in an IPv6 network of 64 bits; false on loopback, where that is not possible.
    pub fn add_address(&self, address: Ipv6Addr) -> Result<bool> {
        let Some(namespace) = &self.namespace else { return Ok(false) };
        namespace.ip(&format!("addr add {address}/64 dev eth0 nodad\n"))?;
        Ok(true)
    }

    /// How many bytes have left the host, headers and all; none on loopback, where they are not counted apart.
    pub fn sent(&self) -> Result<Option<u64>> {
        let Some(namespace) = &self.namespace else { return Ok(None) };
        let table = fs::read_to_string(format!("/proc/{}/net/dev", namespace.holder.id()))?;
        let line = table.lines().find_map(|line| line.trim().strip_prefix("eth0:"));
        // Eight columns of what came, then the bytes of what went.
        let sent = line.and_then(|line| line.split_whitespace().nth(8)).and_then(|bytes| bytes.parse().ok());
        sent.map(Some).context("no figures of eth0")
    }

    /// A connection from this host to `to`; none when nobody listens there.
    pub fn connect(&self, to: SocketAddr) -> Result<Option<TcpStream>> {
        self.inside(|| TcpStream::connect_timeout(&to, Duration::from_secs(5)).ok())
    }

    /// A port at `address` of this host on which nobody listens.
    pub fn free_port(&self, address: IpAddr) -> Result<u16> {
        self.inside(|| Ok(TcpListener::bind((address, 0))?.local_addr()?.port()))?
    }

    /// Runs `action` with this host's network, for a test that is itself a client. Threads it starts stay there.
    pub fn within<T: Send>(&self, action: impl FnOnce() -> T + Send) -> Result<T> {
        self.inside(action)
    }

    /// Runs `action` with this host's network; sockets made there stay there.
    fn inside<T: Send>(&self, action: impl FnOnce() -> T + Send) -> Result<T> {
        let Some(namespace) = &self.namespace else { return Ok(action()) };
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(namespace.handle()?, Some(LinkNameSpaceType::Network))?;
                Ok(action())
            });
            inside.join().map_err(|_| anyhow!("the thread in the namespace panicked"))?
        })
    }
}

/// A network namespace, held by a sleeping process.
struct Namespace {
    holder: Child,
    file: File,
}

impl Namespace {
    fn new() -> Result<Self> {
        // The word `ready` says that the process has left our namespace for its own.
        let script = "ip link set lo up && echo ready && exec sleep infinity";
        let mut holder = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "unshare", "--net", "--", "sh", "-c", script])
            .env("PATH", path_with_system_folders())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("setpriv did not start (Debian package util-linux)")?;
        let said = holder.stdout.take().map(|stdout| {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).map(|_| line)
        });
        let file = File::open(format!("/proc/{}/ns/net", holder.id()));
        let held = said.is_some_and(|line| line.is_ok_and(|line| line == "ready\n"));
        match (held, file) {
            (true, Ok(file)) => Ok(Self { holder, file }),
            (_, file) => {
                let _ = holder.kill();
                let output = holder.wait_with_output()?;
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                bail!("no network namespace: {said} {:?}", file.err());
            }
        }
    }

    fn handle(&self) -> Result<std::os::fd::BorrowedFd<'_>> {
        Ok(std::os::fd::AsFd::as_fd(&self.file))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id())).arg("--").arg(program);
        command.env("PATH", path_with_system_folders());
        command
    }

    /// Lets no more than this many bytes a second leave by one of its interfaces.
    fn limit(&self, interface: &str, bytes: u64) -> Result<()> {
        let rate = format!("{}bit", bytes * 8);
        let mut command = self.command("tc");
        command.args(["qdisc", "add", "dev", interface, "root", "tbf", "rate", &rate]);
        command.args(["burst", "128kb", "latency", "100ms"]);
        let output = command.output().context("nsenter did not start (Debian package util-linux)")?;
        if !output.status.success() {
            bail!("tc (Debian package iproute2): {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Runs a batch of ip(8) commands in it.
    fn ip(&self, batch: &str) -> Result<()> {
        let mut child = self
            .command("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("nsenter did not start (Debian package util-linux)")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(batch.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("ip: {} in: {batch}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Asked once a run, with a bridge and two hosts.
fn namespaces_work() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        if std::env::var_os(CHOICE).is_some_and(|choice| choice == "loopback") {
            return false;
        }
        let trial = || -> Result<()> {
            let switch = Namespace::new()?;
            switch.ip("link add bridge type bridge\n")?;
            let host = Namespace::new()?;
            switch.ip(&format!("link add port1 type veth peer name eth0 netns {}\n", host.holder.id()))
        };
        match trial() {
            Ok(()) => true,
            Err(error) => {
                programs::notice(&format!("hosts are loopback addresses: {error:#}"));
                false
            }
        }
    })
}

/// Addresses that no other test has, unless three runs at once happen upon the same numbers.
fn loopback_prefix() -> [u8; 3] {
    static NETWORKS: AtomicU8 = AtomicU8::new(1);
    let run = u8::try_from(std::process::id() % 250).unwrap_or(0);
    [127, run + 2, NETWORKS.fetch_add(1, Ordering::Relaxed)]
}

/// Debian keeps ip(8) where the path of an ordinary user does not look.
fn path_with_system_folders() -> std::ffi::OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_reach_each_other() {
        if programs::find("ip").is_none() || programs::find("setpriv").is_none() {
            return programs::notice("skipped: needs iproute2 and util-linux");
        }
        let network = Network::new().unwrap();
        let (one, other) = (network.host().unwrap(), network.host().unwrap());
        assert_ne!(one.address, other.address);
        let listener = one.inside(|| TcpListener::bind((one.address, 0))).unwrap().unwrap();
        let at = listener.local_addr().unwrap();
        assert_eq!(other.connect(at).unwrap().unwrap().peer_addr().unwrap(), at);
        drop(listener);
        assert!(other.connect(at).unwrap().is_none());
    }

    #[test]
    fn a_command_runs_on_its_host() {
        if programs::find("ip").is_none() || programs::find("setpriv").is_none() {
            return programs::notice("skipped: needs iproute2 and util-linux");
        }
        let network = Network::new().unwrap();
        let host = network.host().unwrap();
        let output = host.command("ip").args(["-o", "addr"]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(network.is_loopback() || said.contains(&host.address.to_string()), "{said}");
    }
}
