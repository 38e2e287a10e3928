//! A bound that knows the future of the link and the truth about each draft.
//!
//! It sends no window whose draft stands, and leaves out of the others as many as the target allows, the costliest. What
//! it sends finds link and cloud free, at the link's rates and outages as they come. So no policy within the target costs
//! less that sends windows whole, or thinned only as far as the latency target asks, and does not wait for a faster link.

use crate::engine::DRAFT;
use crate::world::{CAPTIONED, CORRECTED, DELAY, FIXED, TOKEN, Window, World};

/// Mean cost of a window, seconds, at prices of 1.
pub fn cost(world: &World, target_risk: f64, target_latency: f64) -> f64 {
    let windows = || world.windows.iter().enumerate().filter(|(_, w)| !w.empty);
    let count = windows().count();
    let mut costs: Vec<f64> = windows()
        .filter(|(_, window)| window.changed)
        .map(|(seq, window)| sent(world, 1.0 + seq as f64, window, target_latency))
        .collect();
    costs.sort_by(f64::total_cmp);
    let most = costs.len() - ((target_risk * count as f64) as usize).min(costs.len());
    let kept = (count - most) as f64 * DRAFT;
    (costs[..most].iter().sum::<f64>() + kept) / count as f64
}

/// The cheapest way of sending the window.
fn sent(world: &World, at: f64, window: &Window, target_latency: f64) -> f64 {
    let way = |draft: f64, work: f64, bytes: f64| {
        let from = at + draft;
        let there = world.up(world.carried(from, bytes)) + DELAY;
        let done = world.up(world.there(there) + work) + DELAY;
        (done - at, done - at + bytes / world.rate(from) + work)
    };
    let features = |draft, work| {
        let all = |tokens: u32| way(draft, work, f64::from(FIXED + tokens * TOKEN));
        let fits = (16..=window.tokens)
            .rev()
            .find(|n| all(*n).0 <= target_latency);
        all(fits.unwrap_or(16)).1
    };
    let keyframe = way(0.0, CAPTIONED, f64::from(window.keyframe)).1;
    features(DRAFT, CORRECTED)
        .min(features(0.0, CAPTIONED))
        .min(keyframe)
}
