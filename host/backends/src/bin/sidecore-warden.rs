//! Nothing but a warden and a boot stub: for tests, and for programs that cannot call the hook themselves.

fn main() {
    sidecore_backends::sandbox::hook();
    eprintln!("sidecore-warden is started by sidecore, never by hand");
    std::process::exit(2);
}
