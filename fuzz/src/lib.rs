//! Fuzz targets: whatever the bytes from outside are, nothing panics, memory stays in proportion to them, errors are
//! short, and what is read can be written and read again as the same.
//!
//! The functions of [`targets`] are the targets' bodies: `fuzz_targets/` gives them what libFuzzer makes up, and
//! `tests/replay.rs` the files of `corpus/`.

pub mod targets;

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Longest error, in bytes.
const LONGEST_ERROR: usize = 2_000;
/// Memory that is allowed for each byte of a message.
const EACH: usize = 64;

/// Gives the bytes to the target of this name, and returns whether they were read.
///
/// # Panics
/// There is no such target; or it panics, takes more memory than it may, or its error is long.
pub fn run(name: &str, bytes: &[u8]) -> bool {
    let target = targets::ALL.iter().find(|target| target.name == name);
    let target = target.expect("targets::ALL names all");
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let outcome = (target.body)(bytes);
    let taken = MEMORY.peak_usage().saturating_sub(before);
    let allowed = target.memory + EACH * bytes.len();
    let len = bytes.len();
    assert!(
        taken <= allowed,
        "{len} bytes took {taken} of memory, more than {allowed}"
    );
    if let Err(error) = &outcome {
        let len = error.len();
        assert!(len <= LONGEST_ERROR, "an error of {len} bytes: {error}");
    }
    outcome.is_ok()
}
