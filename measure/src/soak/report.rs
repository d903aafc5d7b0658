//! The results of a soak, as text, as a page and as plots.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::resources::{Resource, Sample};
use super::trend::growth_per_hour;
use super::{Plan, QuietPoint};
use crate::experiment::report::File;
use crate::lines::{Line, Lines};
use crate::machine::{date, describe};
use crate::table::{Table, thousands};

/// The part of a run in which caches, pools and tables reach their sizes.
const WARM_UP: Duration = Duration::from_secs(15 * 60);

/// How much the memory of a process may grow in an hour, after the warm-up.
const GROWTH: f64 = 0.02;

const HEADINGS: [&str; 6] =
    ["process", "what", "most at rest, first quarter", "at rest, last", "most under load", "growth an hour"];

/// What was measured.
#[derive(Debug)]
pub struct SoakReport {
    plan: Plan,
    samples: Vec<Sample>,
    quiet: Vec<QuietPoint>,
    faults: BTreeMap<String, u32>,
    /// Data requests of the shards that run at the end, by their own count.
    received: u64,
    rows: Vec<Vec<String>>,
    wrong: Vec<String>,
}

impl SoakReport {
    pub(super) fn new(
        plan: Plan,
        samples: Vec<Sample>,
        quiet: Vec<QuietPoint>,
        faults: BTreeMap<String, u32>,
        received: u64,
    ) -> Self {
        let mut report = Self { plan, samples, quiet, faults, received, rows: Vec::new(), wrong: Vec::new() };
        report.judge();
        report
    }

    /// Whether nothing grew, and kernel and application agreed at each quiet point.
    pub fn passes(&self) -> bool {
        self.wrong.is_empty()
    }

    fn judge(&mut self) {
        for point in &self.quiet {
            if let Some(why) = &point.wrong {
                self.wrong.push(format!("at {:.1} min: {why}", minutes(point.at)));
            }
        }
        if self.quiet.is_empty() {
            self.wrong.push("no quiet point".to_owned());
        }
        for process in self.processes() {
            for resource in Resource::ALL {
                self.judge_resource(&process, resource);
            }
        }
    }

    /// The processes that ran from start to end. One that was restarted has no trend.
    fn processes(&self) -> Vec<String> {
        let mut pids: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for sample in &self.samples {
            let known = pids.entry(&sample.process).or_default();
            if !known.contains(&sample.pid) {
                known.push(sample.pid);
            }
        }
        pids.into_iter().filter(|(_, pids)| pids.len() == 1).map(|(name, _)| name.to_owned()).collect()
    }

    fn judge_resource(&mut self, process: &str, resource: Resource) {
        let of = |sample: &&Sample| sample.process == process && sample.resource == resource;
        let all: Vec<&Sample> = self.samples.iter().filter(of).collect();
        let rest: Vec<&&Sample> = all.iter().filter(|sample| sample.at_rest).collect();
        let quarter = Duration::from_secs(15 * u64::from(self.plan.minutes));
        let most = |of: &mut dyn Iterator<Item = f64>| of.fold(0.0, f64::max);
        let Some(last) = rest.last().map(|sample| sample.value) else { return };
        let first = rest.iter().take(1).chain(rest.iter().filter(|sample| sample.at <= quarter));
        let start = most(&mut first.map(|sample| sample.value));
        let warm: Vec<(Duration, f64)> = rest
            .iter()
            .filter(|sample| sample.at > WARM_UP)
            .map(|sample| (sample.at, sample.value))
            .collect();
        let growth = growth_per_hour(&warm).filter(|_| resource == Resource::Memory);
        if let Some(growth) = growth.filter(|growth| *growth > GROWTH) {
            self.wrong.push(format!("{process}: memory grows by {:.1} % an hour", growth * 100.0));
        }
        if resource != Resource::Memory && last > start {
            self.wrong
                .push(format!("{process}: {} at rest: {start} at first, {last} at last", resource.title()));
        }
        let digits = usize::from(resource == Resource::Memory);
        self.rows.push(vec![
            process.to_owned(),
            resource.title().to_owned(),
            format!("{start:.digits$}"),
            format!("{last:.digits$}"),
            format!("{:.digits$}", most(&mut all.iter().map(|sample| sample.value))),
            growth.map_or_else(|| "–".to_owned(), |growth| format!("{:+.1} %", growth * 100.0)),
        ]);
    }

    fn table(&self) -> Table<'_> {
        Table { headings: &HEADINGS, numbers: 2..HEADINGS.len(), rows: self.rows.clone() }
    }

    fn answer(&self) -> String {
        let exact = self.quiet.iter().filter(|point| point.wrong.is_none()).count();
        let faults: u32 = self.faults.values().sum();
        let mut text = format!(
            "{faults} faults in {} minutes. Difference 0 at {exact} of {} quiet points. {} requests by the shards' \
             own counts, since their last start.",
            self.plan.minutes,
            self.quiet.len(),
            thousands(self.received)
        );
        if !self.wrong.is_empty() {
            text += " What does not hold:\n";
        }
        for what in &self.wrong {
            let _ = write!(text, "\n- {what}");
        }
        text
    }

    /// The report for a terminal.
    pub fn text(&self) -> String {
        format!("{}\n{}\n", self.table().text(), self.answer())
    }

    /// The files for `docs/experiments/`: the page first, then its plots.
    pub fn files(&self) -> Vec<File> {
        let base = format!("{}-soak", date("+%F"));
        let Plan { minutes, seed } = self.plan;
        let mut page = format!("# {}: {minutes} minutes of faults\n\n", date("+%F"));
        let _ = write!(
            page,
            "**Question.** Does anything grow under mixed load and random faults, and do the counts stay right?\n\n\
             **Answer.** {}\n\n**Command.** `cargo xtask soak --minutes {minutes} --seed {seed} --write`\n\n{}.\n\n",
            self.answer(),
            describe()
        );
        let mut files = Vec::new();
        for (number, resource) in Resource::ALL.into_iter().enumerate() {
            let name = format!("{base}-{}.svg", number + 1);
            let _ = writeln!(page, "![{}]({name})\n", resource.title());
            files.push(File { name, content: self.plot(resource).svg() });
        }
        page += &self.table().markdown();
        page += "\nOnly processes that ran from start to end are in the table. Each round is a scenario of 40 s with \
                 random mitigations and faults, and ends with a quiet point. *Growth* is the slope of the \
                 least-squares line through the quiet points after the first 15 minutes.\n\n| fault | times |\n|---|--:|\n";
        for (fault, times) in &self.faults {
            let _ = writeln!(page, "| {fault} | {times} |");
        }
        files.insert(0, File { name: format!("{base}.md"), content: page });
        files
    }

    fn plot(&self, resource: Resource) -> Lines {
        let mut lines: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for sample in self.samples.iter().filter(|sample| sample.resource == resource) {
            lines.entry(&sample.process).or_default().push((minutes(sample.at), sample.value));
        }
        let lines = lines.into_iter().map(|(name, points)| Line { name: name.to_owned(), points });
        Lines { title: resource.title().to_owned(), axis: "minutes".to_owned(), lines: lines.collect() }
    }
}

fn minutes(at: Duration) -> f64 {
    at.as_secs_f64() / 60.0
}
