//! Lines and stacked bars as SVG.
//!
//! Everything is drawn in place-holder colours, which a page replaces by its theme's ([`Palette::css`]) and a picture for itself by fixed
//! ones ([`standalone`]). Never: a picture that needs a font, a script or another file.

use plotters::chart::MeshStyle;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Size of a picture, in pixels.
pub(super) const SIZE: (u32, u32) = (720, 360);
/// Most series that can be told apart.
pub const MOST_SERIES: usize = 9;

/// Sizes of letters as the library counts them, 1.24 to a pixel: of labels, and of the names of axes.
pub(super) const LABELS: i32 = 15;
const NAMES: i32 = 16;
/// Pixels of a letter of a label, on average.
const LETTER: i32 = 8;
/// Letters of the longest label that is drawn whole, and of the longest that stands upright below a bar.
const MOST_LETTERS: usize = 32;
const MOST_UPRIGHT: usize = 18;

/// Points of a line up to which each is marked.
const MARKED: usize = 24;

/// Place-holders.
pub(super) const TEXT: RGBColor = RGBColor(1, 0, 1);
const GRID: RGBColor = RGBColor(1, 0, 2);
const BAND: RGBColor = RGBColor(1, 0, 3);

pub(super) fn series_colour(index: usize) -> RGBColor {
    RGBColor(1, 1, (index % MOST_SERIES) as u8)
}

/// The colours of a theme: text, grid, band of published figures, and series (Okabe and Ito's, which most people can tell apart).
pub struct Palette {
    text: &'static str,
    grid: &'static str,
    band: &'static str,
    series: [&'static str; MOST_SERIES],
}

/// On white.
pub const LIGHT: Palette = Palette {
    text: "#333333",
    grid: "#dddddd",
    band: "#cfe3f5",
    series: [
        "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7f3fbf", "#555555", "#a0522d",
    ],
};

/// On black.
pub const DARK: Palette = Palette {
    text: "#dddddd",
    grid: "#444444",
    band: "#23405a",
    series: [
        "#56b4e9", "#e69f00", "#2fd0a0", "#e79ac8", "#f0e442", "#9ad1f5", "#b58cf0", "#bbbbbb", "#d98f63",
    ],
};

impl Palette {
    /// Place-holder and colour.
    fn pairs(&self) -> Vec<(String, &'static str)> {
        let hex = |RGBColor(r, g, b): RGBColor| format!("#{r:02X}{g:02X}{b:02X}");
        let mut pairs = vec![(hex(TEXT), self.text), (hex(GRID), self.grid), (hex(BAND), self.band)];
        pairs.extend(self.series.iter().enumerate().map(|(i, colour)| (hex(series_colour(i)), *colour)));
        pairs
    }

    /// Style rules that give the pictures of a page these colours.
    pub fn css(&self) -> String {
        let rule = |(holder, colour): (String, &str)| {
            format!("svg [fill=\"{holder}\"]{{fill:{colour}}}svg [stroke=\"{holder}\"]{{stroke:{colour}}}\n")
        };
        self.pairs().into_iter().map(rule).collect()
    }
}

/// A picture for itself, on white.
pub fn standalone(svg: &str) -> String {
    let mut svg = svg.to_string();
    for (holder, colour) in LIGHT.pairs() {
        svg = svg.replace(&holder, colour);
    }
    let end = svg.find('>').map_or(0, |end| end + 1);
    svg.insert_str(end, "\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>");
    svg
}

/// A picture for itself as PNG, twice as large.
///
/// # Errors
/// What the renderer says.
pub fn png(svg: &str) -> Result<Vec<u8>, String> {
    use resvg::{tiny_skia, usvg};
    let mut options = usvg::Options { font_family: "DejaVu Sans".into(), ..usvg::Options::default() };
    options.fontdb_mut().load_font_data(dejavu::sans::regular().to_vec());
    options.fontdb_mut().set_sans_serif_family("DejaVu Sans");
    let tree = usvg::Tree::from_str(&standalone(svg), &options).map_err(|error| error.to_string())?;
    let mut pixels = tiny_skia::Pixmap::new(2 * SIZE.0, 2 * SIZE.1).ok_or("the picture has no size")?;
    resvg::render(&tree, tiny_skia::Transform::from_scale(2.0, 2.0), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| error.to_string())
}

/// The axes of a picture.
#[derive(Clone, Debug, Default)]
pub struct Axes {
    /// What goes from left to right, with its unit.
    pub x: String,
    /// What goes up, with its unit.
    pub y: String,
    /// Logarithmic from left to right.
    pub log_x: bool,
    /// At least so high.
    pub least_y: f64,
}

/// A line, or points of one kind.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Its points, from left to right: x, y, and how far other seeds were below and above.
    pub points: Vec<(f64, f64, f64, f64)>,
    /// A limit that is computed, not measured: dashed, without points.
    pub limit: bool,
}

/// A range to compare with: name, from, to.
pub type Band = (String, f64, f64);

type Drawn = Result<String, String>;

pub(super) fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub(super) fn style(size: i32) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", size).into_font()).color(&TEXT)
}

/// Lines over numbers.
///
/// # Errors
/// If there is nothing to draw.
pub fn lines(axes: &Axes, series: &[Series], bands: &[Band]) -> Drawn {
    let points = || series.iter().flat_map(|s| &s.points);
    let fold = |f: fn(f64, f64) -> f64, start: f64, x: bool| {
        points()
            .flat_map(|p| if x { [p.0, p.0] } else { [p.1 - p.2, p.1 + p.3] })
            .filter(|v| v.is_finite())
            .fold(start, f)
    };
    let (left, right) = (fold(f64::min, f64::INFINITY, true), fold(f64::max, f64::NEG_INFINITY, true));
    if left > right {
        return Err("there is no point to draw".into());
    }
    let top = bands.iter().map(|band| band.2).fold(fold(f64::max, axes.least_y, false), f64::max);
    let bottom = fold(f64::min, 0.0, false).min(0.0);
    let height = if top > bottom { bottom..bottom + (top - bottom) * 1.08 } else { bottom..bottom + 1.0 };
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let names = key(series, bands);
        let (root, side) = root.split_horizontally(SIZE.0 as i32 - width(&names));
        if axes.log_x && left > 0.0 {
            let range = (left * 0.9..right * 1.1).log_scale().with_key_points(places(series));
            let chart = builder(&root).build_cartesian_2d(range, height).map_err(told)?;
            draw_lines(chart, axes, series, bands, (left, right))?;
        } else {
            let margin = ((right - left) * 0.03).max(0.5);
            let chart =
                builder(&root).build_cartesian_2d(left - margin..right + margin, height).map_err(told)?;
            draw_lines(chart, axes, series, bands, (left, right))?;
        }
        draw_key(&side, &names)?;
        root.present().map_err(told)?;
    }
    Ok(text)
}

/// Where a logarithmic axis is labelled: at points that are a twelfth of the axis apart.
fn places(series: &[Series]) -> Vec<f64> {
    let mut places: Vec<f64> = series.iter().flat_map(|line| &line.points).map(|point| point.0).collect();
    places.sort_by(f64::total_cmp);
    let factor = match (places.first(), places.last()) {
        (Some(first), Some(last)) => (last / first).powf(1.0 / 12.0),
        _ => return places,
    };
    let mut labelled: Vec<f64> = Vec::new();
    for place in places {
        if labelled.last().is_none_or(|last| place > *last && place >= last * factor) {
            labelled.push(place);
        }
    }
    labelled
}

/// What stands beside a picture: name, colour, and whether it is a band.
type Key = Vec<(String, RGBColor, bool)>;

fn key(series: &[Series], bands: &[Band]) -> Key {
    let bands = bands.iter().map(|(name, _, _)| (name.clone(), BAND, true));
    let named = series.len() > 1 || series.iter().any(|line| !line.name.is_empty());
    let lines =
        series.iter().enumerate().map(|(index, line)| (line.name.clone(), series_colour(index), false));
    bands.chain(lines.filter(|_| named)).collect()
}

/// Pixels that the names need.
fn width(names: &Key) -> i32 {
    let longest = names.iter().map(|(name, _, _)| name.chars().count()).max();
    longest.map_or(0, |letters| 40 + letters.min(MOST_LETTERS) as i32 * LETTER)
}

/// Names in the right margin, where no line and no bar is.
fn draw_key(side: &DrawingArea<SVGBackend<'_>, Shift>, names: &Key) -> Result<(), String> {
    for (row, (name, colour, band)) in names.iter().enumerate() {
        let y = 24 + row as i32 * 20;
        let thick = if *band { 5 } else { 1 };
        side.draw(&Rectangle::new([(4, y - thick), (22, y + thick)], colour.filled())).map_err(told)?;
        side.draw(&Text::new(shortened(name, MOST_LETTERS), (28, y - 7), style(LABELS))).map_err(told)?;
    }
    Ok(())
}

/// A label that a picture has room for.
fn shortened(label: &str, most: usize) -> String {
    if label.chars().count() <= most {
        return label.to_string();
    }
    label.chars().take(most - 1).chain(['…']).collect()
}

pub(super) fn builder<'a, 'b>(
    root: &'a DrawingArea<SVGBackend<'b>, Shift>,
) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(root);
    builder.margin(10).x_label_area_size(44).y_label_area_size(64);
    builder
}

/// A number on an axis: short, without needless digits.
pub(super) fn number(value: &f64) -> String {
    let v = *value;
    match v.abs() {
        a if a >= 1e9 => format!("{}G", trimmed(v / 1e9)),
        a if a >= 1e6 => format!("{}M", trimmed(v / 1e6)),
        a if a >= 1e4 => format!("{}k", trimmed(v / 1e3)),
        _ => trimmed(v),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// What all pictures have in common: names of the axes, colours, size of letters.
pub(super) fn plain<'m, 'a, 'b, X, Y, B>(
    mesh: &'m mut MeshStyle<'a, 'b, X, Y, B>,
    axes: &Axes,
) -> &'m mut MeshStyle<'a, 'b, X, Y, B>
where
    B: DrawingBackend,
    X: plotters::coord::ranged1d::Ranged,
    Y: plotters::coord::ranged1d::Ranged,
{
    mesh.x_desc(axes.x.as_str())
        .y_desc(axes.y.as_str())
        .axis_style(GRID)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style(style(LABELS))
        .axis_desc_style(style(NAMES))
}

fn draw_lines<'a, 'b: 'a, X>(
    mut chart: ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, plotters::coord::types::RangedCoordf64>>,
    axes: &Axes,
    series: &[Series],
    bands: &[Band],
    (left, right): (f64, f64),
) -> Result<(), String>
where
    X: plotters::coord::ranged1d::Ranged<ValueType = f64> + plotters::coord::ranged1d::ValueFormatter<f64>,
{
    plain(&mut chart.configure_mesh(), axes)
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .draw()
        .map_err(told)?;
    for (_, from, to) in bands {
        let corners = [(left, *from), (right, *to)];
        chart.draw_series([Rectangle::new(corners, BAND.filled())]).map_err(told)?;
    }
    for (index, line) in series.iter().enumerate() {
        let colour = series_colour(index);
        let path: Vec<(f64, f64)> = line.points.iter().map(|p| (p.0, p.1)).collect();
        if line.limit {
            chart.draw_series(DashedLineSeries::new(path, 6, 4, colour.stroke_width(2))).map_err(told)?;
            continue;
        }
        chart.draw_series(LineSeries::new(path.clone(), colour.stroke_width(2))).map_err(told)?;
        if path.len() <= MARKED {
            chart
                .draw_series(path.into_iter().map(|at| Circle::new(at, 3, colour.filled())))
                .map_err(told)?;
        }
        let spread = line.points.iter().filter(|p| p.2 > 0.0 || p.3 > 0.0);
        let bar = |p: &(f64, f64, f64, f64)| {
            PathElement::new(vec![(p.0, p.1 - p.2), (p.0, p.1 + p.3)], colour.stroke_width(1))
        };
        chart.draw_series(spread.map(bar)).map_err(told)?;
    }
    Ok(())
}

/// Stacked bars: for each bar its label and the parts, in the order of `names`.
///
/// # Errors
/// If there is nothing to draw.
pub fn stacked(axes: &Axes, names: &[&str], bars: &[(String, Vec<f64>)]) -> Drawn {
    let top = bars.iter().map(|(_, parts)| parts.iter().sum::<f64>()).fold(0.0, f64::max);
    if bars.is_empty() || top <= 0.0 {
        return Err("there is nothing to stack".into());
    }
    // As the parts lie above each other.
    let key: Key = names
        .iter()
        .enumerate()
        .map(|(part, name)| (name.to_string(), series_colour(part), true))
        .rev()
        .collect();
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let (root, side) = root.split_horizontally(SIZE.0 as i32 - width(&key));
        let letters = bars.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0) as i32;
        let upright = letters * LETTER > (root.dim_in_pixel().0 as i32 - 84) / bars.len() as i32;
        let most = if upright { MOST_UPRIGHT } else { MOST_LETTERS };
        let labels: Vec<String> = bars.iter().map(|(label, _)| shortened(label, most)).collect();
        let room = if upright { 34 + letters.min(most as i32) * LETTER } else { 44 };
        let across = -0.5..bars.len() as f64 - 0.5;
        let mut chart = builder(&root)
            .x_label_area_size(room)
            .build_cartesian_2d(across, 0.0..top * 1.05)
            .map_err(told)?;
        plain(&mut chart.configure_mesh(), axes)
            .disable_x_mesh()
            .x_labels(0)
            .y_label_formatter(&number)
            .draw()
            .map_err(told)?;
        for part in 0..names.len() {
            let boxes = bars.iter().enumerate().filter_map(|(bar, (_, parts))| {
                let below: f64 = parts[..part].iter().sum();
                (parts[part] > 0.0).then(|| {
                    let x = bar as f64;
                    let corners = [(x - 0.35, below), (x + 0.35, below + parts[part])];
                    Rectangle::new(corners, series_colour(part).filled())
                })
            });
            chart.draw_series(boxes).map_err(told)?;
        }
        let feet: Vec<(i32, i32)> =
            (0..bars.len()).map(|bar| chart.backend_coord(&(bar as f64, 0.0))).collect();
        draw_feet(&root, &labels, &feet, upright)?;
        draw_key(&side, &key)?;
        root.present().map_err(told)?;
    }
    Ok(text)
}

/// Labels below bars, upright where they would run into each other.
fn draw_feet(
    root: &DrawingArea<SVGBackend<'_>, Shift>,
    labels: &[String],
    feet: &[(i32, i32)],
    upright: bool,
) -> Result<(), String> {
    let style = if upright {
        style(LABELS).transform(FontTransform::Rotate270).pos(Pos::new(HPos::Right, VPos::Center))
    } else {
        style(LABELS).pos(Pos::new(HPos::Center, VPos::Top))
    };
    for (label, (x, y)) in labels.iter().zip(feet) {
        root.draw(&Text::new(label.clone(), (*x, y + 7), style.clone())).map_err(told)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str) -> Series {
        let points = vec![(1.0, 2.0, 0.0, 0.0), (10.0, 3.0, 0.5, 0.5), (100.0, 1.0, 0.0, 0.0)];
        Series { name: name.into(), points, limit: false }
    }

    #[test]
    fn pictures_have_no_fixed_colours_and_become_png() {
        let axes = Axes { x: "latency (cycles)".into(), y: "overhead (%)".into(), log_x: true, least_y: 0.0 };
        let bands = [("published".to_string(), 1.0, 2.5)];
        let mut limit = line("limit of memory");
        limit.limit = true;
        let svg = lines(&axes, &[line("sort"), line("xz"), limit], &bands).unwrap();
        assert!(svg.contains("sort") && svg.contains("published") && svg.contains("#010100"), "{svg}");
        let alone = standalone(&svg);
        assert!(!alone.contains("#010100") && alone.contains("#0072b2"));
        let png = png(&svg).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() > 5_000, "{} bytes", png.len());
    }

    #[test]
    fn nothing_to_draw_is_told() {
        let axes = Axes::default();
        assert!(lines(&axes, &[], &[]).is_err());
        assert!(stacked(&axes, &["a"], &[]).is_err());
        // A single point, and zero, are points.
        let one = Series { points: vec![(0.0, 0.0, 0.0, 0.0)], ..Series::default() };
        assert!(lines(&Axes { log_x: true, ..Axes::default() }, &[one], &[]).is_ok());
    }
}
