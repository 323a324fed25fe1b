//! README's code map must be of this country: every path that it names exists.

use super::Tree;

/// The heading over the map.
const HEADING: &str = "## Code map";

/// Paths of the code map that are no file and no folder, and a README without a map.
pub fn map_without_territory(tree: &Tree) -> Vec<String> {
    let Some(readme) = tree.text("README.md") else { return vec!["README.md is missing".to_owned()] };
    let mut lines = readme.lines().skip_while(|line| line.trim() != HEADING);
    if lines.next().is_none() {
        return vec![format!("README.md: no section {HEADING:?}")];
    }
    let section = lines.take_while(|line| !line.starts_with("## "));
    section
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|word| word.contains('/') && !word.contains(' ') && !word.starts_with('/'))
        .filter(|path| !tree.has(path.trim_end_matches('/')))
        .map(|path| format!("README.md: the code map names {path}, which does not exist"))
        .collect()
}
