//! Medians and ratios over rounds.

use super::Series;

/// Median, least and greatest of some rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

/// The spread of `values`; `None` if there are none.
pub fn spread(values: impl Iterator<Item = f64>) -> Option<Spread> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = match values.len() {
        0 => return None,
        odd if odd % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    };
    Some(Spread { median, min: values[0], max: values[values.len() - 1] })
}

/// The spread of a field of the samples over the rounds of a series.
pub fn of(series: &Series, field: &str) -> Option<Spread> {
    spread(series.samples.iter().flatten().filter_map(|sample| sample.get(field)))
}

/// The ratios of a field to the same round of the reference. Pairs of the same round cancel effects
/// that slow the whole machine for a while.
pub fn ratio(series: &Series, reference: &Series, field: &str) -> Option<Spread> {
    let rounds = series.samples.iter().zip(&reference.samples);
    spread(rounds.filter_map(|(ours, theirs)| {
        let theirs = theirs.as_ref()?.get(field)?;
        (theirs > 0.0).then_some(ours.as_ref()?.get(field)? / theirs)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    #[test]
    fn spread_of_even_count_is_mean_of_middle_two() {
        let found = spread([4.0, 1.0, 3.0, 2.0].into_iter());
        assert_eq!(found, Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(spread(std::iter::empty()), None);
    }

    #[test]
    fn ratio_pairs_rounds() {
        let series = |values: &[f64]| Series {
            peer: "peer",
            samples: values
                .iter()
                .map(|&value| Some(Sample { ns_per_op: Some(value), ..Sample::default() }))
                .collect(),
        };
        let (ours, theirs) = (series(&[1.0, 30.0, 2.0]), series(&[2.0, 60.0, 4.0]));
        let half = Spread { median: 0.5, min: 0.5, max: 0.5 };
        assert_eq!(ratio(&ours, &theirs, "ns_per_op"), Some(half));
    }
}
