//! The event `msao-feedback`: what the sink hears of link and cloud, on its way upstream to whoever decides on windows.
//!
//! It is sent only if somebody upstream asked for it by the sticky event `msao-feedback-wanted`.

/// Name of the event's structure.
pub const FEEDBACK_EVENT: &str = "msao-feedback";
/// Name of the structure of the event that asks for it.
pub const WANTED_EVENT: &str = "msao-feedback-wanted";

/// What was heard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Feedback {
    /// The connection came up.
    Connected,
    /// It went down.
    Disconnected,
    /// A message of so many bytes was handed to the link.
    Sent { id: String, bytes: u64 },
    /// Of so many bytes of a window's features so many were left to be sent.
    Compressed { from: u64, to: u64 },
    /// It was acknowledged.
    Stored { id: String },
    /// It was not, and is no longer in flight.
    Lost { id: String },
    /// A cloud worker's heartbeat: windows that wait, windows served a second (0: not known).
    Cloud {
        worker: String,
        queue: u32,
        rate: f64,
    },
    /// The cloud's word on a window, how long it took (ms), and its text.
    Answer {
        id: String,
        confirmed: bool,
        work: f64,
        text: String,
    },
}

impl Feedback {
    /// The event that says it.
    pub fn event(&self) -> gst::Event {
        let structure = gst::Structure::builder(FEEDBACK_EVENT);
        let structure = match self {
            Self::Connected => structure.field("what", "connected"),
            Self::Disconnected => structure.field("what", "disconnected"),
            Self::Sent { id, bytes } => (structure.field("what", "sent"))
                .field("id", id)
                .field("bytes", bytes),
            Self::Compressed { from, to } => (structure.field("what", "compressed"))
                .field("from", from)
                .field("to", to),
            Self::Stored { id } => structure.field("what", "stored").field("id", id),
            Self::Lost { id } => structure.field("what", "lost").field("id", id),
            Self::Cloud {
                worker,
                queue,
                rate,
            } => (structure.field("what", "cloud"))
                .field("worker", worker)
                .field("queue", queue)
                .field("rate", rate),
            Self::Answer {
                id,
                confirmed,
                work,
                text,
            } => (structure.field("what", "answer"))
                .field("id", id)
                .field("confirmed", confirmed)
                .field("work", work)
                .field("text", text),
        };
        gst::event::CustomUpstream::new(structure.build())
    }

    /// What an event says: `None` if it is none of these, the inner `None` if it cannot be read.
    pub fn read(event: &gst::EventRef) -> Option<Option<Self>> {
        let structure = event.structure()?;
        (structure.name() == FEEDBACK_EVENT).then(|| Self::of(structure))
    }

    fn of(structure: &gst::StructureRef) -> Option<Self> {
        let id = || structure.get::<String>("id").ok();
        Some(match structure.get::<&str>("what").ok()? {
            "connected" => Self::Connected,
            "disconnected" => Self::Disconnected,
            "sent" => Self::Sent {
                id: id()?,
                bytes: structure.get("bytes").ok()?,
            },
            "compressed" => Self::Compressed {
                from: structure.get("from").ok()?,
                to: structure.get("to").ok()?,
            },
            "stored" => Self::Stored { id: id()? },
            "lost" => Self::Lost { id: id()? },
            "cloud" => Self::Cloud {
                worker: structure.get("worker").ok()?,
                queue: structure.get("queue").ok()?,
                rate: structure.get("rate").ok()?,
            },
            "answer" => Self::Answer {
                id: id()?,
                confirmed: structure.get("confirmed").ok()?,
                work: structure.get("work").ok()?,
                text: structure.get("text").ok()?,
            },
            _ => return None,
        })
    }
}

/// The event that asks for feedback.
pub(crate) fn wanted() -> gst::Event {
    let structure = gst::Structure::new_empty(WANTED_EVENT);
    gst::event::CustomDownstreamSticky::new(structure)
}

/// Whether an event asks for feedback.
pub(crate) fn is_wanted(event: &gst::EventRef) -> bool {
    (event.structure()).is_some_and(|structure| structure.name() == WANTED_EVENT)
}

/// Name of the structure of the event that tells the draft model, upstream, when a draft is better stopped.
pub const STOP_EVENT: &str = "msao-stop";

/// When a draft is better stopped half-way.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Stop {
    /// Below this confidence; 0 for never.
    pub below: f64,
    /// Share of windows of which the draft is finished all the same, to learn from, and the seed of their draw.
    pub audit: f64,
    /// The seed of their draw.
    pub seed: u64,
}

impl Stop {
    /// The event that says it.
    pub fn event(&self) -> gst::Event {
        let structure = gst::Structure::builder(STOP_EVENT)
            .field("below", self.below)
            .field("audit", self.audit)
            .field("seed", self.seed);
        gst::event::CustomUpstream::new(structure.build())
    }

    /// What an event says, if it is one of these; never to stop, if it cannot be read.
    pub fn read(event: &gst::EventRef) -> Option<Self> {
        let structure = event.structure()?;
        (structure.name() == STOP_EVENT).then(|| Self {
            below: structure.get("below").unwrap_or_default(),
            audit: structure.get("audit").unwrap_or_default(),
            seed: structure.get("seed").unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_what_was_put_into_it_and_odd_ones_are_defined() {
        gst::init().unwrap();
        let id = || "car/01J00000000000000000000000/1/features/0".to_owned();
        for feedback in [
            Feedback::Connected,
            Feedback::Disconnected,
            Feedback::Sent {
                id: id(),
                bytes: 7000,
            },
            Feedback::Compressed {
                from: 9000,
                to: 4000,
            },
            Feedback::Stored { id: id() },
            Feedback::Lost { id: id() },
            Feedback::Cloud {
                worker: "a".to_owned(),
                queue: 3,
                rate: 12.5,
            },
            Feedback::Answer {
                id: id(),
                confirmed: true,
                work: 40.0,
                text: "a dog".to_owned(),
            },
        ] {
            assert_eq!(Feedback::read(&feedback.event()), Some(Some(feedback)));
        }
        let event = |structure| gst::event::CustomUpstream::new(structure);
        let odd = gst::Structure::builder(FEEDBACK_EVENT).field("what", "sent");
        assert_eq!(Feedback::read(&event(odd.build())), Some(None));
        assert_eq!(
            Feedback::read(&event(gst::Structure::new_empty("other"))),
            None
        );
        let stop = Stop {
            below: 0.4,
            audit: 0.15,
            seed: 3,
        };
        assert_eq!(Stop::read(&stop.event()), Some(stop));
        assert_eq!(Stop::read(&Feedback::Connected.event()), None);
        assert!(is_wanted(&wanted()) && !is_wanted(&Feedback::Connected.event()));
    }
}
