//! The event `msao-beta`: how much each modality contributes (β), on its way upstream from
//! the draft model to whoever shares a budget or measures MAS.

use broker::Modality;
use mllm::ByModality;

/// Name of the event's structure.
pub const BETA_EVENT: &str = "msao-beta";

/// Least β. A modality that had nothing to say so far must still open a gate (its default
/// threshold is 0.02) when something happens in it, and get tokens, or its contribution
/// could not be measured again.
pub const LEAST_BETA: f32 = 0.1;

/// β of each modality.
pub(crate) type Betas = ByModality<f32>;

/// Nothing is known: each modality counts whole.
pub(crate) const UNKNOWN: Betas = Betas {
    video: 1.0,
    audio: 1.0,
    sensor: 1.0,
};

/// β of a stream of this kind.
pub(crate) fn of(betas: &Betas, modality: Modality) -> f32 {
    match modality {
        Modality::Video => betas.video,
        Modality::Audio => betas.audio,
        Modality::Sensor => betas.sensor,
    }
}

/// The event that says them.
pub(crate) fn event(betas: &Betas) -> gst::Event {
    let structure = gst::Structure::builder(BETA_EVENT)
        .field("video", betas.video)
        .field("audio", betas.audio)
        .field("sensor", betas.sensor)
        .build();
    gst::event::CustomUpstream::new(structure)
}

/// What an event says, if it is one of these. What is missing or no number counts as 1.
pub(crate) fn read(event: &gst::EventRef) -> Option<Betas> {
    let structure = event.structure()?;
    if structure.name() != BETA_EVENT {
        return None;
    }
    let beta = |name| match structure.get::<f32>(name) {
        Ok(beta) if beta.is_finite() => beta.clamp(LEAST_BETA, 1.0),
        _ => 1.0,
    };
    Some(Betas {
        video: beta("video"),
        audio: beta("audio"),
        sensor: beta("sensor"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_what_was_put_into_it_and_odd_ones_are_defined() {
        gst::init().unwrap();
        let betas = Betas {
            video: 1.0,
            audio: 0.25,
            sensor: 0.5,
        };
        assert_eq!(read(&event(&betas)), Some(betas));
        let odd = gst::Structure::builder(BETA_EVENT)
            .field("video", f32::NAN)
            .field("audio", 0.0f32)
            .build();
        let odd = read(&gst::event::CustomUpstream::new(odd)).unwrap();
        assert_eq!((odd.video, odd.audio, odd.sensor), (1.0, LEAST_BETA, 1.0));
        let other = gst::event::CustomUpstream::new(gst::Structure::new_empty("other"));
        assert_eq!(read(&other), None);
    }
}
