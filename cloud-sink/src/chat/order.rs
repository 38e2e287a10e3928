//! The order in which verdicts are told that come in any order: a rig's windows one after another, as they came.

use std::collections::{HashMap, VecDeque};

use broker::{FeatureWindow, Rig};

use crate::Judged;

/// Windows that are judged at once.
pub(super) struct Order {
    /// The rig of each window.
    rigs: Vec<Rig>,
    /// Of each rig the windows that were not told, each with its verdict if it has come.
    left: HashMap<Rig, VecDeque<(usize, Option<Judged>)>>,
}

impl Order {
    pub fn of(windows: &[FeatureWindow]) -> Self {
        let rigs: Vec<Rig> = windows.iter().map(|window| window.id.rig.clone()).collect();
        let mut left: HashMap<Rig, VecDeque<_>> = HashMap::new();
        for (index, rig) in rigs.iter().enumerate() {
            left.entry(rig.clone())
                .or_default()
                .push_back((index, None));
        }
        Self { rigs, left }
    }

    /// How many windows there are.
    pub fn windows(&self) -> usize {
        self.rigs.len()
    }

    /// Tells the verdict on the window at `index`, and those of its rig that waited for it; or keeps it until those before it are there.
    pub fn tell(&mut self, index: usize, judged: Judged, tell: &mut dyn FnMut(usize, Judged)) {
        let rig = self.rigs.get(index);
        let Some(left) = rig.and_then(|rig| self.left.get_mut(rig)) else {
            return;
        };
        if let Some(place) = left.iter_mut().find(|(other, _)| *other == index) {
            place.1 = Some(judged);
        }
        while let Some((index, judged)) = left.pop_front() {
            match judged {
                Some(judged) => tell(index, judged),
                None => return left.push_front((index, None)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rigs_windows_are_told_in_their_order_and_others_at_once() {
        let window = |rig: &str| {
            let mut window = crate::model::tests::window();
            window.id.rig = rig.parse().unwrap();
            window
        };
        let windows: Vec<_> = ["car", "van", "car", "car"].map(window).into();
        let mut order = Order::of(&windows);
        assert_eq!(order.windows(), 4);
        let mut told = Vec::new();
        for index in [2, 1, 0, 3] {
            let judged = (windows[index].clone(), Ok(None));
            order.tell(index, judged, &mut |index, _| told.push(index));
        }
        assert_eq!(told, [1, 0, 2, 3]);
    }
}
