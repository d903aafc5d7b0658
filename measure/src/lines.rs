//! A chart of values over time as SVG, one line for each series.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::experiment::chart::{FONT, GRID, INK, PAPER, themed};

const SIZE: (u32, u32) = (860, 260);
/// Space for the names at the right.
const NAMES: u32 = 96;
const COLOURS: [RGBColor; 6] = [
    RGBColor(0x09, 0x69, 0xda),
    RGBColor(0xbc, 0x4c, 0x00),
    RGBColor(0x1a, 0x7f, 0x37),
    RGBColor(0x82, 0x50, 0xdf),
    RGBColor(0xbf, 0x39, 0x89),
    RGBColor(0x6e, 0x77, 0x81),
];

/// One series.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// Place on the axis, and value.
    pub(crate) points: Vec<(f64, f64)>,
}

/// One chart.
#[derive(Clone, Debug)]
pub(crate) struct Lines {
    pub(crate) title: String,
    /// The label of the horizontal axis.
    pub(crate) axis: String,
    pub(crate) lines: Vec<Line>,
}

impl Lines {
    pub(crate) fn svg(&self) -> String {
        let mut svg = String::new();
        self.draw(&mut svg).expect("drawing into memory does not fail");
        themed(svg)
    }

    fn draw<'a>(&self, svg: &'a mut String) -> Result<(), Box<dyn std::error::Error + 'a>> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let right = points().map(|(x, _)| *x).fold(1e-9, f64::max);
        let top = points().map(|(_, y)| *y).fold(1e-9, f64::max) * 1.05;
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&PAPER)?;
        let font = |size: u32| (FONT, size).into_font().color(&INK);
        root.draw(&Text::new(self.title.as_str(), (12, 12), font(15)))?;
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .margin_top(36)
            .margin_right(NAMES)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(0.0..right, 0.0..top)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .y_max_light_lines(1)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_label_style(font(13))
            .y_label_style(font(13))
            .axis_desc_style(font(13))
            .x_desc(&self.axis)
            .draw()?;
        // Names are 16 pixels apart, so that lines of equal height have readable ones.
        for (place, (line, colour)) in self.lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let path = PathElement::new(line.points.clone(), colour.stroke_width(2));
            chart.draw_series(std::iter::once(path))?;
            let at = ((SIZE.0 - NAMES + 8).cast_signed(), 44 + 16 * i32::try_from(place)?);
            let style = (FONT, 13).into_font().color(colour).pos(Pos::new(HPos::Left, VPos::Center));
            root.draw(&Text::new(line.name.as_str(), at, style))?;
        }
        root.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Line, Lines};

    #[test]
    fn each_line_has_its_name() {
        let line = |name: &str| Line { name: name.into(), points: vec![(0.0, 1.0), (1.0, 2.0)] };
        let chart =
            Lines { title: "memory".into(), axis: "minutes".into(), lines: vec![line("a-1"), line("b-2")] };
        let svg = chart.svg();
        assert!(["memory", "minutes", "a-1", "b-2"].iter().all(|text| svg.contains(text)), "{svg}");
    }
}
