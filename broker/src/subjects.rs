//! Every subject name, in one place.

use crate::identity::{InvalidName, Rig, excerpt, is_name};

/// All feature windows; stored in `MSAO_FEATURES`.
pub const FEATURES: &str = "msao.v1.features.*";
/// All captions; stored in `MSAO_CAPTIONS`.
pub const CAPTIONS: &str = "msao.v1.captions.*";
/// All messages that could not be handled; stored in `MSAO_DEAD`.
pub const DEAD: &str = "msao.v1.dead.*";
/// Where a message goes that could not be handled and came on a subject that names no rig.
pub const DEAD_NAMELESS: &str = "msao.v1.dead._";
/// All status messages, of edges and clouds; not stored.
pub const STATUS: &str = "msao.v1.status.>";
/// All previews; not stored.
pub const PREVIEWS: &str = "msao.v1.preview.*";
/// Statuses of all cloud workers.
pub const CLOUD_STATUS: &str = "msao.v1.status.cloud.*";

/// Where a rig's feature windows go.
pub fn features(rig: &Rig) -> String {
    format!("msao.v1.features.{rig}")
}

/// Whether features go there: one token after `msao.v1.features.`, whether or not it is a rig's name.
pub(crate) fn is_features(subject: &str) -> bool {
    let token = subject
        .strip_prefix("msao.v1.features.")
        .unwrap_or_default();
    let plain = |c: char| c.is_ascii_graphic() && !"*>.".contains(c);
    !token.is_empty() && token.chars().all(plain)
}

/// Where captions of a rig go, from the edge and from the cloud.
pub fn captions(rig: &Rig) -> String {
    format!("msao.v1.captions.{rig}")
}

/// Where an edge says how it is.
pub fn edge_status(rig: &Rig) -> String {
    format!("msao.v1.status.edge.{rig}")
}

/// Where a cloud worker says how it is.
///
/// # Errors
/// The worker's name is not one subject token.
pub fn cloud_status(worker: &str) -> Result<String, InvalidName> {
    if is_name(worker) {
        Ok(format!("msao.v1.status.cloud.{worker}"))
    } else {
        Err(InvalidName::new("worker", worker))
    }
}

/// Where small pictures of what a rig sees go; not stored.
pub fn preview(rig: &Rig) -> String {
    format!("msao.v1.preview.{rig}")
}

/// Where questions to a rig go, as requests; not stored.
pub fn ask(rig: &Rig) -> String {
    format!("msao.v1.ask.{rig}")
}

/// Where messages about a rig go that could not be handled.
pub fn dead(rig: &Rig) -> String {
    format!("msao.v1.dead.{rig}")
}

/// The rig that a subject is about: its last token, if that is a rig's name.
pub fn rig_of(subject: &str) -> Option<Rig> {
    subject.rsplit('.').next()?.parse().ok()
}

/// A message speaks for somebody else than its subject names. The server decides who may publish on a subject, so only
/// the subject can be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message on {subject} speaks for '{name}': it is not believed")]
pub struct Foreign {
    subject: String,
    name: String,
}

/// Whether what came on `subject` may speak for `name`, a rig or a worker: the last token of the subject is its name.
///
/// # Errors
/// It names another.
pub fn speaks_for(subject: &str, name: &str) -> Result<(), Foreign> {
    if subject.rsplit('.').next() == Some(name) {
        return Ok(());
    }
    Err(Foreign {
        subject: excerpt(subject),
        name: excerpt(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_as_documented() {
        let rig: Rig = "car-7".parse().unwrap();
        assert_eq!(features(&rig), "msao.v1.features.car-7");
        assert_eq!(captions(&rig), "msao.v1.captions.car-7");
        assert_eq!(edge_status(&rig), "msao.v1.status.edge.car-7");
        assert_eq!(cloud_status("gpu0").unwrap(), "msao.v1.status.cloud.gpu0");
        assert_eq!(ask(&rig), "msao.v1.ask.car-7");
        assert_eq!(preview(&rig), "msao.v1.preview.car-7");
        assert_eq!(dead(&rig), "msao.v1.dead.car-7");
        assert!(cloud_status("gpu.0").is_err());
        assert_eq!(rig_of(&features(&rig)), Some(rig));
        assert_eq!(rig_of("msao.v1.features.>"), None);
        assert!(speaks_for("msao.v1.captions.car-7", "car-7").is_ok());
        for other in ["car", "7", "captions.car-7", ""] {
            assert!(speaks_for("msao.v1.captions.car-7", other).is_err());
        }
        assert!(is_features("msao.v1.features.car-7") && is_features("msao.v1.features.no$rig"));
        for other in [
            "msao.v1.features.",
            "msao.v1.features.*",
            "msao.v1.features.a.b",
            "$JS.API.INFO",
            "",
        ] {
            assert!(!is_features(other), "{other}");
        }
    }
}
