//! Whether answers are right, and how good captions are.

use std::collections::{HashMap, HashSet};

/// Whether an answer is right: equal to one of the right ones but for case and, in a list, order.
pub fn right(answer: &str, right: &[String]) -> bool {
    let parts = |text: &str| {
        let text = text.to_lowercase();
        let mut parts: Vec<String> = text.split(',').map(|part| part.trim().to_owned()).collect();
        parts.sort_unstable();
        parts
    };
    right.iter().any(|wanted| parts(answer) == parts(wanted))
}

/// Longest n-gram.
const LONGEST: usize = 4;
/// Of the Gaussian penalty on a difference in length.
const SIGMA: f64 = 6.0;

/// N-grams of a text with their counts, by length.
type Grams<'a> = [HashMap<Vec<&'a str>, f64>; LONGEST];

/// CIDEr-D (Vedantam, Zitnick and Parikh, *CIDEr*, CVPR 2015) of captions against references, times 100: the mean over
/// all. Document frequencies are those of the references given. Words are what white space separates.
pub fn cider(captions: &[(&str, &[String])]) -> Option<f64> {
    if captions.is_empty() {
        return None;
    }
    let mut frequency: HashMap<Vec<&str>, f64> = HashMap::new();
    for (_, references) in captions {
        let there: HashSet<Vec<&str>> = references
            .iter()
            .flat_map(|text| grams(text))
            .flat_map(HashMap::into_keys)
            .collect();
        for gram in there {
            *frequency.entry(gram).or_default() += 1.0;
        }
    }
    let documents = (captions.len() as f64).ln();
    let weigh = |text| {
        let mut grams: Grams<'_> = grams(text);
        for (gram, weight) in grams.iter_mut().flatten() {
            let seen = frequency.get(gram).copied().unwrap_or(0.0).max(1.0);
            *weight *= documents - seen.ln();
        }
        grams
    };
    let length = |text: &str| text.split_whitespace().count().saturating_sub(1) as f64;
    let sum: f64 = captions
        .iter()
        .map(|(caption, references)| {
            let mine = weigh(caption);
            let likenesses = references.iter().map(|reference| {
                let apart = length(caption) - length(reference);
                likeness(&mine, &weigh(reference)) * (-apart * apart / (2.0 * SIGMA * SIGMA)).exp()
            });
            likenesses.sum::<f64>() / references.len().max(1) as f64
        })
        .sum();
    Some(100.0 * 10.0 * sum / captions.len() as f64)
}

fn grams(text: &str) -> Grams<'_> {
    let words: Vec<&str> = text.split_whitespace().collect();
    std::array::from_fn(|n| {
        let mut counts = HashMap::new();
        for gram in words.windows(n + 1) {
            *counts.entry(gram.to_vec()).or_default() += 1.0;
        }
        counts
    })
}

/// Mean cosine over lengths of n-grams, the caption's weights clipped to the reference's.
fn likeness(caption: &Grams<'_>, reference: &Grams<'_>) -> f64 {
    let norm = |grams: &HashMap<Vec<&str>, f64>| grams.values().map(|w| w * w).sum::<f64>().sqrt();
    let cosine = |n: usize| {
        let (caption, reference) = (&caption[n], &reference[n]);
        let shared = caption.iter().filter_map(|(gram, weight)| {
            let other = reference.get(gram)?;
            Some(weight.min(*other) * other)
        });
        let product: f64 = shared.sum();
        let norms = norm(caption) * norm(reference);
        if norms > 0.0 {
            product / norms
        } else {
            product
        }
    };
    (0..LONGEST).map(cosine).sum::<f64>() / LONGEST as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn case_and_order_do_not_matter() {
        let wanted = texts(&["red bus, car"]);
        assert!(right("Car, red bus", &wanted));
        assert!(!right("car", &wanted));
        assert!(right("2", &texts(&["two", "2"])));
        assert!(!right("", &wanted));
    }

    #[test]
    fn cider_is_that_of_pycocoevalcap() {
        let references = [
            texts(&["a dog runs on the grass", "a brown dog runs"]),
            texts(&["two men ride a bike on the road"]),
            texts(&["a red car is parked near the road"]),
        ];
        let captions = [
            "a dog runs on grass",
            "two men ride a bike on the road",
            "a blue boat on the water",
        ];
        let pairs: Vec<(&str, &[String])> = captions
            .iter()
            .zip(&references)
            .map(|(caption, references)| (*caption, references.as_slice()))
            .collect();
        let found = cider(&pairs).unwrap();
        assert!((found - EXPECTED).abs() < 1e-6, "{found}");
        assert_eq!(cider(&[]), None);
    }

    /// `Cider().compute_score` of pycocoevalcap 1.2 on the same texts, times 100.
    const EXPECTED: f64 = 483.888_099_376_394_1;
}
