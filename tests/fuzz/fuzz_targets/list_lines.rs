//! libFuzzer with the target `list_lines`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    |bytes: &[u8]| (vedetta_tests::fuzzing::target("list_lines").expect("a target"))(bytes)
);
