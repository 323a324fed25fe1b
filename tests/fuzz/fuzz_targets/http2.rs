//! libFuzzer with the target `http2`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("http2").expect("a target"))(
    bytes
));
