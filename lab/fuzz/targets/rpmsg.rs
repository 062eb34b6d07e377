#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sidecore_lab::fuzz::rpmsg(bytes));
