//! The target `model_manifest` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    msao_fuzz::run("model_manifest", bytes);
});
