//! GStreamer's log as events of `tracing`: of our elements with the target `gstmsao`, of others with `gstreamer`.
//!
//! What GStreamer hands over is up to `GST_DEBUG`; without it, of our elements what the program's own filter lets through. What
//! others find wrong comes as a message of theirs; their logs warn of what is no fault, too.

use std::sync::Once;

use gst::DebugLevel;
use gst::log::{DebugCategory, DebugMessage, LoggedObject};
use tracing::level_filters::LevelFilter;

/// Starts GStreamer, and has it log through `tracing`.
///
/// # Errors
/// GStreamer does not start.
pub fn init() -> Result<(), gst::glib::Error> {
    static BRIDGE: Once = Once::new();
    gst::init()?;
    BRIDGE.call_once(bridge);
    Ok(())
}

fn bridge() {
    if std::env::var_os("GST_DEBUG").is_none() {
        gst::log::set_threshold_for_name("msao*", most(LevelFilter::current()));
    }
    // Who asks for a file gets it, too.
    if std::env::var_os("GST_DEBUG_FILE").is_none() {
        gst::log::remove_default_log_function();
    }
    gst::log::add_log_function(|category, level, _, _, _, object, message| {
        log(category, level, object, message);
    });
}

/// The most that our elements need to log for a filter.
fn most(filter: LevelFilter) -> DebugLevel {
    match filter {
        LevelFilter::TRACE => DebugLevel::Trace,
        LevelFilter::DEBUG => DebugLevel::Debug,
        LevelFilter::INFO => DebugLevel::Info,
        LevelFilter::ERROR => DebugLevel::Error,
        LevelFilter::OFF => DebugLevel::None,
        _ => DebugLevel::Warning,
    }
}

fn log(
    category: DebugCategory,
    level: DebugLevel,
    object: Option<&LoggedObject>,
    message: &DebugMessage,
) {
    let name = category.name();
    macro_rules! event {
        ($level:ident) => {
            if name.starts_with("msao") {
                event!($level, "gstmsao")
            } else {
                event!($level, "gstreamer")
            }
        };
        ($level:ident, $target:literal) => {
            tracing::$level!(
                target: $target,
                category = name,
                element = object.map(tracing::field::display),
                "{}",
                message.get().as_deref().map_or("", |text| text.as_str())
            )
        };
    }
    match level {
        DebugLevel::Error => event!(error),
        DebugLevel::Warning => event!(warn),
        DebugLevel::Fixme | DebugLevel::Info => event!(info),
        DebugLevel::Debug => event!(debug),
        _ => event!(trace),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Text(Arc<Mutex<Vec<u8>>>);

    impl Write for Text {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Lines that are logged as one element logs with a category, with all let through.
    fn logged(category: &str) -> Vec<String> {
        let text = Text::default();
        let writer = text.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .without_time()
            .with_max_level(LevelFilter::TRACE)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            init().unwrap();
            let category = DebugCategory::new(category, gst::DebugColorFlags::empty(), None);
            category.set_threshold(DebugLevel::Trace);
            let element = gst::ElementFactory::make("fakesink")
                .name("last")
                .build()
                .unwrap();
            gst::error!(category, obj = element, "one");
            gst::warning!(category, obj = element, "two");
            gst::info!(category, obj = element, "three");
            gst::debug!(category, obj = element, "four");
            gst::trace!(category, "five");
        });
        let text = String::from_utf8(text.0.lock().unwrap().clone()).unwrap();
        let of_us = text.lines().filter(|line| line.contains(category));
        of_us.map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn levels_elements_and_categories_are_passed_on() {
        assert_eq!(
            logged("msaotest"),
            [
                r#"ERROR gstmsao: one category="msaotest" element=last"#,
                r#"WARN gstmsao: two category="msaotest" element=last"#,
                r#"INFO gstmsao: three category="msaotest" element=last"#,
                r#"DEBUG gstmsao: four category="msaotest" element=last"#,
                r#"TRACE gstmsao: five category="msaotest""#,
            ]
        );
        let of_others = logged("othertest");
        assert_eq!(of_others.len(), 5, "{of_others:?}");
        assert!(
            of_others[0].starts_with("ERROR gstreamer: one"),
            "{of_others:?}"
        );
    }
}
