//! libFuzzer with the target `lines`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("lines").expect("a target"))(
    bytes
));
