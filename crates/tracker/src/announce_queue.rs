//! Which of many torrents' announces begins next, when more are due than can be under way at a time.
//!
//! # Places
//!
//! An announce under way holds a place until it has an answer, and one to a dead tracker holds it until its time is
//! out. So that dead trackers hold up nothing but each other, places are given away by these rules:
//!
//! - A torrent that leaves ([`Contact::Leaving`]) comes first. Some places are for leaving alone, and every other that is
//!   free is for it too.
//! - Trackers that answered last time ([`Contact::Working`]) come first and may hold every place, those that are asked
//!   for the first time ([`Contact::First`]) come next, those that failed last time ([`Contact::Again`]) come last.
//!   Together the last two leave a quarter of the places free. The last alone, which hold their places longest, have a
//!   quarter of them at the most.
//! - A torrent takes another place only while it holds fewer than are free for that kind of contact. One torrent alone
//!   gets half of them, two a third each, and a newcomer always finds one.
//! - Torrents that hold equally few take turns.
//! - A server holds half of all places at the most. One that was out of reach twice in a row is probed by one announce at
//!   a time; the others wait for the probe, and share its failure.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

use crate::announcer::{Contact, Request, RequestId};
use crate::failure::Failure;
use crate::response::AnnounceResponse;
use crate::url::{Host, Scheme, TrackerUrl};

/// This many failures to reach a server in a row, and it counts as out of reach.
const OUT_OF_REACH: u32 = 2;
/// The number of servers that are remembered as out of reach while nothing waits for them.
const MAX_IDLE_SERVERS: usize = 4096;

/// Announces of many torrents that wait for a place or hold one; `K` names a torrent.
///
/// The driver hands in what an [`Announcer`](crate::Announcer) wants asked ([`push`](Self::push)), carries what
/// [`poll_launch`](Self::poll_launch) gives until it is `None`, and reports each end to [`ended`](Self::ended). It has a deadline for
/// each announce, since nothing here has a clock.
#[derive(Debug)]
pub struct AnnounceQueue<K> {
    places: usize,
    /// The places that only torrents which leave may hold.
    leaving_places: usize,
    /// Announces under way, by kind of contact.
    under_way: [usize; Contact::ALL.len()],
    announces: BTreeMap<(K, RequestId), Announce>,
    torrents: BTreeMap<K, Torrent>,
    /// Torrents with announces that wait, by kind of contact: the one that holds the fewest places is first, and among
    /// equals the one whose turn was longest ago.
    waiting: [BTreeSet<(usize, u64, K)>; Contact::ALL.len()],
    servers: BTreeMap<Server, Reach<K>>,
    next_turn: u64,
    /// The number of announces launched so far.
    launched: u64,
}

/// The part of a tracker's URL that says which machine and program is asked.
type Server = (Scheme, Host, u16);

#[derive(Debug)]
struct Announce {
    /// `None` once it is under way.
    request: Option<Request>,
    contact: Contact,
    server: Server,
    /// Its number among those launched; meaningless before.
    number: u64,
}

#[derive(Debug, Default)]
struct Torrent {
    /// Places that it holds, those of leaving aside.
    under_way: usize,
    lines: [Line; Contact::ALL.len()],
}

/// The announces of one torrent and one kind of contact that wait.
#[derive(Debug, Default)]
struct Line {
    /// May name some that were cancelled.
    ids: VecDeque<RequestId>,
    /// When the torrent's turn came last; its place in [`AnnounceQueue::waiting`].
    turn: u64,
}

/// How it goes with a server.
#[derive(Debug)]
struct Reach<K> {
    under_way: usize,
    /// Announces launched since it last answered that did not reach it.
    failures: u32,
    /// The number of the next announce when it last answered.
    answered: u64,
    /// What waits for the announces under way; may name some that were cancelled.
    parked: VecDeque<(K, RequestId)>,
}

impl<K> Default for Reach<K> {
    fn default() -> Self {
        Self { under_way: 0, failures: 0, answered: 0, parked: VecDeque::new() }
    }
}

impl<K> Reach<K> {
    const fn is_out_of_reach(&self) -> bool {
        self.failures >= OUT_OF_REACH
    }
}

impl<K: Ord + Copy> AnnounceQueue<K> {
    /// A queue that lets `places` announces be under way at a time, and `leaving_places` more while torrents leave.
    pub fn new(places: usize, leaving_places: usize) -> Self {
        Self {
            places,
            leaving_places,
            under_way: Default::default(),
            announces: BTreeMap::new(),
            torrents: BTreeMap::new(),
            waiting: Default::default(),
            servers: BTreeMap::new(),
            next_turn: 0,
            launched: 0,
        }
    }

    /// Takes in an announce that is due. No two of a torrent have the same id.
    pub fn push(&mut self, torrent: K, request: Request) {
        let (id, contact) = (request.id, request.contact);
        let server = server(&request.url);
        self.announces.insert((torrent, id), Announce { request: Some(request), contact, server, number: 0 });
        self.line_up(torrent, id, contact, false);
    }

    /// The next announce to carry. It holds a place until [`ended`](Self::ended) or [`cancel`](Self::cancel).
    pub fn poll_launch(&mut self) -> Option<(K, Request)> {
        Contact::ALL.into_iter().find_map(|contact| self.launch(contact))
    }

    /// The announces of a torrent that wait or are under way.
    pub fn of_torrent(&self, torrent: K) -> impl Iterator<Item = (RequestId, Contact)> {
        let all = (torrent, RequestId::MIN)..=(torrent, RequestId::MAX);
        self.announces.range(all).map(|((_, id), announce)| (*id, announce.contact))
    }

    /// An announce under way has come to its end. Returns the announces that waited for the same server and end with the
    /// same failure, because it is theirs as well.
    #[must_use]
    pub fn ended(
        &mut self,
        torrent: K,
        id: RequestId,
        answer: Result<&AnnounceResponse, &Failure>,
    ) -> Vec<(K, RequestId)> {
        let Some(announce) = self.announces.remove(&(torrent, id)) else { return Vec::new() };
        let reach = self.servers.entry(announce.server.clone()).or_default();
        match answer {
            Err(failure) if failure.is_unreached() => {
                reach.failures += u32::from(announce.number >= reach.answered);
            }
            Ok(_) | Err(_) => {
                reach.failures = 0;
                reach.answered = self.launched;
            }
        }
        let mut alike = Vec::new();
        if reach.is_out_of_reach() {
            // A server that ignores one torrent may answer for others: those that it answered are asked all the same.
            for name in core::mem::take(&mut reach.parked) {
                match self.announces.get(&name) {
                    Some(waiting) if waiting.contact == Contact::Working => reach.parked.push_back(name),
                    Some(_) => {
                        self.announces.remove(&name);
                        alike.push(name);
                    }
                    None => {}
                }
            }
        }
        self.release(torrent, &announce);
        alike
    }

    /// Forgets an announce that is not wanted any more. Returns whether it was under way.
    pub fn cancel(&mut self, torrent: K, id: RequestId) -> bool {
        let Some(announce) = self.announces.remove(&(torrent, id)) else { return false };
        self.release(torrent, &announce);
        announce.request.is_none()
    }

    fn launch(&mut self, contact: Contact) -> Option<(K, Request)> {
        loop {
            let free = self.free(contact);
            let &(held, turn, torrent) = self.waiting[contact.at()].first()?;
            let share = if contact == Contact::Leaving { usize::MAX } else { free };
            if free == 0 || held >= share {
                return None;
            }
            let line = &mut self.torrents.get_mut(&torrent)?.lines[contact.at()];
            let id = line.ids.pop_front();
            self.waiting[contact.at()].remove(&(held, turn, torrent));
            if line.ids.is_empty() {
                line.ids.shrink_to_fit();
            } else {
                line.turn = self.next_turn;
                self.waiting[contact.at()].insert((held, self.next_turn, torrent));
                self.next_turn += 1;
            }
            let Some(announce) = id.and_then(|id| self.announces.get_mut(&(torrent, id))) else {
                self.forget_idle_torrent(torrent);
                continue;
            };
            if contact != Contact::Leaving {
                let most = self.places.div_ceil(2);
                let reach = self.servers.entry(announce.server.clone()).or_default();
                let probed = reach.is_out_of_reach() && contact != Contact::Working;
                if reach.under_way >= if probed { 1 } else { most } {
                    reach.parked.extend(id.map(|id| (torrent, id)));
                    self.forget_idle_torrent(torrent);
                    continue;
                }
                reach.under_way += 1;
            }
            let request = announce.request.take()?;
            announce.number = self.launched;
            self.launched += 1;
            self.under_way[contact.at()] += 1;
            if contact != Contact::Leaving {
                self.set_held(torrent, |held| held + 1);
            }
            return Some((torrent, request));
        }
    }

    /// The places that are free for a kind of contact.
    fn free(&self, contact: Contact) -> usize {
        let [leaving, working, first, again] = self.under_way;
        let all = (self.places + self.leaving_places).saturating_sub(leaving + working + first + again);
        let others = self.places.saturating_sub(working + first + again).min(all);
        match contact {
            Contact::Leaving => all,
            Contact::Working => others,
            Contact::First => (self.places - self.places / 4).saturating_sub(first + again).min(others),
            Contact::Again => self.places.div_ceil(4).saturating_sub(again).min(others),
        }
    }

    /// Puts an announce at the end of its torrent's line, or back to its front.
    fn line_up(&mut self, torrent: K, id: RequestId, contact: Contact, to_front: bool) {
        let entry = self.torrents.entry(torrent).or_default();
        let line = &mut entry.lines[contact.at()];
        if line.ids.is_empty() {
            line.turn = self.next_turn;
            self.waiting[contact.at()].insert((entry.under_way, self.next_turn, torrent));
            self.next_turn += 1;
        }
        if to_front {
            line.ids.push_front(id);
        } else {
            line.ids.push_back(id);
        }
    }

    /// Gives back the place of an announce, if it held one, and lets others have their turn at its server.
    fn release(&mut self, torrent: K, announce: &Announce) {
        let held = announce.request.is_none();
        if held {
            let under_way = &mut self.under_way[announce.contact.at()];
            *under_way = under_way.saturating_sub(1);
        }
        if held && announce.contact != Contact::Leaving {
            self.set_held(torrent, |held| held.saturating_sub(1));
            if let Some(reach) = self.servers.get_mut(&announce.server) {
                reach.under_way = reach.under_way.saturating_sub(1);
            }
        }
        self.unpark(&announce.server);
        self.forget_idle_torrent(torrent);
        self.forget_idle_server(&announce.server);
    }

    /// What waits for a server returns to the lines of its torrents, as far as there is room at the server.
    fn unpark(&mut self, server: &Server) {
        let most = self.places.div_ceil(2);
        let mut room = match self.servers.get(server) {
            Some(reach) if reach.is_out_of_reach() => 1,
            Some(reach) => most.saturating_sub(reach.under_way),
            None => 0,
        };
        while room > 0
            && let Some((torrent, id)) =
                self.servers.get_mut(server).and_then(|reach| reach.parked.pop_front())
        {
            if let Some(contact) = self.announces.get(&(torrent, id)).map(|announce| announce.contact) {
                self.line_up(torrent, id, contact, true);
                room -= 1;
            }
        }
    }

    /// A torrent holds another number of places.
    fn set_held(&mut self, torrent: K, change: impl Fn(usize) -> usize) {
        let Some(entry) = self.torrents.get_mut(&torrent) else { return };
        let before = entry.under_way;
        entry.under_way = change(before);
        for (line, waiting) in entry.lines.iter().zip(&mut self.waiting) {
            if waiting.remove(&(before, line.turn, torrent)) {
                waiting.insert((entry.under_way, line.turn, torrent));
            }
        }
    }

    fn forget_idle_torrent(&mut self, torrent: K) {
        let idle =
            |entry: &Torrent| entry.under_way == 0 && entry.lines.iter().all(|line| line.ids.is_empty());
        if self.torrents.get(&torrent).is_some_and(idle) {
            self.torrents.remove(&torrent);
        }
    }

    /// A server that nobody waits for is remembered only while it is out of reach, and only as long as there is room.
    fn forget_idle_server(&mut self, server: &Server) {
        let idle = |reach: &Reach<K>| reach.under_way == 0 && reach.parked.is_empty();
        if self.servers.get(server).is_some_and(|reach| idle(reach) && reach.failures == 0) {
            self.servers.remove(server);
        }
        if self.servers.len() > MAX_IDLE_SERVERS {
            self.servers.retain(|_, reach| !idle(reach));
        }
    }
}

fn server(url: &TrackerUrl) -> Server {
    (url.scheme(), url.host().clone(), url.port())
}
