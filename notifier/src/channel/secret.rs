//! Secrets: one a file, and never in a log, an argument list or a `Debug`.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where secrets are, unless systemd hands them over.
const DIRECTORY: &str = crate::config::SECRETS;

/// Longest secret, in bytes. Twilio's are 32, the longest tokens of others some hundreds.
const MAX_BYTES: u64 = 4096;

/// Something nobody may see.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret that is not in a file: one made from another.
    #[must_use]
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the one place that hands it to the provider.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Where secrets named in the configuration are found.
#[derive(Debug, Clone)]
pub struct Secrets {
    directory: PathBuf,
    from_systemd: bool,
    /// Where a person puts them.
    home: &'static str,
    /// What has to be started anew for a new one.
    unit: &'static str,
}

impl Secrets {
    /// The sender's: those that systemd's `LoadCredential` hands over to this process (systemd.exec(5)), or the
    /// files in /etc/bastion/secrets.
    #[must_use]
    pub fn from_environment() -> Self {
        Self::handed_over_or(Self::in_directory(Path::new(DIRECTORY)))
    }

    /// Those of `tunnelwatch`: handed over as well, or the files in /etc/bastion/tunnel-secrets.
    #[must_use]
    pub fn of_tunnels() -> Self {
        let home = crate::config::TUNNEL_SECRETS;
        let own = Self::in_directory(Path::new(home));
        Self::handed_over_or(Self { home, unit: "tunnelwatch", ..own })
    }

    /// Secrets in a directory of the caller's choice.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        let directory = directory.to_owned();
        Self { directory, from_systemd: false, home: DIRECTORY, unit: "bastion" }
    }

    fn handed_over_or(own: Self) -> Self {
        match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(directory) => Self { directory: directory.into(), from_systemd: true, ..own },
            None => own,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.directory.join(name);
        if self.from_systemd && !name.contains('/') && !path.exists() {
            // Of `LoadCredential=secrets:/etc/bastion/secrets` systemd makes such names.
            return self.directory.join(format!("secrets_{name}"));
        }
        path
    }

    /// Reads the secret `name`: a file's name, or an absolute path that is taken as it is.
    /// White space around the secret is not part of it.
    ///
    /// # Errors
    ///
    /// A text for a person that names the file and says what to do. Never the content.
    pub fn read(&self, name: &str) -> Result<Secret, String> {
        let (path, home, unit) = (self.path(name), self.home, self.unit);
        let told = |what: String| format!("{}: {what}", path.display());
        if name.is_empty() || Path::new(name).components().any(|part| part.as_os_str() == "..") {
            return Err(format!("{name:?} is no file name; write the name of a file in {home}"));
        }
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(&path)
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::PermissionDenied if self.from_systemd => told(format!(
                    "{error}; put the secret into {home} and write the file's name alone"
                )),
                std::io::ErrorKind::PermissionDenied => told(format!("{error}; run it as root")),
                // systemd hands over what is there at a start, and a reload is none.
                _ if self.from_systemd => format!(
                    "{home}/{name} was not there at the start: {error}; put the secret there, then: \
                     systemctl restart {unit}"
                ),
                _ => told(format!("{error}; put the secret into that file, mode 0600")),
            })?;
        let meta = file.metadata().map_err(|error| told(error.to_string()))?;
        if !meta.is_file() {
            return Err(told("not a regular file".into()));
        }
        // systemd gives its copies the modes it needs, on a file system nobody else sees.
        let handed_over = self.from_systemd && path.starts_with(&self.directory);
        if !handed_over && meta.mode() & 0o027 != 0 {
            let mode = meta.mode() & 0o7777;
            return Err(told(format!(
                "mode {mode:04o} shows the secret to others; run: chmod 0600 {}",
                path.display()
            )));
        }
        let mut text = String::new();
        (&file)
            .take(MAX_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(|error| told(error.kind().to_string()))?;
        let secret = text.trim();
        if text.len() as u64 > MAX_BYTES {
            return Err(told(format!("longer than {MAX_BYTES} bytes")));
        }
        if secret.is_empty() || secret.chars().any(|c| c.is_control()) {
            return Err(told("has to hold the secret alone, on one line".into()));
        }
        Ok(Secret(secret.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_credential_of_systemd_is_found_by_its_own_name() {
        let dir = std::env::temp_dir().join(format!("notifier-credentials-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("secrets_twilio-token"), "one").unwrap();
        fs::write(dir.join("other"), "two").unwrap();
        let secrets = Secrets { from_systemd: true, ..Secrets::in_directory(&dir) };
        assert_eq!(secrets.read("twilio-token").unwrap().expose(), "one");
        assert_eq!(secrets.read("other").unwrap().expose(), "two");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_secret_is_read_trimmed_and_never_printed() {
        let path = std::env::temp_dir().join(format!("notifier-secret-{}", std::process::id()));
        let name = path.to_str().unwrap();
        let secrets = Secrets::in_directory(Path::new("/nonexistent"));
        let write = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("hunter2hunter2\n", 0o600);
        let secret = secrets.read(name).unwrap();
        assert_eq!(secret.expose(), "hunter2hunter2");
        assert_eq!(format!("{secret:?}"), "<redacted>");
        for (text, mode) in
            [("hunter2", 0o644), ("hunter2", 0o620), ("", 0o600), ("hunter2\nb", 0o600)]
        {
            write(text, mode);
            let error = secrets.read(name).unwrap_err();
            assert!(error.contains(name) && !error.contains("hunter2"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        assert!(secrets.read("absent").unwrap_err().contains("/nonexistent/absent"));
        assert!(secrets.read("../shadow").is_err());
    }
}
