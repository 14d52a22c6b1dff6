//! rTorrent without a terminal, told what to do by a file of its commands, and asked by XML-RPC over SCGI.
//!
//! Version 0.9.8 knows nothing of BEP 47's padding and of BEP 52: pad files are files to it, and of a hybrid torrent
//! it takes the version 1 half.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::client::Job;
use crate::network::Host;
use crate::payload::write;
use crate::process::Process;
use crate::wait;

/// The program's name.
pub const PROGRAM: &str = "rtorrent";

const SCGI_PORT: u16 = 9_093;

/// A running one with one torrent.
pub struct Daemon<'a> {
    process: Process,
    host: &'a Host,
    /// The info-hash, as it names the torrent.
    hash: String,
}

/// Checks the job's folder and serves it.
pub fn seed<'a>(job: &Job<'a>) -> Result<Daemon<'a>> {
    job.torrent.write_pads(&job.folder)?;
    start(job, "seed")
}

/// Downloads into the job's folder.
pub fn leech<'a>(job: &Job<'a>) -> Result<Daemon<'a>> {
    start(job, "leech")
}

fn start<'a>(job: &Job<'a>, role: &str) -> Result<Daemon<'a>> {
    let name = job.name("rtorrent", role);
    let home = job.scratch.empty_folder(&name)?;
    let (address, port) = (job.listen.ip(), job.listen.port());
    let host = job.host.address;
    // Where it keeps what it learns of a magnet link.
    let session = home.join("session");
    std::fs::create_dir_all(&session)?;
    let commands = home.join("commands.rc");
    let source = job.source();
    let torrent = source.to_string_lossy();
    let dht = match job.nodes.first() {
        // Where it is disabled, torrents without a tracker are refused without a word.
        None => "dht.mode.set = off\n".to_owned(),
        Some(node) => format!(
            "dht.mode.set = on\n\
             dht.port.set = {port}\n\
             schedule2 = node, 1, 10, ((dht.add_node, \"{node}\"))\n"
        ),
    };
    let text = format!(
        "system.daemon.set = true\n\
         directory.default.set = \"{folder}\"\n\
         session.path.set = \"{session}\"\n\
         network.bind_address.set = {address}\n\
         network.port_range.set = {port}-{port}\n\
         network.port_random.set = no\n\
         {dht}\
         protocol.pex.set = {pex}\n\
         throttle.global_down.max_rate.set_kb = {limit}\n\
         network.scgi.open_port = {host}:{SCGI_PORT}\n\
         {load}",
        pex = if job.discovery.pex { "yes" } else { "no" },
        limit = job.max_download.unwrap_or_default(),
        folder = job.folder.display(),
        session = session.display(),
        load = if job.nodes.is_empty() { format!("load.start = \"{torrent}\"\n") } else { String::new() },
    );
    write(&commands, text.as_bytes())?;
    let mut command = job.host.command(PROGRAM);
    command.args(["-n", "-o"]).arg(format!("import={}", commands.display()));
    command.env("HOME", &home).current_dir(&home);
    let process = Process::start(job.scratch, &name, &mut command)?;
    let hash = job.torrent.announced.first().context("a torrent without a hash")?.to_uppercase();
    let mut daemon = Daemon { process, host: job.host, hash };
    if !job.nodes.is_empty() {
        // A search that finds no nodes is tried again after a quarter of an hour.
        wait::until("rTorrent to know nodes", wait::LIMIT, || daemon.knows_nodes())?;
        daemon.ask("load.start", &["", &torrent])?;
    }
    wait::until("rTorrent to have its torrent", wait::LIMIT, || daemon.number("d.size_bytes"))?;
    for peer in &job.peers {
        daemon.ask("add_peer", &[&daemon.hash, &peer.to_string()])?;
    }
    Ok(daemon)
}

impl Daemon<'_> {
    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// An error when it has ended, or when it has stopped its torrent.
    pub fn must_run(&mut self) -> Result<()> {
        if self.number("d.is_active")? != Some(1) {
            let said = self.ask("d.message", &[&self.hash])?.unwrap_or_default();
            bail!("rTorrent has stopped its torrent: {said}");
        }
        Ok(())
    }

    /// Whether every piece is there.
    pub fn is_complete(&mut self) -> Result<bool> {
        // The metadata of a magnet link is a torrent of its own to it, whose place the real one takes.
        Ok(self.number("d.is_meta")? == Some(0)
            && self.number("d.complete")? == Some(1)
            && self.number("d.hashing")? == Some(0))
    }

    /// Waits until every piece is there.
    pub fn must_complete(&mut self, limit: Duration) -> Result<()> {
        wait::until("rTorrent to have every piece", limit, || Ok(self.is_complete()?.then_some(())))
    }

    /// Whether it has found nodes of the DHT.
    fn knows_nodes(&mut self) -> Result<Option<()>> {
        self.process.must_run()?;
        let Some(answer) = self.ask("dht.statistics", &[])? else { return Ok(None) };
        let nodes = answer.split_once("<name>nodes</name>").and_then(|(_, rest)| {
            let digits = rest.split('>').find_map(|part| part.split_once("</i").map(|(digits, _)| digits))?;
            digits.parse::<u64>().ok()
        });
        Ok((nodes > Some(3)).then_some(()))
    }

    /// A figure of its torrent; none while it does not answer, or does not have it yet.
    fn number(&mut self, call: &str) -> Result<Option<u64>> {
        self.process.must_run()?;
        let Some(answer) = self.ask(call, &[&self.hash])? else { return Ok(None) };
        let number = ["i8", "i4"].iter().find_map(|kind| {
            let (_, rest) = answer.split_once(&format!("<{kind}>"))?;
            rest.split_once('<')?.0.parse().ok()
        });
        match number {
            None if answer.contains("<fault>") && !answer.contains("info-hash") => {
                bail!("rTorrent answers {call} with {answer}")
            }
            number => Ok(number),
        }
    }

    /// The answer to one call; none while nobody listens.
    fn ask(&self, call: &str, arguments: &[&str]) -> Result<Option<String>> {
        let at = SocketAddr::new(self.host.address.into(), SCGI_PORT);
        let Some(mut stream) = self.host.connect(at)? else { return Ok(None) };
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut answer = Vec::new();
        let whole = stream
            .write_all(request(call, arguments).as_bytes())
            .and_then(|()| stream.read_to_end(&mut answer));
        Ok(whole.is_ok().then(|| String::from_utf8_lossy(&answer).into_owned()))
    }
}

/// One call, in XML, in an SCGI request: its headers as a netstring, then the body.
fn request(call: &str, arguments: &[&str]) -> String {
    let parameters: String = arguments
        .iter()
        .map(|argument| format!("<param><value><string>{argument}</string></value></param>"))
        .collect();
    let body = format!(
        "<?xml version=\"1.0\"?><methodCall><methodName>{call}</methodName><params>{parameters}</params></methodCall>"
    );
    let headers = format!("CONTENT_LENGTH\0{}\0SCGI\x001\0", body.len());
    format!("{}:{headers},{body}", headers.len())
}

#[cfg(test)]
mod tests {
    use super::request;

    #[test]
    fn a_call_is_a_netstring_of_headers_and_xml() {
        let asked = request("d.complete", &["AB"]);
        let (headers, body) = asked.split_once(',').unwrap();
        let length = body.len();
        assert_eq!(
            headers,
            format!("{}:CONTENT_LENGTH\0{length}\0SCGI\x001\0", 23 + length.to_string().len())
        );
        assert!(body.contains("<methodName>d.complete</methodName>"));
        assert!(body.contains("<string>AB</string>"));
    }
}
