//! The fused value: MAS = 1 − β · mean over p of s · u.
//!
//! From *MSAO: Adaptive Modality Sparsity-Aware Offloading with Edge-Cloud
//! Collaboration for Efficient Multimodal LLM Inference* (arXiv 2604.02945),
//! with temporal change against what was last sent.

use ndarray::ArrayView1;

use crate::{spatial, temporal};

/// MAS of one modality in one frame or window. Every value lies in \[0, 1\].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mas {
    /// Spatial sparsity ρ = 1 − mean(s): 1 when few positions hold the energy.
    pub rho: f32,
    /// Temporal redundancy γ = 1 − energy-weighted mean(u): 1 when nothing is new.
    pub gamma: f32,
    /// Modal contribution β to the output; 1 when nothing is known of it.
    pub beta: f32,
    /// 1 − β · mean(s · u): 1 when nothing need be sent, 0 when all of it must.
    pub mas: f32,
}

impl Mas {
    /// Fuses mask `s`, change `u` and energy `a`, each `[P]`, with β (clamped to
    /// \[0, 1\], and 1 if not a number). MAS is 1 for no positions.
    pub fn fuse(
        s: ArrayView1<'_, f32>,
        u: ArrayView1<'_, f32>,
        energy: ArrayView1<'_, f32>,
        beta: f32,
    ) -> Self {
        let beta = if beta.is_nan() {
            1.0
        } else {
            beta.clamp(0.0, 1.0)
        };
        let worth = (&s * &u).mean().unwrap_or(0.0);
        Self {
            rho: spatial::sparsity(s),
            gamma: temporal::redundancy(u, energy),
            beta,
            mas: (1.0 - beta * worth).clamp(0.0, 1.0),
        }
    }

    /// Share of the activations worth sending: 1 − MAS.
    pub fn worth(&self) -> f32 {
        1.0 - self.mas
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, array};

    use super::*;

    #[test]
    fn the_formula() {
        let (s, u) = (array![1.0, 0.5, 0.0, 1.0], array![1.0, 1.0, 1.0, 0.0]);
        let mas = Mas::fuse(s.view(), u.view(), array![1.0, 1.0, 1.0, 1.0].view(), 0.5);
        assert_eq!(
            mas,
            Mas {
                rho: 0.375,
                gamma: 0.25,
                beta: 0.5,
                mas: 1.0 - 0.5 * 0.375
            }
        );
        assert_eq!(mas.worth(), 0.1875);
    }

    #[test]
    fn odd_betas_and_no_positions_are_defined() {
        let none = Array1::zeros(0);
        assert_eq!(
            Mas::fuse(none.view(), none.view(), none.view(), f32::NAN).mas,
            1.0
        );
        let one = array![1.0];
        assert_eq!(Mas::fuse(one.view(), one.view(), one.view(), 7.0).mas, 0.0);
        assert_eq!(Mas::fuse(one.view(), one.view(), one.view(), -1.0).mas, 1.0);
    }
}
