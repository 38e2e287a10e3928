//! What a worker makes of a model's server that fails: what passes, what is hopeless, and what is to be mended.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    sync::{Arc, Barrier, Mutex, OnceLock, mpsc},
    time::{Duration, Instant},
};

use broker::{FeatureWindow, caption::Verdict, status::ServerUse};
use cloud_sink::{Error, Fault, Judged, Price, ServerModel, ServerSection, Verifier};
use common::{
    https,
    scripted::{Reply, Scripted, completion, models, say, wait},
    seen, window,
};

const KEY: &str = "sk-secret-0123456789";

/// A server's table, with its key in a file.
fn section(url: &str) -> ServerSection {
    static PLACE: OnceLock<tempfile::NamedTempFile> = OnceLock::new();
    let place = PLACE.get_or_init(|| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, KEY).unwrap();
        file
    });
    ServerSection {
        url: url.to_owned(),
        model: "tiny".to_owned(),
        api_key: Some(format!("file:{}", place.path().display()).parse().unwrap()),
        retries: 1,
        price: Price {
            input: 1.0,
            output: 2.0,
        },
        ..ServerSection::default()
    }
}

fn ask(model: &mut ServerModel) -> Result<Verdict, Fault> {
    let verdict = model.verify(&seen(0, b"\xff\xd8jpeg", Some("a dog runs")));
    verdict.map(|verdict| verdict.expect("there was something to be seen"))
}

fn used(model: &ServerModel) -> ServerUse {
    model.server().unwrap().now()
}

#[test]
fn what_passes_is_tried_again_and_as_late_as_the_server_asks() {
    let server = Scripted::replying([
        wait(429, 1),
        say(500, "oops"),
        Reply::Close,
        completion("OK."),
    ]);
    let mut model = ServerModel::open(&ServerSection {
        retries: 3,
        ..section(&server.url)
    })
    .unwrap();
    let begun = Instant::now();
    let verdict = ask(&mut model).unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert!(verdict.confirmed);
    assert_eq!(
        (
            verdict.text.as_str(),
            verdict.accepted_tokens,
            verdict.confidence
        ),
        ("a dog runs", Some(3), 0.0)
    );
    let expected = ServerUse {
        requests: 4,
        retries: 3,
        failures: 0,
        input_tokens: 1000,
        output_tokens: 10,
        cost: 0.00102,
    };
    assert_eq!(used(&model), expected);
    let requests = server.requests();
    for part in [
        "POST /v1/chat/completions ",
        &format!("Bearer {KEY}"),
        "\"model\":\"tiny\"",
        "Asked: describe the picture",
        "A first answer: a dog runs",
        "data:image/jpeg;base64,/9hqcGVn",
    ] {
        assert!(
            requests.iter().all(|request| request.contains(part)),
            "{part}: {requests:?}"
        );
    }
}

#[test]
fn the_rule_goes_by_what_was_shown() {
    let server = Scripted::replying([completion("The dog runs!")]);
    let mut model = ServerModel::open(&section(&server.url)).unwrap();
    assert!(ask(&mut model).unwrap().confirmed);
    server.reply(completion("\"A cat sleeps.\""));
    let verdict = ask(&mut model).unwrap();
    assert_eq!(
        (
            verdict.confirmed,
            verdict.text.as_str(),
            verdict.tokens,
            verdict.accepted_tokens
        ),
        (false, "A cat sleeps.", 10, Some(0))
    );
    let mut unseen = ServerModel::open(&ServerSection {
        draft: String::new(),
        ..section(&server.url)
    })
    .unwrap();
    server.reply(completion("OK"));
    assert!(!ask(&mut unseen).unwrap().confirmed);
    assert!(!server.requests().last().unwrap().contains("a dog runs"));
}

#[test]
fn what_still_fails_is_a_passing_fault() {
    for (reply, tries, word) in [
        (wait(429, 0), 2, "it asks to wait 0 s"),
        // Not while a window waits.
        (wait(429, 3600), 1, "it asks to wait 3600 s"),
        (
            say(500, r#"{"error":{"message":"out of\nmemory"}}"#),
            2,
            "500 Internal Server Error: out of memory",
        ),
        (say(502, ""), 2, "502"),
        (say(503, "<html>"), 2, "503"),
        (say(504, ""), 2, "504"),
        (Reply::Cut(r#"{"choices":["#.to_owned()), 2, "broke off"),
        (Reply::Close, 2, "is it running"),
        (Reply::Silence, 2, "server.timeout_s"),
    ] {
        let server = Scripted::replying([reply.clone()]);
        let mut model = ServerModel::open(&ServerSection {
            timeout_s: 0.5,
            ..section(&server.url)
        })
        .unwrap();
        let Fault::Passing(reason) = ask(&mut model).unwrap_err() else {
            panic!("{reply:?} is taken for hopeless")
        };
        assert!(
            reason.contains(word) && reason.contains(&server.url),
            "{reason}"
        );
        let used = used(&model);
        assert_eq!(
            (used.requests, used.retries, used.failures),
            (tries, tries - 1, 1),
            "{reply:?}"
        );
        assert_eq!(server.requests().len() as u64, tries, "{reply:?}");
    }
}

#[test]
fn what_would_fail_again_is_hopeless() {
    let long = completion(&"x".repeat(2 << 20));
    for (reply, tries, word) in [
        (
            say(400, r#"{"error":{"message":"too many tokens"}}"#),
            1,
            "too many tokens",
        ),
        (say(413, ""), 1, "413"),
        (say(422, ""), 1, "422"),
        (say(200, "<html>"), 2, "not a chat completion"),
        (say(200, "{}"), 2, "not a chat completion"),
        (completion(" "), 2, "empty"),
        (long, 2, "longer than 1048576 bytes"),
    ] {
        let server = Scripted::replying([reply]);
        let mut model = ServerModel::open(&section(&server.url)).unwrap();
        let Fault::Hopeless(reason) = ask(&mut model).unwrap_err() else {
            panic!("{word}: taken for passing")
        };
        assert!(
            reason.contains(word) && reason.contains(&server.url),
            "{reason}"
        );
        assert!(reason.len() < 600, "{reason}");
        assert_eq!(used(&model).requests, tries, "{reason}");
    }
    let server = Scripted::replying([completion("OK")]);
    let mut model = ServerModel::open(&section(&server.url)).unwrap();
    let Fault::Hopeless(reason) = model.verify(&window(0)).unwrap_err() else {
        panic!("a window without a keyframe is tried again")
    };
    assert!(reason.contains("payload = \"keyframes\""), "{reason}");
    assert_eq!((used(&model).requests, server.requests().len()), (0, 0));
}

#[test]
fn what_is_to_be_mended_says_how_and_the_key_is_in_no_error_and_no_log() {
    let log = captured();
    let echo = format!(r#"{{"error":{{"message":"no such key: {KEY}"}}}}"#);
    for (reply, word) in [
        // Of one window: the list of models is still given for the key.
        (say(403, echo.clone()), "(server.api_key)"),
        (say(404, echo.clone()), "server.model (`tiny`)"),
        (say(500, echo.clone()), "no such key: (the key)"),
        (say(301, ""), "server.url"),
    ] {
        let server = Scripted::replying([reply]);
        let section = section(&server.url);
        let mut model = ServerModel::open(&section).unwrap();
        let Fault::Passing(reason) = ask(&mut model).unwrap_err() else {
            panic!("a window is lost for what can be mended")
        };
        assert!(reason.contains(word), "{reason}");
        assert!(
            !reason.contains(KEY) && !format!("{model:?}").contains(KEY),
            "{reason}"
        );
    }
    let server = Scripted::start(say(401, echo), |_| completion("OK"));
    let error = ServerModel::open(&section(&server.url)).unwrap_err();
    assert!(matches!(error, Error::Server(_)));
    let error = format!("{error} {error:?}");
    assert!(error.contains("file:") && !error.contains(KEY), "{error}");
    let keyless = ServerSection {
        api_key: None,
        ..section(&server.url)
    };
    let error = ServerModel::open(&keyless).unwrap_err().to_string();
    assert!(error.contains("set server.api_key"), "{error}");

    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("tried again") && log.contains("ureq"),
        "nothing was logged"
    );
    assert!(!log.contains(KEY), "the key is in the log");
}

#[test]
fn a_key_that_is_refused_while_it_works_stops_the_worker() {
    let list = models("tiny");
    for (status, list) in [(401, list), (403, say(403, "")), (403, say(401, ""))] {
        let server = Scripted::replying([say(status, "")]);
        let mut model = ServerModel::open(&section(&server.url)).unwrap();
        server.list(list);
        let Fault::Stopping(reason) = ask(&mut model).unwrap_err() else {
            panic!("other windows would fail in the same way")
        };
        assert!(
            reason.contains("(server.api_key)") && !reason.contains(KEY),
            "{reason}"
        );
        assert_eq!(used(&model).requests, 1);
    }
}

#[test]
fn a_server_without_a_list_of_models_is_taken_and_one_that_is_away_is_not() {
    for models in [
        say(404, ""),
        say(405, ""),
        say(200, "<html>"),
        models("another"),
    ] {
        let server = Scripted::start(models, |_| completion("OK"));
        let mut model = ServerModel::open(&section(&server.url)).unwrap();
        assert!(ask(&mut model).unwrap().confirmed);
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{nobody}/v1");
    let error = ServerModel::open(&section(&url)).unwrap_err().to_string();
    assert!(
        error.contains(&url) && error.contains("is it running"),
        "{error}"
    );
}

#[test]
fn a_server_over_https_is_trusted_by_its_authority_alone() {
    let plain = Scripted::replying([completion("OK")]);
    let folder = tempfile::tempdir().unwrap();
    let (ca, other) = (
        folder.path().join("ca.pem"),
        folder.path().join("other.pem"),
    );
    let address = https::in_front_of(plain.address, "127.0.0.1", &ca);
    let elsewhere = https::in_front_of(plain.address, "models.example", &other);
    let open = |address: SocketAddr, tls_ca: Option<&Path>| {
        ServerModel::open(&ServerSection {
            tls_ca: tls_ca.map(Path::to_owned),
            ..section(&format!("https://{address}/v1"))
        })
    };
    let mut model = open(address, Some(&ca)).unwrap();
    assert!(ask(&mut model).unwrap().confirmed);
    assert!(plain.requests()[0].contains(&format!("Bearer {KEY}")));
    // Nobody's authority, another's, and a certificate of another host.
    for (address, tls_ca) in [
        (address, None),
        (address, Some(&*other)),
        (elsewhere, Some(&*other)),
    ] {
        let error = open(address, tls_ca).unwrap_err().to_string();
        assert!(
            error.contains("invalid peer certificate") && error.contains("set server.tls_ca"),
            "{error}"
        );
    }
    assert_eq!(plain.requests().len(), 1);
}

/// Judges windows together, and says in which order they were told.
fn judged(model: &mut ServerModel, windows: Vec<FeatureWindow>) -> Vec<(usize, Judged)> {
    let mut told = Vec::new();
    model.verify_each(windows, &mut |index, judged| told.push((index, judged)));
    told
}

#[test]
fn windows_are_asked_about_at_once() {
    const AT_ONCE: usize = 3;
    // Nobody is answered before all are there.
    let all = Arc::new(Barrier::new(AT_ONCE));
    let server = Scripted::start(models("tiny"), move |_| {
        all.wait();
        completion("OK")
    });
    let section = ServerSection {
        concurrency: AT_ONCE,
        timeout_s: 30.0,
        ..section(&server.url)
    };
    let mut model = ServerModel::open(&section).unwrap();
    let windows: Vec<_> = (0..2 * AT_ONCE as u64)
        .map(|seq| seen(seq, b"jpeg", Some("a dog runs")))
        .collect();
    let told = judged(&mut model, windows.clone());
    for (place, (index, (window, verdict))) in told.iter().enumerate() {
        assert_eq!((*index, window), (place, &windows[place]));
        assert!(matches!(verdict, Ok(Some(verdict)) if verdict.confirmed));
    }
    let used = used(&model);
    assert_eq!((told.len(), used.requests, used.retries), (6, 6, 0));
}

#[test]
fn each_is_told_when_it_is_there_but_those_of_a_rig_in_their_order() {
    // The first window is answered when the other rig's have been told.
    let (tells, told) = mpsc::channel();
    let told = Mutex::new(told);
    let server = Scripted::start(models("tiny"), move |question| {
        if question.contains("a slow dog") {
            let told = told.lock().unwrap();
            (0..2).for_each(|_| told.recv_timeout(Duration::from_secs(30)).unwrap());
        }
        completion("OK")
    });
    let section = ServerSection {
        concurrency: 4,
        ..section(&server.url)
    };
    let mut model = ServerModel::open(&section).unwrap();
    let window = |rig: &str, seq, draft| {
        let mut window = seen(seq, b"jpeg", Some(draft));
        window.id.rig = rig.parse().unwrap();
        window
    };
    let windows = vec![
        window("car", 0, "a slow dog"),
        window("car", 1, "a dog"),
        window("van", 0, "a dog"),
        window("van", 1, "a dog"),
    ];
    let mut order = Vec::new();
    model.verify_each(windows, &mut |index, _| {
        order.push(index);
        let _ = tells.send(());
    });
    assert_eq!(order, [2, 3, 0, 1]);
}

/// All that this process logs from now on, of HTTP too.
fn captured() -> Arc<Mutex<Vec<u8>>> {
    #[derive(Clone)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = Log(Arc::default());
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    log.0
}
