//! The page of `msao dash` in a browser.

use std::sync::Arc;

use broker::test_server::TestServer;

use crate::browser::{Browser, ENTER, ESCAPE, TAB};
use crate::common::{media, msao};
use crate::dash_scene::{Dash, Scene};
use crate::process::Process;

/// The row of the window `seq` of the rig `street`.
fn row(seq: u64) -> String {
    format!(
        "[...document.querySelectorAll('.captions li')].find((row) => row.dataset.id.endsWith('/{seq}'))"
    )
}

/// Waits in a thread where that holds up nothing else.
fn until(browser: &Browser, script: &str) -> serde_json::Value {
    tokio::task::block_in_place(|| browser.until(script))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draft_turns_into_its_correction_and_its_detail_opens_by_keyboard() {
    let server = TestServer::start();
    let scene = Arc::new(Scene::open(&server).await);
    let dash = Dash::start(&server, &[]);
    let browser = Browser::open(1440, 900);
    browser.go(&dash.address);
    until(&browser, "return !document.getElementById('empty').hidden");

    let window = scene
        .draft("street", 7, "two people walk on the street")
        .await;
    let alive = scene.alive("street", &["video_0", "audio_0"], 12);
    let row = row(7);
    until(
        &browser,
        &format!("return {row}?.innerText.includes('two people walk on the street')"),
    );
    // Nobody stores it, so not before captions come: then pictures do, too.
    scene.preview("street", "video_0", 200, 0).await;
    until(
        &browser,
        &format!("return {row}?.querySelector('.verdict').innerText.includes('draft')"),
    );
    scene
        .answer(&window, "three people walk across the street", 4)
        .await;
    until(
        &browser,
        &format!("return {row}?.querySelector('.verdict').innerText.includes('corrected')"),
    );
    let marked = |tag: &str| {
        browser.run(&format!("return [...{row}.querySelectorAll('{tag}')].map((part) => part.lastChild.data).join('|')"))
    };
    assert_eq!(marked("del"), "two|on");
    assert_eq!(marked("ins"), "three|across");
    let times = browser.run(&format!("return {row}.querySelector('.times').innerText"));
    let times = times.as_str().unwrap();
    assert!(
        times.starts_with("draft 13 ms → final ") && times.ends_with(", 4 of 6 tokens accepted"),
        "{times}"
    );
    // It is read out, too.
    until(
        &browser,
        "return document.getElementById('announcer').textContent.includes('street, corrected: three people')",
    );

    // What was saved, decided and heard.
    until(
        &browser,
        "return document.querySelector('.saved')?.innerText.includes('80\\u00a0%')",
    );
    until(
        &browser,
        "return document.querySelector('.decisions').innerText.includes('verify')",
    );
    until(
        &browser,
        "return document.querySelector('.rig .state').innerText.includes('running on CPU')",
    );
    until(
        &browser,
        "return document.getElementById('workers').innerText.includes('41.5 windows/s')",
    );
    // The picture: worth sending on the left, darkened on the right.
    let at = |x: u32| {
        format!(
            "const c = document.querySelector('.stream canvas'); if (c.hidden) return null; return [...c.getContext('2d').getImageData({x}, 100, 1, 1).data]"
        )
    };
    let shade = |x| until(&browser, &at(x))[0].as_u64().unwrap();
    assert!(
        shade(80) > 180 && shade(240) < 110,
        "{} {}",
        shade(80),
        shade(240)
    );
    browser.run("document.getElementById('grid').click()");
    assert!(shade(240) > 180, "without the grid it is the picture");

    // By keyboard to the window, into its detail, and back.
    browser.run("document.activeElement.blur()");
    for _ in 0..30 {
        browser.press(TAB);
        if browser.run("return document.activeElement.closest('.captions li') != null") == true {
            break;
        }
    }
    assert_eq!(
        browser.run(&format!(
            "return document.activeElement.parentElement === {row}"
        )),
        true
    );
    browser.press(ENTER);
    until(
        &browser,
        "return document.getElementById('detail').open && document.querySelector('#detail-body .mas') != null",
    );
    let detail = browser.run("return document.getElementById('detail').innerText");
    let detail = detail.as_str().unwrap();
    for part in [
        "street, window 7",
        "The cloud accepted 4 of 6 tokens of the draft.",
        "audio_0",
        "0.40",
        "Verify with 49 tokens, the cheapest of what is possible.",
        "Confidence 0.74 gives risk 0.310, limit 0.120.",
        "the risk is above the limit",
        "full-model",
        "2.5 ms",
    ] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    browser.press(ESCAPE);
    until(&browser, "return !document.getElementById('detail').open");
    assert_eq!(
        browser.run(&format!(
            "return document.activeElement.parentElement === {row}"
        )),
        true
    );
    alive.abort();
    assert_eq!(browser.faults(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_from_the_wire_is_text() {
    let server = TestServer::start();
    let scene = Scene::open(&server).await;
    let dash = Dash::start(&server, &[]);
    let browser = Browser::open(1440, 900);
    browser.go(&dash.address);
    let hostile = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script> \u{202e}&amp; </li>";
    let window = scene.draft("street", 0, hostile).await;
    scene
        .answer(&window, &format!("{hostile} <b>and more</b>"), 1)
        .await;
    let row = row(0);
    until(
        &browser,
        &format!("return {row}?.querySelector('ins') != null"),
    );
    let words = browser.run(&format!("return {row}.querySelector('.words').textContent"));
    assert!(words.as_str().unwrap().contains("<img src=x"), "{words}");
    browser.run(&format!("{row}.firstElementChild.click()"));
    until(
        &browser,
        "return document.querySelector('#detail-body .said-one') != null",
    );
    let made = "return document.querySelectorAll('main img, main script, main b, #detail img, #detail script').length";
    assert_eq!(browser.run(made), 0);
    assert_eq!(browser.run("return document.title"), "MSAO");
    assert_eq!(browser.faults(), [""; 0]);
    // And if a script forgot it, the page's policy would refuse.
    let error = browser
        .try_run("document.body.innerHTML = '<p>'")
        .unwrap_err();
    assert!(error.contains("TrustedHTML"), "{error}");
    assert!(!browser.faults().is_empty(), "faults are seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_after_a_restart_of_nats_and_of_the_program() {
    let mut server = TestServer::start();
    let scene = Scene::open(&server).await;
    let dash = Dash::start(&server, &[]);
    let browser = Browser::open(1440, 900);
    browser.go(&dash.address);
    scene.draft("street", 0, "before it").await;
    until(
        &browser,
        "return document.querySelector('.captions')?.innerText.includes('before it')",
    );
    server.kill();
    until(
        &browser,
        "const b = document.getElementById('banner'); return !b.hidden && b.innerText.includes('is not connected')",
    );
    server.restart();
    until(&browser, "return document.getElementById('banner').hidden");
    scene.draft("street", 1, "after it").await;
    until(
        &browser,
        "return document.querySelector('.captions').innerText.includes('after it')",
    );
    assert_eq!(
        browser.run("return document.querySelectorAll('.captions li').length"),
        2
    );
    assert_eq!(browser.faults(), [""; 0]);

    // Paused, it takes in what comes, and shows it later.
    browser.run("document.getElementById('pause').click()");
    scene.draft("street", 2, "while it is paused").await;
    until(
        &browser,
        "return document.getElementById('pause').innerText.includes('1 new')",
    );
    assert_eq!(
        browser.run("return document.querySelectorAll('.captions li').length"),
        2
    );
    browser.run("document.getElementById('pause').click()");
    assert_eq!(
        browser.run("return document.querySelectorAll('.captions li').length"),
        3
    );
    assert_eq!(browser.faults(), [""; 0]);

    let listen = dash.host().to_owned();
    drop(dash);
    until(
        &browser,
        "const b = document.getElementById('banner'); return !b.hidden && b.innerText.includes('does not answer')",
    );
    scene.draft("street", 3, "meanwhile").await;
    let dash = Dash::start(&server, &["--listen", &listen]);
    until(&browser, "return document.getElementById('banner').hidden");
    until(
        &browser,
        "return document.querySelector('.captions').innerText.includes('meanwhile')",
    );
    assert_eq!(
        browser.run("return document.querySelectorAll('.captions li').length"),
        4
    );

    drop(dash);
    let dash = Dash::start(&server, &["--listen", &listen, "--page-token", "env:PAGE"]);
    until(
        &browser,
        "const b = document.getElementById('banner'); return !b.hidden && b.innerText.includes('another token')",
    );
    browser.go(&dash.address);
    until(
        &browser,
        "return document.querySelector('.captions')?.innerText.includes('meanwhile')",
    );
    assert_eq!(browser.run("return location.search"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_streams_are_shown_and_none_falls_behind() {
    const RIGS: [&str; 4] = ["car-1", "car-2", "line-a", "street"];
    const CAMERAS: [&str; 4] = ["video_0", "video_1", "video_2", "video_3"];
    let server = TestServer::start();
    let scene = Scene::open(&server).await;
    let dash = Dash::start(&server, &[]);
    let browser = Browser::open(1440, 900);
    browser.go(&dash.address);
    // Twenty seconds of such a site, as fast as they can be published; each camera two pictures a second.
    for second in 0..20_u64 {
        for rig in RIGS {
            scene.edge(rig, &CAMERAS, second + 1).await;
            for camera in CAMERAS {
                for half in 0..2 {
                    scene
                        .preview(rig, camera, (10 * second + half) as u8, 20_000)
                        .await;
                }
            }
            let window = scene.draft(rig, second, "a draft of this second").await;
            scene
                .answer(&window, &format!("the word on second {second}"), 2)
                .await;
        }
        scene.worker(4 * second).await;
    }
    for rig in RIGS {
        let rows = format!("document.querySelector('[aria-labelledby=rig-{rig}] .captions')");
        let newest = format!(
            "return {rows}?.querySelector('li[data-id$=\"/19\"]:first-child .corrected') != null"
        );
        until(&browser, &newest);
        assert_eq!(browser.run(&format!("return {rows}.children.length")), 20);
    }
    // The last picture of each, of shade 191, on its left half.
    let pictures = "return [...document.querySelectorAll('.stream canvas')].filter((c) => !c.hidden && Math.abs(c.getContext('2d').getImageData(80, 100, 1, 1).data[0] - 191) < 6).length";
    until(&browser, &format!("{pictures} === 16"));
    assert_eq!(browser.faults(), [""; 0]);
    // Nothing is wider than a phone.
    let phone =
        serde_json::json!({ "width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true });
    browser.devtools("Emulation.setDeviceMetricsOverride", &phone);
    until(
        &browser,
        "return innerWidth <= 390 && document.documentElement.scrollWidth <= 390",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_names_its_page_which_shows_its_camera_live() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = msao(folder.path());
    demo.args(["demo", "--video"]).arg(media("vtest.avi"));
    let demo = Process::start(demo);
    let named = "watch it in a browser: ";
    let line = demo.line(named);
    let browser = Browser::open(1440, 900);
    browser.go(line.strip_prefix(named).unwrap());
    until(
        &browser,
        "return document.querySelector('.verdict.confirmed, .verdict.corrected') != null",
    );
    until(
        &browser,
        "const c = document.querySelector('.stream canvas'); return c && !c.hidden && c.getAttribute('aria-label').startsWith('Camera video_0: MAS 0.')",
    );
    until(
        &browser,
        "return document.querySelector('.saved td strong')?.innerText.endsWith('%')",
    );
    until(
        &browser,
        "return document.getElementById('workers').innerText.startsWith('demo ')",
    );
    assert_eq!(browser.faults(), [""; 0]);
    demo.stop("-INT");
}
