//! The exact rule with the planner on: what the cloud says last is what its model says alone of the same features.

use broker::caption::LAST;
use broker::{Caption, CaptionStatus, FeatureWindow};
use cloud_sink::{Config, FullModel, Rule, Verifier};

use crate::common::{finished, media, models, root};
use crate::process::Process;
use crate::world::{World, captions, until, windows};

#[tokio::test(flavor = "multi_thread")]
async fn the_last_word_is_the_full_models_own_whatever_was_drafted_and_planned() {
    let world = World::new();
    let _worker = Process::start(world.cloud("agreement = 'exact'"));
    let connection = world.connect().await;
    until("the worker is there", async || {
        let stream = connection.jetstream().get_stream("MSAO_FEATURES").await;
        match stream {
            Ok(mut stream) => stream.info().await.unwrap().state.consumer_count == 1,
            Err(_) => false,
        }
    })
    .await;
    // Every window that the planner would keep is sent to learn from.
    let edge = format!(
        "video = [{{ source = '{}', pace = 'fast' }}]\noffload = {{ audit = 1.0 }}",
        media("bikes.mp4").display()
    );
    let (out, err) = finished(&mut world.edge(&edge));

    let mut windows = windows(&connection).await;
    windows.retain(|window| !window.tokens.is_empty());
    assert!(windows.len() > 4, "{}\n{out}\n{err}", windows.len());
    assert!(windows.iter().any(|window| window.draft.is_some()));
    let mut words: Vec<Caption> = Vec::new();
    until("each has its last word", async || {
        words = captions(&connection).await;
        words.retain(|word| word.revision == LAST && word.status != CaptionStatus::Draft);
        words.len() == windows.len()
    })
    .await;

    mllm::runtime::init(Some(&root().join(".cache/onnxruntime/libonnxruntime.so"))).unwrap();
    let mut alone = FullModel::load(&Config {
        provider: mllm::Provider::Cpu,
        agreement: Rule::Exact,
        ..Config::new(models().1)
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
