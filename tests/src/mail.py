"""A real mail server (aiosmtpd) that misbehaves on request: mail.py OPTIONS, in JSON.

Its port is printed first. Each mail that it has taken is a line of JSON in the file `log`.
A line of JSON on standard input is a rule of what to do wrong; each is answered by `ok`.
"""

import asyncio
import base64
import email
import email.policy
import json
import ssl
import sys
import time

from aiosmtpd.smtp import SMTP, AuthResult

options = json.loads(sys.argv[1])
rules = []
log = open(options["log"], "a", buffering=1)


def rule(step):
    """What is wrong with this step now; None when nothing is."""
    for found in rules:
        if found["at"] == step and found.get("times", 1) != 0:
            if "times" in found:
                found["times"] -= 1
            return found
    return None


def write(**record):
    log.write(json.dumps({"at_us": time.time_ns() // 1000, **record}) + "\n")


def encrypted(server):
    return server.transport.get_extra_info("ssl_object") is not None


class Handler:
    async def step(self, server, step, right):
        wrong = rule(step)
        if wrong is None:
            return right
        if wrong["do"] == "lose":
            server.transport.abort()
        elif wrong["do"] == "hang":
            await asyncio.sleep(3600)
        elif wrong["do"] == "flood":
            await flood(server)
        return wrong.get("answer", right)

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        write(ehlo=hostname, tls=encrypted(server))
        session.host_name = hostname
        return responses

    async def handle_HELO(self, server, session, envelope, hostname):
        write(ehlo=hostname, tls=encrypted(server))
        session.host_name = hostname
        return "250 mx.example"

    async def handle_MAIL(self, server, session, envelope, address, mail_options):
        envelope.mail_from = address
        return await self.step(server, "mail", "250 2.1.0 ok")

    async def handle_RCPT(self, server, session, envelope, address, rcpt_options):
        answer = await self.step(server, "rcpt", "250 2.1.5 ok")
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server, session, envelope):
        wrong = rule("refuse-data")
        if wrong:
            return wrong["answer"]
        # Read by Python's own reader of mail as well, which knows nothing of how it was written.
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        write(
            mail_from=(envelope.mail_from or "").strip("<>"),
            to=envelope.rcpt_tos,
            text=envelope.content.decode("latin-1"),
            fields=list(mail.keys()),
            subject=str(mail["subject"]),
            body=mail.get_content().replace("\r\n", "\n"),
            tls=encrypted(server),
            user=session.auth_data,
        )
        return await self.step(server, "data", "250 2.0.0 taken as 4XyZ")


async def flood(server):
    """An answer of 1 GiB, in lines that have no end."""
    for _ in range(1 << 14):
        server.transport.write(b"x" * (1 << 16))
        await server._writer.drain()


def authenticate(server, session, envelope, mechanism, data):
    name, password = data.login.decode(), data.password.decode()
    wrong = rule("auth")
    if wrong and wrong["do"] == "echo":
        forms = [password, base64.b64encode(data.password).decode()]
        forms.append(base64.b64encode(f"\0{name}\0{password}".encode()).decode())
        return AuthResult(success=False, handled=False, message=f"535 5.7.8 you said {forms}")
    if wrong:
        return AuthResult(success=False, handled=False, message=wrong["answer"])
    if [name, password] == options["login"]:
        return AuthResult(success=True, auth_data=name)
    return AuthResult(success=False, handled=False)


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(options["certificate"], options["key"])
    return made


def honest():
    starttls = options["tls"] == "starttls"
    return SMTP(
        Handler(),
        hostname="mx.example",
        tls_context=context() if starttls else None,
        require_starttls=starttls,
        # In clear it would take a password: whoever sends one there is caught.
        auth_require_tls=False,
        auth_required="login" in options,
        authenticator=authenticate,
        auth_exclude_mechanism=options.get("without", []),
        # What aiosmtpd calls itself in its log, on standard error.
        ident="test",
    )


async def drip(reader, writer):
    """A byte a second, and no end of the line."""
    write(ehlo="drip", tls=False)
    try:
        writer.write(b"220-")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(options.get("pause", 1))
    except OSError:
        pass


async def early(reader, writer):
    """Somebody on the way: answers in clear, behind the one to STARTTLS, for what will be asked
    once the line is encrypted. Then the server's own TLS, with its answers or without."""
    writer.write(b"220 mx.example\r\n")
    await reader.readline()
    writer.write(b"250-mx.example\r\n250 STARTTLS\r\n")
    await reader.readline()
    writer.write(b"220 go\r\n" + options["early"].encode())
    await writer.start_tls(context())
    try:
        while line := await reader.readline():
            write(said=line.decode("latin-1"), tls=True)
            words = {b"AUTH": b"235 ok", b"DATA": b"354 go", b"EHLO": b"250 AUTH PLAIN"}
            answer = words.get(line[:4], b"250 ok")
            if options["answers"]:
                # Later than any look for what came too early.
                await asyncio.sleep(0.05)
                writer.write(answer + b"\r\n")
    except OSError:
        pass


async def listen_for_rules():
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    while line := await reader.readline():
        told = json.loads(line)
        if told["at"] == "heal":
            rules.clear()
        else:
            rules.append(told)
        print("ok", flush=True)


async def main():
    loop = asyncio.get_running_loop()
    address = (options.get("address", "127.0.0.1"), options.get("port", 0))
    raw = {"drip": drip, "early": early}.get(options["tls"])
    if raw:
        server = await asyncio.start_server(raw, *address)
    else:
        tls = context() if options["tls"] == "implicit" else None
        server = await loop.create_server(honest, *address, ssl=tls)
    print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
    asyncio.ensure_future(listen_for_rules())
    await server.serve_forever()


asyncio.run(main())
