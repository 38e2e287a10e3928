//! Frames that come as JPEG pictures go out as previews: at once, to whoever listens, and never at the cost of the stream.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use broker::{Connection, Preview, Rig};
use mas::Measurement;
use time::OffsetDateTime;
use tokio::runtime::Runtime;

use super::imp::CAT;
use super::properties::Settings;
use crate::meta::{MasMeta, Measured};

/// Sends previews of one stream, one at a time.
#[derive(Debug)]
pub(super) struct Previews {
    rig: Rig,
    stream: String,
    /// One is on its way.
    busy: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    warned: AtomicBool,
}

impl Previews {
    /// # Errors
    /// `rig` or `stream` is not set, or no valid name.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let rig = settings.rig.as_deref().unwrap_or_default();
        let rig = rig.parse().map_err(|error| {
            format!("previews need the property rig, and for several cameras stream: {error}")
        })?;
        Ok(Self {
            rig,
            stream: settings.stream.clone(),
            busy: Arc::default(),
            sent: Arc::default(),
            warned: AtomicBool::new(false),
        })
    }

    /// Previews that were sent.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Sends the picture in `buffer`, unless the one before is still on its way.
    pub fn send(
        &self,
        buffer: &gst::Buffer,
        connection: &Connection,
        runtime: &Runtime,
    ) -> Result<(), String> {
        let Some(measured) = MasMeta::of(buffer) else {
            if !self.warned.swap(true, Ordering::Relaxed) {
                gst::warning!(
                    CAT,
                    "a picture without MAS is not shown. Is msaovideomas upstream?"
                );
            }
            return Ok(());
        };
        if self.busy.swap(true, Ordering::Acquire) {
            return Ok(());
        }
        let preview = self.preview(buffer, &measured).inspect_err(|_| {
            self.busy.store(false, Ordering::Release);
        })?;
        let (busy, sent) = (Arc::clone(&self.busy), Arc::clone(&self.sent));
        let connection = connection.clone();
        runtime.spawn(async move {
            let connected = connection.is_connected();
            match preview.publish(&connection).await {
                Ok(()) => {
                    sent.fetch_add(u64::from(connected), Ordering::Relaxed);
                }
                Err(error) => gst::warning!(CAT, "{error}"),
            }
            busy.store(false, Ordering::Release);
        });
        Ok(())
    }

    fn preview(&self, buffer: &gst::Buffer, measured: &Measured) -> Result<Preview, String> {
        let jpeg = buffer.map_readable().map_err(|error| error.to_string())?;
        let now = measured.now();
        let columns = measured.columns.max(1);
        let rows = now.s.len() / columns;
        let side = |n: usize| u8::try_from(n).unwrap_or(u8::MAX);
        let preview = Preview {
            rig: self.rig.clone(),
            stream: self.stream.clone(),
            time: OffsetDateTime::now_utc(),
            mas: now.mas.mas,
            rows: side(rows),
            columns: side(columns),
            importance: bytes(&now),
            jpeg: jpeg.to_vec().into(),
        };
        preview.check().map_err(|error| error.to_string())?;
        Ok(preview)
    }
}

fn bytes(measurement: &Measurement) -> Vec<u8> {
    let importance = measurement.importance();
    let byte = |one: &f32| (one.clamp(0.0, 1.0) * 255.0).round() as u8;
    importance.iter().map(byte).collect()
}
