//! libFuzzer with the target `cuts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("cuts").expect("a target"))(
    bytes
));
