//! Microphones, sensors and clips that are not there, break off, or lack what is asked of them. Cameras are in `cameras.rs`.

use std::path::Path;
use std::process::{Command, Output};

use broker::status::{self, AnyStatus};
use futures::StreamExt;

use crate::common::{finished, media, root, texts};
use crate::process::Process;
use crate::world::{World, soon};

/// A microphone of a PulseAudio that has none of this name, if it runs at all.
const MICROPHONE: &str = "pulse:nowhere";

/// An edge of these streams, run to its end.
fn run(streams: &str) -> Output {
    World::new().edge(streams).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn microphones_and_sensors_that_fail_leave_the_camera_going_and_are_named() {
    let world = World::new();
    let path = |name: &str| world.path().join(name).display().to_string();
    let (no_sound, no_ride, broken) = (path("no.wav"), path("no.csv"), path("broken.csv"));
    let ride = std::fs::read_to_string(root().join("testdata/imu.csv")).unwrap();
    let mut lines: Vec<&str> = ride.lines().take(300).collect();
    lines.push("3.5,what is this,,,,,,");
    std::fs::write(&broken, lines.join("\n")).unwrap();
    let failing = [MICROPHONE, &no_sound, &no_ride, &broken];
    let streams = format!(
        "video = [{{ source = '{}' }}]\naudio = [{{ source = '{MICROPHONE}' }}, {{ source = '{no_sound}' }}]\n\
         sensor = [{{ source = '{no_ride}' }}, {{ source = '{broken}' }}]",
        media("vtest.avi").display()
    );
    let connection = world.connect().await;
    let mut statuses = status::subscribe(&connection).await.unwrap();
    let edge = Process::start(world.edge(&streams));

    let mut all_down = None;
    let gone_on = async {
        loop {
            let status = statuses.next().await;
            let AnyStatus::Edge(status) = status.unwrap().unwrap() else {
                continue;
            };
            let camera = &status.streams[0];
            assert_eq!(camera.problem, None);
            for (stream, source) in status.streams[1..].iter().zip(failing) {
                assert_eq!(stream.source, source);
            }
            let before = *all_down.get_or_insert((status.windows, camera.measured));
            if status.streams[1..].iter().any(|s| s.problem.is_none()) {
                all_down = None;
            } else if status.windows >= before.0 + 3 && camera.measured >= before.1 + 20 {
                // What was broken in its middle was measured up to there.
                assert!(status.streams[4].measured >= 4, "{:?}", status.streams);
                break;
            }
        }
    };
    soon("it goes on when all others are down", gone_on).await;
    let log = edge.stop("-TERM");
    let told = |source: &str, words: &[&str]| {
        let all = |line: &&str| line.contains(source) && words.iter().all(|w| line.contains(w));
        assert!(log.lines().any(|line| all(&line)), "{source}: {log}");
    };
    told(MICROPHONE, &["(audio_0)", "tried again in 1 s"]);
    told(MICROPHONE, &["(audio_0)", "tried again in 2 s"]);
    told(&no_sound, &["ERROR", "(audio_1)", "start the edge again"]);
    told(&no_ride, &["ERROR", "(sensor_0)", "start the edge again"]);
    let words = ["ERROR", "(sensor_1)", "line 301", "start the edge again"];
    told(&broken, &words);
}

#[test]
fn alone_a_recording_that_breaks_off_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.csv");
    let ride = std::fs::read_to_string(root().join("testdata/imu.csv")).unwrap();
    let mut lines: Vec<&str> = ride.lines().take(300).collect();
    lines.push("3.5,x,,,,,,");
    std::fs::write(&broken, lines.join("\n")).unwrap();
    let streams = format!(
        "sensor = [{{ source = '{}', pace = 'fast' }}]",
        broken.display()
    );
    let (out, err) = texts(&run(&streams));
    let last = err.lines().last().unwrap_or_default();
    assert!(last.contains("line 301"), "{out}\n{err}");
}

/// A clip of some seconds of a picture, of sound, or both.
fn clip(folder: &Path, name: &str, streams: &str) -> String {
    let path = folder.join(name).display().to_string();
    launch(&format!(
        "{streams} matroskamux name=mux ! filesink location={path}"
    ));
    path
}

fn launch(line: &str) {
    finished(Command::new("sh").args(["-c", &format!("gst-launch-1.0 -q {line}")]));
}

const PICTURES: &str =
    "videotestsrc num-buffers=30 ! video/x-raw,width=160,height=120,framerate=10/1 ! vp8enc ! mux.";
const SOUND: &str = "audiotestsrc num-buffers=130 ! vorbisenc ! mux.";

#[test]
fn of_a_clip_only_what_is_asked_of_it_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let both = clip(folder.path(), "both.mkv", &format!("{PICTURES} {SOUND}"));
    for modality in ["video", "audio"] {
        let output = run(&format!(
            "{modality} = [{{ source = '{both}', pace = 'fast' }}]"
        ));
        let (out, err) = texts(&output);
        assert!(output.status.success(), "{modality}: {out}\n{err}");
    }
}

#[test]
fn a_clip_without_what_is_asked_of_it_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (pictures, sound) = (
        clip(folder.path(), "pictures.mkv", PICTURES),
        clip(folder.path(), "sound.mkv", SOUND),
    );
    for (modality, source, lacks) in [
        ("audio", &pictures, "has no sound"),
        ("video", &sound, "has no picture"),
    ] {
        let output = run(&format!(
            "{modality} = [{{ source = '{source}', pace = 'fast' }}]"
        ));
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{out}\n{err}");
        let last = err.lines().last().unwrap_or_default();
        assert!(last.contains(source) && last.contains(lacks), "{err}");
    }
}

/// Clips of 4 s, of which either the sound or the pictures end after 2 s.
fn unequal_clips(folder: &Path) -> Vec<String> {
    let mut clips = Vec::new();
    for (name, pictures, sounds) in [("long_pictures", 40, 86), ("long_sound", 20, 172)] {
        for (kind, see, hear, mux) in [
            ("mkv", "vp8enc", "vorbisenc", "matroskamux"),
            ("mp4", "x264enc", "avenc_aac", "mp4mux faststart=true"),
            ("avi", "jpegenc", "identity", "avimux"),
        ] {
            let path = folder.join(format!("{name}.{kind}")).display().to_string();
            launch(&format!(
                "videotestsrc num-buffers={pictures} ! video/x-raw,width=160,height=120,framerate=10/1 ! {see} ! queue max-size-time=0 ! mux. \
                 audiotestsrc num-buffers={sounds} ! audioconvert ! {hear} ! queue max-size-time=0 ! mux. \
                 {mux} name=mux ! filesink location={path}"
            ));
            clips.push(path);
        }
    }
    clips
}

/// Streams of one modality, as fast as they go.
fn fast<'a>(modality: &str, sources: impl IntoIterator<Item = &'a String>) -> String {
    let sources = sources.into_iter();
    let stream = |source| format!("[[{modality}]]\nsource = '{source}'\npace = 'fast'\n");
    sources.map(stream).collect()
}

#[test]
fn a_clip_that_breaks_off_is_told_of_and_one_whose_sound_or_pictures_end_first_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let clips = unequal_clips(folder.path());
    let both = fast("video", &clips) + &fast("audio", &clips);
    // Of each what ends first, alone.
    let (long_pictures, long_sound) = clips.split_at(3);
    let first = fast("video", long_sound) + &fast("audio", long_pictures);
    for streams in [&both, &first] {
        let output = run(streams);
        let (out, err) = texts(&output);
        assert!(output.status.success(), "{out}\n{err}");
        assert!(!err.contains("WARN"), "{err}");
    }
    // An AVI file that is cut off tells a length that ends there.
    let cut = clips.iter().filter(|clip| !clip.ends_with(".avi"));
    for clip in cut.clone() {
        let bytes = std::fs::read(clip).unwrap();
        std::fs::write(clip, &bytes[..bytes.len() / 3]).unwrap();
    }
    let streams = fast("video", cut.clone()) + &fast("audio", cut.clone());
    let (out, err) = texts(&run(&streams));
    for clip in cut {
        let told = err.lines().find(|line| {
            line.contains("WARN")
                && line.contains(&format!("{clip} ("))
                && line.contains("ended at")
        });
        assert!(told.is_some(), "{clip}: {out}\n{err}");
    }
}
