//! The configurations in configs/ that are to be copied: each passes `msao check` as it is, and runs.

use std::collections::BTreeSet;

use broker::Caption;

use crate::common::{finished, msao};
use crate::world::World;

/// The captions that an edge with the configuration `name` makes, played as fast as it goes.
async fn captions(name: &str) -> Vec<Caption> {
    let world = World::new();
    let mut check = msao(world.path());
    let (out, err) = finished(check.args(["check", "--config", &format!("configs/{name}.toml")]));
    assert!(out.contains("good for `msao edge`"), "{out}{err}");

    finished(&mut world.example(name));
    let captions = crate::world::captions(&world.connect().await).await;
    assert!(
        captions
            .iter()
            .all(|caption| caption.id.rig.as_str() == name)
    );
    captions
}

#[tokio::test(flavor = "multi_thread")]
async fn the_driving_rig_sees_hears_and_feels() {
    let captions = captions("driving").await;
    let streams: BTreeSet<String> = (captions.iter().flat_map(|caption| &caption.mas))
        .map(|stream| stream.stream.clone())
        .collect();
    for stream in ["video_0", "video_1", "audio_0", "sensor_0"] {
        assert!(streams.contains(stream), "{stream} is not in {streams:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspection_rig_tells_parts_and_answers_its_questions() {
    let captions = captions("inspection").await;
    let asked = captions.iter().any(|caption| caption.question.is_some());
    let told = captions.iter().filter(|caption| caption.question.is_none());
    // The model knows such parts: most are named, though not all by their right name.
    let named = told.clone().filter(|caption| caption.text.contains("belt"));
    let (named, told) = (named.count(), told.count());
    assert!(
        told >= 10 && named * 2 > told,
        "{named} of {told}: {captions:#?}"
    );
    assert!(asked, "{captions:#?}");
}
