"""Who is at the other end of a line: far.py RESOLVER.. -- TARGET..

Name servers at those addresses, who answer each question with the rcode in /run/rcode, and TCP servers
at those addresses and ports, who accept and say nothing.
"""

import socket
import sys
import threading


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
        flags = bytes([question[2] | 0x80, 0x80 | rcode()])
        server.sendto(question[:2] + flags + question[4:], who)


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
