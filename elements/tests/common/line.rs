//! An element between two pads, and what passes it.

use std::sync::{Arc, Mutex};

use gst::prelude::*;

pub type Log = Arc<Mutex<Vec<String>>>;

/// An element between two pads: one that pushes into it, and one that notes all that comes out.
pub struct Line {
    pub element: gst::Element,
    pub src: gst::Pad,
    log: Log,
    pub buffers: Arc<Mutex<Vec<gst::Buffer>>>,
    // Kept for as long as the line is.
    _sink: gst::Pad,
}

pub fn ms(time: Option<gst::ClockTime>) -> i64 {
    time.map_or(-1, |time| time.mseconds() as i64)
}

pub fn say(event: &gst::Event) -> String {
    match event.view() {
        gst::EventView::Segment(segment) => {
            let segment = segment.segment().downcast_ref::<gst::ClockTime>().unwrap();
            let (start, base) = (ms(segment.start()), ms(segment.base()));
            format!("segment {start} x{} from {base}", segment.rate())
        }
        gst::EventView::Gap(gap) => format!("gap {}+{}", gap.get().0.mseconds(), ms(gap.get().1)),
        gst::EventView::CustomDownstreamSticky(_) => event.structure().unwrap().name().to_string(),
        _ => event.type_().to_string(),
    }
}

impl Line {
    pub fn new(element: gst::Element, pad: &str) -> Self {
        let log = Log::default();
        let buffers = Arc::new(Mutex::new(Vec::new()));
        let src = gst::Pad::builder(gst::PadDirection::Src).build();
        let (heard, came, kept) = (Arc::clone(&log), Arc::clone(&log), Arc::clone(&buffers));
        // Without a template it would take no other caps than the first.
        let (name, sink) = ("sink", gst::PadDirection::Sink);
        let any = gst::Caps::new_any();
        let always = gst::PadPresence::Always;
        let template = gst::PadTemplate::new(name, sink, always, &any).unwrap();
        let sink = gst::Pad::builder_from_template(&template)
            .event_function(move |_, _, event| {
                heard.lock().unwrap().push(say(&event));
                true
            })
            .chain_function(move |_, _, buffer| {
                let mut line = format!("buffer {}+{}", ms(buffer.pts()), ms(buffer.duration()));
                if buffer.flags().contains(gst::BufferFlags::DISCONT) {
                    line.push_str(" discont");
                }
                came.lock().unwrap().push(line);
                kept.lock().unwrap().push(buffer);
                Ok(gst::FlowSuccess::Ok)
            })
            .build();
        let entry = element.static_pad(pad);
        let entry = entry.or_else(|| element.request_pad_simple(pad)).unwrap();
        src.link(&entry).unwrap();
        element.static_pad("src").unwrap().link(&sink).unwrap();
        sink.set_active(true).unwrap();
        src.set_active(true).unwrap();
        element.set_state(gst::State::Playing).unwrap();
        Self {
            element,
            src,
            log,
            buffers,
            _sink: sink,
        }
    }

    pub fn event(&self, event: gst::Event) {
        assert!(self.src.push_event(event));
    }

    pub fn begin(&self, caps: &str) {
        self.event(gst::event::StreamStart::new("stream"));
        self.caps(caps);
    }

    pub fn caps(&self, caps: &str) {
        self.event(gst::event::Caps::new(&caps.parse().unwrap()));
    }

    /// A segment from `start` on, at so many times the pace, whose running time begins at `base`.
    pub fn segment(&self, start: u64, rate: f64, base: u64) {
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_start(gst::ClockTime::from_mseconds(start));
        segment.set_time(gst::ClockTime::from_mseconds(start));
        segment.set_base(gst::ClockTime::from_mseconds(base));
        segment.set_rate(rate);
        self.event(gst::event::Segment::new(&segment));
    }

    pub fn flush(&self) {
        self.event(gst::event::FlushStart::new());
        self.event(gst::event::FlushStop::new(true));
    }

    /// A buffer of 100 ms of so many bytes.
    pub fn push(&self, at: u64, bytes: Vec<u8>) {
        self.src.push(piece(at, bytes)).unwrap();
    }

    /// What came out since the last call.
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    /// Waits until so many lines have come out: an aggregator pushes on a thread of its own.
    pub fn await_lines(&self, count: usize) -> Vec<String> {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while self.log.lock().unwrap().len() < count {
            let log = self.log.lock().unwrap().clone();
            assert!(std::time::Instant::now() < deadline, "{count} of {log:?}");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        self.log()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.element.set_state(gst::State::Null);
    }
}

pub fn piece(at: u64, bytes: Vec<u8>) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(bytes);
    let inner = buffer.get_mut().unwrap();
    inner.set_pts(gst::ClockTime::from_mseconds(at));
    inner.set_duration(gst::ClockTime::from_mseconds(100));
    buffer
}

pub const VIDEO: &str = "video/x-raw,format=GRAY8,width=64,height=48,framerate=10/1";
pub const SMALL: &str = "video/x-raw,format=GRAY8,width=32,height=16,framerate=10/1";
pub const SOUND: &str = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";
pub const STEREO: &str =
    "audio/x-raw,format=S16LE,rate=16000,channels=2,layout=interleaved,channel-mask=(bitmask)0x3";
pub const SENSORS: &str =
    "application/x-msao-sensor,channels=7,rate=100,format=F32LE,layout=interleaved";
pub const WINDOWS: &str = "application/x-msao-window,schema=features/1.1";
