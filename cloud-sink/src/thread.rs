//! The verifier's thread: a model works for long at a time, and must not do so on the async runtime.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use broker::FeatureWindow;
use tokio::sync::oneshot;

use crate::{Counters, Error, Judged, Verifier};

/// Which windows are verified together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batching {
    /// At most so many, at least 1.
    pub max: usize,
    /// How long the model waits at most for windows that are on their way.
    pub wait: Duration,
}

struct Request {
    window: FeatureWindow,
    /// Whether more windows were on their way when this one came.
    more: bool,
    answer: oneshot::Sender<Judged>,
}

/// A handle to a verifier on its thread. The thread ends with the handle.
pub(crate) struct Judge {
    pub model: String,
    pub provider: String,
    pub server: Option<Arc<Counters>>,
    requests: mpsc::Sender<Request>,
    waiting: Arc<AtomicUsize>,
}

impl Judge {
    /// Makes the verifier with `load` on a new thread, and keeps it there.
    pub async fn start<V: Verifier>(
        load: impl FnOnce() -> Result<V, Error> + Send + 'static,
        batching: Batching,
    ) -> Result<Self, Error> {
        // As many requests as the consumer has windows in hand.
        let (requests, inbox) = mpsc::channel::<Request>();
        let (loaded, ready) = oneshot::channel();
        let ended = |what: String| Error::Thread {
            model: "(not loaded)".to_owned(),
            what,
        };
        let waiting = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&waiting);
        let work = move || {
            let mut verifier = match load() {
                Ok(verifier) => verifier,
                Err(error) => return drop(loaded.send(Err(error))),
            };
            let about = (
                verifier.model().to_owned(),
                verifier.provider(),
                verifier.server(),
            );
            if loaded.send(Ok(about)).is_err() {
                return;
            }
            while let Some(batch) = next(&inbox, batching) {
                left.fetch_sub(batch.len(), Ordering::Relaxed);
                let (windows, mut answers): (Vec<_>, Vec<_>) = (batch.into_iter())
                    .map(|request| (request.window, Some(request.answer)))
                    .unzip();
                verifier.verify_each(windows, &mut |index, judged| {
                    if let Some(answer) = answers.get_mut(index).and_then(Option::take) {
                        // Whoever asked may have been stopped meanwhile.
                        let _ = answer.send(judged);
                    }
                });
            }
        };
        std::thread::Builder::new()
            .name("msao-model".to_owned())
            .spawn(work)
            .map_err(|error| ended(format!("did not start ({error})")))?;
        let (model, provider, server) = ready
            .await
            .map_err(|_| ended("panicked while loading".to_owned()))??;
        Ok(Self {
            model,
            provider,
            server,
            requests,
            waiting,
        })
    }

    /// How many windows wait for the model.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed) as u64
    }

    /// Asks for the verdict on `window`, which comes back with it; `more` tells that others are on their way.
    ///
    /// # Errors
    /// The thread is gone.
    pub async fn judge(&self, window: FeatureWindow, more: bool) -> Result<Judged, Error> {
        let ended = || Error::Thread {
            model: self.model.clone(),
            what: "panicked".to_owned(),
        };
        let (answer, verdict) = oneshot::channel();
        let request = Request {
            window,
            more,
            answer,
        };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.requests.send(request).map_err(|_| ended())?;
        verdict.await.map_err(|_| ended())
    }
}

/// The next batch: what waits, and what is on its way if it comes in time. A window that is the only one goes at once.
/// `None` when nobody can ask any more.
fn next(inbox: &mpsc::Receiver<Request>, batching: Batching) -> Option<Vec<Request>> {
    let first = inbox.recv().ok()?;
    let until = Instant::now() + batching.wait;
    let mut more = first.more;
    let mut batch = vec![first];
    while batch.len() < batching.max {
        let patience = if more {
            until.saturating_duration_since(Instant::now())
        } else {
            Duration::ZERO
        };
        let Ok(request) = inbox.recv_timeout(patience) else {
            break;
        };
        more = request.more;
        batch.push(request);
    }
    Some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request, with whoever asked gone: nothing here is answered.
    fn request(requests: &mpsc::Sender<Request>, window: &FeatureWindow, more: bool) {
        let request = Request {
            window: window.clone(),
            more,
            answer: oneshot::channel().0,
        };
        requests.send(request).unwrap();
    }

    #[test]
    fn batches_hold_what_waits_and_wait_only_for_what_is_on_its_way() {
        const LONG: Duration = Duration::from_secs(600);
        let window = crate::model::tests::window();
        let (requests, inbox) = mpsc::channel();
        let size = |max, wait| next(&inbox, Batching { max, wait }).unwrap().len();

        // Alone it goes at once, however long the model might wait.
        request(&requests, &window, false);
        assert_eq!(size(4, LONG), 1);
        // What waits goes together, up to the most.
        (0..6).for_each(|_| request(&requests, &window, false));
        assert_eq!((size(4, LONG), size(4, LONG)), (4, 2));
        // What is on its way is waited for, but not for ever.
        request(&requests, &window, true);
        let other = requests.clone();
        let late = window.clone();
        let sender = std::thread::spawn(move || request(&other, &late, false));
        assert_eq!(size(4, LONG), 2);
        sender.join().unwrap();
        request(&requests, &window, true);
        assert_eq!(size(4, Duration::from_millis(1)), 1);
        request(&requests, &window, true);
        assert_eq!(size(1, LONG), 1);
        drop(requests);
        assert!(next(&inbox, Batching { max: 4, wait: LONG }).is_none());
    }
}
