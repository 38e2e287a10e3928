//! The `msao` program.

fn main() -> std::process::ExitCode {
    pipeline::main()
}
