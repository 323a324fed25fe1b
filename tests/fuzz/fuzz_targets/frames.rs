//! libFuzzer with the target `frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("frames").expect("a target"))(
    bytes
));
