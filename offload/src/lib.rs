//! What becomes of a window after its draft: kept on the edge, verified or captioned in the cloud, or left for later.
//!
//! Everything here is a pure function of its arguments or a small state machine that is handed its inputs: no I/O, no
//! clock, no globals. Time is handed in as a [`Duration`](std::time::Duration) since any origin; time that jumps back
//! counts as time standing still. Quantities are in seconds, bytes, and bytes a second unless said otherwise. What is
//! not a number counts as the worst value of its range, so nothing that comes in makes an estimate leave its bounds.
//!
//! | part | what it gives |
//! | --- | --- |
//! | [`link`] | bandwidth, round-trip time, and whether there is contact |
//! | [`edge`] | how much of its time the edge has left |
//! | [`cloud`] | whether the cloud answers, and how long it would take |
//! | [`risk`] | the chance that the cloud would change a draft |
//! | [`thresholds`] | what risk and latency a decision may have, moved online towards their targets |
//! | [`audit`] | which windows are verified only to learn from them |
//! | [`budget`] | how many tokens a window may send |
//! | [`planner`] | the decision, with all that it rests on |
//! | [`step`] | whether to stop a draft half-way and offload at once |
//! | [`context`] | which drafts a correction makes stale |
//! | [`runtime`] | all of these for one edge, fed by what happens |

mod action;
pub mod audit;
mod bounds;
pub mod budget;
mod clock;
pub mod cloud;
pub mod context;
pub mod edge;
mod explain;
pub mod link;
pub mod planner;
pub mod risk;
pub mod runtime;
pub mod step;
pub mod thresholds;

pub use action::{Action, UnknownAction};
pub use bounds::Error;
