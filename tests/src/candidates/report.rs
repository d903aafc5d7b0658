//! The comparison as Markdown, for people and for `docs/experiments/`.

use std::fmt::Write as _;

use crate::candidates::{MOVING_RATE, Options, Outcome, Row, Stream};

/// What the columns are.
const COLUMNS: &str = "`ns`: what a key costs beyond reading it, median over test runs of 800 keys. `KiB`: what the \
kernel says that\nits maps take. `keys`: those in the table at the end. `mean error`, `largest error`: how far the \
counts of the first\nhundred listed are from the truth, as a share of it; `exact`: how many are the truth itself. \
`bounds`: whether every\ntruth lies in `count ..= count + error`.\n";

/// All tables.
#[must_use]
pub fn markdown(outcome: &Outcome, options: &Options<'_>) -> String {
    let mut text = String::new();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Writing to a text cannot fail.
    let _ = writeln!(
        text,
        "Linux {}; {} keys, {} draws a stream, seed {}.\n\n{COLUMNS}",
        kernel.trim(),
        options.keys,
        options.draws,
        options.seed
    );
    for stream in &outcome.streams {
        write_stream(&mut text, stream);
    }
    let _ = writeln!(
        text,
        "## Hot keys that change\n\nZipf 0.99 at {MOVING_RATE} draws a second; after {} draws other keys are the hot \
         ones. Of what each table gained\nsince then, the share of right ones among the first ten and hundred.\n",
        options.draws
    );
    let names = outcome.moving.first().map(|look| look.figures.iter().map(|(candidate, _)| candidate.name()));
    let names: Vec<_> = names.into_iter().flatten().map(|name| format!("{name} @10 | @100")).collect();
    let _ =
        writeln!(text, "| draws since | {} |\n|--:|{}", names.join(" | "), "--:|--:|".repeat(names.len()));
    for look in &outcome.moving {
        let cells = look.figures.iter().map(|(_, f)| format!("{} | {}", f.precision_10, f.precision_100));
        let _ = writeln!(text, "| {} | {} |", look.draws, cells.collect::<Vec<_>>().join(" | "));
    }
    text
}

fn write_stream(text: &mut String, stream: &Stream) {
    let _ = writeln!(
        text,
        "## {}\n\n{} different keys came; the hundredth of the hottest came {} times.\n\n\
         | | ns | KiB | keys | precision@10 | @100 | mean error | largest error | exact | bounds |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|---|",
        stream.law, stream.distinct, stream.hundredth
    );
    for Row { candidate, nanoseconds, bytes, listed, figures } in &stream.rows {
        let bounds = match figures.bounds_hold {
            Some(true) => "hold",
            Some(false) => "BROKEN",
            None => "none given",
        };
        let _ = writeln!(
            text,
            "| {} | {nanoseconds:.0} | {} | {listed} | {} | {} | {:.2} % | {:.2} % | {} | {bounds} |",
            candidate.name(),
            bytes >> 10,
            figures.precision_10,
            figures.precision_100,
            100.0 * figures.mean_error,
            100.0 * figures.largest_error,
            figures.exact,
        );
    }
    text.push('\n');
}
