//! Steps and their outcomes: what passed, what failed, what was skipped and why.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How a step ended, when it did not fail.
pub(crate) enum Outcome {
    /// It held.
    Pass,
    /// It could not run here, for this reason.
    Skipped(String),
}

/// The steps of one task, in the order in which they ran.
pub(crate) struct Report {
    rows: Vec<Row>,
    /// A skipped step counts as a failure.
    strict: bool,
}

struct Row {
    verdict: &'static str,
    name: String,
    detail: String,
    took: Duration,
}

impl Report {
    /// A report without steps; strict in CI.
    pub(crate) fn start() -> Self {
        Self { rows: Vec::new(), strict: in_ci() }
    }

    /// Runs one step and says whether it passed. Later steps run whatever the answer.
    pub(crate) fn step(&mut self, name: &str, step: impl FnOnce() -> Result<Outcome>) -> bool {
        println!("==> {name}");
        let began = Instant::now();
        let (verdict, detail) = match step() {
            Ok(Outcome::Pass) => ("PASS", String::new()),
            Ok(Outcome::Skipped(why)) if self.strict => ("FAIL", format!("skipped in CI: {why}")),
            Ok(Outcome::Skipped(why)) => ("SKIPPED", why),
            Err(error) => ("FAIL", format!("{error:#}")),
        };
        if !detail.is_empty() {
            eprintln!("{verdict}: {name}: {detail}");
        }
        self.rows.push(Row { verdict, name: name.to_owned(), detail, took: began.elapsed() });
        verdict == "PASS"
    }

    /// Prints one line a step and the counts; an error when a step failed.
    pub(crate) fn finish(self) -> Result<()> {
        println!();
        for row in &self.rows {
            let first_line = row.detail.lines().next().unwrap_or_default();
            let detail = if first_line.is_empty() { String::new() } else { format!(": {first_line}") };
            println!("{:<8} {:>7.1} s  {}{detail}", row.verdict, row.took.as_secs_f64(), row.name);
        }
        let count = |verdict| self.rows.iter().filter(|row| row.verdict == verdict).count();
        let (passed, failed, skipped) = (count("PASS"), count("FAIL"), count("SKIPPED"));
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        if failed > 0 {
            bail!("{failed} of {} steps failed", self.rows.len());
        }
        Ok(())
    }
}

/// Whether this is a run that counts, in which nothing may be skipped.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}
