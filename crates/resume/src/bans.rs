//! The addresses that the user banned, in the library's database.

use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// `address` is as people write it (RFC 4291, RFC 5952).
pub(super) const TABLE: &str = "CREATE TABLE ban (address TEXT PRIMARY KEY) WITHOUT ROWID;";

/// Addresses whose bans are to be written down (`true`) or taken back.
pub(super) type Changes = BTreeMap<IpAddr, bool>;

/// All of them; what is no address is left out.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Vec<IpAddr>> {
    let mut query = connection.prepare("SELECT address FROM ban")?;
    let rows = query.query_map([], |row| row.get::<_, String>(0))?;
    let all: Vec<String> = rows.collect::<rusqlite::Result<_>>()?;
    Ok(all.iter().filter_map(|address| address.parse().ok()).collect())
}

pub(super) fn write(begun: &Connection, changes: &Changes) -> rusqlite::Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut ban = begun.prepare_cached("INSERT OR IGNORE INTO ban VALUES (?1)")?;
    let mut unban = begun.prepare_cached("DELETE FROM ban WHERE address = ?1")?;
    for (address, &banned) in changes {
        if banned { &mut ban } else { &mut unban }.execute(params![address.to_string()])?;
    }
    Ok(())
}
