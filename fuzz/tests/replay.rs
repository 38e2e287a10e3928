//! The committed corpora, through every target.

#![allow(clippy::unwrap_used)]

use std::path::Path;

/// Of each corpus some files are read and some refused: otherwise it would say nothing of the one or the other.
#[test]
fn corpora_are_read_without_panic_in_bounded_memory() {
    for msao_fuzz::targets::Target { name, .. } in msao_fuzz::targets::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(name);
        let (mut read, mut refused) = (0, 0);
        for file in std::fs::read_dir(&folder).unwrap() {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            println!("{}", path.display());
            match msao_fuzz::run(name, &bytes) {
                true => read += 1,
                false => refused += 1,
            }
        }
        assert!(
            read > 0 && refused > 0,
            "{name}: {read} files are read, {refused} refused"
        );
    }
}
