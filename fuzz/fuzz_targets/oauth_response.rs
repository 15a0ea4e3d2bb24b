#![no_main]
libfuzzer_sys::fuzz_target!(|octets: &[u8]| passerelle::fuzzing::oauth_response(octets));
