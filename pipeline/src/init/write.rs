//! The configuration as text, with comments.

use std::fmt::Write;
use std::path::Path;

use broker::Rig;

use super::found::Found;

/// The file for `rig`, which is to be at `out`. Formatting into a String cannot fail.
pub fn config(rig: &Rig, out: &Path, found: &Found) -> String {
    let mut text = String::new();
    let _ = write!(
        text,
        "# The rig {rig}, by `msao init`. Look at it with `msao check --config {out}`, run it with\n\
         # `msao edge --config {out}`. configs/edge.toml has every key, with its default.\n\n\
         rig = {}\n",
        quote(rig.as_str()),
        out = out.display(),
    );
    let model = quote(&found.model.folder.to_string_lossy());
    let senses = match &found.model.state {
        Ok(senses) => match (senses.hears, senses.feels) {
            (true, true) => "sees, hears and feels",
            (true, false) => "sees and hears",
            (false, true) => "sees and feels",
            (false, false) => "sees",
        },
        Err(_) => "not found: correct the path",
    };
    let _ = writeln!(text, "model = {model}  # {senses}");
    if let Ok(senses) = &found.model.state {
        let provider = senses.provider;
        let _ = writeln!(
            text,
            "# provider = \"auto\"  # here: {provider}; named, it is an error if it is not there"
        );
    }
    video(&mut text, found);
    audio(&mut text, found);
    sensor(&mut text, rig);
    text.push_str(
        "\n[gate]  # for every stream\n\
         # threshold = 0.02  # opens when the share worth sending reaches this: higher sends less\n\
         # max_gap_s = 10  # a frame at least this often\n\
         \n[offload]  # what becomes of a window after its draft\n\
         # target_risk = 0.05  # share of windows that may be kept though the cloud would change them\n",
    );
    let (url, state) = &found.nats;
    let answers = match state {
        Ok(()) => "answered",
        Err(_) => "did not answer as it must: `msao doctor` says why",
    };
    let _ = write!(
        text,
        "\n[nats]\n\
         url = {}  # {answers}\n\
         # user = {}  # and password = \"env:NAME\" or \"file:PATH\", never the secret itself\n",
        quote(url),
        quote(rig.as_str()),
    );
    text
}

fn video(text: &mut String, found: &Found) {
    let comment = match (&found.given, found.cameras.first(), &found.sample) {
        (Some(_), ..) => "As asked for.".to_owned(),
        (None, Some(camera), _) => camera.name.clone(),
        (None, None, Some(_)) => {
            "No camera was found: a sample clip. A camera is \"/dev/video0\" or \"rtsp://camera/stream\"."
                .to_owned()
        }
        (None, None, None) => "No camera was found: put one in here.".to_owned(),
    };
    let _ = writeln!(text, "\n# {comment}");
    match found.video() {
        Some(source) => {
            let _ = writeln!(text, "[[video]]\nsource = {}", quote(&source));
        }
        None => text.push_str(
            "# [[video]]\n# source = \"rtsp://camera/stream\"  # or \"/dev/video0\", or a file\n",
        ),
    }
    let more = match found.given {
        Some(_) => &found.cameras[..],
        None => found.cameras.get(1..).unwrap_or_default(),
    };
    for camera in more {
        let source = quote(&camera.source);
        let _ = writeln!(
            text,
            "\n# {}\n# [[video]]\n# source = {source}",
            camera.name
        );
    }
}

fn audio(text: &mut String, found: &Found) {
    let first = found.microphone();
    for (index, microphone) in found.microphones.iter().enumerate() {
        let mark = if index == 0 && first.is_some() {
            ""
        } else {
            "# "
        };
        let source = quote(&microphone.source);
        let _ = writeln!(
            text,
            "\n# {}\n{mark}[[audio]]\n{mark}source = {source}",
            microphone.name
        );
        if let Some(speech) = &found.speech {
            let speech = quote(&speech.to_string_lossy());
            let _ = writeln!(
                text,
                "{mark}vad = {speech}  # marks hops in which somebody speaks"
            );
        }
    }
    if found.microphones.is_empty() {
        text.push_str(
            "\n# No microphone was found. The sound of a camera or clip is its source again:\n\
             # [[audio]]\n# source = \"auto\"  # or \"pulse:NAME\", \"alsa:hw:1\", a file, a URI\n",
        );
    }
}

fn sensor(text: &mut String, rig: &Rig) {
    let _ = write!(
        text,
        "\n# Sensors are not looked for. What publishes {{\"time\": seconds, \"values\": [...]}} to NATS is:\n\
         # [[sensor]]\n\
         # source = \"nats:{rig}.imu\"\n\
         # channels = [\"accel_x\", \"accel_y\", \"accel_z\", \"gyro_x\", \"gyro_y\", \"gyro_z\", \"wheel_speed\"]\n"
    );
}

fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use mllm::Provider;

    use super::super::found::{Device, Model, Senses};
    use super::*;
    use crate::edge;

    fn found(cameras: &[&str], microphones: &[&str]) -> Found {
        let devices = |sources: &[&str]| {
            let device = |source: &&str| Device {
                name: format!("device {source}"),
                source: (*source).to_owned(),
            };
            sources.iter().map(device).collect()
        };
        Found {
            given: None,
            cameras: devices(cameras),
            sample: None,
            microphones: devices(microphones),
            speech: None,
            model: Model {
                folder: PathBuf::from("models/an \"edge\""),
                state: Ok(Senses {
                    name: "edge".to_owned(),
                    hears: true,
                    feels: true,
                    provider: Provider::Cpu,
                }),
            },
            nats: ("nats://hub:4222".to_owned(), Ok(())),
        }
    }

    fn parse(found: &Found) -> edge::Config {
        let text = config(&"car".parse().unwrap(), Path::new("a.toml"), found);
        toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn the_first_camera_and_microphone_are_taken_and_the_others_offered() {
        let found = found(&["/dev/video0", "/dev/video2"], &["pulse:mic", "alsa:hw:1"]);
        let read = parse(&found);
        assert_eq!(read.model, Path::new("models/an \"edge\""));
        assert_eq!((read.video.len(), read.audio.len()), (1, 1));
        assert_eq!(read.video[0].source, "/dev/video0");
        assert_eq!(read.audio[0].source, "pulse:mic");
        assert_eq!(read.nats.url, "nats://hub:4222");
        read.check().unwrap();
        let text = config(&"car".parse().unwrap(), Path::new("a.toml"), &found);
        for offered in ["# source = \"/dev/video2\"", "# source = \"alsa:hw:1\""] {
            assert!(text.contains(offered), "{text}");
        }
        // What is offered can be taken.
        let all = text.replace("# [[", "[[").replace("# source", "source");
        let all = all.replace("# channels", "channels");
        let all: edge::Config = toml::from_str(&all).unwrap();
        assert_eq!(
            (all.video.len(), all.audio.len(), all.sensor.len()),
            (2, 2, 1)
        );
        all.check().unwrap();
    }

    #[test]
    fn what_was_asked_for_goes_before_cameras_and_a_clip_after_them() {
        let mut found = found(&["/dev/video0"], &[]);
        found.given = Some("rtsp://camera/1".to_owned());
        assert_eq!(parse(&found).video[0].source, "rtsp://camera/1");
        found.given = None;
        found.sample = Some("clip.avi".into());
        assert_eq!(parse(&found).video[0].source, "/dev/video0");
        found.cameras.clear();
        assert_eq!(parse(&found).video[0].source, "clip.avi");
    }

    #[test]
    fn with_nothing_found_nothing_is_made_up() {
        let mut found = found(&[], &["pulse:mic"]);
        assert!(found.has_stream());
        if let Ok(senses) = &mut found.model.state {
            senses.hears = false;
        }
        assert!(!found.has_stream());
        let read = parse(&found);
        assert_eq!((read.video.len(), read.audio.len()), (0, 0));
        let faults = read.check().unwrap_err().into_vec();
        assert_eq!(faults.len(), 1, "{faults:?}");
    }
}
