//! What each stage costs on a video: T0, T1, and from a window's end to its draft.
//!
//! `cargo run --release -p elements --example timings -- VIDEO MODEL_FOLDER`
//! (`ORT_DYLIB_PATH` names ONNX Runtime's library)

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use broker::FeatureWindow;
use gst::prelude::*;
use gstmsao::meta::MasMeta;

/// Time spent in `msaovideomas` by frame: with T0 alone, and with T0 and T1.
#[derive(Default)]
struct Times {
    entered: HashMap<Option<gst::ClockTime>, Instant>,
    t0: Vec<Duration>,
    t1: Vec<Duration>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(video), Some(model)) = (arguments.next(), arguments.next()) else {
        bail!("usage: timings VIDEO MODEL_FOLDER");
    };
    gst::init()?;
    gstmsao::plugin_register_static()?;
    let line = "filesrc name=file ! decodebin ! videoconvert ! msaovideomas name=mas ! \
                msaogate name=gate ! msaowindow name=window ! msaodraft name=draft ! \
                appsink name=sink sync=false";
    let pipeline = gst::parse::launch(line)?
        .downcast::<gst::Pipeline>()
        .map_err(|_| anyhow::anyhow!("the line is no pipeline"))?;
    let element = |name: &str| pipeline.by_name(name).context("an element of the line");
    element("file")?.set_property("location", &video);
    for name in ["mas", "window", "draft"] {
        element(name)?.set_property("model", &model);
    }
    let times = watch(&element("mas")?)?;

    let sink = element("sink")?.downcast::<gst_app::AppSink>();
    let sink = sink.map_err(|_| anyhow::anyhow!("no appsink"))?;
    pipeline.set_state(gst::State::Playing)?;
    let mut drafts = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let buffer = sample.buffer().context("a buffer")?;
        let window = FeatureWindow::decode(&buffer.map_readable()?)?;
        let nanoseconds = window.drafted_utc_ns - window.closed_utc_ns;
        drafts.push(Duration::from_nanos(nanoseconds.max(0) as u64));
        if let (Some(draft), Some(report)) = (&window.draft, window.modalities.first()) {
            println!(
                "{:4} s  kept {:2} of {:2} frames, {:2} tokens  MAS {:.3}  {:.2}  {}",
                window.start_running_ns / 1_000_000_000,
                window.frames_kept,
                window.frames_in,
                window.tokens.len(),
                report.mas,
                draft.confidence,
                draft.text
            );
        }
    }
    let bus = pipeline.bus().context("a bus")?;
    if let Some(message) = bus.pop_filtered(&[gst::MessageType::Error])
        && let gst::MessageView::Error(error) = message.view()
    {
        bail!("{}", error.error());
    }
    for name in ["mas", "gate", "window", "draft"] {
        println!(
            "{name}: {}",
            element(name)?.property::<gst::Structure>("stats")
        );
    }
    let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
    report("frame with T0 alone", &mut times.t0);
    report("frame with T0 and T1", &mut times.t1);
    report("window closed to drafted", &mut drafts);
    pipeline.set_state(gst::State::Null)?;
    Ok(())
}

fn watch(mas: &gst::Element) -> Result<Arc<Mutex<Times>>> {
    let times = Arc::new(Mutex::new(Times::default()));
    for name in ["sink", "src"] {
        let times = Arc::clone(&times);
        let pad = mas.static_pad(name).context("a pad")?;
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let Some(gst::PadProbeData::Buffer(buffer)) = &info.data else {
                return gst::PadProbeReturn::Ok;
            };
            let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
            match MasMeta::of(buffer) {
                None => {
                    times.entered.insert(buffer.pts(), Instant::now());
                }
                Some(mas) => {
                    if let Some(entered) = times.entered.remove(&buffer.pts()) {
                        let spent = entered.elapsed();
                        if mas.probed {
                            &mut times.t1
                        } else {
                            &mut times.t0
                        }
                        .push(spent);
                    }
                }
            }
            gst::PadProbeReturn::Ok
        });
    }
    Ok(times)
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: usize| {
        times
            .get(times.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    println!(
        "{what}: {} times, median {:?}, p95 {:?}",
        times.len(),
        at(50),
        at(95)
    );
}
