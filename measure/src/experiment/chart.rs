//! A chart of figures as SVG, one row each.
//!
//! Predictions and witnesses are drawn side by side.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::fmt::Write as _;

use super::figure::{Figure, Unit};
use crate::statistics::{Quartiles, mean};

const WIDTH: u32 = 860;
/// Heights of a row, and of title, legend and axis together.
const ROW: u32 = 26;
const FRAME: u32 = 124;
/// The legend's position below the title.
const LEGEND: i32 = 46;
/// The assumed width of a character, because the text is laid out without font files.
const LETTER: u32 = 7;
pub(crate) const FONT: &str = "system-ui,sans-serif";

pub(crate) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
pub(crate) const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
pub(crate) const GRID: RGBColor = RGBColor(0xd1, 0xd9, 0xe0);
const SERIES: [RGBColor; 3] = [INK, RGBColor(0x09, 0x69, 0xda), RGBColor(0xbc, 0x4c, 0x00)];
/// Replacement of each colour in dark mode.
const DARK: [(RGBColor, &str); 5] =
    [(PAPER, "#0d1117"), (INK, "#f0f6fc"), (GRID, "#3d444d"), (SERIES[1], "#4493f8"), (SERIES[2], "#f0883e")];

/// A mark in a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// The index in [`Chart::series`].
    pub series: usize,
    /// The value on the axis.
    pub value: f64,
    /// Minimum and maximum on the axis.
    pub range: (f64, f64),
}

/// One chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The title.
    pub title: String,
    /// The axis label, with its unit.
    pub axis: String,
    /// The names of the series, at most three.
    pub series: Vec<&'static str>,
    /// Each row's label and marks. A refused figure has no marks.
    pub rows: Vec<(String, Vec<Mark>)>,
}

impl Chart {
    /// Returns a chart of the figures of one unit: prediction, application, kernel.
    pub(crate) fn of(title: &str, axis: &str, unit: Unit, figures: &[Figure]) -> Self {
        let mark = |series, values: &[f64]| {
            let range = Quartiles::of(values.iter().copied())?;
            let value = unit.on_axis(mean(values)?);
            Some(Mark { series, value, range: (unit.on_axis(range.min), unit.on_axis(range.max)) })
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

    pub(crate) fn svg(&self) -> String {
        let mut svg = String::new();
        self.draw(&mut svg).expect("drawing into memory does not fail");
        themed(svg)
    }

    #[expect(clippy::cast_precision_loss, reason = "a few rows")]
    fn draw<'a>(&self, svg: &'a mut String) -> Drawn<'a> {
        let number = self.rows.len();
        let longest = self.rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0) as u32;
        let marks = self.rows.iter().flat_map(|(_, marks)| marks);
        let most = marks.map(|mark| mark.value.max(mark.range.1)).fold(1e-9, f64::max);
        let height = FRAME + ROW * number as u32;
        let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
        root.fill(&PAPER)?;
        let font = |size: u32| (FONT, size).into_font().color(&INK);
        root.draw(&Text::new(self.title.as_str(), (12, 14), font(16)))?;
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .margin_top(60)
            .x_label_area_size(44)
            .y_label_area_size((longest * LETTER + 12).min(WIDTH / 2))
            .build_cartesian_2d(0.0..most * 1.02, 0.0..number as f64)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .x_max_light_lines(1)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_labels(9)
            .x_label_style(font(13))
            .axis_desc_style(font(13))
            .x_desc(&self.axis)
            .draw()?;
        let place = |value: f64, row: usize, series: usize| {
            // Each series is drawn a little lower than the one before, so that none hides another.
            let height = (number - row) as f64 - 0.5 - (series as f64 - 1.0) * 0.22;
            chart.plotting_area().map_coordinate(&(value, height))
        };
        for (row, (label, marks)) in self.rows.iter().enumerate() {
            let (x, y) = place(0.0, row, 1);
            let style = font(13).pos(Pos::new(HPos::Right, VPos::Center));
            root.draw(&Text::new(label.as_str(), (x - 10, y), style))?;
            for mark in marks {
                let at = |value| place(value, row, mark.series);
                let range = vec![at(mark.range.0), at(mark.range.1)];
                root.draw(&PathElement::new(range, SERIES[mark.series].stroke_width(2)))?;
                symbol(&root, mark.series, at(mark.value))?;
            }
        }
        let mut x = 24;
        for (series, name) in self.series.iter().enumerate() {
            symbol(&root, series, (x, LEGEND))?;
            let style = font(13).pos(Pos::new(HPos::Left, VPos::Center));
            root.draw(&Text::new(*name, (x + 10, LEGEND), style))?;
            x += 44 + (name.len() as u32 * LETTER).cast_signed();
        }
        root.present()?;
        Ok(())
    }
}

/// Adds the colours of dark mode.
pub(crate) fn themed(mut svg: String) -> String {
    let mut style = String::from("\n<style>@media(prefers-color-scheme:dark){text{fill:#f0f6fc}");
    for (RGBColor(red, green, blue), dark) in DARK {
        let light = format!("#{red:02X}{green:02X}{blue:02X}");
        let _ = write!(style, "[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}");
    }
    style += "}</style>";
    let head = svg.find('>').map_or(0, |end| end + 1);
    svg.insert_str(head, &style);
    svg.trim_end().to_owned() + "\n"
}

type Drawn<'a> = Result<(), Box<dyn std::error::Error + 'a>>;

/// Returns a series' symbol: a cross for the first, a dot for the second, a triangle for the third.
fn symbol<'a>(root: &DrawingArea<SVGBackend<'a>, Shift>, series: usize, at: (i32, i32)) -> Drawn<'a> {
    let colour = SERIES[series];
    match series {
        0 => root.draw(&Cross::new(at, 5, colour.stroke_width(2)))?,
        1 => root.draw(&Circle::new(at, 4, colour.filled()))?,
        _ => root.draw(&TriangleMarker::new(at, 5, colour.filled()))?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::figure::Rule;
    use super::*;

    #[test]
    fn a_chart_has_a_row_for_each_figure_of_its_unit() {
        let figure =
            Figure::new("a < b", Unit::Share, Some(0.5), Rule::Shown).seen(vec![0.4, 0.5], vec![0.45]);
        let other = Figure::new("ms", Unit::Milliseconds, None, Rule::Shown).seen(vec![900.0], Vec::new());
        let chart = Chart::of("Shares", "share of all requests, %", Unit::Share, &[figure, other]);
        let [(label, marks)] = &chart.rows[..] else { panic!("{chart:?}") };
        assert_eq!((&**label, marks.len()), ("a < b", 3));
        assert_eq!(marks[1], Mark { series: 1, value: 45.0, range: (40.0, 50.0) });
        let svg = chart.svg();
        assert!(svg.contains("a &lt; b") && svg.contains("prefers-color-scheme:dark"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2, "one in the legend, one in the row");
    }
}
