//! Many announcers share a bounded number of places, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quelea_time::Time;
use quelea_tracker::{
    AnnounceQueue, AnnounceResponse, Announcer, Contact, Event, FIRST_TRY, Failure, Host, Request, RequestId,
};

const PLACES: usize = 256;
const LEAVING_PLACES: usize = 64;
const LATENCY: Duration = Duration::from_millis(100);
/// How long a dead tracker that was tried before holds a place.
const PATIENCE: Duration = Duration::from_secs(105);
const INTERVAL: Duration = Duration::from_secs(1800);

/// An announce as a tracker hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Heard {
    at: Time,
    host: String,
    event: Option<Event>,
}

#[derive(Default)]
struct World {
    now: Time,
    announcers: Vec<Announcer>,
    /// When each announcer wants to be woken.
    wakes: BTreeSet<(Time, usize)>,
    wake_of: Vec<Option<Time>>,
    /// Hosts whose name begins with `live` answer; `picky` ones answer odd torrents alone; others are silent.
    under_way: BTreeMap<(Time, usize, RequestId), Request>,
    /// What trackers heard of each torrent.
    heard: Vec<Vec<Heard>>,
    most_under_way: usize,
}

struct Run {
    world: World,
    queue: AnnounceQueue<usize>,
}

impl Run {
    fn new(torrents: impl IntoIterator<Item = Vec<Vec<String>>>) -> Self {
        let mut run = Self {
            world: World { now: Time::from_secs(1000), ..World::default() },
            queue: AnnounceQueue::new(PLACES, LEAVING_PLACES),
        };
        for tiers in torrents {
            run.add(tiers);
        }
        run
    }

    fn add(&mut self, tiers: Vec<Vec<String>>) -> usize {
        let torrent = self.world.announcers.len();
        self.world.announcers.push(Announcer::new(tiers, torrent as u64));
        self.world.wake_of.push(None);
        self.world.heard.push(Vec::new());
        self.world.announcers[torrent].start(self.world.now, false);
        self.drain(torrent);
        torrent
    }

    fn complete(&mut self, torrent: usize) {
        self.world.announcers[torrent].completed(self.world.now);
        self.drain(torrent);
    }

    fn leave(&mut self, torrent: usize) {
        self.world.announcers[torrent].stop(self.world.now);
        self.drain(torrent);
    }

    /// Hands what a torrent wants asked to the queue, and forgets what it does not await any more.
    fn drain(&mut self, torrent: usize) {
        let announcer = &mut self.world.announcers[torrent];
        while let Some(request) = announcer.poll_request() {
            self.queue.push(torrent, request);
        }
        while announcer.poll_notice().is_some() {}
        let of_torrent = self.queue.of_torrent(torrent);
        let unwanted =
            of_torrent.filter(|(id, contact)| *contact != Contact::Leaving && !announcer.awaits(*id));
        let unwanted: Vec<RequestId> = unwanted.map(|(id, _)| id).collect();
        for id in unwanted {
            if self.queue.cancel(torrent, id) {
                self.world.under_way.retain(|(_, other, of), _| (*other, *of) != (torrent, id));
            }
        }
        let wake = self.world.announcers[torrent].timeout();
        if let Some(before) = std::mem::replace(&mut self.world.wake_of[torrent], wake) {
            self.world.wakes.remove(&(before, torrent));
        }
        self.world.wakes.extend(wake.map(|wake| (wake, torrent)));
        self.launch();
    }

    fn launch(&mut self) {
        let world = &mut self.world;
        while let Some((torrent, request)) = self.queue.poll_launch() {
            let host = request.url.host().to_string();
            let answers = host.starts_with("live") || host.starts_with("picky") && torrent % 2 == 1;
            let takes = match request.contact {
                _ if answers => LATENCY,
                Contact::First => FIRST_TRY,
                Contact::Leaving | Contact::Working | Contact::Again => PATIENCE,
            };
            world.heard[torrent].push(Heard { at: world.now, host, event: request.event });
            world.under_way.insert((world.now + takes, torrent, request.id), request);
        }
        world.most_under_way = world.most_under_way.max(world.under_way.len());
    }

    /// Lets time pass until `until`.
    fn run(&mut self, until: Time) {
        loop {
            let answer = self.world.under_way.first_key_value().map(|(key, _)| *key);
            let wake = self.world.wakes.first().copied();
            let next = [answer.map(|(at, ..)| at), wake.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.world.now = self.world.now.max(next);
            let now = self.world.now;
            match answer.filter(|(at, ..)| *at <= now) {
                Some(key @ (_, torrent, id)) => {
                    let request = self.world.under_way.remove(&key).unwrap();
                    let host = request.url.host().to_string();
                    let answers = host.starts_with("live") || host.starts_with("picky") && torrent % 2 == 1;
                    let response = AnnounceResponse { interval: Some(INTERVAL), ..Default::default() };
                    let answer = if answers { Ok(&response) } else { Err(Failure::TimedOut) };
                    let alike = self.queue.ended(torrent, id, answer.as_ref().map(|it| *it));
                    self.world.announcers[torrent].handle_answer(now, id, answer);
                    self.drain(torrent);
                    for (torrent, id) in alike {
                        self.world.announcers[torrent].handle_answer(now, id, Err(Failure::TimedOut));
                        self.drain(torrent);
                    }
                }
                None => {
                    let (_, torrent) = self.world.wakes.pop_first().unwrap();
                    self.world.wake_of[torrent] = None;
                    self.world.announcers[torrent].handle_timeout(now);
                    self.drain(torrent);
                }
            }
        }
        self.world.now = until;
    }

    fn after(&mut self, seconds: u64) {
        self.run(self.world.now + Duration::from_secs(seconds));
    }

    /// When a tracker heard of a torrent, in seconds since the beginning.
    fn heard(&self, torrent: usize, host: &str, event: Option<Event>) -> Vec<u64> {
        let of = |heard: &&Heard| heard.host == host && heard.event == event;
        let begin = Time::from_secs(1000);
        self.world.heard[torrent].iter().filter(of).map(|heard| heard.at.since(begin).as_secs()).collect()
    }
}

fn tiers(hosts: impl IntoIterator<Item = String>) -> Vec<Vec<String>> {
    hosts.into_iter().map(|host| vec![format!("udp://{host}:6969/announce")]).collect()
}

fn dead(of: usize, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("dead-{of}-{number}.example"))
}

const LIVE: &str = "live.example";

#[test]
fn dead_trackers_of_a_torrent_hold_up_its_live_one_for_one_first_try_at_most() {
    let mut run = Run::new([tiers(dead(0, 100).chain([LIVE.to_owned()]))]);
    run.after(60);
    let heard = run.heard(0, LIVE, Some(Event::Started));
    assert!(heard.len() == 1 && heard[0] <= 2 * FIRST_TRY.as_secs(), "{heard:?}");
}

#[test]
fn dead_trackers_of_a_torrent_hold_up_no_other_torrent() {
    let mut run = Run::new((0..4).map(|of| tiers(dead(of, 200))));
    run.after(13);
    let other = run.add(tiers([LIVE.to_owned()]));
    run.after(1);
    assert_eq!(run.heard(other, LIVE, Some(Event::Started)), [13]);
    run.complete(other);
    run.after(1);
    assert_eq!(run.heard(other, LIVE, Some(Event::Completed)), [14]);
    run.leave(other);
    run.after(1);
    assert_eq!(run.heard(other, LIVE, Some(Event::Stopped)), [15]);
}

#[test]
fn goodbyes_do_not_wait_for_dead_trackers() {
    // More torrents than places, each with a tracker that answers and one that does not.
    let torrents = (0..200).map(|of| tiers([LIVE.to_owned()].into_iter().chain(dead(of, 1))));
    let mut run = Run::new(torrents);
    run.after(20);
    let begin = run.world.now;
    for torrent in 0..200 {
        run.leave(torrent);
    }
    run.after(3);
    let heard = run.world.heard.iter().flatten().filter(|heard| heard.event == Some(Event::Stopped));
    let late = heard.clone().filter(|heard| heard.at.since(begin) > Duration::from_secs(2)).count();
    assert_eq!((heard.count(), late), (200, 0));
    assert!(run.world.under_way.is_empty(), "nothing is asked of trackers that never answered");
}

#[test]
fn a_server_that_ignores_some_torrents_is_no_dead_one_to_the_others() {
    let mut run = Run::new((0..100).map(|_| tiers(["picky.example".to_owned()])));
    run.after(2 * INTERVAL.as_secs());
    for torrent in (1..100).step_by(2) {
        let heard = run.heard(torrent, "picky.example", None);
        assert!(!heard.is_empty(), "torrent {torrent} is known and announces no more");
    }
}

#[test]
fn of_five_thousand_torrents_a_third_has_dead_trackers_and_the_others_announce_in_time() {
    const TORRENTS: usize = 5_000;
    let hosts = |torrent: usize| match torrent % 3 {
        // Some of these are dead alone, others share what is dead, as lists of public trackers do.
        0 if torrent.is_multiple_of(2) => tiers(dead(torrent, 1)),
        0 => tiers(dead(0, 10)),
        _ => tiers([format!("live-{}.example", torrent % 40)]),
    };
    let mut run = Run::new((0..TORRENTS).map(hosts));
    run.after(3 * INTERVAL.as_secs());
    assert!(run.world.most_under_way <= PLACES + LEAVING_PLACES);
    for torrent in (0..TORRENTS).filter(|torrent| torrent % 3 != 0) {
        let host = format!("live-{}.example", torrent % 40);
        let started = run.heard(torrent, &host, Some(Event::Started));
        // The 833 that are dead alone are tried a first time in turns of 128 places at least, 15 s each, beside the others.
        assert!(started.len() == 1 && started[0] <= 120, "torrent {torrent} started at {started:?}");
        let regular = run.heard(torrent, &host, None);
        // The schedule adds a twentieth of jitter.
        let latest = INTERVAL.as_secs() * 21 / 20 + 15;
        let mut before = started[0];
        for at in regular {
            assert!(at - before <= latest, "torrent {torrent} announced at {before} and then at {at}");
            before = at;
        }
        assert!(3 * INTERVAL.as_secs() - before <= latest, "torrent {torrent} announced last at {before}");
    }
}

#[test]
fn what_was_cancelled_gives_back_its_place() {
    let mut queue = AnnounceQueue::new(4, 1);
    let request = |of: usize, number: usize| {
        let mut announcer = Announcer::new(tiers(dead(of, 3)), number as u64);
        announcer.start(Time::from_secs(1), false);
        announcer.poll_request().unwrap()
    };
    for torrent in 0..10usize {
        queue.push(torrent, request(torrent, torrent));
    }
    let mut launched: Vec<(usize, RequestId)> = Vec::new();
    while let Some((torrent, request)) = queue.poll_launch() {
        assert!(matches!(request.url.host(), Host::Name(_)));
        launched.push((torrent, request.id));
    }
    // First tries leave a quarter of the places free.
    assert_eq!(launched.iter().map(|(torrent, _)| *torrent).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(queue.cancel(0, launched[0].1) && !queue.cancel(0, launched[0].1));
    let (waiting, _) = queue.of_torrent(4).next().unwrap();
    assert!(!queue.cancel(4, waiting));
    assert_eq!(queue.poll_launch().map(|(torrent, _)| torrent), Some(3));
    assert!(queue.ended(1, launched[1].1, Err(&Failure::Busy)).is_empty());
    assert_eq!(queue.poll_launch().map(|(torrent, _)| torrent), Some(5));
}
