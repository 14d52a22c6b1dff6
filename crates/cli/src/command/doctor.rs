//! `quelea doctor`: whether this machine is ready for a download with the given options, and what to do if not.
//!
//! Nothing leaves the machine: ports are bound and let go, routes are asked for without a packet being sent. Only
//! `--port-map` speaks to the router.

mod port_mapping;

use crate::args::{DoctorArgs, Options};
use crate::display;
use crate::exit::Status;
use crate::state;
use serde::Serialize;
use std::fmt::Write;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

/// Ports after the wanted one that a download tries.
const PORT_TRIES: u16 = 10;
/// Less free space than this is worth a note.
const LITTLE_SPACE: u64 = 1 << 30;
/// The clock can't be right before this, the first second of 2026, nor after the last one of 2099.
const CLOCK: std::ops::Range<u64> = 1_767_225_600..4_102_444_800;
/// Files that the program itself has open, beside those of torrents and the sockets of peers.
#[cfg(unix)]
const OWN_FILES: u64 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    /// It works, but less well than it could.
    Note,
    Bad,
}

/// What was looked at, what was found, and what to do about it.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    level: Level,
    found: String,
    remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, found: found.into(), remedy: None }
    }

    fn note(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, level: Level::Note, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn bad(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Bad, ..Self::note(name, found, remedy) }
    }
}

#[derive(Serialize)]
struct Findings {
    ok: bool,
    checks: Vec<Check>,
}

pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<Status> {
    let options = &args.options;
    let mut checks = vec![port(options)];
    checks.push(dht(options));
    checks.extend(routes(options));
    checks.extend(if args.port_map { port_mapping::tried(options)? } else { port_mapping::planned(options) });
    checks.push(clock());
    checks.extend(open_files(options));
    checks.push(directory("output", &options.output_dir, "name another with --output-dir"));
    checks.push(match state::directory(options.state_dir.as_deref()) {
        Some(path) => directory("state", &path, "name another with --state-dir"),
        None => Check::note(
            "state",
            "nothing is remembered: every start checks all data",
            "name a directory with --state-dir",
        ),
    });
    checks.push(certificates());
    let ok = checks.iter().all(|check| check.level != Level::Bad);
    let text = if options.json {
        serde_json::to_string_pretty(&Findings { ok, checks })? + "\n"
    } else {
        checks.iter().map(line).collect()
    };
    super::print(text.as_bytes())?;
    Ok(if ok { Status::Done } else { Status::Failed })
}

fn line(check: &Check) -> String {
    let level = match check.level {
        Level::Ok => "ok",
        Level::Note => "note",
        Level::Bad => "BAD",
    };
    let mut text = format!("{level:<5}{:<14}{}\n", check.name, display::clean(&check.found));
    if let Some(remedy) = &check.remedy {
        let _ = writeln!(text, "{:19}-> {}", "", display::clean(remedy));
    }
    text
}

/// Where a download would listen.
fn addresses(options: &Options) -> Vec<IpAddr> {
    if options.discovery.bind.is_empty() {
        vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
    } else {
        options.discovery.bind.clone()
    }
}

/// Whether `port` can be listened on at every address. A machine without IPv6 is no obstacle unless asked for.
fn listen(options: &Options, port: u16) -> Result<(), (SocketAddr, std::io::Error)> {
    for address in addresses(options).into_iter().map(|address| SocketAddr::new(address, port)) {
        match TcpListener::bind(address) {
            Ok(_) => {}
            Err(error)
                if options.discovery.bind.is_empty()
                    && address.is_ipv6()
                    && error.kind() != ErrorKind::AddrInUse => {}
            Err(error) => return Err((address, error)),
        }
    }
    Ok(())
}

fn port(options: &Options) -> Check {
    let wanted = options.port;
    match listen(options, wanted) {
        Ok(()) if wanted == 0 => Check::ok("port", "any free one will be listened on"),
        Ok(()) => Check::ok("port", format!("{wanted} can be listened on")),
        Err((_, error)) if error.kind() == ErrorKind::AddrInUse => {
            let holder = holder(wanted).map(|name| format!(" by {name}")).unwrap_or_default();
            let mut others = (1..=PORT_TRIES).filter_map(|offset| wanted.checked_add(offset));
            match others.find(|port| listen(options, *port).is_ok()) {
                Some(port) => Check::note(
                    "port",
                    format!("{wanted} is taken{holder}; {port} will be listened on"),
                    format!(
                        "if your router forwards {wanted}, stop what has it, or name another with --port"
                    ),
                ),
                None => Check::bad(
                    "port",
                    format!("{wanted} is taken{holder}, and so are the ten after it"),
                    "name another with --port; 0 takes any",
                ),
            }
        }
        Err((address, error)) => Check::bad(
            "port",
            format!("cannot listen on {address}: {}", display::plain(&error.to_string())),
            if error.kind() == ErrorKind::PermissionDenied {
                "name a port above 1023 with --port"
            } else {
                "name an address of this machine with --bind, or another port with --port"
            },
        ),
    }
}

/// Whether the DHT has its UDP port, as far as that can be told before the TCP port is chosen.
fn dht(options: &Options) -> Check {
    if options.discovery.no_dht {
        return Check::note("DHT", "it is off", "without --no-dht peers are found by it too");
    }
    if options.port == 0 {
        return Check::ok("DHT", "any free UDP port will be used");
    }
    let refused = addresses(options).into_iter().find_map(|address| {
        let address = SocketAddr::new(address, options.port);
        let error = UdpSocket::bind(address).err()?;
        let missing =
            options.discovery.bind.is_empty() && address.is_ipv6() && error.kind() != ErrorKind::AddrInUse;
        (!missing).then_some((address, error))
    });
    match refused {
        None => Check::ok("DHT", format!("the UDP port {} can be used", options.port)),
        Some((address, error)) => Check::note(
            "DHT",
            format!("the UDP port {address} cannot be used: {}", display::plain(&error.to_string())),
            "stop what has it, or name another port with --port",
        ),
    }
}

/// The process that listens on `port`, where the system tells us: on Linux, of our own processes.
fn holder(port: u16) -> Option<String> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"].iter().find_map(|table| {
        let table = std::fs::read_to_string(table).ok()?;
        table.lines().skip(1).find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (_, local) = fields.get(1)?.rsplit_once(':')?;
            let listens = fields.get(3) == Some(&"0A") && u16::from_str_radix(local, 16) == Ok(port);
            listens.then(|| fields.get(9).map(|inode| format!("socket:[{inode}]"))).flatten()
        })
    })?;
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|process| {
        let id: u32 = process.file_name().to_str()?.parse().ok()?;
        let mut files = std::fs::read_dir(process.path().join("fd")).ok()?.flatten();
        files.find(|file| {
            std::fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == inode.as_str())
        })?;
        let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        Some(format!("{} (process {id})", name.trim()))
    })
}

/// Whether the system knows a way to the internet, by IPv4 and by IPv6. Connecting a UDP socket sends nothing;
/// the addresses are for documentation (RFC 5737, RFC 3849).
fn routes(options: &Options) -> Vec<Check> {
    let reaches = |from: IpAddr, to: IpAddr| {
        UdpSocket::bind((from, 0)).and_then(|socket| socket.connect((to, 9))).is_ok()
    };
    let from = addresses(options);
    let v4 = from.iter().any(|from| from.is_ipv4() && reaches(*from, Ipv4Addr::new(192, 0, 2, 1).into()));
    let far = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let v6 = from.iter().any(|from| from.is_ipv6() && reaches(*from, far.into()));
    let remedy = if options.discovery.bind.is_empty() {
        "connect this machine to a network that has it"
    } else {
        "give --bind an address of each kind that has a route"
    };
    let check = |name, reached: bool, other: bool| {
        if reached {
            Check::ok(name, "there is a route")
        } else if other {
            Check::note(name, "no route: peers that have nothing else are not reached", remedy)
        } else {
            Check::bad(name, "no route: no peer outside of this machine can be reached", remedy)
        }
    };
    vec![check("IPv4", v4, v6), check("IPv6", v6, v4)]
}

#[allow(clippy::disallowed_methods, reason = "whether the system's clock is right is the very question")]
fn clock() -> Check {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let date = display::date(i64::try_from(now).unwrap_or(i64::MAX));
    if CLOCK.contains(&now) {
        Check::ok("clock", format!("{date} (UTC)"))
    } else {
        Check::bad(
            "clock",
            format!("{date} (UTC) cannot be today: secure connections to trackers will fail"),
            "set the clock, or have the system keep it (on Linux: timedatectl set-ntp true)",
        )
    }
}

#[cfg(unix)]
fn open_files(options: &Options) -> Vec<Check> {
    use rustix::process::{Resource, getrlimit};
    let files = quelea::Settings::new(".").max_open_files as u64;
    let needed = files + u64::from(options.max_peers) + OWN_FILES;
    vec![match getrlimit(Resource::Nofile).current {
        None => Check::ok("open files", "no limit"),
        Some(limit) if limit >= needed => {
            Check::ok("open files", format!("up to {limit}, {needed} are needed"))
        }
        Some(limit) => Check::bad(
            "open files",
            format!("only {limit}, but {} peers and their files need {needed}", options.max_peers),
            format!("ulimit -n {}, or fewer peers with --max-peers", needed.next_power_of_two()),
        ),
    }]
}

#[cfg(not(unix))]
fn open_files(_: &Options) -> Vec<Check> {
    Vec::new()
}

/// Whether a directory, or the nearest above it that is there, can be written to, and its free space.
fn directory(name: &'static str, path: &Path, remedy: &str) -> Check {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let shown = absolute.display();
    let Some(there) = absolute.ancestors().find(|path| path.symlink_metadata().is_ok()) else {
        return Check::bad(name, format!("{shown}: nothing of this path is there"), remedy);
    };
    let trial: PathBuf = there.join(format!(".quelea-doctor-{}", std::process::id()));
    let written = OpenOptions::new().write(true).create_new(true).open(&trial);
    if let Err(error) = written.and_then(|_| std::fs::remove_file(&trial)) {
        let error = display::plain(&error.to_string());
        return Check::bad(name, format!("{}: cannot be written to: {error}", there.display()), remedy);
    }
    let made = if there == absolute { "" } else { " (will be made)" };
    match free_space(there) {
        Some(free) if free < LITTLE_SPACE => Check::note(
            name,
            format!("{shown}{made}: only {} are free", display::bytes(free)),
            format!("make room, or {remedy}"),
        ),
        Some(free) => Check::ok(name, format!("{shown}{made}: {} are free", display::bytes(free))),
        None => Check::ok(name, format!("{shown}{made}")),
    }
}

#[cfg(unix)]
fn free_space(path: &Path) -> Option<u64> {
    let system = rustix::fs::statvfs(path).ok()?;
    Some(system.f_bavail.saturating_mul(system.f_frsize))
}

#[cfg(not(unix))]
fn free_space(_: &Path) -> Option<u64> {
    None
}

fn certificates() -> Check {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        Check::bad(
            "certificates",
            "the system has none: trackers and torrents by https cannot be trusted",
            "install the package ca-certificates, or name a file of them in SSL_CERT_FILE",
        )
    } else {
        let count = display::count(found.certs.len(), "authority", "authorities");
        Check::ok("certificates", format!("{count} trusted by the system"))
    }
}
