//! libFuzzer with the target `line_formats`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("line_formats").expect("a target"))(
    bytes
));
