//! The edge process of the benchmark: windows at a fixed pace, captioned as a method has it.
//!
//! It is to be what `msao edge` is from `msaowindow` on, for windows that come from files: the same encoders, models,
//! choice of tokens, planner, publisher and reader of captions. It drafts on while answers are in flight.

mod send;
mod state;

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use broker::captions::{self, From};
use broker::connect::AtStart;
use broker::deliver::Observer;
use broker::features::{CAPTION_BYTES, TOKEN_BYTES};
use broker::{ConnectConfig, Connection, Publisher, PublisherConfig, Rig, StreamsConfig, WindowId};
use clap::Args;
use mllm::{Options, Provider};
use offload::edge::Stage;
use offload::planner::{Decision, Window};
use offload::runtime::{Runtime, Settings};
use offload::{Action, planner};
use time::OffsetDateTime;
use ulid::Ulid;

use super::maker::{Chosen, Looked, Maker};
use super::methods::Method;
use super::protocol::{Ask, Had, Record, Reply};
use super::windows::{self, Item, Raw};
use crate::runtime;
use send::Decided;
use state::{State, cloud_is_there, contact, heartbeats, listen};

/// How often the edge looks whether a window that waits may go, and whether answers have come.
const TICK: Duration = Duration::from_millis(5);

/// Options of the edge process.
#[derive(Args)]
pub struct Arguments {
    /// Which method.
    #[arg(long)]
    method: String,
    /// items.jsonl.
    #[arg(long)]
    windows: PathBuf,
    /// Folder of the edge model.
    #[arg(long)]
    edge_model: PathBuf,
    /// The broker, as the edge reaches it.
    #[arg(long)]
    url: String,
    /// Seconds between windows.
    #[arg(long)]
    pace: f64,
}

/// Captions windows as asked on standard input, until that ends.
///
/// # Errors
/// A model or a window is not there, or a model fails.
pub fn run(arguments: &Arguments) -> Result<()> {
    let method = Method::named(&arguments.method);
    let method = method.with_context(|| format!("there is no method '{}'", arguments.method))?;
    let runtime = runtime()?;
    let mut edge = runtime.block_on(Edge::start(arguments, method))?;
    reply(&Reply::Ready)?;
    for line in std::io::stdin().lock().lines() {
        let ask: Ask = serde_json::from_str(&line?)?;
        reply(&Reply::Windows(edge.windows(ask)?))?;
    }
    runtime.shutdown_background();
    Ok(())
}

fn reply(reply: &Reply) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, reply)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// A window that was looked at.
struct OnItsWay {
    item: usize,
    looked: Looked,
    id: WindowId,
    closed: OffsetDateTime,
    /// It had to wait until it could be sent.
    waited: bool,
}

fn decide(planner: &mut Runtime, now: Duration, method: Method, about: Window) -> Decision {
    if method.drafts {
        planner.decide(now, about)
    } else {
        planner.decide_undrafted(now, about)
    }
}

struct Edge {
    method: Method,
    items: Vec<Item>,
    folder: PathBuf,
    maker: Maker,
    state: Arc<State>,
    publisher: Publisher,
    rig: Rig,
    epoch: Ulid,
    next: u64,
    waiting: VecDeque<OnItsWay>,
}

impl Edge {
    async fn start(arguments: &Arguments, method: Method) -> Result<Self> {
        let options = Options {
            provider: Provider::Cpu,
            threads: 1,
        };
        let settings = Settings {
            window: Duration::from_secs_f64(arguments.pace),
            calibrates: method.calibrates,
            ..Settings::default()
        };
        let least = planner::Settings::default().min_tokens as usize;
        let maker = Maker::load(method, &arguments.edge_model, options, least)?;
        let state = Arc::new(State::new(Runtime::new(settings)?));
        let connect = ConnectConfig {
            url: arguments.url.clone(),
            ..ConnectConfig::default()
        };
        let connection = Connection::open(&connect, AtStart::Fail).await?;
        let rig: Rig = "bench".parse()?;
        let streams = StreamsConfig::default();
        let captions = captions::subscribe(&connection, &streams, Some(&rig), From::Now).await?;
        tokio::spawn(listen(captions, Arc::clone(&state)));
        tokio::spawn(heartbeats(connection.clone(), Arc::clone(&state)));
        tokio::spawn(contact(connection.clone(), Arc::clone(&state)));
        let observer: Arc<dyn Observer> = Arc::clone(&state) as _;
        let config = PublisherConfig::default();
        let publisher = Publisher::start_observed(connection, streams, config, observer)?;
        if method.has_cloud() {
            cloud_is_there(&state).await?;
        }
        let folder = arguments.windows.parent();
        Ok(Self {
            method,
            items: windows::items(&arguments.windows)?,
            folder: folder.map(Into::into).unwrap_or_default(),
            maker,
            state,
            publisher,
            rig,
            epoch: Ulid::generate(),
            next: 0,
            waiting: VecDeque::new(),
        })
    }

    /// Captions windows, and waits for the cloud's word on those that were sent.
    fn windows(&mut self, ask: Ask) -> Result<Vec<Record>> {
        let first = self.next;
        let mut raw = self.raw(ask.first)?;
        let begun = Instant::now();
        for number in 0..ask.count {
            let due = ask.pace * number as f64;
            let arrived = begun + Duration::from_secs_f64(due);
            self.send_waiting_until(arrived, || false)?;
            let item = (ask.first + number) % self.items.len();
            self.window(item, &raw, (arrived, due))?;
            // Reading files is no part of what a window takes.
            raw = self.raw(ask.first + number + 1)?;
        }
        let patience = Instant::now() + Duration::from_secs_f64(ask.patience);
        let state = Arc::clone(&self.state);
        let all_there = || {
            let known = state.lock();
            let mut windows = known.windows.range(first..);
            windows.all(|(_, (_, record))| record.last.is_some())
        };
        self.send_waiting_until(patience, all_there)?;
        // What is still on its way up belongs to these windows.
        let left = patience.saturating_duration_since(Instant::now());
        if let Err(pending) = self.publisher.flush(left) {
            tracing::warn!("when the time was over {pending}");
        }
        self.waiting.clear();
        let windows = std::mem::take(&mut self.state.lock().windows);
        Ok(windows.into_values().map(|(_, record)| record).collect())
    }

    fn raw(&self, number: usize) -> Result<Raw> {
        Raw::read(&self.folder, &self.items[number % self.items.len()])
    }

    /// Sends windows that wait as there is room, until it is time or `done`.
    fn send_waiting_until(&mut self, time: Instant, done: impl Fn() -> bool) -> Result<()> {
        while !done() {
            self.send_waiting()?;
            let left = time.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(TICK));
        }
        Ok(())
    }

    fn send_waiting(&mut self) -> Result<()> {
        let now = self.state.now();
        let decision = {
            let mut known = self.state.lock();
            let Some(oldest) = self.waiting.front() else {
                return Ok(());
            };
            if known.going.is_some() || !known.planner.has_room(now) {
                return Ok(());
            }
            let about = self.about(&known.planner, oldest)?;
            decide(&mut known.planner, now, self.method, about)
        };
        match self.waiting.pop_front() {
            Some(window) => self.carry_out(window, Decided::from(&decision)),
            None => Ok(()),
        }
    }

    fn window(&mut self, item: usize, raw: &Raw, (arrived, due): (Instant, f64)) -> Result<()> {
        let id = WindowId {
            rig: self.rig.clone(),
            epoch: self.epoch,
            seq: self.next,
        };
        self.next += 1;
        let closed = OffsetDateTime::now_utc() - arrived.elapsed();
        let looked = self.maker.look(&self.items[item], raw)?;
        let draft = looked.draft().filter(|_| self.method.drafts);
        let had = draft.map(|draft| Had {
            after: arrived.elapsed().as_secs_f64(),
            text: draft.text.clone(),
            tokens: draft.token_ids.len(),
        });
        let record = Record {
            item,
            arrived: due,
            decision: String::new(),
            deferred: false,
            draft: had,
            last: None,
            accepted: None,
            tokens: BTreeMap::new(),
            keyframe: false,
            verified: false,
            bytes: 0,
            cloud: None,
        };
        self.state.lock().windows.insert(id.seq, (arrived, record));
        let window = OnItsWay {
            item,
            looked,
            id,
            closed,
            waited: false,
        };
        let decided = if self.method.plans {
            let now = self.state.now();
            let mut known = self.state.lock();
            let planner = &mut known.planner;
            let about = self.about(planner, &window)?;
            planner.took(Stage::Encode, window.looked.encoding);
            planner.took(Stage::Draft, window.looked.drafting);
            Decided::from(&decide(planner, now, self.method, about))
        } else {
            Decided {
                action: match self.method.has_cloud() {
                    true => Action::Offload,
                    false => Action::Keep,
                },
                tokens: usize::MAX,
                plan: None,
            }
        };
        self.carry_out(window, decided)
    }

    /// The window as the planner sees it.
    fn about(&self, planner: &Runtime, window: &OnItsWay) -> Result<Window> {
        let OnItsWay { looked, .. } = window;
        let confidence = looked.draft().map_or(0.0, |draft| draft.confidence());
        let width = looked.encoded.tokens.present().next();
        let width = width.map_or(0, |(_, tokens)| tokens.features.ncols());
        let bare = self.published(window, &Chosen::nothing()).encode()?.len();
        let on_link = |bytes: usize| planner.on_link(bytes as u64) as u32;
        Ok(Window {
            seq: window.id.seq,
            empty: false,
            confidence: confidence.into(),
            draft_left: 0.0,
            tokens: self.maker.most(looked) as u32,
            token_bytes: on_link(width + TOKEN_BYTES),
            // Whatever is decided, the draft's caption goes.
            fixed_bytes: on_link(bare) + CAPTION_BYTES,
            caption_bytes: 0,
            keyframe_bytes: None,
        })
    }
}
