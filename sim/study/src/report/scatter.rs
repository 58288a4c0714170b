//! Named points and their front, as SVG.
//!
//! A name stands where it covers no other name, no point and not the front: beside its point, or a little away with a line to it.

use super::chart::{Axes, LABELS, SIZE, TEXT, builder, number, plain, series_colour, style, told};
use plotters::prelude::*;

/// Pixels of a letter of a name: the widest mean width that the fonts at hand have.
const LETTER_WIDTH: f64 = 0.6 * LABELS as f64;
/// Radius of a point.
const RADIUS: i32 = 4;

/// A point.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dot {
    /// To the right.
    pub x: f64,
    /// Upwards.
    pub y: f64,
    /// Its name.
    pub name: String,
}

type Pixel = (i32, i32);

/// A rectangle of pixels: from the left upper corner to the right lower one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Area(Pixel, Pixel);

impl Area {
    fn meets(&self, other: &Area) -> bool {
        self.0.0 < other.1.0 && other.0.0 < self.1.0 && self.0.1 < other.1.1 && other.0.1 < self.1.1
    }

    fn holds(&self, other: &Area) -> bool {
        self.0.0 <= other.0.0 && self.0.1 <= other.0.1 && other.1.0 <= self.1.0 && other.1.1 <= self.1.1
    }

    fn around((x, y): Pixel, margin: i32) -> Area {
        Area((x - margin, y - margin), (x + margin, y + margin))
    }

    /// Its point nearest to another.
    fn nearest(&self, (x, y): Pixel) -> Pixel {
        (x.clamp(self.0.0, self.1.0), y.clamp(self.0.1, self.1.1))
    }
}

/// The places of points that no other beats in both, from left to right.
pub fn front(dots: &[Dot]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..dots.len()).collect();
    order.sort_by(|&a, &b| dots[a].x.total_cmp(&dots[b].x).then(dots[a].y.total_cmp(&dots[b].y)));
    let mut front: Vec<usize> = Vec::new();
    for index in order {
        if front.last().is_none_or(|&last| dots[index].y < dots[last].y) {
            front.push(index);
        }
    }
    front
}

/// The picture, and how many points have no name in it for want of room.
///
/// # Errors
/// If there is no point.
pub fn scatter(axes: &Axes, dots: &[Dot]) -> Result<(String, usize), String> {
    if dots.is_empty() {
        return Err("there is no point to draw".into());
    }
    let front = front(dots);
    let mut text = String::new();
    let nameless;
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let across = range(dots.iter().map(|dot| dot.x));
        let up = range(dots.iter().map(|dot| dot.y));
        let mut chart = builder(&root).build_cartesian_2d(across, up).map_err(told)?;
        plain(&mut chart.configure_mesh(), axes)
            .x_label_formatter(&number)
            .y_label_formatter(&number)
            .draw()
            .map_err(told)?;
        let mut steps: Vec<(f64, f64)> = Vec::new();
        for &index in &front {
            let Dot { x, y, .. } = dots[index];
            // Between two designs the dearer one is not there yet.
            steps.extend(steps.last().map(|&(_, above)| (x, above)));
            steps.push((x, y));
        }
        chart.draw_series(LineSeries::new(steps.clone(), series_colour(1).stroke_width(2))).map_err(told)?;
        let drawn = dots.iter().enumerate().map(|(index, dot)| {
            let colour = series_colour(usize::from(front.contains(&index)));
            Circle::new((dot.x, dot.y), RADIUS, colour.filled())
        });
        chart.draw_series(drawn).map_err(told)?;
        let pixels: Vec<Pixel> = dots.iter().map(|dot| chart.backend_coord(&(dot.x, dot.y))).collect();
        let line: Vec<Pixel> = steps.iter().map(|step| chart.backend_coord(step)).collect();
        let (right, down) = chart.plotting_area().get_pixel_range();
        let frame = Area((right.start, down.start), (right.end, down.end));
        // The names of the front are placed first.
        let mut order = front.clone();
        order.extend((0..dots.len()).filter(|index| !front.contains(index)));
        let names: Vec<&str> = order.iter().map(|&index| dots[index].name.as_str()).collect();
        let at: Vec<Pixel> = order.iter().map(|&index| pixels[index]).collect();
        let places = place(&names, &at, &line, frame);
        nameless = places.iter().filter(|place| place.is_none()).count();
        for ((name, at), place) in names.iter().zip(&at).zip(&places) {
            let Some(place) = place else { continue };
            if let Some(leader) = leader(*at, place) {
                root.draw(&PathElement::new(leader.to_vec(), TEXT.stroke_width(1))).map_err(told)?;
            }
            root.draw(&Text::new(name.to_string(), place.0, style(LABELS))).map_err(told)?;
        }
        root.present().map_err(told)?;
    }
    Ok((text, nameless))
}

/// A range with room at both ends, that does not begin below zero.
fn range(values: impl Iterator<Item = f64> + Clone) -> std::ops::Range<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.fold(f64::NEG_INFINITY, f64::max);
    let room = if most > least { (most - least) * 0.18 } else { most.abs() * 0.1 + 0.5 };
    (least - room).max(0.0)..most + room
}

/// The line from a point to a name that stands away from it.
fn leader(at: Pixel, name: &Area) -> Option<[Pixel; 2]> {
    let end = name.nearest(at);
    let away = (end.0 - at.0).abs().max((end.1 - at.1).abs());
    (away > 3 * RADIUS).then_some([at, end])
}

/// A place for each name within `frame`, as far as there is room.
fn place(names: &[&str], at: &[Pixel], line: &[Pixel], frame: Area) -> Vec<Option<Area>> {
    let dots: Vec<Area> = at.iter().map(|&at| Area::around(at, RADIUS + 1)).collect();
    // The front goes straight across and straight down.
    let front: Vec<Area> = line
        .windows(2)
        .map(|pair| {
            let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
            Area((x0.min(x1) - 1, y0.min(y1) - 1), (x0.max(x1) + 1, y0.max(y1) + 1))
        })
        .collect();
    // Names, and the lines to them.
    let mut taken: Vec<Area> = Vec::new();
    let mut places = Vec::new();
    for (index, (name, &at)) in names.iter().zip(at).enumerate() {
        let width = (name.chars().count() as f64 * LETTER_WIDTH).ceil() as i32;
        let found = candidates(at, width, LABELS + 3).find_map(|area| {
            let free = frame.holds(&area) && !taken.iter().chain(&dots).chain(&front).any(|o| o.meets(&area));
            // The line to a name may cross the front, but nothing else.
            let pearls = leader(at, &area).map_or_else(Vec::new, |ends| pearls(&ends));
            let clear = pearls.iter().all(|pearl| {
                let strange = dots.iter().enumerate().filter(|(dot, _)| *dot != index).map(|(_, dot)| dot);
                !taken.iter().chain(strange).any(|other| other.meets(pearl))
            });
            (free && clear).then_some((area, pearls))
        });
        places.push(found.map(|(area, pearls)| {
            taken.push(area);
            taken.extend(pearls);
            area
        }));
    }
    places
}

/// Where a name may stand, the best first: around its point, then farther and farther away.
fn candidates((x, y): Pixel, width: i32, height: i32) -> impl Iterator<Item = Area> {
    [8, 18, 30, 44, 60, 80].into_iter().flat_map(move |away| {
        let (right, left, middle) = (x + away, x - away - width, x - width / 2);
        let (above, below, level) = (y - away - height, y + away, y - height / 2);
        [
            (right, level),
            (right, above),
            (left, level),
            (left, above),
            (right, below),
            (left, below),
            (middle, above),
            (middle, below),
        ]
        .map(|(left, top)| Area((left, top), (left + width, top + height)))
    })
}

/// A line as a row of small squares.
fn pearls(&[from, to]: &[Pixel; 2]) -> Vec<Area> {
    let steps = ((to.0 - from.0).abs().max((to.1 - from.1).abs()) / 4).max(1);
    let on = |step| (from.0 + (to.0 - from.0) * step / steps, from.1 + (to.1 - from.1) * step / steps);
    // Its end touches the name.
    (0..steps).map(|step| Area::around(on(step), 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(x: f64, y: f64, name: &str) -> Dot {
        Dot { x, y, name: name.into() }
    }

    #[test]
    fn the_front_is_what_no_other_beats_in_both() {
        let dots = [
            dot(3.0, 1.0, "c"),
            dot(1.0, 3.0, "a"),
            dot(2.0, 3.0, "worse"),
            dot(2.0, 2.0, "b"),
            dot(4.0, 1.0, "dear"),
        ];
        assert_eq!(front(&dots), [1, 3, 0]);
    }

    #[test]
    fn names_stand_clear_of_points_names_and_front() {
        // Twelve points in a heap, as variants of one design are: from the inner ones no line leads out.
        let at: Vec<Pixel> = (0..12).map(|i| (300 + i % 4 * 9, 150 + i / 4 * 7)).collect();
        let names: Vec<String> = (0..12).map(|i| format!("design {i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let line = [(300, 150), (327, 150), (327, 164)];
        let frame = Area((60, 10), (700, 310));
        let places: Vec<Area> = place(&names, &at, &line, frame).into_iter().flatten().collect();
        assert!(places.len() >= 7, "only {} have names", places.len());
        for (index, one) in places.iter().enumerate() {
            assert!(frame.holds(one), "{one:?}");
            assert!(places[..index].iter().all(|other| !other.meets(one)), "{one:?} covers another name");
            assert!(at.iter().all(|&at| !Area::around(at, RADIUS).meets(one)), "{one:?} covers a point");
            assert!(!Area((300, 150), (327, 151)).meets(one), "{one:?} covers the front");
        }
    }

    #[test]
    fn without_room_a_point_stays_nameless() {
        let dots: Vec<Dot> =
            (0..400).map(|i| dot(f64::from(i % 20), f64::from(i / 20), "a long name of a point")).collect();
        let (svg, nameless) = scatter(&Axes::default(), &dots).unwrap();
        assert_eq!(svg.matches("<circle").count(), 400);
        assert_eq!(svg.matches("a long name").count() + nameless, 400);
        assert!(nameless > 300, "{nameless}");
        assert!(scatter(&Axes::default(), &[]).is_err());
        // One point, at zero, is a point.
        assert_eq!(scatter(&Axes::default(), &[Dot::default()]).unwrap().1, 0);
    }
}
