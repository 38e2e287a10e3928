//! T0 of a stream: its last look, and which looks were sent.

use std::sync::Arc;

use ndarray::ArrayView2;

use crate::scene::{Look, Scene};

/// Change of brightness, in luma levels, that is no event if exposure explains it.
const EXPOSURE: f32 = 60.0;

/// T0 of a stream of pictures.
#[derive(Debug)]
pub(crate) struct Sight {
    scene: Scene,
    look: Option<Arc<Look>>,
    number: u64,
    /// Number of the look that was last sent, by position.
    sent: Vec<u64>,
    /// Brightness when something was last sent.
    brightness: f32,
}

impl Sight {
    /// For a grid of `rows` x `columns` positions; `blocks` are those of the first picture.
    pub fn new(blocks: ArrayView2<'_, f32>, rows: usize, columns: usize) -> Self {
        Self {
            scene: Scene::new(rows, columns),
            look: None,
            number: 0,
            sent: vec![0; rows * columns],
            brightness: blocks.mean().unwrap_or(0.0),
        }
    }

    /// Looks at a picture.
    pub fn look(&mut self, blocks: ArrayView2<'_, f32>) -> Arc<Look> {
        let look = Arc::new(self.scene.look(blocks));
        self.number += 1;
        self.look = Some(Arc::clone(&look));
        look
    }

    /// Notes that the probe runs on the picture last looked at.
    pub fn mark_probed(&mut self) {
        if let Some(look) = &self.look {
            self.scene.mark_probed(Arc::clone(look));
        }
    }

    /// The last look and its number.
    pub fn current(&self) -> Option<(Arc<Look>, u64)> {
        Some((Arc::clone(self.look.as_ref()?), self.number))
    }

    /// The last look, if exposure explains it and is not far from when something was sent:
    /// then other codes are no news.
    pub fn explained(&self) -> Option<&Look> {
        let look = self.look.as_deref()?;
        let quiet = look.evidence.iter().filter(|e| **e < 0.5).count();
        let near =
            (look.brightness - self.brightness).abs() < EXPOSURE && (0.6..1.7).contains(&look.gain);
        (near && quiet * 5 >= look.evidence.len() * 4).then_some(look)
    }

    /// Whether look `number` is later than what was last sent of a position.
    pub fn is_news(&self, position: usize, number: u64) -> bool {
        number > self.sent[position]
    }

    /// Notes that these positions of a look were sent.
    pub fn mark_sent(&mut self, look: &Look, number: u64, positions: &[usize]) {
        if positions.is_empty() {
            return;
        }
        self.scene.mark_sent(look, positions.iter().copied());
        self.brightness = look.brightness;
        for position in positions {
            if let Some(sent) = self.sent.get_mut(*position) {
                *sent = number.max(*sent);
            }
        }
    }
}
