//! The pipeline of an edge, as the line that a person would give to gst-launch-1.0.

use std::fmt::Write;

use super::config::{Config, Pace, Video};

/// Names of elements in the line, by which their `stats` are found.
pub const WINDOW: &str = "window";
/// The sink's name.
pub const SINK: &str = "sink";

/// The name of the `msaovideomas` of camera `index`.
pub fn mas(index: usize) -> String {
    format!("mas{index}")
}

/// The line. Secrets are not in it: they are set on the sink.
pub fn line(config: &Config) -> String {
    let models = format!(
        "model={} provider={}",
        quote(&config.model.to_string_lossy()),
        config.provider
    );
    let mut line = format!("msaowindow name={WINDOW} rig={} {models}", config.rig);
    let window = &config.window;
    option(&mut line, "prompt", config.prompt.as_deref().map(quote));
    option(&mut line, "duration", window.duration_s.map(nanoseconds));
    option(&mut line, "threshold", window.threshold);
    option(&mut line, "min-tokens", window.min_tokens);
    option(&mut line, "max-tokens", window.max_tokens);
    push(
        &mut line,
        &format!(
            " ! queue max-size-buffers=16 ! msaodraft {models} ! msaonatssink name={SINK} url={}",
            quote(&config.nats.url)
        ),
    );
    option(&mut line, "user", config.nats.user.as_deref().map(quote));
    option(
        &mut line,
        "tls-ca",
        config
            .nats
            .tls_ca
            .as_ref()
            .map(|path| quote(&path.to_string_lossy())),
    );
    option(&mut line, "queue-messages", config.queue.messages);
    option(&mut line, "queue-bytes", config.queue.bytes);
    option(&mut line, "on-full", config.queue.on_full);
    push(&mut line, " retry-connect=true");
    for (index, video) in config.video.iter().enumerate() {
        push(
            &mut line,
            &format!(
                "  {} ! videoconvert ! msaovideomas name={} {models} ! msaogate",
                source(video),
                mas(index)
            ),
        );
        let gate = &config.gate;
        option(&mut line, "threshold", gate.threshold);
        option(&mut line, "hysteresis", gate.hysteresis);
        option(
            &mut line,
            "min-interval",
            gate.min_interval_s.map(nanoseconds),
        );
        option(&mut line, "max-gap", gate.max_gap_s.map(nanoseconds));
        push(
            &mut line,
            &format!(
                " ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=32 ! {WINDOW}.video_{index}"
            ),
        );
    }
    line
}

fn source(video: &Video) -> String {
    let source = quote(&video.source);
    let decoded = if video.is_device() {
        format!("v4l2src device={source} ! decodebin")
    } else if video.file().is_some() {
        format!("filesrc location={source} ! decodebin")
    } else {
        format!("uridecodebin uri={source}")
    };
    match video.pace {
        Pace::Realtime if video.file().is_some() => format!("{decoded} ! clocksync"),
        _ => decoded,
    }
}

fn option(line: &mut String, name: &str, value: Option<impl std::fmt::Display>) {
    if let Some(value) = value {
        push(line, &format!(" {name}={value}"));
    }
}

fn push(line: &mut String, text: &str) {
    // Formatting into a String cannot fail.
    let _ = line.write_str(text);
}

fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

/// A value in quotes, so that blanks and `!` in it are only text.
fn quote(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_reaches_its_property() {
        let config = toml::from_str(
            r#"
            rig = "car"
            model = "models/my edge"
            prompt = 'say "hi" ! now'
            provider = "cpu"
            [[video]]
            source = "a b.mp4"
            pace = "fast"
            [[video]]
            source = "rtsp://camera/1"
            [gate]
            threshold = 0.5
            max_gap_s = 2.5
            [window]
            duration_s = 0.5
            max_tokens = 20
            [nats]
            url = "nats://hub:4222"
            user = "car"
            password = "secret"
            [queue]
            on_full = "drop-oldest"
            "#,
        )
        .unwrap();
        let line = line(&config);
        for part in [
            r#"filesrc location="a b.mp4" ! decodebin ! videoconvert"#,
            r#"uridecodebin uri="rtsp://camera/1""#,
            r#"prompt="say \"hi\" ! now""#,
            r#"model="models/my edge" provider=cpu"#,
            "threshold=0.5",
            "max-gap=2500000000",
            "duration=500000000",
            "max-tokens=20",
            r#"url="nats://hub:4222" user="car""#,
            "on-full=drop-oldest",
            "window.video_1",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
        assert!(!line.contains("secret"));
    }
}
