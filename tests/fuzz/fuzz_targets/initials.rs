//! libFuzzer with the target `initials`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("initials").expect("a target"))(
    bytes
));
