//! Whatever happens to a list, in whatever order, it keeps its rules: sequences of random steps against a small model.

use super::*;
use proptest::prelude::*;
use std::string::String;

/// An event that a peer list handles.
#[derive(Debug, Clone)]
enum Step {
    Add(u8, Source),
    DialCandidate,
    Connect(u8),
    Fail(u8),
    Part(u8, Parting),
    Accept(u8),
    Listen(u8, u8),
    Seed(u8, bool),
    Seeding(bool),
    Ban(u8),
    Exclude(u8),
    External(u8),
    Wait(u32),
    WaitUntilDue,
}

fn steps() -> impl Strategy<Value = Step> {
    let sources = prop::sample::select(
        &[
            Source::Resume,
            Source::Pex,
            Source::Dht,
            Source::Incoming,
            Source::Lsd,
            Source::Tracker,
            Source::Manual,
        ][..],
    );
    let partings = prop::sample::select(
        &[Parting::Lost, Parting::LostWithMetadata, Parting::Unneeded, Parting::Faulty][..],
    );
    let who = 0u8..40;
    prop_oneof![
        8 => (who.clone(), sources).prop_map(|(who, source)| Step::Add(who, source)),
        8 => Just(Step::DialCandidate),
        4 => who.clone().prop_map(Step::Connect),
        4 => who.clone().prop_map(Step::Fail),
        4 => (who.clone(), partings).prop_map(|(who, how)| Step::Part(who, how)),
        2 => who.clone().prop_map(Step::Accept),
        2 => (who.clone(), who.clone()).prop_map(|(remote, port)| Step::Listen(remote, port)),
        1 => (who.clone(), any::<bool>()).prop_map(|(who, seed)| Step::Seed(who, seed)),
        1 => any::<bool>().prop_map(Step::Seeding),
        1 => who.clone().prop_map(Step::Ban),
        1 => who.clone().prop_map(Step::Exclude),
        1 => who.prop_map(Step::External),
        4 => (0u32..400).prop_map(Step::Wait),
        4 => Just(Step::WaitUntilDue),
    ]
}

/// Ten IP addresses of both families with four ports each.
fn who(number: u8) -> SocketAddr {
    let (ip, port) = (number / 4, u16::from(number % 4) + 1);
    if ip.is_multiple_of(2) {
        SocketAddr::from(([198, 51, 100, ip], port))
    } else {
        SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(ip)), port))
    }
}

/// The few facts from which follows whom one must not dial.
#[derive(Default)]
struct Model {
    busy: BTreeSet<SocketAddr>,
    banned: BTreeSet<IpAddr>,
    own: BTreeSet<SocketAddr>,
    tried: BTreeMap<SocketAddr, Time>,
}

fn run(steps: &[Step], seed: u64) -> (PeerList, String) {
    let mut list = PeerList::new(12, seed);
    let mut model = Model::default();
    let mut now = Time::ZERO;
    let mut trace = String::new();
    for step in steps {
        match *step {
            Step::Add(number, source) => {
                let taken = list.add(now, who(number), source);
                if source == Source::Manual {
                    // The user's word counts at once.
                    model.tried.remove(&who(number));
                }
                if model.own.contains(&who(number)) {
                    assert_eq!(taken, Err(Refusal::Own));
                } else if model.banned.contains(&who(number).ip()) {
                    assert_eq!(taken, Err(Refusal::Banned));
                }
            }
            Step::DialCandidate => {
                if let Some(peer) = list.candidate(now) {
                    list.dialled(now, peer);
                    model.busy.insert(peer);
                    let last = model.tried.insert(peer, now);
                    assert!(
                        last.is_none_or(|last| now.since(last) >= Duration::from_secs(5)),
                        "{peer} is hammered"
                    );
                }
            }
            Step::Connect(number) => {
                if model.busy.contains(&who(number)) {
                    list.connected(now, who(number));
                }
            }
            Step::Fail(number) => {
                list.failed(now, who(number));
                if list.entries.get(&who(number)).is_none_or(|entry| entry.place == Place::Idle) {
                    model.busy.remove(&who(number));
                }
            }
            Step::Part(number, how) => {
                let known = list.incoming.get(&who(number)).copied();
                list.disconnected(now, who(number), how);
                model.busy.remove(&known.unwrap_or(Some(who(number))).unwrap_or(who(number)));
            }
            Step::Accept(number) => {
                if !list.incoming.contains_key(&who(number)) {
                    list.accepted(now, who(number));
                    model.busy.extend(list.incoming[&who(number)]);
                }
            }
            Step::Listen(remote, port) => {
                if list.listens_on(now, who(remote), u16::from(port)) == Ok(true) {
                    model.busy.extend(list.incoming.get(&who(remote)).copied().flatten());
                }
            }
            Step::Seed(number, seed) => list.set_seed(who(number), seed),
            Step::Seeding(seeding) => list.set_seeding(seeding),
            Step::Ban(number) => {
                list.ban(who(number).ip());
                model.banned.insert(who(number).ip());
            }
            Step::Exclude(number) => {
                list.exclude(who(number));
                model.own.insert(who(number));
            }
            Step::External(number) => {
                list.set_external(who(number));
                model.own.insert(who(number));
            }
            Step::Wait(secs) => now += Duration::from_secs(u64::from(secs)),
            Step::WaitUntilDue => {
                if let Some(due) = list.next_due(now).filter(|due| *due > now) {
                    assert_eq!(list.candidate(due - Duration::from_nanos(1)), None);
                    assert!(list.candidate(due).is_some());
                    now = due;
                }
            }
        }
        // The oldest of too many addresses of our own is forgotten.
        model.own.retain(|own| list.own.contains(own));
        // What was given up for something better and comes again is a stranger.
        model.tried.retain(|peer, _| list.entries.contains_key(peer));
        audit(&list);
        let candidate = list.candidate(now);
        assert_eq!(candidate.is_some(), list.next_due(now) == Some(now));
        if let Some(peer) = candidate {
            assert!(!model.busy.contains(&peer), "{peer} has a connection");
            assert!(!model.banned.contains(&peer.ip()), "{peer} is banned");
            assert!(!model.own.contains(&peer), "{peer} is our own");
            assert!(!(list.seeding && list.entries[&peer].seed), "{peer} is a seed");
        }
        trace.push_str(&std::format!("{candidate:?} {:?}\n", list.next_due(now)));
    }
    (list, trace)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_happens_no_forbidden_address_is_a_candidate(steps in prop::collection::vec(steps(), 0..200), seed: u64) {
        let (_, trace) = run(&steps, seed);
        let (_, again) = run(&steps, seed);
        prop_assert_eq!(trace, again, "the same calls give the same answers");
    }
}
