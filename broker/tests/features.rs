//! Feature windows on the wire: what is written is read; anything else is an error, never a panic.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashMap;

use arrow_array::RecordBatch;
use arrow_ipc::{
    MetadataVersion,
    reader::StreamReader,
    writer::{IpcWriteOptions, StreamWriter},
};
use broker::{
    DraftReport, FeatureWindow, Modality, ModalityReport, Token, WindowId, features::THINNED,
};
use bytes::Bytes;
use offload::Action;
use proptest::{collection::vec, option, prelude::*};
use ulid::Ulid;

#[test]
fn window_round_trips() {
    let window = common::window(3);
    assert_eq!(
        FeatureWindow::decode(&window.encode().unwrap()).unwrap(),
        window
    );
    let bare = FeatureWindow {
        draft: None,
        tokens: vec![],
        modalities: vec![],
        flags: vec![],
        ..window
    };
    assert_eq!(
        FeatureWindow::decode(&bare.encode().unwrap()).unwrap(),
        bare
    );
    let pictured = FeatureWindow {
        keyframe: Some(vec![0xff, 0xd8, 0xff]),
        ..bare
    };
    assert_eq!(
        FeatureWindow::decode(&pictured.encode().unwrap()).unwrap(),
        pictured
    );
}

/// `features/1.0` had neither keyframe nor plan.
#[test]
fn a_row_of_the_first_minor_is_read() {
    let bytes = common::window(3).encode().unwrap();
    let mut batches = StreamReader::try_new(&bytes[..], None).unwrap();
    let mut batch = batches.next().unwrap().unwrap();
    for later in ["keyframe", "plan"] {
        batch.remove_column(batch.schema().index_of(later).unwrap());
    }
    let metadata: HashMap<_, _> = [("msao.schema".to_owned(), "features/1.0".to_owned())].into();
    let schema = batch.schema().as_ref().clone().with_metadata(metadata);
    let batch = RecordBatch::try_new(schema.into(), batch.columns().to_vec()).unwrap();
    let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5).unwrap();
    let writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options);
    let mut writer = writer.unwrap();
    writer.write(&batch).unwrap();
    let old = writer.into_inner().unwrap();
    assert_eq!(FeatureWindow::decode(&old).unwrap(), common::window(3));
}

#[test]
fn framing_costs_less_than_six_kilobytes() {
    let window = FeatureWindow {
        tokens: vec![],
        ..common::window(3)
    };
    let bytes = window.encode().unwrap().len();
    assert!(bytes < 6_000, "{bytes}");
}

#[test]
fn invalid_windows_are_named() {
    let base = common::window(3);
    type Change = fn(&mut FeatureWindow);
    let changes: [(&str, Change); 11] = [
        ("mas is NaN", |w| w.modalities[0].mas = f32::NAN),
        ("rho is 1.5", |w| w.modalities[1].rho = 1.5),
        ("stream 'a b'", |w| {
            w.modalities[0].stream = "a b".to_owned()
        }),
        ("of 64 and of 3 channels", |w| {
            w.tokens[2].feature = vec![1, 2, 3].into()
        }),
        ("no report", |w| w.tokens[0].stream = "rear".into()),
        ("scale is -1", |w| w.tokens[0].scale = -1.0),
        ("5 log-probabilities for 6", |w| {
            w.draft.as_mut().unwrap().logprobs.truncate(5)
        }),
        ("4 tokens of 3 possible", |w| w.tokens_possible = 3),
        ("ends before it starts", |w| {
            w.end_utc_ns = w.start_utc_ns - 1
        }),
        ("keyframe is empty", |w| {
            (w.keyframe, w.tokens) = (Some(vec![]), vec![])
        }),
        ("keyframe has length 4194305", |w| {
            (w.keyframe, w.tokens) = (Some(vec![0; (4 << 20) + 1]), vec![])
        }),
    ];
    for (expected, change) in changes {
        let mut window = base.clone();
        change(&mut window);
        let error = window.encode().unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("car-7/"),
            "{expected}: {error}"
        );
    }
}

#[test]
fn a_keyframe_is_sent_in_place_of_video_tokens() {
    let mut window = common::window(0);
    assert!(!window.send_keyframe_alone());
    assert_eq!(window, common::window(0));
    window.keyframe = Some(vec![0xff, 0xd8]);
    assert!(window.send_keyframe_alone());
    assert!(!window.tokens.is_empty());
    assert!(window.tokens.iter().all(|t| t.modality != Modality::Video));
    assert!(!window.send_keyframe_alone());
}

#[test]
fn truncated_bytes_are_refused() {
    let bytes = common::window(3).encode().unwrap();
    for len in 0..bytes.len() {
        assert!(
            FeatureWindow::decode(&bytes[..len]).is_err(),
            "{len} of {} bytes",
            bytes.len()
        );
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(FeatureWindow::decode(&longer).is_err());
}

#[test]
fn other_major_is_refused_and_newer_minor_is_read() {
    let bytes = common::window(3).encode().unwrap();
    let with_version = |version: &[u8; 12]| {
        let at = bytes
            .windows(12)
            .position(|w| w == b"features/1.1")
            .unwrap();
        let mut changed = bytes.clone();
        changed[at..at + 12].copy_from_slice(version);
        FeatureWindow::decode(&changed)
    };
    assert_eq!(with_version(b"features/1.7").unwrap(), common::window(3));
    let error = with_version(b"features/2.0").unwrap_err().to_string();
    assert!(
        error.contains("'features/2.0'") && error.contains("features/1.x"),
        "{error}"
    );
}

#[test]
fn errors_on_hostile_text_are_short() {
    for bytes in [
        &b"not arrow at all, just text"[..],
        &[0xff; 64],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    ] {
        let error = FeatureWindow::decode(bytes).unwrap_err().to_string();
        assert!(
            error.contains("not a features message") && error.len() < 200,
            "{error}"
        );
    }
}

#[test]
fn thinning_drops_the_least_important_tokens_in_place() {
    let mut window = common::window(3);
    assert!(!window.thin(1 << 20).unwrap());
    assert_eq!(window, common::window(3));

    let full = window.encode().unwrap().len();
    assert!(window.thin(full - 1).unwrap());
    assert!(window.encode().unwrap().len() < full);
    assert_eq!(window.flags, ["frozen", THINNED]);
    let kept: Vec<u16> = window.tokens.iter().map(|token| token.x).collect();
    assert!(
        !kept.is_empty()
            && [3, 0, 5, 1]
                .iter()
                .filter(|x| kept.contains(x))
                .eq(kept.iter()),
        "{kept:?}"
    );
    assert!(kept.contains(&5) && !kept.contains(&0), "{kept:?}");

    let error = window.thin(100).unwrap_err().to_string();
    assert!(
        error.contains("max_payload") && !window.tokens.is_empty(),
        "{error}"
    );
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_-]{1,64}"
}

fn report() -> impl Strategy<Value = ModalityReport> {
    let modality = prop_oneof![
        Just(Modality::Video),
        Just(Modality::Audio),
        Just(Modality::Sensor)
    ];
    let share = || 0.0_f32..=1.0;
    (
        modality,
        name(),
        share(),
        share(),
        share(),
        share(),
        "\\PC{0,40}",
        "[0-9a-f]{64}",
    )
        .prop_map(
            |(modality, stream, rho, gamma, beta, mas, encoder, encoder_sha256)| ModalityReport {
                modality,
                stream,
                rho,
                gamma,
                beta,
                mas,
                encoder,
                encoder_sha256,
            },
        )
}

fn draft() -> impl Strategy<Value = DraftReport> {
    (
        ".{0,80}",
        vec((any::<u32>(), -50.0_f32..=0.0), 0..30),
        option::of(-50.0_f32..=0.0),
        0.0_f32..=1.0,
    )
        .prop_map(|(text, tokens, end, confidence)| {
            let (token_ids, mut logprobs): (Vec<u32>, Vec<f32>) = tokens.into_iter().unzip();
            logprobs.extend(end);
            DraftReport {
                text,
                token_ids,
                logprobs,
                confidence,
                model: "m".to_owned(),
            }
        })
}

/// Tokens of the streams at `reports`, which are given back beside them.
fn tokens(
    reports: Vec<ModalityReport>,
) -> impl Strategy<Value = (Vec<ModalityReport>, Vec<Token>)> {
    let most = if reports.is_empty() { 0 } else { 50 };
    (1_usize..40).prop_flat_map(move |channels| {
        let reports = reports.clone();
        vec(token(reports.clone(), channels), 0..=most)
            .prop_map(move |tokens| (reports.clone(), tokens))
    })
}

fn token(reports: Vec<ModalityReport>, channels: usize) -> impl Strategy<Value = Token> {
    let place = any::<(u16, u16, u16)>();
    let of = any::<prop::sample::Index>();
    let feature = vec(any::<i8>(), channels);
    (of, place, 0.0_f32..1e9, 0.0_f32..1e3, feature).prop_map(
        move |(of, (t, y, x), importance, scale, feature)| {
            let ModalityReport {
                modality, stream, ..
            } = of.get(&reports).clone();
            Token {
                modality,
                stream: stream.into(),
                t,
                y,
                x,
                importance,
                scale,
                feature: feature.into(),
            }
        },
    )
}

prop_compose! {
    fn windows()(
        (modalities, tokens) in vec(report(), 0..4).prop_flat_map(tokens),
        draft in option::of(draft()),
        rig in name(),
        (epoch, seq, start, running, spare) in any::<(u128, u64, i32, u32, u16)>(),
        action in prop::sample::select(Action::ALL.to_vec()),
        flags in vec(name(), 0..5),
        (prompt, plan) in (".{0,60}", option::of(".{0,60}")),
        (closed, drafted) in any::<(i64, i64)>(),
        jpeg in option::of(vec(any::<u8>(), 1..100)),
    ) -> FeatureWindow {
        FeatureWindow {
            id: WindowId { rig: rig.parse().unwrap(), epoch: Ulid::from(epoch), seq },
            start_utc_ns: i64::from(start),
            end_utc_ns: i64::from(start) + i64::from(spare),
            start_running_ns: u64::from(running),
            end_running_ns: u64::from(running) + u64::from(spare),
            prompt,
            decision: action,
            plan,
            tokens_possible: tokens.len() as u32 + u32::from(spare),
            modalities,
            draft,
            keyframe: jpeg.filter(|_| tokens.iter().all(|t| t.modality != Modality::Video)),
            tokens,
            frames_in: u32::from(spare),
            frames_kept: u32::from(spare) / 2,
            flags,
            closed_utc_ns: closed,
            drafted_utc_ns: drafted,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_window_round_trips(window in windows()) {
        prop_assert_eq!(FeatureWindow::decode(&window.encode().unwrap()).unwrap(), window);
    }

    /// A connection puts messages one after another, wherever that is.
    #[test]
    fn a_message_is_read_where_it_lies(window in windows(), before in 0_usize..16) {
        let message = [vec![7; before], window.encode().unwrap()].concat();
        let message = Bytes::from(message).slice(before..);
        let read = FeatureWindow::decode_shared(&message).unwrap();
        let place = message.as_ptr_range();
        prop_assert!(read.tokens.iter().all(|token| place.contains(&token.feature.as_ptr().cast())));
        prop_assert_eq!(read, window);
    }

    #[test]
    fn thinned_windows_fit(mut window in windows(), share in 0.0_f64..1.0) {
        let bare = FeatureWindow { tokens: vec![], flags: vec![THINNED.to_owned(); window.flags.len() + 1], ..window.clone() };
        let bare = bare.encode().unwrap().len() + 400;
        let max = bare + (window.encode().unwrap().len().saturating_sub(bare) as f64 * share) as usize;
        window.thin(max).unwrap();
        prop_assert!(window.encode().unwrap().len() <= max);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes back, it comes back as a valid window or as a short error.
    #[test]
    fn corrupted_bytes_never_panic(changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)) {
        let mut bytes = common::window(3).encode().unwrap();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        match FeatureWindow::decode(&bytes) {
            Ok(window) => prop_assert_eq!(FeatureWindow::decode(&window.encode().unwrap()).unwrap(), window),
            Err(error) => prop_assert!(error.to_string().len() < 1000),
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..512)) {
        prop_assert!(FeatureWindow::decode(&bytes).is_err());
    }

    /// Numbers in the header are where hostile lengths and offsets live.
    #[test]
    fn hostile_header_numbers_never_panic(
        at in any::<prop::sample::Index>(),
        value in prop::sample::select(vec![-1_i64, i64::MAX, i64::MIN, 1 << 31, 1 << 40, (1 << 61) + 1]),
    ) {
        let mut bytes = common::window(3).encode().unwrap();
        let at = at.index(bytes.len() / 8 - 1) * 8;
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        let _ = FeatureWindow::decode(&bytes);
    }
}
