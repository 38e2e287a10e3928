//! The wire of MSAO: subjects, headers, schemas, and a JetStream publisher and consumer.
//!
//! An edge publishes [`FeatureWindow`]s and draft [`Caption`]s through a [`publisher::Publisher`];
//! the cloud takes windows from a durable [`consumer::Consumer`] and publishes captions of a higher
//! revision; anyone reads them with [`captions::subscribe`]. Delivery is at least once; identity
//! ([`WindowId`]) and revision make it once in effect.

pub mod answers;
pub mod ask;
pub mod caption;
pub mod captions;
pub mod connect;
pub mod consumer;
pub mod cursor;
mod dead;
pub mod deliver;
pub mod done;
mod durable;
pub mod faults;
pub mod features;
pub mod headers;
pub mod identity;
mod last_values;
pub mod latest;
pub mod letters;
pub mod limits;
pub mod lookup;
pub mod message;
pub mod preview;
pub mod publisher;
mod pull;
mod queue;
pub mod recording;
mod scan;
mod schema;
pub mod seen;
pub mod status;
pub mod streams;
pub mod subjects;
#[cfg(feature = "test-server")]
pub mod test_server;
pub mod trace;

pub use caption::{Caption, CaptionStatus, LatencyMs};
pub use connect::{ConnectConfig, Connection};
pub use deliver::Observer;
pub use faults::{Fault, Faults};
pub use features::{
    Compression, DraftReport, FeatureWindow, Modality, ModalityReport, Stream, Token,
};
pub use identity::{Rig, WindowId};
pub use message::{Message, MessageId};
pub use preview::Preview;
pub use publisher::{OnFull, Publisher, PublisherConfig};
pub use status::{CloudStatus, Status};
pub use streams::StreamsConfig;
