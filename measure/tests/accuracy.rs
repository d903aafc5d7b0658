//! The quick accuracy suite passes: every line is exact or explained.

use lab_tests::{build, kernel, program};
use std::process::Command;

#[test]
fn every_row_of_the_quick_accuracy_suite_is_exact_or_explained() {
    if !kernel::available("every_row_of_the_quick_accuracy_suite_is_exact_or_explained") {
        return;
    }
    let mut suite = Command::new(env!("CARGO_BIN_EXE_accuracy"));
    program::assert_passes(suite.args(["--quick", "--probe"]).arg(build::binary("probe")));
}
