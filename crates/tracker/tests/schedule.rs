//! The announcer against simulated trackers, in virtual time that jumps from wake-up to wake-up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::time::Duration;

use quelea_time::Time;
use quelea_tracker::announcer::MAX_TRACKERS;
use quelea_tracker::{
    AnnounceResponse, Announcer, Event, Failure, Notice, RequestId, Retry, State, TrackerUrl, Urgency,
    UrlError,
};

const STARTED: Option<Event> = Some(Event::Started);
const COMPLETED: Option<Event> = Some(Event::Completed);
const STOPPED: Option<Event> = Some(Event::Stopped);

/// How a simulated tracker answers.
#[derive(Clone)]
enum Behaviour {
    /// After 50 ms.
    Answers(AnnounceResponse),
    /// After so long.
    AnswersLate(Duration, AnnounceResponse),
    /// After 50 ms.
    Fails(Failure),
    /// Its driver gives up after 100 seconds.
    BlackHole,
}

const DELAY: Duration = Duration::from_millis(50);
const DRIVER_PATIENCE: Duration = Duration::from_secs(100);

fn response(interval: u64) -> AnnounceResponse {
    AnnounceResponse { interval: Some(Duration::from_secs(interval)), ..Default::default() }
}

fn answers(interval: u64) -> Behaviour {
    Behaviour::Answers(response(interval))
}

fn with_minimum(interval: u64, minimum: u64) -> Behaviour {
    let min_interval = Some(Duration::from_secs(minimum));
    Behaviour::Answers(AnnounceResponse { min_interval, ..response(interval) })
}

fn refuses(retry: Option<Retry>) -> Behaviour {
    Behaviour::Fails(Failure::Refused { reason: "no".into(), retry })
}

#[derive(Debug, Clone, PartialEq)]
struct Asked {
    at: Time,
    host: String,
    event: Option<Event>,
}

/// An announcer, its trackers (by host name), and a log of what they were asked.
struct World {
    announcer: Announcer,
    trackers: BTreeMap<String, Behaviour>,
    now: Time,
    answers: Vec<(Time, RequestId, Result<AnnounceResponse, Failure>)>,
    log: Vec<Asked>,
    /// Answers that came when they were not wanted any more.
    unwanted: usize,
    notices: Vec<Notice>,
}

impl World {
    /// Tiers as `"a b | c"`; each host's behaviour is a [`Behaviour::BlackHole`] until it is set.
    fn new(tiers: &str) -> Self {
        Self::with(Announcer::new(urls(tiers), 1))
    }

    fn private(tiers: &str) -> Self {
        Self::with(Announcer::private(urls(tiers), 1))
    }

    fn with(announcer: Announcer) -> Self {
        Self {
            announcer,
            trackers: BTreeMap::new(),
            now: Time::from_secs(1000),
            answers: Vec::new(),
            log: Vec::new(),
            unwanted: 0,
            notices: Vec::new(),
        }
    }

    fn set(mut self, host: &str, behaviour: Behaviour) -> Self {
        self.become_(host, behaviour);
        self
    }

    fn become_(&mut self, host: &str, behaviour: Behaviour) {
        self.trackers.insert(host.into(), behaviour);
    }

    fn start(mut self) -> Self {
        self.announcer.start(self.now, false);
        self.drain();
        self
    }

    /// The hosts in the order in which they are tried.
    fn order(&self) -> Vec<String> {
        self.announcer.status().map(|tracker| tracker.url.host().to_string()).collect()
    }

    fn drain(&mut self) {
        while let Some(request) = self.announcer.poll_request() {
            let host = request.url.host().to_string();
            assert_eq!(request.num_want == 0, request.event == STOPPED);
            self.log.push(Asked { at: self.now, host: host.clone(), event: request.event });
            let (delay, answer) = match self.trackers.get(&host).unwrap_or(&Behaviour::BlackHole) {
                Behaviour::Answers(response) => (DELAY, Ok(response.clone())),
                Behaviour::AnswersLate(delay, response) => (*delay, Ok(response.clone())),
                Behaviour::Fails(failure) => (DELAY, Err(failure.clone())),
                Behaviour::BlackHole => (DRIVER_PATIENCE, Err(Failure::TimedOut)),
            };
            self.answers.push((self.now + delay, request.id, answer));
        }
        self.notices.extend(std::iter::from_fn(|| self.announcer.poll_notice()));
    }

    /// Runs for a while; gives what was asked meanwhile.
    fn run(&mut self, span: Duration) -> Vec<Asked> {
        let end = self.now + span;
        let before = self.log.len();
        let mut idle = 0;
        loop {
            let answer = self.answers.iter().map(|(at, ..)| *at).min();
            let next = [answer, self.announcer.timeout()].into_iter().flatten().min();
            let Some(next) = next.filter(|&next| next <= end) else { break };
            idle = if next > self.now { 0 } else { idle + 1 };
            assert!(idle < 1000, "the announcer does not come to rest at {}", self.now);
            self.now = self.now.max(next);
            if answer == Some(next) {
                let at = self.answers.iter().position(|(at, ..)| *at == next).unwrap();
                let (_, id, answer) = self.answers.remove(at);
                let answer = answer.as_ref().map_err(Clone::clone);
                if !self.announcer.handle_answer(self.now, id, answer) {
                    self.unwanted += 1;
                }
            } else {
                self.announcer.handle_timeout(self.now);
            }
            self.drain();
        }
        self.now = end;
        self.log[before..].to_vec()
    }

    fn secs(&mut self, secs: u64) -> Vec<Asked> {
        self.run(Duration::from_secs(secs))
    }
}

fn urls(tiers: &str) -> Vec<Vec<String>> {
    tiers
        .split('|')
        .map(|tier| tier.split_whitespace().map(|host| format!("http://{host}/announce")).collect())
        .collect()
}

fn hosts(asked: &[Asked]) -> Vec<&str> {
    asked.iter().map(|asked| asked.host.as_str()).collect()
}

fn events(asked: &[Asked]) -> Vec<Option<Event>> {
    asked.iter().map(|asked| asked.event).collect()
}

fn seconds_between(asked: &[Asked]) -> Vec<f64> {
    asked.windows(2).map(|pair| pair[1].at.since(pair[0].at).as_secs_f64()).collect()
}

fn assert_within(value: f64, least: f64, most: f64) {
    assert!((least..=most).contains(&value), "{value} is not within {least} and {most}");
}

#[test]
fn regular_announces_follow_at_the_interval_with_a_little_jitter() {
    let mut world = World::new("a").set("a", answers(1800)).start();
    let asked = world.secs(20_000);
    assert_eq!(world.log[0].event, STARTED);
    assert!(asked.len() >= 10);
    assert!(asked.iter().all(|asked| asked.event.is_none()));
    let gaps = seconds_between(&world.log);
    gaps.iter().for_each(|&gap| assert_within(gap, 1800.0, 1890.2));
    assert!(gaps.iter().any(|&gap| gap != gaps[0]), "jitter differs from time to time");
}

#[test]
fn intervals_are_kept_within_reason() {
    for (answer, least, most) in [
        (answers(0), 60.0, 63.2),
        (answers(86_400 * 365), 86_400.0, 90_721.0),
        (Behaviour::Answers(AnnounceResponse::default()), 1800.0, 1890.2),
        (with_minimum(600, 1200), 1200.0, 1260.2),
    ] {
        let mut world = World::new("a").set("a", answer).start();
        world.secs(100_000);
        assert_within(seconds_between(&world.log)[0], least, most);
    }
}

#[test]
fn a_black_hole_holds_up_the_next_tracker_of_its_tier_for_a_second() {
    let mut world = World::new("a b");
    let order = world.order();
    world.become_(&order[1], answers(1800));
    let mut world = world.start();
    world.secs(3);
    assert_eq!(hosts(&world.log), [order[0].as_str(), order[1].as_str()]);
    assert_eq!(world.log[1].at.since(world.log[0].at), Duration::from_secs(1));
    assert_eq!(
        world.order(),
        [order[1].as_str(), order[0].as_str()],
        "the one that answers moves to the front"
    );
}

#[test]
fn a_row_of_black_holes_holds_up_a_live_tracker_for_some_seconds_only() {
    let mut world = World::new("a b c d e f g h i j");
    let last = world.order().pop().unwrap();
    world.become_(&last, answers(1800));
    let mut world = world.start();
    world.secs(10);
    let asked = world.log.iter().find(|asked| asked.host == last).unwrap();
    assert!(asked.at.since(world.log[0].at) <= Duration::from_secs(3));
    assert_eq!(world.log.len(), 10);
}

#[test]
fn every_tier_is_asked_at_once() {
    let mut world = World::new("a|b|c").set("a", Behaviour::BlackHole).set("b", answers(1800)).start();
    assert_eq!(hosts(&world.log), ["a", "b", "c"]);
    assert!(world.log.iter().all(|asked| asked.at == world.log[0].at));
    assert_eq!(world.secs(5), [], "nothing to turn to in tiers of one");
}

#[test]
fn a_tracker_that_refuses_is_followed_at_once() {
    let mut world = World::new("a b");
    let order = world.order();
    world.become_(&order[0], refuses(None));
    world.become_(&order[1], answers(1800));
    let mut world = world.start();
    world.secs(3);
    assert_eq!(world.log[1].at.since(world.log[0].at), DELAY);
}

#[test]
fn while_one_tracker_of_a_tier_works_the_others_are_left_alone() {
    let mut world = World::new("a b c");
    let order = world.order();
    world.become_(&order[0], answers(1800));
    let mut world = world.start();
    world.secs(20_000);
    assert!(world.log.iter().all(|asked| asked.host == order[0]));
}

#[test]
fn the_promoted_tracker_is_asked_first_the_next_time() {
    let mut world = World::new("a b");
    let order = world.order();
    world.become_(&order[0], refuses(None));
    world.become_(&order[1], answers(1800));
    let mut world = world.start();
    world.secs(60);
    let asked = world.secs(2000);
    assert_eq!(hosts(&asked), [order[1].as_str()]);
    assert_eq!(asked[0].event, None);
}

#[test]
fn when_the_working_tracker_fails_the_next_one_takes_over() {
    let mut world = World::new("a b");
    let order = world.order();
    world.become_(&order[0], answers(1800));
    world.become_(&order[1], answers(1800));
    let mut world = world.start();
    world.secs(60);
    world.become_(&order[0], Behaviour::Fails(Failure::TimedOut));
    let asked = world.secs(2000);
    assert_eq!(hosts(&asked), [order[0].as_str(), order[1].as_str()]);
    assert_eq!(events(&asked), [None, STARTED]);
    assert_eq!(world.order()[0], order[1]);
}

#[test]
fn a_late_answer_of_an_overtaken_tracker_is_welcome_but_changes_no_order() {
    let mut world = World::new("a b");
    let order = world.order();
    world.become_(&order[0], Behaviour::AnswersLate(Duration::from_secs(5), response(60)));
    world.become_(&order[1], answers(1800));
    let mut world = world.start();
    world.secs(30);
    assert_eq!(world.unwanted, 0);
    assert_eq!(world.order()[0], order[1]);
    assert_eq!(world.secs(1700), [], "the interval is that of the tracker in front");
    world.announcer.stop(world.now);
    world.drain();
    assert_eq!(world.log.iter().filter(|asked| asked.event == STOPPED).count(), 2, "both know us");
}

#[test]
fn failures_back_off() {
    let mut world = World::new("a").set("a", Behaviour::Fails(Failure::Connect("refused".into()))).start();
    world.secs(100_000);
    let gaps = seconds_between(&world.log);
    for (gap, wait) in gaps.iter().zip([17.5, 55.0, 117.5, 205.0, 317.5, 455.0]) {
        assert_within(*gap, wait + 0.05, wait * 1.1 + 0.1);
    }
    assert_within(*gaps.last().unwrap(), 3600.0, 3960.2);
    assert!(world.log.iter().all(|asked| asked.event == STARTED), "started is sent until it is answered");
}

#[test]
fn success_ends_the_backing_off() {
    let mut world = World::new("a").set("a", Behaviour::Fails(Failure::TimedOut)).start();
    world.secs(1000);
    world.become_("a", answers(1800));
    world.secs(4000);
    world.become_("a", Behaviour::Fails(Failure::TimedOut));
    let before = world.secs(2000);
    let gaps = seconds_between(&before[before.len() - 2..]);
    assert_within(gaps[0], 17.5, 130.0);
    assert_eq!(world.announcer.status().next().unwrap().fails, u32::try_from(before.len()).unwrap());
}

#[test]
fn a_refusal_with_a_time_is_honoured() {
    let wait = Duration::from_secs(30 * 60);
    let mut world = World::new("a").set("a", refuses(Some(Retry::After(wait)))).start();
    assert_eq!(world.secs(1799), []);
    assert_eq!(world.secs(5).len(), 1);
    // Stopping and starting again is no way around it.
    world.announcer.stop(world.now);
    world.announcer.start(world.now, false);
    world.drain();
    world.secs(1000);
    assert_eq!(world.log.len(), 2);
}

#[test]
fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    for status in [429, 503] {
        let busy = Failure::status(status).put_off(Duration::from_secs(30 * 60));
        let mut world = World::new("a").set("a", Behaviour::Fails(busy)).start();
        assert_eq!(world.secs(1799), []);
        assert_eq!(world.secs(5).len(), 1);
    }
}

#[test]
fn a_tracker_that_is_gone_is_not_asked_again() {
    for failure in
        [Failure::status(410), Failure::Refused { reason: String::new(), retry: Some(Retry::Never) }]
    {
        let mut world = World::new("a").set("a", Behaviour::Fails(failure)).start();
        assert_eq!(world.secs(1_000_000), []);
        assert_eq!(world.announcer.timeout(), None);
        assert!(matches!(world.announcer.status().next().unwrap().state, State::Failed(_)));
        world.announcer.announce_now(world.now, Urgency::Forced);
        world.drain();
        assert_eq!(world.log.len(), 2, "but a person may insist");
    }
}

#[test]
fn completed_is_sent_once_and_at_once_to_those_that_know_us() {
    let mut world = World::new("a|b|c").set("a", answers(1800)).set("b", answers(1800)).start();
    world.secs(10);
    world.announcer.completed(world.now);
    world.announcer.completed(world.now);
    world.drain();
    let asked = world.log[3..].to_vec();
    assert_eq!(hosts(&asked), ["a", "b"]);
    assert_eq!(events(&asked), [COMPLETED, COMPLETED]);
    let later = world.secs(10_000);
    assert!(later.iter().all(|asked| asked.event != COMPLETED));
    assert!(later.iter().filter(|asked| asked.host == "c").all(|asked| asked.event == STARTED));
}

#[test]
fn completed_is_not_sent_for_what_was_complete_at_the_start() {
    let mut world = World::new("a").set("a", answers(1800));
    world.announcer.start(world.now, true);
    world.announcer.completed(world.now);
    world.drain();
    world.secs(10_000);
    assert!(world.log.iter().all(|asked| asked.event != COMPLETED));
}

#[test]
fn completed_follows_a_started_that_was_under_way() {
    let mut world = World::new("a").set("a", answers(1800)).start();
    world.announcer.completed(world.now);
    world.drain();
    world.secs(10);
    assert_eq!(events(&world.log), [STARTED, COMPLETED]);
    assert_eq!(world.log[1].at.since(world.log[0].at), DELAY);
}

#[test]
fn completed_does_not_follow_a_started_that_said_nothing_is_missing() {
    let mut world = World::new("a").set("a", Behaviour::Fails(Failure::TimedOut)).start();
    world.announcer.completed(world.now);
    world.drain();
    world.secs(10);
    world.become_("a", answers(1800));
    world.secs(10_000);
    assert!(world.log.iter().all(|asked| asked.event != COMPLETED));
}

#[test]
fn completed_is_repeated_until_it_is_answered() {
    let mut world = World::new("a").set("a", answers(1800)).start();
    world.secs(10);
    world.become_("a", Behaviour::Fails(Failure::TimedOut));
    world.announcer.completed(world.now);
    world.drain();
    let asked = world.secs(100);
    assert_eq!(events(&asked), [COMPLETED, COMPLETED]);
    world.become_("a", answers(1800));
    world.secs(4000);
    assert_eq!(world.log.iter().filter(|asked| asked.event == COMPLETED).count(), 4);
    assert_eq!(world.log.last().unwrap().event, None);
}

#[test]
fn stopped_goes_to_those_that_know_us_only() {
    let mut world = World::new("a|b|c").set("a", answers(1800)).set("b", refuses(None)).start();
    world.secs(10);
    world.announcer.stop(world.now);
    world.drain();
    assert_eq!(world.log[3..], [Asked { at: world.now, host: "a".into(), event: STOPPED }]);
    assert!(!world.announcer.is_stopped());
    assert_eq!(world.secs(10_000), []);
    assert!(world.announcer.is_stopped());
    assert_eq!(world.announcer.timeout(), None);
    assert_eq!(world.unwanted, 2, "the answers to `stopped` and of the black hole");
}

#[test]
fn stopped_does_not_overtake_what_is_under_way() {
    let late = Behaviour::AnswersLate(Duration::from_secs(2), response(1800));
    let mut world = World::new("a").set("a", answers(1800)).start();
    world.secs(10);
    world.become_("a", late);
    world.announcer.completed(world.now);
    world.announcer.stop(world.now);
    world.drain();
    assert_eq!(events(&world.log), [STARTED, COMPLETED], "it is being told that we are complete");
    world.secs(1);
    assert!(!world.announcer.is_stopped());
    world.secs(5);
    assert_eq!(events(&world.log), [STARTED, COMPLETED, STOPPED]);
    assert!(world.announcer.is_stopped());
}

#[test]
fn who_completes_before_the_first_answer_and_leaves_after_it_tells_all() {
    let late = Behaviour::AnswersLate(Duration::from_secs(2), response(1800));
    let mut world = World::new("a").set("a", late).start();
    world.announcer.completed(world.now);
    world.secs(3);
    world.announcer.stop(world.now);
    world.drain();
    world.secs(10);
    assert_eq!(events(&world.log), [STARTED, COMPLETED, STOPPED]);
    assert!(world.announcer.is_stopped());
}

#[test]
fn stopping_before_any_answer_tells_nobody() {
    let mut world = World::new("a|b").start();
    world.announcer.stop(world.now);
    world.drain();
    assert_eq!(world.log.len(), 2);
    assert!(world.announcer.is_stopped());
}

#[test]
fn starting_again_sends_started_again() {
    let mut world = World::new("a").set("a", answers(1800)).start();
    world.secs(10);
    world.announcer.stop(world.now);
    world.drain();
    world.secs(10);
    world.announcer.start(world.now, false);
    world.drain();
    world.secs(10);
    assert_eq!(events(&world.log), [STARTED, STOPPED, STARTED]);
}

#[test]
fn few_peers_bring_an_announce_forward_to_the_minimum_interval() {
    let mut world = World::new("a").set("a", with_minimum(1800, 600)).start();
    world.secs(10);
    world.announcer.announce_now(world.now, Urgency::FewPeers);
    world.drain();
    let asked = world.secs(1000);
    assert_eq!(asked.len(), 1);
    assert_within(seconds_between(&world.log)[0], 600.0, 600.1);

    let mut world = World::new("a").set("a", answers(1800)).start();
    world.secs(400);
    world.announcer.announce_now(world.now, Urgency::FewPeers);
    world.drain();
    assert_eq!(world.log.len(), 2, "five minutes are enough for a tracker that names no minimum");
}

#[test]
fn few_peers_do_not_disturb_trackers_that_are_not_needed() {
    let mut world = World::new("a b");
    let order = world.order();
    world.become_(&order[0], with_minimum(1800, 600));
    let mut world = world.start();
    for _ in 0..50 {
        world.secs(10);
        world.announcer.announce_now(world.now, Urgency::FewPeers);
        world.drain();
    }
    assert_eq!(world.log.len(), 1);
}

#[test]
fn a_person_may_force_an_announce_but_not_hammer() {
    let mut world = World::new("a b");
    let order = world.order();
    world.become_(&order[0], with_minimum(1800, 1800));
    let mut world = world.start();
    world.secs(10);
    for _ in 0..100 {
        world.announcer.announce_now(world.now, Urgency::Forced);
        world.drain();
        world.run(Duration::from_millis(100));
    }
    let forced = &world.log[1..];
    assert_eq!(forced.len(), 2, "once each five seconds in ten");
    assert!(forced.iter().all(|asked| asked.host == order[0] && asked.event.is_none()));
}

#[test]
fn forcing_retries_failed_trackers() {
    let mut world = World::new("a").set("a", Behaviour::Fails(Failure::TimedOut)).start();
    world.secs(1000);
    let before = world.log.len();
    world.announcer.announce_now(world.now, Urgency::Forced);
    world.drain();
    assert_eq!(world.log.len(), before + 1);
}

#[test]
fn when_our_network_is_back_trackers_that_could_not_be_reached_are_asked_at_once() {
    let mut world = World::new("dead | stern").set("stern", refuses(None)).start();
    world.secs(650);
    world.become_("dead", answers(1800));
    let before = world.log.len();
    world.announcer.announce_now(world.now, Urgency::FoundBack);
    world.drain();
    // Who has refused was reached, and is left to its time.
    assert_eq!(hosts(&world.log[before..]), ["dead"]);
    world.secs(6);
    world.announcer.announce_now(world.now, Urgency::FoundBack);
    world.drain();
    assert_eq!(world.log.len(), before + 1, "one that works has nothing to find back");
}

#[test]
fn partial_seeds_say_so_in_regular_announces() {
    let mut world = World::new("a").set("a", answers(1800)).start();
    world.announcer.set_partial_seed(true);
    world.secs(2000);
    assert_eq!(events(&world.log), [STARTED, Some(Event::Paused)]);
}

#[test]
fn a_private_torrent_uses_one_tracker_at_a_time() {
    let mut world = World::private("a | b | c").set("a", answers(1800)).set("b", answers(1800)).start();
    world.secs(60);
    assert_eq!(hosts(&world.log), ["a"]);
    world.become_("a", Behaviour::Fails(Failure::TimedOut));
    world.secs(1900);
    assert_eq!(hosts(&world.log), ["a", "a", "b"]);
    // Tiers stay in order: the first one is tried first again (BEP 12, first example).
    assert_eq!(world.order(), ["a", "b", "c"]);
    world.become_("a", answers(1800));
    world.secs(1900);
    assert_eq!(world.log.last().unwrap().host, "a");
}

#[test]
fn a_private_torrent_drops_a_silent_tracker_before_it_turns_to_the_next() {
    let mut world = World::private("a | b");
    world.become_("a", Behaviour::AnswersLate(Duration::from_secs(20), response(1800)));
    world.become_("b", answers(1800));
    let mut world = world.start();
    world.secs(60);
    assert_eq!(hosts(&world.log), ["a", "b"]);
    assert_eq!(world.log[1].at.since(world.log[0].at), Duration::from_secs(10));
    assert_eq!(world.unwanted, 1, "the late answer of the first");
}

#[test]
fn a_single_private_tracker_may_take_its_time() {
    let mut world = World::private("a");
    world.become_("a", Behaviour::AnswersLate(Duration::from_secs(20), response(1800)));
    let mut world = world.start();
    world.secs(60);
    assert_eq!((world.log.len(), world.unwanted), (1, 0));
}

#[test]
fn many_tiers_begin_a_few_at_a_time() {
    let tiers: Vec<String> = (0..100).map(|n| format!("t{n}")).collect();
    let mut world = World::new(&tiers.join("|")).start();
    assert_eq!(world.log.len(), 10);
    world.secs(1);
    assert_eq!(world.log.len(), 20);
    world.secs(9);
    assert_eq!(world.log.len(), 100);
}

#[test]
fn unusable_urls_are_reported_and_repeats_left_out() {
    let url = |text: &str| text.to_string();
    let tiers = vec![
        vec![url("http://a/announce"), url("wss://b\u{1b}/x")],
        vec![url("http://a:80/announce"), url("udp://c:1")],
        vec![],
    ];
    let announcer = Announcer::new(tiers, 1);
    assert_eq!(announcer.skipped().len(), 1);
    assert_eq!(announcer.skipped()[0].0, "wss://b /x");
    let listed: Vec<_> = announcer.status().map(|tracker| (tracker.url.to_string(), tracker.tier)).collect();
    assert_eq!(listed, [(url("http://a/announce"), 0), (url("udp://c:1"), 1)]);
}

#[test]
fn trackers_are_bounded() {
    let tiers = (0..1000).map(|n| vec![format!("http://t{n}/announce")]).collect();
    let announcer = Announcer::new(tiers, 1);
    assert_eq!(announcer.status().count(), MAX_TRACKERS);
    assert_eq!(announcer.skipped().len(), MAX_TRACKERS);
    assert!(announcer.skipped().iter().all(|(_, error)| *error == UrlError::TooMany));
}

#[test]
fn tiers_are_shuffled_by_the_seed() {
    let order = |seed| {
        let announcer = Announcer::new(urls("a b c d e f"), seed);
        announcer.status().map(|tracker| tracker.url.host().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(order(1), order(1));
    assert!((0..10).any(|seed| order(seed) != order(1)));
}

#[test]
fn trackers_can_be_added_and_removed_while_it_runs() {
    let mut world = World::new("a").set("a", answers(1800)).set("b", answers(1800)).start();
    world.secs(10);
    world.announcer.add(world.now, 1, "http://b/announce").unwrap();
    world.drain();
    assert_eq!(world.log.last().unwrap().host, "b");
    assert_eq!(world.announcer.add(world.now, 1, "ftp://b"), Err(UrlError::Scheme));
    world.secs(10);

    let a = TrackerUrl::parse("http://a/announce").unwrap();
    assert!(world.announcer.remove(world.now, &a));
    assert!(!world.announcer.remove(world.now, &a));
    world.drain();
    let last = world.log.last().unwrap();
    assert_eq!((last.host.as_str(), last.event), ("a", STOPPED));
    let asked = world.secs(10_000);
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.host == "b"));
}

#[test]
fn removing_the_working_tracker_calls_for_another() {
    let mut world = World::new("a b");
    let order = world.order();
    world.become_(&order[0], answers(1800));
    world.become_(&order[1], answers(1800));
    let mut world = world.start();
    world.secs(10);
    let first = TrackerUrl::parse(&format!("http://{}/announce", order[0])).unwrap();
    world.announcer.remove(world.now, &first);
    world.drain();
    assert_eq!(events(&world.log), [STARTED, STOPPED, STARTED]);
    assert_eq!(world.log[2].host, order[1]);
}

#[test]
fn status_tells_how_it_goes() {
    let mut world = World::new("a|b|c d");
    let answer = AnnounceResponse {
        seeds: Some(3),
        leechers: Some(4),
        peers: vec!["192.0.2.1:6881".parse().unwrap()],
        warning: Some("soon closing".into()),
        ..response(1800)
    };
    world.become_("a", Behaviour::Answers(answer));
    world.become_("b", refuses(None));
    let (front, rest) = {
        let order = world.order();
        (order[2].clone(), order[3].clone())
    };
    world.become_(&front, answers(1800));
    assert!(world.announcer.status().all(|it| it.state == State::NotContacted && it.next.is_none()));
    let mut world = world.start();
    assert_eq!(world.announcer.status().filter(|it| it.state == State::Updating).count(), 3);
    world.secs(10);

    let status: Vec<_> = world.announcer.status().collect();
    assert_eq!(status[0].state, State::Working);
    assert_eq!((status[0].seeds, status[0].leechers, status[0].peers), (Some(3), Some(4), 1));
    assert_eq!(status[0].warning, Some("soon closing"));
    assert!(status[0].next.unwrap() > world.now + Duration::from_secs(1700));
    assert_eq!(status[1].state, State::Failed("it refuses: no"));
    assert_eq!(status[1].fails, 1);
    assert!(status[1].next.unwrap() < world.now + Duration::from_secs(20));
    assert_eq!(
        (status[3].url.host().to_string(), status[3].state, status[3].next),
        (rest, State::NotContacted, None)
    );

    let a = || TrackerUrl::parse("http://a/announce").unwrap();
    assert!(world.notices.contains(&Notice::Working(a())));
    assert!(world.notices.contains(&Notice::Warning { url: a(), message: "soon closing".into() }));
    assert!(
        world
            .notices
            .iter()
            .any(|it| matches!(it, Notice::Failed { url, .. } if url.host().to_string() == "b"))
    );
}

#[test]
fn a_warning_is_told_once() {
    let answer = AnnounceResponse { warning: Some("hey".into()), ..response(60) };
    let mut world = World::new("a").set("a", Behaviour::Answers(answer)).start();
    world.secs(1000);
    assert_eq!(world.notices.iter().filter(|it| matches!(it, Notice::Warning { .. })).count(), 1);
}

#[test]
fn a_tracker_id_is_sent_back() {
    let answer = AnnounceResponse { tracker_id: Some(b"x".to_vec()), ..response(1800) };
    let mut announcer = Announcer::new(urls("a"), 1);
    announcer.start(Time::ZERO, false);
    let first = announcer.poll_request().unwrap();
    assert_eq!(first.tracker_id, None);
    announcer.handle_answer(Time::ZERO, first.id, Ok(&answer));
    announcer.stop(Time::from_secs(1));
    assert_eq!(announcer.poll_request().unwrap().tracker_id.as_deref(), Some(&b"x"[..]));
}

#[test]
fn an_announcer_without_trackers_rests() {
    let mut announcer = Announcer::new(vec![], 1);
    announcer.start(Time::ZERO, false);
    assert_eq!((announcer.timeout(), announcer.poll_request()), (None, None));
    announcer.stop(Time::ZERO);
    assert!(announcer.is_stopped());
}
