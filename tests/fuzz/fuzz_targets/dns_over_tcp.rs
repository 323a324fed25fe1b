//! libFuzzer with the target `dns_over_tcp`.
#![no_main]

libfuzzer_sys::fuzz_target!(
    |bytes: &[u8]| (vedetta_tests::fuzzing::target("dns_over_tcp").expect("a target"))(bytes)
);
