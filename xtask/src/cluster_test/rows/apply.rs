//! Applies the overlays.

use anyhow::Result;

use crate::cluster_test::lab::{Lab, overlay};
use crate::verdicts::Verdicts;

pub(crate) fn run(lab: &mut Lab<'_>, verdicts: &mut Verdicts) -> Result<()> {
    for (name, extra) in [("kind", None), ("production", Some("--dry-run=server"))] {
        let folder = overlay(lab.tree, name);
        let mut arguments = vec!["apply", "--server-side", "-k", &folder];
        arguments.extend(extra);
        let shown = format!(
            "kubectl apply --server-side -k {name}{}",
            extra.map_or(String::new(), |one| format!(" {one}"))
        );
        match lab.cluster.kubectl(&arguments) {
            Ok(printed) => {
                verdicts.report(&shown, true, &format!("exit 0, {} objects", printed.lines().count()));
            }
            Err(error) => verdicts.report(&shown, false, &format!("{error:#}")),
        }
    }
    Ok(())
}
