//! A small picture of what a camera sees, with the importance of its positions: for people who watch. Not stored.

use async_nats::HeaderMap;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    connect::Connection,
    features::Modality,
    headers,
    identity::{InvalidName, Rig, excerpt, is_name},
    limits::{self, TooLong},
    subjects,
};

/// Name of the stream that the picture is of.
const STREAM: &str = "Msao-Stream";
/// `<rows>x<columns>;<base64 of a byte a position, row by row>`.
const GRID: &str = "Msao-Grid";
/// When the picture was taken, RFC 3339 in UTC.
const TIME: &str = "Msao-Time";

/// A picture of one stream of a rig, and where in it something is worth sending.
#[derive(Clone, Debug, PartialEq)]
pub struct Preview {
    /// Whose camera it is.
    pub rig: Rig,
    /// The camera's stream: 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub stream: String,
    /// When the picture was taken, to the nanosecond.
    pub time: OffsetDateTime,
    /// MAS of the frame, in \[0, 1\].
    pub mas: f32,
    /// Rows of positions, 1 to 64.
    pub rows: u8,
    /// Columns of positions, 1 to 64.
    pub columns: u8,
    /// Importance s·u of each position, row by row; 255 stands for 1.
    pub importance: Vec<u8>,
    /// The picture, at most [`limits::PREVIEW`] bytes of JPEG.
    pub jpeg: Bytes,
}

/// A preview cannot be read, or cannot be sent as it is.
#[derive(Debug, thiserror::Error)]
pub enum PreviewError {
    /// A header is missing or wrong.
    #[error("a preview with {header} = '{value}': expected {expected}")]
    Header {
        /// Its name.
        header: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// The subject names no rig, or the stream has no valid name.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The picture is too large.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The payload is not a JPEG picture.
    #[error("a preview of stream {0} whose payload is not a JPEG picture")]
    Picture(String),
    /// The client does not take it.
    #[error("sending a preview: {0}")]
    Send(String),
}

/// Most rows and most columns.
const SIDE: u8 = 64;
const GRID_SHAPE: &str = "<rows>x<columns>;<base64 of rows x columns bytes>, 1 to 64 each";

impl Preview {
    /// Media type of the payload.
    pub const CONTENT_TYPE: &'static str = "image/jpeg";

    /// # Errors
    /// A name, the grid or the picture is not as the fields say.
    pub fn check(&self) -> Result<(), PreviewError> {
        if !is_name(&self.stream) {
            return Err(InvalidName::new("stream", &self.stream).into());
        }
        let sides = 1..=SIDE;
        let positions = usize::from(self.rows) * usize::from(self.columns);
        if !sides.contains(&self.rows)
            || !sides.contains(&self.columns)
            || self.importance.len() != positions
        {
            let value = format!(
                "{}x{};{} bytes",
                self.rows,
                self.columns,
                self.importance.len()
            );
            return Err(wrong(GRID, &value, GRID_SHAPE));
        }
        if !(0.0..=1.0).contains(&self.mas) {
            return Err(wrong(headers::MAS, &self.mas.to_string(), "0 to 1"));
        }
        limits::check("preview", self.jpeg.len(), limits::PREVIEW)?;
        if !self.jpeg.starts_with(&[0xff, 0xd8]) {
            return Err(PreviewError::Picture(self.stream.clone()));
        }
        Ok(())
    }

    /// Publishes it to whoever listens now. It does not wait for the server, and without a connection does nothing.
    ///
    /// # Errors
    /// See [`check`](Self::check); or the client's queue is closed.
    pub async fn publish(&self, connection: &Connection) -> Result<(), PreviewError> {
        self.check()?;
        if !connection.is_connected() {
            return Ok(());
        }
        let sent = connection.client().publish_with_headers(
            subjects::preview(&self.rig),
            self.headers(),
            self.jpeg.clone(),
        );
        sent.await
            .map_err(|error| PreviewError::Send(error.to_string()))
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(headers::CONTENT_TYPE, Self::CONTENT_TYPE);
        headers.insert(STREAM, self.stream.as_str());
        let mas = [(Modality::Video, self.stream.as_str(), self.mas)];
        headers.insert(headers::MAS, headers::mas_value(mas.into_iter()));
        let grid = STANDARD.encode(&self.importance);
        headers.insert(GRID, format!("{}x{};{grid}", self.rows, self.columns));
        if let Ok(time) = self.time.format(&Rfc3339) {
            headers.insert(TIME, time);
        }
        headers
    }

    /// Reads what came on `subject`.
    ///
    /// # Errors
    /// A header, the subject or the payload is not as it must be.
    pub fn decode(
        subject: &str,
        headers: &HeaderMap,
        payload: Bytes,
    ) -> Result<Self, PreviewError> {
        let rig =
            subjects::rig_of(subject).ok_or_else(|| InvalidName::new("rig", &excerpt(subject)))?;
        let header = |name| headers.get(name).map_or("", |value| value.as_str());
        let stream = header(STREAM).to_owned();
        let (rows, columns, importance) =
            grid(header(GRID)).ok_or_else(|| wrong(GRID, header(GRID), GRID_SHAPE))?;
        let mas = (header(headers::MAS).rsplit_once('='))
            .and_then(|(_, mas)| mas.parse().ok())
            .ok_or_else(|| wrong(headers::MAS, header(headers::MAS), "video/<stream>=<mas>"))?;
        let time = OffsetDateTime::parse(header(TIME), &Rfc3339)
            .map_err(|_| wrong(TIME, header(TIME), "a time as in RFC 3339"))?;
        let preview = Self {
            rig,
            stream,
            time,
            mas,
            rows,
            columns,
            importance,
            jpeg: payload,
        };
        preview.check()?;
        Ok(preview)
    }
}

fn wrong(header: &'static str, value: &str, expected: &'static str) -> PreviewError {
    let value = excerpt(value);
    PreviewError::Header {
        header,
        value,
        expected,
    }
}

fn grid(text: &str) -> Option<(u8, u8, Vec<u8>)> {
    let (shape, bytes) = text.split_once(';')?;
    let (rows, columns) = shape.split_once('x')?;
    let most = usize::from(SIDE) * usize::from(SIDE);
    // Four characters stand for three bytes.
    if bytes.len() > most.div_ceil(3) * 4 {
        return None;
    }
    let importance = STANDARD.decode(bytes).ok()?;
    Some((rows.parse().ok()?, columns.parse().ok()?, importance))
}

/// Previews of one rig, or of all, from now on. What cannot be read is an item, too, and the rest goes on.
///
/// # Errors
/// The client does not subscribe.
pub async fn subscribe(
    connection: &Connection,
    rig: Option<&Rig>,
) -> Result<impl Stream<Item = Result<Preview, PreviewError>> + use<>, PreviewError> {
    let subject = rig.map_or_else(|| subjects::PREVIEWS.to_owned(), subjects::preview);
    let subscribed = connection.client().subscribe(subject).await;
    let messages = subscribed.map_err(|error| PreviewError::Send(error.to_string()))?;
    Ok(messages.map(|message| {
        let headers = message.headers.unwrap_or_default();
        Preview::decode(&message.subject, &headers, message.payload)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preview() -> Preview {
        Preview {
            rig: "car-7".parse().unwrap(),
            stream: "front".to_owned(),
            time: OffsetDateTime::UNIX_EPOCH
                + std::time::Duration::from_nanos(1_795_348_800_123_456_789),
            mas: 0.9375,
            rows: 2,
            columns: 3,
            importance: vec![0, 1, 2, 128, 254, 255],
            jpeg: Bytes::from_static(&[0xff, 0xd8, 1, 2, 3]),
        }
    }

    #[test]
    fn what_is_sent_is_read() {
        let sent = preview();
        let read = Preview::decode("msao.v1.preview.car-7", &sent.headers(), sent.jpeg.clone());
        assert_eq!(read.unwrap(), sent);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let sent = preview();
        let subject = "msao.v1.preview.car-7";
        for (header, value) in [
            (GRID, "2x3;AAEC"),
            (GRID, "0x0;"),
            (GRID, "300x3;AAEC"),
            (GRID, "65x1;AAEC"),
            (GRID, ""),
            (STREAM, "no name"),
            (headers::MAS, "video/front=1.5"),
            (headers::MAS, "video/front=NaN"),
            (TIME, "noon"),
        ] {
            let mut headers = sent.headers();
            headers.insert(header, value);
            let error = Preview::decode(subject, &headers, sent.jpeg.clone()).unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains(header) || error.contains("stream"),
                "{error}"
            );
        }
        let long = format!("2x3;{}", "A".repeat(100_000));
        let mut headers = sent.headers();
        headers.insert(GRID, long.as_str());
        let error = Preview::decode(subject, &headers, sent.jpeg.clone()).unwrap_err();
        assert!(error.to_string().len() < 400);
        let headers = sent.headers();
        assert!(Preview::decode("msao.v1.preview.>", &headers, sent.jpeg.clone()).is_err());
        let large = Bytes::from(vec![0xff; limits::PREVIEW + 1]);
        assert!(Preview::decode(subject, &headers, large).is_err());
        assert!(Preview::decode(subject, &headers, Bytes::from_static(b"GIF")).is_err());
    }
}
