//! Plots in SVG, in colours that can be told from a light and from a dark page.

use std::fmt::Write as _;

use crate::pairs::{Figure, Target, shown_time};

const WIDTH: f64 = 860.0;
const ROW: f64 = 30.0;
/// Where the text on the left ends and the plot begins.
const LEFT: f64 = 390.0;
const RIGHT: f64 = WIDTH - 90.0;
const TOP: f64 = 46.0;

/// A bar for each time, on a logarithmic scale, since they lie four powers of ten apart.
pub fn times(title: &str, bars: &[(String, f64, bool)]) -> String {
    let longest = bars.iter().map(|(_, time, _)| *time).fold(1.0, f64::max);
    let shortest = bars.iter().map(|(_, time, _)| *time).fold(f64::INFINITY, f64::min);
    let (begin, end) = (shortest.log10().floor(), longest.log10().ceil());
    let x = |time: f64| LEFT + (time.log10() - begin) / (end - begin) * (RIGHT - LEFT);
    let height = TOP + ROW * bars.len() as f64 + 34.0;
    let mut svg = opened(title, height);
    let mut power = begin;
    while power <= end {
        let time = 10f64.powf(power);
        tick(&mut svg, x(time), height, &shown_time(time));
        power += 1.0;
    }
    for (row, (name, time, is_ours)) in bars.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        let class = if *is_ours { "ours" } else { "theirs" };
        label(&mut svg, y, name);
        let _ = writeln!(
            svg,
            r#"<rect class="{class}" x="{LEFT}" y="{:.1}" width="{:.1}" height="16"/><text x="{:.1}" y="{:.1}">{}</text>"#,
            y + 5.0,
            x(*time) - LEFT,
            x(*time) + 6.0,
            y + 17.0,
            shown_time(*time)
        );
    }
    svg + "</svg>\n"
}

/// Each figure in relation to its target: median and quartiles, left of the line is better.
pub fn targets(title: &str, figures: &[&Figure]) -> String {
    const END: f64 = 1.3;
    let x = |share: f64| LEFT + share.min(END) / END * (RIGHT - LEFT);
    let height = TOP + ROW * figures.len() as f64 + 34.0;
    let mut svg = opened(title, height);
    for share in [0.25, 0.5, 0.75, 1.0, 1.25] {
        tick(&mut svg, x(share), height, &format!("{:.0} %", share * 100.0));
    }
    for (row, figure) in figures.iter().enumerate() {
        let y = TOP + ROW * row as f64;
        // What should be large is turned over, so that less is better for all.
        let share = |value: f64| match figure.target {
            Target::AtMost(most) => value / most,
            Target::AtLeast(least) => least / value,
            Target::None => f64::NAN,
        };
        let (low, high) = (share(figure.value.low), share(figure.value.high));
        let (low, high) = (low.min(high), low.max(high));
        label(&mut svg, y, &format!("{} / {}", figure.name, short(&figure.against)));
        let _ = writeln!(
            svg,
            r#"<line class="spread" x1="{0:.1}" x2="{6:.1}" y1="{1:.1}" y2="{1:.1}"/><circle class="ours" cx="{2:.1}" cy="{1:.1}" r="5"/><text x="{3:.1}" y="{4:.1}">{5}</text>"#,
            x(low),
            y + 13.0,
            x(share(figure.value.median)),
            RIGHT + 8.0,
            y + 17.0,
            figure.shown(figure.value.median),
            x(high),
        );
    }
    let _ = writeln!(
        svg,
        r#"<line class="target" x1="{0:.1}" x2="{0:.1}" y1="{1}" y2="{2:.1}"/>"#,
        x(1.0),
        TOP - 4.0,
        height - 26.0
    );
    svg + "</svg>\n"
}

fn short(against: &str) -> &str {
    match against {
        long if long.starts_with("a Rust program") => "the floor",
        long if long.starts_with("amazon-ecr") => "ECR's helper",
        long if long.starts_with("two `curl`") => "curl twice",
        long if long.starts_with("the vendor's") => "Python",
        long if long.starts_with("docker-credential-pass") => "pass",
        long if long.starts_with("one with") => "one",
        long if long.starts_with("one cold") => "one and 200 cached",
        long => long,
    }
}

fn opened(title: &str, height: f64) -> String {
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="{title}">
<style>
text {{ font: 13px system-ui, sans-serif; fill: #6e7781; }}
.title {{ font-size: 15px; font-weight: 600; }}
.ours {{ fill: #2f81f7; }} .theirs {{ fill: #8c959f; }}
.spread {{ stroke: #2f81f7; stroke-width: 3; opacity: 0.5; }}
.grid {{ stroke: #8c959f; opacity: 0.35; }} .target {{ stroke: #d1242f; stroke-width: 2; }}
@media (prefers-color-scheme: dark) {{ text {{ fill: #adbac7; }} }}
</style>
<text class="title" x="10" y="24">{title}</text>
"#
    )
}

fn tick(svg: &mut String, x: f64, height: f64, text: &str) {
    let _ = writeln!(
        svg,
        r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{}" y2="{:.1}"/><text x="{x:.1}" y="{:.1}" text-anchor="middle">{text}</text>"#,
        TOP - 4.0,
        height - 26.0,
        height - 9.0
    );
}

fn label(svg: &mut String, y: f64, text: &str) {
    let text = text.replace('`', "").replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        r#"<text x="{}" y="{:.1}" text-anchor="end">{text}</text>"#,
        LEFT - 8.0,
        y + 17.0
    );
}
