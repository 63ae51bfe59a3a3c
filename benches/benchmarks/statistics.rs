//! Median, quantiles and the Mann-Whitney U test.

use std::time::Duration;

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Returns the value below which a share `q` of the samples lies. Panics without samples.
pub fn quantile(samples: &[f64], q: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The result of a Mann-Whitney U test: how well a single sample shows which of two groups it comes from.
pub struct Separation {
    /// The probability that a sample of the second group is greater than a sample of the first. 0.5 means no
    /// difference.
    pub auc: f64,
    /// The probability that chance alone makes such a difference, by the normal approximation.
    pub p: f64,
}

/// Compares two groups of samples with the Mann-Whitney U test. The test assumes no distribution, and an outlier weighs
/// as much as any other sample.
pub fn mann_whitney(first: &[f64], second: &[f64]) -> Separation {
    let (n, m) = (first.len() as f64, second.len() as f64);
    let wins = |a: f64, b: f64| if b > a { 1.0 } else { f64::from(u8::from(a == b)) / 2.0 };
    let u: f64 = first.iter().flat_map(|a| second.iter().map(move |b| wins(*a, *b))).sum();
    let z = (u - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt();
    Separation { auc: u / (n * m), p: erfc(z.abs() / 2f64.sqrt()) }
}

/// Returns the complementary error function of `x` (Abramowitz and Stegun, 7.1.26). The error is below 1.5e-7.
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    series.iter().fold(0.0, |sum, a| (sum + a) * t) * (-x * x).exp()
}
