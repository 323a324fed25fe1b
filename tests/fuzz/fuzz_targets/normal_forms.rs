//! libFuzzer with the target `normal_forms`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    |bytes: &[u8]| (vedetta_tests::fuzzing::target("normal_forms").expect("a target"))(bytes)
);
