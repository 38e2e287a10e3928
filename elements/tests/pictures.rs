//! Frames that come as JPEG pictures: to `msaowindow` as keyframes, to `msaonatssink` as previews.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use broker::connect::AtStart;
use broker::test_server::{TestServer, reached};
use broker::{ConnectConfig, Connection, FeatureWindow, Preview, preview};
use common::*;
use futures::StreamExt;
use gst::prelude::*;

/// A pipeline that is stopped whatever becomes of the test.
struct Pipeline(gst::Pipeline);

impl std::ops::Deref for Pipeline {
    type Target = gst::Pipeline;

    fn deref(&self) -> &gst::Pipeline {
        &self.0
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}

fn pipeline(line: &str) -> Pipeline {
    init();
    let pipeline = gst::parse::launch(line).unwrap();
    let pipeline = Pipeline(pipeline.downcast::<gst::Pipeline>().unwrap());
    for name in ["mas", "window"] {
        if let Some(element) = pipeline.by_name(name) {
            element.set_property("model", model());
        }
    }
    pipeline
}

const BALL: &str = "videotestsrc num-buffers=40 pattern=ball ! \
    video/x-raw,format=I420,width=162,height=120,framerate=10/1 ! msaovideomas name=mas";

/// The error on the bus before the stream's end, if any.
fn end(pipeline: &Pipeline) -> Option<String> {
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let wanted = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus
        .timed_pop_filtered(gst::ClockTime::from_seconds(60), &wanted)
        .unwrap();
    match message.view() {
        gst::MessageView::Error(error) => Some(error.error().to_string()),
        _ => None,
    }
}

fn windows(between: &str) -> Vec<FeatureWindow> {
    let line = format!(
        "{BALL} ! msaogate ! {between} window.video_0 \
         msaowindow name=window ! appsink name=sink sync=false"
    );
    let pipeline = pipeline(&line);
    let sink = pipeline.by_name("sink").unwrap();
    let sink = sink.downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut windows = Vec::new();
    while let Ok(sample) = sink.pull_sample() {
        let buffer = sample.buffer_owned().unwrap();
        windows.push(FeatureWindow::decode(&buffer.map_readable().unwrap()).unwrap());
    }
    let bus = pipeline.bus().unwrap();
    let error = bus.pop_filtered(&[gst::MessageType::Error]);
    assert!(error.is_none(), "{error:?}");
    windows
}

/// Width, height and luma of a JPEG picture, by a decoder that is not ours.
fn decoded(jpeg: &[u8]) -> (i32, i32, Vec<u8>) {
    let line = "appsrc name=in caps=image/jpeg ! jpegdec ! videoconvert ! video/x-raw,format=GRAY8 ! appsink name=out";
    let pipeline = pipeline(line);
    let input = pipeline.by_name("in").unwrap();
    let input = input.downcast::<gst_app::AppSrc>().unwrap();
    let output = pipeline.by_name("out").unwrap();
    let output = output.downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    input
        .push_buffer(gst::Buffer::from_slice(jpeg.to_vec()))
        .unwrap();
    input.end_of_stream().unwrap();
    let sample = output.pull_sample().unwrap();
    let caps = sample.caps().unwrap().structure(0).unwrap();
    let size = |name| caps.get::<i32>(name).unwrap();
    let bytes = sample.buffer().unwrap().map_readable().unwrap().to_vec();
    (size("width"), size("height"), bytes)
}

#[test]
fn a_window_takes_the_picture_of_the_frame_that_stands_for_it() {
    assert!(windows("").iter().all(|window| window.keyframe.is_none()));
    let windows = windows("jpegenc quality=95 !");
    assert_eq!(windows.len(), 4);
    for window in &windows {
        let (width, height, luma) = decoded(window.keyframe.as_ref().unwrap());
        assert_eq!((width, height), (162, 120));
        // White on black: the ball is where the tokens are.
        let stride = luma.len() / height as usize;
        let bright = (0..height as usize)
            .flat_map(|y| (0..width as usize).map(move |x| (x, y)))
            .filter(|(x, y)| luma[y * stride + x] > 128)
            .collect::<Vec<_>>();
        assert!(!bright.is_empty());
        let mean =
            |of: fn(&(usize, usize)) -> usize| bright.iter().map(of).sum::<usize>() / bright.len();
        let cell = (mean(|p| p.0) * 7 / 162, mean(|p| p.1) * 7 / 120);
        let near = |token: &broker::Token| {
            usize::from(token.x).abs_diff(cell.0) <= 1 && usize::from(token.y).abs_diff(cell.1) <= 1
        };
        assert!(window.tokens.iter().any(near), "nothing sent at {cell:?}");
    }
}

#[test]
fn a_picture_too_large_for_the_wire_is_an_error_that_says_so() {
    let line = "videotestsrc num-buffers=3 pattern=snow ! \
        video/x-raw,format=I420,width=3000,height=3000,framerate=1/1 ! msaovideomas name=mas ! \
        jpegenc quality=100 ! window.video_0 msaowindow name=window ! fakesink";
    let error = end(&pipeline(line)).unwrap();
    assert!(
        error.contains("video_0") && error.contains("scale frames down"),
        "{error}"
    );
}

#[test]
fn previews_go_out_with_the_grid_of_their_frame() {
    let server = TestServer::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ConnectConfig {
        url: server.url(),
        ..ConnectConfig::default()
    };
    let (_connection, mut seen) = runtime.block_on(async {
        let connection = Connection::open(&config, AtStart::Fail).await.unwrap();
        let seen = preview::subscribe(&connection, None).await.unwrap();
        reached(&connection).await;
        (connection, Box::pin(seen))
    });
    let line = format!(
        "{BALL} ! jpegenc ! msaonatssink name=sink url={} rig=car-7 stream=front",
        server.url()
    );
    let pipeline = pipeline(&line);
    assert_eq!(end(&pipeline), None);
    let sink = pipeline.by_name("sink").unwrap();
    let next = async { tokio::time::timeout(Duration::from_secs(20), seen.next()).await };
    let first: Preview = runtime.block_on(next).unwrap().unwrap().unwrap();
    assert_eq!(
        (first.rig.as_str(), first.stream.as_str()),
        ("car-7", "front")
    );
    assert_eq!((first.rows, first.columns), (7, 7));
    let mean = first.importance.iter().map(|i| f32::from(*i)).sum::<f32>() / 49.0 / 255.0;
    assert!(
        (1.0 - mean - first.mas).abs() < 0.01,
        "{mean} {}",
        first.mas
    );
    assert_eq!(decoded(&first.jpeg).0, 162);
    assert!((1..=40).contains(&stats::<u64>(&sink, "previews")));
    assert_eq!(stats::<u64>(&sink, "windows"), 0);
}

#[test]
fn previews_without_a_rig_are_an_error_that_names_the_property() {
    let server = TestServer::start();
    let line = format!("{BALL} ! jpegenc ! msaonatssink url={}", server.url());
    let error = end(&pipeline(&line)).unwrap();
    assert!(error.contains("property rig"), "{error}");
}

#[test]
fn pictures_without_mas_are_not_shown_and_stop_nothing() {
    let server = TestServer::start();
    let line = format!(
        "videotestsrc num-buffers=5 ! jpegenc ! msaonatssink name=sink url={} rig=car-7",
        server.url()
    );
    let pipeline = pipeline(&line);
    assert_eq!(end(&pipeline), None);
    let sink = pipeline.by_name("sink").unwrap();
    assert_eq!(stats::<u64>(&sink, "previews"), 0);
}
