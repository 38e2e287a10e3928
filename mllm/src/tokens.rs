//! Image tokens: a picture, or what was kept of it, as the language models read it; and how they travel.

use ndarray::{Array2, Axis};

use crate::{Config, Error, Result};

/// A subset of a picture's tokens, in ascending order of position.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageTokens {
    /// Position of each token in the picture, row by row from the top left: 0 to one less than
    /// [`Config::image_tokens`], each at most once, ascending.
    pub positions: Vec<i64>,
    /// One row for each position, [`Config::image_token_size`] wide.
    pub features: Array2<f32>,
}

impl ImageTokens {
    /// All tokens of a picture: `features` has one row for each position, as [`Trunk::run`](crate::Trunk::run) gives.
    pub fn all(features: Array2<f32>) -> Self {
        Self {
            positions: (0..features.nrows() as i64).collect(),
            features,
        }
    }

    /// The rows of `features`, one for each position, whose place in `keep` is true.
    pub fn kept(features: &Array2<f32>, keep: &[bool]) -> Self {
        let rows: Vec<usize> = (0..features.nrows())
            .filter(|&row| keep.get(row).copied().unwrap_or(false))
            .collect();
        Self {
            features: features.select(Axis(0), &rows),
            positions: rows.into_iter().map(|row| row as i64).collect(),
        }
    }

    /// Tokens that came over the wire, each `(y, x, scale, steps)` of a square grid, as the sender's model read them.
    ///
    /// # Errors
    /// [`Error::Encoder`] if `encoder` and its `sha256` are not what the model of `config` reads, [`Error::Tokens`] if the
    /// tokens are not all of one length. What else the model asks of them is checked where it reads them.
    pub fn received<'a>(
        config: &Config,
        encoder: &str,
        sha256: &str,
        tokens: impl IntoIterator<Item = (u16, u16, f32, &'a [i8])>,
    ) -> Result<Self> {
        let reads = &config.vision_encoder;
        if encoder != reads.id || sha256 != reads.sha256 {
            return Err(Error::Encoder {
                found: encoder.to_owned(),
                found_sha256: sha256.to_owned(),
                reads: reads.id.clone(),
                reads_sha256: reads.sha256.clone(),
            });
        }
        let width = config.image_tokens.isqrt() as i64;
        let (mut positions, mut features) = (Vec::new(), Vec::new());
        for (y, x, scale, steps) in tokens {
            positions.push(i64::from(y) * width + i64::from(x));
            features.extend(restore(scale, steps));
        }
        let shape = (
            positions.len(),
            features.len().checked_div(positions.len()).unwrap_or(0),
        );
        let features = Array2::from_shape_vec(shape, features)
            .map_err(|_| Error::Tokens("they are not all of one length".to_owned()))?;
        Ok(Self {
            positions,
            features,
        })
    }

    /// What arrives after these were sent: each row quantised and restored.
    pub fn as_received(&self) -> Self {
        let mut received = self.clone();
        for mut row in received.features.rows_mut() {
            let sent = quantise(&row.to_vec());
            for (value, restored) in row.iter_mut().zip(sent.restore()) {
                *value = restored;
            }
        }
        received
    }

    /// Checks that a model with `config` can read these.
    ///
    /// # Errors
    /// [`Error::Tokens`] if there are none, if positions are out of range or not ascending, if features have another
    /// size, or if one is not finite.
    pub fn check(&self, config: &Config) -> Result<()> {
        let (rows, columns) = self.features.dim();
        let problem = if self.positions.is_empty() {
            "there are none".to_string()
        } else if rows != self.positions.len() {
            format!(
                "{rows} rows of features for {} positions",
                self.positions.len()
            )
        } else if columns != config.image_token_size {
            format!(
                "features are {columns} wide, the model reads {}",
                config.image_token_size
            )
        } else if let Some(position) = (self.positions.iter())
            .find(|&&position| !(0..config.image_tokens as i64).contains(&position))
        {
            format!(
                "position {position} is not within the {} of a picture",
                config.image_tokens
            )
        } else if let Some(pair) = self.positions.windows(2).find(|pair| pair[0] >= pair[1]) {
            format!(
                "position {} comes after {}: they must ascend",
                pair[1], pair[0]
            )
        } else if let Some(((row, _), value)) = self
            .features
            .indexed_iter()
            .find(|(_, value)| !value.is_finite())
        {
            format!("a feature of position {} is {value}", self.positions[row])
        } else {
            return Ok(());
        };
        Err(Error::Tokens(problem))
    }
}

/// A row of features as it travels: value = `scale` x step, steps -127 to 127.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantised {
    /// Largest magnitude in the row / 127; 0 for a row of zeros.
    pub scale: f32,
    /// One step for each feature.
    pub steps: Vec<i8>,
}

impl Quantised {
    /// The row that the receiver reads.
    pub fn restore(&self) -> Vec<f32> {
        restore(self.scale, &self.steps)
    }
}

/// Quantises a row to 8 bits with a scale of its own: no value moves by more than scale / 2. A row whose largest
/// magnitude is not finite can't be sent and becomes zeros.
pub fn quantise(row: &[f32]) -> Quantised {
    let largest = row
        .iter()
        .fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    if !(scale > 0.0 && scale.is_finite()) {
        return Quantised {
            scale: 0.0,
            steps: vec![0; row.len()],
        };
    }
    Quantised {
        scale,
        // The cast saturates and takes NaN to 0.
        steps: row
            .iter()
            .map(|value| (value / scale).round() as i8)
            .collect(),
    }
}

/// The row that `steps` and their `scale` stand for.
pub fn restore(scale: f32, steps: &[i8]) -> Vec<f32> {
    steps.iter().map(|&step| scale * f32::from(step)).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use proptest::prelude::*;

    use super::*;
    use crate::caption::tests::config;

    proptest! {
        #[test]
        fn quantising_moves_no_value_by_more_than_half_a_step(
            row in prop::collection::vec(-1e3_f32..1e3, 0..64),
        ) {
            let sent = quantise(&row);
            for (value, restored) in row.iter().zip(sent.restore()) {
                prop_assert!((value - restored).abs() <= sent.scale * 0.5001);
            }
            prop_assert!(sent.steps.iter().all(|&step| step > i8::MIN));
        }
    }

    #[test]
    fn rows_without_a_scale_become_zeros() {
        for row in [
            [0.0; 3],
            [f32::INFINITY, 1.0, 0.0],
            [f32::NAN; 3],
            [1e-45; 3],
        ] {
            assert_eq!(quantise(&row).restore(), [0.0; 3], "{row:?}");
        }
    }

    #[test]
    fn kept_tokens_ascend_and_carry_their_rows() {
        let features = array![[0.0], [1.0], [2.0], [3.0]];
        let kept = ImageTokens::kept(&features, &[false, true, false, true]);
        assert_eq!(kept.positions, [1, 3]);
        assert_eq!(kept.features, array![[1.0], [3.0]]);
        assert_eq!(ImageTokens::all(features).positions, [0, 1, 2, 3]);
    }

    #[test]
    fn what_a_model_cannot_read_is_refused() {
        let config = config(); // 4 positions of size 2
        let tokens = |positions: &[i64], rows: usize, value: f32, width: usize| ImageTokens {
            positions: positions.to_vec(),
            features: Array2::from_elem((rows, width), value),
        };
        tokens(&[0, 3], 2, 1.0, 2).check(&config).unwrap();
        for (wrong, word) in [
            (tokens(&[], 0, 1.0, 2), "none"),
            (tokens(&[0, 3], 1, 1.0, 2), "1 rows"),
            (tokens(&[0], 1, 1.0, 3), "3 wide"),
            (tokens(&[0, 4], 2, 1.0, 2), "position 4"),
            (tokens(&[-1, 3], 2, 1.0, 2), "position -1"),
            (tokens(&[3, 0], 2, 1.0, 2), "ascend"),
            (tokens(&[1, 1], 2, 1.0, 2), "ascend"),
            (tokens(&[0, 3], 2, f32::NAN, 2), "NaN"),
        ] {
            let error = wrong.check(&config).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
