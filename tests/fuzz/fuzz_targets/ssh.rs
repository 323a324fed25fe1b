//! libFuzzer with the target `ssh`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("ssh").expect("a target"))(bytes));
