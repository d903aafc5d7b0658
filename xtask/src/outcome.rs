//! The outcome of a check: passed, failed, or passed in part.

#[derive(Debug)]
pub(crate) enum CheckOutcome {
    Holds,
    /// No failure, but a part was not run. Contains the reason.
    NotAll(String),
    Fails,
}

impl CheckOutcome {
    /// The outcome of a check that `holds`, with `skipped` of its `what` not run.
    pub(crate) fn but_for(holds: bool, skipped: usize, what: &str) -> Self {
        match (holds, skipped) {
            (false, _) => Self::Fails,
            (true, 0) => Self::Holds,
            (true, skipped) => Self::NotAll(format!("{skipped} of the {what}")),
        }
    }

    /// Prints what was not run.
    pub(crate) fn report_skipped(&self) {
        if let Self::NotAll(what) = self {
            println!("not run: {what}");
        }
    }

    /// Whether the check failed.
    pub(crate) fn fails(&self) -> bool {
        matches!(self, Self::Fails)
    }
}

impl From<bool> for CheckOutcome {
    fn from(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Fails }
    }
}

impl From<()> for CheckOutcome {
    fn from((): ()) -> Self {
        Self::Holds
    }
}

#[cfg(test)]
mod tests {
    use super::CheckOutcome;

    #[test]
    fn what_was_skipped_does_not_pass_for_all_and_does_not_hide_a_failure() {
        assert!(matches!(CheckOutcome::but_for(true, 0, "tests"), CheckOutcome::Holds));
        assert!(
            matches!(CheckOutcome::but_for(true, 2, "tests"), CheckOutcome::NotAll(what) if what == "2 of the tests")
        );
        assert!(CheckOutcome::but_for(false, 2, "tests").fails());
    }
}
