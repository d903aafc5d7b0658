//! One figure of an experiment: prediction, witnesses of every repetition, and verdict.

use crate::statistics::{Quartiles, mean};

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A part of a whole, 0 … 1. Displayed in percent, with differences in percentage points.
    Share,
    /// A ratio.
    Times,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// A count.
    Count,
}

impl Unit {
    /// Formats a value with its unit.
    pub(crate) fn shown(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:.2} %", 100.0 * value),
            Self::Times => format!("{value:.3}"),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Seconds => format!("{value:.2} s"),
            Self::Count => format!("{value:.2}"),
        }
    }

    /// Formats a difference with its sign and unit.
    pub(crate) fn difference(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:+.2} pp", 100.0 * value),
            Self::Times => format!("{value:+.3}"),
            Self::Milliseconds => format!("{value:+.1} ms"),
            Self::Seconds => format!("{value:+.2} s"),
            Self::Count => format!("{value:+.2}"),
        }
    }

    /// Converts a value for an axis.
    pub(crate) const fn on_axis(self, value: f64) -> f64 {
        if matches!(self, Self::Share) { 100.0 * value } else { value }
    }
}

/// The requirement on a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Every witness differs from the prediction by at most this.
    Within(f64),
    /// No witness is above this.
    AtMost(f64),
    /// No witness is below this.
    AtLeast(f64),
    /// No requirement: the figure is only displayed.
    Shown,
}

/// Whether a figure meets its requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FigureVerdict {
    /// It meets the requirement.
    Holds,
    /// It fails the requirement.
    Fails,
    /// It has no number.
    Refused,
    /// It has no requirement.
    Nothing,
}

/// One figure with its prediction, rule and witnesses.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The description.
    pub what: String,
    /// The unit.
    pub unit: Unit,
    /// The value that theory predicts.
    pub predicted: Option<f64>,
    /// The requirement.
    pub rule: Rule,
    /// The application's values, by repetition. Runs have equal sizes, so the mean is that of all requests.
    pub app: Vec<f64>,
    /// The kernel's values, by repetition. Empty if the kernel cannot measure the figure.
    pub kernel: Vec<f64>,
    /// The reason why there is no number.
    pub refused: Option<String>,
}

impl Figure {
    /// Returns a figure without witnesses.
    pub(crate) fn new(what: impl Into<String>, unit: Unit, predicted: Option<f64>, rule: Rule) -> Self {
        Self { what: what.into(), unit, predicted, rule, app: Vec::new(), kernel: Vec::new(), refused: None }
    }

    /// Sets the witnesses.
    pub(crate) fn seen(self, app: Vec<f64>, kernel: Vec<f64>) -> Self {
        Self { app, kernel, ..self }
    }

    /// Removes the number if there is a reason. The first reason is kept.
    pub(crate) fn refused_if(mut self, why: Option<String>) -> Self {
        self.refused = self.refused.or(why);
        self
    }

    /// Returns the mean of each witness that has values.
    fn means(&self) -> impl Iterator<Item = f64> {
        [mean(&self.app), mean(&self.kernel)].into_iter().flatten()
    }

    /// Returns the verdict.
    pub fn verdict(&self) -> FigureVerdict {
        if self.refused.is_some() || self.means().next().is_none() {
            return FigureVerdict::Refused;
        }
        let holds = match (self.rule, self.predicted) {
            (Rule::Shown, _) => return FigureVerdict::Nothing,
            (Rule::Within(distance), Some(predicted)) => {
                self.means().all(|mean| (mean - predicted).abs() <= distance)
            }
            (Rule::Within(_), None) => false,
            (Rule::AtMost(most), _) => self.means().all(|mean| mean <= most),
            (Rule::AtLeast(least), _) => self.means().all(|mean| mean >= least),
        };
        if holds { FigureVerdict::Holds } else { FigureVerdict::Fails }
    }

    /// Returns the requirement as text.
    pub(crate) fn required(&self) -> String {
        match self.rule {
            Rule::Within(distance) => format!("± {}", self.unit.difference(distance).trim_start_matches('+')),
            Rule::AtMost(most) => format!("≤ {}", self.unit.shown(most)),
            Rule::AtLeast(least) => format!("≥ {}", self.unit.shown(least)),
            Rule::Shown => String::new(),
        }
    }

    /// Returns the cells of a table row: description, prediction, application, kernel, residual, requirement,
    /// verdict.
    pub(crate) fn cells(&self) -> [String; 7] {
        let none = || "–".to_owned();
        let predicted = self.predicted.map_or_else(none, |value| self.unit.shown(value));
        if let Some(why) = &self.refused {
            return [
                self.what.clone(),
                predicted,
                none(),
                none(),
                none(),
                self.required(),
                format!("refused: {why}"),
            ];
        }
        let residual = self.predicted.map(|predicted| {
            let all: Vec<String> = self.means().map(|mean| self.unit.difference(mean - predicted)).collect();
            if all.windows(2).all(|two| two[0] == two[1]) {
                all.into_iter().next().unwrap_or_default()
            } else {
                all.join(", ")
            }
        });
        let verdict = match self.verdict() {
            FigureVerdict::Holds => "✓",
            FigureVerdict::Fails => "✗",
            FigureVerdict::Refused => "refused: no valid run",
            FigureVerdict::Nothing => "",
        };
        [
            self.what.clone(),
            predicted,
            self.witness(&self.app),
            self.witness(&self.kernel),
            residual.unwrap_or_else(none),
            self.required(),
            verdict.to_owned(),
        ]
    }

    /// Formats mean, minimum and maximum.
    fn witness(&self, values: &[f64]) -> String {
        let Some(mean) = mean(values) else { return "–".to_owned() };
        let shown = |value: f64| self.unit.shown(value);
        let (min, max) = Quartiles::of(values.iter().copied()).map_or((mean, mean), |all| (all.min, all.max));
        if shown(min) == shown(max) {
            return shown(mean);
        }
        let bare = |value: f64| shown(value).trim_end_matches(|c: char| !c.is_ascii_digit()).to_owned();
        format!("{} ({} … {})", shown(mean), bare(min), bare(max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(rule: Rule, app: &[f64], kernel: &[f64]) -> Figure {
        Figure::new("x", Unit::Share, Some(0.5), rule).seen(app.to_vec(), kernel.to_vec())
    }

    #[test]
    fn every_witness_must_meet_the_requirement() {
        for (rule, app, kernel, expected) in [
            (Rule::Within(0.01), &[0.49, 0.52][..], &[0.5][..], FigureVerdict::Holds),
            (Rule::Within(0.01), &[0.5], &[0.52], FigureVerdict::Fails),
            (Rule::AtMost(0.5), &[0.4], &[], FigureVerdict::Holds),
            (Rule::AtMost(0.5), &[0.4], &[0.6], FigureVerdict::Fails),
            (Rule::AtLeast(0.5), &[0.4], &[], FigureVerdict::Fails),
            (Rule::Shown, &[0.4], &[], FigureVerdict::Nothing),
            (Rule::Shown, &[], &[], FigureVerdict::Refused),
        ] {
            let figure = share(rule, app, kernel);
            assert_eq!(figure.verdict(), expected, "{figure:?}");
        }
    }

    #[test]
    fn a_refused_figure_shows_why_and_no_number() {
        let figure = share(Rule::Within(0.01), &[0.5], &[0.5]).refused_if(Some("too few".to_owned()));
        assert_eq!(figure.verdict(), FigureVerdict::Refused);
        assert_eq!(figure.cells(), ["x", "50.00 %", "–", "–", "–", "± 1.00 pp", "refused: too few"]);
    }

    #[test]
    fn cells_have_mean_extremes_and_residual() {
        let figure = share(Rule::Within(0.01), &[0.49, 0.51, 0.503], &[0.501]);
        let expected = ["x", "50.00 %", "50.10 % (49.00 … 51.00)", "50.10 %", "+0.10 pp", "± 1.00 pp", "✓"];
        assert_eq!(figure.cells(), expected);
    }
}
