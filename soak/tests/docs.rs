//! The table of tests in the docs names tests that there are.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

#[test]
fn each_test_that_the_failure_table_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let section = docs.split("tests that carry its words:").nth(1).unwrap();
    let mut found = 0;
    for row in section.lines().filter(|line| line.starts_with('|')) {
        // In backticks: the file, then the tests in it.
        let mut file = None;
        for name in row.split('`').skip(1).step_by(2) {
            if name.ends_with(".rs") {
                file = Some(std::fs::read_to_string(root.join(name)).unwrap());
            } else {
                let file = file.as_ref().unwrap();
                assert!(file.contains(&format!("fn {name}()")), "{name}: {row}");
                found += 1;
            }
        }
    }
    assert!(found >= 15, "only {found} tests are named");
}
