//! Where a report goes.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use notifier::exit::Failure;
use notifier::spool::files::replace_public;

/// Writes a file whole or not at all; `-` is standard output.
///
/// # Errors
///
/// When it cannot be written, or something that is no plain file has its name: a file that is
/// renamed to `/dev/null` would be there for everybody.
pub fn to(path: &Path, text: &str) -> Result<(), Failure> {
    if path == Path::new("-") {
        return match io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::io("standard output", &error))
            }
            _ => Ok(()),
        };
    }
    let shown = path.display();
    if fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Err(Failure::usage(format!("{shown} is no plain file; - is standard output")));
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Failure::usage(format!("{shown} is no name of a file")))?;
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    replace_public(dir, name, text.as_bytes()).map_err(|error| Failure::io(shown, &error))
}
