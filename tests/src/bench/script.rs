//! The peer that people use today: a shell script with curl, run by `pam_exec`.

use bastion_tests::host::Host;
use bastion_tests::provider::{ACCOUNT_SID, AUTH_TOKEN};
use bastion_tests::sender::{FROM, TO};

/// Where the script is in the machine.
const PATH: &str = "/root/alert.sh";

/// The line that runs `/bin/true`: the least that any script costs.
pub const TRUE: &str = "session optional pam_exec.so /bin/true";

/// Writes the script of the well-known blog posts, with `url` as the provider; answers its line.
pub fn install(host: &Host, url: &str) -> String {
    let script = format!(
        "#!/bin/sh\n[ \"$PAM_TYPE\" = open_session ] || exit 0\n{}\n",
        curl(url, "login $PAM_USER from $PAM_RHOST")
    );
    host.write(PATH, script, 0o755);
    format!("session optional pam_exec.so {PATH}")
}

/// The command that sends `body` by curl.
pub fn curl(url: &str, body: &str) -> String {
    format!(
        "curl -s -o /dev/null -u {ACCOUNT_SID}:{AUTH_TOKEN} --data-urlencode \"To={TO}\" \
         --data-urlencode \"From={FROM}\" --data-urlencode \"Body={body}\" \
         {url}/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json"
    )
}

/// Whether `program` is installed.
pub fn installed(host: &Host, program: &str) -> bool {
    host.run(&["sh", "-c", &format!("command -v {program}")]).code == Some(0)
}
