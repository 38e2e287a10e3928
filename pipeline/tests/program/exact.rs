//! The exact rule with the planner on: what the cloud says last is what its model says alone of the same features.

use std::process::Stdio;

use broker::caption::LAST;
use broker::test_server::TestServer;
use broker::{Caption, CaptionStatus, FeatureWindow};
use cloud_sink::{Config, FullModel, Rule, Verifier};

use crate::common::{Killed, media, models, msao, root, texts};
use crate::workers::{connect, payloads, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_last_word_is_the_full_models_own_whatever_was_drafted_and_planned() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start();
    let (model, full) = models();
    let (edge, cloud) = (
        folder.path().join("edge.toml"),
        folder.path().join("cloud.toml"),
    );
    // Every window that the planner would keep is sent to learn from.
    let text = format!(
        "rig = 'car'
        model = '{}'
        video = [{{ source = '{}', pace = 'fast' }}]
        offload = {{ audit = 1.0 }}
        nats = {{ url = '{}' }}",
        model.display(),
        media("bikes.mp4").display(),
        server.url()
    );
    std::fs::write(&edge, text).unwrap();
    let text = format!(
        "model = '{}'\nagreement = 'exact'\nnats = {{ url = '{}' }}",
        full.display(),
        server.url()
    );
    std::fs::write(&cloud, text).unwrap();
    let mut worker = msao(folder.path());
    worker.args(["cloud", "--config"]).arg(&cloud);
    let _worker = Killed(worker.stdout(Stdio::null()).spawn().unwrap());
    let connection = connect(&server).await;
    until("the worker is there", async || {
        let stream = connection.jetstream().get_stream("MSAO_FEATURES").await;
        match stream {
            Ok(mut stream) => stream.info().await.unwrap().state.consumer_count == 1,
            Err(_) => false,
        }
    })
    .await;
    let mut command = msao(folder.path());
    let output = command.args(["edge", "--config"]).arg(&edge).output();
    let (out, err) = texts(&output.unwrap());

    let windows: Vec<FeatureWindow> = payloads(&connection, "MSAO_FEATURES")
        .await
        .iter()
        .map(|payload| FeatureWindow::decode(payload).unwrap())
        .filter(|window| !window.tokens.is_empty())
        .collect();
    assert!(windows.len() > 4, "{}\n{out}\n{err}", windows.len());
    assert!(windows.iter().any(|window| window.draft.is_some()));
    let mut words: Vec<Caption> = Vec::new();
    until("each has its last word", async || {
        words = payloads(&connection, "MSAO_CAPTIONS")
            .await
            .iter()
            .map(|payload| Caption::decode(payload).unwrap())
            .filter(|caption| caption.revision == LAST && caption.status != CaptionStatus::Draft)
            .collect();
        words.len() == windows.len()
    })
    .await;

    mllm::runtime::init(Some(&root().join(".cache/onnxruntime/libonnxruntime.so"))).unwrap();
    let mut alone = FullModel::load(&Config {
        provider: mllm::Provider::Cpu,
        agreement: Rule::Exact,
        ..Config::new(full)
    })
    .unwrap();
    for window in windows {
        let undrafted = FeatureWindow {
            draft: None,
            ..window
        };
        let own = alone.verify(&undrafted).unwrap().unwrap();
        let word = words.iter().find(|word| word.id == undrafted.id).unwrap();
        assert_eq!(word.text, own.text, "{}", word.id);
    }
}
