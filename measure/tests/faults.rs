//! The quick rows of the fault table hold.

use lab_tests::{build, kernel, program};
use std::process::Command;

const NAME: &str = "in_every_quick_row_of_the_fault_table_nothing_is_lost_wrong_or_miscounted";

#[test]
fn in_every_quick_row_of_the_fault_table_nothing_is_lost_wrong_or_miscounted() {
    // The suite starts the binaries beside itself.
    let _built = build::folder();
    if kernel::available(NAME) {
        program::assert_passes(Command::new(env!("CARGO_BIN_EXE_faults")).arg("--quick"));
    }
}
