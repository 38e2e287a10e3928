//! The event `msao-shut`, on its way upstream from a gate that has just kept a buffer to whoever measures: until when it
//! drops what comes, whatever that is worth.

use gst::ClockTime;

/// Name of the event's structure.
pub const SHUT_EVENT: &str = "msao-shut";

/// Running times from when and until when a gate lets nothing through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shut {
    pub from: ClockTime,
    pub until: ClockTime,
}

impl Shut {
    /// Whether a buffer of this running time is dropped. Time that jumps back opens the gate.
    pub fn drops(&self, running: ClockTime) -> bool {
        self.from <= running && running < self.until
    }

    /// The event that says it.
    pub fn event(&self) -> gst::Event {
        let structure = gst::Structure::builder(SHUT_EVENT)
            .field("from", self.from)
            .field("until", self.until)
            .build();
        gst::event::CustomUpstream::new(structure)
    }

    /// What an event says, if it is one of these.
    pub fn read(event: &gst::EventRef) -> Option<Self> {
        let structure = event.structure()?;
        if structure.name() != SHUT_EVENT {
            return None;
        }
        Some(Self {
            from: structure.get("from").ok()?,
            until: structure.get("until").ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_what_was_put_into_it() {
        gst::init().unwrap();
        let ms = ClockTime::from_mseconds;
        let shut = Shut {
            from: ms(1_000),
            until: ms(1_250),
        };
        assert_eq!(Shut::read(&shut.event()), Some(shut));
        let other = gst::event::CustomUpstream::new(gst::Structure::new_empty(SHUT_EVENT));
        assert_eq!(Shut::read(&other), None);
        let at = [999, 1_000, 1_249, 1_250].map(|at| shut.drops(ms(at)));
        assert_eq!(at, [false, true, true, false]);
    }
}
