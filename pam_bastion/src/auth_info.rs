//! `SSH_AUTH_INFO_0`: how the user proved who they are, one line for each method that succeeded.
//!
//! sshd writes it (`auth2_update_session_info` in OpenSSH's auth2.c) into the PAM environment:
//!
//! ```text
//! publickey ssh-ed25519 AAAAC3Nza...
//! hostbased ssh-ed25519 AAAAC3Nza... client user "bob", client host "web1"
//! gssapi-with-mic bob@EXAMPLE.NET
//! password
//! keyboard-interactive/pam
//! ```
//!
//! The key's bytes came from the peer. A key that cannot be read to its last byte is told as
//! absent, never guessed at: a wrong fingerprint could make a stranger known good.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use hmac_sha256::Hash;
use notifier::event::{Certificate, Factor, Key};
use notifier::foreign::Foreign;

/// Most methods kept. `AuthenticationMethods` seldom asks for more than two; the ceiling
/// is what keeps an event under the 16 KiB of a drop file.
pub const MAX_FACTORS: usize = 6;

/// Longest line whose key is read, in bytes. An RSA key of 16,384 bits (`ssh-keygen`'s own
/// limit), certified by another one, is 9 KiB of base64; sshd takes up to 256 KiB from a peer.
pub const MAX_LINE: usize = 32 * 1024;

/// The key types that have a certificate form: the plain name, the certificate's name, and how
/// many fields the key proper has, the same in both (PROTOCOL.certkeys and PROTOCOL.u2f).
const FAMILIES: [(&[u8], &[u8], usize); 8] = [
    (b"ssh-ed25519", b"ssh-ed25519-cert-v01@openssh.com", 1),
    (b"ssh-rsa", b"ssh-rsa-cert-v01@openssh.com", 2),
    (b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp256-cert-v01@openssh.com", 2),
    (b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp384-cert-v01@openssh.com", 2),
    (b"ecdsa-sha2-nistp521", b"ecdsa-sha2-nistp521-cert-v01@openssh.com", 2),
    (b"sk-ssh-ed25519@openssh.com", b"sk-ssh-ed25519-cert-v01@openssh.com", 2),
    (b"sk-ecdsa-sha2-nistp256@openssh.com", b"sk-ecdsa-sha2-nistp256-cert-v01@openssh.com", 3),
    (b"ssh-dss", b"ssh-dss-cert-v01@openssh.com", 4),
];

/// How a certificate's name ends, of whatever family.
const CERTIFICATE: &[u8] = b"-cert-v01@openssh.com";

/// Reads the value of `SSH_AUTH_INFO_0`: the methods in sshd's order, at most [`MAX_FACTORS`].
///
/// Never fails. Empty lines are passed over; a method is kept even where its key cannot be
/// read. `Key::name` is left for the caller, who has the operator's list.
#[must_use]
pub fn parse(info: &[u8]) -> Vec<Factor> {
    info.split(|&byte| byte == b'\n').filter_map(factor).take(MAX_FACTORS).collect()
}

/// One line: the method, and for the methods that prove a key, the key.
fn factor(line: &[u8]) -> Option<Factor> {
    let mut words = line.split(|&byte| byte == b' ');
    let method = words.next().filter(|word| !word.is_empty())?;
    let key = match method {
        b"publickey" | b"hostbased" if line.len() <= MAX_LINE => {
            words.next().zip(words.next()).and_then(|(algorithm, base64)| key(algorithm, base64))
        }
        _ => None,
    };
    Some(Factor { method: Foreign::new(method), key })
}

/// The key whose blob `base64` encodes, if the blob is a whole key of type `algorithm`.
fn key(algorithm: &[u8], base64: &[u8]) -> Option<Key> {
    let blob = STANDARD.decode(base64).ok()?;
    let mut fields = Wire(&blob);
    if algorithm.is_empty() || fields.string()? != algorithm {
        return None;
    }
    let (fingerprint, certificate) = if algorithm.ends_with(CERTIFICATE) {
        let &(plain, _, count) = FAMILIES.iter().find(|(_, cert, _)| *cert == algorithm)?;
        certificate(fields, plain, count)?
    } else {
        let known = FAMILIES.iter().find(|(plain, _, _)| *plain == algorithm);
        fields.whole_key(known.map(|&(_, _, count)| count))?;
        (fingerprint(&[&blob]), None)
    };
    Some(Key { algorithm: Foreign::new(algorithm), fingerprint, name: None, certificate })
}

/// Reads a certificate from behind its type (PROTOCOL.certkeys): a nonce, the key's `count`
/// fields, then what the CA says of it. The key's own blob is `plain`, its name, and the
/// same fields, and it is that blob whose fingerprint sshd logs.
fn certificate(
    mut fields: Wire,
    plain: &[u8],
    count: usize,
) -> Option<(String, Option<Certificate>)> {
    let _nonce = fields.string()?;
    let key = fields.strings(count)?;
    let serial = u64::from_be_bytes(fields.bytes()?);
    let _type: [u8; 4] = fields.bytes()?;
    let key_id = fields.string()?;
    let _principals = fields.string()?;
    let _valid_after_and_before: [u8; 16] = fields.bytes()?;
    let _options_extensions_reserved = fields.strings(3)?;
    let ca = fields.string()?;
    let _signature = fields.string()?;
    let mut ca_fields = Wire(ca);
    let ca_type = ca_fields.string()?;
    ca_fields.whole_key(None)?;
    if !fields.0.is_empty() || ca_type.is_empty() {
        return None;
    }
    let length = u32::try_from(plain.len()).ok()?.to_be_bytes();
    let certificate = Certificate { key_id: Foreign::new(key_id), serial, ca: fingerprint(&[ca]) };
    Some((fingerprint(&[&length, plain, key]), Some(certificate)))
}

/// OpenSSH's fingerprint of the blob that `parts` make up (`sshkey_fingerprint` in sshkey.c).
fn fingerprint(parts: &[&[u8]]) -> String {
    let mut hash = Hash::new();
    for part in parts {
        hash.update(part);
    }
    let mut text = String::from("SHA256:");
    STANDARD_NO_PAD.encode_string(hash.finalize(), &mut text);
    text
}

/// What is left to read of a key blob: fields in the encoding of RFC 4251, section 5.
#[derive(Clone, Copy)]
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    /// Takes `N` bytes.
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// Takes a string or an mpint: a length of four bytes, and as many bytes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(u32::from_be_bytes(self.bytes()?)).ok()?;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Takes `count` strings and answers the bytes they are written in, lengths included.
    fn strings(&mut self, count: usize) -> Option<&'a [u8]> {
        let before = self.0;
        for _ in 0..count {
            self.string()?;
        }
        before.get(..before.len().checked_sub(self.0.len())?)
    }

    /// Checks that strings are left to the last byte, `count` of them, or one at least
    /// where the type is not one we know. It is what tells a key from the start of one.
    fn whole_key(mut self, count: Option<usize>) -> Option<()> {
        self.strings(count.unwrap_or(1))?;
        while count.is_none() && !self.0.is_empty() {
            self.string()?;
        }
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests;
