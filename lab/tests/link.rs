//! The willing-peer suite of the links, on every link and what wraps one.

fn main() -> std::process::ExitCode {
    #[cfg(loom)]
    return std::process::ExitCode::SUCCESS;
    #[cfg(not(loom))]
    sidecore_lab::suites::run(sidecore_lab::suites::link::LINKS, sidecore_lab::suites::link::CASES)
}
