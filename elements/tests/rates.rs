//! `msaoaudiomas`: one sound measures the same whatever its rate, its channels and the way its samples are written.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::*;
use gst::prelude::*;
use gst_check::Harness;
use gstmsao::meta::{Features, MasMeta, Measured};

/// Least cosine between what the encoder makes of one sound as it comes and as one channel at 16 kHz.
const ALIKE: f32 = 0.999;
/// By how much its MAS may differ.
const TOLERANCE: f32 = 0.015;

#[derive(Debug, Clone, Copy)]
struct Stream {
    format: &'static str,
    rate: u64,
    channels: usize,
    /// Which channel is where; 0 where that is not told.
    mask: u64,
}

const REFERENCE: Stream = Stream {
    format: "F32LE",
    rate: 16_000,
    channels: 1,
    mask: 0,
};
const CD: Stream = Stream {
    format: "S16LE",
    rate: 44_100,
    channels: 2,
    mask: 0x3,
};
const SURROUND: u64 = 0x3f;

impl Stream {
    fn caps(self) -> String {
        let Self {
            format,
            rate,
            channels,
            mask,
        } = self;
        let caps = format!(
            "audio/x-raw,format={format},rate={rate},channels={channels},layout=interleaved"
        );
        match channels {
            1 => caps,
            _ => format!("{caps},channel-mask=(bitmask){mask:#x}"),
        }
    }

    /// Samples of each channel up to this time.
    fn samples(self, ms: u64) -> u64 {
        ms * self.rate / 1000
    }

    /// Notes between two times that swell at rates of their own, below 3 kHz so that each rate holds them: in all
    /// channels where it is told where they are, and otherwise in none of them, but in their mean.
    fn notes(self, from_ms: u64, to_ms: u64) -> gst::Buffer {
        let (from, to) = (self.samples(from_ms), self.samples(to_ms));
        let mut bytes = Vec::new();
        for sample in from..to {
            let time = sample as f64 / self.rate as f64;
            let tone = |hertz: f64| (std::f64::consts::TAU * hertz * time).sin();
            let note =
                |i: i32| tone(60.0 * 1.3_f64.powi(i)) * (1.0 + tone(0.3 + 0.2 * f64::from(i)));
            let value = (0..15).map(note).sum::<f64>() / 40.0;
            for channel in 0..self.channels {
                let other = channel as f64 - (self.channels - 1) as f64 / 2.0;
                let apart = if self.mask == 0 {
                    other * tone(800.0)
                } else {
                    0.0
                };
                let value = (value + 0.05 * apart) as f32;
                match self.format {
                    "F32LE" => bytes.extend(value.to_le_bytes()),
                    _ => bytes.extend(((value * 32_768.0).round() as i16).to_le_bytes()),
                }
            }
        }
        let time = |samples| gst::ClockTime::from_nseconds(samples * 1_000_000_000 / self.rate);
        let mut buffer = gst::Buffer::from_slice(bytes);
        let inner = buffer.get_mut().unwrap();
        inner.set_pts(time(from));
        inner.set_duration(time(to - from));
        buffer
    }
}

fn harness(stream: Stream) -> (Harness, gst::Element) {
    init();
    let element = make_with_model("msaoaudiomas");
    let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
    harness.set_src_caps_str(&stream.caps());
    (harness, element)
}

/// The hops of 1.1 s, in buffers of so many ms. The first of them is marked as sent.
fn hops(harness: &mut Harness, stream: Stream, from: u64, step: u64) -> Vec<Arc<Measured>> {
    let mut hops: Vec<Arc<Measured>> = Vec::new();
    for ms in (from..from + 1_100).step_by(step as usize) {
        let buffer = stream.notes(ms, (ms + step).min(from + 1_100));
        let (pts, bytes) = (buffer.pts(), buffer.map_readable().unwrap().to_vec());
        let out = harness.push_and_pull(buffer).unwrap();
        assert_eq!(out.pts(), pts);
        assert_eq!(*out.map_readable().unwrap(), bytes, "{stream:?}");
        for hop in MasMeta::all(&out) {
            if hops.last().is_none_or(|last| last.frame != hop.frame) {
                if hops.is_empty() {
                    hop.mark_sent(0..hop.measurement.s.len());
                }
                hops.push(hop);
            }
        }
    }
    hops
}

fn tokens(hop: &Measured) -> &ndarray::Array2<f32> {
    match &hop.features {
        Features::Tokens(tokens) => tokens,
        Features::Frame(_) => panic!("a picture"),
    }
}

fn cosine(a: &Measured, b: &Measured) -> f32 {
    let (a, b) = (tokens(a), tokens(b));
    (a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()
}

fn ends(hops: &[Arc<Measured>]) -> Vec<u64> {
    let end = |hop: &Arc<Measured>| hop.end.unwrap().nseconds();
    hops.iter().map(end).collect()
}

/// Compares with the reference, and returns the cosine and the difference of MAS that are furthest off.
fn compare(stream: Stream, reference: &[Arc<Measured>]) -> (f32, f32) {
    let (mut harness, element) = harness(stream);
    let heard = hops(&mut harness, stream, 0, 20);
    assert_eq!(ends(&heard), [500 * MS, 1_000 * MS], "{stream:?}");
    assert_eq!(stats::<u64>(&element, "restarts"), 0, "{stream:?}");
    let mut furthest = (1.0_f32, 0.0_f32);
    for (hop, expected) in heard.iter().zip(reference) {
        let mas = |hop: &Measured| hop.measurement.mas.mas;
        furthest.0 = furthest.0.min(cosine(hop, expected));
        furthest.1 = furthest.1.max((mas(hop) - mas(expected)).abs());
    }
    println!("{stream:?}: {furthest:?}");
    furthest
}

#[test]
fn any_rate_channels_and_samples_are_heard_as_the_encoder_hears_one_channel_at_16_khz() {
    let (mut first, _) = harness(REFERENCE);
    let reference = hops(&mut first, REFERENCE, 0, 20);
    let mas: Vec<f32> = reference
        .iter()
        .map(|hop| hop.measurement.mas.mas)
        .collect();
    println!("MAS {mas:?}");
    assert_eq!(ends(&reference), [500 * MS, 1_000 * MS]);
    let mut failed = Vec::new();
    for rate in [8_000, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000] {
        for (channels, mask) in [(1, 0), (2, 0x3), (6, SURROUND), (8, 0)] {
            for format in ["F32LE", "S16LE"] {
                let stream = Stream {
                    format,
                    rate,
                    channels,
                    mask,
                };
                let (alike, off) = compare(stream, &reference);
                if alike < ALIKE || off > TOLERANCE {
                    failed.push(stream);
                }
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn it_is_heard_as_audioconvert_and_audioresample_would_bring_it() {
    init();
    let (mut itself, _) = harness(CD);
    let heard = hops(&mut itself, CD, 0, 20);
    let mut converted = Harness::new_parse(&format!(
        "audioconvert ! audioresample ! audio/x-raw,format=F32LE,rate=16000,channels=1 ! msaoaudiomas model={}",
        model()
    ));
    converted.set_src_caps_str(&CD.caps());
    let mut expected = Vec::new();
    for ms in (0..1_100).step_by(20) {
        converted.push(CD.notes(ms, ms + 20)).unwrap();
        while let Some(out) = converted.try_pull() {
            expected.extend(MasMeta::all(&out));
        }
    }
    expected.dedup_by_key(|hop| hop.frame);
    assert_eq!((heard.len(), expected.len()), (2, 2));
    for (hop, expected) in heard.iter().zip(&expected) {
        let alike = cosine(hop, expected);
        assert!(alike > 0.9999, "{alike}");
    }
}

#[test]
fn what_is_heard_does_not_depend_on_the_length_of_buffers() {
    let (mut short, _) = harness(CD);
    let (mut long, _) = harness(CD);
    let short = hops(&mut short, CD, 0, 1);
    let long = hops(&mut long, CD, 0, 700);
    // Of 1 ms at 44,100 Hz there are 44 samples or 45.
    assert_eq!(ends(&short), [500 * MS, 1_000 * MS]);
    assert_eq!(ends(&long), [500 * MS, 1_000 * MS]);
    assert_eq!(tokens(&short[0]), tokens(&long[0]));
    assert_eq!(tokens(&short[1]), tokens(&long[1]));
}

#[test]
fn another_format_in_mid_stream_begins_a_first_hop_and_is_heard_as_what_it_is() {
    let (mut harness, element) = harness(REFERENCE);
    let before = hops(&mut harness, REFERENCE, 0, 20);
    harness.set_src_caps_str(&CD.caps());
    let after = hops(&mut harness, CD, 1_100, 20);
    assert_eq!(ends(&before), [500 * MS, 1_000 * MS]);
    assert_eq!(ends(&after), [1_600 * MS, 2_100 * MS]);
    assert_eq!(stats::<u64>(&element, "restarts"), 1);
    // 100 ms, as the encoder hears them.
    assert_eq!(stats::<u64>(&element, "given-up"), 1_600);
    // And back.
    harness.set_src_caps_str(&REFERENCE.caps());
    let again = hops(&mut harness, REFERENCE, 2_200, 20);
    assert_eq!(ends(&again), [2_700 * MS, 3_200 * MS]);
}

#[test]
fn after_a_discont_nothing_of_what_came_before_is_heard() {
    let (mut harness, element) = harness(CD);
    for ms in (0..300).step_by(20) {
        harness.push_and_pull(CD.notes(ms, ms + 20)).unwrap();
    }
    let mut jump = CD.notes(300, 900);
    jump.get_mut().unwrap().set_flags(gst::BufferFlags::DISCONT);
    let out = harness.push_and_pull(jump).unwrap();
    let after = MasMeta::all(&out);
    assert_eq!(ends(&after), [800 * MS]);
    assert_eq!(stats::<u64>(&element, "restarts"), 1);
    let (mut fresh, _) = self::harness(CD);
    let out = fresh.push_and_pull(CD.notes(300, 900)).unwrap();
    assert_eq!(tokens(&after[0]), tokens(&MasMeta::all(&out)[0]));
}

#[test]
fn other_formats_rates_and_layouts_are_not_taken() {
    init();
    let element = make_with_model("msaoaudiomas");
    let pad = element.static_pad("sink").unwrap();
    for (caps, taken) in [
        (CD.caps(), true),
        (CD.caps().replace("S16LE", "S32LE"), false),
        (CD.caps().replace("44100", "4000"), false),
        (CD.caps().replace("layout=inter", "layout=non-inter"), false),
    ] {
        let caps: gst::Caps = caps.parse().unwrap();
        assert_eq!(pad.query_accept_caps(&caps), taken, "{caps}");
    }
}
