//! Renders a frame as lines, for at least 80 × 24.

use std::collections::{BTreeMap, BTreeSet};

use protocol::escape::escaped;
use protocol::probe_api::{StoreAnswer, StoreNode, StoreResult, Verdicts};
use protocol::verdict::Verdict;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::model::{Model, Row, ShardVerdict};

/// Number of fixed lines: title, problem, two rows of headings, and the sum.
const FIXED: usize = 5;

/// Maximum width of a key.
const KEY_WIDTH: usize = 32;

/// Number of families of commands that are shown.
const SLOWEST: usize = 3;

const HEADINGS: [&str; 2] = [
    "           requests/s                p50 ms        p99 ms   conns   segs",
    "shard  kernel     app bytes/s kernel    app kernel    app   open resent  verdict",
];

/// A frame for a terminal of this size.
pub(super) fn lines(model: &Model, width: u16, height: u16) -> Vec<Line<'static>> {
    let (width, height) = (usize::from(width), usize::from(height));
    let mut lines = vec![title(model, "q quits", width)];
    lines.extend(body(model, width, height));
    lines
}

/// A frame as text of any height.
pub(super) fn plain(model: &Model, width: u16) -> String {
    let width = usize::from(width);
    let mut lines = vec![title(model, "", width)];
    lines.extend(body(model, width, usize::MAX));
    let text = lines.iter().map(|line| {
        let line: String = line.spans.iter().map(|span| span.content.as_ref()).collect();
        line.trim_end().to_owned() + "\n"
    });
    text.collect()
}

fn title(model: &Model, right: &str, width: usize) -> Line<'static> {
    let over = model.span.map(|span| format!("   over {span:.1} s")).unwrap_or_default();
    let left = format!("probe top   {}{over}", model.origin);
    let gap = width.saturating_sub(left.chars().count() + right.len()).max(1);
    Line::styled(format!("{left}{:gap$}{right}", ""), Modifier::BOLD)
}

fn body(model: &Model, width: usize, height: usize) -> Vec<Line<'static>> {
    let free = height.saturating_sub(FIXED);
    let problem = model.problem.as_ref().map(|problem| format!("{problem}; trying again"));
    let waiting = model.span.is_none().then(|| "measuring …".to_owned());
    let mut lines = vec![match (problem, waiting) {
        (Some(problem), _) => Line::styled(clip(&problem, width), Color::Red),
        (None, Some(waiting)) => Line::styled(waiting, Color::Yellow),
        (None, None) => Line::default(),
    }];
    lines.extend(HEADINGS.map(|heading| Line::styled(heading, Modifier::DIM)));
    let shown = model.rows.len().min((free / 2).max(1));
    let (top, rest) = model.rows.split_at(shown);
    lines.extend(top.iter().map(shard_line));
    if !rest.is_empty() {
        lines.push(Line::raw(format!("      and {} less loaded shards", rest.len())));
    }
    lines.push(sum_line(&model.rows));
    lines.extend(nodes_line(&model.rows, width));

    let mut left = height.saturating_sub(lines.len() + 1);
    let verdicts = verdicts(model, width);
    if !verdicts.is_empty() && left > 1 {
        lines.push(Line::default());
        lines.extend(verdicts.into_iter().take((left - left / 3).max(1)));
    }
    left = height.saturating_sub(lines.len() + 1);
    let notes: Vec<_> = model.rows.iter().flat_map(|row| notes(row, width)).collect();
    if !notes.is_empty() && left > 1 {
        lines.push(Line::default());
        lines.extend(notes.into_iter().take((left / 2).max(1)));
    }
    left = height.saturating_sub(lines.len() + 1);
    if left > 2 {
        lines.push(Line::default());
        lines.push(Line::styled("shard  top keys, requests/s", Modifier::DIM));
        lines.extend(top.iter().map(|row| keys_line(row, width)).take(left - 2));
    }
    lines
}

fn shard_line(row: &Row) -> Line<'static> {
    let figures = format!(
        "{:>5} {:>7} {:>7} {:>7} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}  ",
        row.shard_id,
        count(row.kernel_rate),
        count(row.app_rate),
        bytes(row.bytes_rate),
        milliseconds(row.kernel_ms.p50),
        milliseconds(row.app_ms.p50),
        milliseconds(row.kernel_ms.p99),
        milliseconds(row.app_ms.p99),
        row.open.map_or_else(nothing, |open| open.to_string()),
        count(row.resent_rate),
    );
    let (word, style) = verdict(row.verdict);
    Line::from(vec![Span::raw(figures), Span::styled(word, style)])
}

fn sum_line(rows: &[Row]) -> Line<'static> {
    let sum = |of: fn(&Row) -> Option<f64>| rows.iter().map(of).sum::<Option<f64>>();
    let open: Option<u64> = rows.iter().map(|row| row.open).sum();
    let some = |number: String| if rows.is_empty() { nothing() } else { number };
    let line = format!(
        "{:>5} {:>7} {:>7} {:>7} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6}",
        "all",
        some(count(sum(|row| row.kernel_rate))),
        some(count(sum(|row| row.app_rate))),
        some(bytes(sum(|row| row.bytes_rate))),
        "",
        "",
        "",
        "",
        some(open.map_or_else(nothing, |open| open.to_string())),
        some(count(sum(|row| row.resent_rate))),
    );
    Line::styled(line, Modifier::BOLD)
}

/// Which shards each node has. `None` if no node's name is known.
fn nodes_line(rows: &[Row], width: usize) -> Option<Line<'static>> {
    let mut nodes = BTreeMap::<&str, BTreeSet<u32>>::new();
    for row in rows {
        if let Some(node) = &row.node {
            nodes.entry(node).or_default().insert(row.shard_id);
        }
    }
    let shards = |shards: &BTreeSet<u32>| {
        let shards: Vec<String> = shards.iter().map(ToString::to_string).collect();
        shards.join(" ")
    };
    let nodes: Vec<String> = nodes.iter().map(|(node, of)| format!("{node}: {}", shards(of))).collect();
    let text = format!("nodes {}", nodes.join("   "));
    (!nodes.is_empty()).then(|| Line::styled(clip(&text, width), Modifier::DIM))
}

/// The problem of a shard, wrapped.
fn notes(row: &Row, width: usize) -> Vec<Line<'static>> {
    if row.verdict == ShardVerdict::Agrees {
        return Vec::new();
    }
    let Some(cause) = &row.cause else { return Vec::new() };
    wrapped(&format!("shard {}: {cause}", row.shard_id), verdict(row.verdict).1, width)
}

/// Both witnesses' verdicts, and whether they agree.
fn verdicts(model: &Model, width: usize) -> Vec<Line<'static>> {
    if let Some(store) = &model.store {
        return store_lines(store, width);
    }
    let Verdicts { kernel, gateway, agree, cause, .. } = &model.verdicts;
    let lines_of = |by: &str, verdict: &Option<Verdict<String>>| {
        let verdict = verdict
            .as_ref()
            .map(|verdict| wrapped(&format!("{by}: {}", verdict.sentence), Style::default(), width));
        verdict.unwrap_or_default()
    };
    let mut lines = lines_of("kernel", kernel);
    lines.extend(lines_of("gateway", gateway));
    if let (Some(false), Some(cause)) = (agree, cause) {
        lines.extend(wrapped(&format!("verdicts differ: {cause}"), verdict(ShardVerdict::Differs).1, width));
    }
    lines
}

/// The answer about a store, its nodes, and what would help.
fn store_lines(store: &StoreAnswer, width: usize) -> Vec<Line<'static>> {
    let style = if store.result == StoreResult::Hot { Style::from(Color::Red) } else { Style::default() };
    let mut lines = wrapped(&store.sentence, style, width);
    lines.extend(store.nodes.iter().map(|node| {
        let of = node.primary.map(|primary| format!(" of {primary}")).unwrap_or_default();
        let slots = node.slots.join(",");
        let text = format!("{:>5} {} {}{of} {slots}", node.shard_id, node.address, node.role);
        Line::styled(clip(text.trim_end(), width), Modifier::DIM)
    }));
    lines.extend(slowest(store).map(|text| Line::raw(clip(&text, width))));
    for one in &store.mitigations {
        let text = format!("{}: hottest node {:.1} %", one.mitigation.words(), 100.0 * one.hottest_share);
        lines.push(Line::raw(clip(&text, width)));
    }
    lines
}

/// The families of commands with the largest p99 since the probe attached.
fn slowest(store: &StoreAnswer) -> Option<String> {
    let of_node = |node: &StoreNode| {
        let id = node.shard_id;
        let families = node.family_latency_ms.iter();
        families.filter_map(move |(family, took)| Some((took.p99?, id, family.clone()))).collect::<Vec<_>>()
    };
    let mut all: Vec<(f64, u32, String)> = store.nodes.iter().flat_map(of_node).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let shown = all.iter().take(SLOWEST);
    let shown = shown.map(|(p99, id, family)| format!("shard {id} {family} {} ms", milliseconds(Some(*p99))));
    let shown = shown.collect::<Vec<_>>().join(", ");
    (!shown.is_empty()).then(|| format!("p99 by family: {shown}"))
}

/// Wraps and escapes a text from another process.
fn wrapped(text: &str, style: Style, width: usize) -> Vec<Line<'static>> {
    let mut lines: Vec<String> = Vec::new();
    for word in escaped(text).split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("    {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines.into_iter().map(|line| Line::styled(line, style)).collect()
}

fn keys_line(row: &Row, width: usize) -> Line<'static> {
    let mut line = format!("{:>5} ", row.shard_id);
    match &row.keys {
        None => line += " this probe does not count keys",
        Some(keys) if keys.is_empty() => line += " -",
        Some(keys) => {
            for (key, rate) in keys {
                let next = format!(" {} {} ", clip(key, KEY_WIDTH), count(Some(*rate)));
                if Span::raw(line.as_str()).width() + Span::raw(next.as_str()).width() > width {
                    break;
                }
                line += &next;
            }
        }
    }
    Line::raw(line)
}

fn verdict(verdict: ShardVerdict) -> (&'static str, Style) {
    match verdict {
        ShardVerdict::Agrees => ("agrees", Color::Green.into()),
        ShardVerdict::Differs => ("DIFFERS", Style::from(Color::Red).add_modifier(Modifier::BOLD)),
        ShardVerdict::Bypassed => ("bypass", Color::Yellow.into()),
        ShardVerdict::None => ("none", Color::Yellow.into()),
    }
}

/// Escapes a text from another process and shortens it to `width` columns. A shortened text ends in `…`.
fn clip(text: &str, width: usize) -> String {
    let mut clipped = escaped(text);
    if Span::raw(clipped.as_str()).width() <= width {
        return clipped;
    }
    while Span::raw(clipped.as_str()).width() >= width && clipped.pop().is_some() {}
    clipped + "…"
}

fn nothing() -> String {
    "-".to_owned()
}

/// A count in at most six characters, up to 99,999 thousand.
fn count(number: Option<f64>) -> String {
    match number {
        None => nothing(),
        Some(0.0) => "0".to_owned(),
        Some(number) if number < 9.95 => format!("{number:.1}"),
        Some(number) if number < 99_999.5 => format!("{number:.0}"),
        Some(number) => format!("{:.0}k", number / 1e3),
    }
}

/// Bytes in units of powers of 1,000.
fn bytes(number: Option<f64>) -> String {
    let Some(mut number) = number else { return nothing() };
    for unit in ["", "k", "M"] {
        if number < 9.95 && !unit.is_empty() {
            return format!("{number:.1}{unit}");
        }
        if number < 999.5 {
            return format!("{number:.0}{unit}");
        }
        number /= 1e3;
    }
    format!("{number:.1}G")
}

fn milliseconds(number: Option<f64>) -> String {
    match number {
        None => nothing(),
        Some(number) if number < 9.995 => format!("{number:.2}"),
        Some(number) if number < 99.95 => format!("{number:.1}"),
        Some(number) => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests;
