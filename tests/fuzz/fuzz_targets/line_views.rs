//! libFuzzer with the target `line_views`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("line_views").expect("a target"))(
    bytes
));
