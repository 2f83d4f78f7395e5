//! The `abide` program: parses arguments, runs one command, exits with its code.

fn main() -> std::process::ExitCode {
    abide::cli::run(std::env::args_os())
}
