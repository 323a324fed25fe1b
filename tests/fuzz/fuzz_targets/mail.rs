//! libFuzzer with the target `mail`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("mail").expect("a target"))(
    bytes
));
