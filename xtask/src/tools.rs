//! The tasks that hand over to one program: a world of the simulator, a benchmark.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::machine::{cargo, root, run};
use crate::test::release_build;

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
