//! A home router: miniupnpd with the NAT of the kernel, between a network inside and one outside.
//!
//! Inside are addresses of a home, outside public ones: a gateway whose own address is a reserved one forwards
//! nothing. Both networks exist in namespaces alone. Of IPv6 it translates nothing, and is a firewall as well.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::network::{Host, Network};
use crate::process::Process;
use crate::scratch::Scratch;
use crate::{programs, wait};

/// Debian packages: `miniupnpd`, `miniupnpd-nftables`.
pub const PROGRAM: &str = "miniupnpd";
/// Debian package `nftables`.
pub const NFT: &str = "nft";

/// The first addresses of the networks inside and outside.
const INSIDE: [u8; 3] = [192, 168, 83];
const OUTSIDE: [u8; 3] = [20, 83, 0];
/// The same of IPv6, of which the router's addresses end in 1.
const INSIDE_V6: [u16; 4] = [0x2001, 0xdb8, 0x83, 0];
const OUTSIDE_V6: [u16; 4] = [0x2001, 0xdb8, 0x84, 0];
/// The router's address on the link inside, by which all routers of IPv6 are known.
const LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Forwarding, with what comes from outside refused unless it was asked for or is forwarded by miniupnpd, which fills
/// the chains of its name.
const RULES: &str = "\
table inet filter {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname eth0 accept
        jump miniupnpd
    }
    chain miniupnpd {
    }
    chain prerouting {
        type nat hook prerouting priority -100; policy accept;
        jump prerouting_miniupnpd
    }
    chain postrouting {
        type nat hook postrouting priority 100; policy accept;
        jump postrouting_miniupnpd
        meta nfproto ipv4 oifname eth1 masquerade
    }
    chain prerouting_miniupnpd {
    }
    chain postrouting_miniupnpd {
    }
}
";

/// What the router speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// UPnP alone.
    Upnp,
    /// PCP and NAT-PMP, which one process serves at one port.
    Control,
}

/// A router and the networks on its sides.
pub struct Gateway {
    /// Where clients are.
    pub inside: Network,
    /// Where the world is.
    pub outside: Network,
    host: Host,
    /// Its address outside.
    pub external: Ipv4Addr,
}

/// A port that it forwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// `TCP` or `UDP`.
    pub transport: String,
    /// The port outside.
    pub external: u16,
    /// Where it leads.
    pub internal: SocketAddrV4,
    /// When it ends: seconds since 1970; 0 for never.
    pub until: u64,
}

impl Gateway {
    /// A router that forwards nothing yet; none where namespaces, or the kernel's NAT in them, are not to be had, with
    /// a notice that says so, and an error in CI.
    pub fn new() -> Result<Option<Self>> {
        let (Some(inside), Some(outside)) = (Network::apart(INSIDE)?, Network::apart(OUTSIDE)?) else {
            return refuse("network namespaces cannot be made here");
        };
        let host = inside.host()?;
        let external = outside.join(&host)?.context("namespaces were there a moment ago")?;
        if let Err(error) = masquerade(&host) {
            return refuse(&format!("the kernel gives no NAT: {error:#}"));
        }
        Ok(Some(Self { inside, outside, host, external }))
    }

    /// One more host inside, whose packets leave by the router.
    pub fn client(&self) -> Result<Host> {
        let host = self.inside.host()?;
        host.leave_by(self.host.address)?;
        Ok(host)
    }

    /// Has the router lead IPv6 as well, with addresses of the world on both sides. A host inside and one outside,
    /// which have such addresses, with these.
    pub fn open_ipv6(&self) -> Result<[(Host, Ipv6Addr); 2]> {
        let [inside, outside] = [INSIDE_V6, OUTSIDE_V6].map(|network| {
            move |number: u16| {
                let [a, b, c, d] = network;
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, number)
            }
        });
        self.host.within(|| fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1"))??;
        self.host.add_address(LINK)?;
        self.host.add_address(inside(1))?;
        self.host.ip(&format!("addr add {}/64 dev eth1 nodad\n", outside(1)))?;
        let (one, other) = (self.client()?, self.outside.host()?);
        one.add_address(inside(2))?;
        one.ip(&format!("route add default via {LINK} dev eth0\n"))?;
        other.add_address(outside(2))?;
        other.ip(&format!("route add {}/64 via {}\n", inside(0), outside(1)))?;
        Ok([(one, inside(2)), (other, outside(2))])
    }

    /// The rules by which it lets others in to an address inside.
    pub fn pinholes(&self, to: Ipv6Addr) -> Result<usize> {
        let output = nft(&self.host)?.args(["list", "chain", "inet", "filter", "miniupnpd"]).output()?;
        let rules = String::from_utf8_lossy(&output.stdout).into_owned();
        // They are shown as bytes to compare.
        let address = format!("{:032x}", to.to_bits());
        Ok(rules.lines().filter(|rule| rule.contains(&address)).count())
    }

    /// Its address inside.
    pub fn internal(&self) -> Ipv4Addr {
        self.host.address
    }

    /// Begins to forward ports for clients that ask, for at most `longest` seconds where they speak PCP or NAT-PMP.
    pub fn serve(&self, scratch: &Scratch, speaks: Speaks, longest: u32) -> Result<Process> {
        let yes = |yes: bool| if yes { "yes" } else { "no" };
        let settings = scratch.file("miniupnpd.conf");
        let leases = scratch.file("leases");
        let text = format!(
            "ext_ifname=eth1\nlistening_ip=eth0\nhttp_port=0\nenable_natpmp={}\nenable_upnp={}\n\
             min_lifetime=5\nmax_lifetime={longest}\nupnp_table_name=filter\nupnp_nat_table_name=filter\n\
             upnp_forward_chain=miniupnpd\nupnp_nat_chain=prerouting_miniupnpd\n\
             upnp_nat_postrouting_chain=postrouting_miniupnpd\nlease_file={}\nsecure_mode=yes\n\
             system_uptime=yes\nnotify_interval=60\nclean_ruleset_interval=1\n\
             uuid=6d5b8e2e-5a6f-4f0e-9d53-3a1f0c7b9e21\n\
             allow 1024-65535 192.168.83.0/24 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n",
            yes(speaks == Speaks::Control),
            yes(speaks == Speaks::Upnp),
            leases.display(),
        );
        fs::write(&settings, text)?;
        fs::write(&leases, "")?;
        let program = programs::find(PROGRAM).context("miniupnpd is not installed")?;
        let mut command = self.host.command(&program.to_string_lossy());
        command.arg("-d").arg("-f").arg(&settings).arg("-P").arg(scratch.file("miniupnpd.pid"));
        let mut process = Process::start(scratch, PROGRAM, &mut command)?;
        let log = scratch.log(PROGRAM);
        wait::until("miniupnpd to listen", wait::LIMIT, || {
            process.must_run()?;
            let said = fs::read_to_string(&log).unwrap_or_default();
            Ok((said.contains("HTTP listening") || said.contains("Listening for NAT-PMP")).then_some(()))
        })?;
        Ok(process)
    }

    /// What it forwards, by its own list.
    pub fn leases(&self, scratch: &Scratch) -> Result<Vec<Lease>> {
        // It takes the file away when there are none.
        let text = fs::read_to_string(scratch.file("leases")).unwrap_or_default();
        text.lines().map(|line| lease(line).with_context(|| format!("not a lease: {line}"))).collect()
    }
}

/// One line of the list: transport, external port, address, port, end, description.
fn lease(line: &str) -> Option<Lease> {
    let mut fields = line.splitn(6, ':');
    let transport = fields.next()?.to_owned();
    let external = fields.next()?.parse().ok()?;
    let internal = SocketAddrV4::new(fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Lease { transport, external, internal, until: fields.next()?.parse().ok()? })
}

fn refuse<T>(why: &str) -> Result<Option<T>> {
    if programs::in_ci() {
        bail!("no gateway can be made: {why}");
    }
    programs::notice(&format!("skipped: {why}"));
    Ok(None)
}

/// nft(8) on a host.
fn nft(host: &Host) -> Result<Command> {
    let program = programs::find(NFT).context("nft is not installed (Debian package nftables)")?;
    Ok(host.command(&program.to_string_lossy()))
}

/// Lets a host pass on what comes from inside under its own address.
fn masquerade(host: &Host) -> Result<()> {
    host.within(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1"))??;
    let mut command = nft(host)?;
    command.args(["-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(RULES.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("nft: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_list_is_read() {
        let read = lease("TCP:5000:192.168.83.2:6881:1795630036:a name: with colons").unwrap();
        assert_eq!(
            read,
            Lease {
                transport: "TCP".to_owned(),
                external: 5000,
                internal: "192.168.83.2:6881".parse().unwrap(),
                until: 1_795_630_036,
            }
        );
        assert_eq!(lease("TCP:5000"), None);
    }
}
