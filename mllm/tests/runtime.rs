//! ONNX Runtime that is not there, or is something else: an error with the mend, and another try may succeed.

#![allow(clippy::unwrap_used)]

mod common;

use mllm::{CaptionModel, Error, runtime};

#[test]
fn a_missing_library_is_an_error_and_then_a_right_one_loads() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("libonnxruntime.so");
    std::fs::write(&text, "no library").unwrap();
    // A shared library, but not ONNX Runtime.
    let other = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libc = other
        .split_whitespace()
        .find(|word| word.contains("/libc.so"))
        .unwrap();

    for library in [&folder.path().join("absent.so"), &text, &libc.into()] {
        let error = runtime::init(Some(library)).unwrap_err();
        assert!(matches!(error, Error::Runtime { .. }));
        let message = error.to_string();
        assert!(message.contains(&*library.to_string_lossy()), "{message}");
        assert!(message.contains("ORT_DYLIB_PATH"), "{message}");
    }

    let runtime = runtime::init(Some(&common::library())).unwrap();
    assert_eq!(runtime.library(), common::library());
    assert!(!runtime.build_info().is_empty());
    let again = runtime::init(Some(&text)).unwrap();
    assert_eq!(again.library(), common::library(), "what is loaded stays");
    assert_eq!(
        (runtime::running(), runtime::providers()),
        (vec![], "none".to_owned())
    );
    let folder = common::model("msao-edge");
    let model = CaptionModel::load(&folder, mllm::Provider::Cpu).unwrap();
    let running = runtime::running();
    assert!(
        running
            .iter()
            .any(|running| running.network == folder.join("decoder_model_merged.onnx"))
    );
    assert!(
        running
            .iter()
            .all(|running| running.provider == mllm::Provider::Cpu)
    );
    assert_eq!(runtime::providers(), "cpu");
    drop(model);
    assert_eq!(runtime::running(), []);
}
