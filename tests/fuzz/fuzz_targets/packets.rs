//! libFuzzer with the target `packets`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("packets").expect("a target"))(
    bytes
));
