//! libFuzzer with the target `windows`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("windows").expect("a target"))(
    bytes
));
