//! Pictures, drawn by plotters into SVG that stands on its own: what a pointer meets carries its words with it.

mod curves;
mod days;
mod history;
mod pareto;
mod spread;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::escape_html;

pub use curves::curves;
pub use days::{Day, days};
pub use history::history;
pub use pareto::pareto;
pub use spread::{Unit, spreads};

/// Okabe and Ito's colours, which people who see fewer colours can tell apart; each comes with a shape of its own.
pub const COLOURS: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
    RGBColor(0x7F, 0x7F, 0x7F),
];
/// Colours that the page's style puts its own in the place of, by light and dark.
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const RULE: RGBColor = RGBColor(0xDD, 0xDD, 0xDD);
const AXIS: RGBColor = RGBColor(0x99, 0x99, 0x99);
const PAPER: RGBColor = RGBColor(0xFE, 0xFE, 0xFE);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
/// What goes wrong while drawing into memory: nothing, but the types say it could.
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// A place in a picture that has something to say.
struct Hit {
    at: (i32, i32),
    says: String,
    /// Whether the keyboard stops here too.
    stop: bool,
}

/// The places that have something to say.
#[derive(Default)]
struct Hits(Vec<Hit>);

impl Hits {
    fn put(&mut self, at: (i32, i32), says: String) {
        self.0.push(Hit { at, says, stop: true });
    }

    fn put_quietly(&mut self, at: (i32, i32), says: String) {
        self.0.push(Hit { at, says, stop: false });
    }
}

/// The colour of the arm at a place.
pub fn colour(arm: usize) -> RGBColor {
    COLOURS[arm % COLOURS.len()]
}

/// Draws a picture. `alt` says in words what it shows.
fn picture(size: (u32, u32), alt: &str, draw: impl FnOnce(&Area<'_>, &mut Hits) -> Drawn) -> String {
    let mut svg = String::new();
    let mut hits = Hits::default();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        draw(&area, &mut hits).expect("drawing into memory cannot fail");
        area.present().expect("drawing into memory cannot fail");
    }
    let (w, h) = size;
    let body = svg.find("<svg").and_then(|at| svg[at..].find('>').map(|end| at + end + 1)).unwrap_or(0);
    let inner = svg[body..].trim_end().trim_end_matches("</svg>");
    let mut out = format!(
        "<svg class=\"chart{}\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" role=\"group\" aria-label=\"{}\">",
        if w > 600 { " wide" } else { "" },
        escape(alt)
    );
    // Names and styles that every text repeats are the page's business.
    out.push_str(&inner.replace(" font-family=\"sans-serif\"", "").replace(" opacity=\"1\"", "").replace("\n\n", "\n"));
    for Hit { at: (x, y), says, stop } in &hits.0 {
        let stop = if *stop { " tabindex=\"0\" role=\"img\"" } else { "" };
        out.push_str(&format!(
            "<circle class=\"hit\" cx=\"{x}\" cy=\"{y}\" r=\"11\"{stop}><title>{}</title></circle>\n",
            escape(says)
        ));
    }
    out.push_str("</svg>");
    out
}

/// SVG is XML, which has no control characters.
fn escape(text: &str) -> String {
    let printable = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
    escape_html(&text.chars().map(printable).collect::<String>())
}

fn words(colour: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    ("sans-serif", 16).into_font().color(&colour).pos(Pos::new(h, v))
}

/// A mark on an axis: where, and the words beside it.
type Tick = (f64, String);

/// What an axis measures, and its marks.
struct Axes<'a> {
    x: &'a [Tick],
    y: &'a [Tick],
    x_says: &'a str,
    y_says: &'a str,
}

/// A plane with room for labels, its grid drawn.
fn plane<'a, 'b>(
    area: &'a Area<'b>,
    (x0, x1): (f64, f64),
    (y0, y1): (f64, f64),
    axes: &Axes<'_>,
) -> Result<Chart<'a, 'b>, DrawingAreaErrorKind<std::io::Error>> {
    let room = if axes.y.is_empty() { 10 } else { 50 };
    let chart = ChartBuilder::on(area)
        .margin_top(if axes.y_says.is_empty() { 8 } else { 28 })
        .margin_right(16)
        .x_label_area_size(if axes.x_says.is_empty() { 26 } else { 46 })
        .y_label_area_size(room)
        .build_cartesian_2d(x0..x1, y0..y1)?;
    let at = |x: f64, y: f64| chart.backend_coord(&(x, y));
    for (y, label) in axes.y {
        area.draw(&PathElement::new([at(x0, *y), at(x1, *y)], RULE.stroke_width(1)))?;
        let (px, py) = at(x0, *y);
        area.draw(&Text::new(label.clone(), (px - 8, py), words(INK, HPos::Right, VPos::Center)))?;
    }
    area.draw(&PathElement::new([at(x0, y0), at(x1, y0)], AXIS.stroke_width(1)))?;
    for (x, label) in axes.x {
        let (px, py) = at(*x, y0);
        area.draw(&PathElement::new([(px, py), (px, py + 4)], AXIS.stroke_width(1)))?;
        area.draw(&Text::new(label.clone(), (px, py + 8), words(INK, HPos::Center, VPos::Top)))?;
    }
    if !axes.x_says.is_empty() {
        let ((left, bottom), (right, _)) = (at(x0, y0), at(x1, y0));
        let place = ((left + right) / 2, bottom + 28);
        area.draw(&Text::new(axes.x_says.to_owned(), place, words(INK, HPos::Center, VPos::Top)))?;
    }
    if !axes.y_says.is_empty() {
        area.draw(&Text::new(axes.y_says.to_owned(), (4, 4), words(INK, HPos::Left, VPos::Top)))?;
    }
    Ok(chart)
}

/// A mark whose shape tells arms apart without their colour.
fn marker(area: &Area<'_>, (x, y): (i32, i32), arm: usize) -> Drawn {
    let (fill, edge) = (colour(arm).filled(), PAPER.stroke_width(1));
    let shape = |points: &[(i32, i32)]| -> Drawn {
        let points: Vec<(i32, i32)> = points.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
        area.draw(&Polygon::new(points.clone(), fill))?;
        area.draw(&PathElement::new([points.as_slice(), &points[..1]].concat(), edge))
    };
    match arm % COLOURS.len() {
        0 => {
            area.draw(&Circle::new((x, y), 5, fill))?;
            area.draw(&Circle::new((x, y), 5, edge))
        }
        1 => shape(&[(-5, -5), (5, -5), (5, 5), (-5, 5)]),
        2 => shape(&[(0, -6), (6, 5), (-6, 5)]),
        3 => shape(&[(0, -7), (7, 0), (0, 7), (-7, 0)]),
        4 => shape(&[(0, 6), (6, -5), (-6, -5)]),
        5 => shape(&[
            (-2, -6),
            (2, -6),
            (2, -2),
            (6, -2),
            (6, 2),
            (2, 2),
            (2, 6),
            (-2, 6),
            (-2, 2),
            (-6, 2),
            (-6, -2),
            (-2, -2),
        ]),
        _ => shape(&[(-6, 0), (-2, -6), (2, -6), (6, 0), (2, 6), (-2, 6)]),
    }
}

/// The mark of an arm as a small picture of its own, for a legend.
pub fn legend_mark(arm: usize) -> String {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (16, 16)).into_drawing_area();
        marker(&area, (8, 8), arm).and_then(|()| area.present()).expect("drawing into memory cannot fail");
    }
    let body = svg.find("<svg").and_then(|at| svg[at..].find('>').map(|end| at + end + 1)).unwrap_or(0);
    let inner = svg[body..].trim_end().trim_end_matches("</svg>").replace('\n', "").replace(" opacity=\"1\"", "");
    format!(
        "<svg class=\"chart mark\" viewBox=\"0 0 16 16\" width=\"16\" height=\"16\" aria-hidden=\"true\">{inner}</svg>"
    )
}

/// Round numbers between two bounds, about so many.
fn nice(low: f64, high: f64, about: u32) -> Vec<f64> {
    let span = high - low;
    if !(span.is_finite() && span > 0.0) {
        return vec![low];
    }
    let raw = span / f64::from(about.max(1));
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].iter().map(|m| m * power).find(|step| *step >= raw * 0.999).unwrap_or(raw);
    let first = (low / step).ceil();
    (0..=2 * about).map(|i| (first + f64::from(i)) * step).take_while(|x| *x <= high + step * 1e-6).collect()
}

/// Every 25 points of a hundred.
fn percents() -> Vec<Tick> {
    [0, 25, 50, 75, 100].map(|p| (f64::from(p) / 100.0, format!("{p} %"))).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(nice(0.0, 10.0, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(nice(0.3, 1.1, 4), [0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(nice(1.0, 1.0, 4), [1.0]);
        assert_eq!(nice(0.0, f64::NAN, 4), [0.0]);
    }

    #[test]
    fn words_in_a_picture_stay_words() {
        let svg = picture((100, 50), "a \"<b>", |_, hits| {
            hits.put((1, 2), "</title><script>".to_owned());
            Ok(())
        });
        assert!(svg.contains("a &quot;&lt;b&gt;") && svg.contains("&lt;/title&gt;&lt;script&gt;"), "{svg}");
        assert!(!svg.contains("http"), "a picture refers to nothing outside: {svg}");
    }
}
