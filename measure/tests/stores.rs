//! The quick rows of the store suite pass: every line is exact or explained.

use lab_tests::{build, kernel, program, skip};
use std::process::Command;

const NAME: &str = "every_quick_row_of_the_store_suite_is_exact_or_explained";

#[test]
fn every_quick_row_of_the_store_suite_is_exact_or_explained() {
    let server = Command::new("redis-server").arg("--version").output();
    let missing = server.map_err(|error| format!("redis-server: {error}: apt-get install redis-server"));
    if !kernel::available(NAME) || skip::unless(NAME, missing).is_none() {
        return;
    }
    let mut suite = Command::new(env!("CARGO_BIN_EXE_stores"));
    program::assert_passes(suite.arg("--probe").arg(build::binary("probe")));
}
