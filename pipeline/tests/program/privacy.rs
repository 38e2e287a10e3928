//! `payload = "features"`: no picture and no sound of a rig crosses NATS.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use broker::deliver::Deliverer;
use broker::headers::TraceParent;
use broker::test_server::reached;
use broker::{Connection, FeatureWindow, Message, StreamsConfig};
use futures::StreamExt;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;

use crate::common::{finished, media};
use crate::world::{World, until};

/// A run of bytes by which raw data are known again.
const RUN: usize = 16;
/// Runs of fewer different bytes (black, silence) say nothing.
const DISTINCT: usize = 8;

/// What of a clip must not be found, and where it is found.
struct Clip {
    /// Runs of the decoded pictures, gray and RGB, as they are, half as large, and as the model takes them.
    picture: HashSet<[u8; RUN]>,
    /// Runs of the sound, as it is and as the model takes it, 16-bit and float.
    sound: HashSet<[u8; RUN]>,
    /// A picture: pixels, width and height.
    frame: (Vec<u8>, u32, u32),
    /// A second of sound, 16-bit.
    second: Vec<u8>,
}

/// What GStreamer makes of `pipeline`, which reads from `clip`.
fn decoded(clip: &Path, pipeline: &str, folder: &Path) -> Vec<u8> {
    let raw = folder.join("raw");
    // Decoding what goes nowhere may never end: see docs/elements.md.
    let wanted = match pipeline.starts_with("audio") {
        true => "audio/x-raw(ANY)",
        false => "video/x-raw(ANY)",
    };
    let line = format!(
        "filesrc location={} ! decodebin caps={wanted} expose-all-streams=false ! {pipeline} ! filesink location={}",
        clip.display(),
        raw.display()
    );
    let mut launch = Command::new("gst-launch-1.0");
    finished(launch.arg("-q").args(line.split(' ')));
    std::fs::read(raw).unwrap()
}

/// Runs that start every `step` bytes.
fn runs(bytes: &[u8], step: usize) -> impl Iterator<Item = [u8; RUN]> + '_ {
    let starts = (0..bytes.len().saturating_sub(RUN)).step_by(step);
    starts
        .map(|start| bytes[start..start + RUN].try_into().unwrap())
        .filter(|run: &[u8; RUN]| run.iter().collect::<BTreeSet<_>>().len() >= DISTINCT)
}

impl Clip {
    fn read(clip: &Path, folder: &Path) -> Self {
        let sizes = [(1280, 720), (640, 360), (224, 224)];
        let picture = |format: &str, (width, height): (u32, u32)| {
            let caps = format!("video/x-raw,format={format},width={width},height={height}");
            let line = format!("videoconvert ! videoscale ! videorate ! {caps},framerate=5/1");
            decoded(clip, &line, folder)
        };
        let mut pictures = HashSet::new();
        for size in sizes {
            pictures.extend(runs(&picture("GRAY8", size), 48));
            pictures.extend(runs(&picture("RGB", size), 48));
        }
        let mut sounds = HashSet::new();
        for format in ["S16LE", "F32LE"] {
            for shape in ["", ",rate=16000,channels=1"] {
                let caps = format!("audio/x-raw,format={format},layout=interleaved{shape}");
                let line = format!("audioconvert ! audioresample ! {caps}");
                sounds.extend(runs(&decoded(clip, &line, folder), 32));
            }
        }
        let (width, height) = sizes[2];
        let mut frame = picture("RGB", sizes[2]);
        let one = (width * height * 3) as usize;
        frame.drain(..frame.len() - one);
        let line = "audioconvert ! audioresample ! audio/x-raw,format=S16LE,rate=16000,channels=1";
        let second = decoded(clip, line, folder)[32_000..64_000].to_vec();
        Self {
            picture: pictures,
            sound: sounds,
            frame: (frame, width, height),
            second,
        }
    }

    /// What of the clip is in `message`.
    fn found(&self, message: &[u8]) -> BTreeSet<&'static str> {
        let mut found = BTreeSet::new();
        for start in 0..message.len() {
            let rest = &message[start..];
            if is_jpeg(rest) {
                found.insert("JPEG");
            }
            if rest.starts_with(b"\x89PNG\r\n\x1a\n") {
                found.insert("PNG");
            }
            let Some(run) = rest.get(..RUN) else { continue };
            if self.picture.contains(run) {
                found.insert("pixels");
            }
            if self.sound.contains(run) {
                found.insert("samples");
            }
        }
        found
    }
}

/// Whether the headers of a JPEG start here, up to its picture.
fn is_jpeg(bytes: &[u8]) -> bool {
    if !bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        return false;
    }
    // Tables and the frame come first; by chance, one segment looks right now and then in other data.
    let (mut at, mut segments) = (2, 0);
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
        match marker {
            0xda => return segments >= 3,
            0xc0..=0xfe => {
                at += 2 + usize::from(u16::from_be_bytes([high, low]));
                segments += 1;
            }
            _ => return false,
        }
    }
    false
}

/// A message: its subject, and all of it, with subject and headers.
type Heard = (String, Vec<u8>);

/// All that crosses a server.
#[derive(Clone, Default)]
struct Tap(Arc<Mutex<Vec<Heard>>>);

impl Tap {
    async fn on(connection: &Connection) -> (Self, tokio::task::JoinHandle<()>) {
        let client = connection.client().clone();
        let mut messages = client.subscribe(">").await.unwrap();
        reached(connection).await;
        let tap = Self::default();
        let heard = tap.clone();
        let task = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let mut bytes = message.subject.as_bytes().to_vec();
                for (name, values) in message.headers.iter().flat_map(|headers| headers.iter()) {
                    let name: &str = name.as_ref();
                    bytes.extend(name.as_bytes());
                    values
                        .iter()
                        .for_each(|value| bytes.extend(value.as_str().as_bytes()));
                }
                bytes.extend(&message.payload);
                // A compressed window is searched as it comes, and expanded.
                if let Ok(expanded) = zstd::decode_all(&message.payload[..]) {
                    bytes.extend(expanded);
                }
                let subject = message.subject.to_string();
                heard.0.lock().unwrap().push((subject, bytes));
            }
            drop(client);
        });
        (tap, task)
    }

    fn count(&self, subject: &str) -> usize {
        let messages = self.0.lock().unwrap();
        messages.iter().filter(|(to, _)| to == subject).count()
    }

    async fn until(&self, subject: &str, count: usize) {
        until(subject, async || self.count(subject) >= count).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_picture_and_no_sound_crosses_nats() {
    let (world, video) = (World::new(), media("bigbuckbunny.mp4"));
    let clip = Clip::read(&video, world.path());
    let connection = world.connect().await;
    let (tap, task) = Tap::on(&connection).await;
    let edge = format!(
        "payload = 'features'
        prompts = ['what is heard ?']
        video = [{{ source = '{0}', pace = 'fast' }}]
        audio = [{{ source = '{0}', pace = 'fast' }}]
        offload = {{ enabled = false }}
        ask = {{ every = 1, sure = 2 }}",
        video.display()
    );
    let (out, err) = finished(&mut world.edge(&edge));
    let stored = crate::world::payloads(&connection, "MSAO_FEATURES")
        .await
        .len();
    assert!(stored >= 4, "{stored} windows\n{out}\n{err}");
    tap.until("msao.v1.features.car", stored).await;
    assert!(tap.count("msao.v1.captions.car") > 0 && tap.count("msao.v1.status.edge.car") > 0);
    let heard = std::mem::take(&mut *tap.0.lock().unwrap());
    for (subject, message) in &heard {
        assert_eq!(clip.found(message), BTreeSet::new(), "on {subject}");
    }

    // The same search finds what it is to find.
    let mut window = heard
        .iter()
        .filter(|(subject, _)| subject == "msao.v1.features.car")
        .find_map(|(_, bytes)| {
            let start = bytes.windows(4).position(|four| four == [0xff; 4])?;
            FeatureWindow::decode(&bytes[start..]).ok()
        })
        .unwrap();
    window.id.seq += 1_000_000;
    window.tokens.clear();
    let (pixels, width, height) = clip.frame.clone();
    let picture = RgbImage::from_raw(width, height, pixels.clone()).unwrap();
    let mut jpeg = Vec::new();
    picture
        .write_with_encoder(JpegEncoder::new(&mut jpeg))
        .unwrap();
    let send = async |jpeg: &[u8]| {
        let mut window = window.clone();
        window.keyframe = Some(jpeg.to_vec());
        let message = Message::features(&window, window.encode().unwrap(), TraceParent::generate());
        let deliverer = Deliverer::new(connection.clone(), StreamsConfig::default());
        deliverer.deliver(&message).await.unwrap();
        tap.until("msao.v1.features.car", 1).await;
        let heard = std::mem::take(&mut *tap.0.lock().unwrap());
        let found = heard.iter().flat_map(|(_, message)| clip.found(message));
        found.collect::<BTreeSet<_>>()
    };
    assert_eq!(send(&jpeg).await, BTreeSet::from(["JPEG"]));
    for (bytes, kind) in [(pixels, "pixels"), (clip.second.clone(), "samples")] {
        let client = connection.client();
        client
            .publish("msao.v1.preview.car", bytes.into())
            .await
            .unwrap();
        tap.until("msao.v1.preview.car", 1).await;
        let heard = std::mem::take(&mut *tap.0.lock().unwrap());
        let found = heard.iter().flat_map(|(_, message)| clip.found(message));
        let found: BTreeSet<_> = found.collect();
        assert!(found.contains(kind), "{found:?} and no {kind}");
    }
    task.abort();
}
