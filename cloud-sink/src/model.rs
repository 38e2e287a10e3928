//! The full model as a verifier.

use broker::{FeatureWindow, Modality, Token, caption::Verdict};
use mllm::{
    Agreement, Caption, CaptionModel, EncoderId, Error as ModelError, ImageTokens, Options,
    tokens::restore,
};
use ndarray::Array2;

use crate::{Config, Error, Fault, Verifier};

/// The full model, with its rule of agreement.
#[derive(Debug)]
pub struct FullModel {
    model: CaptionModel,
    agreement: Agreement,
}

impl FullModel {
    /// Loads the model of `config`.
    ///
    /// # Errors
    /// A file is missing, corrupt or does not fit the others; the provider is not there; or the
    /// rule needs a factor that neither the configuration nor the model gives.
    pub fn load(config: &Config) -> Result<Self, Error> {
        let options = Options {
            provider: config.provider,
            threads: config.threads,
        };
        let model = CaptionModel::load(&config.model, options)?;
        let agreement = config.agreement(&model.config().name, model.config().agreement_margin)?;
        Ok(Self { model, agreement })
    }
}

impl Verifier for FullModel {
    fn model(&self) -> &str {
        &self.model.config().name
    }

    fn provider(&self) -> String {
        self.model.provider().to_string()
    }

    fn verify(&mut self, window: &FeatureWindow) -> Result<Option<Verdict>, Fault> {
        let config = self.model.config();
        let Some(tokens) = image(window, &config.vision_encoder, config.image_tokens)? else {
            return Ok(None);
        };
        let model = config.name.clone();
        let verdict = |caption: Caption, accepted_tokens, confirmed| Verdict {
            confirmed,
            tokens: caption.token_ids.len() as u32,
            confidence: caption.confidence(),
            text: caption.text,
            accepted_tokens,
            model,
        };
        Ok(Some(match &window.draft {
            Some(draft) => {
                let ids = &draft.token_ids;
                let verified = self
                    .model
                    .verify(&tokens, &window.prompt, ids, self.agreement)
                    .map_err(fault)?;
                let confirmed = verified.whole && verified.caption.text == draft.text;
                verdict(verified.caption, Some(verified.accepted as u32), confirmed)
            }
            None => verdict(
                self.model.draft(&tokens, &window.prompt).map_err(fault)?,
                None,
                false,
            ),
        }))
    }
}

fn fault(error: ModelError) -> Fault {
    match error {
        // The same window would fail the same way.
        ModelError::Tokens(_) | ModelError::Prompt(_) | ModelError::Draft(_) => {
            Fault::Hopeless(error.to_string())
        }
        _ => Fault::Passing(error.to_string()),
    }
}

/// The image tokens of the window's first video stream, as the draft model read them; `None` if it has none.
fn image(
    window: &FeatureWindow,
    reads: &EncoderId,
    image_tokens: usize,
) -> Result<Option<ImageTokens>, Fault> {
    let video = |token: &&Token| token.modality == Modality::Video;
    let Some(first) = window.tokens.iter().find(video) else {
        return Ok(None);
    };
    let stream = &first.stream;
    let report = window
        .modalities
        .iter()
        .find(|r| r.modality == Modality::Video && r.stream == *stream);
    if let Some(report) = report
        && (report.encoder != reads.id || report.encoder_sha256 != reads.sha256)
    {
        return Err(Fault::Hopeless(format!(
            "stream {stream} was encoded by {} ({}), this model reads {} ({}): run models of one release on edge and cloud",
            report.encoder, report.encoder_sha256, reads.id, reads.sha256
        )));
    }
    let columns = image_tokens.isqrt() as i64;
    let tokens: Vec<&Token> = window
        .tokens
        .iter()
        .filter(video)
        .filter(|token| token.stream == *stream)
        .collect();
    let positions = tokens
        .iter()
        .map(|token| i64::from(token.y) * columns + i64::from(token.x))
        .collect();
    let rows = tokens
        .iter()
        .flat_map(|token| restore(token.scale, &token.feature))
        .collect();
    let features = Array2::from_shape_vec((tokens.len(), first.feature.len()), rows);
    let features = features
        .map_err(|error| Fault::Hopeless(format!("features of stream {stream}: {error}")))?;
    Ok(Some(ImageTokens {
        positions,
        features,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker::ModalityReport;
    use offload::Action;
    use ulid::Ulid;

    fn encoder() -> EncoderId {
        EncoderId {
            id: "lite2-v1".to_owned(),
            sha256: "ab".repeat(32),
        }
    }

    fn window() -> FeatureWindow {
        let report = |modality, stream: &str| ModalityReport {
            modality,
            stream: stream.to_owned(),
            rho: 0.0,
            gamma: 0.0,
            beta: 1.0,
            mas: 0.0,
            encoder: encoder().id,
            encoder_sha256: encoder().sha256,
        };
        let token = |modality, stream: &str, (y, x), feature: [i8; 2]| Token {
            modality,
            stream: stream.to_owned(),
            t: 0,
            y,
            x,
            importance: 1.0,
            scale: 0.5,
            feature: feature.to_vec(),
        };
        FeatureWindow {
            id: broker::WindowId {
                rig: "car".parse().unwrap(),
                epoch: Ulid::nil(),
                seq: 0,
            },
            start_utc_ns: 0,
            end_utc_ns: 0,
            start_running_ns: 0,
            end_running_ns: 0,
            prompt: "describe".to_owned(),
            decision: Action::Offload,
            modalities: vec![
                report(Modality::Video, "front"),
                report(Modality::Video, "rear"),
                report(Modality::Audio, "mic"),
            ],
            draft: None,
            tokens: vec![
                token(Modality::Audio, "mic", (0, 0), [9, 9]),
                token(Modality::Video, "front", (0, 6), [2, -4]),
                token(Modality::Video, "rear", (0, 1), [9, 9]),
                token(Modality::Video, "front", (6, 6), [127, 0]),
            ],
            tokens_possible: 99,
            frames_in: 1,
            frames_kept: 1,
            flags: vec![],
            closed_utc_ns: 0,
            drafted_utc_ns: 0,
        }
    }

    #[test]
    fn tokens_of_the_first_video_stream_are_read() {
        let tokens = image(&window(), &encoder(), 49).unwrap().unwrap();
        assert_eq!(tokens.positions, [6, 48]);
        assert_eq!(tokens.features, ndarray::array![[1.0, -2.0], [63.5, 0.0]]);
        let empty = FeatureWindow {
            tokens: vec![],
            ..window()
        };
        assert!(image(&empty, &encoder(), 49).unwrap().is_none());
    }

    #[test]
    fn another_encoder_is_hopeless_and_named() {
        for other in [
            EncoderId {
                id: "lite0-v1".to_owned(),
                ..encoder()
            },
            EncoderId {
                sha256: "cd".repeat(32),
                ..encoder()
            },
        ] {
            let Err(Fault::Hopeless(reason)) = image(&window(), &other, 49) else {
                panic!("it was read")
            };
            assert!(
                reason.contains(&other.sha256) && reason.contains(&encoder().sha256),
                "{reason}"
            );
        }
    }
}
