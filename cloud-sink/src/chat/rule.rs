//! When an answer confirms a draft.

/// Whether `answer` confirms `draft`: it is the one word OK, if the draft was `shown`; or the two are alike, as ROUGE-L
/// (Lin, 2004) has it, by `similarity` or more. Case, punctuation and articles do not count, so 1 asks for the same words in the
/// same order.
pub(super) fn confirms(answer: &str, draft: &str, shown: bool, similarity: f64) -> bool {
    let (answer, draft) = (words(answer), words(draft));
    let agreed = shown && matches!(answer.as_slice(), [word] if word == "ok" || word == "okay");
    agreed || alike(&answer, &draft) >= similarity
}

/// The words of a text, in lower case, without punctuation and articles.
fn words(text: &str) -> Vec<String> {
    let words = text
        .split(|c: char| !(c.is_alphanumeric() || c == '\''))
        .map(|word| word.trim_matches('\''));
    let words = words.filter(|word| !word.is_empty()).map(str::to_lowercase);
    words
        .filter(|word| !matches!(word.as_str(), "a" | "an" | "the"))
        .collect()
}

/// The harmonic mean of the shares that the longest common subsequence has of either: 0 to 1.
fn alike(one: &[String], other: &[String]) -> f64 {
    if one.is_empty() || other.is_empty() {
        return f64::from(u8::from(one.is_empty() && other.is_empty()));
    }
    let mut longest = vec![0_usize; other.len() + 1];
    for word in one {
        let mut diagonal = 0;
        for (i, candidate) in other.iter().enumerate() {
            let above = longest[i + 1];
            longest[i + 1] = if word == candidate {
                diagonal + 1
            } else {
                above.max(longest[i])
            };
            diagonal = above;
        }
    }
    2.0 * longest[other.len()] as f64 / (one.len() + other.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ok_confirms_what_was_shown_and_so_do_the_same_words() {
        let draft = "A dog runs, on the man's lawn.";
        for answer in ["OK", "ok.", " Okay! ", "**OK**"] {
            assert!(confirms(answer, draft, true, 1.0), "{answer}");
            assert!(!confirms(answer, draft, false, 1.0), "{answer}");
        }
        for answer in [
            draft,
            "the dog runs on a man's lawn",
            "\"Dog runs on man's lawn\"",
        ] {
            assert!(confirms(answer, draft, false, 1.0), "{answer}");
        }
        for answer in [
            "OK, but the dog is asleep",
            "a dog runs on the man's roof",
            "a dog runs not on the man's lawn",
            "the man's lawn runs on a dog",
            "",
        ] {
            assert!(!confirms(answer, draft, true, 1.0), "{answer}");
        }
        assert!(confirms("OK", "ok", false, 1.0) && confirms("", "", false, 1.0));
    }

    #[test]
    fn less_than_the_same_words_is_enough_if_so_configured() {
        // Five words and six, of which five are common, in order: 10 / 11.
        let (draft, answer) = ("a man rides a red bike", "a man slowly rides a red bike");
        assert!(confirms(answer, draft, false, 0.88));
        assert!(!confirms(answer, draft, false, 0.9));
        // The same words in another order have less in common.
        assert!(!confirms("a red bike rides a man", draft, false, 0.6));
    }
}
