//! libFuzzer with the target `index_files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("index_files").expect("a target"))(
    bytes
));
