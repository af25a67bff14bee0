//! Whom the cloud is like, and what a host has to have to ask it.

use serde::{Deserialize, Serialize};

use crate::host::Host;

/// The id that EC2's machine has.
pub const EC2_ID: &str = "i-0123456789abcdef0";
/// The id that the other clouds' machine has.
pub const NUMBER: &str = "3164494";
/// The access key that EC2 knows. Whether the signature is right is looked at elsewhere.
pub const ACCESS_KEY: &str = "AKIDSTANDINEXAMPLE";
/// The secret of that key.
pub const SECRET_KEY: &str = "5ecre7/K7MDENG+bPxRfiCY-aws-key";
/// The token that the other clouds know. Looked for in every log by a test.
pub const TOKEN: &str = "5ecre7-c10ud-70ken-0f-7he-7e57";

/// Whom it is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Like {
    /// EC2's Query API.
    Ec2,
    /// DigitalOcean's API v2.
    Digitalocean,
    /// Hetzner's Cloud API v1.
    Hetzner,
}

impl Like {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ec2, Self::Digitalocean, Self::Hetzner];

    /// Its word on the command line, which is the `provider` of the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Digitalocean => "digitalocean",
            Self::Hetzner => "hetzner",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|like| like.name() == name)
    }

    /// Behind the address of its API.
    fn version(self) -> &'static str {
        match self {
            Self::Ec2 => "",
            Self::Digitalocean => "/v2",
            Self::Hetzner => "/v1",
        }
    }

    /// `[tunnel.on-demand]` of a machine there; `more` are further keys. The secrets are in `/etc/bastion/tunnel-secrets/cloud`,
    /// by [`Like::secret`].
    #[must_use]
    pub fn section(self, link: &str, url: &str, more: &str) -> String {
        let (name, version) = (self.name(), self.version());
        let keys = match self {
            Self::Ec2 => format!(
                "instance = \"{EC2_ID}\"\nregion = \"eu-central-1\"\naccess-key-id = \"{ACCESS_KEY}\"\n\
                 secret-key-file = \"cloud\""
            ),
            _ => format!("instance = \"{NUMBER}\"\ntoken-file = \"cloud\""),
        };
        format!(
            "[tunnel.on-demand]\nlink = \"{link}\"\nprovider = \"{name}\"\n{keys}\nendpoint = \"{url}{version}\"\n{more}\n"
        )
    }

    /// The configuration of a host with this jump host, a tunnel `home` with these further keys, and the secret's file.
    pub fn configure(self, host: &Host, url: &str, tunnel: &str) {
        host.sh("install -d -m 0700 /etc/bastion/tunnel-secrets");
        host.write("/etc/bastion/tunnel-secrets/cloud", self.secret(), 0o600);
        let on_demand = self.section("main", url, "");
        host.write_config(&format!(
            "[[tunnel]]\nname = \"home\"\njump = \"tunnel@jump\"\nremote-ports = [2222]\n{tunnel}\n{on_demand}"
        ));
    }

    /// What belongs into that file.
    #[must_use]
    pub fn secret(self) -> &'static str {
        if self == Self::Ec2 { SECRET_KEY } else { TOKEN }
    }
}
