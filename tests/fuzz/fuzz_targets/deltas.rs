//! libFuzzer with the target `deltas`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("deltas").expect("a target"))(
    bytes
));
