//! The results of a soak, as text, as a page and as plots.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::resources::{Resource, Sample};
use super::trend::Slope;
use super::{Plan, QuietPoint};
use crate::experiment::report::File;
use crate::lines::{Line, Lines};
use crate::machine::{date, describe};
use crate::table::{Table, thousands};

/// How much the memory of a process may grow in an hour, after the warm-up.
const GROWTH: f64 = 0.02;

/// What a process holds at rest is its least sample of the rest's end, this long. A leak does not shrink, but a short
/// connection, such as that of a scrape, ends.
const AT_REST: Duration = Duration::from_secs(30);

const HEADINGS: [&str; 6] =
    ["process", "what", "at rest, warm", "at rest, end", "most under load", "growth an hour (95 %)"];

/// What was measured.
#[derive(Debug)]
pub struct SoakReport {
    plan: Plan,
    samples: Vec<Sample>,
    /// The ends of the rests.
    rests: Vec<Duration>,
    quiet: Vec<QuietPoint>,
    faults: BTreeMap<String, u32>,
    /// Data requests of the shards that run at the end, by their own count.
    received: u64,
    rows: Vec<Vec<String>>,
    wrong: Vec<String>,
    undecided: Vec<String>,
}

impl SoakReport {
    pub(super) fn new(
        plan: Plan,
        samples: Vec<Sample>,
        rests: Vec<Duration>,
        quiet: Vec<QuietPoint>,
        faults: BTreeMap<String, u32>,
        received: u64,
    ) -> Self {
        let mut report = Self {
            plan,
            samples,
            rests,
            quiet,
            faults,
            received,
            rows: Vec::new(),
            wrong: Vec::new(),
            undecided: Vec::new(),
        };
        report.judge();
        report
    }

    /// Whether nothing is known to grow, and kernel and application agreed at each quiet point.
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
        let window = AT_REST.min(self.plan.rest());
        let least = |end: Duration| {
            let at_rest = all.iter().filter(|sample| (end.saturating_sub(window)..=end).contains(&sample.at));
            at_rest.map(|sample| sample.value).min_by(f64::total_cmp)
        };
        let rests: Vec<(Duration, f64)> =
            self.rests.iter().filter_map(|end| Some((*end, least(*end)?))).collect();
        let (Some((_, first)), Some((_, last))) = (rests.first(), rests.last()) else { return };
        let title = resource.title();
        let slope = Slope::per_hour(&rests).filter(|_| resource == Resource::Memory);
        if let Some(slope) = &slope {
            let line = format!("{process}: {title} grows by {} an hour", interval(slope));
            match (slope.low > GROWTH, slope.high > GROWTH) {
                (true, _) => self.wrong.push(line),
                (false, true) => self.undecided.push(line),
                (false, false) => {}
            }
        }
        if resource != Resource::Memory && last > first {
            self.wrong
                .push(format!("{process}: {title} at rest: {first} after the warm-up, {last} at the end"));
        }
        let digits = usize::from(resource == Resource::Memory);
        self.rows.push(vec![
            process.to_owned(),
            title.to_owned(),
            format!("{first:.digits$}"),
            format!("{last:.digits$}"),
            format!("{:.digits$}", all.iter().map(|sample| sample.value).fold(0.0, f64::max)),
            slope.as_ref().map_or_else(|| "–".to_owned(), interval),
        ]);
    }

    fn table(&self) -> Table<'_> {
        Table { headings: &HEADINGS, numbers: 2..HEADINGS.len(), rows: self.rows.clone() }
    }

    fn answer(&self) -> String {
        let exact = self.quiet.iter().filter(|point| point.wrong.is_none()).count();
        let faults: u32 = self.faults.values().sum();
        let mut text = format!(
            "{faults} faults in {} minutes. Difference 0 at {exact} of {} quiet points.\n{} requests by the shards' \
             own counts, since their last start.",
            self.plan.minutes,
            self.quiet.len(),
            thousands(self.received)
        );
        for (title, found) in [("What does not hold", &self.wrong), ("Undecided", &self.undecided)] {
            if !found.is_empty() {
                let _ = write!(text, "\n\n{title}:\n\n- {}", found.join("\n- "));
            }
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
        let rest = self.plan.rest().as_secs();
        let _ = write!(
            page,
            "\nOnly processes that ran from start to end are in the table. A round is a scenario with mitigations and\n\
             faults, and ends with a quiet point. The warm-up goes through all faults, scenarios and cache modes;\n\
             later rounds are random. The run rests for {rest} s after the warm-up, at its end and {} times between.\n\
             Descriptors, tasks, series and map entries must be at the end at most what they were after the\n\
             warm-up. *Growth* is the slope of the least-squares line through the rests, with its 95 % confidence\n\
             interval. It is wrong if the whole interval is above {limit} %, and undecided if only a part is.\n\n\
             | fault | times |\n|---|--:|\n",
            self.rests.len().saturating_sub(2),
            limit = GROWTH * 100.0,
        );
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

/// A slope in percent, with its interval.
fn interval(slope: &Slope) -> String {
    let Slope { value, low, high } = slope;
    format!("{:+.1} % ({:+.1} to {:+.1} %)", value * 100.0, low * 100.0, high * 100.0)
}

fn minutes(at: Duration) -> f64 {
    at.as_secs_f64() / 60.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(memory: [f64; 4], descriptors: [f64; 4]) -> SoakReport {
        let ends = [15, 30, 45, 60].map(|minute| Duration::from_secs(60 * minute));
        let sample =
            |at, resource, value| Sample { at, process: "probe".to_owned(), pid: 1, resource, value };
        let mut samples = Vec::new();
        for (number, end) in ends.into_iter().enumerate() {
            samples.push(sample(end, Resource::Memory, memory[number]));
            samples.push(sample(end, Resource::Descriptors, descriptors[number]));
            // Load before the rest, and a scrape in it.
            samples.push(sample(end.saturating_sub(AT_REST * 2), Resource::Descriptors, 1.0));
            samples.push(sample(end.saturating_sub(AT_REST / 2), Resource::Descriptors, 500.0));
        }
        let quiet = vec![QuietPoint { at: ends[3], wrong: None }];
        SoakReport::new(Plan { minutes: 60, seed: 1 }, samples, ends.to_vec(), quiet, BTreeMap::new(), 0)
    }

    #[test]
    fn a_run_without_growth_passes() {
        let report = report([100.0, 100.2, 100.1, 100.0], [40.0, 60.0, 50.0, 40.0]);
        assert!(report.passes() && report.undecided.is_empty(), "{}", report.text());
    }

    #[test]
    fn descriptors_must_be_back_at_the_end() {
        let report = report([100.0; 4], [40.0, 40.0, 40.0, 41.0]);
        assert_eq!(report.wrong, ["probe: open descriptors at rest: 40 after the warm-up, 41 at the end"]);
    }

    #[test]
    fn only_growth_beyond_the_scatter_is_wrong() {
        let grows = report([100.0, 102.0, 104.1, 106.0], [40.0; 4]);
        assert!(!grows.passes() && grows.undecided.is_empty(), "{}", grows.text());
        let scatters = report([100.0, 120.0, 95.0, 118.0], [40.0; 4]);
        assert!(scatters.passes() && scatters.undecided.len() == 1, "{}", scatters.text());
    }
}
