//! The willing-peer suite of the rings, on every ring format and set of features.

fn main() -> std::process::ExitCode {
    #[cfg(loom)]
    return std::process::ExitCode::SUCCESS;
    #[cfg(not(loom))]
    sidecore_lab::suites::run(sidecore_lab::suites::ring::RINGS, sidecore_lab::suites::ring::CASES)
}
