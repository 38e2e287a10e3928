//! The model's own thread: model work never blocks the async runtime.

use broker::{FeatureWindow, caption::Verdict};
use tokio::sync::{mpsc, oneshot};

use crate::{Error, Fault, Verifier};

type Answer = Result<Option<Verdict>, Fault>;

/// A handle to a verifier on its thread. The thread ends with the handle.
pub(crate) struct Judge {
    pub model: String,
    pub provider: String,
    requests: mpsc::Sender<(FeatureWindow, oneshot::Sender<Answer>)>,
}

impl Judge {
    /// Makes the verifier with `load` on a new thread, and keeps it there.
    pub async fn start<V: Verifier>(
        load: impl FnOnce() -> Result<V, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let (requests, mut inbox) = mpsc::channel::<(FeatureWindow, oneshot::Sender<Answer>)>(1);
        let (loaded, ready) = oneshot::channel();
        let ended = |what: String| Error::Thread {
            model: "(not loaded)".to_owned(),
            what,
        };
        let work = move || {
            let mut verifier = match load() {
                Ok(verifier) => verifier,
                Err(error) => return drop(loaded.send(Err(error))),
            };
            let about = (verifier.model().to_owned(), verifier.provider());
            if loaded.send(Ok(about)).is_err() {
                return;
            }
            while let Some((window, answer)) = inbox.blocking_recv() {
                // Whoever asked may have been stopped meanwhile.
                let _ = answer.send(verifier.verify(&window));
            }
        };
        std::thread::Builder::new()
            .name("msao-model".to_owned())
            .spawn(work)
            .map_err(|error| ended(format!("did not start ({error})")))?;
        let (model, provider) = ready
            .await
            .map_err(|_| ended("panicked while loading".to_owned()))??;
        Ok(Self {
            model,
            provider,
            requests,
        })
    }

    /// Asks for the verdict on `window`.
    ///
    /// # Errors
    /// Outside: the thread is gone. Inside: the verifier's own fault.
    pub async fn judge(&self, window: FeatureWindow) -> Result<Answer, Error> {
        let ended = || Error::Thread {
            model: self.model.clone(),
            what: "panicked".to_owned(),
        };
        let (answer, verdict) = oneshot::channel();
        self.requests
            .send((window, answer))
            .await
            .map_err(|_| ended())?;
        verdict.await.map_err(|_| ended())
    }
}
