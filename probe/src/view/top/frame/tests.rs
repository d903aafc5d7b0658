//! Tests whole frames line by line.

use protocol::probe_api::{self, Compare, StoreMeasure, StoreMitigation, StoreNode};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::widgets::Paragraph;

use super::super::model::{Quantiles, Reading};
use super::*;

fn row(shard_id: u32, rate: f64) -> Row {
    let ms = |p50, p99| Quantiles { p50: Some(p50), p99: Some(p99) };
    Row {
        shard_id,
        kernel_rate: Some(rate),
        app_rate: Some(rate + 1.0),
        bytes_rate: Some(rate * 314.0),
        kernel_ms: ms(0.096, 4.608),
        app_ms: ms(0.1, 5.0),
        open: Some(4),
        resent_rate: Some(0.0),
        verdict: ShardVerdict::Agrees,
        node: None,
        cause: None,
        keys: Some(vec![(format!("normal-user-{shard_id}"), rate / 20.0), ("x".to_owned(), 0.5)]),
    }
}

fn model() -> Model {
    let mut model = Model::new("http://127.0.0.1:9010".to_owned());
    model.span = Some(1.0);
    let mut hot = row(0, 48_211.4);
    hot.keys = Some(vec![
        ("celebrity-user-kardashian".to_owned(), 48_000.0),
        ("ключ с пробелом и очень длинным именем".to_owned(), 12.25),
        ("line\nbreak".to_owned(), 9.0),
        ("one too many for eighty columns".to_owned(), 1.0),
    ]);
    let mut differs = row(2, 800.0);
    differs.verdict = ShardVerdict::Differs;
    differs.cause = Some(
        "the shard counted 3 requests that the kernel did not see: check for another address".to_owned(),
    );
    let mut unread = row(3, 7.0);
    (unread.app_rate, unread.app_ms, unread.keys) = (None, Quantiles::default(), None);
    unread.verdict = ShardVerdict::None;
    unread.cause = Some("the shard cannot be read: no connection".to_owned());
    let mut bypassed = row(1, 912.0);
    bypassed.verdict = ShardVerdict::Bypassed;
    bypassed.cause = Some("37 requests reached the shard without the gateway".to_owned());
    bypassed.open = None;
    model.rows = vec![hot, bypassed, differs, unread];
    model
}

fn drawn(model: &Model, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| {
            let area = frame.area();
            frame.render_widget(Paragraph::new(lines(model, area.width, area.height)), area);
        })
        .unwrap();
    terminal
}

fn text(terminal: &Terminal<TestBackend>) -> Vec<String> {
    let buffer = terminal.backend().buffer();
    let row =
        |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..buffer.area.height).map(row).collect()
}

#[test]
fn a_frame_of_eighty_by_twenty_four() {
    let terminal = drawn(&model(), 80, 24);
    let expected = "\
probe top   http://127.0.0.1:9010   over 1.0 s                           q quits

           requests/s                p50 ms        p99 ms   conns   segs
shard  kernel     app bytes/s kernel    app kernel    app   open resent  verdict
    0   48211   48212     15M   0.10   0.10   4.61   5.00      4      0  agrees
    1     912     913    286k   0.10   0.10   4.61   5.00      -      0  bypass
    2     800     801    251k   0.10   0.10   4.61   5.00      4      0  DIFFERS
    3     7.0       -    2.2k   0.10      -   4.61      -      4      0  none
  all   49930       -     16M                                  -      0

shard 1: 37 requests reached the shard without the gateway
shard 2: the shard counted 3 requests that the kernel did not see: check for
    another address
shard 3: the shard cannot be read: no connection

shard  top keys, requests/s
    0  celebrity-user-kardashian 48000  ключ с пробелом и очень длинным… 12
    1  normal-user-1 46  x 0.5
    2  normal-user-2 40  x 0.5
    3  this probe does not count keys



";
    let expected: Vec<&str> = expected.split('\n').take(24).collect();
    assert_eq!(text(&terminal), expected);
    let verdict = |y: u16| terminal.backend().buffer()[(73, y)].fg;
    assert_eq!((verdict(4), verdict(5), verdict(6)), (Color::Green, Color::Yellow, Color::Red));
}

#[test]
fn a_probe_that_does_not_answer_is_named_over_the_last_figures() {
    let mut model = model();
    model.lost("no answer from the probe at http://127.0.0.1:9010: no connection".to_owned());
    let terminal = drawn(&model, 80, 24);
    let lines = text(&terminal);
    assert_eq!(lines[1], "no answer from the probe at http://127.0.0.1:9010: no connection; trying again");
    assert_eq!(terminal.backend().buffer()[(0, 1)].fg, Color::Red);
    assert!(lines[4].starts_with("    0   48211"), "{lines:?}");
}

#[test]
fn both_verdicts_are_told_in_words() {
    let mut model = model();
    let verdict = |sentence: &str| {
        let verdict = serde_json::json!({"state": "balanced", "requests": 0, "window_seconds": 10.0, "sentence": sentence});
        serde_json::from_value(verdict).unwrap()
    };
    let long = "Shard 0 is critical: it gets 3.28 times its fair share (82.1 % of 1300 requests in 10 s).";
    model.verdicts =
        Verdicts { kernel: verdict(long), gateway: verdict("The load is balanced."), ..Verdicts::default() };
    let found = text(&drawn(&model, 80, 24));
    assert_eq!(
        found[10..13],
        [
            "kernel: Shard 0 is critical: it gets 3.28 times its fair share (82.1 % of 1300",
            "    requests in 10 s).",
            "gateway: The load is balanced.",
        ]
    );
    // The following lines still fit.
    assert!(found.iter().any(|line| line.starts_with("shard 1: 37 requests")), "{found:?}");
    model.verdicts.agree = Some(false);
    model.verdicts.cause = Some("the cause is unknown".to_owned());
    let terminal = drawn(&model, 80, 24);
    assert_eq!(text(&terminal)[13], "verdicts differ: the cause is unknown");
    assert_eq!(terminal.backend().buffer()[(0, 13)].fg, Color::Red);
    assert!(plain(&model, 80).contains("\ngateway: The load is balanced.\n"));
}

#[test]
fn before_two_readings_there_are_no_figures() {
    let mut model = Model::new("attached for this command".to_owned());
    assert_eq!(
        text(&drawn(&model, 80, 24))[..3],
        [
            "probe top   attached for this command                                    q quits",
            "measuring …",
            "           requests/s                p50 ms        p99 ms   conns   segs",
        ]
    );
    model.rows = vec![Row { shard_id: 0, ..Row::default() }];
    assert_eq!(
        text(&drawn(&model, 80, 24))[4],
        "    0       -       -       -      -      -      -      -      -      -  none"
    );
}

#[test]
fn more_shards_than_rows_show_the_most_loaded_and_what_disagrees() {
    let mut model = model();
    model.rows = (0..64).map(|id| row(id, f64::from(1_000 - id))).collect();
    model.rows[63].verdict = ShardVerdict::Differs;
    model.rows[63].cause = Some("2 requests reached the shard's socket".to_owned());
    let lines = text(&drawn(&model, 80, 24));
    assert!(
        lines[12].starts_with("    8     992") && lines[13] == "      and 55 less loaded shards",
        "{lines:?}"
    );
    assert_eq!(lines[16], "shard 63: 2 requests reached the shard's socket");
    assert_eq!(lines[18], "shard  top keys, requests/s");
    assert!(lines[23].starts_with("    4  normal-user-4"), "{lines:?}");
}

#[test]
fn small_terminals_do_not_break_it() {
    for (width, height) in [(1, 1), (10, 3), (40, 8), (200, 60)] {
        drawn(&model(), width, height);
    }
}

#[test]
fn text_has_no_trailing_spaces_and_no_keys_to_press() {
    let text = plain(&model(), 80);
    assert!(text.lines().all(|line| line.trim_end() == line && Span::raw(line).width() <= 80), "{text}");
    assert!(text.starts_with("probe top   http://127.0.0.1:9010   over 1.0 s\n\n"), "{text}");
    assert!(text.ends_with("    3  this probe does not count keys\n"), "{text}");
}

#[test]
fn figures_fit_their_columns() {
    for (number, expected) in
        [(0.0, "0"), (0.04, "0.0"), (9.94, "9.9"), (9.96, "10"), (99_999.0, "99999"), (123_456.0, "123k")]
    {
        assert_eq!(count(Some(number)), expected);
    }
    for (number, expected) in
        [(0.0, "0"), (999.0, "999"), (1_000.0, "1.0k"), (99_900.0, "100k"), (2.5e6, "2.5M"), (3e9, "3.0G")]
    {
        assert_eq!(bytes(Some(number)), expected);
    }
    for (number, expected) in [(0.064, "0.06"), (9.999, "10.0"), (66.0, "66.0"), (67_000.0, "67000")] {
        assert_eq!(milliseconds(Some(number)), expected);
    }
}

#[test]
fn strings_of_another_process_cannot_forge_a_line() {
    let mut model = model();
    let hostile = "\r\u{1b}[2Kall 4 shards agree\n\u{9b}1m\u{202e}\u{200b}";
    let sentence =
        serde_json::json!({"state": "hot", "requests": 0, "window_seconds": 10.0, "sentence": hostile});
    model.verdicts.kernel = serde_json::from_value(sentence).unwrap();
    (model.verdicts.agree, model.verdicts.cause) = (Some(false), Some(hostile.to_owned()));
    model.rows[2].cause = Some(hostile.to_owned());
    model.rows[0].keys = Some(vec![("k\u{2066}\n\u{1b}".to_owned(), 9.0)]);
    model.lost(hostile.to_owned());
    let shown = "\\r\\u{1b}[2Kall 4 shards agree\\n\\u{9b}1m\\u{202e}\\u{200b}";
    let text = plain(&model, 80);
    for line in [
        &format!("\n{shown}; trying again\n"),
        &format!("\nkernel: {shown}\n"),
        &format!("\nverdicts differ: {shown}\n"),
        &format!("\nshard 2: {shown}\n"),
        "  k\\u{2066}\\n\\u{1b} 9.0\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text:?}");
    }
}

#[test]
fn a_store_is_shown_with_its_answer_nodes_and_help() {
    let node = StoreNode {
        address: "127.0.0.1:7000".to_owned(),
        role: "primary".to_owned(),
        slots: vec!["0-5460".to_owned()],
        family_latency_ms: [("string", 0.25), ("scripting", 12.0)]
            .map(|(family, p99)| {
                (family.to_owned(), probe_api::Quantiles { p99: Some(p99), ..Default::default() })
            })
            .into(),
        ..StoreNode::default()
    };
    let help =
        StoreMitigation { mitigation: StoreMeasure::SplitKey, hottest_share: 0.35, note: String::new() };
    let store = StoreAnswer {
        result: StoreResult::Hot,
        sentence: "Shard 0 is critical.\u{1b}[2J".to_owned(),
        nodes: vec![node],
        mitigations: vec![help],
        ..StoreAnswer::default()
    };
    let mut model = Model::new("http://a".to_owned());
    model.observe(Reading {
        compare: Compare { store: Some(store), ..Compare::default() },
        ..Reading::default()
    });
    let text = plain(&model, 80);
    assert!(text.contains("Shard 0 is critical.\\u{1b}[2J\n"), "{text}");
    assert!(text.contains("    0 127.0.0.1:7000 primary 0-5460\n"), "{text}");
    assert!(text.contains("p99 by family: shard 0 scripting 12.0 ms, shard 0 string 0.25 ms\n"), "{text}");
    assert!(text.contains("split the key: hottest node 35.0 %\n"), "{text}");
}

#[test]
fn nodes_have_their_shards_and_a_shard_that_is_not_watched_its_reason() {
    let mut model = model();
    model.rows[0].node = Some("node-a".to_owned());
    model.rows[1].node = Some("node-a".to_owned());
    model.rows[3].node = Some("node-b\n".to_owned());
    model.rows[2] = Row {
        shard_id: 2,
        cause: Some("some addresses of the shard are not watched: no response within 2 s".to_owned()),
        ..Row::default()
    };
    let text = plain(&model, 80);
    assert!(text.contains("\nnodes node-a: 0 1   node-b\\n: 3\n"), "{text}");
    assert!(
        text.contains("\n    2       -       -       -      -      -      -      -      -      -  none\n"),
        "{text}"
    );
    assert!(text.contains("shard 2: some addresses of the shard are not watched"), "{text}");
}
