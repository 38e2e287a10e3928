//! Standard output, which the reader may close at any time (`msao watch | head`).

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Prints a line; styles in it are left out where they are not shown.
///
/// # Errors
/// Standard output is closed or cannot be written.
pub fn line(text: impl Display) -> io::Result<()> {
    writeln!(anstream::stdout().lock(), "{text}")
}

/// `text` of others without what a terminal would act on.
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Whether `error` is only that the reader of standard output has gone.
pub fn reader_has_gone(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
