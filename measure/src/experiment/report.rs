//! Results of an experiment, for a terminal and for `docs/experiments/`.

use std::fmt::Write as _;
use std::time::Instant;

use super::figure::FigureVerdict;
use super::trials::Plan;
use super::{Experiment, ExperimentOutcome};
use crate::machine::{self, date, load_average};
use crate::table::Table;

const HEADINGS: [&str; 7] = ["figure", "predicted", "application", "kernel", "residual", "goal", "met"];

/// One experiment that has run.
#[derive(Debug)]
pub struct ExperimentReport {
    /// The experiment.
    pub experiment: Experiment,
    /// Its repetitions and seed.
    pub plan: Plan,
    /// Its results.
    pub outcome: ExperimentOutcome,
    /// Its duration in seconds.
    pub seconds: f64,
    /// Load average of the machine over a minute, before the experiment.
    pub load_before: String,
}

/// A file of a report: its name and content.
pub struct File {
    /// Name relative to the folder of all experiments.
    pub name: String,
    /// Its text.
    pub content: String,
}

impl ExperimentReport {
    /// Runs an experiment and calls `progress` with a line for each step.
    pub async fn of(experiment: Experiment, plan: Plan, progress: &impl Fn(&str)) -> Self {
        let (load_before, started) = (load_average(), Instant::now());
        let outcome = experiment.run(plan, progress).await;
        Self { experiment, plan, outcome, seconds: started.elapsed().as_secs_f64(), load_before }
    }

    /// Whether every figure has a number and meets its requirement.
    pub fn holds(&self) -> bool {
        self.outcome
            .figures
            .iter()
            .all(|figure| matches!(figure.verdict(), FigureVerdict::Holds | FigureVerdict::Nothing))
    }

    /// Returns in one line how many figures meet their goal.
    pub(crate) fn answer(&self) -> String {
        let count = |verdict: FigureVerdict| {
            self.outcome.figures.iter().filter(|figure| figure.verdict() == verdict).count()
        };
        let (holds, fails, refused) =
            (count(FigureVerdict::Holds), count(FigureVerdict::Fails), count(FigureVerdict::Refused));
        let mut text = format!("{holds} of {} figures meet their goal", holds + fails + refused);
        if fails > 0 {
            let names = self.named(FigureVerdict::Fails);
            let _ = write!(text, "; {fails} do not: {names}");
        }
        if refused > 0 {
            let _ = write!(text, "; {refused} refused");
        }
        text
    }

    fn named(&self, verdict: FigureVerdict) -> String {
        let named = self.outcome.figures.iter().filter(|figure| figure.verdict() == verdict);
        named.map(|figure| figure.what.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn figures(&self) -> Table<'_> {
        let rows = self.outcome.figures.iter().map(|figure| figure.cells().to_vec()).collect();
        Table { headings: &HEADINGS, numbers: 1..5, rows }
    }

    /// Returns the report for a terminal.
    pub fn text(&self) -> String {
        let mut text = format!("{}: {}\n\n", self.experiment.name(), self.experiment.about());
        text += &self.figures().text();
        for table in &self.outcome.tables {
            let _ = writeln!(text, "\n{}\n", table.title);
            text += &table.shown().text();
        }
        for refusal in &self.outcome.refusals {
            let _ = writeln!(text, "refused: {refusal}");
        }
        let _ = writeln!(text, "{} ({:.0} s)\n", self.answer(), self.seconds);
        text
    }

    /// Returns the files for `docs/experiments/`: the page first, then its charts.
    pub fn files(&self) -> Vec<File> {
        let base = format!("{}-{}", date("+%F"), self.experiment.name());
        let picture = |number: usize| format!("{base}-{}.svg", number + 1);
        let mut page = format!("# {}: {}\n\n", date("+%F"), self.experiment.about());
        let Plan { repetitions, seed, quick } = self.plan;
        let quick = if quick { " --quick" } else { "" };
        let _ = writeln!(
            page,
            "**Question.** {}\n\n**Answer.** {}.\n\n\
             **Command.** `cargo xtask experiment {} --repetitions {repetitions} --seed {seed}{quick}`\n\n\
             {}; {:.0} s; load average {} before, {} after.\n",
            self.experiment.question(),
            self.answer(),
            self.experiment.name(),
            machine::describe(),
            self.seconds,
            self.load_before,
            load_average()
        );
        for (number, chart) in self.outcome.charts.iter().enumerate() {
            let _ = writeln!(page, "![{}]({})\n", chart.title, picture(number));
        }
        page += &self.figures().markdown();
        let _ = writeln!(page, "\n[How to read this page](README.md#how-to-read-a-page)\n");
        for rows in &self.outcome.tables {
            let _ = writeln!(page, "## {}\n", rows.title);
            page += &rows.shown().markdown();
            page.push('\n');
        }
        let _ = writeln!(page, "## Method\n\n{}\n", self.outcome.method);
        let _ = writeln!(page, "## Refused runs\n");
        if self.outcome.refusals.is_empty() {
            let _ = writeln!(page, "None.");
        }
        for refusal in &self.outcome.refusals {
            let _ = writeln!(page, "- {refusal}");
        }
        let charts = self.outcome.charts.iter().enumerate();
        let pictures = charts.map(|(number, chart)| File { name: picture(number), content: chart.svg() });
        let page = File { name: format!("{base}.md"), content: page };
        std::iter::once(page).chain(pictures).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Table;
    use super::super::figure::{Figure, Rule, Unit};
    use super::*;

    #[test]
    fn a_page_has_every_figure_its_picture_and_what_was_refused() {
        let figure = |what: &str, kernel: f64| {
            Figure::new(what, Unit::Share, Some(0.5), Rule::Within(0.01)).seen(vec![0.5], vec![kernel])
        };
        let figures = vec![figure("good", 0.5), figure("bad", 0.6)];
        let charts = vec![super::super::Chart::of("T", "%", Unit::Share, &figures)];
        let report = ExperimentReport {
            experiment: Experiment::Shares,
            plan: Plan { repetitions: 5, seed: 1, quick: false },
            outcome: ExperimentOutcome {
                method: "So.".into(),
                figures,
                tables: vec![Table {
                    title: "More".into(),
                    headings: vec!["a", "b"],
                    rows: vec![vec!["c".into(), "7".into()]],
                }],
                charts,
                refusals: vec!["x: busy".into()],
            },
            seconds: 1.0,
            load_before: "0.1".into(),
        };
        assert!(!report.holds());
        assert_eq!(report.answer(), "1 of 2 figures meet their goal; 1 do not: bad");
        let files = report.files();
        let [page, picture] = &files[..] else { panic!("{} files", files.len()) };
        assert!(
            page.name.ends_with("-shares.md") && page.content.contains(&picture.name),
            "{}",
            page.content
        );
        assert!(
            page.content.contains("- x: busy") && page.content.contains("| bad | 50.00 % |"),
            "{}",
            page.content
        );
        assert!(
            page.content.contains("## More\n\n| a | b |") && page.content.contains("| c | 7 |"),
            "{}",
            page.content
        );
        assert!(report.text().contains("refused: x: busy"));
    }
}
