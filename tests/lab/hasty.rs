//! The program `abide`, built with a clock that the soak can speed up (see `src/system/clock/simulated.rs`).

fn main() -> std::process::ExitCode {
    abide::system::clock::simulated::begin();
    abide::cli::run(std::env::args_os())
}
