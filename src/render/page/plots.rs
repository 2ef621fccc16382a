//! The page's plots: lag, staleness, rows a second and divergences over time.
//!
//! Does not draw: [`super::super::plot`] does.

use control::report::{Event, Report, Sample};

use super::super::plot::{Mark, Plot, Scale, Series, Times};
use super::super::{bytes, seconds, short};

/// Latencies span from a millisecond to an outage.
const MILLISECONDS: Scale = Scale::Logarithmic {
    floor: 0.001,
    base: 10.0,
};
/// Two steps make the next binary unit.
const KIBIBYTES: Scale = Scale::Logarithmic {
    floor: 1024.0,
    base: 32.0,
};

pub(super) fn plots(page: &mut String, report: &Report) {
    let samples = &report.samples;
    if samples.len() < 2 {
        page.push_str("<p class=\"none\">Nothing to plot yet.</p>\n");
        return;
    }
    let times = times(samples, &report.events);
    page.push_str("<section class=\"plots\">");
    for plot in all_plots(samples, &times) {
        page.push_str(&plot.html());
    }
    page.push_str(
        "</section>\n<p class=\"none\">Each point is the worst of its stretch of time. Dashed lines: \
         what happened to the machinery; point at them, or see below.</p>\n",
    );
}

fn all_plots<'a>(samples: &[Sample], times: &'a Times) -> [Plot<'a>; 5] {
    let series = |name, class, value: fn(&Sample) -> Option<f64>| Series {
        name,
        class,
        values: samples.iter().map(value).collect(),
    };
    let rate = |name, class, total| Series {
        name,
        class,
        values: rates(samples, total),
    };
    let plot = |title, scale, unit, series| Plot {
        title,
        scale,
        unit,
        times,
        series,
    };
    [
        plot(
            "Staleness: from commit to the row on the target",
            MILLISECONDS,
            seconds,
            vec![
                series("p99", "b", |it| it.staleness_seconds_p99),
                series("p50", "a", |it| it.staleness_seconds_p50),
            ],
        ),
        plot(
            "Lag behind the source's log, time",
            MILLISECONDS,
            seconds,
            vec![series("lag", "a", |it| Some(it.lag_seconds))],
        ),
        plot(
            "Lag behind the source's log, size",
            KIBIBYTES,
            bytes,
            vec![series("lag", "a", |it| Some(it.lag_bytes))],
        ),
        plot(
            "Rows a second, by the log's verdict",
            Scale::Linear,
            short,
            vec![
                rate("verified", "a", |it| it.verified),
                rate("applied", "b", |it| it.applied),
            ],
        ),
        plot(
            "Divergences: open, and found so far",
            Scale::Linear,
            short,
            vec![
                series("found", "b", |it| Some(it.found)),
                series("open", "a", |it| Some(it.open)),
            ],
        ),
    ]
}

fn times(samples: &[Sample], events: &[Event]) -> Times {
    Times {
        seconds: samples.iter().map(|sample| sample.at_seconds).collect(),
        texts: samples.iter().map(|sample| sample.at.clone()).collect(),
        marks: events
            .iter()
            .map(|event| Mark {
                at: event.at.clone(),
                title: format!("{} {}: {}", event.at, event.kind, event.text),
            })
            .collect(),
    }
}

/// Growth of a running total per second. A total that fell began anew with its reconciler.
fn rates(samples: &[Sample], total: fn(&Sample) -> f64) -> Vec<Option<f64>> {
    let growth = samples.windows(2).map(|pair| match pair {
        [before, after] if total(after) >= total(before) => {
            let elapsed = after.at_seconds - before.at_seconds;
            (elapsed > 0.0).then(|| (total(after) - total(before)) / elapsed)
        }
        _ => None,
    });
    std::iter::once(None).chain(growth).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_that_fell_is_no_rate() {
        let total = |at_seconds, verified| Sample {
            at_seconds,
            verified,
            ..Sample::default()
        };
        let samples = [total(0.0, 10.0), total(2.0, 30.0), total(3.0, 0.0)];
        assert_eq!(rates(&samples, |it| it.verified), [None, Some(10.0), None]);
    }
}
