//! An hour's worth of churn in a few minutes: peers of all five kinds join and leave while Quelea downloads 1 GiB
//! and then seeds it.
//!
//! Each kind has two seats, a seed's and a leecher's, each with an address of its own to which it comes back. Who
//! leaves does so politely or is killed in the midst of it. What happens next is due when Quelea has got, or has
//! sent, so many bytes more, never at a time: a slow machine sees the same churn as a fast one. All uplinks but Quelea's are
//! limited, so that the download is not over before the churn (on loopback they cannot be, and less happens).
//!
//! Then every other seed goes, and the leechers go on until one of each kind has every byte. At the end Quelea has
//! every byte, blames no one (nobody lies here, so no piece may fail and nobody may be banned), never held more
//! memory than [`MEMORY`], and once all have left it holds no more sockets and threads than before they came.
//!
#![allow(missing_docs)]

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use quelea_interop::Client::{self, Aria2, Libtorrent, Qbittorrent, Quelea, Rtorrent, Transmission};
use quelea_interop::Protocol::Udp;
use quelea_interop::client::{Job, Running};
use quelea_interop::figures::Figures;
use quelea_interop::payload::Wanted;
use quelea_interop::told::Told;
use quelea_interop::{Layout, Payload, Scenario, programs, quelea, wait};

/// The other clients.
const KINDS: [Client; 5] = [Libtorrent, Transmission, Aria2, Qbittorrent, Rtorrent];

/// The uplink of each of them, in bytes a second.
const UPLINK: u64 = 8 << 20;

/// Bytes that Quelea gets between two steps, and sends.
const STRIDE: u64 = 18 << 20;

/// Payload that may have been of no use to Quelea, in bytes: some comes twice at the end, and from those who were
/// given up and came back.
const WASTE: u64 = 32 << 20;

/// The most memory that Quelea may hold at once, in bytes: three times what it is allowed to by default.
const MEMORY: u64 = 256 << 20;

/// How long Quelea may move no byte while peers check what they have.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Seed,
    Leech,
}

/// One place in the swarm, taken and left again.
struct Seat<'a> {
    client: Client,
    role: Role,
    job: Job<'a>,
    peer: Option<Running<'a>>,
    joins: usize,
    complete: bool,
    /// Whether it has left once while Quelea was the only seed.
    left_late: bool,
    /// When the test began.
    since: Instant,
}

/// What happened.
#[derive(Debug, Default)]
struct Tally {
    joins: usize,
    polite: usize,
    killed: usize,
}

/// Quelea, those around it, and the dice.
struct Swarm<'a> {
    quelea: Running<'a>,
    told: Told,
    seats: Vec<Seat<'a>>,
    tally: Tally,
    dice: Rng,
    payload: &'a Payload,
}

#[test]
fn peers_of_all_kinds_join_and_leave() -> Result<()> {
    let all = [&KINDS[..], &[Quelea]].concat();
    Scenario::run(&all, |scenario| {
        let (payload, torrent, mut tracker) = scenario.publish(Layout::Large, Udp)?;
        let source = scenario.scratch.folder("payload")?;
        let host = scenario.network.host()?;
        let mut job = scenario.job(&host, &torrent, scenario.scratch.folder("downloads")?);
        let hosts = (0..2 * KINDS.len()).map(|_| scenario.network.host()).collect::<Result<Vec<_>>>()?;
        #[allow(clippy::disallowed_methods, reason = "the log tells when things happened")]
        let since = Instant::now();
        let mut seats = Vec::new();
        for (number, seat_host) in hosts.iter().enumerate() {
            let client = *KINDS.get(number % KINDS.len()).context("a seat without a client")?;
            let role = if number < KINDS.len() { Role::Seed } else { Role::Leech };
            seat_host.limit_uplink(UPLINK)?;
            let mut seat_job =
                scenario.job(seat_host, &torrent, scenario.scratch.folder(&format!("seat-{number}"))?);
            if role == Role::Seed {
                payload.link(&source, &seat_job.folder)?;
            }
            if client.takes_peers() {
                seat_job.peers.push(job.listen);
            }
            // The tracker tells it to no one twice in the time that this takes, and Quelea may well be the elder.
            job.peers.push(seat_job.listen);
            seats.push(Seat {
                client,
                role,
                job: seat_job,
                peer: None,
                joins: 0,
                complete: false,
                left_late: false,
                since,
            });
        }

        let quelea = Quelea.seed(&job)?;
        tracker.await_leeches(1)?;
        let told = Told::new(quelea::log(&job, "seed"));
        let dice = Rng::with_seed(3);
        let mut swarm = Swarm { quelea, told, seats, tally: Tally::default(), dice, payload: &payload };
        let before = swarm.figures_of_a_quelea_alone()?;
        swarm.download(scenario.network.is_loopback())?;
        swarm.seed()?;
        swarm.end(before)?;
        payload.check_alone(&job.folder)
    })
}

impl Seat<'_> {
    fn join(&mut self) -> Result<()> {
        self.note("joins")?;
        let peer = match self.role {
            Role::Seed => self.client.seed(&self.job),
            Role::Leech => self.client.leech(&self.job),
        };
        self.peer = Some(peer.with_context(|| format!("{} cannot join", self.name()))?);
        self.joins += 1;
        self.note("has joined")
    }

    /// Leaves, with a word to the others or without.
    fn leave(&mut self, politely: bool) -> Result<()> {
        if let Some(mut peer) = self.peer.take()
            && politely
        {
            self.note("says goodbye")?;
            // Some end with a status of their own when they are interrupted; that they end is enough.
            peer.process()
                .interrupt(wait::LIMIT)
                .with_context(|| format!("{} does not leave", self.name()))?;
        }
        self.note("is gone")
    }

    /// Writes what happened here among the logs that a failed test shows.
    fn note(&self, what: &str) -> Result<()> {
        let mut log = File::options().create(true).append(true).open(self.job.scratch.log("churn"))?;
        let since = self.since.elapsed().as_secs_f64();
        Ok(writeln!(log, "{since:7.2} s  {} at {} {what}", self.name(), self.job.listen)?)
    }

    /// Notices that a leecher has every piece: it leaves, and every byte of it is checked.
    fn look(&mut self, payload: &Payload) -> Result<()> {
        let Some(peer) = &mut self.peer else { return Ok(()) };
        let done = match self.role {
            // A seed's words are not asked for: some answer nothing while they check.
            Role::Seed => return peer.process().must_run(),
            Role::Leech => peer.is_complete().with_context(|| format!("{:?} as a leecher", self.client))?,
        };
        if done {
            self.peer = None;
            payload.check(&self.job.folder, Wanted::All).with_context(|| self.name())?;
            self.complete = true;
            self.note("is complete, and gone")?;
            // Who comes back begins anew.
            self.job.scratch.empty_folder(&self.folder()?)?;
        }
        Ok(())
    }

    fn folder(&self) -> Result<String> {
        let name = self.job.folder.file_name().context("a seat without a folder")?;
        Ok(name.to_string_lossy().into_owned())
    }

    fn name(&self) -> String {
        format!("{:?} as a {}", self.client, if self.role == Role::Seed { "seed" } else { "leecher" })
    }
}

impl Swarm<'_> {
    /// Peers come and go until Quelea has everything.
    fn download(&mut self, on_loopback: bool) -> Result<()> {
        for number in [0, 1, 2, 8, 9] {
            self.join(number)?;
        }
        let mut next = 0;
        self.until("Quelea to have everything", |swarm| {
            if swarm.told.complete {
                return Ok(true);
            }
            if swarm.told.latest.wanted_have >= next {
                next = swarm.told.latest.wanted_have + STRIDE;
                swarm.step_while_downloading()?;
            }
            Ok(false)
        })?;
        self.say("Quelea has everything");
        if !on_loopback {
            let absent = self.seats.iter().find(|seat| seat.joins == 0);
            ensure!(absent.is_none(), "{} never joined", absent.map(Seat::name).unwrap_or_default());
            ensure!(self.tally.polite > 3 && self.tally.killed > 3, "too few left: {:?}", self.tally);
        }
        Ok(())
    }

    /// One seat, at random, is taken or left.
    fn step_while_downloading(&mut self) -> Result<()> {
        let number = self.dice.usize(..self.seats.len());
        let seeds = self.seats.iter().filter(|seat| seat.role == Role::Seed && seat.peer.is_some()).count();
        let seat = self.seats.get(number).context("no such seat")?;
        match (&seat.peer, seat.role) {
            // Who was never there comes first.
            (None, _) => self.join(self.seats.iter().position(|seat| seat.joins == 0).unwrap_or(number)),
            (Some(_), Role::Leech) => self.leave(number),
            (Some(_), Role::Seed) if seeds > 1 => self.leave(number),
            // The last seed stays, and another comes.
            (Some(_), Role::Seed) => match self.seats.iter().position(|seat| seat.peer.is_none()) {
                Some(empty) => self.join(empty),
                None => Ok(()),
            },
        }
    }

    /// Quelea is the only seed left, and leechers come and go until each kind has had everything.
    fn seed(&mut self) -> Result<()> {
        for number in 0..self.seats.len() {
            let seat = self.seats.get(number).context("no such seat")?;
            match (seat.role, &seat.peer) {
                (Role::Seed, Some(_)) => self.leave(number)?,
                (Role::Leech, None) if !seat.complete => self.join(number)?,
                (Role::Seed, None) | (Role::Leech, _) => {}
            }
        }
        let mut next = self.told.latest.uploaded + STRIDE;
        self.until("a leecher of each kind to have everything", |swarm| {
            let missing = || {
                let seats = swarm.seats.iter().enumerate();
                seats.filter(|(_, seat)| seat.role == Role::Leech && !seat.complete)
            };
            if missing().next().is_none() {
                return Ok(true);
            }
            let gone = missing().find(|(_, seat)| seat.peer.is_none()).map(|(number, _)| number);
            let alone = missing().all(|(_, seat)| seat.peer.is_none());
            let may_leave: Vec<usize> =
                missing().filter(|(_, seat)| !seat.left_late).map(|(number, _)| number).collect();
            // Who has left comes back once the others have got something meanwhile, or when there are none.
            if swarm.told.latest.uploaded < next && !alone {
                return Ok(false);
            }
            next = swarm.told.latest.uploaded + STRIDE;
            match (gone, swarm.dice.choice(&may_leave).copied()) {
                (Some(gone), _) => swarm.join(gone)?,
                (None, Some(number)) => {
                    swarm.leave(number)?;
                    swarm.seats.get_mut(number).context("no such seat")?.left_late = true;
                }
                (None, None) => {}
            }
            Ok(false)
        })?;
        self.say("a leecher of each kind has everything");
        Ok(())
    }

    /// All leave; Quelea is what it was before, says goodbye, and has nothing to complain about.
    fn end(&mut self, before: Figures) -> Result<()> {
        for number in 0..self.seats.len() {
            if self.seats.get(number).is_some_and(|seat| seat.peer.is_some()) {
                self.leave(number)?;
            }
        }
        let mut last = before;
        wait::until("Quelea to hold as little as before", wait::LIMIT, || {
            last = self.figures_of_quelea()?;
            let idle = self.told.latest.peers_connected == 0;
            Ok((idle && last.sockets <= before.sockets && last.threads <= before.threads).then_some(()))
        })
        .with_context(|| format!("before: {before:?}, after: {last:?}, {:?}", self.told.latest))?;
        self.say(&format!("all have left; Quelea held {} MiB at most", last.peak_memory >> 20));
        ensure!(last.peak_memory <= MEMORY, "Quelea held {} bytes of memory", last.peak_memory);
        let status = self.quelea.process().interrupt(wait::LIMIT)?;
        ensure!(status.success(), "Quelea ended badly: {status}");
        self.told.read_on()?;
        let wasted = self.told.latest.wasted;
        ensure!(wasted <= WASTE, "{wasted} bytes were of no use to Quelea");
        ensure!(self.told.complaints.is_empty(), "Quelea complains: {:?}", self.told.complaints);
        Ok(())
    }

    fn join(&mut self, number: usize) -> Result<()> {
        self.tally.joins += 1;
        self.seats.get_mut(number).context("no such seat")?.join()
    }

    fn leave(&mut self, number: usize) -> Result<()> {
        let politely = self.dice.bool();
        *if politely { &mut self.tally.polite } else { &mut self.tally.killed } += 1;
        self.seats.get_mut(number).context("no such seat")?.leave(politely)
    }

    /// Looks at everyone until `step` is content; an error when no byte moves for too long.
    fn until(&mut self, what: &str, mut step: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
        loop {
            let moved = self.moved();
            let done = wait::until(&format!("{what}, or a byte to move"), PATIENCE, || {
                self.figures_of_quelea()?;
                let payload = self.payload;
                self.seats.iter_mut().try_for_each(|seat| seat.look(payload))?;
                let done = step(self)?;
                Ok((done || self.moved() != moved).then_some(done))
            })
            .with_context(|| format!("{:?} {:?}", self.told.latest, self.tally))?;
            if done {
                return Ok(());
            }
        }
    }

    /// What grows or shrinks as long as anything goes on.
    fn moved(&self) -> (u64, u64, usize) {
        let complete = self.seats.iter().filter(|seat| seat.complete).count();
        (self.told.latest.downloaded, self.told.latest.uploaded, complete)
    }

    /// What Quelea holds when nobody is there: the least of several looks, because it dials the addresses that it
    /// was given.
    fn figures_of_a_quelea_alone(&mut self) -> Result<Figures> {
        let mut looks: Vec<Figures> = Vec::new();
        wait::until("Quelea to be looked at", wait::LIMIT, || {
            looks.push(self.figures_of_quelea()?);
            let least = looks.iter().min_by_key(|figures| figures.sockets);
            Ok(least.copied().filter(|_| looks.len() >= 20))
        })
    }

    fn figures_of_quelea(&mut self) -> Result<Figures> {
        self.quelea.process().must_run()?;
        self.told.read_on()?;
        Figures::of(self.quelea.process().id())
    }

    fn say(&self, what: &str) {
        let (Tally { joins, polite, killed }, figures) = (&self.tally, &self.told.latest);
        let (down, up) = (figures.downloaded >> 20, figures.uploaded >> 20);
        programs::notice(&format!(
            "{what}: {joins} joins, {polite} polite departures, {killed} kills; {down} MiB down, {up} MiB up, \
             {} bytes of no use",
            figures.wasted
        ));
    }
}
