//! The tasks that hand over to one program: a world of the simulator, a benchmark.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::machine::{cargo, root, run};
use crate::test::release_build;

/// Runs so many worlds, or flash crowds or networks of the DHT at size, in a release build.
pub(crate) fn sim_at_length(arguments: &[String]) -> Result<()> {
    let release = ["run", "--quiet", "--release", "-p", "quelea-sim", "--example"];
    match arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("swarm", rest)) => {
            run(cargo().args(release).args(["swarm", "--", "--svg", "docs/swarm.svg"]).args(rest))
        }
        Some(("dht", rest)) => {
            let pages = ["--svg", "docs/dht.svg", "--docs", "docs/dht.md"];
            run(cargo().args(release).args(["dht", "--"]).args(pages).args(rest))
        }
        Some(("--seeds", [count])) => {
            count.parse::<u64>().with_context(|| format!("`{count}` is no number of worlds"))?;
            run(cargo().args(release).args(["replay", "--", "0", "--quiet", "--seeds", count]))
        }
        _ => bail!("`sim` takes SEED, --seeds N, swarm or dht: see `cargo xtask help`"),
    }
}

/// Replays the world that grows from `seed`, with its trace.
pub(crate) fn sim(seed: &str) -> Result<()> {
    seed.parse::<u64>().with_context(|| format!("`{seed}` is no seed: give a whole number"))?;
    run(cargo().args(["run", "--quiet", "-p", "quelea-sim", "--example", "replay", "--", seed]))
}

/// Builds Quelea for release and runs `bench/NAME.py` with it.
pub(crate) fn bench(name: &str, arguments: &[String]) -> Result<()> {
    let script = root().join("bench").join(name).with_extension("py");
    if !script.is_file() {
        bail!("there is no benchmark {}", script.display());
    }
    let program = release_build()?;
    run(Command::new("python3").arg(script).arg("--quelea").arg(program).args(arguments))
}
