//! Pictures that leave the box where that is asked for: keyframes that a worker reads, previews for people.

use std::collections::{BTreeMap, BTreeSet};

use broker::preview;
use broker::test_server::reached;
use broker::{CaptionStatus, FeatureWindow, Modality};
use futures::{FutureExt, StreamExt};
use offload::Action;
use offload::planner::Decision;

use crate::common::{finished, media, models};
use crate::process::Process;
use crate::world::{World, listen, soon};

#[tokio::test(flavor = "multi_thread")]
async fn keyframes_go_in_place_of_video_tokens_and_previews_to_whoever_looks() {
    let world = World::new();
    let encoders = format!("encoders = '{}'", models().0.display());
    let edge = format!(
        "payload = 'keyframes'
        keyframe = {{ side = 320 }}
        preview = {{ side = 100 }}
        video = [{{ source = '{0}', pace = 'fast' }}]
        audio = [{{ source = '{0}', pace = 'fast' }}]
        offload = {{ enabled = false }}",
        media("bigbuckbunny.mp4").display()
    );
    let connection = world.connect().await;
    let mut previews = Box::pin(preview::subscribe(&connection, None).await.unwrap());
    let features = connection.client().subscribe("msao.v1.features.*").await;
    let mut features = features.unwrap();
    reached(&connection).await;
    let _worker = Process::start(world.cloud(&encoders));
    finished(&mut world.edge(&edge));

    let shown = soon("a preview", previews.next()).await;
    let shown = shown.unwrap().unwrap();
    assert_eq!(
        (shown.stream.as_str(), shown.rows, shown.columns),
        ("video_0", 7, 7)
    );
    let size = |jpeg: &[u8]| {
        let picture = cloud_sink::picture(jpeg).unwrap();
        (picture.width(), picture.height())
    };
    // 1280 x 720.
    assert_eq!(size(&shown.jpeg), (100, 56));

    let first = soon("a window", features.next()).await;
    let window = FeatureWindow::decode(&first.unwrap().payload).unwrap();
    assert_eq!(size(window.keyframe.as_ref().unwrap()), (320, 180));
    assert!(
        window
            .tokens
            .iter()
            .all(|token| token.modality == Modality::Audio)
    );
    assert!(window.draft.is_some());

    // The worker makes features of the picture, and captions the window by them.
    let mut captions = listen(&connection).await;
    let last = async {
        loop {
            let caption = captions.next().await.unwrap();
            if caption.id == window.id && caption.status != CaptionStatus::Draft {
                return caption;
            }
        }
    };
    let last = soon("the last word", last).await;
    assert!(
        !last.text.is_empty() && last.model.contains("cloud"),
        "{last:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_planner_on_keyframes_are_priced_and_only_those_of_windows_that_are_sent_leave() {
    let world = World::new();
    let encoders = format!("encoders = '{}'", models().0.display());
    // Any risk is allowed, so that windows are kept but for those that are to be learnt from: about half.
    let edge = format!(
        "payload = 'keyframes'
        video = [{{ source = '{}', pace = 'fast' }}]
        offload = {{ target_risk = 1.0, audit = 0.5 }}",
        media("bikes.mp4").display()
    );
    let connection = world.connect().await;
    let mut all = connection.client().subscribe("msao.v1.>").await.unwrap();
    reached(&connection).await;
    let _worker = Process::start(world.cloud(&encoders));
    let heard = async {
        while let Some(message) = all.next().await {
            if message.subject.starts_with("msao.v1.status.cloud.") {
                return;
            }
        }
    };
    soon("the worker is there", heard).await;
    let (_, err) = finished(&mut world.edge(&edge));
    reached(&connection).await;

    let (mut sent, mut drafted) = (Vec::new(), BTreeMap::new());
    let mut kept = BTreeSet::new();
    while let Some(Some(message)) = all.next().now_or_never() {
        match message.subject.split('.').nth(2).unwrap() {
            "features" => sent.push((
                FeatureWindow::decode(&message.payload).unwrap(),
                message.payload.len(),
            )),
            "captions" => {
                let caption: broker::Caption = serde_json::from_slice(&message.payload).unwrap();
                if caption.status == CaptionStatus::Draft {
                    if caption.is_final {
                        kept.insert(caption.id.clone());
                    }
                    drafted.insert(caption.id, caption.plan);
                }
            }
            "status" => {}
            other => panic!("{other}"),
        }
    }
    assert!(sent.len() >= 2 && kept.len() >= 2, "{kept:?}: {err}");
    assert_eq!(sent.len() + kept.len(), drafted.len());
    for (window, length) in sent {
        assert!(matches!(window.decision, Action::Verify | Action::Offload));
        assert!(!kept.contains(&window.id) && window.tokens.is_empty());
        let picture = window.keyframe.unwrap();
        // It goes with the caption, unless that had gone before.
        let own = window.plan.map(|plan| serde_json::from_str(&plan).unwrap());
        let plan = own.or_else(|| drafted[&window.id].clone()).unwrap();
        let plan: Decision = serde_json::from_value(plan).unwrap();
        assert_eq!(plan.action, window.decision);
        // The price of the caption, 4,000 bytes, and of what frames the tokens that are left out is on top.
        let priced = plan.inputs.window.fixed_bytes as usize;
        assert!(priced > picture.len(), "{priced}, {}", picture.len());
        assert!(priced.abs_diff(length) < 9_000, "{priced}, {length}");
    }
}
