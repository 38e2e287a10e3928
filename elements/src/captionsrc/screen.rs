//! What is on the screen: the newest windows' captions, each by its highest revision.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use broker::{Caption, CaptionStatus, WindowId};

/// Counters since the element started.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counters {
    /// Captions that came onto the screen.
    pub shown: u64,
    /// Of these, those that took the place of an earlier revision.
    pub replaced: u64,
    /// Captions of windows that were no longer on it.
    pub late: u64,
}

#[derive(Debug)]
struct Line {
    id: WindowId,
    revision: u32,
    text: String,
    since: Instant,
}

/// The last lines, the newest at the bottom.
#[derive(Debug, Default)]
pub(super) struct Screen {
    lines: VecDeque<Line>,
    pub counters: Counters,
}

impl Screen {
    /// Puts a caption on it: in the place of an earlier revision, or below those of earlier windows, of which the last
    /// `most - 1` stay.
    pub fn put(&mut self, caption: &Caption, most: usize, marks: bool, now: Instant) {
        // The answer to a question is about a window, and no caption of it.
        if caption.question.is_some() {
            return;
        }
        let text = match caption.status {
            CaptionStatus::Retracted => String::new(),
            CaptionStatus::Draft if marks && !caption.is_final => format!("{} …", caption.text),
            _ => caption.text.clone(),
        };
        let order = |id: &WindowId| (id.epoch, id.seq);
        let place = (self.lines.iter()).position(|line| order(&line.id) >= order(&caption.id));
        match place {
            Some(place) if self.lines[place].id == caption.id => {
                let line = &mut self.lines[place];
                if caption.revision > line.revision {
                    (line.revision, line.text) = (caption.revision, text);
                    line.since = now;
                    self.counters.shown += 1;
                    self.counters.replaced += 1;
                }
            }
            Some(_) => self.counters.late += 1,
            None => {
                let (id, revision) = (caption.id.clone(), caption.revision);
                self.lines.push_back(Line {
                    id,
                    revision,
                    text,
                    since: now,
                });
                while self.lines.len() > most {
                    self.lines.pop_front();
                }
                self.counters.shown += 1;
            }
        }
    }

    /// The text, without lines that have been on it for `hold`.
    pub fn text(&mut self, hold: Duration, now: Instant) -> String {
        self.lines
            .retain(|line| now.saturating_duration_since(line.since) < hold);
        let texts = self.lines.iter().map(|line| line.text.as_str());
        texts
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_secs(5);

    fn caption(seq: u64, revision: u32, text: &str) -> Caption {
        let window = broker::FeatureWindow {
            draft: Some(broker::DraftReport {
                text: text.to_owned(),
                token_ids: vec![5],
                logprobs: vec![-0.5, -0.5],
                confidence: 0.6,
                model: "draft".to_owned(),
            }),
            ..broker::FeatureWindow::empty(WindowId {
                rig: "street".parse().unwrap(),
                epoch: ulid::Ulid::from_parts(1, 2),
                seq,
            })
        };
        let draft = Caption::draft(&window).unwrap();
        let status = match revision {
            0 => CaptionStatus::Draft,
            _ => CaptionStatus::Corrected,
        };
        Caption {
            revision,
            status,
            ..draft
        }
    }

    #[test]
    fn a_correction_takes_the_place_of_its_draft() {
        let (mut screen, now) = (Screen::default(), Instant::now());
        screen.put(&caption(1, 0, "a dog"), 1, true, now);
        assert_eq!(screen.text(HOLD, now), "a dog …");
        screen.put(&caption(1, 2, "a brown dog"), 1, true, now);
        assert_eq!(screen.text(HOLD, now), "a brown dog");
        // What is older says nothing more.
        screen.put(&caption(1, 0, "a dog"), 1, true, now);
        screen.put(&caption(0, 2, "a street"), 1, true, now);
        assert_eq!(screen.text(HOLD, now), "a brown dog");
        let counters = Counters {
            shown: 2,
            replaced: 1,
            late: 1,
        };
        assert_eq!(screen.counters, counters);
    }

    #[test]
    fn with_several_lines_a_late_correction_is_seen() {
        let (mut screen, now) = (Screen::default(), Instant::now());
        for seq in 0..3 {
            screen.put(&caption(seq, 0, &format!("draft {seq}")), 2, false, now);
        }
        assert_eq!(screen.text(HOLD, now), "draft 1\ndraft 2");
        screen.put(&caption(1, 2, "last 1"), 2, false, now);
        assert_eq!(screen.text(HOLD, now), "last 1\ndraft 2");
    }

    #[test]
    fn a_line_goes_when_its_time_is_over() {
        let (mut screen, now) = (Screen::default(), Instant::now());
        screen.put(&caption(0, 0, "a dog"), 1, false, now);
        let last = HOLD - Duration::from_millis(1);
        assert_eq!(screen.text(HOLD, now + last), "a dog");
        assert_eq!(screen.text(HOLD, now + HOLD), "");
        // The correction of what is gone is late, or a line of its own: it is news either way.
        screen.put(&caption(0, 2, "a brown dog"), 1, false, now + HOLD);
        assert_eq!(screen.text(HOLD, now + HOLD), "a brown dog");
        // One that takes the place of its draft at the last moment stays as long.
        screen.put(&caption(1, 0, "a cat"), 1, false, now + HOLD);
        screen.put(&caption(1, 2, "a black cat"), 1, false, now + HOLD + last);
        assert_eq!(screen.text(HOLD, now + HOLD + last + last), "a black cat");
        assert_eq!(screen.text(HOLD, now + HOLD + last + HOLD), "");
    }
}
