//! An OpenAI-compatible server as the verifier: it sees a window's keyframe, and is shown the draft.

mod client;
mod config;
mod message;
mod order;
mod rule;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use broker::{Faults, FeatureWindow, caption::Verdict, status::ServerUse};

pub use config::{Price, ServerSection};

use crate::{Error, Fault, Judged, Verifier};
use client::Client;
use message::Answer;
use order::Order;

/// What was asked of a server and what came of it, counted while it is asked.
#[derive(Debug, Default)]
pub struct Counters {
    requests: AtomicU64,
    retries: AtomicU64,
    failures: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    price: Price,
}

impl Counters {
    /// What is counted by now.
    pub fn now(&self) -> ServerUse {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (input_tokens, output_tokens) = (of(&self.input_tokens), of(&self.output_tokens));
        let Price { input, output } = self.price;
        ServerUse {
            requests: of(&self.requests),
            retries: of(&self.retries),
            failures: of(&self.failures),
            input_tokens,
            output_tokens,
            cost: (input_tokens as f64 * input + output_tokens as f64 * output) / 1e6,
        }
    }
}

/// A model behind a server.
#[derive(Debug)]
pub struct ServerModel {
    server: ServerSection,
    client: Client,
    counters: Arc<Counters>,
}

impl ServerModel {
    /// Asks `server` which models it has: that it is there and takes the key. Blocks.
    ///
    /// # Errors
    /// The configuration cannot be used, or the server is not reached or refuses the key.
    pub fn open(server: &ServerSection) -> Result<Self, Error> {
        let mut faults = Faults::default();
        server.check(&mut faults);
        faults.result()?;
        let client = Client::new(server)?;
        let price = server.price;
        let counters = Arc::new(Counters {
            price,
            ..Counters::default()
        });
        match client.models()? {
            Some(models) if !models.contains(&server.model) => {
                let (model, url, first) = (&server.model, &server.url, models.first());
                tracing::warn!(
                    model,
                    url,
                    ?first,
                    "the server has a list of models, and this one is not on it"
                );
            }
            _ => {}
        }
        Ok(Self {
            server: server.clone(),
            client,
            counters,
        })
    }

    fn ask(&self, window: &FeatureWindow) -> Result<Option<Verdict>, Fault> {
        let Some(jpeg) = &window.keyframe else {
            return if window.tokens.is_empty() {
                Ok(None)
            } else {
                Err(Fault::Hopeless(format!(
                    "it holds no keyframe, and the model server {} sees pictures alone: set `payload = \"keyframes\"` in the edge's configuration",
                    self.server.url
                )))
            };
        };
        let request = message::request(&self.server, window, jpeg);
        let counters = &self.counters;
        let read = |body: &[u8]| {
            let (answer, usage) = message::answer(body);
            if let Some(usage) = usage {
                counters
                    .input_tokens
                    .fetch_add(usage.prompt_tokens.into(), Ordering::Relaxed);
                counters
                    .output_tokens
                    .fetch_add(usage.completion_tokens.into(), Ordering::Relaxed);
            }
            answer
        };
        let answer = self
            .client
            .post("chat/completions", &request, counters, read);
        let answer = answer.map_err(|failure| failure.fault)?;
        Ok(Some(self.verdict(window, answer)))
    }

    fn verdict(&self, window: &FeatureWindow, answer: Answer) -> Verdict {
        let ServerSection {
            similarity,
            model,
            draft: shown,
            ..
        } = &self.server;
        let draft = window.draft.as_ref();
        let confirmed = draft.filter(|draft| {
            rule::confirms(&answer.text, &draft.text, !shown.is_empty(), *similarity)
        });
        let words = answer.text.split_whitespace().count() as u32;
        let written = answer.usage.map_or(words, |usage| usage.completion_tokens);
        let tokens = confirmed.map_or(written, |draft| draft.token_ids.len() as u32);
        Verdict {
            confirmed: confirmed.is_some(),
            tokens,
            confidence: answer.confidence.unwrap_or(0.0),
            accepted_tokens: draft.map(|_| if confirmed.is_some() { tokens } else { 0 }),
            text: confirmed.map_or(answer.text, |draft| draft.text.clone()),
            model: model.clone(),
        }
    }
}

impl Verifier for ServerModel {
    fn model(&self) -> &str {
        &self.server.model
    }

    fn provider(&self) -> String {
        "server".to_owned()
    }

    fn server(&self) -> Option<Arc<Counters>> {
        Some(Arc::clone(&self.counters))
    }

    fn verify(&mut self, window: &FeatureWindow) -> Result<Option<Verdict>, Fault> {
        self.ask(window)
    }

    fn verify_each(&mut self, windows: Vec<FeatureWindow>, tell: &mut dyn FnMut(usize, Judged)) {
        let this = &*self;
        let mut order = Order::of(&windows);
        let waiting = Mutex::new(windows.into_iter().enumerate());
        let (judged, told) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..self.server.concurrency.min(order.windows()) {
                let (waiting, judged) = (&waiting, judged.clone());
                scope.spawn(move || {
                    let next = || {
                        waiting
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .next()
                    };
                    while let Some((index, window)) = next() {
                        let verdict = this.ask(&window);
                        // Whoever is told outlives this thread.
                        let _ = judged.send((index, (window, verdict)));
                    }
                });
            }
            drop(judged);
            for (index, judged) in told {
                order.tell(index, judged, tell);
            }
        });
    }
}
