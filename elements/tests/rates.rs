//! `msaoaudiomas`: one sound measures the same whatever its rate, its channels and the way its samples are written.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::*;
use gst_check::Harness;
use gstmsao::meta::{Features, MasMeta, Measured};

/// Least cosine between what the encoder makes of one sound at two rates.
const ALIKE: f32 = 0.98;

#[derive(Debug, Clone, Copy)]
struct Stream {
    format: &'static str,
    rate: u64,
    channels: usize,
}

const REFERENCE: Stream = Stream {
    format: "F32LE",
    rate: 16_000,
    channels: 1,
};

impl Stream {
    fn caps(self) -> String {
        let Self {
            format,
            rate,
            channels,
        } = self;
        let caps = format!("audio/x-raw,format={format},rate={rate},channels={channels}");
        // Positions need not be told of one channel or two.
        match channels {
            1 | 2 => format!("{caps},layout=interleaved"),
            _ => format!("{caps},layout=interleaved,channel-mask=(bitmask)0"),
        }
    }

    /// Samples of each channel up to this time.
    fn samples(self, ms: u64) -> u64 {
        ms * self.rate / 1000
    }

    /// A chord between two times. No channel holds it; their mean does.
    fn chord(self, from_ms: u64, to_ms: u64) -> gst::Buffer {
        let (from, to) = (self.samples(from_ms), self.samples(to_ms));
        let mut bytes = Vec::new();
        for sample in from..to {
            let time = sample as f32 / self.rate as f32;
            let tone = |hertz: f32| (std::f32::consts::TAU * hertz * time).sin();
            let value = 0.2 * (tone(440.0) + tone(1_234.0));
            for channel in 0..self.channels {
                let other = channel as f32 - (self.channels - 1) as f32 / 2.0;
                let value = value + 0.05 * other * tone(800.0);
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

/// The hops of 1.2 s, in buffers of 20 ms, none of which may lack its meta once the first hop has ended.
fn hops(harness: &mut Harness, stream: Stream, from_ms: u64) -> Vec<Arc<Measured>> {
    let mut hops: Vec<Arc<Measured>> = Vec::new();
    for ms in (from_ms..from_ms + 1200).step_by(20) {
        let out = harness.push_and_pull(stream.chord(ms, ms + 20)).unwrap();
        for hop in MasMeta::all(&out) {
            if hops.last().is_none_or(|last| last.frame != hop.frame) {
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

fn cosine(a: &ndarray::Array2<f32>, b: &ndarray::Array2<f32>) -> f32 {
    (a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()
}

#[test]
fn any_rate_channels_and_samples_are_heard_as_the_encoder_hears_one_channel_at_16_khz() {
    let (mut first, _) = harness(REFERENCE);
    let reference = hops(&mut first, REFERENCE, 0);
    assert_eq!(reference.len(), 2);
    for rate in [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000] {
        for (format, channels) in [("F32LE", 1), ("S16LE", 2), ("F32LE", 6)] {
            let stream = Stream {
                format,
                rate,
                channels,
            };
            let (mut harness, element) = harness(stream);
            let heard = hops(&mut harness, stream, 0);
            assert_eq!(heard.len(), 2, "{stream:?}");
            for (hop, (expected, end)) in heard.iter().zip(reference.iter().zip([500, 1000])) {
                let alike = cosine(tokens(hop), tokens(expected));
                println!("{stream:?}: {alike}");
                assert!(alike >= ALIKE, "{stream:?}: {alike}");
                let off = hop.end.unwrap().absdiff(gst::ClockTime::from_mseconds(end));
                assert!(
                    off.nseconds() <= 1_000_000_000 / rate.min(16_000),
                    "{stream:?}: {off}"
                );
            }
            assert_eq!(stats::<u64>(&element, "restarts"), 0, "{stream:?}");
        }
    }
}

#[test]
fn another_format_in_mid_stream_begins_a_first_hop_and_is_heard_as_what_it_is() {
    let (mut harness, element) = harness(REFERENCE);
    let before = hops(&mut harness, REFERENCE, 0);
    let stereo = Stream {
        format: "S16LE",
        rate: 44_100,
        channels: 2,
    };
    harness.set_src_caps_str(&stereo.caps());
    let after = hops(&mut harness, stereo, 1200);
    let ends: Vec<_> = (before.iter().chain(&after))
        .map(|hop| hop.end.unwrap().mseconds())
        .collect();
    assert_eq!(ends, [500, 1000, 1700, 2200]);
    assert_eq!(stats::<u64>(&element, "restarts"), 1);
    // 200 ms, as the encoder hears them.
    assert_eq!(stats::<u64>(&element, "given-up"), 3_200);
}
