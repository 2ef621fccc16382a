//! Plots as inline SVG: values over time, a logarithmic scale where values span magnitudes.
//!
//! Does not need a script: each stretch of time has a title that browsers show when pointed at.

use super::{escape, push};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 26.0;
/// Times written under a plot; more would touch each other on a narrow screen.
const TIMES_SHOWN: usize = 5;
/// Longer spans are labelled with their date.
const DAY_SECONDS: f64 = 86400.0;

/// A reconciler that is merely busy still measures within this.
const GAP_SECONDS_MIN: f64 = 5.0;
/// So many average steps without a measurement are a gap.
const GAP_STEPS: f64 = 4.0;

/// How values become heights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// From zero up.
    Linear,
    /// `floor` times powers of `base`; smaller values lie on the floor.
    Logarithmic {
        /// The least value told apart.
        floor: f64,
        /// From one labelled value to the next.
        base: f64,
    },
}

/// One line of a plot.
#[derive(Debug)]
pub(super) struct Series {
    /// Its name in the legend.
    pub(super) name: &'static str,
    /// Its class in the style sheet, which gives the colour.
    pub(super) class: &'static str,
    /// A value for each time; none breaks the line.
    pub(super) values: Vec<Option<f64>>,
}

/// When something happened, drawn as a vertical line.
#[derive(Debug)]
pub(super) struct Mark {
    /// RFC 3339, as the time axis has it.
    pub(super) at: String,
    /// What.
    pub(super) title: String,
}

/// The time axis, which all plots of a page share.
#[derive(Debug)]
pub(super) struct Times {
    /// Seconds since 1970, ascending.
    pub(super) seconds: Vec<f64>,
    /// The same as RFC 3339.
    pub(super) texts: Vec<String>,
    /// What happened meanwhile.
    pub(super) marks: Vec<Mark>,
}

impl Times {
    fn start(&self) -> f64 {
        self.seconds.first().copied().unwrap_or_default()
    }

    fn span(&self) -> f64 {
        let end = self.seconds.last().copied().unwrap_or_default();
        (end - self.start()).max(1.0)
    }

    fn x(&self, at_seconds: f64) -> f64 {
        LEFT + (at_seconds - self.start()) / self.span() * (WIDTH - LEFT - RIGHT)
    }

    /// Where a time is that may lie between two of the axis: texts of one form sort as times do.
    fn x_of(&self, at: &str) -> Option<f64> {
        let place = self.texts.partition_point(|text| text.as_str() < at);
        let before = self.texts.first().is_none_or(|first| at < first.as_str());
        let seconds = self.seconds.get(place).filter(|_| !before)?;
        Some(self.x(*seconds))
    }

    /// Whether nobody measured between these two times: many steps of the usual size are missing.
    fn is_gap(&self, before: f64, after: f64) -> bool {
        let steps = self.seconds.len().saturating_sub(1).max(1);
        after - before > GAP_SECONDS_MIN.max(GAP_STEPS * self.span() / steps as f64)
    }

    /// The part of an RFC 3339 text that tells times of this span apart.
    fn label<'a>(&self, text: &'a str) -> &'a str {
        let part = if self.span() > DAY_SECONDS {
            text.get(5..16)
        } else {
            text.get(11..19)
        };
        part.unwrap_or(text)
    }
}

/// A plot.
#[derive(Debug)]
pub(super) struct Plot<'a> {
    /// What it shows.
    pub(super) title: &'static str,
    /// How values become heights.
    pub(super) scale: Scale,
    /// How a value is written.
    pub(super) unit: fn(f64) -> String,
    /// The time axis.
    pub(super) times: &'a Times,
    /// The lines.
    pub(super) series: Vec<Series>,
}

impl Plot<'_> {
    /// The plot as a `figure` element.
    pub(super) fn html(&self) -> String {
        let mut html = String::new();
        push(
            &mut html,
            format_args!("<figure><figcaption>{}", escape(self.title)),
        );
        for series in &self.series {
            push(
                &mut html,
                format_args!(
                    " <span class=\"legend {}\">{}</span>",
                    series.class,
                    escape(series.name)
                ),
            );
        }
        push(
            &mut html,
            format_args!(
                "</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
                escape(self.title)
            ),
        );
        let ticks = self.ticks();
        self.grid(&mut html, &ticks);
        self.time_labels(&mut html);
        self.marks(&mut html);
        for series in &self.series {
            self.line(&mut html, series, &ticks);
        }
        self.titles(&mut html);
        html.push_str("</svg></figure>");
        html
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.series
            .iter()
            .flat_map(|series| series.values.iter().flatten().copied())
    }

    /// The values that get a line and a label, ascending; the first and last bound the scale.
    fn ticks(&self) -> Vec<f64> {
        let greatest = self.values().fold(0.0, f64::max);
        match self.scale {
            Scale::Linear => {
                let step = round_step(greatest.max(1.0) / 4.0);
                (0..=5_u8)
                    .map(|number| f64::from(number) * step)
                    .take_while(|tick| *tick < greatest + step)
                    .collect()
            }
            Scale::Logarithmic { floor, base } => {
                let steps = (greatest.max(floor * base) / floor).log(base).ceil();
                std::iter::successors(Some(0.0_f64), |number| Some(number + 1.0))
                    .take_while(|number| *number <= steps)
                    .map(|number| floor * base.powf(number))
                    .collect()
            }
        }
    }

    fn y(&self, value: f64, ticks: &[f64]) -> f64 {
        let (low, high) = match (ticks.first(), ticks.last()) {
            (Some(low), Some(high)) if high > low => (*low, *high),
            _ => (0.0, 1.0),
        };
        let share = match self.scale {
            Scale::Linear => (value - low) / (high - low),
            Scale::Logarithmic { floor, .. } => {
                (value.max(floor) / low).log10() / (high / low).log10()
            }
        };
        HEIGHT - BOTTOM - share.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self, html: &mut String, ticks: &[f64]) {
        for tick in ticks {
            let y = self.y(*tick, ticks);
            push(
                html,
                format_args!(
                    "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}\"/>\
                     <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                    WIDTH - RIGHT,
                    LEFT - 6.0,
                    y + 3.5,
                    escape(&(self.unit)(*tick))
                ),
            );
        }
    }

    fn time_labels(&self, html: &mut String) {
        let count = self.times.texts.len();
        let step = count.saturating_sub(1).div_ceil(TIMES_SHOWN - 1).max(1);
        let places = self.times.seconds.iter().zip(&self.times.texts);
        for (number, (at, text)) in places.step_by(step).enumerate() {
            let anchor = if number == 0 { "start" } else { "middle" };
            let x = self.times.x(*at);
            let anchor = if x > WIDTH - 40.0 { "end" } else { anchor };
            push(
                html,
                format_args!(
                    "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                    HEIGHT - 8.0,
                    escape(self.times.label(text))
                ),
            );
        }
    }

    fn marks(&self, html: &mut String) {
        for mark in &self.times.marks {
            let Some(x) = self.times.x_of(&mark.at) else {
                continue;
            };
            push(
                html,
                format_args!(
                    "<path class=\"mark\" d=\"M{x:.1} {TOP}V{:.1}\"><title>{}</title></path>",
                    HEIGHT - BOTTOM,
                    escape(&mark.title)
                ),
            );
        }
    }

    fn line(&self, html: &mut String, series: &Series, ticks: &[f64]) {
        push(
            html,
            format_args!("<path class=\"line {}\" d=\"", series.class),
        );
        let mut pen_down = false;
        let mut before = self.times.start();
        for (at, value) in self.times.seconds.iter().zip(&series.values) {
            pen_down &= !self.times.is_gap(before, *at);
            before = *at;
            let Some(value) = value else {
                pen_down = false;
                continue;
            };
            let letter = if pen_down { 'L' } else { 'M' };
            pen_down = true;
            push(
                html,
                format_args!(
                    "{letter}{:.1} {:.1}",
                    self.times.x(*at),
                    self.y(*value, ticks)
                ),
            );
        }
        html.push_str("\"/>");
    }

    /// An invisible column for each time, with what was measured then.
    fn titles(&self, html: &mut String) {
        let columns = self.times.seconds.len().max(1);
        let width = (WIDTH - LEFT - RIGHT) / columns as f64;
        for (place, (at, text)) in self.times.seconds.iter().zip(&self.times.texts).enumerate() {
            let values: Vec<String> = self
                .series
                .iter()
                .filter_map(|series| {
                    let value = series.values.get(place).copied().flatten()?;
                    Some(format!("{} {}", series.name, (self.unit)(value)))
                })
                .collect();
            push(
                html,
                format_args!(
                    "<rect class=\"hit\" x=\"{:.1}\" y=\"{TOP}\" width=\"{width:.1}\" \
                     height=\"{:.1}\"><title>{}: {}</title></rect>",
                    self.times.x(*at) - width / 2.0,
                    HEIGHT - TOP - BOTTOM,
                    escape(text),
                    escape(&values.join(", "))
                ),
            );
        }
    }
}

/// The least of 1, 2 and 5 times a power of ten that is no less than `least`.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= least)
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECONDS: Scale = Scale::Logarithmic {
        floor: 0.001,
        base: 10.0,
    };

    fn plot(scale: Scale, times: &Times, values: &[Option<f64>]) -> String {
        let plot = Plot {
            title: "lag",
            scale,
            unit: |value| format!("{value}u"),
            times,
            series: vec![Series {
                name: "p50",
                class: "a",
                values: values.to_vec(),
            }],
        };
        plot.html()
    }

    fn times(count: u16) -> Times {
        Times {
            seconds: (0..count).map(f64::from).collect(),
            texts: (0..count)
                .map(|second| format!("2026-11-23T15:00:{second:02}.000Z"))
                .collect(),
            marks: vec![],
        }
    }

    #[test]
    fn a_gap_in_the_values_breaks_the_line() {
        let values = [Some(0.0), Some(1.0), None, Some(1.0)];
        let html = plot(Scale::Linear, &times(4), &values);
        let line = html.split("class=\"line a\" d=\"").nth(1).unwrap();
        let line = line.split('"').next().unwrap();
        assert_eq!(line.matches('M').count(), 2, "{line}");
        assert_eq!(line.matches('L').count(), 1, "{line}");
    }

    #[test]
    fn time_without_measurements_breaks_the_line() {
        let mut times = times(20);
        for second in &mut times.seconds[10..] {
            *second += 100.0;
        }
        let html = plot(Scale::Linear, &times, &[Some(1.0); 20]);
        assert_eq!(html.matches('L').count(), 18, "{html}");
    }

    #[test]
    fn no_values_and_one_value_still_draw() {
        assert!(plot(Scale::Linear, &times(0), &[]).ends_with("</svg></figure>"));
        let html = plot(MILLISECONDS, &times(1), &[Some(0.5)]);
        assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
    }

    #[test]
    fn a_logarithmic_scale_has_a_line_for_each_power_of_ten() {
        let html = plot(MILLISECONDS, &times(2), &[Some(0.0), Some(0.2)]);
        for label in [">0.001u<", ">0.01u<", ">0.1u<", ">1u<"] {
            assert!(html.contains(label), "{label}");
        }
    }

    #[test]
    fn steps_are_round() {
        let steps = [0.3, 12.0, 60.0].map(|least| round_step(least).to_string());
        assert_eq!(steps, ["0.5", "20", "100"]);
    }

    #[test]
    fn what_happened_is_marked_and_escaped() {
        let mut times = times(3);
        times.marks.push(Mark {
            at: "2026-11-23T15:00:00.500Z".into(),
            title: "target_lost: <b>".into(),
        });
        times.marks.push(Mark {
            at: "2026-11-23T14:00:00.000Z".into(),
            title: "before the plot".into(),
        });
        let html = plot(Scale::Linear, &times, &[]);
        assert!(!html.contains("before the plot"), "{html}");
        assert!(
            html.contains("<title>target_lost: &lt;b&gt;</title>"),
            "{html}"
        );
    }
}
