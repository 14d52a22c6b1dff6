//! The floors of the house, and which crate may stand on which: arrows only go down.

use anyhow::{Result, bail};

use crate::metadata::{Package, Workspace};

/// One crate of `crates/`: where it stands and what it may stand on.
struct Room {
    name: &'static str,
    floor: u8,
    /// Its normal dependencies among ours are some of these.
    stands_on: &'static [&'static str],
}

const fn room(name: &'static str, floor: u8, stands_on: &'static [&'static str]) -> Room {
    Room { name, floor, stands_on }
}

/// `quelea-sim` stands in nobody's list: it is for development alone.
const ROOMS: &[Room] = &[
    room("quelea-time", 0, &[]),
    room("quelea-bencode", 0, &[]),
    room("quelea-digest", 0, &[]),
    room("quelea-block", 0, &[]),
    room("quelea-metainfo", 1, &["quelea-bencode", "quelea-digest"]),
    room("quelea-wire", 2, &["quelea-bencode", "quelea-metainfo", "quelea-digest"]),
    room("quelea-tracker", 2, &["quelea-metainfo", "quelea-bencode", "quelea-time"]),
    room("quelea-discovery", 2, &["quelea-metainfo", "quelea-bencode", "quelea-digest", "quelea-time"]),
    room("quelea-dht", 2, &["quelea-bencode", "quelea-digest", "quelea-time"]),
    room(
        "quelea-swarm",
        3,
        &["quelea-wire", "quelea-discovery", "quelea-metainfo", "quelea-digest", "quelea-time"],
    ),
    room("quelea-storage", 3, &["quelea-block", "quelea-digest", "quelea-metainfo"]),
    room("quelea-net", 4, &[]),
    room(
        "quelea-resume",
        4,
        &[
            "quelea-bencode",
            "quelea-block",
            "quelea-digest",
            "quelea-metainfo",
            "quelea-wire",
            "quelea-storage",
            "quelea-swarm",
        ],
    ),
    room(
        "quelea-sim",
        4,
        &[
            "quelea-time",
            "quelea-bencode",
            "quelea-digest",
            "quelea-block",
            "quelea-metainfo",
            "quelea-wire",
            "quelea-tracker",
            "quelea-discovery",
            "quelea-dht",
            "quelea-swarm",
            "quelea-storage",
        ],
    ),
    room(
        "quelea",
        5,
        &[
            "quelea-time",
            "quelea-bencode",
            "quelea-digest",
            "quelea-block",
            "quelea-metainfo",
            "quelea-wire",
            "quelea-tracker",
            "quelea-discovery",
            "quelea-dht",
            "quelea-swarm",
            "quelea-storage",
            "quelea-resume",
            "quelea-net",
        ],
    ),
    room("quelea-cli", 6, &["quelea", "quelea-metainfo", "quelea-bencode"]),
];

/// Stand beside the house: nobody depends on them, and the floors do not bind them.
const OUTSIDE: &[&str] = &["quelea-interop", "xtask"];

/// Every arrow between our crates is one that the table allows.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let faults: Vec<String> = workspace.members().flat_map(faults_of).collect();
    if !faults.is_empty() {
        bail!("{}\n(the floors stand in xtask/src/arrows.rs)", faults.join("\n"));
    }
    Ok(())
}

fn faults_of(package: &Package) -> Vec<String> {
    if OUTSIDE.contains(&package.name.as_str()) {
        return Vec::new();
    }
    let Some(room) = ROOMS.iter().find(|room| room.name == package.name) else {
        return vec![format!("{} has no floor", package.name)];
    };
    let ours = package.dependencies.iter().filter(|dependency| dependency.path.is_some());
    ours.filter(|dependency| !room.allows(&dependency.name, dependency.is_dev()))
        .map(|dependency| {
            let kind = if dependency.is_dev() { "its tests " } else { "" };
            format!("{} may not depend on {} {kind}", package.name, dependency.name).trim_end().to_owned()
        })
        .collect()
}

impl Room {
    /// Tests may look at everything that stands lower, but for the simulator.
    fn allows(&self, below: &str, in_tests: bool) -> bool {
        let lower = || ROOMS.iter().any(|room| room.name == below && room.floor < self.floor);
        self.stands_on.contains(&below) || (in_tests && below != "quelea-sim" && lower())
    }
}

#[cfg(test)]
mod tests {
    use super::{OUTSIDE, ROOMS, Room};

    fn named(name: &str) -> &'static Room {
        ROOMS.iter().find(|room| room.name == name).unwrap()
    }

    #[test]
    fn every_arrow_of_the_table_goes_down() {
        for room in ROOMS {
            for below in room.stands_on {
                assert!(named(below).floor < room.floor, "{} -> {below}", room.name);
            }
        }
    }

    #[test]
    fn nobody_stands_on_the_simulator_or_on_what_is_outside() {
        for room in ROOMS {
            assert!(!room.allows("quelea-sim", false) && !room.allows("quelea-sim", true), "{}", room.name);
            for outside in OUTSIDE {
                assert!(!room.allows(outside, true));
            }
        }
    }

    #[test]
    fn an_arrow_up_or_sideways_is_refused() {
        assert!(!named("quelea-swarm").allows("quelea-storage", false));
        assert!(!named("quelea-wire").allows("quelea-swarm", false));
        assert!(!named("quelea-wire").allows("quelea-tracker", true));
        assert!(named("quelea-wire").allows("quelea-metainfo", false));
    }

    #[test]
    fn tests_may_look_down_past_the_table() {
        assert!(!named("quelea-swarm").allows("quelea-bencode", false));
        assert!(named("quelea-swarm").allows("quelea-bencode", true));
    }
}
