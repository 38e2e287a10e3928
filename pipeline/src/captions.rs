//! A caption as a line in a terminal.

use std::collections::HashMap;
use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use broker::{Caption, CaptionStatus, WindowId};

use crate::output::plain;

/// Drafts that may wait for an answer; at this many all are forgotten, so that memory stays bounded.
const REMEMBERED: usize = 1024;

/// Turns captions into lines: a correction shows what it changed in the draft.
#[derive(Default)]
pub struct Printer {
    drafts: HashMap<WindowId, Draft>,
}

struct Draft {
    text: String,
    tokens: u32,
}

impl Printer {
    /// The line of `caption`, with ANSI styles.
    pub fn line(&mut self, caption: &Caption) -> String {
        let at = caption.start_running_ns as f64 / 1e9;
        let delay = (caption.time - caption.end).as_seconds_f64() * 1e3;
        let (name, style) = match caption.status {
            CaptionStatus::Draft if caption.is_final => ("kept", AnsiColor::Cyan.on_default()),
            CaptionStatus::Draft if caption.redrafted => ("redrafted", Style::new().dimmed()),
            CaptionStatus::Draft => ("draft", Style::new().dimmed()),
            CaptionStatus::Confirmed => ("confirmed", AnsiColor::Green.on_default()),
            CaptionStatus::Corrected => ("corrected", AnsiColor::Yellow.on_default()),
            CaptionStatus::Retracted => ("retracted", AnsiColor::Red.on_default()),
        };
        let draft = self.drafts.remove(&caption.id);
        let said = plain(&caption.text);
        let text = match (&draft, caption.status) {
            (Some(draft), CaptionStatus::Corrected) => changed(&draft.text, &said),
            _ => said.clone(),
        };
        let dim = Style::new().dimmed();
        let mut line = format!("{at:7.1} s  {style}{name:<9}{style:#}  {text}");
        // Formatting into a String cannot fail.
        let _ = match delay {
            // A clip can be read faster than it was filmed.
            ..0.0 => write!(line, "  {dim}before its end"),
            delay => write!(line, "  {dim}{delay:+.0} ms"),
        };
        if let Some((draft, accepted)) = draft.zip(caption.accepted_tokens) {
            let _ = write!(line, ", {accepted} of {} tokens accepted", draft.tokens);
        }
        if caption.status == CaptionStatus::Draft && caption.mas.len() > 1 {
            let mut beta: Vec<String> = Vec::new();
            for stream in &caption.mas {
                let counts = format!("{} {:.2}", stream.modality, stream.beta);
                // Streams of one modality count alike.
                if !beta.contains(&counts) {
                    beta.push(counts);
                }
            }
            let _ = write!(line, "; beta: {}", beta.join(", "));
        }
        let _ = write!(line, "{:#}", Style::new().dimmed());
        if caption.status == CaptionStatus::Draft && !caption.is_final {
            if self.drafts.len() == REMEMBERED {
                self.drafts.clear();
            }
            let (text, tokens) = (said, caption.tokens);
            self.drafts
                .insert(caption.id.clone(), Draft { text, tokens });
        }
        line
    }
}

/// `text` with the words in bold that are not in `draft`: what lies between their common start and end.
fn changed(draft: &str, text: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (draft.split(' ').collect(), text.split(' ').collect());
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let most = old.len().min(new.len()) - start;
    let end = old
        .iter()
        .rev()
        .zip(new.iter().rev())
        .take(most)
        .take_while(|(a, b)| a == b)
        .count();
    let bold = Style::new().bold();
    let (head, rest) = new.split_at(start);
    let (middle, tail) = rest.split_at(rest.len() - end);
    let middle = if middle.is_empty() {
        String::new()
    } else {
        format!("{bold}{}{bold:#}", middle.join(" "))
    };
    [head.join(" "), middle, tail.join(" ")]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unstyled(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn what_a_terminal_would_act_on_is_not_printed() {
        let caption = |status: &str, revision: u32, text: &str| {
            let json = serde_json::json!({
                "schema": "caption/1.1", "id": "car/01M8PXAGB3FH422T1MA4PMRR6B/1", "revision": revision,
                "status": status, "text": text, "tokens": 3, "confidence": 0.5, "start": "2026-11-30T18:00:00Z",
                "end": "2026-11-30T18:00:01Z", "start_running_ns": 0, "end_running_ns": 1,
                "time": "2026-11-30T18:00:01Z", "mas": [], "model": "m", "latency_ms": { "edge": 1.0 }
            });
            Caption::decode(json.to_string().as_bytes()).unwrap()
        };
        let mut printer = Printer::default();
        for caption in [
            caption("draft", 0, "a dog\u{1b}[2J\nruns"),
            caption("corrected", 1, "a dog\u{1b}]0;title\u{7}\rsleeps"),
        ] {
            let line = printer.line(&caption);
            let acts = |end: &str| line.contains(end);
            assert!(
                !["\u{1b}[2J", "\u{1b}]", "\u{7}", "\n", "\r"]
                    .into_iter()
                    .any(acts),
                "{line:?}"
            );
            assert!(
                line.contains("dog") && line.contains('\u{fffd}'),
                "{line:?}"
            );
        }
    }

    #[test]
    fn a_correction_marks_the_words_that_it_changed() {
        let bold = Style::new().bold();
        let text = changed("a man in a red shirt walks", "a man in a blue coat walks");
        assert_eq!(text, format!("a man in a {bold}blue coat{bold:#} walks"));
        for (draft, text) in [
            ("a dog", "a dog runs"),
            ("a dog runs", "a dog"),
            ("", "a"),
            ("a", ""),
            ("a a", "a a a"),
        ] {
            assert_eq!(unstyled(&changed(draft, text)), text);
        }
    }
}
