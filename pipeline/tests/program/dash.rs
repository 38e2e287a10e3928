//! The server of `msao dash`: who may look, what a viewer gets, and that a slow one harms nobody.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use broker::connect::AtStart;
use broker::test_server::TestServer;
use broker::{ConnectConfig, Connection};
use serde_json::Value;

use crate::common::root;
use crate::dash_scene::{Dash, Scene};

/// An answer of the server, read to its end or event by event.
struct Answer {
    status: u16,
    headers: String,
    body: BufReader<TcpStream>,
}

fn get(host: &str, path: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(host).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    // Of version 1.0, so that the body comes as it is, to the end of the connection.
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {host}\r\n{headers}\r\n"
    )
    .unwrap();
    let mut body = BufReader::new(stream);
    let mut headers = String::new();
    while !headers.ends_with("\r\n\r\n") {
        assert_ne!(body.read_line(&mut headers).unwrap(), 0, "{headers}");
    }
    Answer {
        status: headers.split(' ').nth(1).unwrap().parse().unwrap(),
        headers: headers.to_lowercase(),
        body,
    }
}

impl Answer {
    fn text(mut self) -> String {
        let mut text = String::new();
        self.body.read_to_string(&mut text).unwrap();
        text
    }

    /// The next event: its id, kind and data.
    fn event(&mut self) -> (String, String, Value) {
        let (mut id, mut kind, mut data) = (String::new(), String::new(), Value::Null);
        loop {
            let mut line = String::new();
            assert_ne!(
                self.body.read_line(&mut line).unwrap(),
                0,
                "the events ended"
            );
            match line.trim_end().split_once(": ") {
                Some(("id", value)) => id = value.to_owned(),
                Some(("event", value)) => kind = value.to_owned(),
                Some(("data", value)) => data = serde_json::from_str(value).unwrap(),
                _ if kind.is_empty() => {}
                _ => return (id, kind, data),
            }
        }
    }

    /// Events up to the first of `kind` for which `is` holds; returns its id and data.
    fn until(&mut self, kind: &str, is: impl Fn(&Value) -> bool) -> (String, Value) {
        loop {
            let (id, found, data) = self.event();
            if found == kind && is(&data) {
                return (id, data);
            }
        }
    }
}

fn draft_of(window: &Value) -> &str {
    window["draft"]["text"].as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_late_sees_what_was_said_and_who_comes_back_what_it_missed() {
    let server = TestServer::start();
    let scene = Scene::open(&server).await;
    let window = scene.draft("street", 0, "two people walk").await;
    scene.answer(&window, "three people walk", 1).await;
    let dash = Dash::start(&server, &[]);
    let mut viewer = get(dash.host(), "/events", "");
    assert_eq!(viewer.status, 200);
    let answered = |window: &Value| {
        window["id"] == Value::String(format!("street/{}/0", window_epoch(window)))
            && window["last"]["text"] == "three people walk"
            && window["diff"].is_array()
    };
    // The program may still be reading what is stored: then it comes after the whole state.
    let (_, kind, state) = viewer.event();
    assert_eq!(kind, "snapshot");
    let there = |state: &Value| {
        let rigs = state["rigs"].as_array().unwrap();
        let windows = rigs
            .iter()
            .flat_map(|rig| rig["windows"].as_array().unwrap());
        windows.into_iter().any(answered)
    };
    if !there(&state) {
        viewer.until("window", |data| answered(&data["window"]));
    }
    // From here on all of it is in the first event.
    let (_, kind, state) = get(dash.host(), "/events", "").event();
    assert_eq!(kind, "snapshot");
    assert!(there(&state), "{state}");
    let window = &state["rigs"][0]["windows"][0];
    let changes: Vec<_> = window["diff"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| &part["change"])
        .collect();
    assert_eq!(changes, ["struck", "added", "same"], "{window}");

    scene.draft("street", 1, "seen").await;
    let (id, _) = viewer.until("window", |data| draft_of(&data["window"]) == "seen");
    drop(viewer);
    scene.draft("street", 2, "missed").await;
    get(dash.host(), "/events", "").until("snapshot", |_| true);
    let mut witness = get(dash.host(), "/events", "");
    let has = |state: &Value| state.to_string().contains("missed");
    let (_, state) = witness.until("snapshot", |_| true);
    if !has(&state) {
        witness.until("window", |data| draft_of(&data["window"]) == "missed");
    }
    let mut back = get(dash.host(), "/events", &format!("Last-Event-ID: {id}\r\n"));
    loop {
        let (_, kind, data) = back.event();
        assert_ne!(kind, "snapshot", "it is back within what is kept");
        if kind == "window" {
            assert_eq!(draft_of(&data["window"]), "missed");
            break;
        }
    }
}

fn window_epoch(window: &Value) -> String {
    let id = window["id"].as_str().unwrap();
    id.split('/').nth(1).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_viewer_misses_pictures_first_harms_nobody_and_gets_the_state_whole() {
    const PICTURES: usize = 400;
    let server = TestServer::start();
    let scene = Scene::open(&server).await;
    scene.draft("street", 0, "first").await;
    let dash = Dash::start(&server, &[]);
    let mut slow = get(dash.host(), "/events", "");
    slow.until("snapshot", |_| true);
    let mut fast = get(dash.host(), "/events", "");
    fast.until("snapshot", |_| true);
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        loop {
            let (_, kind, data) = fast.event();
            assert_ne!(kind, "snapshot", "who reads is not behind");
            if kind == "window" {
                said.push(data["window"]["id"].as_str().unwrap().to_owned());
                if draft_of(&data["window"]) == "the end" {
                    return said;
                }
            }
        }
    });
    // More than the system's buffers take: from here on the slow one waits.
    for shade in 0..PICTURES {
        scene
            .preview("street", "video_0", shade as u8, 100_000)
            .await;
    }
    scene.flush().await;
    for seq in 1..400 {
        scene.draft("street", seq, "and so on").await;
    }
    scene.draft("street", 400, "the end").await;
    let said = tokio::task::spawn_blocking(|| reader.join().unwrap())
        .await
        .unwrap();
    let mut distinct: Vec<_> = said.iter().filter(|id| !id.ends_with("/0")).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 400, "the fast one has them all");

    let mut pictures = 0;
    let state = loop {
        let (_, kind, data) = slow.event();
        match kind.as_str() {
            "preview" => pictures += 1,
            "snapshot" => break data,
            _ => {}
        }
    };
    assert!(
        pictures < PICTURES / 2,
        "{pictures} of {PICTURES} pictures waited"
    );
    let windows = state["rigs"][0]["windows"].as_array().unwrap();
    assert_eq!(draft_of(windows.last().unwrap()), "the end");
    // And then it is as any other.
    scene.draft("street", 401, "after it").await;
    slow.until("window", |data| draft_of(&data["window"]) == "after it");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nothing_is_given_and_with_it_a_cookie() {
    let server = TestServer::start();
    let dash = Dash::start(&server, &["--page-token", "env:PAGE"]);
    let host = dash.host();
    assert!(
        dash.address.ends_with("/?token=0123456789abcdef"),
        "{}",
        dash.address
    );
    for path in [
        "/",
        "/events",
        "/window?id=a/01ARZ3NDEKTSV4RRFFQ69G5FAV/0",
        "/main.js",
        "/?token=0123456789abcdeF",
    ] {
        let answer = get(host, path, "");
        assert_eq!(answer.status, 401, "{path}");
        assert!(!answer.text().contains("MSAO"), "{path}");
    }
    let answer = get(host, "/?token=0123456789abcdef", "");
    assert_eq!(answer.status, 303);
    assert!(
        answer.headers.contains("location: /\r\n"),
        "{}",
        answer.headers
    );
    let cookie = answer
        .headers
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .unwrap();
    assert!(
        cookie.contains("httponly") && cookie.contains("samesite=lax"),
        "{cookie}"
    );
    let session = cookie.split(';').next().unwrap();
    let with = format!("Cookie: other=1; {session}\r\n");
    for path in ["/", "/events", "/main.js"] {
        assert_eq!(get(host, path, &with).status, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_this_machine_a_token_is_made() {
    let server = TestServer::start();
    let dash = Dash::start(&server, &["--listen", "0.0.0.0:0"]);
    let token = dash
        .address
        .split_once("/?token=")
        .expect("a token is printed")
        .1;
    assert_eq!(token.len(), 32);
    assert_eq!(get(dash.host(), "/", "").status, 401);
    assert_eq!(
        get(dash.host(), &format!("/?token={token}"), "").status,
        303
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_is_held_to_what_the_page_needs() {
    let server = TestServer::start();
    let dash = Dash::start(&server, &[]);
    let host = dash.host();
    for path in ["/", "/dash.css", "/main.js", "/events", "/nothing"] {
        let answer = get(host, path, "");
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self';",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(
                answer.headers.contains(header),
                "{path}: {}",
                answer.headers
            );
        }
    }
    assert_eq!(
        get(host, "/events", "Sec-Fetch-Site: cross-site\r\n").status,
        403
    );
    assert_eq!(get(host, "/window?id=nonsense", "").status, 400);
    let unknown = "/window?id=street/01ARZ3NDEKTSV4RRFFQ69G5FAV/7";
    assert_eq!(get(host, unknown, "").status, 404);
    // A name that leads here and is another's.
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET / HTTP/1.0\r\nHost: evil.example\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 421"), "{answer}");
    // Nothing can be sent to it.
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "POST / HTTP/1.0\r\nHost: {host}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 405"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_a_reader_are_enough() {
    let text = std::fs::read_to_string(root().join("configs/nats/hub.conf")).unwrap();
    let text = text.replace("leafnodes { listen: 127.0.0.1:7422 }", "");
    let users = ["admin", "cloud", "reader", "street"];
    let text = users.iter().fold(text, |text, user| {
        text.replace(&format!("$MSAO_{}_PASSWORD", user.to_uppercase()), user)
    });
    let server = TestServer::with_whole_config(&text);
    let config = ConnectConfig {
        url: server.url(),
        user: Some("admin".to_owned()),
        password: Some(server.secret("admin")),
        ..ConnectConfig::default()
    };
    let admin = Connection::open(&config, AtStart::Fail).await.unwrap();
    let scene = Scene::over(admin);
    scene.draft("street", 0, "stored before").await;
    let dash = Dash::start(&server, &["--user", "reader", "--password", "env:READER"]);
    let mut viewer = get(dash.host(), "/events", "");
    let (_, state) = viewer.until("snapshot", |_| true);
    if !state.to_string().contains("stored before") {
        viewer.until("window", |data| {
            draft_of(&data["window"]) == "stored before"
        });
    }
    scene.draft("street", 1, "said now").await;
    viewer.until("window", |data| draft_of(&data["window"]) == "said now");
    scene.edge("street", &["video_0"], 3).await;
    viewer.until("rig", |data| data["edge"]["windows"] == 3);
    scene.worker(5).await;
    viewer.until("worker", |data| data["captioned"] == 5);
    scene.preview("street", "video_0", 90, 0).await;
    viewer.until("preview", |data| data["stream"] == "video_0");
    let (_, server) = viewer.until("server", |_| true);
    assert_eq!(server["problem"], Value::Null, "{server}");
}
