//! libFuzzer with the target `bundles`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (vedetta_tests::fuzzing::target("bundles").expect("a target"))(
    bytes
));
