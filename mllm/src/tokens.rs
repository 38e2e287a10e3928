//! Tokens: what was kept of a window's picture, sound and sensors, as the language models read it; and how they travel.

use std::fmt;

use ndarray::{Array2, Axis};

use crate::{Config, EncoderId, Error, Result};

/// What a token is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Modality {
    /// A patch of a picture.
    Video,
    /// A band and quarter of a hop of sound.
    Audio,
    /// A channel and half of a hop of sensor samples.
    Sensor,
}

impl Modality {
    /// All, in the order in which the models read them.
    pub const ALL: [Self; 3] = [Self::Video, Self::Audio, Self::Sensor];

    /// How many positions a window has of it in a model with `config`; 0 if that does not read it.
    pub fn positions(self, config: &Config) -> usize {
        let hops = |encoder: &Option<crate::config::HopEncoder>| {
            encoder
                .as_ref()
                .map_or(0, |encoder| encoder.tokens * encoder.hops)
        };
        match self {
            Self::Video => config.image_tokens,
            Self::Audio => hops(&config.audio_encoder),
            Self::Sensor => hops(&config.sensor_encoder),
        }
    }

    /// The encoder of it whose tokens a model with `config` reads.
    pub fn encoder(self, config: &Config) -> Option<&EncoderId> {
        match self {
            Self::Video => Some(&config.vision_encoder),
            Self::Audio => config.audio_encoder.as_ref().map(|hop| &hop.encoder),
            Self::Sensor => config.sensor_encoder.as_ref().map(|hop| &hop.encoder),
        }
    }

    /// Positions of one sample (a frame, a hop), and columns of them.
    fn sample(self, config: &Config) -> (usize, usize) {
        let hop = |encoder: &Option<crate::config::HopEncoder>| {
            encoder
                .as_ref()
                .map_or((0, 0), |encoder| (encoder.tokens, encoder.columns))
        };
        match self {
            Self::Video => (config.image_tokens, config.image_tokens.isqrt()),
            Self::Audio => hop(&config.audio_encoder),
            Self::Sensor => hop(&config.sensor_encoder),
        }
    }
}

impl fmt::Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Sensor => "sensor",
        })
    }
}

/// One value for each modality.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ByModality<T> {
    /// Of the picture.
    pub video: T,
    /// Of the sound.
    pub audio: T,
    /// Of the sensors.
    pub sensor: T,
}

impl<T> ByModality<T> {
    /// The value of one.
    pub fn get(&self, modality: Modality) -> &T {
        match modality {
            Modality::Video => &self.video,
            Modality::Audio => &self.audio,
            Modality::Sensor => &self.sensor,
        }
    }

    /// The value of one, to be changed.
    pub fn get_mut(&mut self, modality: Modality) -> &mut T {
        match modality {
            Modality::Video => &mut self.video,
            Modality::Audio => &mut self.audio,
            Modality::Sensor => &mut self.sensor,
        }
    }
}

/// What the models read of a window: at least one token of some modality.
pub type Tokens = ByModality<Option<ModalTokens>>;

impl Tokens {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.present()
            .map(|(_, tokens)| tokens.positions.len())
            .sum()
    }

    /// The modalities that there are tokens of, in reading order.
    pub fn present(&self) -> impl Iterator<Item = (Modality, &ModalTokens)> {
        Modality::ALL.into_iter().filter_map(|modality| {
            let tokens = self.get(modality).as_ref()?;
            (!tokens.positions.is_empty()).then_some((modality, tokens))
        })
    }

    /// The same without one modality.
    pub fn without(&self, modality: Modality) -> Self {
        let mut rest = self.clone();
        *rest.get_mut(modality) = None;
        rest
    }

    /// What arrives after these were sent: each row quantised and restored.
    pub fn as_received(&self) -> Self {
        let received = |tokens: &Option<ModalTokens>| tokens.as_ref().map(ModalTokens::as_received);
        Self {
            video: received(&self.video),
            audio: received(&self.audio),
            sensor: received(&self.sensor),
        }
    }

    /// Checks that a model with `config` can read these.
    ///
    /// # Errors
    /// [`Error::Tokens`] if there are none at all, if the model does not read a modality, if positions are out of range or
    /// not ascending, if features have another size, or if one is not finite.
    pub fn check(&self, config: &Config) -> Result<()> {
        if self.count() == 0 {
            return Err(Error::Tokens("there are none".to_owned()));
        }
        for (modality, tokens) in self.present() {
            tokens.check(modality, config)?;
        }
        Ok(())
    }
}

impl From<ModalTokens> for Tokens {
    fn from(video: ModalTokens) -> Self {
        Self {
            video: Some(video),
            ..Self::default()
        }
    }
}

/// A subset of the tokens of one modality in a window, in ascending order of position.
#[derive(Debug, Clone, PartialEq)]
pub struct ModalTokens {
    /// Position of each token: sample by sample, within a sample row by row from the top left. From 0 to one less than
    /// [`Modality::positions`], each at most once, ascending.
    pub positions: Vec<i64>,
    /// One row for each position, [`Config::image_token_size`] wide.
    pub features: Array2<f32>,
}

impl ModalTokens {
    /// All tokens: `features` has one row for each position, as the encoders give them.
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

    /// Tokens of `modality` that came over the wire, each `(t, y, x, scale, steps)`, as the sender's model read them.
    ///
    /// # Errors
    /// [`Error::Unread`] if the model of `config` does not read the modality, [`Error::Encoder`] if `encoder` and its
    /// `sha256` are not what it reads, [`Error::Tokens`] if the tokens are not all of one length. What else the model
    /// asks of them is checked where it reads them.
    pub fn received<'a>(
        modality: Modality,
        config: &Config,
        encoder: &str,
        sha256: &str,
        tokens: impl IntoIterator<Item = (u16, u16, u16, f32, &'a [i8])>,
    ) -> Result<Self> {
        let reads = modality.encoder(config).ok_or_else(|| Error::Unread {
            modality,
            model: config.name.clone(),
        })?;
        if encoder != reads.id || sha256 != reads.sha256 {
            return Err(Error::Encoder {
                found: encoder.to_owned(),
                found_sha256: sha256.to_owned(),
                reads: reads.id.clone(),
                reads_sha256: reads.sha256.clone(),
            });
        }
        let (sample, columns) = modality.sample(config);
        let mut rows: Vec<(i64, Vec<f32>)> = (tokens.into_iter())
            .map(|(t, y, x, scale, steps)| {
                let within = i64::from(y) * columns as i64 + i64::from(x);
                (i64::from(t) * sample as i64 + within, restore(scale, steps))
            })
            .collect();
        let width = rows.first().map_or(0, |(_, row)| row.len());
        if rows.iter().any(|(_, row)| row.len() != width) {
            return Err(Error::Tokens("they are not all of one length".to_owned()));
        }
        // On the wire they may come in any order.
        rows.sort_by_key(|(position, _)| *position);
        let (positions, values): (Vec<i64>, Vec<Vec<f32>>) = rows.into_iter().unzip();
        let features = Array2::from_shape_vec((positions.len(), width), values.concat())
            .map_err(|error| Error::Tokens(error.to_string()))?;
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

    fn check(&self, modality: Modality, config: &Config) -> Result<()> {
        let possible = modality.positions(config);
        if possible == 0 {
            return Err(Error::Unread {
                modality,
                model: config.name.clone(),
            });
        }
        let (rows, columns) = self.features.dim();
        let problem = if rows != self.positions.len() {
            format!(
                "{rows} rows of features for {} positions",
                self.positions.len()
            )
        } else if columns != config.image_token_size {
            format!(
                "features are {columns} wide, the model reads {}",
                config.image_token_size
            )
        } else if let Some(position) =
            (self.positions.iter()).find(|&&position| !(0..possible as i64).contains(&position))
        {
            format!("position {position} is not within the {possible} of a window")
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
        Err(Error::Tokens(format!("{modality}: {problem}")))
    }
}

/// Steps from 0 to the largest magnitude of a row. With 127, as many as a byte holds, the models answer no better, and a
/// compressed row takes twice the bytes.
pub const STEPS: i8 = 7;

/// A row of features as it travels: value = `scale` x step, steps -[`STEPS`] to [`STEPS`].
#[derive(Debug, Clone, PartialEq)]
pub struct Quantised {
    /// Largest magnitude in the row / [`STEPS`]; 0 for a row of zeros.
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

/// Quantises a row with a scale of its own: no value moves by more than scale / 2. A row whose largest
/// magnitude is not finite can't be sent and becomes zeros.
pub fn quantise(row: &[f32]) -> Quantised {
    let largest = row
        .iter()
        .fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let scale = largest / f32::from(STEPS);
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
        let kept = ModalTokens::kept(&features, &[false, true, false, true]);
        assert_eq!(kept.positions, [1, 3]);
        assert_eq!(kept.features, array![[1.0], [3.0]]);
        assert_eq!(ModalTokens::all(features).positions, [0, 1, 2, 3]);
    }

    #[test]
    fn what_a_model_cannot_read_is_refused() {
        let config = config(); // 4 positions of size 2
        let tokens = |positions: &[i64], rows: usize, value: f32, width: usize| ModalTokens {
            positions: positions.to_vec(),
            features: Array2::from_elem((rows, width), value),
        };
        Tokens::from(tokens(&[0, 3], 2, 1.0, 2))
            .check(&config)
            .unwrap();
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
            let error = Tokens::from(wrong).check(&config).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
