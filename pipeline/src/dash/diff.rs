//! What changed between a draft and its correction, word by word.

use serde::Serialize;

/// Words of each side up to which the shortest change is looked for; of longer texts it is what lies between their common
/// start and end.
const WORDS: usize = 256;

/// A run of words, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// What became of it.
    pub change: Change,
    /// The words, with single spaces between them.
    pub text: String,
}

/// What became of words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// They stayed.
    Same,
    /// They were struck.
    Struck,
    /// They were added.
    Added,
}

/// The parts that make `old` (same and struck) and `new` (same and added), with the fewest words struck and added.
pub fn words(old: &str, new: &str) -> Vec<Part> {
    let (old, new): (Vec<&str>, Vec<&str>) = (split(old), split(new));
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[start..], &new[start..]);
    let ends = old_rest.iter().rev().zip(new_rest.iter().rev());
    let end = ends.take_while(|(a, b)| a == b).count();
    let old_middle = &old_rest[..old_rest.len() - end];
    let new_middle = &new_rest[..new_rest.len() - end];

    let mut parts = Parts::default();
    parts.push(Change::Same, &old[..start]);
    if old_middle.len().max(new_middle.len()) > WORDS {
        parts.push(Change::Struck, old_middle);
        parts.push(Change::Added, new_middle);
    } else {
        parts.align(old_middle, new_middle);
    }
    parts.push(Change::Same, &old_rest[old_rest.len() - end..]);
    parts.0
}

fn split(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[derive(Default)]
struct Parts(Vec<Part>);

impl Parts {
    fn push(&mut self, change: Change, words: &[&str]) {
        if words.is_empty() {
            return;
        }
        let words = words.join(" ");
        match self.0.last_mut() {
            Some(last) if last.change == change => {
                last.text.push(' ');
                last.text.push_str(&words);
            }
            _ => self.0.push(Part {
                change,
                text: words,
            }),
        }
    }

    /// By the longest common subsequence; of a place where words are struck and added, the struck come first.
    fn align(&mut self, old: &[&str], new: &[&str]) {
        let columns = new.len() + 1;
        // How many words the ends of both, from there on, have in common.
        let mut common = vec![0_u16; (old.len() + 1) * columns];
        for i in (0..old.len()).rev() {
            for j in (0..new.len()).rev() {
                common[i * columns + j] = if old[i] == new[j] {
                    common[(i + 1) * columns + j + 1] + 1
                } else {
                    common[(i + 1) * columns + j].max(common[i * columns + j + 1])
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        let mut added: Vec<&str> = Vec::new();
        while i < old.len() || j < new.len() {
            if i < old.len() && j < new.len() && old[i] == new[j] {
                self.push(Change::Added, &std::mem::take(&mut added));
                self.push(Change::Same, &old[i..=i]);
                (i, j) = (i + 1, j + 1);
            } else if j == new.len()
                || (i < old.len() && common[(i + 1) * columns + j] >= common[i * columns + j + 1])
            {
                self.push(Change::Struck, &old[i..=i]);
                i += 1;
            } else {
                added.push(new[j]);
                j += 1;
            }
        }
        self.push(Change::Added, &added);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(old: &str, new: &str) -> String {
        let mark = |part: &Part| match part.change {
            Change::Same => part.text.clone(),
            Change::Struck => format!("[-{}]", part.text),
            Change::Added => format!("[+{}]", part.text),
        };
        let parts = words(old, new);
        parts.iter().map(mark).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn words_that_stay_stay() {
        for (old, new, expected) in [
            ("a man walks", "a man walks", "a man walks"),
            ("a red car", "a blue car", "a [-red] [+blue] car"),
            (
                "two people walk on the street",
                "three people walk across the wet street",
                "[-two] [+three] people walk [-on] [+across] the [+wet] street",
            ),
            ("a dog", "", "[-a dog]"),
            ("", "a dog", "[+a dog]"),
            ("", "", ""),
            ("a a", "a a a", "a a [+a]"),
            ("x a b y", "x b a y", "x [-a] b [+a] y"),
        ] {
            assert_eq!(marked(old, new), expected);
        }
    }

    #[test]
    fn both_texts_can_be_read_back_whatever_they_are() {
        // Numbers of a small generator stand for words, so that many are equal.
        let mut seed = 7_u64;
        let mut text = |words: usize| {
            let mut word = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 60).to_string()
            };
            (0..words).map(|_| word()).collect::<Vec<_>>().join(" ")
        };
        for length in [0, 1, 5, 40, 300, 3000] {
            let (old, new) = (text(length), text(length / 2 + 3));
            let parts = words(&old, &new);
            let side = |other: Change| {
                let kept = parts.iter().filter(|part| part.change != other);
                kept.map(|part| part.text.as_str())
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            assert_eq!((side(Change::Added), side(Change::Struck)), (old, new));
        }
    }
}
