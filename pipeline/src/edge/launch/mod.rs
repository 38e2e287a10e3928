//! The pipeline of an edge, as the line that a person would give to gst-launch-1.0.

mod branch;
mod stream;
mod text;

use broker::Modality;

use super::config::{Config, Gate, Offload, Payload};
use branch::branches;
pub use stream::{Stream, streams};
use text::{nanoseconds, nats, option, push, quote};

/// The name of the `msaowindow`.
pub const WINDOW: &str = "window";
/// The name of the `msaodraft`.
pub const DRAFT: &str = "draft";
/// The name of the `msaooffload`, if there is one.
pub const OFFLOAD: &str = "offload";
/// The name of the sink.
pub const SINK: &str = "sink";

/// The streams of a rig, each with its gate.
pub fn gates(config: &Config) -> Vec<(Stream, Gate)> {
    let branches = branches(config).into_iter();
    branches
        .map(|(stream, branch)| (stream, branch.gate))
        .collect()
}

/// The line. Secrets are not in it: they are set on the sink and on sensors that come over NATS.
pub fn line(config: &Config) -> String {
    let models = format!(
        "model={} provider={}",
        quote(&config.model.to_string_lossy()),
        config.provider
    );
    let mut line = trunk(config, &models);
    for (stream, branch) in branches(config) {
        push(&mut line, &branch.head);
        push(
            &mut line,
            &format!(
                " ! {} name={} {models}{}",
                branch.meter,
                stream.mas(),
                branch.options,
            ),
        );
        let video = stream.modality == Modality::Video;
        let preview = config.preview.filter(|_| video);
        if preview.is_some() {
            push(&mut line, &format!(" ! tee name={}", stream.tee()));
        }
        push(&mut line, &format!(" ! msaogate name={}", stream.gate()));
        gate(&mut line, &branch.gate);
        if video && config.payload == Payload::Keyframes {
            push(&mut line, &format!(" ! {}", config.keyframe.line()));
        }
        push(
            &mut line,
            &format!(
                " ! queue max-size-time=0 max-size-bytes=0 max-size-buffers={} ! {WINDOW}.{}",
                branch.queue,
                stream.pad()
            ),
        );
        if let Some(preview) = preview {
            let (tee, made) = (stream.tee(), preview.line());
            let sink = stream.preview();
            push(
                &mut line,
                &format!(
                    "  {tee}. ! {made} ! msaonatssink name={sink} rig={} stream={} async=false",
                    config.rig,
                    stream.pad()
                ),
            );
            nats(&mut line, &config.nats);
        }
    }
    line
}

/// From the window to the sink.
fn trunk(config: &Config, models: &str) -> String {
    let mut line = format!("msaowindow name={WINDOW} rig={} {models}", config.rig);
    let window = &config.window;
    option(&mut line, "prompt", config.prompt.as_deref().map(quote));
    option(&mut line, "duration", window.duration_s.map(nanoseconds));
    option(&mut line, "threshold", window.threshold);
    option(&mut line, "min-tokens", window.min_tokens);
    option(&mut line, "max-tokens", window.max_tokens);
    option(
        &mut line,
        "stall-timeout",
        window.stall_timeout_s.map(nanoseconds),
    );
    push(
        &mut line,
        &format!(" ! queue max-size-buffers=16 ! msaodraft name={DRAFT} {models}"),
    );
    let draft = &config.draft;
    option(
        &mut line,
        "beta-interval",
        draft.beta_interval_s.map(nanoseconds),
    );
    option(
        &mut line,
        "beta-budget",
        draft.beta_budget_s.map(nanoseconds),
    );
    option(&mut line, "keep-tokens", draft.keep_tokens);
    if config.offload.is_on() {
        push(&mut line, &format!(" ! msaooffload name={OFFLOAD}"));
        offload(&mut line, &config.offload);
    }
    push(&mut line, &format!(" ! msaonatssink name={SINK}"));
    nats(&mut line, &config.nats);
    option(&mut line, "queue-messages", config.queue.messages);
    option(&mut line, "queue-bytes", config.queue.bytes);
    option(&mut line, "on-full", config.queue.on_full);
    let more = config.payload != Payload::default();
    option(&mut line, "payload", more.then_some(config.payload));
    let plain = config.compression == broker::Compression::None;
    option(&mut line, "compression", plain.then_some("none"));
    line
}

fn offload(line: &mut String, offload: &Offload) {
    let latency = offload.target_latency_s.map(nanoseconds);
    option(line, "target-risk", offload.target_risk);
    option(line, "target-latency", latency);
    option(line, "lambda-bytes", offload.lambda_bytes);
    option(line, "lambda-cloud", offload.lambda_cloud);
    option(line, "min-tokens", offload.min_tokens);
    option(line, "max-tokens", offload.max_tokens);
    option(line, "audit", offload.audit);
    option(line, "bandwidth", offload.bandwidth);
    option(line, "defer-windows", offload.defer_windows);
    option(line, "defer-age", offload.defer_age_s.map(nanoseconds));
}
fn gate(line: &mut String, gate: &Gate) {
    option(line, "threshold", gate.threshold);
    option(line, "hysteresis", gate.hysteresis);
    option(line, "min-interval", gate.min_interval_s.map(nanoseconds));
    option(line, "max-gap", gate.max_gap_s.map(nanoseconds));
    option(line, "mode", gate.mode);
    option(line, "thin-interval", gate.thin_interval_s.map(nanoseconds));
    option(line, "budget", gate.budget);
}
#[cfg(test)]
mod tests {
    use super::branch::MANY_CAMERAS;
    use super::*;

    fn parse(streams: &str) -> Config {
        toml::from_str(&format!("rig = 'car'\nmodel = 'm'\n{streams}")).unwrap()
    }

    fn assert_has(line: &str, parts: &[&str]) {
        for part in parts {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }

    #[test]
    fn every_key_reaches_its_property() {
        let config = toml::from_str(
            r#"
            rig = "car"
            payload = "keyframes"
            compression = "none"
            model = "models/my edge"
            prompt = 'say "hi" ! now'
            provider = "cpu"
            [[video]]
            source = "a b.mp4"
            pace = "fast"
            [[video]]
            source = "rtsp://camera/1"
            [[audio]]
            source = "alsa:hw:1"
            vad = "silero.onnx"
            gate = { threshold = 0.25, max_gap_s = 1 }
            [[sensor]]
            source = "imu.csv"
            loop = true
            pace = "fast"
            channels = ["ax", "ay"]
            rate = 50
            [[sensor]]
            source = "nats:car.imu"
            channels = ["ax"]
            [probe]
            batch = 4
            wait_ms = 2.5
            interval_s = 0.5
            [gate]
            threshold = 0.5
            max_gap_s = 2.5
            mode = "thin"
            thin_interval_s = 0.5
            [window]
            duration_s = 0.5
            max_tokens = 20
            stall_timeout_s = 2
            [draft]
            beta_interval_s = 5
            beta_budget_s = 0.2
            keep_tokens = 24
            [offload]
            target_risk = 0.1
            target_latency_s = 0.8
            lambda_bytes = 2
            lambda_cloud = 0.5
            min_tokens = 8
            max_tokens = 40
            audit = 0.2
            bandwidth = 250000
            defer_windows = 32
            defer_age_s = 30
            [nats]
            url = "nats://hub:4222"
            user = "car"
            password = "env:CAR"
            cloud_domain = "hub"
            inbox = "_INBOX.c"
            [queue]
            on_full = "drop-oldest"
            [keyframe]
            side = 800
            quality = 70
            [preview]
            per_second = 4
            side = 200
            "#,
        )
        .unwrap();
        let line = line(&config);
        assert_has(
            &line,
            &[
                r#"filesrc location="a b.mp4" ! decodebin name=source_video_0 caps="video/x-raw(ANY)" expose-all-streams=false ! videoconvert ! msaovideomas"#,
                r#"uridecodebin name=source_video_1 uri="rtsp://camera/1""#,
                r#"prompt="say \"hi\" ! now""#,
                r#"model="models/my edge" provider=cpu"#,
                "provider=cpu batch=4 batch-wait=2500000 probe-interval=500000000 ! tee name=tee_video_0 ! msaogate name=gate_video_0 threshold=0.5 min-interval=250000000 max-gap=2500000000 mode=thin thin-interval=500000000 ! videoconvertscale ! ",
                r#"caps="video/x-raw,width=[1,800],height=[1,800],pixel-aspect-ratio=1/1" ! jpegenc quality=70 ! queue"#,
                "tee_video_1. ! queue leaky=downstream",
                r#"max-rate=4 ! videoconvertscale ! capsfilter caps="video/x-raw,width=[1,200],height=[1,200]"#,
                r#"msaonatssink name=preview_video_1 rig=car stream=video_1 async=false url="nats://hub:4222""#,
                "payload=keyframes compression=none",
                r#"alsasrc name=source_audio_0 device="hw:1" ! audioconvert ! msaoaudiomas name=mas_audio_0"#,
                r#"vad-model="silero.onnx" ! msaogate name=gate_audio_0 threshold=0.25 max-gap=1000000000"#,
                r#"msaosensorsrc name=source_sensor_0 location="imu.csv" loop=true realtime=false channels="ax,ay" rate=50 ! msaosensormas"#,
                r#"msaosensorsrc name=source_sensor_1 subject="car.imu" url="nats://hub:4222" user="car" password="env:CAR" cloud-domain="hub" inbox="_INBOX.c" retry-connect=true channels="ax" !"#,
                "duration=500000000",
                "max-tokens=20",
                "stall-timeout=2000000000",
                "beta-interval=5000000000 beta-budget=200000000 keep-tokens=24",
                "msaooffload name=offload target-risk=0.1 target-latency=800000000 lambda-bytes=2 lambda-cloud=0.5",
                "min-tokens=8 max-tokens=40 audit=0.2 bandwidth=250000 defer-windows=32 defer-age=30000000000 !",
                r#"name=sink url="nats://hub:4222" user="car" password="env:CAR" cloud-domain="hub" inbox="_INBOX.c""#,
                "on-full=drop-oldest",
                "window.video_1",
                "window.audio_0",
                "window.sensor_1",
            ],
        );
    }

    #[test]
    fn the_planner_is_there_unless_it_is_switched_off() {
        let camera = "[[video]]\nsource = 'a.mov'\n";
        let with = line(&parse(camera));
        assert_has(&with, &[" ! msaooffload name=offload ! msaonatssink"]);
        let without = line(&parse(&format!("{camera}[offload]\nenabled = false")));
        assert!(!without.contains("msaooffload"), "{without}");
    }

    #[test]
    fn picture_and_sound_of_one_source_are_read_once() {
        let line = line(&parse(
            "[[video]]\nsource = 'a.mov'\n[[audio]]\nsource = 'b.wav'\n[[audio]]\nsource = 'a.mov'\n",
        ));
        assert_eq!(line.matches("a.mov").count(), 1, "{line}");
        assert_has(
            &line,
            &[
                r#"source_video_0 caps="video/x-raw(ANY);audio/x-raw(ANY)" expose-all-streams=false  source_video_0. ! videoconvert ! clocksync ! msaovideomas"#,
                r#"decodebin name=source_audio_0 caps="audio/x-raw(ANY)" expose-all-streams=false ! audioconvert"#,
                "  source_video_0. ! audioconvert ! clocksync ! msaoaudiomas name=mas_audio_1",
            ],
        );
    }

    #[test]
    fn many_cameras_share_the_probe_unless_it_is_said_otherwise() {
        let cameras = "[[video]]\nsource = 'rtsp://a/1'\n".repeat(MANY_CAMERAS);
        let count = |text: &str, part: &str| line(&parse(text)).matches(part).count();
        assert_eq!(
            count(&cameras, " batch=2 probe-interval=250000000 !"),
            MANY_CAMERAS
        );
        assert_eq!(
            count(
                &format!("{cameras}[probe]\nbatch = 1"),
                " batch=1 probe-interval=250000000 !"
            ),
            MANY_CAMERAS
        );
        let few = "[[video]]\nsource = 'rtsp://a/1'\n".repeat(MANY_CAMERAS - 1);
        assert_eq!(count(&few, "batch="), 0);
    }

    #[test]
    fn the_default_microphone() {
        let line = line(&parse("[[audio]]\nsource = 'auto'\n"));
        assert_has(&line, &["autoaudiosrc name=source_audio_0 ! audioconvert"]);
        assert!(
            !line.contains("clocksync") && !line.contains("min-interval"),
            "{line}"
        );
    }
}
