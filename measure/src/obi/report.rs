//! The page with all results.

use std::fmt::Write as _;

use super::results::{Cost, Count, Memory, Results, Setting};
use super::traffic::Traffic;
use super::watcher::Watcher;
use crate::experiment::report::File;
use crate::gateway_bench::versions::commit;
use crate::machine::{date, describe};
use crate::statistics::Quartiles;
use crate::table::{Table, capital, thousands};

const COUNT_HEADINGS: [&str; 5] = ["traffic", "sent", "the shard's own count", "probe", "OBI"];
const COST_HEADINGS: [&str; 5] =
    ["traffic", "watcher", "eBPF, ns a request", "CPU of the machine, µs a request", "requests/s"];
const MEMORY_HEADINGS: [&str; 4] =
    ["watcher", "memory of the process, MiB", "memory of its kernel maps, MiB", "kernel programs"];

/// Returns the page for `docs/benchmarks/`.
#[must_use]
pub fn page(results: &Results, setting: &Setting) -> File {
    let day = date("+%F");
    let obi = results.obi_version.as_deref().unwrap_or("of an unknown version");
    let commit = commit().unwrap_or_else(|| "unknown commit".to_owned());
    let Results { rounds, requests, .. } = results;
    let mut page = format!(
        "# {}: The probe beside OpenTelemetry's eBPF instrumentation (OBI)\n\n\
         **Question.** Do both count every request of a service that was not changed? What does a request cost with each?\n\n\
         **Answer.** {}\n\n\
         **Command.** `cargo xtask bench obi --obi PROGRAM --rounds {rounds} --requests {requests}`\n\n\
         {}; {commit}; OBI {obi}.\n\n",
        day,
        answer(results),
        place(results, setting),
    );
    if let Setting::Emulated(_) = setting {
        page += EMULATION;
    }
    let _ = write!(
        page,
        "## What both count\n\n{}\n\
         Both watch the same requests at the same time. *Sent* are requests that the client has sent and whose answer it \
         has read. Data requests only, without those of the watchers.\n\n\
         ## What both cost\n\n{}\n\
         Rounds: {rounds}, each of {} requests; median (minimum … maximum). A round has its own order of the watchers, and \
         each runs alone. *eBPF* is the time of all kernel programs that the process holds, by the kernel's own \
         statistics, which are on in all runs. *CPU* is the busy time of the whole machine, with client, shard and \
         watcher, until 1.5 s after the last answer.\n\n\
         ## Memory\n\n{}\n\
         At the end of a round, as proportional set size. Median (minimum … maximum).\n\n",
        counts(&results.counts).markdown(),
        costs(&results.costs).markdown(),
        thousands(u64::from(*requests)),
        memory(&results.memory).markdown(),
    );
    if !results.failures.is_empty() {
        page += "## Not measured\n\n";
        results.failures.iter().for_each(|failure| page.push_str(&format!("- {failure}\n")));
        page.push('\n');
    }
    page += METHOD;
    File { name: format!("{day}-obi.md"), content: page }
}

const EMULATION: &str = "**Only the counts are exact.** An emulator ran every instruction of kernel, shards, client and \
watchers, on two CPUs without hardware virtualization. It makes all times longer, and not by one factor: the trap of a \
kprobe costs more than other instructions. So the times show an order of magnitude between the watchers. They are no \
statement about hardware.\n\n";

const METHOD: &str = "## Method\n\nFour shards without their capacity model, each traffic on one of them. The probe runs \
as `cargo xtask up` starts it for root: on the shards' cgroup, so the client's packets run none of its programs. OBI has \
its defaults, the shards' ports, and Prometheus' metrics of applications. Its count is the sum of \
`http_server_request_duration_seconds_count` at the shard's port, on all routes except `/stats` and `/ready`. A count \
is read once it has all requests, or has not changed for 8 s.\n\n\
OBI also has what the probe has not: other protocols, traces, TLS, clients' requests, and services without a list of \
addresses. The probe has keys, the comparison with the application's own count, and its verdicts.\n";

fn place(results: &Results, setting: &Setting) -> String {
    match setting {
        Setting::Here => results.machine.clone(),
        Setting::Emulated(kernel) => {
            format!("{}; emulated by QEMU ({kernel}). The machine itself: {}", results.machine, describe())
        }
    }
}

fn answer(results: &Results) -> String {
    let all = results.counts.len();
    let whole = |of: fn(&Count) -> Option<u64>| {
        results.counts.iter().filter(|count| of(count) == Some(count.sent)).count()
    };
    let mut answer = format!(
        "The probe counts exactly the requests sent in {} of {all} kinds of traffic, OBI in {}.",
        whole(|count| count.probe),
        whole(|count| count.obi),
    );
    for count in &results.counts {
        for (watcher, counted) in [(Watcher::Probe, count.probe), (Watcher::Obi, count.obi)] {
            if let Some(counted) = counted.filter(|counted| *counted != count.sent) {
                let (sent, counted) = (thousands(count.sent), thousands(counted));
                let _ = write!(
                    answer,
                    " {}: {} counts {counted} of {sent}.",
                    capital(&count.traffic),
                    watcher.name()
                );
            }
        }
    }
    // Time for requests that are not counted is no cost of counting.
    let is_whole = |traffic: &String| {
        let mut counts = results.counts.iter().filter(|count| count.traffic == *traffic);
        counts.any(|count| count.probe == Some(count.sent) && count.obi == Some(count.sent))
    };
    let ratios = Traffic::COSTED.map(Traffic::name).into_iter().filter(is_whole).filter_map(|traffic| {
        let median = |watcher| {
            spread(&results.costs, watcher, &traffic, |cost| cost.program_nanoseconds).map(|of| of.median)
        };
        let probe = median(Watcher::Probe).filter(|nanoseconds| *nanoseconds > 0.0)?;
        Some(median(Watcher::Obi)? / probe)
    });
    if let Some(of) = Quartiles::of(ratios) {
        let _ = write!(
            answer,
            " Where both count all requests, OBI's kernel programs take {:.0} to {:.0} times the time of the probe's.",
            of.min, of.max
        );
    }
    answer
}

fn counts(counts: &[Count]) -> Table<'_> {
    let rows = counts.iter().map(|count| {
        let of = |counted: Option<u64>| match counted {
            None => "did not run".to_owned(),
            Some(counted) if counted == count.sent => thousands(counted),
            Some(counted) => format!("**{}**", thousands(counted)),
        };
        let shard = of(Some(count.shard));
        vec![count.traffic.clone(), thousands(count.sent), shard, of(count.probe), of(count.obi)]
    });
    Table { headings: &COUNT_HEADINGS, numbers: 1..5, rows: rows.collect() }
}

fn costs(costs: &[Cost]) -> Table<'_> {
    let rows = Traffic::COSTED.map(Traffic::name).into_iter().flat_map(|traffic| {
        Watcher::ALL.map(|watcher| {
            let of = |figure: fn(&Cost) -> f64| shown(spread(costs, watcher, &traffic, figure), whole);
            vec![
                traffic.clone(),
                watcher.name().to_owned(),
                of(|cost| cost.program_nanoseconds),
                of(|cost| cost.cpu_microseconds),
                of(|cost| cost.per_second),
            ]
        })
    });
    Table { headings: &COST_HEADINGS, numbers: 2..5, rows: rows.collect() }
}

fn memory(memory: &[Memory]) -> Table<'_> {
    let rows = [Watcher::Probe, Watcher::Obi].map(|watcher| {
        let of = |figure: fn(&Memory) -> u64, format: fn(f64) -> String| {
            let all = memory.iter().filter(|memory| memory.watcher == watcher);
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            shown(Quartiles::of(all.map(|memory| figure(memory) as f64)), format)
        };
        vec![
            watcher.name().to_owned(),
            of(|memory| memory.process_bytes, mebibytes),
            of(|memory| memory.map_bytes, mebibytes),
            of(|memory| memory.programs, whole),
        ]
    });
    Table { headings: &MEMORY_HEADINGS, numbers: 1..4, rows: rows.into() }
}

fn spread(costs: &[Cost], watcher: Watcher, traffic: &str, figure: fn(&Cost) -> f64) -> Option<Quartiles> {
    let all = costs.iter().filter(|cost| cost.watcher == watcher && cost.traffic == traffic);
    Quartiles::of(all.map(figure))
}

fn shown(of: Option<Quartiles>, format: fn(f64) -> String) -> String {
    let Some(of) = of else { return "not measured".to_owned() };
    let [median, min, max] = [of.median, of.min, of.max].map(format);
    if min == max { median } else { format!("{median} ({min} … {max})") }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures are positive and small")]
fn whole(figure: f64) -> String {
    thousands(figure.round() as u64)
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.1}", bytes / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::page;
    use crate::obi::results::{Cost, Count, Memory, Results, Setting};
    use crate::obi::watcher::Watcher;

    #[test]
    fn a_page_shows_wrong_counts_and_failures() {
        let count = |traffic: &str, obi| Count {
            traffic: traffic.to_owned(),
            sent: 2_000,
            shard: 2_000,
            probe: Some(2_000),
            obi,
        };
        let cost = |watcher, program_nanoseconds| Cost {
            watcher,
            traffic: "4 connections".to_owned(),
            per_second: 5_000.0,
            cpu_microseconds: 300.0,
            program_nanoseconds,
        };
        let results = Results {
            machine: "a machine".to_owned(),
            obi_version: Some("version v1, revision ab12".to_owned()),
            rounds: 3,
            requests: 2_000,
            counts: vec![
                count("4 connections", Some(2_000)),
                count("pipelined", Some(20)),
                count("writes", None),
            ],
            costs: vec![cost(Watcher::Nothing, 0.0), cost(Watcher::Probe, 10.0), cost(Watcher::Obi, 200.0)],
            memory: vec![Memory { watcher: Watcher::Obi, process_bytes: 3 << 19, map_bytes: 0, programs: 9 }],
            failures: vec!["costs, round 2, OBI: it ended".to_owned()],
        };
        let text = page(&results, &Setting::Emulated("6.1".to_owned())).content;
        for expected in [
            "in 3 of 3 kinds of traffic, OBI in 1. Pipelined: OBI counts 20 of 2,000. Where both",
            "OBI's kernel programs take 20 to 20 times",
            "| pipelined | 2,000 | 2,000 | 2,000 | **20** |",
            "| writes | 2,000 | 2,000 | 2,000 | did not run |",
            "| 4 connections | OBI | 200 | 300 | 5,000 |",
            "| 8 connections | OBI | not measured |",
            "| OBI | 1.5 | 0.0 | 9 |",
            "- costs, round 2, OBI: it ended",
            "Only the counts are exact",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        assert!(!page(&results, &Setting::Here).content.contains("emulator"));
    }
}
