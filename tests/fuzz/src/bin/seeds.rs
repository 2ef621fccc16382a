//! Writes the seeds of every entry under the directory given, for libFuzzer to begin with.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let Some(root) = std::env::args().nth(1) else {
        return Err(std::io::Error::other("usage: seeds DIRECTORY"));
    };
    for entry in fuzz_entries::ENTRIES {
        let directory = Path::new(&root).join(entry.name);
        std::fs::create_dir_all(&directory)?;
        for (number, seed) in fuzz_entries::seeds(entry.name).into_iter().enumerate() {
            std::fs::write(directory.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
