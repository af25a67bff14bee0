"""The signature of an EC2 request on standard input, computed anew by AWS's own library.

usage: sigv4.py ACCESS-KEY SECRET-KEY REGION <REQUEST

Ends with 0 when the request bears that signature, of what it says and of all that AWS wants signed.
"""
import hashlib
import re
import sys

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

access_key, secret_key, region = sys.argv[1:]
head, _, body = sys.stdin.buffer.read().partition(b"\r\n\r\n")
lines = head.decode().split("\r\n")
method, target, _ = lines[0].split(" ")
headers = {}
for line in lines[1:]:
    name, _, value = line.partition(":")
    headers[name.lower()] = value.strip()

authorization = headers["authorization"]
found = re.fullmatch(
    r"AWS4-HMAC-SHA256 Credential=([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})", authorization
)
if not found:
    sys.exit(f"no signature of that kind: {authorization}")
credential, signed, signature = found.groups()
date = headers["x-amz-date"]
if credential != f"{access_key}/{date[:8]}/{region}/ec2/aws4_request":
    sys.exit(f"the credential is {credential}")
names = signed.split(";")
missing = {"content-type", "host", "x-amz-date"} - set(names)
if missing:
    sys.exit(f"not signed: {missing}")
# What stands for the body is signed in its place, so it has to be true.
claimed = headers.get("x-amz-content-sha256")
if claimed is not None and claimed != hashlib.sha256(body).hexdigest():
    sys.exit("the hash is not the body's")

request = AWSRequest(
    method=method,
    url=f"http://{headers['host']}{target}",
    data=body,
    headers={name: headers[name] for name in names},
)
request.context["timestamp"] = date
signer = SigV4Auth(Credentials(access_key, secret_key), "ec2", region)
canonical = signer.canonical_request(request)
again = signer.signature(signer.string_to_sign(request, canonical), request)
if again != signature:
    sys.exit(f"the signature is {signature}, and should be {again}, of\n{canonical}")
