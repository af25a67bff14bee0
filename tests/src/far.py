"""Who is at the other end of a line: far.py RESOLVER.. -- TARGET..

Name servers at those addresses, who answer each question with who is in charge of the root zone, or with
the rcode in /run/rcode, and TCP servers at those addresses and ports, who accept and say nothing.
"""

import socket
import struct
import sys
import threading


def name(text):
    labels = [label.encode() for label in text.split(".")]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


# As the root zone has it (RFC 1035 3.3.13).
VALUE = name("a.root-servers.net") + name("nstld.verisign-grs.com")
VALUE += struct.pack(">5I", 2026112300, 1800, 900, 604800, 86400)
SOA = b"\0" + struct.pack(">HHIH", 6, 1, 86400, len(VALUE)) + VALUE


def rcode():
    try:
        with open("/run/rcode", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 0


def name_server(address):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    while True:
        question, who = server.recvfrom(512)
        code = rcode()
        flags = bytes([question[2] | 0x80, 0x80 | code])
        counts = bytes([0, 1, 0, 0 if code else 1, 0, 0, 0, 0])
        answer = question[:2] + flags + counts + question[12:]
        server.sendto(answer if code else answer + SOA, who)


def target(address):
    host, port = address.split(":")
    server = socket.create_server((host, int(port)), backlog=64)
    while True:
        server.accept()[0].close()


def main():
    split = sys.argv.index("--")
    work = [(name_server, address) for address in sys.argv[1:split]]
    work += [(target, address) for address in sys.argv[split + 1 :]]
    threads = [threading.Thread(target=what, args=(address,)) for what, address in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


main()
