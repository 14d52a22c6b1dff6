//! The session's node of the DHT: datagrams between its sockets and its machine, searches between the machine and who
//! asked for them. The policy is the machine's (`quelea_dht`) and its schedule's.
//!
//! The sockets stand on the session's port, which uTP shares: a datagram that does not begin as a bencoded dictionary
//! is none of ours.

mod desk;
mod pace;
mod routers;
mod sockets;

pub(crate) use desk::Desk;
pub(crate) use sockets::{Refused, Sockets};

use crate::clock::Clock;
use crate::dht::{Standing, Status, Told};
use crate::events::{Event, TorrentId};
use pace::{BATCH, Pace, TICK};
use quelea_dht::table::K;
use quelea_dht::{Announce, Blocks, Config, Dht, Event as Heard, Id, Item, Saved, SearchId, Transmit};
use quelea_net::Binding;
use quelea_time::Time;
use routers::Routers;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait for the node.
pub(crate) const COMMANDS: usize = 256;
/// Searches of people that wait until the network is joined, at most; more end without a word.
const HELD: usize = 256;
/// Searches of people under way, at most; more end without a word.
const SEARCHES: usize = 1_024;
/// With fewer than eight nodes the network counts as joined after this; a small one has no more.
const SETTLING: Duration = Duration::from_secs(2);
/// Where nobody has answered after this, nobody will soon: one unanswered query takes five seconds.
const LONELY: Duration = Duration::from_secs(15);
/// While it joins, the node looks this often whether it has.
const GLANCE: Duration = Duration::from_millis(100);
/// How often searches that nobody waits for are looked for.
const LOOK: Duration = Duration::from_millis(250);
/// What is known is saved so long after joining, and this often.
const FIRST_SAVE: Duration = Duration::from_secs(30);
const SAVE: Duration = Duration::from_secs(300);

/// What the node is asked to do.
pub(crate) enum Command {
    Search {
        goal: Goal,
        told: mpsc::Sender<Told>,
    },
    AddNode(SocketAddr),
    AddRouter(String),
    Block(Blocks),
    Status(oneshot::Sender<Status>),
    Joined(oneshot::Sender<Standing>),
    /// Save what is known, and end.
    Stop(oneshot::Sender<()>),
}

/// What a person looks for.
pub(crate) enum Goal {
    Nodes(Id),
    Peers(Id, Option<Announce>),
    Scrape(Id),
    Fixed(Id),
    Owned { key: [u8; 32], salt: Vec<u8> },
    Store { item: Item, replaces: Option<i64> },
    Samples(Id),
}

/// Keeps what the node knows for the next run; the sender is told when it is kept.
pub(crate) type Save = Box<dyn Fn(Saved, Option<oneshot::Sender<()>>) + Send>;

/// Who hears of a search.
enum Asker {
    Person(mpsc::Sender<Told>),
    /// A torrent, and how many peers it was told.
    Torrent(TorrentId, usize),
}

/// What the node is made from.
pub(crate) struct Setup {
    pub(crate) desk: Arc<Desk>,
    pub(crate) config: Config,
    pub(crate) sockets: Sockets,
    pub(crate) binding: Arc<Binding>,
    pub(crate) bootstrap: Vec<String>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) clock: Clock,
    pub(crate) save: Save,
}

struct Node {
    desk: Arc<Desk>,
    machine: Dht,
    sockets: Sockets,
    routers: Routers,
    clock: Clock,
    save: Save,
    next_save: Time,
    askers: HashMap<SearchId, Asker>,
    held: VecDeque<(Goal, mpsc::Sender<Told>)>,
    waiting: Vec<oneshot::Sender<Standing>>,
    standing: Standing,
    /// When it began to join, and when the first node answered.
    began: Time,
    met: Option<Time>,
    /// When it is looked whether anybody still waits for the searches.
    next_look: Time,
    /// A datagram that its socket does not take yet, and the family of that.
    unsent: Option<(usize, Transmit)>,
    /// While the sockets are muted, when they are read.
    next_read: Option<Time>,
    /// There may be more to read: others on this thread have their turn first.
    more: bool,
    pace: Pace,
}

/// Runs the node until the session ends.
pub(crate) async fn run(setup: Setup) {
    let Setup { desk, mut config, sockets, binding, bootstrap, mut commands, clock, save } = setup;
    let now = clock.now();
    config.families = sockets.families();
    let mut node = Node {
        desk: Arc::clone(&desk),
        machine: Dht::new(now, config),
        sockets,
        routers: Routers::new(binding, now, &bootstrap),
        clock,
        save,
        next_save: now + FIRST_SAVE,
        askers: HashMap::new(),
        held: VecDeque::new(),
        waiting: Vec::new(),
        standing: Standing::Joining,
        began: now,
        met: None,
        next_look: now,
        unsent: None,
        next_read: None,
        more: false,
        pace: Pace::new(now),
    };
    loop {
        let now = clock.now();
        node.settle(now);
        let due = node.due();
        let Node { sockets, routers, unsent, .. } = &mut node;
        let blocked = unsent.as_ref().map(|(family, _)| *family);
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Stop(done)) => {
                    (node.save)(node.machine.saved(), Some(done));
                    return;
                }
                Some(command) => node.obey(clock.now(), command),
                None => return,
            },
            () = sockets.readable() => node.read(),
            () = sockets.writable(blocked) => {}
            () = clock.sleep_until(due) => {}
            () = desk.stir.notified() => {}
            (name, found) = routers.looked_up() => {
                for address in node.routers.handle(clock.now(), &name, found) {
                    node.machine.add_router(clock.now(), address);
                }
            }
        }
        // A socket that is always readable would never let go of the thread.
        if std::mem::take(&mut node.more) {
            tokio::task::yield_now().await;
        }
    }
}

impl Node {
    /// Does all that is due.
    fn settle(&mut self, now: Time) {
        if self.next_read.is_some_and(|at| at <= now) {
            self.read();
        }
        self.machine.handle_timeout(now);
        if self.standing != Standing::Joined || now >= self.next_look {
            self.look_for_the_network(now);
        }
        if self.standing == Standing::Joined {
            while let Some(task) = self.desk.next(now) {
                let search = self.machine.find_peers(now, task.info_hash, Some(task.announce));
                self.askers.insert(search, Asker::Torrent(task.torrent, 0));
            }
        }
        if now >= self.next_look {
            self.next_look = now + LOOK;
            self.forget_who_left();
        }
        self.tell(now);
        self.send();
        if now >= self.next_save && self.standing == Standing::Joined {
            self.next_save = now + SAVE;
            (self.save)(self.machine.saved(), None);
        }
    }

    /// When there is something to do although nothing happens.
    fn due(&self) -> Option<Time> {
        let glance = (self.standing == Standing::Joining).then(|| self.clock.now() + GLANCE);
        let (names, torrents) = match self.standing {
            Standing::Joined => (None, self.desk.timeout()),
            Standing::Joining | Standing::Alone => (self.routers.timeout(), None),
        };
        [self.machine.timeout(), self.next_read, glance, names, torrents].into_iter().flatten().min()
    }

    /// Reads datagrams, and answers each. Where they are to gather, the sockets are muted and read again in a moment.
    fn read(&mut self) {
        let now = self.clock.now();
        let mut count = 0;
        for family in 0..2 {
            let mut read = 0;
            while read < BATCH
                && let Some(received) = self.sockets.receive(family)
            {
                read += 1;
                // Of a port that refuses what we sent the machine hears by silence.
                let Ok((from, datagram)) = received else { continue };
                if datagram.first() != Some(&b'd') {
                    continue;
                }
                if self.standing != Standing::Joined {
                    self.routers.heard(from);
                }
                self.machine.handle_datagram(now, from, datagram);
                self.send();
            }
            count = count.max(read);
        }
        self.more |= count >= BATCH;
        let pause = self.pace.pause(now, count);
        if pause.is_some() {
            self.sockets.mute();
        }
        let refused = pause.is_none() && self.sockets.listen().is_err();
        self.next_read = pause.or(refused.then_some(TICK)).map(|pause| now + pause);
    }

    /// Sends what the machine has, as far as the sockets take it.
    fn send(&mut self) {
        if let Some((family, transmit)) = self.unsent.take()
            && self.sockets.send(transmit.to, &transmit.bytes).is_err()
        {
            self.unsent = Some((family, transmit));
            return;
        }
        while let Some(transmit) = self.machine.poll_transmit() {
            if let Err(family) = self.sockets.send(transmit.to, &transmit.bytes) {
                self.unsent = Some((family, transmit));
                return;
            }
        }
    }

    /// Hands on what the machine found.
    fn tell(&mut self, now: Time) {
        while let Some(heard) = self.machine.poll_event() {
            let (search, told) = match heard {
                Heard::External(address) => {
                    self.desk.external(address);
                    continue;
                }
                Heard::Peers(search, peers) => (search, Told::Peers(peers)),
                Heard::Item(search, item) => (search, Told::Item(item)),
                Heard::Samples(search, node, info_hashes) => (search, Told::Torrents { node, info_hashes }),
                Heard::Done(search, found) => (search, Told::Done(found)),
            };
            let over = matches!(told, Told::Done(_));
            match self.askers.get_mut(&search) {
                // It has room for all that one search tells.
                Some(Asker::Person(person)) => _ = person.try_send(told),
                Some(Asker::Torrent(torrent, peers)) => match told {
                    Told::Peers(found) => {
                        *peers += found.len();
                        self.desk.found(*torrent, found);
                    }
                    Told::Done(found) => self.desk.ended(now, *torrent, *peers, &found),
                    Told::Item(_) | Told::Torrents { .. } => {}
                },
                None => {}
            }
            if over {
                self.askers.remove(&search);
            }
        }
    }

    /// Ends searches that nobody waits for any more.
    fn forget_who_left(&mut self) {
        let left = |asker: &Asker| matches!(asker, Asker::Person(person) if person.is_closed());
        let gone: Vec<SearchId> =
            self.askers.iter().filter(|(_, asker)| left(asker)).map(|(search, _)| *search).collect();
        for search in gone {
            self.askers.remove(&search);
            self.machine.cancel(search);
        }
        self.held.retain(|(_, person)| !person.is_closed());
    }

    fn obey(&mut self, now: Time, command: Command) {
        match command {
            Command::Search { goal, told } if self.standing == Standing::Joining => {
                if self.held.len() < HELD {
                    self.held.push_back((goal, told));
                }
            }
            Command::Search { goal, told } => self.search(now, goal, told),
            Command::AddNode(address) => self.machine.add_node(now, address),
            Command::AddRouter(name) => self.routers.add(now, &name),
            Command::Block(blocks) => self.machine.block(now, blocks),
            Command::Status(reply) => {
                let _ = reply.send(Status {
                    standing: self.standing,
                    stats: self.machine.stats(),
                    routers: self.routers.statuses(),
                    announced: self.desk.announced(),
                });
            }
            Command::Joined(reply) => {
                if self.standing == Standing::Joining {
                    self.waiting.retain(|waiting| !waiting.is_closed());
                    self.waiting.push(reply);
                } else {
                    let _ = reply.send(self.standing);
                }
            }
            Command::Stop(done) => drop(done),
        }
    }

    fn search(&mut self, now: Time, goal: Goal, told: mpsc::Sender<Told>) {
        if self.askers.len() >= SEARCHES {
            return;
        }
        let machine = &mut self.machine;
        let search = match goal {
            Goal::Nodes(target) => machine.find_nodes(now, target),
            Goal::Peers(info_hash, announce) => machine.find_peers(now, info_hash, announce),
            Goal::Scrape(info_hash) => machine.scrape(now, info_hash),
            Goal::Fixed(target) => machine.fixed_item(now, target),
            Goal::Owned { key, salt } => machine.owned_item(now, &key, &salt),
            Goal::Store { item, replaces } => machine.store_item(now, item, replaces),
            Goal::Samples(target) => machine.sample(now, target),
        };
        self.askers.insert(search, Asker::Person(told));
    }

    /// Looks up routers while nobody is known, and sees whether the network is joined.
    fn look_for_the_network(&mut self, now: Time) {
        let nodes: usize = self.machine.nodes().iter().sum();
        match self.standing {
            Standing::Joined if nodes > 0 => return,
            Standing::Joined => {
                (self.standing, self.began, self.met) = (Standing::Joining, now, None);
            }
            Standing::Joining | Standing::Alone => {}
        }
        self.routers.look_up(now);
        if nodes == 0 {
            self.met = None;
            // Without anybody to ask there is nothing to wait for.
            let asked = self.routers.any_asked() || self.machine.stats().queries_out > 0;
            let waited = now.since(self.began) >= LONELY || !asked;
            if self.standing == Standing::Joining && self.routers.all_tried() && waited {
                self.stand(now, Standing::Alone, nodes);
            }
            return;
        }
        let met = *self.met.get_or_insert(now);
        if nodes >= K || now.since(met) >= SETTLING || self.standing == Standing::Alone {
            self.stand(now, Standing::Joined, nodes);
        }
    }

    /// From here on it stands like this; who waited for it goes on.
    fn stand(&mut self, now: Time, standing: Standing, nodes: usize) {
        self.standing = standing;
        if standing == Standing::Joined {
            self.next_save = now + FIRST_SAVE;
            self.desk.network_is_back(now);
            self.desk.say(Event::DhtJoined { nodes });
        } else {
            self.desk.say(Event::DhtAlone { routers: self.routers.statuses() });
        }
        for waiting in self.waiting.drain(..) {
            let _ = waiting.send(standing);
        }
        for (goal, told) in std::mem::take(&mut self.held) {
            self.search(now, goal, told);
        }
    }
}
