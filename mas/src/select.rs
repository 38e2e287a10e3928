//! Which positions are sent: those whose importance s · u is above a threshold,
//! best first within a budget, filled to a minimum by spatial energy.

use ndarray::ArrayView1;

use crate::{Error, check};

/// How many positions to keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// A position whose importance s · u is greater is kept, in \[0, 1\].
    pub threshold: f32,
    /// Positions kept at least, if there are so many.
    pub min: usize,
    /// Positions kept at most; not less than `min`.
    pub max: usize,
}

impl Budget {
    /// # Errors
    /// [`Error::Setting`] if the threshold is not in \[0, 1\] or `max` is less than `min`.
    pub fn new(threshold: f32, min: usize, max: usize) -> Result<Self, Error> {
        check(
            "threshold",
            threshold,
            (0.0..=1.0).contains(&threshold),
            "from 0 to 1",
        )?;
        check("max-tokens", max as f32, max >= min, "at least min-tokens")?;
        Ok(Self {
            threshold,
            min,
            max,
        })
    }
}

/// The positions to send, ascending. `importance` (s · u) and `energy` are `[P]`;
/// values that are not finite count as 0. Of equal ones the lower position is first.
pub fn keep(
    importance: ArrayView1<'_, f32>,
    energy: ArrayView1<'_, f32>,
    budget: Budget,
) -> Vec<usize> {
    let best_first = |values: ArrayView1<'_, f32>| {
        let value = |p: usize| {
            if values[p].is_finite() {
                values[p]
            } else {
                0.0
            }
        };
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|a, b| value(*b).total_cmp(&value(*a)));
        order
    };
    let mut kept: Vec<usize> = best_first(importance)
        .into_iter()
        .filter(|p| importance[*p] > budget.threshold)
        .take(budget.max)
        .collect();
    if kept.len() < budget.min {
        let missing = budget.min - kept.len();
        let mut fill = best_first(energy);
        fill.retain(|p| !kept.contains(p));
        kept.extend(fill.into_iter().take(missing));
    }
    kept.sort_unstable();
    kept
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn best_first_within_the_budget_then_by_energy() {
        let importance = array![0.9, 0.1, f32::NAN, 0.8, 0.7];
        let energy = array![1.0, 2.0, f32::NAN, 1.0, 1.0];
        let keep = |threshold, min, max| {
            keep(
                importance.view(),
                energy.view(),
                Budget::new(threshold, min, max).unwrap(),
            )
        };
        assert_eq!(keep(0.5, 0, 2), [0, 3]);
        assert_eq!(keep(0.5, 0, 9), [0, 3, 4]);
        assert_eq!(keep(0.5, 4, 9), [0, 1, 3, 4]);
        assert_eq!(keep(0.5, 9, 9), [0, 1, 2, 3, 4]);
        assert_eq!(keep(1.0, 0, 9), [] as [usize; 0]);
    }

    #[test]
    fn bad_budgets_are_refused() {
        assert!(Budget::new(f32::NAN, 0, 1).is_err());
        let error = Budget::new(0.5, 17, 16).unwrap_err();
        assert_eq!(
            error.to_string(),
            "max-tokens is 16: it must be at least min-tokens"
        );
    }
}
