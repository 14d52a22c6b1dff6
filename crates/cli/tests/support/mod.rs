//! A torrent with a seed on loopback, and the program as its users run it.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::disallowed_methods, reason = "patience with real processes is measured in real time")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Long enough for any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(300);

/// A folder with a torrent and a seed's files.
pub(crate) struct Bed {
    folder: tempfile::TempDir,
    name: String,
    /// Path below the torrent's folder, and content.
    files: Vec<(String, Vec<u8>)>,
}

impl Bed {
    /// A torrent `name` of these files, with content that is never zero and differs from piece to piece.
    pub(crate) fn new(name: &str, piece_length: usize, files: &[(&str, usize)]) -> Self {
        Self::inside(&std::env::temp_dir(), name, piece_length, files)
    }

    /// As [`Bed::new`], in this folder.
    pub(crate) fn inside(place: &Path, name: &str, piece_length: usize, files: &[(&str, usize)]) -> Self {
        let folder = tempfile::tempdir_in(place).unwrap();
        let mut all = Vec::new();
        let mut list = String::new();
        let mut kept = Vec::new();
        for (path, length) in files {
            let begin = all.len();
            all.extend((begin..begin + length).map(|n| ((n % 251) as u8 ^ (n >> 12) as u8) | 1));
            let elements: String = path.split('/').map(|name| format!("{}:{name}", name.len())).collect();
            list.push_str(&format!("d6:lengthi{length}e4:pathl{elements}ee"));
            kept.push(((*path).to_owned(), all[begin..].to_vec()));
            let place = folder.path().join("seed").join(name).join(path);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, &all[begin..]).unwrap();
        }
        let hashes: Vec<u8> = all.chunks(piece_length).flat_map(quelea_digest::sha1).collect();
        let bed = Self { folder, name: name.to_owned(), files: kept };
        bed.write_torrent(&format!("5:filesl{list}e"), piece_length, &hashes);
        bed
    }

    /// A torrent `name` of one file of `pieces` pieces of zeros, whose seed has a hole.
    pub(crate) fn of_zeros(name: &str, piece_length: usize, pieces: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("seed")).unwrap();
        let length = (piece_length * pieces) as u64;
        let file = std::fs::File::create(folder.path().join("seed").join(name)).unwrap();
        file.set_len(length).unwrap();
        let hashes = quelea_digest::sha1(&vec![0; piece_length]).repeat(pieces);
        let bed = Self { folder, name: name.to_owned(), files: Vec::new() };
        bed.write_torrent(&format!("6:lengthi{length}e"), piece_length, &hashes);
        bed
    }

    fn write_torrent(&self, files: &str, piece_length: usize, hashes: &[u8]) {
        let head = format!(
            "d4:infod{files}4:name{}:{}12:piece lengthi{piece_length}e6:pieces{}:",
            self.name.len(),
            self.name,
            hashes.len()
        );
        std::fs::write(self.torrent(), [head.as_bytes(), hashes, b"ee"].concat()).unwrap();
    }

    pub(crate) fn torrent(&self) -> PathBuf {
        self.path("t.torrent")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where a download to `to` has this file of the torrent.
    pub(crate) fn file(&self, to: &Path, path: &str) -> PathBuf {
        to.join(&self.name).join(path)
    }

    /// `quelea ARGUMENTS`, untouched by the environment of whoever runs the tests.
    pub(crate) fn quelea(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quelea"));
        alone(&mut command);
        command
    }

    /// A download to `to`, on loopback alone.
    pub(crate) fn get(&self, to: &Path) -> Command {
        let mut command = self.quelea();
        command.arg(self.torrent()).arg("-o").arg(to).args(["-p", "0", "--bind", "127.0.0.1", "--no-lsd"]);
        command
    }

    /// A seed of what lies in `seed`.
    pub(crate) fn seed(&self) -> Command {
        let mut command = self.get(&self.path("seed"));
        command.args(["--seed", "-v", "--state-dir", "none"]);
        command
    }

    /// A download from `seed` to `to`, which keeps its state in `state` and tells what happens in JSON.
    pub(crate) fn leech(&self, to: &Path, seed: &Seed) -> Command {
        let mut command = self.get(to);
        command.args(["--json", "--peer", &seed.address, "--state-dir"]).arg(self.path("state"));
        command
    }

    /// What of the torrent is not in `to` as it should be.
    pub(crate) fn differences(&self, to: &Path) -> Vec<String> {
        let differs = |path: &String, content: &Vec<u8>| {
            std::fs::read(self.file(to, path)).map_or(true, |found| found != *content)
        };
        let wrong = self.files.iter().filter(|(path, content)| differs(path, content));
        wrong.map(|(path, _)| path.clone()).collect()
    }
}

/// Takes away what would reach a program from outside of the test.
pub(crate) fn alone(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("QUELEA_") {
            command.env_remove(name);
        }
    }
    command.env("XDG_CONFIG_HOME", "/nonexistent");
    command.env("QUELEA_NO_DHT", "yes").env("QUELEA_NO_LSD", "yes").env("QUELEA_NO_PORT_MAP", "yes");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
}

/// A seed that runs until it is dropped.
pub(crate) struct Seed {
    process: Child,
    pub(crate) address: String,
}

impl Seed {
    /// Starts a seed of the bed's `seed` folder.
    pub(crate) fn start(bed: &Bed) -> Self {
        Self::run(bed.seed())
    }

    /// Starts this command, which is that of [`Bed::seed`] in one form or another.
    pub(crate) fn run(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let (mut told, mut port) = (String::new(), None);
        while port.is_none() || !told.contains("complete") {
            let mut line = String::new();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "the seed ended: {told}");
            port =
                port.or_else(|| line.trim().split_once("listening port=").map(|(_, port)| port.to_owned()));
            told.push_str(&line);
        }
        // It says more than a pipe holds if nobody listens.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Self { process, address: format!("127.0.0.1:{}", port.unwrap()) }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A download that tells what happens; killed when dropped.
pub(crate) struct Leech {
    process: Child,
    lines: Receiver<Value>,
    /// Everything that it told.
    pub(crate) told: Vec<Value>,
}

impl Leech {
    /// Starts a command that prints JSON.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let stdout = process.stdout.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::<ChildStdout>::new(stdout).lines().map_while(Result::ok) {
                if let Ok(line) = serde_json::from_str(&line)
                    && sender.send(line).is_err()
                {
                    return;
                }
            }
        });
        Self { process, lines, told: Vec::new() }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until it tells a line that is `wanted`.
    pub(crate) fn until(&mut self, what: &str, mut wanted: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.told.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no {what} came: {:#?}", self.tail()),
                Err(RecvTimeoutError::Disconnected) => {
                    let stderr = self.stderr();
                    panic!("it ended before {what}: {:#?}\n{stderr}", self.tail())
                }
            }
        }
    }

    /// Waits for an event of this kind.
    pub(crate) fn event(&mut self, kind: &str) -> Value {
        self.until(kind, |line| line["event"] == kind)
    }

    fn tail(&self) -> &[Value] {
        &self.told[self.told.len().saturating_sub(10)..]
    }

    /// What it told on standard error; to be called once, when it has ended.
    pub(crate) fn stderr(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.process.stderr.take() {
            stderr.read_to_string(&mut text).unwrap();
        }
        text
    }

    /// Waits for it to end; gives its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.told.push(line);
        }
        self.process.wait().unwrap().code()
    }

    /// Sends a signal such as `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    }
}

impl Drop for Leech {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
