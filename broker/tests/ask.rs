//! Questions and answers over a real server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{pin::pin, time::Duration};

use broker::{
    ask::{self, Answer, AnswerStatus, AskError},
    subjects,
    test_server::{TestServer, reached},
};
use common::{connect, id};
use futures::StreamExt;

const PATIENCE: Duration = Duration::from_secs(30);

fn answer(text: &str) -> Answer {
    Answer {
        id: id(7),
        text: text.to_owned(),
        confidence: 0.5,
        status: AnswerStatus::Draft,
        model: "edge-v1".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_or_refused_with_the_reason() {
    let server = TestServer::start();
    let (edge, user) = (connect(&server).await, connect(&server).await);
    let rig = id(0).rig;
    let mut questions = pin!(ask::questions(&edge, &rig).await.unwrap());
    reached(&edge).await;
    let serve = async {
        let first = questions.next().await.unwrap();
        let text = format!("you asked: {}", first.prompt);
        first.answer(&edge, Ok(answer(&text))).await.unwrap();
        let second = questions.next().await.unwrap();
        let refusal = Err("no window yet".to_owned());
        second.answer(&edge, refusal).await.unwrap();
        // What is no question is refused without disturbing whoever serves.
        assert_eq!(questions.next().await.unwrap().prompt, "last");
    };
    let asking = async {
        let first = ask::ask(&user, &rig, "what is heard ?", PATIENCE).await;
        assert_eq!(first.unwrap(), answer("you asked: what is heard ?"));
        let second = ask::ask(&user, &rig, "what is seen ?", PATIENCE).await;
        let error = second.unwrap_err().to_string();
        assert!(error.contains("no window yet"), "{error}");
        for (payload, word) in [
            ("no json", "not a message"),
            (r#"{"schema":"question/2.0","prompt":"x"}"#, "question/1.x"),
            (r#"{"schema":"question/1.0","prompt":""}"#, "1 to 4096"),
        ] {
            let reply = user
                .client()
                .request(subjects::ask(&rig), payload.into())
                .await
                .unwrap();
            let reply = String::from_utf8(reply.payload.to_vec()).unwrap();
            assert!(reply.contains("error") && reply.contains(word), "{reply}");
        }
        // Nobody takes the last one's answer: it is late.
        let late = ask::ask(&user, &rig, "last", Duration::from_millis(200)).await;
        assert!(matches!(late, Err(AskError::Late { .. })));
    };
    tokio::join!(serve, asking);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rig_that_nobody_listens_for_is_named() {
    let server = TestServer::start();
    let user = connect(&server).await;
    let rig = "nowhere".parse().unwrap();
    let error = ask::ask(&user, &rig, "anyone ?", PATIENCE).await;
    let error = error.unwrap_err();
    assert!(matches!(error, AskError::Nobody(_)));
    assert!(error.to_string().contains("'nowhere'"), "{error}");
    let long = "x".repeat(broker::limits::QUESTION + 1);
    let error = ask::ask(&user, &rig, &long, PATIENCE).await;
    assert!(matches!(error, Err(AskError::Question(4097))));
}
