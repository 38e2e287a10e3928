//! Choosing from logits: one row of scores, one for each token of the vocabulary.

/// The best token of a row, and how far it leads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    /// Its id; of equals, the lowest.
    pub token: u32,
    /// Its logit.
    pub logit: f32,
    /// How much lower the runner-up is: 0 or more, infinite if there is none.
    pub lead: f32,
}

/// Rules out `tokens`: no softmax gives them probability, no argmax takes them.
pub fn mask(row: &mut [f32], tokens: &[u32]) {
    for &token in tokens {
        if let Some(logit) = row.get_mut(token as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// The best token, or `None` if no choice is possible: the row is empty, all masked, or holds NaN or +∞.
pub fn best(row: &[f32]) -> Option<Best> {
    let (mut token, mut first, mut second) = (0, f32::NEG_INFINITY, f32::NEG_INFINITY);
    for (id, &logit) in row.iter().enumerate() {
        if logit > first {
            (token, second, first) = (id, first, logit);
        } else if logit > second {
            second = logit;
        } else if logit.is_nan() {
            return None;
        }
    }
    first.is_finite().then_some(Best {
        token: token as u32,
        logit: first,
        lead: first - second,
    })
}

/// Natural logarithm of the probability of `token`, with `largest` the row's largest logit.
pub fn log_probability(row: &[f32], token: u32, largest: f32) -> f32 {
    let sum: f32 = row.iter().map(|logit| (logit - largest).exp()).sum();
    row[token as usize] - largest - sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_and_its_lead() {
        let best_of = |row: &[f32]| best(row).map(|best| (best.token, best.lead));
        assert_eq!(best_of(&[1.0, 3.0, 2.5]), Some((1, 0.5)));
        assert_eq!(best_of(&[2.5, 1.0, 3.0]), Some((2, 0.5)));
        assert_eq!(
            best_of(&[3.0, 1.0, 3.0]),
            Some((0, 0.0)),
            "of equals the lowest"
        );
        assert_eq!(best_of(&[f32::NEG_INFINITY, 1.0]), Some((1, f32::INFINITY)));
        for undecided in [
            &[][..],
            &[f32::NEG_INFINITY],
            &[1.0, f32::NAN],
            &[f32::INFINITY],
        ] {
            assert_eq!(best_of(undecided), None, "{undecided:?}");
        }
    }

    #[test]
    fn masked_tokens_have_no_probability() {
        let mut row = [1.0, 9.0, 1.0, 5.0];
        mask(&mut row, &[1, 3, 77]);
        let best = best(&row).unwrap();
        assert_eq!((best.token, best.lead), (0, 0.0));
        assert!((log_probability(&row, 2, best.logit) - 0.5_f32.ln()).abs() < 1e-6);
        assert_eq!(log_probability(&row, 1, best.logit), f32::NEG_INFINITY);
    }
}
