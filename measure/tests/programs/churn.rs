//! Thousands of connections are counted exactly and cost no probe memory.

use lab_tests::build::{self, sized};
use lab_tests::kernel;
use measure::churn;

#[test]
fn connections_that_come_and_go_are_counted_exactly_and_leave_nothing() {
    if !kernel::available("connections_that_come_and_go_are_counted_exactly_and_leave_nothing") {
        return;
    }
    let outcome =
        churn::run(&build::binary("probe"), sized(20_000, 1_000_000), |moment| println!("{moment:?}"))
            .unwrap();
    assert!(outcome.broken.is_empty(), "{:?}", outcome.broken);
}
