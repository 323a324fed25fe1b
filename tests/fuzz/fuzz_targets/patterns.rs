//! libFuzzer with the target `patterns`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("patterns").expect("a target"))(
    bytes
));
