//! libFuzzer with the target `ftp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("ftp").expect("a target"))(bytes));
