//! Files that systems and devices strew about and nobody wants to share. Pure: names in, verdict out.

/// Whole names, in lower case.
const NAMES: [&str; 22] = [
    // macOS
    ".ds_store",
    ".appledouble",
    ".localized",
    ".spotlight-v100",
    ".trashes",
    ".fseventsd",
    ".temporaryitems",
    ".documentrevisions-v100",
    ".apdisk",
    // Windows
    "thumbs.db",
    "ehthumbs.db",
    "ehthumbs_vista.db",
    "desktop.ini",
    "$recycle.bin",
    "system volume information",
    // Network storage of Synology and QNAP
    "@eadir",
    "#recycle",
    "#snapshot",
    "@recycle",
    ".@__thumb",
    // Unix
    "lost+found",
    ".directory",
];

/// How names begin, in lower case: `AppleDouble` companions, trash folders, files held open after deletion.
const PREFIXES: [&str; 4] = ["._", ".trash-", ".fuse_hidden", ".nfs00"];

/// Is this name of a file or folder junk? A junk folder is junk with all that is in it.
pub fn is_junk(name: &str) -> bool {
    let name = name.to_lowercase();
    NAMES.contains(&name.as_str()) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systems_strew_about_is_junk_in_any_case() {
        for name in [
            ".DS_Store",
            "Thumbs.db",
            "thumbs.db",
            "DESKTOP.INI",
            "@eaDir",
            "._IMG_1.jpg",
            ".Trash-1000",
            "lost+found",
        ] {
            assert!(is_junk(name), "{name}");
        }
    }

    #[test]
    fn what_people_made_is_not() {
        for name in [
            "thumbs.db.jpg",
            "DS_Store",
            ".hidden",
            "_IMG.jpg",
            "Desktop",
            "lost",
            ".nomedia",
            "directory",
        ] {
            assert!(!is_junk(name), "{name}");
        }
    }
}
