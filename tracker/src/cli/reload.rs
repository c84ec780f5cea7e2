//! `tracker reload`: the running tracker reads its settings again, as on SIGHUP.

use serde_json::json;

use super::ask;
use super::{Common, Failure};
use crate::api::bodies::Reloaded;
use edge::output::{plain, show};

pub(super) fn run(common: Common) -> Result<(), Failure> {
    ask::run_with_tracker(&common, async |api| {
        // What is wrong stands in the settings, not in what was typed.
        let answer = api.post("/reload", &json!({})).await;
        let answer = answer.map_err(Failure::failed)?;
        show(common.json, answer, |reloaded| words(&reloaded))
    })
}

/// What changed, a line each.
fn words(reloaded: &Reloaded) -> String {
    if reloaded.changes.is_empty() {
        return "nothing has changed\n".to_owned();
    }
    let mut lines = String::new();
    for change in &reloaded.changes {
        lines.push_str(&plain(change));
        lines.push('\n');
    }
    lines
}
