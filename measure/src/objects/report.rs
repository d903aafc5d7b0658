//! The figures of all objects, for a terminal and as a page.

use std::fmt::Write as _;

use super::{Object, Options, Run};
use crate::cost::empty::StatisticsCost;
use crate::machine::{date, describe};
use crate::statistics::Quartiles;
use crate::table::{Table, thousands};

const HEADINGS: [&str; 7] = [
    "object",
    "from",
    "ns a request",
    "of the first, by round",
    "runs a request",
    "verified: ingress",
    "verified: egress",
];

/// The figures of one object.
#[derive(Clone, Debug)]
pub struct Figures {
    object: Object,
    /// Nanoseconds of both programs for a request, by round.
    nanoseconds: Vec<f64>,
    /// Runs of both programs for a request.
    runs: Quartiles,
    /// Instructions that the verifier has processed.
    verified: [u32; 2],
}

impl Figures {
    /// Returns the figures of a run for each round. `recorded` is what the statistics add to a run of a program. `None`
    /// without runs.
    #[expect(clippy::cast_precision_loss, reason = "the values are far below 2^53")]
    pub(super) fn new(object: &Object, runs: &[Run], requests: u32, recorded: f64) -> Option<Self> {
        let a_request = |run: &Run| {
            (run.statistics.nanoseconds as f64 - run.statistics.runs as f64 * recorded) / f64::from(requests)
        };
        let often = |run: &Run| run.statistics.runs as f64 / f64::from(requests);
        Some(Self {
            object: object.clone(),
            nanoseconds: runs.iter().map(a_request).collect(),
            runs: Quartiles::of(runs.iter().map(often))?,
            verified: runs.first()?.verified,
        })
    }

    /// Returns the nanoseconds of both programs for a request.
    #[must_use]
    pub fn nanoseconds(&self) -> Option<Quartiles> {
        Quartiles::of(self.nanoseconds.iter().copied())
    }

    /// Returns the nanoseconds divided by those of another object in the same round.
    #[must_use]
    pub fn ratio(&self, to: &Self) -> Option<Quartiles> {
        Quartiles::of(self.nanoseconds.iter().zip(&to.nanoseconds).map(|(own, other)| own / other))
    }

    /// Returns the runs of both programs for a request. Two without retransmissions and empty acknowledgments.
    #[must_use]
    pub fn runs(&self) -> Quartiles {
        self.runs
    }
}

/// All results.
#[derive(Clone, Debug)]
pub struct ObjectsReport {
    /// By object, in the given order.
    pub figures: Vec<Figures>,
    pub(super) options: Options,
    /// What the kernel's statistics cost.
    pub(super) statistics: StatisticsCost,
    /// Load average of the machine over a minute, before and after the run.
    pub(super) load_average: [String; 2],
}

impl ObjectsReport {
    /// Returns the report for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        format!(
            "{}\n{}\nload average {} before, {} after\n{}\n",
            self.table("").text(),
            self.statistics_sentence(),
            self.load_average[0],
            self.load_average[1],
            self.answer("")
        )
    }

    /// Returns the name and the content of a page for `docs/experiments/`.
    #[must_use]
    pub fn page(&self) -> (String, String) {
        let today = date("+%F");
        let Options { rounds, keys, requests, clients, seed, .. } = self.options;
        let mut command = "cargo xtask bench objects".to_owned();
        for Figures { object, .. } in &self.figures {
            let _ = write!(command, " --object {}={}", object.name, object.source);
        }
        let page = format!(
            "# {today}: Kernel objects beside each other\n\n\
             **Question.** How long do `ingress` and `egress` of each object run for a request of a known key?\n\n\
             **Answer.** {}\n\n\
             **Command.** `{command} --rounds {rounds} --keys {keys} --requests {requests} --clients {clients} \
             --seed {seed}`\n\n\
             {}; load average {} before, {} after.\n\n{}\n\
             Medians with quartiles over {rounds} rounds. Each round runs all objects, in a random order and with the same\n\
             keys. A run loads and attaches an object to the cgroup of one shard, which stays on one CPU. {clients} clients on\n\
             another CPU read each of the {} keys once. Then they read {} uniform keys, one request at a time each, and\n\
             these are measured. The object has counted every request. *Runs* are packets. *Verified* are the instructions\n\
             that the verifier has processed. Ratios are those of one round.\n\n{}\n",
            self.answer("`"),
            describe(),
            self.load_average[0],
            self.load_average[1],
            self.table("`").markdown(),
            thousands(u64::from(keys)),
            thousands(u64::from(requests)),
            self.statistics_sentence(),
        );
        (format!("{today}-objects.md"), page)
    }

    fn answer(&self, quote: &str) -> String {
        let Some((first, others)) = self.figures.split_first() else { return String::new() };
        let sentences = others.iter().map(|other| {
            let ratio = shown(other.ratio(first), 2);
            let (own, reference) = (&other.object.name, &first.object.name);
            format!("{quote}{own}{quote} takes {ratio} of the time of {quote}{reference}{quote}.")
        });
        sentences.collect::<Vec<_>>().join(" ")
    }

    fn statistics_sentence(&self) -> String {
        let recorded = shown(Some(self.statistics.recorded), 0);
        format!(
            "The kernel's statistics record {recorded} ns for a run of an empty program. This is taken off."
        )
    }

    fn table(&self, quote: &str) -> Table<'_> {
        let first = self.figures.first();
        let row = |figures: &Figures| {
            let [ingress, egress] = figures.verified.map(|count| thousands(u64::from(count)));
            vec![
                figures.object.name.clone(),
                format!("{quote}{}{quote}", figures.object.source),
                shown(figures.nanoseconds(), 0),
                shown(first.and_then(|first| figures.ratio(first)), 2),
                format!("{:.3}", figures.runs.median),
                ingress,
                egress,
            ]
        };
        Table {
            headings: &HEADINGS,
            numbers: 2..HEADINGS.len(),
            rows: self.figures.iter().map(row).collect(),
        }
    }
}

/// Formats a median with its quartiles.
fn shown(of: Option<Quartiles>, digits: usize) -> String {
    of.map_or_else(String::new, |Quartiles { lower, median, upper, .. }| {
        format!("{median:.digits$} ({lower:.digits$} … {upper:.digits$})")
    })
}

#[cfg(test)]
mod tests {
    use super::{Figures, Object, Run};
    use crate::objects::attached::Statistics;

    /// Two runs of a program for each of ten requests, with so many nanoseconds in each round.
    fn figures(rounds: &[u64]) -> Figures {
        let object = Object { name: "a".to_owned(), source: "a".to_owned(), path: "a".into() };
        let run =
            |&nanoseconds: &u64| Run { statistics: Statistics { runs: 20, nanoseconds }, verified: [1; 2] };
        let runs: Vec<Run> = rounds.iter().map(run).collect();
        Figures::new(&object, &runs, 10, 50.0).unwrap()
    }

    #[test]
    fn the_time_of_the_statistics_is_taken_off_each_run() {
        let figures = figures(&[11_000]);
        assert_eq!((figures.nanoseconds().unwrap().median, figures.runs().median), (1_000.0, 2.0));
    }

    #[test]
    fn a_ratio_is_one_of_the_same_round() {
        // The machine is three times slower in the second round, and the object takes half of the time in both.
        let (reference, object) = (figures(&[11_000, 31_000]), figures(&[6_000, 16_000]));
        let ratio = object.ratio(&reference).unwrap();
        assert_eq!((ratio.min, ratio.max), (0.5, 0.5));
    }
}
