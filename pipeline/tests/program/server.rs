//! An edge that sends keyframes, and a worker whose model is behind llama.cpp's server.

#[path = "../../../cloud-sink/tests/common/llama.rs"]
mod llama;

use broker::status::{self, AnyStatus};
use broker::{Caption, CaptionStatus};
use futures::StreamExt;

use crate::common::{finished, media};
use crate::process::Process;
use crate::world::{World, listen, soon};
use llama::{KEY, Llama};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_has_the_last_word_on_keyframes_and_the_key_is_in_no_log() {
    let (world, llama) = (World::new(), Llama::start());
    let edge = format!(
        "payload = 'keyframes'
        keyframe = {{ side = 320 }}
        video = [{{ source = '{}', pace = 'fast' }}]
        offload = {{ enabled = false }}",
        media("bikes.mp4").display()
    );
    let cloud = format!(
        "[server]
        url = '{}'
        model = 'tiny'
        api_key = 'env:MODEL_KEY'
        max_tokens = 12",
        llama.url
    );
    let connection = world.connect().await;
    let mut statuses = Box::pin(status::subscribe_cloud(&connection).await.unwrap());
    let mut worker = world.configured("cloud", "", &cloud);
    worker
        .env("MODEL_KEY", KEY)
        .env("NO_COLOR", "1")
        .env("MSAO_LOG", "trace");
    let worker = Process::start(worker);
    let (_, err) = finished(world.edge(&edge).env("NO_COLOR", "1"));
    let begun = err
        .lines()
        .find(|line| line.contains("captioning"))
        .unwrap();
    assert!(begun.contains("provider=\"cpu\""), "{begun}");

    let told = loop {
        let next = soon("a status", statuses.next()).await;
        if let AnyStatus::Cloud(status) = next.unwrap().unwrap()
            && status.captioned > 3
        {
            break status;
        }
    };
    let mut all = listen(&connection).await;
    let mut last = Vec::<Caption>::new();
    while (last.len() as u64) < told.captioned {
        let caption = soon("a caption", all.next()).await.unwrap();
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

    let log = worker.stop("-TERM");
    let begun = log
        .lines()
        .find(|line| line.contains("waiting for windows"))
        .unwrap();
    assert!(begun.contains("provider=\"server\""), "{begun}");
    assert!(log.contains("ureq") && log.contains(&llama.url) && !log.contains(KEY));
}
