//! Work of several threads that one thread does together: whoever has some waits for the others, but not for long.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

/// How work is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batching {
    /// Pieces that are done at once at most; up to 1: each by itself.
    pub most: usize,
    /// How long the first piece waits for the others.
    pub wait: Duration,
}

/// The thread, and how to reach it. It ends with this.
#[derive(Debug)]
pub(crate) struct Together<J, R> {
    jobs: Option<Sender<(J, SyncSender<R>)>>,
    members: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// One that gives work. It has at most one piece in hand, so what waits is bounded by the members.
#[derive(Debug)]
pub(crate) struct Member<J, R>(Arc<Together<J, R>>);

impl<J: Send + 'static, R: Send + 'static> Together<J, R> {
    /// Starts the thread. `work` answers each piece it is given, in their order.
    pub(crate) fn start(
        batching: Batching,
        work: impl FnMut(Vec<J>) -> Vec<R> + Send + 'static,
    ) -> io::Result<Self> {
        let (jobs, waiting) = channel();
        let members = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&members);
        let thread = Builder::new()
            .name("msao-batches".into())
            .spawn(move || serve(&waiting, &counted, batching, work))?;
        Ok(Self {
            jobs: Some(jobs),
            members,
            thread: Some(thread),
        })
    }

    /// How many members it has.
    pub(crate) fn members(&self) -> usize {
        self.members.load(Ordering::Relaxed)
    }

    /// Another member.
    pub(crate) fn join(self: &Arc<Self>) -> Member<J, R> {
        self.members.fetch_add(1, Ordering::Relaxed);
        Member(Arc::clone(self))
    }
}

impl<J, R> Member<J, R> {
    /// Waits for the answer to a piece of work; `None` if the thread has panicked.
    pub(crate) fn run(&mut self, job: J) -> Option<R> {
        let (answer, answered) = sync_channel(1);
        self.0.jobs.as_ref()?.send((job, answer)).ok()?;
        answered.recv().ok()
    }
}

impl<J, R> Drop for Member<J, R> {
    fn drop(&mut self) {
        self.0.members.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<J, R> Drop for Together<J, R> {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Whoever waited for a thread that panicked was told so.
            let _ = thread.join();
        }
    }
}

fn serve<J, R>(
    jobs: &Receiver<(J, SyncSender<R>)>,
    members: &AtomicUsize,
    batching: Batching,
    mut work: impl FnMut(Vec<J>) -> Vec<R>,
) {
    while let Ok(first) = jobs.recv() {
        let deadline = Instant::now() + batching.wait;
        let mut batch = vec![first];
        while batch.len() < batching.most.min(members.load(Ordering::Relaxed)) {
            let left = deadline.saturating_duration_since(Instant::now());
            match jobs.recv_timeout(left) {
                Ok(next) => batch.push(next),
                Err(_) => break,
            }
        }
        let (batch, waiting): (Vec<J>, Vec<SyncSender<R>>) = batch.into_iter().unzip();
        for (answer, waiting) in work(batch).into_iter().zip(waiting) {
            // Each waits for its answer until it has it.
            let _ = waiting.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, Mutex};
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn batching(most: usize, wait: Duration) -> Batching {
        Batching { most, wait }
    }

    type Batches = Arc<Mutex<Vec<Vec<u32>>>>;

    /// Doubles numbers, and remembers what came together.
    fn doubling(batching: Batching) -> (Arc<Together<u32, u32>>, Batches) {
        let batches = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&batches);
        let together = Together::start(batching, move |jobs: Vec<u32>| {
            seen.lock().unwrap().push(jobs.clone());
            jobs.into_iter().map(|job| 2 * job).collect()
        });
        (Arc::new(together.unwrap()), batches)
    }

    #[test]
    fn all_members_go_together_and_each_gets_its_own_answer() {
        let (together, batches) = doubling(batching(8, PATIENCE));
        let members: Vec<_> = (0..4).map(|_| together.join()).collect();
        let begun = Instant::now();
        thread::scope(|scope| {
            for (job, mut member) in (0..).zip(members) {
                scope.spawn(move || assert_eq!(member.run(job), Some(2 * job)));
            }
        });
        assert!(begun.elapsed() < PATIENCE, "they waited for more");
        let mut batches = batches.lock().unwrap().clone();
        batches.iter_mut().for_each(|batch| batch.sort_unstable());
        assert_eq!(batches, [[0, 1, 2, 3]]);
    }

    #[test]
    fn one_alone_goes_at_once_and_so_does_a_full_batch() {
        let (together, batches) = doubling(batching(2, PATIENCE));
        let begun = Instant::now();
        let mut one = together.join();
        assert_eq!(one.run(1), Some(2));
        let others = [together.join(), together.join(), together.join()];
        let mut members = Vec::from(others);
        members.push(one);
        thread::scope(|scope| {
            for mut member in members {
                scope.spawn(move || member.run(3));
            }
        });
        assert!(begun.elapsed() < PATIENCE, "they waited for more");
        assert_eq!(batches.lock().unwrap().len(), 3);
    }

    #[test]
    fn one_that_gives_nothing_or_leaves_holds_nobody_for_longer_than_the_wait() {
        let wait = Duration::from_millis(50);
        let (together, _) = doubling(batching(8, wait));
        let mut one = together.join();
        let idle = together.join();
        let begun = Instant::now();
        assert_eq!(one.run(1), Some(2));
        let took = begun.elapsed();
        assert!((wait..PATIENCE).contains(&took), "{took:?}");
        drop(idle);
        let (together, _) = doubling(batching(8, PATIENCE));
        let mut one = together.join();
        drop(together.join());
        assert_eq!(one.run(1), Some(2));
        assert!(begun.elapsed() < PATIENCE, "it waited for one that left");
    }

    #[test]
    fn what_comes_while_the_others_are_at_work_goes_together_after_them() {
        let (begins, goes_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let barriers = (Arc::clone(&begins), Arc::clone(&goes_on));
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&sizes);
        let work = move |jobs: Vec<u32>| {
            seen.lock().unwrap().push(jobs.len());
            if jobs == [0] {
                barriers.0.wait();
                barriers.1.wait();
            }
            jobs
        };
        let together = Arc::new(Together::start(batching(8, Duration::ZERO), work).unwrap());
        let (first, others) = (together.join(), [together.join(), together.join()]);
        let sent = together.jobs.as_ref().unwrap();
        thread::scope(|scope| {
            let mut first = first;
            scope.spawn(move || first.run(0));
            begins.wait();
            // As the others give it, so that it is known to wait.
            let (answer, answered) = sync_channel(2);
            for job in 1..=others.len() as u32 {
                sent.send((job, answer.clone())).unwrap();
            }
            goes_on.wait();
            assert_eq!((answered.recv(), answered.recv()), (Ok(1), Ok(2)));
        });
        assert_eq!(*sizes.lock().unwrap(), [1, 2]);
    }

    #[test]
    fn a_thread_that_panics_leaves_nobody_waiting() {
        let together: Together<u32, u32> =
            Together::start(batching(2, Duration::ZERO), |_| panic!("on purpose")).unwrap();
        let mut member = Arc::new(together).join();
        assert_eq!((member.run(1), member.run(2)), (None, None));
    }
}
