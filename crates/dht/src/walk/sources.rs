//! Who named whom on a walk, and who is in doubt because those that he named do not answer.

use alloc::vec::Vec;
use core::net::IpAddr;

/// A node that named others, as a place in [`Sources`].
pub(super) type Source = usize;

/// Those who named others.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<Record>);

/// A node that named others, and what became of those.
#[derive(Debug)]
struct Record {
    ip: IpAddr,
    /// How many nodes had to be asked one after the other to be told by it.
    depth: u16,
    answered: u16,
    failed: u16,
}

impl Record {
    const fn is_doubtful(&self) -> bool {
        self.failed >= 2 && self.failed > self.answered
    }
}

impl Sources {
    /// The place of the one at this address; a new one stands at `depth`.
    pub(super) fn at(&mut self, ip: IpAddr, depth: impl FnOnce() -> u16) -> Source {
        let known = self.0.iter().position(|record| record.ip == ip);
        known.unwrap_or_else(|| {
            self.0.push(Record { ip, depth: depth(), answered: 0, failed: 0 });
            self.0.len() - 1
        })
    }

    /// How deep those stand that it names; for what nobody named, the first step.
    pub(super) fn depth_behind(&self, source: Option<Source>) -> u16 {
        let record = source.and_then(|source| self.0.get(source));
        record.map_or(0, |record| record.depth).saturating_add(1)
    }

    /// Whether only those who are in doubt have named it; never what nobody had to name.
    pub(super) fn doubt(&self, namers: &[Source]) -> bool {
        let mut records = namers.iter().filter_map(|&namer| self.0.get(namer));
        !namers.is_empty() && records.all(Record::is_doubtful)
    }

    /// A node that these named answered under the name that they gave it, or did not.
    pub(super) fn judge(&mut self, namers: &[Source], answered: bool) {
        for &namer in namers {
            if let Some(record) = self.0.get_mut(namer) {
                let count = if answered { &mut record.answered } else { &mut record.failed };
                *count = count.saturating_add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_the_silent_is_in_doubt_unless_as_many_have_answered() {
        let mut sources = Sources::default();
        let [one, two] = [1, 2].map(|host| sources.at([192, 0, 2, host].into(), || 3));
        assert_eq!(sources.at([192, 0, 2, 1].into(), || 9), one);
        assert_eq!((sources.depth_behind(Some(one)), sources.depth_behind(None)), (4, 1));
        sources.judge(&[one], false);
        assert!(!sources.doubt(&[one]));
        sources.judge(&[one], false);
        assert!(sources.doubt(&[one]) && !sources.doubt(&[one, two]) && !sources.doubt(&[]));
        sources.judge(&[one], true);
        assert!(sources.doubt(&[one]));
        sources.judge(&[one, two], true);
        assert!(!sources.doubt(&[one]));
    }
}
