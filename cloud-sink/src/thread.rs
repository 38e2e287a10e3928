//! The verifier's thread: a model works for long at a time, and must not do so on the async runtime.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
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
    inbox: Arc<Inbox>,
}

impl Judge {
    /// Makes the verifier with `load` on a new thread, and keeps it there.
    pub async fn start<V: Verifier>(
        load: impl FnOnce() -> Result<V, Error> + Send + 'static,
        batching: Batching,
    ) -> Result<Self, Error> {
        let inbox = Arc::new(Inbox::new(batching));
        let end = End(Arc::clone(&inbox));
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
            let about = (
                verifier.model().to_owned(),
                verifier.provider(),
                verifier.server(),
            );
            if loaded.send(Ok(about)).is_err() {
                return;
            }
            while let Some(batch) = end.0.next() {
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
            inbox,
        })
    }

    /// How many windows wait for the model.
    pub fn waiting(&self) -> u64 {
        self.inbox.lock().requests.len() as u64
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
        self.inbox.put(request);
        verdict.await.map_err(|_| ended())
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

/// The thread's end of the inbox: with it goes what still waits, and whoever asked hears of it.
struct End(Arc<Inbox>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.close();
        self.0.lock().requests.clear();
    }
}

/// What waits for the model: as many windows as the consumer has in hand. Its thread is woken for a whole batch, not for
/// each window of it.
struct Inbox {
    batching: Batching,
    waiting: Mutex<Waiting>,
    news: Condvar,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    /// Whether the thread waits for news.
    idle: bool,
    closed: bool,
}

impl Waiting {
    /// Whether there is nothing to wait for.
    fn is_whole(&self, most: usize) -> bool {
        let more = self.requests.back().is_some_and(|last| last.more);
        self.closed || self.requests.len() >= most || !more
    }
}

impl Inbox {
    fn new(batching: Batching) -> Self {
        Self {
            batching,
            waiting: Mutex::default(),
            news: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A closed one drops it, and so its answer.
    fn put(&self, request: Request) {
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        waiting.requests.push_back(request);
        let is_first = waiting.requests.len() == 1;
        if waiting.idle && (is_first || waiting.is_whole(self.batching.max)) {
            self.news.notify_one();
        }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.news.notify_one();
    }

    /// The next batch: what waits, and what is on its way if it comes in time. A window that is the only one goes at once.
    /// `None` when nobody can ask any more.
    fn next(&self) -> Option<Vec<Request>> {
        let Batching { max, wait } = self.batching;
        let mut waiting = self.lock();
        waiting.idle = true;
        let first = |waiting: &mut Waiting| waiting.requests.is_empty() && !waiting.closed;
        let arrived = self.news.wait_while(waiting, first);
        let more = |waiting: &mut Waiting| !waiting.is_whole(max);
        let waiting = arrived.unwrap_or_else(PoisonError::into_inner);
        let gathered = self.news.wait_timeout_while(waiting, wait, more);
        let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        waiting.idle = false;
        let count = waiting.requests.len().min(max);
        (count > 0).then(|| waiting.requests.drain(..count).collect())
    }
}

#[cfg(test)]
mod tests {
    use broker::caption::Verdict;

    use super::*;
    use crate::Fault;

    /// A request, with whoever asked gone: nothing here is answered.
    fn request(inbox: &Inbox, window: &FeatureWindow, more: bool) {
        inbox.put(Request {
            window: window.clone(),
            more,
            answer: oneshot::channel().0,
        });
    }

    #[test]
    fn batches_hold_what_waits_and_wait_only_for_what_is_on_its_way() {
        const LONG: Duration = Duration::from_secs(600);
        let window = crate::model::tests::window();
        let inbox = |max, wait| Inbox::new(Batching { max, wait });
        let size = |inbox: &Inbox| inbox.next().unwrap().len();

        // Alone it goes at once, however long the model might wait.
        let patient = Arc::new(inbox(4, LONG));
        request(&patient, &window, false);
        assert_eq!(size(&patient), 1);
        // What waits goes together, up to the most.
        (0..6).for_each(|_| request(&patient, &window, false));
        assert_eq!((size(&patient), size(&patient)), (4, 2));
        // What is on its way is waited for, but not for ever.
        request(&patient, &window, true);
        let (other, late) = (Arc::clone(&patient), window.clone());
        let sender = std::thread::spawn(move || request(&other, &late, false));
        assert_eq!(size(&patient), 2);
        sender.join().unwrap();
        let hasty = inbox(4, Duration::from_millis(1));
        request(&hasty, &window, true);
        assert_eq!(size(&hasty), 1);
        let single = inbox(1, LONG);
        request(&single, &window, true);
        assert_eq!(size(&single), 1);
        // What waits is still judged, and then there is nothing.
        request(&patient, &window, true);
        patient.close();
        assert_eq!(size(&patient), 1);
        assert!(patient.next().is_none());
        // Whoever asks a thread that is gone hears of it.
        let (answer, mut verdict) = oneshot::channel();
        let window = window.clone();
        patient.put(Request {
            window,
            more: false,
            answer,
        });
        assert!(verdict.try_recv().is_err());
    }

    struct Fatal;

    impl Verifier for Fatal {
        fn model(&self) -> &str {
            "fatal"
        }

        fn provider(&self) -> String {
            "none".to_owned()
        }

        fn verify(&mut self, _: &FeatureWindow) -> Result<Option<Verdict>, Fault> {
            std::panic::panic_any("the model's end")
        }
    }

    #[tokio::test]
    async fn a_thread_that_ends_leaves_nobody_waiting() {
        let batching = Batching {
            max: 1,
            wait: Duration::ZERO,
        };
        let judge = Judge::start(|| Ok(Fatal), batching).await.unwrap();
        let window = crate::model::tests::window();
        // The one that it ends with, one that waits behind it, and one that comes after.
        let asked = || judge.judge(window.clone(), true);
        let (one, other) = tokio::join!(asked(), asked());
        for answer in [one, other, asked().await] {
            assert!(matches!(answer, Err(Error::Thread { .. })));
        }
    }
}
