//! libFuzzer with the target `tls`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("tls").expect("a target"))(bytes));
