//! Which captions were handled already: what makes at-least-once delivery once in effect.

use std::collections::{HashSet, VecDeque};

use crate::identity::WindowId;

/// The last `capacity` pairs of window and revision; older ones are forgotten.
#[derive(Debug)]
pub struct Seen {
    capacity: usize,
    order: VecDeque<(WindowId, u32)>,
    members: HashSet<(WindowId, u32)>,
}

impl Seen {
    /// Remembers at most `capacity` pairs, at least 1.
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            order: VecDeque::new(),
            members: HashSet::new(),
        }
    }

    /// Whether the pair is remembered.
    pub fn contains(&self, id: &WindowId, revision: u32) -> bool {
        self.members.contains(&(id.clone(), revision))
    }

    /// Remembers the pair, unless it or a higher revision of the window is remembered: then false.
    pub fn advance(&mut self, id: &WindowId, revision: u32) -> bool {
        // A window has few revisions.
        let newer = (revision..=crate::caption::LAST).any(|newer| self.contains(id, newer));
        !newer && self.insert(id, revision)
    }

    /// Remembers the pair. Returns false if it was remembered already.
    pub fn insert(&mut self, id: &WindowId, revision: u32) -> bool {
        let pair = (id.clone(), revision);
        if !self.members.insert(pair.clone()) {
            return false;
        }
        if self.order.len() == self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.members.remove(&oldest);
        }
        self.order.push_back(pair);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulid::Ulid;

    #[test]
    fn remembers_within_its_capacity() {
        let id = |seq| WindowId {
            rig: "car".parse().unwrap(),
            epoch: Ulid::nil(),
            seq,
        };
        let mut seen = Seen::new(2);
        assert!(seen.insert(&id(0), 0));
        assert!(!seen.insert(&id(0), 0));
        assert!(seen.insert(&id(0), 1));
        assert!(seen.insert(&id(1), 0));
        assert!(!seen.contains(&id(0), 0) && seen.contains(&id(0), 1) && seen.contains(&id(1), 0));
        assert_eq!(seen.members.len(), 2);
        assert!(!seen.advance(&id(0), 0), "1 came before it");
        assert!(!seen.advance(&id(0), 1));
        assert!(seen.advance(&id(0), 2));
    }
}
