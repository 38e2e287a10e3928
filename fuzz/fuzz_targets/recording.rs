//! The target `config` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    msao_fuzz::run("recording", bytes);
});
