//! A network of the DHT that asks one node questions, for `bench/dht.py`.
//!
//! ```text
//! load TARGET:PORT NODES
//! ```
//!
//! Its hosts are in 198.18.0.0/15, every address of which must be this machine's (`ip route add local 198.18.0.0/15 dev lo`).
//! The node at 198.18.0.1:7000 is there from the first moment. On its standard input it is told what to do, and it
//! answers each line with one:
//!
//! ```text
//! fill                announces torrents to the target, until it holds them all: `filled`
//! rate R SECONDS      asks R questions a second, at moments that nobody knows (a Poisson process)
//! all WINDOW SECONDS  asks as much as is answered: so many questions are under way at a time
//! ```
//!
//! The last two are answered with figures: `name=number …`. A question that is not answered within a second is lost.

mod hosts;
mod questions;
mod wire;

use fastrand::Rng;
use hosts::Hosts;
use quelea_dht::packet::{Body, Packet};
use questions::{Asked, Kind, Questions, Tally};
use std::collections::VecDeque;
use std::error::Error;
use std::io::{BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};
use wire::Wire;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A question without an answer after this is lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the target may take until it holds all torrents.
const FILLING: Duration = Duration::from_secs(60);
/// Transactions that are told apart.
const SLOTS: usize = 1 << 16;
/// How long nobody looks whether there is something to read.
const PAUSE: Duration = Duration::from_micros(200);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, nodes] = arguments.as_slice() else {
        return Err("load TARGET:PORT NODES".into());
    };
    let target: SocketAddrV4 = target.parse()?;
    let mut rng = Rng::with_seed(7);
    let hosts = Hosts::new(nodes.parse()?, &mut rng);
    let mut network = Network {
        wire: Wire::open(target)?,
        hosts,
        questions: Questions::new(rng),
        target,
        slots: vec![None; SLOTS],
        order: VecDeque::new(),
        counter: 0,
        under_way: 0,
        tally: Tally::default(),
        filling: false,
        tokens: Vec::new(),
        out: Vec::new(),
        buffer: vec![0; 4_096],
    };
    let commands = commands();
    loop {
        match commands.try_recv() {
            Ok(line) => {
                println!("{}", network.obey(&line)?);
                std::io::stdout().flush()?;
            }
            Err(TryRecvError::Empty) => {
                network.read()?;
                std::thread::sleep(PAUSE);
            }
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
    }
}

/// Lines of the standard input.
fn commands() -> Receiver<String> {
    let (lines, commands) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    commands
}

/// The network, and its questions under way.
struct Network {
    wire: Wire,
    hosts: Hosts,
    questions: Questions,
    target: SocketAddrV4,
    /// By the low half of their transaction; the number is the whole of it.
    slots: Vec<Option<(u32, Asked)>>,
    order: VecDeque<(Instant, u32)>,
    counter: u32,
    under_way: usize,
    tally: Tally,
    /// Tokens are kept while it is announced.
    filling: bool,
    tokens: Vec<(Asked, Vec<u8>)>,
    out: Vec<u8>,
    buffer: Vec<u8>,
}

impl Network {
    fn obey(&mut self, line: &str) -> Result<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["fill"] => self.fill(),
            ["rate", rate, seconds] => self.at_rate(rate.parse()?, seconds.parse()?),
            ["all", window, seconds] => self.at_once(window.parse()?, seconds.parse()?),
            _ => Err(format!("there is no task `{line}`").into()),
        }
    }

    /// Announces every peer of every torrent, again where that went wrong.
    fn fill(&mut self) -> Result<String> {
        let mut left: Vec<Asked> = self
            .questions
            .announcements()
            .map(|(torrent, asker)| Asked { kind: Kind::Known(torrent), asker })
            .collect();
        let began = Instant::now();
        self.filling = true;
        while !left.is_empty() {
            if began.elapsed() > FILLING {
                return Err(format!("{} announcements were not taken", left.len()).into());
            }
            for batch in left.clone().chunks(16) {
                for &asked in batch {
                    self.ask(asked, &[]);
                }
                self.settle()?;
            }
            let tokens = std::mem::take(&mut self.tokens);
            for batch in tokens.chunks(16) {
                let before = self.tally;
                for (asked, token) in batch {
                    self.ask(*asked, token);
                }
                self.settle()?;
                if self.tally.answered - before.answered == batch.len() as u64 {
                    let done = |asked: &Asked| {
                        batch.iter().any(|(other, _)| other.kind == asked.kind && other.asker == asked.asker)
                    };
                    left.retain(|asked| !done(asked));
                }
            }
        }
        self.filling = false;
        Ok("filled".to_owned())
    }

    /// Waits until nothing is under way.
    fn settle(&mut self) -> Result<()> {
        while self.under_way > 0 {
            self.read()?;
            self.forget(Instant::now());
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn at_rate(&mut self, rate: f64, seconds: f64) -> Result<String> {
        self.tally = Tally::default();
        let mut rng = Rng::with_seed(11);
        let began = Instant::now();
        let mut due = 0.0;
        while due < seconds {
            let now = began.elapsed().as_secs_f64();
            while due <= now && due < seconds {
                let asked = self.questions.next();
                self.ask(asked, &[]);
                due -= (1.0 - rng.f64()).ln() / rate;
            }
            self.read()?;
            self.forget(Instant::now());
            let left = due - began.elapsed().as_secs_f64();
            if left > 0.0 {
                std::thread::sleep(Duration::from_secs_f64(left).min(PAUSE));
            }
        }
        let took = began.elapsed();
        self.settle()?;
        Ok(self.figures(took))
    }

    fn at_once(&mut self, window: usize, seconds: f64) -> Result<String> {
        self.tally = Tally::default();
        let began = Instant::now();
        while began.elapsed().as_secs_f64() < seconds {
            while self.under_way < window {
                let asked = self.questions.next();
                self.ask(asked, &[]);
            }
            self.read()?;
            self.forget(Instant::now());
        }
        let took = began.elapsed();
        self.settle()?;
        Ok(self.figures(took))
    }

    fn ask(&mut self, asked: Asked, token: &[u8]) {
        self.counter = self.counter.wrapping_add(1);
        let number = self.counter;
        // What announces is answered as a ping is.
        let kept = if token.is_empty() { asked } else { Asked { kind: Kind::Announce, ..asked } };
        let slot = &mut self.slots[number as usize % SLOTS];
        if slot.replace((number, kept)).is_some() {
            self.under_way -= 1;
            self.tally.lost += 1;
        }
        self.under_way += 1;
        self.tally.sent += 1;
        self.order.push_back((Instant::now(), number));
        let from = self.questions.write(&self.hosts, asked, token, &number.to_be_bytes(), &mut self.out);
        self.wire.send(from, &self.out);
    }

    /// Gives up what has waited for long.
    fn forget(&mut self, now: Instant) {
        while let Some((_, number)) =
            self.order.pop_front_if(|(since, _)| now.duration_since(*since) > PATIENCE)
        {
            let slot = &mut self.slots[number as usize % SLOTS];
            if slot.is_some_and(|(other, _)| other == number) {
                *slot = None;
                self.under_way -= 1;
                self.tally.lost += 1;
            }
        }
    }

    /// Takes all that has come.
    fn read(&mut self) -> Result<()> {
        while let Some((length, to)) = self.wire.receive(&mut self.buffer)? {
            let buffer = std::mem::take(&mut self.buffer);
            self.take(&buffer[..length], to);
            self.buffer = buffer;
        }
        Ok(())
    }

    fn take(&mut self, datagram: &[u8], to: Ipv4Addr) {
        let Ok(packet) = Packet::parse(datagram) else {
            self.tally.wrong += 1;
            return;
        };
        if let Body::Query(query) = &packet.body {
            let asker = SocketAddr::V4(self.target);
            if let Some(answer) = self.hosts.answer(to, query, packet.transaction, asker) {
                self.wire.send(to, &answer);
            }
            return;
        }
        let Ok(number) = packet.transaction.try_into().map(u32::from_be_bytes) else {
            self.tally.wrong += 1;
            return;
        };
        let slot = &mut self.slots[number as usize % SLOTS];
        let Some((_, asked)) =
            slot.take_if(|(other, asked)| *other == number && hosts::asker(asked.asker) == to)
        else {
            return;
        };
        self.under_way -= 1;
        self.questions.check(&self.hosts, asked, &packet, datagram.len(), &mut self.tally);
        if let (Kind::Known(_), Body::Response(response)) = (asked.kind, &packet.body)
            && let Some(token) = response.token
            && self.filling
        {
            self.tokens.push((asked, token.to_vec()));
        }
    }

    fn figures(&self, took: Duration) -> String {
        let Tally { sent, answered, wrong, lost, bytes, with_nodes, nodes, with_peers, peers } = self.tally;
        let mean = |sum: u64, count: u64| sum as f64 / count.max(1) as f64;
        format!(
            "seconds={} sent={sent} answered={answered} wrong={wrong} lost={lost} bytes={} nodes={} peers={}",
            took.as_secs_f64(),
            mean(bytes, answered),
            mean(nodes, with_nodes),
            mean(peers, with_peers),
        )
    }
}
