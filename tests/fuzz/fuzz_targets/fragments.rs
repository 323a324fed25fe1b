//! libFuzzer with the target `fragments`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("fragments").expect("a target"))(
    bytes
));
