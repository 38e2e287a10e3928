//! An edge that sends keyframes, and a worker whose model is behind llama.cpp's server.

#[path = "../../../cloud-sink/tests/common/llama.rs"]
mod llama;

use std::process::{Command, Stdio};
use std::time::Duration;

use broker::connect::AtStart;
use broker::status::{self, AnyStatus};
use broker::test_server::TestServer;
use broker::{Caption, CaptionStatus, ConnectConfig, Connection, StreamsConfig, captions};
use futures::StreamExt;

use crate::common::{media, models, msao, texts};
use llama::{KEY, Llama};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_has_the_last_word_on_keyframes_and_the_key_is_in_no_log() {
    let (server, llama) = (TestServer::start(), Llama::start());
    let folder = tempfile::tempdir().unwrap();
    let (edge, cloud) = (
        folder.path().join("edge.toml"),
        folder.path().join("cloud.toml"),
    );
    let (model, url, clip) = (models().0, server.url(), media("bikes.mp4"));
    let text = format!(
        "rig = 'car'
        model = '{}'
        payload = 'keyframes'
        keyframe = {{ side = 320 }}
        video = [{{ source = '{}', pace = 'fast' }}]
        offload = {{ enabled = false }}
        nats = {{ url = '{url}' }}",
        model.display(),
        clip.display()
    );
    std::fs::write(&edge, text).unwrap();
    let text = format!(
        "nats = {{ url = '{url}' }}
        [server]
        url = '{}'
        model = 'tiny'
        api_key = 'env:MODEL_KEY'
        max_tokens = 12",
        llama.url
    );
    std::fs::write(&cloud, text).unwrap();

    let config = ConnectConfig {
        url: server.url(),
        ..ConnectConfig::default()
    };
    let connection = Connection::open(&config, AtStart::Fail).await.unwrap();
    let mut statuses = Box::pin(status::subscribe_cloud(&connection).await.unwrap());
    let worker = msao(folder.path())
        .args(["cloud", "--config"])
        .arg(&cloud)
        .env("MODEL_KEY", KEY)
        .env("NO_COLOR", "1")
        .env("MSAO_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = worker.id().to_string();
    // Its log must be read while it is written.
    let logged = std::thread::spawn(move || worker.wait_with_output().unwrap());
    let output = msao(folder.path())
        .env("NO_COLOR", "1")
        .args(["edge", "--config"])
        .arg(&edge)
        .output()
        .unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{out}\n{err}");
    let begun = err
        .lines()
        .find(|line| line.contains("captioning"))
        .unwrap();
    assert!(begun.contains("provider=\"cpu\""), "{begun}");

    let told = loop {
        let next = tokio::time::timeout(Duration::from_secs(60), statuses.next()).await;
        if let AnyStatus::Cloud(status) = next.unwrap().unwrap().unwrap()
            && status.captioned > 3
        {
            break status;
        }
    };
    let (streams, rig) = (StreamsConfig::default(), "car".parse().unwrap());
    let all = captions::subscribe(&connection, &streams, Some(&rig), captions::From::Beginning);
    let mut all = Box::pin(all.await.unwrap());
    let mut last = Vec::<Caption>::new();
    while (last.len() as u64) < told.captioned {
        let caption = tokio::time::timeout(Duration::from_secs(60), all.next()).await;
        let caption = caption.unwrap().unwrap();
        if caption.status != CaptionStatus::Draft {
            last.push(caption);
        }
    }
    assert!(
        (last.iter()).all(|caption| caption.model == "tiny" && !caption.text.is_empty()),
        "{last:?}"
    );
    assert_eq!(told.provider, "server");
    assert!(told.server.unwrap().requests >= told.captioned, "{told:?}");

    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    let output = logged.join().unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{err}");
    let begun = err
        .lines()
        .find(|line| line.contains("waiting for windows"))
        .unwrap();
    assert!(begun.contains("provider=\"server\""), "{begun}");
    let log = out + &err;
    assert!(log.contains("ureq") && log.contains(&llama.url) && !log.contains(KEY));
}
