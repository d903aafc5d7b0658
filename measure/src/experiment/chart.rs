//! A chart of figures: a row each, its predictions and witnesses side by side, as SVG that is readable in light and dark.

use std::fmt::Write as _;

use super::figure::{self, Figure, Unit};

const WIDTH: f64 = 860.0;
const ROW: f64 = 26.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 56.0;
/// Of a character of the labels, about.
const LETTER: f64 = 7.2;

/// A mark in a row: of which series, where, and from where to where it scatters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// Its place in [`Chart::series`].
    pub series: usize,
    /// On the axis.
    pub value: f64,
    /// Least and most on the axis.
    pub range: (f64, f64),
}

/// One chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// What the axis counts, with its unit.
    pub axis: String,
    /// What marks stand for, at most three.
    pub series: Vec<&'static str>,
    /// A label and its marks each; one without marks is a heading or a refused figure.
    pub rows: Vec<(String, Vec<Mark>)>,
}

impl Chart {
    /// Of figures of one unit: prediction, application, kernel.
    #[must_use]
    pub fn of(title: &str, axis: &str, unit: Unit, figures: &[Figure]) -> Self {
        let mark = |series, values: &[f64]| {
            let (least, most) = figure::extremes(values);
            let value = unit.on_axis(figure::mean(values)?);
            Some(Mark { series, value, range: (unit.on_axis(least), unit.on_axis(most)) })
        };
        let rows = figures.iter().filter(|figure| figure.unit == unit).map(|figure| {
            let predicted = figure.predicted.as_slice();
            let mut marks: Vec<Mark> = mark(0, predicted).into_iter().collect();
            if figure.refused.is_none() {
                marks.extend(mark(1, &figure.app).into_iter().chain(mark(2, &figure.kernel)));
            }
            (figure.what.clone(), marks)
        });
        Self {
            title: title.to_owned(),
            axis: axis.to_owned(),
            series: vec!["predicted", "application", "kernel"],
            rows: rows.collect(),
        }
    }

    /// The whole picture.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut out = String::new();
        // Writing to a text cannot fail.
        let _ = self.draw(&mut out);
        out
    }

    #[expect(clippy::cast_precision_loss, reason = "a few rows")]
    fn draw(&self, out: &mut String) -> std::fmt::Result {
        let longest = self.rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0) as f64;
        let left = (longest * LETTER + 24.0).min(WIDTH / 2.0);
        let height = TOP + self.rows.len() as f64 * ROW + BOTTOM;
        let (step, most) = self.scale();
        let x = |value: f64| left + value / most * (WIDTH - left - 24.0);
        let bottom = height - BOTTOM;
        writeln!(
            out,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">"#
        )?;
        writeln!(out, "<title>{}</title>\n<style>{STYLE}</style>", escaped(&self.title))?;
        writeln!(out, r#"<rect class="paper" width="{WIDTH}" height="{height}"/>"#)?;
        writeln!(out, r#"<text class="title" x="12" y="24">{}</text>"#, escaped(&self.title))?;
        let mut legend = 20.0;
        for (series, name) in self.series.iter().enumerate() {
            symbol(out, series, legend, 44.0)?;
            writeln!(out, r#"<text x="{}" y="48">{}</text>"#, legend + 12.0, escaped(name))?;
            legend += 44.0 + name.chars().count() as f64 * LETTER;
        }
        let ticks = (most / step).round() as u32;
        for tick in 0..=ticks {
            let value = f64::from(tick) * step;
            let at = x(value);
            writeln!(out, r#"<line class="grid" x1="{at:.1}" x2="{at:.1}" y1="{TOP}" y2="{bottom}"/>"#)?;
            let shown = trimmed(value);
            writeln!(out, r#"<text class="tick" x="{at:.1}" y="{}">{shown}</text>"#, bottom + 18.0)?;
        }
        let middle = (x(0.0) + x(most)) / 2.0;
        writeln!(
            out,
            r#"<text class="tick" x="{middle:.1}" y="{}">{}</text>"#,
            height - 14.0,
            escaped(&self.axis)
        )?;
        for (row, (label, marks)) in self.rows.iter().enumerate() {
            let y = TOP + (row as f64 + 0.5) * ROW;
            writeln!(
                out,
                r#"<text class="label" x="{}" y="{}">{}</text>"#,
                left - 12.0,
                y + 4.0,
                escaped(label)
            )?;
            for mark in marks {
                // Each series a little lower than the one before, so that none hides another.
                let y = y + 6.0 * (mark.series as f64 - 1.0);
                let (least, greatest) = mark.range;
                if greatest > least {
                    writeln!(
                        out,
                        r#"<line class="s{}" x1="{:.1}" x2="{:.1}" y1="{y}" y2="{y}"/>"#,
                        mark.series,
                        x(least),
                        x(greatest)
                    )?;
                }
                symbol(out, mark.series, x(mark.value), y)?;
            }
        }
        writeln!(out, "</svg>")
    }

    /// The step of the axis and its end: a round number of steps, at most eight.
    fn scale(&self) -> (f64, f64) {
        let all = self.rows.iter().flat_map(|(_, marks)| marks).map(|mark| mark.value.max(mark.range.1));
        let most = all.fold(0.0, f64::max).max(1e-9);
        let rough = most / 8.0;
        let power = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        (step, step * (most / step).ceil())
    }
}

/// A tick for the first series, a dot, a diamond.
fn symbol(out: &mut String, series: usize, x: f64, y: f64) -> std::fmt::Result {
    match series {
        0 => writeln!(out, r#"<path class="s0" d="M{x:.1},{} v10"/>"#, y - 5.0),
        1 => writeln!(out, r#"<circle class="s1" cx="{x:.1}" cy="{y}" r="4"/>"#),
        _ => writeln!(out, r#"<path class="s2" d="M{x:.1},{} l5,5 -5,5 -5,-5 z"/>"#, y - 5.0),
    }
}

/// Without zeros that say nothing.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const STYLE: &str = "
text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-size:16px;font-weight:600}
.label{text-anchor:end}.tick{text-anchor:middle;fill:#59636e}.paper{fill:#fff}.grid{stroke:#d1d9e0;stroke-width:1}
.s0{stroke:#1f2328;stroke-width:2.5;fill:none}.s1{stroke:#0969da;stroke-width:1.5;fill:#0969da}
.s2{stroke:#bc4c00;stroke-width:1.5;fill:none}
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.tick{fill:#9198a1}.paper{fill:#0d1117}.grid{stroke:#3d444d}
.s0{stroke:#f0f6fc}.s1{stroke:#4493f8;fill:#4493f8}.s2{stroke:#f0883e}}
";

#[cfg(test)]
mod tests {
    use super::super::figure::Rule;
    use super::*;

    fn chart() -> Chart {
        let figure =
            Figure::new("a < b", Unit::Share, Some(0.5), Rule::Shown).seen(vec![0.4, 0.5], vec![0.45]);
        let other = Figure::new("ms", Unit::Milliseconds, None, Rule::Shown).seen(vec![900.0], Vec::new());
        Chart::of("Shares", "share of all requests, %", Unit::Share, &[figure, other])
    }

    #[test]
    fn a_chart_has_a_row_for_each_figure_of_its_unit() {
        let chart = chart();
        let [(label, marks)] = &chart.rows[..] else { panic!("{chart:?}") };
        assert_eq!((&**label, marks.len()), ("a < b", 3));
        assert_eq!(marks[1], Mark { series: 1, value: 45.0, range: (40.0, 50.0) });
        let svg = chart.svg();
        assert!(svg.contains("a &lt; b") && svg.contains("prefers-color-scheme:dark"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2, "one in the legend, one in the row");
    }

    #[test]
    fn axes_end_at_a_round_number() {
        let mut chart = chart();
        for (most, step, end) in
            [(50.0, 10.0, 50.0), (0.83, 0.2, 1.0), (251.0, 50.0, 300.0), (1.95, 0.25, 2.0)]
        {
            chart.rows = vec![(String::new(), vec![Mark { series: 1, value: most, range: (0.0, most) }])];
            let (found, found_end) = chart.scale();
            assert!(
                (found - step).abs() < 1e-9 && (found_end - end).abs() < 1e-9,
                "{most}: {found} {found_end}"
            );
        }
    }
}
