//! What judges a window.

use std::{fmt, sync::Arc};

use broker::{FeatureWindow, caption::Verdict};

use crate::Counters;

/// Why a window was not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It never can be: it goes to the dead letters with this reason.
    Hopeless(String),
    /// It may be another time.
    Passing(String),
    /// No window will be judged before somebody mends this: the worker stops.
    Stopping(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Hopeless(reason) | Self::Passing(reason) | Self::Stopping(reason)) = self;
        f.write_str(reason)
    }
}

/// A window and the verdict on it.
pub type Judged = (FeatureWindow, Result<Option<Verdict>, Fault>);

/// Judges windows, on a thread of its own.
pub trait Verifier: Send + 'static {
    /// The model's name and version, as reported with captions.
    fn model(&self) -> &str;

    /// What runs it, such as `cpu` or `cuda`, several with commas; `server` if a server does.
    fn provider(&self) -> String;

    /// What is counted of the server behind it, if there is one.
    fn server(&self) -> Option<Arc<Counters>> {
        None
    }

    /// The verdict on the window's draft, or a caption if it has none. `None` if there is nothing
    /// in the window to be captioned.
    ///
    /// # Errors
    /// The window does not fit the model, or the model failed.
    fn verify(&mut self, window: &FeatureWindow) -> Result<Option<Verdict>, Fault>;

    /// The verdict on each of several windows; a model that gains by it judges them together.
    fn verify_all(&mut self, windows: &[FeatureWindow]) -> Vec<Result<Option<Verdict>, Fault>> {
        windows.iter().map(|window| self.verify(window)).collect()
    }

    /// The same, each by its index as soon as it is there, but those of a rig in their order. By default all at the end.
    fn verify_each(&mut self, windows: Vec<FeatureWindow>, tell: &mut dyn FnMut(usize, Judged)) {
        let verdicts = self.verify_all(&windows);
        for (index, judged) in windows.into_iter().zip(verdicts).enumerate() {
            tell(index, judged);
        }
    }
}
