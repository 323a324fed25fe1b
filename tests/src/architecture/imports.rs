//! Which crate may depend on which, that each dependency has its reason beside it, and that each crate has the
//! workspace's lints on. Read from the Cargo.toml files: what is not a dependency cannot be imported.

use super::Tree;

/// Each crate with the crates of the workspace that it may import.
const ARROWS: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("detect", &["protocol"]),
    ("agent", &["protocol", "detect"]),
    ("collector", &["protocol"]),
    ("cosc", &["protocol"]),
    ("tests", &["protocol", "detect", "agent", "collector", "cosc"]),
];

/// Crates that only name others: a dependency on one of these is a rule of its own for the pure crates.
const NOT_PURE: &[&str] =
    &["tokio", "quinn", "rustls", "pcap", "sled", "rusqlite", "axum", "nix", "rand", "tough"];

/// Dependencies of a Cargo.toml: section and name.
fn dependencies(manifest: &str) -> Vec<(&str, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        } else if section.ends_with("dependencies")
            && let Some((name, _)) = line.split_once('=')
            && !line.starts_with('#')
        {
            found.push((section, name.trim().trim_end_matches(".workspace")));
        }
    }
    found
}

/// Dependencies of a crate on another of the workspace that no arrow allows.
pub fn against_the_arrows(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (member, allowed) in ARROWS {
        let path = format!("{member}/Cargo.toml");
        for (section, name) in dependencies(tree.text(&path).unwrap_or_default()) {
            let short = name.strip_prefix("vedetta-").unwrap_or(name);
            let ours = ARROWS.iter().any(|(known, _)| *known == short);
            if ours && !allowed.contains(&short) {
                found.push(format!("{path}: {member} must not depend on {short}; imports only point inward"));
            }
            let pure = matches!(*member, "protocol" | "detect") && section == "dependencies";
            if pure && NOT_PURE.contains(&name) {
                found.push(format!("{path}: {member} is pure and must not depend on {name}"));
            }
        }
    }
    found
}

/// Dependencies of the workspace without a reason beside them, and dependencies named elsewhere.
pub fn without_a_reason(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    let mut section = "";
    for line in tree.text("Cargo.toml").unwrap_or_default().lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[workspace.dependencies]"
            && let Some((name, rest)) = line.split_once('=')
            && !line.starts_with('#')
        {
            let ours = rest.contains("path =");
            let reason = rest.split_once("# ").map(|(_, reason)| reason.trim());
            if !ours && reason.is_none_or(str::is_empty) {
                found.push(format!("Cargo.toml: dependency {} has no reason beside it", name.trim()));
            }
        }
    }
    for (member, _) in ARROWS {
        let path = format!("{member}/Cargo.toml");
        let manifest = tree.text(&path).unwrap_or_default();
        for (_, name) in dependencies(manifest) {
            let from_the_workspace = manifest.lines().map(str::trim).any(|line| {
                let named = line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '=', '.']));
                named && line.contains("workspace") && line.contains("true")
            });
            if !from_the_workspace {
                found.push(format!("{path}: {name} must come from the workspace, where its reason stands"));
            }
        }
    }
    found
}

/// Crates that do not take the workspace's lints, and a workspace that does not forbid unsafe code.
pub fn without_the_lints(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    let root = tree.text("Cargo.toml").unwrap_or_default();
    if !root.lines().any(|line| line.trim() == "unsafe_code = \"forbid\"") {
        found.push("Cargo.toml: [workspace.lints.rust] must say unsafe_code = \"forbid\"".to_owned());
    }
    for (member, _) in ARROWS {
        let path = format!("{member}/Cargo.toml");
        let Some(manifest) = tree.text(&path) else { continue };
        let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != "[lints]");
        if lines.next().is_none() || lines.next() != Some("workspace = true") {
            found.push(format!("{path}: [lints] must say workspace = true"));
        }
    }
    found
}
