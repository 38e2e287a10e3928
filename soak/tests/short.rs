//! One short seed with all kinds of faults.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

#[test]
fn what_was_acknowledged_outlives_faults_of_all_kinds() {
    let output = Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["run", "--seed", "1", "--seconds", "8", "--verbose"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
    assert!(text.contains("1 of 1 seeds passed"));
}
