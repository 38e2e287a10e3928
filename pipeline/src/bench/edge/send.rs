//! What goes up of a window, once it is decided on.

use anyhow::Result;
use broker::features::DEFERRED;
use broker::headers::TraceParent;
use broker::{Caption, Compression, FeatureWindow, Message};
use offload::Action;
use offload::planner::{Decision, Payload};

use super::super::maker::Chosen;
use super::super::protocol::Had;
use super::{Edge, OnItsWay};

/// What becomes of a window.
pub(super) struct Decided {
    pub action: Action,
    /// Tokens that it may have.
    pub tokens: usize,
    /// The decision, as it travels.
    pub plan: Option<String>,
}

impl From<&Decision> for Decided {
    fn from(decision: &Decision) -> Self {
        Self {
            action: decision.action,
            tokens: match decision.payload {
                Payload::Features { tokens } => tokens as usize,
                Payload::Nothing | Payload::Keyframe => usize::MAX,
            },
            plan: serde_json::to_string(decision).ok(),
        }
    }
}

impl Edge {
    pub(super) fn published(&self, window: &OnItsWay, chosen: &Chosen) -> FeatureWindow {
        let item = &self.items[window.item];
        let id = window.id.clone();
        let mut made = (self.maker).window(id, window.closed, item, &window.looked, chosen);
        if window.waited {
            made.flags.push(DEFERRED.to_owned());
        }
        made
    }

    pub(super) fn carry_out(&mut self, mut window: OnItsWay, decided: Decided) -> Result<()> {
        let seq = window.id.seq;
        let action = decided.action;
        {
            let mut known = self.state.lock();
            if let Some((arrived, record)) = known.windows.get_mut(&seq) {
                record.decision = action.name().to_owned();
                record.deferred |= action == Action::Defer;
                if matches!(action, Action::Keep | Action::Skip) {
                    // The draft is the last word from now on.
                    record.last = record.draft.clone().map(|draft| Had {
                        after: arrived.elapsed().as_secs_f64(),
                        ..draft
                    });
                }
            }
        }
        if matches!(action, Action::Verify | Action::Offload) {
            return self.send(&window, decided);
        }
        let mut made = self.published(&window, &Chosen::nothing());
        (made.decision, made.plan) = (action, decided.plan);
        self.publish(seq, draft_message(&made)?)?;
        if action == Action::Defer {
            window.waited = true;
            self.waiting.push_back(window);
        }
        Ok(())
    }

    /// Sends a window, with its draft if it is to be verified, and its caption if that did not go when it began to wait.
    fn send(&mut self, window: &OnItsWay, decided: Decided) -> Result<()> {
        let seq = window.id.seq;
        let item = &self.items[window.item];
        let chosen = self.maker.choose(item, &window.looked, decided.tokens)?;
        let mut made = self.published(window, &chosen);
        (made.decision, made.plan) = (decided.action, decided.plan);
        let caption = if window.waited {
            None
        } else {
            draft_message(&made)?
        };
        made.plan.take_if(|_| caption.is_some());
        made.draft.take_if(|_| decided.action == Action::Offload);
        let encoded = made.encode()?;
        let from = encoded.len() as u64;
        let payload = Compression::default().pack(encoded);
        let to = payload.len() as u64;
        let features = Message::features(&made, payload, TraceParent::generate());
        {
            let mut known = self.state.lock();
            known.planner.compressed(from, to);
            known.going = window.waited.then(|| features.id().to_owned());
            if let Some((_, record)) = known.windows.get_mut(&seq) {
                let counts = chosen.counts();
                for modality in mllm::Modality::ALL {
                    let count = *counts.get(modality);
                    record.tokens.insert(modality.to_string(), count);
                }
                record.keyframe = made.keyframe.is_some();
                record.verified = made.draft.is_some();
            }
        }
        self.publish(seq, caption.into_iter().chain([features]))
    }

    fn publish(&self, seq: u64, messages: impl IntoIterator<Item = Message>) -> Result<()> {
        for message in messages {
            let bytes = message.wire_len() as u64;
            if let Some((_, record)) = self.state.lock().windows.get_mut(&seq) {
                record.bytes += bytes;
            }
            self.publisher.publish(message)?;
        }
        Ok(())
    }
}

fn draft_message(window: &FeatureWindow) -> Result<Option<Message>> {
    let Some(caption) = Caption::draft(window) else {
        return Ok(None);
    };
    Ok(Some(Message::caption(&caption, TraceParent::generate())?))
}
