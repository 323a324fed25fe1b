//! libFuzzer with the target `messages`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("messages").expect("a target"))(
    bytes
));
