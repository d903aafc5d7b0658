//! One figure of an experiment: what theory says, what the witnesses say in every repetition, and whether they agree.

/// What a figure is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Of a whole, 0 … 1; shown in percent, its differences in percentage points.
    Share,
    /// A ratio.
    Times,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// A number of things.
    Count,
}

impl Unit {
    /// A value with its unit.
    #[must_use]
    pub fn shown(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:.2} %", 100.0 * value),
            Self::Times => format!("{value:.3}"),
            Self::Milliseconds => format!("{value:.1} ms"),
            Self::Seconds => format!("{value:.2} s"),
            Self::Count => format!("{value:.2}"),
        }
    }

    /// A difference with its sign and unit.
    #[must_use]
    pub fn difference(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:+.2} pp", 100.0 * value),
            Self::Times => format!("{value:+.3}"),
            Self::Milliseconds => format!("{value:+.1} ms"),
            Self::Seconds => format!("{value:+.2} s"),
            Self::Count => format!("{value:+.2}"),
        }
    }

    /// For an axis.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Share => "%",
            Self::Times => "ratio",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Count => "number",
        }
    }

    /// A value as an axis has it.
    #[must_use]
    pub const fn on_axis(self, value: f64) -> f64 {
        if matches!(self, Self::Share) { 100.0 * value } else { value }
    }
}

/// What is asked of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Every witness is no farther than this from the prediction.
    Within(f64),
    /// No witness is above this.
    AtMost(f64),
    /// No witness is below this.
    AtLeast(f64),
    /// Nothing: it is to be seen.
    Shown,
}

/// Whether it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Holds,
    /// It is not.
    Fails,
    /// There is no number.
    Refused,
    /// Nothing was asked.
    Nothing,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it is.
    pub what: String,
    /// In which unit.
    pub unit: Unit,
    /// What theory says.
    pub predicted: Option<f64>,
    /// What is asked.
    pub rule: Rule,
    /// What the application says, by repetition; runs are of equal size, so the mean is that of all their requests.
    pub app: Vec<f64>,
    /// What the kernel says, likewise; empty where it cannot know.
    pub kernel: Vec<f64>,
    /// Why there is no number.
    pub refused: Option<String>,
}

impl Figure {
    /// Without a witness yet.
    #[must_use]
    pub fn new(what: impl Into<String>, unit: Unit, predicted: Option<f64>, rule: Rule) -> Self {
        Self { what: what.into(), unit, predicted, rule, app: Vec::new(), kernel: Vec::new(), refused: None }
    }

    /// With these witnesses.
    #[must_use]
    pub fn seen(self, app: Vec<f64>, kernel: Vec<f64>) -> Self {
        Self { app, kernel, ..self }
    }

    /// Without a number if there is a reason, and no other was before.
    #[must_use]
    pub fn refused_if(mut self, why: Option<String>) -> Self {
        self.refused = self.refused.or(why);
        self
    }

    /// The means of the witnesses that speak.
    fn means(&self) -> impl Iterator<Item = f64> {
        [mean(&self.app), mean(&self.kernel)].into_iter().flatten()
    }

    /// Whether it is as asked.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.refused.is_some() || self.means().next().is_none() {
            return Verdict::Refused;
        }
        let holds = match (self.rule, self.predicted) {
            (Rule::Shown, _) => return Verdict::Nothing,
            (Rule::Within(distance), Some(predicted)) => {
                self.means().all(|mean| (mean - predicted).abs() <= distance)
            }
            (Rule::Within(_), None) => false,
            (Rule::AtMost(most), _) => self.means().all(|mean| mean <= most),
            (Rule::AtLeast(least), _) => self.means().all(|mean| mean >= least),
        };
        if holds { Verdict::Holds } else { Verdict::Fails }
    }

    /// What is asked, in words.
    #[must_use]
    pub fn asked(&self) -> String {
        match self.rule {
            Rule::Within(distance) => format!("± {}", self.unit.difference(distance).trim_start_matches('+')),
            Rule::AtMost(most) => format!("≤ {}", self.unit.shown(most)),
            Rule::AtLeast(least) => format!("≥ {}", self.unit.shown(least)),
            Rule::Shown => String::new(),
        }
    }

    /// The figure as cells of a table: what, predicted, application, kernel, residual, asked, verdict.
    #[must_use]
    pub fn cells(&self) -> [String; 7] {
        let none = || "–".to_owned();
        let predicted = self.predicted.map_or_else(none, |value| self.unit.shown(value));
        if let Some(why) = &self.refused {
            return [
                self.what.clone(),
                predicted,
                none(),
                none(),
                none(),
                self.asked(),
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
            Verdict::Holds => "✓",
            Verdict::Fails => "✗",
            Verdict::Refused => "refused: no run stands",
            Verdict::Nothing => "",
        };
        [
            self.what.clone(),
            predicted,
            self.witness(&self.app),
            self.witness(&self.kernel),
            residual.unwrap_or_else(none),
            self.asked(),
            verdict.to_owned(),
        ]
    }

    /// Mean and extremes.
    fn witness(&self, values: &[f64]) -> String {
        let Some(mean) = mean(values) else { return "–".to_owned() };
        let shown = |value: f64| self.unit.shown(value);
        let (least, most) = extremes(values);
        if values.len() == 1 || shown(least) == shown(most) {
            return shown(mean);
        }
        let bare = |value: f64| shown(value).trim_end_matches(|c: char| !c.is_ascii_digit()).to_owned();
        format!("{} ({} … {})", shown(mean), bare(least), bare(most))
    }
}

/// Their mean; none of none.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a few repetitions")]
    let count = values.len() as f64;
    (count > 0.0).then(|| values.iter().sum::<f64>() / count)
}

/// The smallest and the largest; 0 of none.
#[must_use]
pub fn extremes(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().reduce(f64::min).unwrap_or(0.0);
    (least, values.iter().copied().reduce(f64::max).unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(rule: Rule, app: &[f64], kernel: &[f64]) -> Figure {
        Figure::new("x", Unit::Share, Some(0.5), rule).seen(app.to_vec(), kernel.to_vec())
    }

    #[test]
    fn every_witness_must_be_as_asked() {
        for (rule, app, kernel, expected) in [
            (Rule::Within(0.01), &[0.49, 0.52][..], &[0.5][..], Verdict::Holds),
            (Rule::Within(0.01), &[0.5], &[0.52], Verdict::Fails),
            (Rule::AtMost(0.5), &[0.4], &[], Verdict::Holds),
            (Rule::AtMost(0.5), &[0.4], &[0.6], Verdict::Fails),
            (Rule::AtLeast(0.5), &[0.4], &[], Verdict::Fails),
            (Rule::Shown, &[0.4], &[], Verdict::Nothing),
            (Rule::Shown, &[], &[], Verdict::Refused),
        ] {
            let figure = share(rule, app, kernel);
            assert_eq!(figure.verdict(), expected, "{figure:?}");
        }
    }

    #[test]
    fn a_refused_figure_shows_why_and_no_number() {
        let figure = share(Rule::Within(0.01), &[0.5], &[0.5]).refused_if(Some("too few".to_owned()));
        assert_eq!(figure.verdict(), Verdict::Refused);
        assert_eq!(figure.cells(), ["x", "50.00 %", "–", "–", "–", "± 1.00 pp", "refused: too few"]);
    }

    #[test]
    fn cells_have_mean_extremes_and_residual() {
        let figure = share(Rule::Within(0.01), &[0.49, 0.51, 0.503], &[0.501]);
        let expected = ["x", "50.00 %", "50.10 % (49.00 … 51.00)", "50.10 %", "+0.10 pp", "± 1.00 pp", "✓"];
        assert_eq!(figure.cells(), expected);
    }
}
