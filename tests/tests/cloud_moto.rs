//! `tunnelwatch-cloud` against moto, in which somebody else has written down what EC2 does, and its signature against
//! that of botocore, which is AWS's own.
//!
//! Both are in `BASTION_MOTO`, by default in `target/moto`, where `./dev test` installs them by pip. Without them it
//! says so and proves nothing.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bastion_tests::host::{artefacts, require};
use bastion_tests::process::{Output, finish};
use bastion_tests::recorder::Recorder;
use bastion_tests::wait::wait_until;

const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const REGION: &str = "eu-central-1";

/// The programs of moto, or the word that there are none.
fn moto() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let default = root.join("target/moto");
    let bin = std::env::var_os("BASTION_MOTO").map_or(default, PathBuf::from).join("bin");
    if bin.join("moto_server").exists() {
        return Some(bin);
    }
    eprintln!("SKIPPED: requests to EC2 are not judged, there is no {}/moto_server", bin.display());
    None
}

/// moto's server, for as long as this lives.
struct Moto {
    child: Child,
    at: SocketAddr,
}

impl Moto {
    fn start(bin: &Path, dir: &Path) -> Self {
        // The port is free again when the listener is gone, and nobody else is after it.
        let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = fs::File::create(dir.join("moto.log")).unwrap();
        let child = Command::new(bin.join("moto_server"))
            .args(["-H", "127.0.0.1", "-p", &at.port().to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let moto = Self { child, at };
        let listens = || TcpStream::connect(at).is_ok();
        let said = || fs::read_to_string(dir.join("moto.log")).unwrap_or_default();
        assert!(wait_until(Duration::from_secs(60), listens), "{}", said());
        moto
    }

    /// Asks as the account's owner, whom it believes; answers the XML.
    fn own(&self, service: &str, form: &[&str]) -> String {
        let scope = format!("{ACCESS_KEY}/20260101/{REGION}/{service}/aws4_request");
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-f", "-m", "30", &format!("http://{}/", self.at), "-H"]).arg(format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"
        ));
        for field in form {
            curl.args(["--data-urlencode", field]);
        }
        finish(&mut curl, b"").ok().text()
    }

    /// An instance of its own; it runs.
    fn instance(&self) -> String {
        let said = self.own(
            "ec2",
            &[
                "Action=RunInstances",
                "Version=2016-11-15",
                "MinCount=1",
                "MaxCount=1",
                "ImageId=ami-12c6146b",
                "InstanceType=t3.micro",
            ],
        );
        inside(&said, "instanceId")
    }

    /// A user with this policy, if any: id and secret of his key.
    fn user(&self, name: &str, policy: Option<&str>) -> (String, String) {
        let user = format!("UserName={name}");
        self.own("iam", &["Action=CreateUser", "Version=2010-05-08", &user]);
        if let Some(policy) = policy {
            let document = format!("PolicyDocument={policy}");
            self.own(
                "iam",
                &["Action=PutUserPolicy", "Version=2010-05-08", &user, "PolicyName=p", &document],
            );
        }
        let said = self.own("iam", &["Action=CreateAccessKey", "Version=2010-05-08", &user]);
        (inside(&said, "AccessKeyId"), inside(&said, "SecretAccessKey"))
    }

    /// From now on it looks at signatures and policies.
    fn guards(&self) {
        let url = format!("http://{}/moto-api/reset-auth", self.at);
        let _ = finish(
            Command::new("curl").args([
                "-sS",
                "-f",
                "-H",
                "Content-Type: text/plain",
                "-d",
                "0",
                &url,
            ]),
            b"",
        )
        .ok();
    }
}

/// The text of the first element of that name.
fn inside(xml: &str, name: &str) -> String {
    let rest = xml.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{name}: {xml}")).1;
    rest.split('<').next().unwrap().to_owned()
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The jump host as its own configuration has it.
struct Jump {
    config: PathBuf,
}

impl Jump {
    fn new(dir: &Path, instance: &str, endpoint: SocketAddr) -> Self {
        Self::with_key(dir, instance, endpoint, [ACCESS_KEY, SECRET_KEY])
    }

    fn with_key(dir: &Path, instance: &str, endpoint: SocketAddr, key: [&str; 2]) -> Self {
        let secret = dir.join("secret");
        fs::write(&secret, key[1]).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let config = dir.join("bastion.toml");
        let text = format!(
            "[[tunnel]]\nname = \"home\"\njump = \"tunnel@jump\"\nremote-ports = [2222]\n\
             [tunnel.on-demand]\nlink = \"main\"\nprovider = \"ec2\"\ninstance = \"{instance}\"\n\
             region = \"{REGION}\"\naccess-key-id = \"{}\"\nsecret-key-file = \"{}\"\n\
             endpoint = \"http://{endpoint}\"\n",
            key[0],
            secret.display()
        );
        fs::write(&config, text).unwrap();
        Self { config }
    }

    fn call(&self, verb: &str) -> Output {
        let program = artefacts().join("tunnelwatch-cloud");
        finish(Command::new(program).arg("--config").arg(&self.config).args(["home", verb]), b"")
    }

    fn told(&self, verb: &str) -> serde_json::Value {
        let output = self.call(verb).ok();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// Waits until the machine is so, and answers its address.
    fn wait(&self, state: &str) -> Option<String> {
        let is_so = || self.told("describe")["state"] == state;
        assert!(wait_until(Duration::from_secs(30), is_so), "{:?}", self.call("describe"));
        self.told("describe")["address"].as_str().map(str::to_owned)
    }
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("bastion-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// What botocore says of a request.
fn judge(bin: &Path, request: &[u8]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sigv4.py");
    let words = [ACCESS_KEY, SECRET_KEY, REGION];
    finish(Command::new(bin.join("python3")).arg(script).args(words), request)
}

#[test]
fn an_instance_of_ec2_is_started_found_and_stopped_and_each_request_is_signed() {
    let Some(bin) = moto() else { return };
    require("tunnelwatch-cloud");
    let dir = scratch("moto");
    let moto = Moto::start(&bin, &dir);
    let recorder = Recorder::start(moto.at);
    let jump = Jump::new(&dir, &moto.instance(), recorder.address());

    let first = jump.wait("on").expect("an address");
    assert!(["stopping", "off"].contains(&jump.told("stop")["state"].as_str().unwrap()));
    assert_eq!(jump.wait("off"), None);
    assert!(["starting", "on"].contains(&jump.told("start")["state"].as_str().unwrap()));
    let second = jump.wait("on").expect("an address");
    assert_ne!(first, second, "a new one at each start");
    assert!(["starting", "on"].contains(&jump.told("start")["state"].as_str().unwrap()));
    // moto gives it another address, which EC2 does not.
    assert!(jump.wait("on").is_some());

    let requests = recorder.requests();
    assert!(requests.len() >= 8, "{}", requests.len());
    for request in &requests {
        let _ = judge(&bin, request).ok();
    }
    // The judge is one: of another action, and with another key, the signature is wrong.
    let described = String::from_utf8(requests[0].clone()).unwrap();
    assert!(described.contains("Action=DescribeInstances&"), "{described}");
    let forged = described.replace("Action=DescribeInstances", "Action=StopInstances");
    assert_ne!(judge(&bin, forged.as_bytes()).code, Some(0));
    let later = described.replace("\r\nx-amz-date: 2", "\r\nx-amz-date: 3");
    assert_ne!(later, described);
    assert_ne!(judge(&bin, later.as_bytes()).code, Some(0));
    let _ = fs::remove_dir_all(dir);
}

#[test]
fn an_instance_that_ec2_does_not_know_is_gone() {
    let Some(bin) = moto() else { return };
    require("tunnelwatch-cloud");
    let dir = scratch("moto-gone");
    let moto = Moto::start(&bin, &dir);
    let jump = Jump::new(&dir, "i-0123456789abcdef0", moto.at);
    assert_eq!(jump.told("describe")["state"], "gone");
    let output = jump.call("start");
    assert_eq!(output.code, Some(78), "{output:?}");
    assert!(output.errors().contains("InvalidInstanceID.NotFound"), "{output:?}");
    let _ = fs::remove_dir_all(dir);
}

#[test]
fn the_policy_of_the_examples_is_enough_and_no_key_without_it_is() {
    let Some(bin) = moto() else { return };
    require("tunnelwatch-cloud");
    let dir = scratch("moto-policy");
    let moto = Moto::start(&bin, &dir);
    let instance = moto.instance();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/examples/ec2-policy.json");
    let policy = fs::read_to_string(file).unwrap();
    // IAM looks at it as it is; but moto's EC2 takes each request for one of all instances.
    moto.user("as-it-is", Some(&policy));
    let one = "\"arn:aws:ec2:eu-central-1:123456789012:instance/i-0123456789abcdef0\"";
    assert!(policy.contains(one), "{policy}");
    let (id, secret) = moto.user("jump", Some(&policy.replace(one, "\"*\"")));
    let (other, others) = moto.user("nobody", None);
    moto.guards();
    let with = |id: &str, secret: &str| Jump::with_key(&dir, &instance, moto.at, [id, secret]);
    let jump = with(&id, &secret);
    jump.wait("on");
    let _ = jump.told("stop");
    jump.wait("off");
    let _ = jump.told("start");
    jump.wait("on");
    for (id, secret, words) in [
        (&other, &others, "AccessDenied"),
        (&id, &others, "AuthFailure"),
        (&"AKIAIOSFODNN7EXAMPLE".to_owned(), &secret, "AuthFailure"),
    ] {
        let output = with(id, secret).call("describe");
        assert_eq!(output.code, Some(77), "{output:?}");
        assert!(output.errors().contains(words), "{output:?}");
        assert!(!output.errors().contains(secret.as_str()), "{output:?}");
    }
    let _ = fs::remove_dir_all(dir);
}
