//! A torrent's figures, or the sum of several, as one line: a bar for a terminal of any width, words for a log.
//!
//! Pure: the same figures and width give the same line. Drawing it is the job of `report`.

use crate::display;
use crate::figures::{Figures, Phase};
use std::time::Duration;

/// Whether a line may carry colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Coloured,
}

impl Paint {
    /// Colours where the terminal has them and its user wants them.
    pub(crate) fn of_screen() -> Self {
        if console::colors_enabled_stderr() { Self::Coloured } else { Self::Plain }
    }
}

/// Columns of the shortest bar that still tells something, and of the longest that is pleasant.
const BAR: (usize, usize) = (8, 40);
/// Columns that a name gets beside a bar, and at most.
const NAME: (usize, usize) = (12, 48);
/// Columns that a name gets before rate and time are left out.
const SHORT_NAME: usize = 5;
/// ` [` and `] 43.2%` around a bar.
const FRAME: usize = 9;
/// ` 43.2%` behind a name.
const PERCENT: usize = 6;
/// Fields up to this weight give way to a bar; the others are worth more than it.
const BELOW_BAR: u8 = 2;

/// A line each of at most `width` columns for a terminal: name, bar, percent, and what fits of the rest, below each
/// other. On a narrow terminal the bar gives way to the rate and the time.
pub(crate) fn lines(each: &[Figures], width: usize, paint: Paint) -> Vec<String> {
    let named: Vec<Figures> = each
        .iter()
        .map(|figures| Figures { name: display::steady(&figures.name), ..figures.clone() })
        .collect();
    let widths = named.iter().map(|figures| display::columns(&figures.name));
    let name_wish = widths.max().unwrap_or(0).min(NAME.1);
    let fields: Vec<Vec<Field>> = named.iter().map(|figures| fitting(figures, name_wish, width)).collect();
    let widest = fields.iter().map(|fields| taken(fields)).max().unwrap_or(0);
    let rest = width.saturating_sub(widest);
    named
        .iter()
        .zip(&fields)
        .map(|(figures, fields)| compose(figures, fields, rest, name_wish, paint))
        .collect()
}

/// The fields that leave enough of `width` for a name that would take `name_wish` columns and for a bar, or for the
/// percentage alone where only rate and time are left.
fn fitting(figures: &Figures, name_wish: usize, width: usize) -> Vec<Field> {
    let (with_bar, without) = match figures.phase {
        Phase::Seeding => (0, 0),
        Phase::Checking { .. }
        | Phase::Hashing
        | Phase::Queued
        | Phase::Metadata
        | Phase::Downloading
        | Phase::Failed => (FRAME + BAR.0, PERCENT),
    };
    let mut fields = fields(figures);
    while let Some(least) = fields.iter().map(|field| field.weight).min() {
        let room = if least > BELOW_BAR {
            name_wish.min(SHORT_NAME) + without
        } else {
            name_wish.min(NAME.0) + with_bar
        };
        if room + taken(&fields) <= width {
            break;
        }
        fields.retain(|field| field.weight != least);
    }
    fields
}

/// Name and bar in `rest` columns, and the fields.
fn compose(figures: &Figures, fields: &[Field], rest: usize, name_wish: usize, paint: Paint) -> String {
    let mut out = if figures.phase == Phase::Seeding {
        display::fit(&figures.name, rest.min(name_wish))
    } else {
        name_and_bar(figures, rest, name_wish, paint)
    };
    for field in fields {
        out.push_str("  ");
        out.push_str(&field.text);
    }
    out.truncate(out.trim_end().len());
    out
}

fn taken(fields: &[Field]) -> usize {
    fields.iter().map(|field| 2 + display::columns(&field.text)).sum()
}

/// `name [━━━━───] 43.2%` in at most `width` columns; without the bar where there is no room for one.
fn name_and_bar(figures: &Figures, width: usize, name_wish: usize, paint: Paint) -> String {
    let (part, whole) = figures.progress();
    // What is received but not verified may be wrong: it never counts as the last bit.
    let whole_is_there = match figures.phase {
        Phase::Metadata => false,
        Phase::Downloading => figures.have >= figures.wanted,
        Phase::Hashing | Phase::Checking { .. } | Phase::Queued | Phase::Seeding | Phase::Failed => true,
    };
    let part = if whole_is_there { part } else { part.min(whole.saturating_sub(1)) };
    let percent = format!("{:>5}", display::percent(part, whole));
    let spare = width.saturating_sub(FRAME);
    if spare < name_wish.min(NAME.0) + BAR.0 {
        let Some(room) = width.checked_sub(1 + percent.len()) else {
            return display::cut(&figures.name, width);
        };
        return format!("{} {percent}", display::fit(&figures.name, room.min(name_wish)));
    }
    // The name gets half, or what the longest bar leaves.
    let share = (spare / 2).max(NAME.0).max(spare.saturating_sub(BAR.1));
    let name = display::fit(&figures.name, name_wish.min(share));
    let columns = (spare - name_wish.min(share)).min(BAR.1);
    format!("{name} {} {percent}", bar(part, whole, columns, paint))
}

struct Field {
    text: String,
    /// What has the smallest weight is left out first when the line is too long.
    weight: u8,
}

fn fields(figures: &Figures) -> Vec<Field> {
    // Widths are steady, so that nothing dances while figures change.
    let peers = format!("{:<13}", format!("{}/{} peers", figures.connected, figures.known));
    let down = format!("↓ {:>10}", display::rate(figures.download_rate));
    let up = format!("↑ {:>10}", display::rate(figures.upload_rate));
    let field = |text: String, weight: u8| Field { text, weight };
    match figures.phase {
        Phase::Checking { .. } => vec![field("checking what is there".to_owned(), 5)],
        Phase::Hashing => {
            let rate = format!("{:>10}", display::rate(figures.download_rate));
            vec![field(rate, 5), field(format!("ETA {:<7}", eta(figures)), 3)]
        }
        Phase::Failed => vec![field("paused".to_owned(), 5)],
        Phase::Queued => vec![field("waiting for its turn".to_owned(), 5)],
        Phase::Metadata => {
            let fetching = || format!("metadata: {}", fetching(figures));
            let words = figures.waiting.map_or_else(fetching, |waiting| waiting.to_string());
            vec![field(words, 5), field(peers, 2)]
        }
        Phase::Seeding => vec![
            field("seeding".to_owned(), 5),
            field(up, 4),
            field(format!("{} sent", display::bytes(figures.uploaded)), 2),
            field(format!("ratio {}", figures.ratio()), 1),
            field(peers, 3),
        ],
        Phase::Downloading => {
            let mut fields = Vec::new();
            if let Some(waiting) = figures.waiting {
                fields.push(field(waiting.to_string(), 5));
            } else {
                fields.push(field(down, 5));
            }
            if figures.uploaded > 0 {
                fields.push(field(up, 1));
            }
            if figures.waiting.is_none() {
                fields.push(field(format!("ETA {:<7}", eta(figures)), 3));
            }
            fields.push(field(peers, 2));
            fields
        }
    }
}

/// What of the metadata is here.
fn fetching(figures: &Figures) -> String {
    if figures.wanted == 0 {
        return "asking peers".to_owned();
    }
    let (part, whole) = (display::bytes(figures.received), display::bytes(figures.wanted));
    format!("{part} of {whole}")
}

fn eta(figures: &Figures) -> String {
    figures.eta.map_or_else(|| "–".to_owned(), display::span)
}

/// `[━━━━╸───]`: filled by half columns.
fn bar(part: u64, whole: u64, width: usize, paint: Paint) -> String {
    let halves = width * 2;
    let filled = if part >= whole {
        halves
    } else {
        usize::try_from(u128::from(part) * halves as u128 / u128::from(whole.max(1)))
            .unwrap_or(0)
            .min(halves - 1)
    };
    let mut done = "━".repeat(filled / 2);
    if filled % 2 == 1 {
        done.push('╸');
    }
    let left = "─".repeat(width - filled.div_ceil(2));
    match paint {
        Paint::Plain => format!("[{done}{left}]"),
        Paint::Coloured => {
            let done = console::style(done).green().force_styling(true);
            let left = console::style(left).dim().force_styling(true);
            format!("[{done}{left}]")
        }
    }
}

/// One line of words for a log: what a bar would show.
pub(crate) fn words(figures: &Figures) -> String {
    let peers = format!("{} of {}", figures.connected, display::count(figures.known, "peer", "peers"));
    let rates =
        format!("{} down, {} up", display::rate(figures.download_rate), display::rate(figures.upload_rate));
    match figures.phase {
        Phase::Checking { done, all } => format!("checking what is there: {done} of {all} pieces"),
        Phase::Hashing => {
            let done = display::percent(figures.have, figures.wanted);
            format!("hashed {done} of {}", display::bytes(figures.wanted))
        }
        Phase::Failed => "paused".to_owned(),
        Phase::Queued => "waiting for its turn".to_owned(),
        Phase::Metadata => {
            let words = figures.waiting.map_or_else(|| fetching(figures), |waiting| waiting.to_string());
            format!("fetching metadata: {words}, {peers}")
        }
        Phase::Seeding => format!(
            "seeding: {} up, {} sent, ratio {}, {peers}",
            display::rate(figures.upload_rate),
            display::bytes(figures.uploaded),
            figures.ratio()
        ),
        Phase::Downloading => {
            let amount = format!(
                "{} of {} ({})",
                display::bytes(figures.have),
                display::bytes(figures.wanted),
                display::percent(figures.have, figures.wanted)
            );
            match (figures.waiting, figures.eta) {
                (Some(waiting), _) => format!("{amount}, {waiting}, {peers}"),
                (None, Some(eta)) => format!("{amount}, {rates}, {} left, {peers}", display::span(eta)),
                (None, None) => format!("{amount}, {rates}, {peers}"),
            }
        }
    }
}

/// What is said at the end of a download that took `time`.
pub(crate) fn summary(figures: &Figures, time: Duration) -> String {
    let mut text = format!("complete, {}", display::bytes(figures.wanted));
    if figures.downloaded == 0 {
        text.push_str(", all of which was there already");
        return text;
    }
    if figures.downloaded < figures.wanted {
        text.push_str(&format!(", of which {} came", display::bytes(figures.downloaded)));
    }
    let seconds = time.as_secs_f64();
    let took = if seconds < 10.0 { format!("{seconds:.1}s") } else { display::span(time) };
    let mean = figures.downloaded as f64 / seconds.max(0.001);
    text.push_str(&format!(" in {took} at {}", display::rate(mean as u64)));
    if figures.uploaded > 0 {
        text.push_str(&format!(
            ", {} uploaded (ratio {})",
            display::bytes(figures.uploaded),
            figures.ratio()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use console::measure_text_width;
    use proptest::prelude::*;
    use quelea::{FetchProgress, Waiting};

    fn figures() -> Figures {
        Figures {
            name: "debian-12.5.0-amd64-netinst.iso".to_owned(),
            phase: Phase::Downloading,
            waiting: None,
            wanted: 1000 << 20,
            have: 400 << 20,
            received: 432 << 20,
            downloaded: 432 << 20,
            uploaded: 5 << 20,
            download_rate: 47_290_777,
            upload_rate: 1_258_291,
            eta: Some(Duration::from_secs(192)),
            connected: 12,
            known: 340,
        }
    }

    fn plain(figures: &Figures, width: usize) -> String {
        lines(std::slice::from_ref(figures), width, Paint::Plain).remove(0)
    }

    #[test]
    fn a_wide_terminal_shows_everything() {
        assert_eq!(
            plain(&figures(), 120),
            "debian-12.5.0-amd64-netins… [━━━━━━━━━━━━────────────────] 43.2%  ↓ 45.1 MiB/s  ↑  1.2 MiB/s  ETA 3m 12s   12/340 peers"
        );
    }

    #[test]
    fn lines_of_several_torrents_stand_below_each_other() {
        let short = Figures { name: "a".to_owned(), received: 100 << 20, have: 100 << 20, ..figures() };
        let each = [short, figures(), Figures::sum(&[figures(), figures()])];
        assert_eq!(
            lines(&each, 90, Paint::Plain),
            [
                "a            [━────────────] 10.0%  ↓ 45.1 MiB/s  ↑  1.2 MiB/s  ETA 3m 12s   12/340 peers",
                "debian-12.5… [━━━━━╸───────] 43.2%  ↓ 45.1 MiB/s  ↑  1.2 MiB/s  ETA 3m 12s   12/340 peers",
                "2 torrents   [━━━━━╸───────] 43.2%  ↓ 90.2 MiB/s  ↑  2.4 MiB/s  ETA 12s      24/680 peers",
            ]
        );
    }

    #[test]
    fn a_sum_adds_up_and_goes_on_while_one_does() {
        let done = Figures { phase: Phase::Seeding, have: 1000 << 20, received: 1000 << 20, ..figures() };
        let sum = Figures::sum(&[figures(), done.clone()]);
        assert_eq!((sum.wanted, sum.have, sum.connected), (2000 << 20, 1400 << 20, 24));
        assert_eq!(sum.phase, Phase::Downloading);
        assert_eq!(Figures::sum(&[done.clone(), done]).phase, Phase::Seeding);
        assert_eq!(Figures::sum(&[]).eta, None);
    }

    #[test]
    fn a_line_of_eighty_columns_leaves_out_what_matters_least() {
        assert_eq!(
            plain(&figures(), 80),
            "debian-12.5.0… [━━━━━━─────────] 43.2%  ↓ 45.1 MiB/s  ETA 3m 12s   12/340 peers"
        );
    }

    #[test]
    fn a_link_shows_what_of_its_metadata_is_here() {
        let mut progress = FetchProgress::default();
        let shown = |progress: &FetchProgress| {
            let figures = Figures::of_fetch("a\x1b link", progress);
            (plain(&figures, 80), words(&figures))
        };
        let (line, said) = shown(&progress);
        assert!(line.contains("]  0.0%  "), "{line}");
        assert!(said.ends_with(", 0 of 0 peers"), "{said}");
        progress.peers_known = 3;
        progress.peers_connected = 2;
        assert!(shown(&progress).0.contains("metadata: asking peers"));
        progress.size = Some(40_000);
        progress.received = 40_000;
        let (line, said) = shown(&progress);
        assert!(line.contains("] 99.9%  metadata: 39.1 KiB of 39.1 KiB"), "{line}");
        assert_eq!(said, "fetching metadata: 39.1 KiB of 39.1 KiB, 2 of 3 peers");
    }

    #[test]
    fn a_narrow_terminal_still_shows_name_and_percent() {
        assert_eq!(plain(&figures(), 20), "debian-12.5.0… 43.2%");
        assert_eq!(plain(&figures(), 3), "de…");
        assert_eq!(plain(&figures(), 0), "");
    }

    #[test]
    fn a_narrow_terminal_drops_the_bar_before_rate_and_time() {
        assert_eq!(plain(&figures(), 39), "debia… 43.2%  ↓ 45.1 MiB/s  ETA 3m 12s");
        assert_eq!(plain(&figures(), 50), "debian-12.5.0-am… 43.2%  ↓ 45.1 MiB/s  ETA 3m 12s");
        assert_eq!(plain(&figures(), 30), "debian-12… 43.2%  ↓ 45.1 MiB/s");
        let seed = Figures { phase: Phase::Seeding, have: 1000 << 20, ..figures() };
        assert_eq!(plain(&seed, 39), "debian-12.5.0-a…  seeding  ↑  1.2 MiB/s");
    }

    #[test]
    fn joined_emoji_do_not_shift_what_stands_below_each_other() {
        let joined = Figures { name: "👩\u{200d}🚀 in space".to_owned(), ..figures() };
        let each = lines(&[joined, figures()], 90, Paint::Plain);
        assert!(each[0].starts_with("👩 in space  [━"), "{}", each[0]);
        assert_eq!(display::columns(&each[0]), display::columns(&each[1]));
    }

    #[test]
    fn a_line_says_what_it_waits_for() {
        let mut figures = figures();
        figures.waiting = Some(Waiting::Trackers);
        figures.uploaded = 0;
        let line = plain(&figures, 80);
        assert!(line.ends_with("43.2%  waiting for trackers  12/340 peers"), "{line}");
    }

    #[test]
    fn hundred_percent_is_said_when_the_last_piece_is_verified() {
        let mut figures = figures();
        figures.received = figures.wanted;
        assert!(plain(&figures, 80).contains("99.9%"));
        figures.have = figures.wanted;
        assert!(plain(&figures, 80).contains(" 100%"));
    }

    #[test]
    fn words_say_the_same_without_a_bar() {
        let mut figures = figures();
        assert_eq!(
            words(&figures),
            "400 MiB of 1000 MiB (40.0%), 45.1 MiB/s down, 1.2 MiB/s up, 3m 12s left, 12 of 340 peers"
        );
        figures.waiting = Some(Waiting::Peers);
        assert_eq!(words(&figures), "400 MiB of 1000 MiB (40.0%), waiting for peers, 12 of 340 peers");
        figures.phase = Phase::Checking { done: 3, all: 8 };
        assert_eq!(words(&figures), "checking what is there: 3 of 8 pieces");
    }

    #[test]
    fn a_seed_shows_what_it_uploads() {
        let mut figures = figures();
        figures.phase = Phase::Seeding;
        figures.have = figures.wanted;
        assert_eq!(
            plain(&figures, 100),
            "debian-12.5.0-amd64-netinst.iso  seeding  ↑  1.2 MiB/s  5 MiB sent  ratio 0.01  12/340 peers"
        );
        assert_eq!(words(&figures), "seeding: 1.2 MiB/s up, 5 MiB sent, ratio 0.01, 12 of 340 peers");
    }

    #[test]
    fn the_summary_tells_bytes_time_rate_and_ratio() {
        let mut figures = figures();
        figures.downloaded = 1001 << 20;
        figures.have = figures.wanted;
        assert_eq!(
            summary(&figures, Duration::from_secs(20)),
            "complete, 1000 MiB in 20s at 50.0 MiB/s, 5 MiB uploaded (ratio 0.01)"
        );
        figures.uploaded = 0;
        figures.downloaded = 100 << 20;
        assert_eq!(
            summary(&figures, Duration::from_millis(2_500)),
            "complete, 1000 MiB, of which 100 MiB came in 2.5s at 40 MiB/s"
        );
        figures.downloaded = 0;
        assert_eq!(summary(&figures, Duration::ZERO), "complete, 1000 MiB, all of which was there already");
    }

    fn any_figures() -> impl Strategy<Value = Figures> {
        let phase = prop_oneof![
            (0u32..9, 0u32..9).prop_map(|(done, all)| Phase::Checking { done, all }),
            Just(Phase::Downloading),
            Just(Phase::Seeding),
            Just(Phase::Failed),
        ];
        let waiting = prop::option::of(prop_oneof![
            Just(Waiting::Trackers),
            Just(Waiting::Pieces),
            Just(Waiting::Disk)
        ]);
        let eta = prop::option::of(any::<u64>().prop_map(Duration::from_secs));
        let numbers = prop::collection::vec(prop_oneof![0u64..3000, any::<u64>()], 7);
        ("\\PC{0,60}", phase, waiting, eta, numbers, 0usize..100_000, 0usize..100_000).prop_map(
            |(name, phase, waiting, eta, n, connected, known)| Figures {
                name: display::clean(&name),
                phase,
                waiting,
                wanted: n[0],
                have: n[1],
                received: n[2],
                downloaded: n[3],
                uploaded: n[4],
                download_rate: n[5],
                upload_rate: n[6],
                eta,
                connected,
                known,
            },
        )
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_its_terminal(figures in any_figures(), width in 0usize..220) {
            let text = plain(&figures, width);
            prop_assert!(measure_text_width(&text) <= width, "{:?}", text);
            prop_assert!(!text.contains('\n'));
        }

        #[test]
        fn several_lines_are_no_wider_either(each in prop::collection::vec(any_figures(), 0..5), width in 0usize..220) {
            for line in lines(&each, width, Paint::Plain) {
                prop_assert!(measure_text_width(&line) <= width, "{:?}", line);
            }
        }

        #[test]
        fn colours_take_no_columns(figures in any_figures(), width in 40usize..200) {
            let coloured = lines(std::slice::from_ref(&figures), width, Paint::Coloured);
            prop_assert_eq!(console::strip_ansi_codes(&coloured[0]), plain(&figures, width));
        }

        #[test]
        fn the_percentage_is_never_left_out_of_a_line_with_room(figures in any_figures(), width in 40usize..200) {
            prop_assume!(figures.phase != Phase::Seeding);
            prop_assert!(plain(&figures, width).contains('%'));
        }

        #[test]
        fn words_never_panic(figures in any_figures()) {
            prop_assert!(!words(&figures).is_empty());
            prop_assert!(!summary(&figures, Duration::from_millis(1)).is_empty());
        }
    }
}
