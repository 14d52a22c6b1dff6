//! `cargo xtask interop`: real clients against the release build.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::machine::{Part, cargo, find_program, provide, run as run_command};
use crate::metadata::Workspace;
use crate::report::{Outcome, Report};
use crate::side_by_side::{self, Plan};
use crate::test::release_build;

/// What the tests of `interop/` start.
const PARTS: &[Part] = &[
    Part { package: "opentracker", is_there: || find_program("opentracker").is_some() },
    Part { package: "transmission-daemon", is_there: || find_program("transmission-daemon").is_some() },
    Part { package: "aria2", is_there: || find_program("aria2c").is_some() },
    Part { package: "qbittorrent-nox", is_there: || find_program("qbittorrent-nox").is_some() },
    Part { package: "rtorrent", is_there: || find_program("rtorrent").is_some() },
    Part { package: "python3", is_there: || Path::new("/usr/bin/python3").is_file() },
    Part { package: "python3-libtorrent", is_there: has_libtorrent },
    Part { package: "openssl", is_there: || find_program("openssl").is_some() },
    Part { package: "stunnel4", is_there: || find_program("stunnel").is_some() },
    Part { package: "miniupnpd-nftables", is_there: || find_program("miniupnpd").is_some() },
    Part { package: "nftables", is_there: || find_program("nft").is_some() },
    Part { package: "iproute2", is_there: || find_program("ip").is_some() },
    Part { package: "util-linux", is_there: || find_program("nsenter").is_some() },
];

/// Each test has a network of its own, so that they do not meet; the machine is all that they share.
const PLAN: Plan<'_> = Plan {
    at_once: 3,
    long: &["churn", "dht", "discovery", "outages", "downloads"],
    busy: &["churn", "downloads", "seeding", "swarms"],
};

/// The tests of these files move little and wait for others' timers: twice as many of them run at once.
const WAITING: [&str; 4] = ["dht", "dht_libraries", "discovery", "outages"];

/// The whole task; `filter` is a part of the name of the tests wanted.
pub(crate) fn run(filter: Option<&str>) -> Result<()> {
    let mut report = Report::start();
    let mut program = None;
    report.step("release build", || {
        program = Some(release_build()?);
        Ok(Outcome::Pass)
    });
    if let Some(program) = program {
        report.step("interop", || check(&program, filter));
    }
    report.finish()
}

/// Installs the clients where that is possible and runs the tests against `program`: with a `filter` the files of tests whose
/// name contains it, and of the others the tests whose names do.
pub(crate) fn check(program: &Path, filter: Option<&str>) -> Result<Outcome> {
    let missing = provide(PARTS)?;
    let peers = build_peers()?;
    let tests = side_by_side::build("quelea-interop")?;
    let logs = Workspace::load()?.target_directory.join("interop");
    let cores = std::thread::available_parallelism()?.get();
    let ran = PLAN.run(tests, &logs, |test, command| {
        if WAITING.contains(&test.name.as_str()) {
            command.env("RUST_TEST_THREADS", (2 * cores).to_string());
        }
        // A failed test shows the logs of its clients; its own stack says nothing.
        command.env("RUST_LIB_BACKTRACE", "0").env("QUELEA_BIN", program);
        command.env("QUELEA_PEERS", &peers).args(filter.filter(|word| !test.name.contains(word)));
    })?;
    if let Some(word) = filter.filter(|_| ran == 0) {
        bail!("no file and no test in interop/tests has a name that contains `{word}`");
    }
    println!("    {ran} tests ran");
    if missing.is_empty() {
        return Ok(Outcome::Pass);
    }
    Ok(Outcome::Skipped(format!("in part: not installed: {}", missing.join(", "))))
}

/// Builds the nodes of other libraries, which are a workspace of their own; gives the program.
fn build_peers() -> Result<PathBuf> {
    let target = Workspace::load()?.target_directory.join("interop-peers");
    let build = ["build", "--locked", "--manifest-path", "interop/peers/Cargo.toml", "--target-dir"];
    run_command(cargo().args(build).arg(&target))?;
    Ok(target.join("debug/quelea-interop-peers"))
}

/// Debian's binding belongs to the system's Python, whichever stands first in the path.
fn has_libtorrent() -> bool {
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", "import libtorrent"]).stdout(Stdio::null()).stderr(Stdio::null());
    python.status().is_ok_and(|status| status.success())
}
