//! libFuzzer with the target `http`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("http").expect("a target"))(
    bytes
));
