//! Pictures that leave the box where that is asked for: keyframes that a worker reads, previews for people.

use std::process::Stdio;
use std::time::Duration;

use broker::connect::AtStart;
use broker::test_server::{TestServer, reached};
use broker::{CaptionStatus, ConnectConfig, Connection, FeatureWindow, Modality, StreamsConfig};
use broker::{captions, preview};
use futures::StreamExt;

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
