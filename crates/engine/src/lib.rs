//! The Quelea BitTorrent engine: a session, its torrents and their events.
