//! Comparing addresses as the checker does: schemes and hosts in lower case, an empty path is `/`.

use std::collections::BTreeSet;

pub(crate) fn norm(url: &str) -> String {
    let url = url.trim();
    let Some((scheme, rest)) = url.split_once(':') else { return format!(":///{url}") };
    let rest = rest.split('#').next().unwrap_or_default();
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let (host, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let host = if host.contains('@') { host.to_owned() } else { host.to_lowercase() };
    let path = if path.is_empty() { "/" } else { path };
    let query = query.filter(|query| !query.is_empty()).map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}://{host}{path}{query}", scheme.to_lowercase())
}

/// Tiers of http, https and udp trackers; repeats and empty tiers do not count, nor does the order in a tier.
pub(crate) fn tiers<'a>(tiers: impl IntoIterator<Item = Vec<&'a str>>) -> Vec<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut keep = |url: &str| {
        let url = norm(url);
        let scheme = url.split(':').next().unwrap_or_default();
        (["http", "https", "udp"].contains(&scheme) && seen.insert(url.clone())).then_some(url)
    };
    let tiers = tiers.into_iter().map(|tier| {
        let mut tier: Vec<String> = tier.into_iter().filter_map(&mut keep).collect();
        tier.sort();
        tier
    });
    tiers.filter(|tier| !tier.is_empty()).collect()
}

/// Web seeds without their escapes and slashes at the end.
pub(crate) fn seeds<'a>(urls: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    let urls = urls.into_iter().map(|url| unescape(&norm(url)).trim_end_matches('/').to_owned());
    urls.filter(|url| url.starts_with("http:") || url.starts_with("https:")).collect()
}

fn unescape(url: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = url;
    while let Some(at) = rest.find('%') {
        bytes.extend(&rest.as_bytes()[..at]);
        let byte = rest.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(b'%'));
        rest = &rest[at + if byte.is_some() { 3 } else { 1 }..];
    }
    bytes.extend(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}
