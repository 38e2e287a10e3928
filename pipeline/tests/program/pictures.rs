//! Pictures that leave the box where that is asked for: keyframes that a worker reads, previews for people.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use broker::connect::AtStart;
use broker::test_server::{TestServer, reached};
use broker::{CaptionStatus, ConnectConfig, Connection, FeatureWindow, Modality, StreamsConfig};
use broker::{captions, preview};
use futures::{FutureExt, StreamExt};
use offload::Action;
use offload::planner::Decision;

use crate::common::{Killed, media, models, msao, texts};

#[tokio::test(flavor = "multi_thread")]
async fn keyframes_go_in_place_of_video_tokens_and_previews_to_whoever_looks() {
    let server = TestServer::start();
    let folder = tempfile::tempdir().unwrap();
    let (model, full) = models();
    let (edge, cloud) = (
        folder.path().join("edge.toml"),
        folder.path().join("cloud.toml"),
    );
    let (model, url, clip) = (model.display(), server.url(), media("bigbuckbunny.mp4"));
    let text = format!(
        "rig = 'car'
        model = '{model}'
        payload = 'keyframes'
        keyframe = {{ side = 320 }}
        preview = {{ side = 100 }}
        video = [{{ source = '{0}', pace = 'fast' }}]
        audio = [{{ source = '{0}', pace = 'fast' }}]
        offload = {{ enabled = false }}
        nats = {{ url = '{url}' }}",
        clip.display()
    );
    std::fs::write(&edge, text).unwrap();
    let text = format!(
        "model = '{}'\nencoders = '{model}'\nnats = {{ url = '{url}' }}",
        full.display()
    );
    std::fs::write(&cloud, text).unwrap();

    let config = ConnectConfig {
        url: server.url(),
        ..ConnectConfig::default()
    };
    let connection = Connection::open(&config, AtStart::Fail).await.unwrap();
    let mut previews = Box::pin(preview::subscribe(&connection, None).await.unwrap());
    let features = connection.client().subscribe("msao.v1.features.*").await;
    let mut features = features.unwrap();
    reached(&connection).await;
    let mut worker = msao(folder.path());
    worker.args(["cloud", "--config"]).arg(&cloud);
    let _worker = Killed(worker.stdout(Stdio::null()).spawn().unwrap());
    let output = msao(folder.path())
        .args(["edge", "--config"])
        .arg(&edge)
        .output()
        .unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}\n{err}");

    let shown = tokio::time::timeout(Duration::from_secs(20), previews.next()).await;
    let shown = shown.unwrap().unwrap().unwrap();
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

    let first = tokio::time::timeout(Duration::from_secs(20), features.next()).await;
    let window = FeatureWindow::decode(&first.unwrap().unwrap().payload).unwrap();
    assert_eq!(size(window.keyframe.as_ref().unwrap()), (320, 180));
    assert!(
        window
            .tokens
            .iter()
            .all(|token| token.modality == Modality::Audio)
    );
    assert!(window.draft.is_some());

    // The worker makes features of the picture, and captions the window by them.
    let streams = StreamsConfig::default();
    let rig = "car".parse().unwrap();
    let captions =
        captions::subscribe(&connection, &streams, Some(&rig), captions::From::Beginning);
    let mut captions = Box::pin(captions.await.unwrap());
    let last = async {
        loop {
            let caption = captions.next().await.unwrap();
            if caption.id == window.id && caption.status != CaptionStatus::Draft {
                return caption;
            }
        }
    };
    let last = tokio::time::timeout(Duration::from_secs(60), last)
        .await
        .unwrap();
    assert!(
        !last.text.is_empty() && last.model.contains("cloud"),
        "{last:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_planner_on_keyframes_are_priced_and_only_those_of_windows_that_are_sent_leave() {
    let server = TestServer::start();
    let folder = tempfile::tempdir().unwrap();
    let (model, full) = models();
    let (edge, cloud) = (
        folder.path().join("edge.toml"),
        folder.path().join("cloud.toml"),
    );
    let (model, url) = (model.display(), server.url());
    // Any risk is allowed, so that windows are kept but for those that are to be learnt from: about half.
    let text = format!(
        "rig = 'car'
        model = '{model}'
        payload = 'keyframes'
        video = [{{ source = '{}', pace = 'fast' }}]
        offload = {{ target_risk = 1.0, audit = 0.5 }}
        nats = {{ url = '{url}' }}",
        media("bikes.mp4").display()
    );
    std::fs::write(&edge, text).unwrap();
    let text = format!(
        "model = '{}'\nencoders = '{model}'\nnats = {{ url = '{url}' }}",
        full.display()
    );
    std::fs::write(&cloud, text).unwrap();
    let config = ConnectConfig {
        url: server.url(),
        ..ConnectConfig::default()
    };
    let connection = Connection::open(&config, AtStart::Fail).await.unwrap();
    let mut all = connection.client().subscribe("msao.v1.>").await.unwrap();
    reached(&connection).await;
    let mut worker = msao(folder.path());
    worker.args(["cloud", "--config"]).arg(&cloud);
    let _worker = Killed(worker.stdout(Stdio::null()).spawn().unwrap());
    let heard = async {
        while let Some(message) = all.next().await {
            if message.subject.starts_with("msao.v1.status.cloud.") {
                return;
            }
        }
    };
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, heard).await.unwrap();
    let output = msao(folder.path())
        .args(["edge", "--config"])
        .arg(&edge)
        .output()
        .unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}\n{err}");
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
