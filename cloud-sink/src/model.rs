//! The full model as a verifier.

use broker::{FeatureWindow, caption::Verdict};
use mllm::{
    Agreement, CaptionModel, Error as ModelError, ModalTokens, Modality, Tokens, Verified, Window,
    runtime,
};

use crate::{Config, Error, Fault, Verifier, keyframe::Keyframes};

/// Why a window with a keyframe is hopeless where nothing can read one.
const NO_ENCODERS: &str = "it holds a keyframe, but this worker has no vision encoder to read it: set `encoders` in the cloud's configuration to the folder of the edge model";

/// The full model, with its rule of agreement.
#[derive(Debug)]
pub struct FullModel {
    model: CaptionModel,
    agreement: Agreement,
    keyframes: Option<Keyframes>,
}

impl FullModel {
    /// Loads the model of `config`.
    ///
    /// # Errors
    /// A file is missing, corrupt or does not fit the others; the provider is not there; or the
    /// rule needs a factor that neither the configuration nor the model gives.
    pub fn load(config: &Config) -> Result<Self, Error> {
        if config.chat.is_some() {
            let reason = "[chat] is of a model of pictures and text, and this one reads the edge's features: leave it out";
            return Err(Error::Config(reason.to_owned()));
        }
        let (folder, options) = config.folder()?;
        let model = CaptionModel::load(folder, options)?;
        let agreement = config.agreement(&model.config().name, model.config().agreement_margin)?;
        let encoder = &model.config().vision_encoder;
        let keyframes = (config.encoders.as_ref())
            .map(|folder| Keyframes::load(folder, options, encoder))
            .transpose()?;
        Ok(Self {
            model,
            agreement,
            keyframes,
        })
    }

    /// What the full model reads of a window; `None` if there is nothing.
    fn tokens(&mut self, window: &FeatureWindow) -> Result<Option<Tokens>, Fault> {
        let mut tokens = tokens(window, self.model.config()).map_err(fault)?;
        if let Some(jpeg) = &window.keyframe {
            let keyframes = self.keyframes.as_mut();
            let keyframes = keyframes.ok_or_else(|| Fault::Hopeless(NO_ENCODERS.to_owned()))?;
            tokens.video = Some(keyframes.tokens(jpeg)?);
        }
        Ok((tokens.count() > 0).then_some(tokens))
    }
}

impl Verifier for FullModel {
    fn model(&self) -> &str {
        &self.model.config().name
    }

    fn provider(&self) -> String {
        runtime::providers()
    }

    fn verify(&mut self, window: &FeatureWindow) -> Result<Option<Verdict>, Fault> {
        let mut verdicts = self.verify_all(std::slice::from_ref(window));
        verdicts.pop().unwrap_or(Ok(None))
    }

    fn verify_all(&mut self, windows: &[FeatureWindow]) -> Vec<Result<Option<Verdict>, Fault>> {
        let tokens: Vec<Result<Option<Tokens>, Fault>> =
            windows.iter().map(|window| self.tokens(window)).collect();
        let read: Vec<(&FeatureWindow, Window<'_>)> = (windows.iter().zip(&tokens))
            .filter_map(|(window, tokens)| {
                let tokens = tokens.as_ref().ok()?.as_ref()?;
                let draft = (window.draft.as_ref()).map(|draft| draft.token_ids.as_slice());
                let prompt = &window.prompt;
                Some((
                    window,
                    Window {
                        tokens,
                        prompt,
                        draft,
                    },
                ))
            })
            .collect();
        let together: Vec<Window<'_>> = read.iter().map(|(_, window)| *window).collect();
        let verified = self.model.verify_all(&together, self.agreement);
        let name = &self.model.config().name;
        let mut verdicts = (read.iter().zip(verified))
            .map(|((window, _), verified)| Ok(verdict(window, verified.map_err(fault)?, name)));
        (tokens.iter())
            .map(|tokens| match tokens {
                Ok(Some(_)) => verdicts.next().transpose(),
                Ok(None) => Ok(None),
                Err(fault) => Err(fault.clone()),
            })
            .collect()
    }
}

fn verdict(window: &FeatureWindow, verified: Verified, model: &str) -> Verdict {
    let Verified {
        caption,
        accepted,
        whole,
    } = verified;
    let draft = window.draft.as_ref();
    Verdict {
        confirmed: whole && draft.is_some_and(|draft| draft.text == caption.text),
        tokens: caption.token_ids.len() as u32,
        confidence: caption.confidence(),
        text: caption.text,
        accepted_tokens: draft.map(|_| accepted as u32),
        model: model.to_owned(),
    }
}

fn fault(error: ModelError) -> Fault {
    match error {
        // The same window would fail the same way.
        ModelError::Tokens(_)
        | ModelError::Encoder { .. }
        | ModelError::Unread { .. }
        | ModelError::Prompt(_)
        | ModelError::Draft(_) => Fault::Hopeless(error.to_string()),
        _ => Fault::Passing(error.to_string()),
    }
}

/// What the window holds of each modality, as the draft model read it.
fn tokens(window: &FeatureWindow, config: &mllm::Config) -> Result<Tokens, ModelError> {
    let mut tokens = Tokens::default();
    for (sent, read) in [
        (broker::Modality::Video, Modality::Video),
        (broker::Modality::Audio, Modality::Audio),
        (broker::Modality::Sensor, Modality::Sensor),
    ] {
        let Some(stream) = window.stream(sent) else {
            continue;
        };
        let rows = (stream.tokens.iter()).map(|t| (t.t, t.y, t.x, t.scale, &*t.feature));
        let (encoder, sha256) = (stream.encoder, stream.encoder_sha256);
        *tokens.get_mut(read) = Some(ModalTokens::received(read, config, encoder, sha256, rows)?);
    }
    Ok(tokens)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use broker::{Modality, ModalityReport, Token};
    use mllm::EncoderId;
    use offload::Action;
    use ulid::Ulid;

    fn encoder() -> EncoderId {
        EncoderId {
            id: "lite2-v1".to_owned(),
            sha256: "ab".repeat(32),
        }
    }

    /// The configuration of the full model that ships, for features of `vision_encoder`.
    fn config(vision_encoder: EncoderId) -> mllm::Config {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/models/msao-cloud");
        mllm::Config {
            vision_encoder,
            ..mllm::Config::load(folder.as_ref()).unwrap()
        }
    }

    pub(crate) fn window() -> FeatureWindow {
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
            stream: stream.into(),
            t: 0,
            y,
            x,
            importance: 1.0,
            scale: 0.5,
            feature: feature.to_vec().into(),
        };
        FeatureWindow {
            decision: Action::Offload,
            modalities: vec![
                report(Modality::Video, "front"),
                report(Modality::Video, "rear"),
                report(Modality::Audio, "mic"),
            ],
            tokens: vec![
                token(Modality::Audio, "mic", (0, 0), [9, 9]),
                token(Modality::Video, "front", (0, 6), [2, -4]),
                token(Modality::Video, "rear", (0, 1), [9, 9]),
                token(Modality::Video, "front", (6, 6), [127, 0]),
            ],
            tokens_possible: 99,
            frames_in: 1,
            frames_kept: 1,
            ..FeatureWindow::empty(broker::WindowId {
                rig: "car".parse().unwrap(),
                epoch: Ulid::nil(),
                seq: 0,
            })
        }
    }

    #[test]
    fn tokens_of_the_first_video_stream_are_read() {
        let mut window = window();
        window.tokens.remove(0);
        let read = tokens(&window, &config(encoder())).unwrap();
        let video = read.video.unwrap();
        assert_eq!(video.positions, [6, 48]);
        assert_eq!(video.features, ndarray::array![[1.0, -2.0], [63.5, 0.0]]);
        assert_eq!((read.audio, read.sensor), (None, None));
        let empty = FeatureWindow {
            tokens: vec![],
            ..window
        };
        assert_eq!(tokens(&empty, &config(encoder())).unwrap().count(), 0);
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
            let sha256 = other.sha256.clone();
            let error = tokens(&window(), &config(other)).unwrap_err();
            let Fault::Hopeless(reason) = fault(error) else {
                panic!("it would be tried again")
            };
            assert!(
                reason.contains(&sha256) && reason.contains(&encoder().sha256),
                "{reason}"
            );
        }
    }
}
