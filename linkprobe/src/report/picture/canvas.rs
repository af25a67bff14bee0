//! SVG, drawn by plotters' backend: shapes in pixels, in colours that have a second set for the dark.

use std::fmt::Write;

use plotters::prelude::{DrawingBackend, RGBColor, SVGBackend, ShapeStyle};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontFamily, FontStyle, TextStyle};

/// A colour by what it is for: in a light surrounding, and in a dark one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour {
    light: u32,
    dark: u32,
}

/// All colours. No two may be alike in the light, for by that they are told apart.
pub mod colours {
    use super::Colour;
    use crate::record::Verdict;

    const fn colour(light: u32, dark: u32) -> Colour {
        Colour { light, dark }
    }

    /// Behind all.
    pub const PAPER: Colour = colour(0xff_ff_ff, 0x15_1b_23);
    /// Words.
    pub const INK: Colour = colour(0x1f_23_28, 0xe6_ed_f3);
    /// Words of less weight.
    pub const MUTED: Colour = colour(0x59_63_6e, 0x9a_a4_af);
    /// Lines of a grid.
    pub const GRID: Colour = colour(0xe4_e8_ec, 0x2a_31_3a);
    /// Lines of axes.
    pub const AXIS: Colour = colour(0xc4_cb_d2, 0x3d_46_50);
    /// A speed that was found.
    pub const FOUND: Colour = colour(0x21_6b_d6, 0x6c_b0_ff);
    /// A speed that was measured.
    pub const MEASURED: Colour = colour(0x0b_3a_82, 0xb9_da_ff);
    /// A bound.
    pub const BOUND: Colour = colour(0x8d_b9_f0, 0x35_63_9d);
    /// A latency.
    pub const PING: Colour = colour(0x0f_7b_6c, 0x4f_c9_b5);
    /// What is asked for.
    pub const ASKED: Colour = colour(0xb0_3a_6f, 0xf2_8c_bb);
    /// The line was up.
    pub const UP: Colour = colour(0x3f_a6_58, 0x3f_a2_57);
    /// It was down.
    pub const DOWN: Colour = colour(0xc9_24_2f, 0xff_6a_63);

    /// Each verdict has one; what is worse is farther from green.
    pub const VERDICTS: [(Verdict, Colour); 7] = [
        (Verdict::Good, colour(0x4a_ae_62, 0x46_a8_5e)),
        (Verdict::Marginal, colour(0xb4_c8_3c, 0xa6_b8_3a)),
        (Verdict::HighLatency, colour(0xe9_c2_3b, 0xdc_b4_35)),
        (Verdict::Slow, colour(0xee_8a_34, 0xec_8e_3f)),
        (Verdict::WrongIsp, colour(0x84_56_d8, 0xa9_84_f5)),
        (Verdict::Down, colour(0xca_20_2c, 0xff_6b_66)),
        (Verdict::Untested, colour(0xb3_bb_c4, 0x58_62_6d)),
    ];

    /// The colour of a verdict.
    pub fn of(verdict: Verdict) -> Colour {
        let found = VERDICTS.iter().find(|(known, _)| *known == verdict);
        found.map_or(MUTED, |(_, colour)| *colour)
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Colour> {
        [PAPER, INK, MUTED, GRID, AXIS, FOUND, MEASURED, BOUND, PING, ASKED, UP, DOWN]
            .into_iter()
            .chain(VERDICTS.iter().map(|(_, colour)| *colour))
    }
}

impl Colour {
    fn rgb(self) -> RGBColor {
        let [_, red, green, blue] = self.light.to_be_bytes();
        RGBColor(red, green, blue)
    }

    /// As a style sheet names it, in the light.
    #[must_use]
    pub fn light(self) -> String {
        format!("#{:06X}", self.light)
    }

    /// The same in the dark.
    #[must_use]
    pub fn dark(self) -> String {
        format!("#{:06X}", self.dark)
    }
}

/// The style sheet of a picture: letters, and the colours of the dark, which replace those that
/// stand in the picture itself; so a program that reads no style sheets shows the light ones.
#[must_use]
pub fn style() -> String {
    let mut text = String::from(
        "svg text{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,\"DejaVu Sans\",sans-serif}\n\
         svg rect{shape-rendering:crispEdges}\n\
         @media (prefers-color-scheme:dark){\n",
    );
    for colour in colours::all() {
        let (light, dark) = (colour.light(), colour.dark());
        let _ = writeln!(
            text,
            "svg [fill=\"{light}\"]{{fill:{dark}}}svg [stroke=\"{light}\"]{{stroke:{dark}}}"
        );
    }
    text.push_str("}\n");
    text
}

/// A picture that is being drawn.
pub struct Canvas {
    size: (u32, u32),
    body: String,
}

/// Where a text stands: its anchor's side.
#[derive(Debug, Clone, Copy)]
pub enum Side {
    /// The text begins there.
    Left,
    /// Its middle is there.
    Middle,
    /// It ends there.
    Right,
}

impl Canvas {
    /// An empty one.
    #[must_use]
    pub fn new(width: u32, height: u32) -> Self {
        Self { size: (width, height), body: String::new() }
    }

    /// Draws.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Pen<'_>)) {
        let mut text = String::new();
        {
            let mut backend = SVGBackend::with_string(&mut text, self.size);
            draw(&mut Pen { backend: &mut backend });
            let _ = backend.present();
        }
        // What the backend puts around the shapes is ours to write.
        let inside = text.split_once('\n').map_or("", |(_, inside)| inside);
        let inside = inside.trim_end().strip_suffix("</svg>").unwrap_or(inside);
        self.body.push_str(&inside.replace(" opacity=\"1\"", ""));
    }

    /// Draws something that says what it is to who points at it, or has it read out.
    pub fn draw_named(&mut self, name: &str, draw: impl FnOnce(&mut Pen<'_>)) {
        let _ = write!(self.body, "<g><title>{}</title>", escape(name));
        self.draw(draw);
        self.body.push_str("</g>\n");
    }

    /// The shapes.
    #[must_use]
    pub fn finish(self) -> String {
        self.body
    }
}

/// What draws. Nothing can fail: it goes into a string.
pub struct Pen<'a> {
    backend: &'a mut dyn Draws,
}

/// The backend, whose own trait has generic methods.
trait Draws {
    fn rect(&mut self, from: (i32, i32), to: (i32, i32), style: ShapeStyle);
    fn line(&mut self, from: (i32, i32), to: (i32, i32), style: ShapeStyle);
    fn path(&mut self, points: &[(i32, i32)], style: ShapeStyle);
    fn polygon(&mut self, points: &[(i32, i32)], style: ShapeStyle);
    fn circle(&mut self, at: (i32, i32), radius: u32, style: ShapeStyle);
    fn text(&mut self, text: &str, style: &TextStyle<'_>, at: (i32, i32));
}

impl Draws for SVGBackend<'_> {
    fn rect(&mut self, from: (i32, i32), to: (i32, i32), style: ShapeStyle) {
        let _ = self.draw_rect(from, to, &style, style.filled);
    }

    fn line(&mut self, from: (i32, i32), to: (i32, i32), style: ShapeStyle) {
        let _ = self.draw_line(from, to, &style);
    }

    fn path(&mut self, points: &[(i32, i32)], style: ShapeStyle) {
        let _ = self.draw_path(points.iter().copied(), &style);
    }

    fn polygon(&mut self, points: &[(i32, i32)], style: ShapeStyle) {
        let _ = self.fill_polygon(points.iter().copied(), &style);
    }

    fn circle(&mut self, at: (i32, i32), radius: u32, style: ShapeStyle) {
        let _ = self.draw_circle(at, radius, &style, style.filled);
    }

    fn text(&mut self, text: &str, style: &TextStyle<'_>, at: (i32, i32)) {
        let _ = self.draw_text(text, style, at);
    }
}

impl Pen<'_> {
    /// A rectangle.
    pub fn rect(&mut self, from: (i32, i32), to: (i32, i32), colour: Colour, opacity: f64) {
        self.backend.rect(from, to, filled(colour, opacity));
    }

    /// A line.
    pub fn line(&mut self, from: (i32, i32), to: (i32, i32), colour: Colour, width: u32) {
        self.backend.line(from, to, stroke(colour, width));
    }

    /// A level line of dashes.
    pub fn dashes(&mut self, from_x: i32, to_x: i32, y: i32, colour: Colour) {
        let mut x = from_x;
        while x < to_x {
            self.backend.line((x, y), ((x + 6).min(to_x), y), stroke(colour, 2));
            x += 10;
        }
    }

    /// Lines from point to point.
    pub fn path(&mut self, points: &[(i32, i32)], colour: Colour, width: u32) {
        self.backend.path(points, stroke(colour, width));
    }

    /// A filled polygon.
    pub fn polygon(&mut self, points: &[(i32, i32)], colour: Colour, opacity: f64) {
        self.backend.polygon(points, filled(colour, opacity));
    }

    /// A dot.
    pub fn dot(&mut self, at: (i32, i32), radius: u32, colour: Colour) {
        self.backend.circle(at, radius, filled(colour, 1.0));
    }

    /// A square on its corner.
    pub fn diamond(&mut self, (x, y): (i32, i32), size: i32, colour: Colour) {
        let corners = [(x, y - size), (x + size, y), (x, y + size), (x - size, y)];
        self.backend.polygon(&corners, filled(colour, 1.0));
    }

    /// A line of text, its middle at the height of `at`.
    pub fn text(&mut self, text: &str, at: (i32, i32), side: Side, size: f64, colour: Colour) {
        let h_pos = match side {
            Side::Left => HPos::Left,
            Side::Middle => HPos::Center,
            Side::Right => HPos::Right,
        };
        // The backend divides by this number.
        let font = (FontFamily::SansSerif, size * 1.24, FontStyle::Normal);
        let style = TextStyle {
            font: font.into(),
            color: colour.rgb().to_backend_color(),
            pos: Pos::new(h_pos, VPos::Center),
        };
        self.backend.text(text, &style, at);
    }
}

fn filled(colour: Colour, opacity: f64) -> ShapeStyle {
    ShapeStyle { color: colour.rgb().mix(opacity), filled: true, stroke_width: 0 }
}

fn stroke(colour: Colour, width: u32) -> ShapeStyle {
    ShapeStyle { color: colour.rgb().mix(1.0), filled: false, stroke_width: width }
}

/// Text as it stands in XML and in HTML. Control characters, which neither may hold, are gone.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_told_apart_by_what_they_are_in_the_light() {
        let mut all: Vec<String> = colours::all().map(Colour::light).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_picture_is_xml_whatever_its_names_hold() {
        let mut canvas = Canvas::new(10, 10);
        canvas.draw_named("<b>&\"'\u{1}", |pen| {
            pen.text("<&>\"", (1, 1), Side::Middle, 12.0, colours::INK);
            pen.dot((1, 2), 3, colours::FOUND);
        });
        let whole = format!("<svg xmlns=\"http://www.w3.org/2000/svg\">{}</svg>", canvas.finish());
        let document = roxmltree::Document::parse(&whole).unwrap();
        let title = document.descendants().find(|node| node.has_tag_name("title"));
        assert_eq!(title.unwrap().text(), Some("<b>&\"' "));
        assert!(whole.contains("fill=\"#216BD6\"") && !whole.contains("opacity=\"1\""), "{whole}");
    }
}
