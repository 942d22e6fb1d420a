//! Medians and quartiles: one slow run in a hundred says something of the machine, not of the
//! program.

/// The value below which `share` (0 to 1) of the values lie, interpolated.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let position = share * last as f64;
    let (below, above) = (position.floor(), position.ceil());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to len - 1")]
    let (low, high) = (sorted[below as usize], sorted[above as usize]);
    low + (high - low) * (position - below)
}

pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Median and quartiles.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    pub fn of(values: &[f64]) -> Self {
        Self { low: quantile(values, 0.25), median: median(values), high: quantile(values, 0.75) }
    }
}
