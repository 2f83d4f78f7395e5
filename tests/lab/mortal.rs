//! The program `abide`, built so that it can be made to die (see `src/failpoint.rs`): what the durability suites put into hosts.

fn main() -> std::process::ExitCode {
    abide::cli::run(std::env::args_os())
}
