"""A reader as strict as laminas-mail (osTicket, older EspoCRM), written from what was measured of it.

    python3 laminas.py PORT USER PASSWORD

Where laminas-mail would hang or misread, this ends with the line that did it: two blanks in a row, or one at either end
of a line; a greeting other than `* OK`; a continuation other than `+ ` and text or nothing; anything before it; LIST
lines of another form than four parts; FETCH answers without the item as it was asked for. Prints one JSON document.
"""

import json
import re
import socket
import sys

port, user, password = sys.argv[1:]
stream = socket.create_connection(("127.0.0.1", int(port)), timeout=20)
file = stream.makefile("rb")
tags = 0


def fail(why, line):
    sys.exit(f"{why}: {line!r}")


def next_line():
    line = file.readline()
    if not line.endswith(b"\r\n"):
        fail("no whole line", line)
    return line[:-2]


def tokens(line):
    """Words, quoted strings, literals and lists, as decodeLine splits them."""
    whole, stack, found = line, [], []
    while line:
        if line.startswith(b" "):
            fail("a blank where a word should be: laminas-mail loops for ever", whole)
        if line.startswith(b'"'):
            end = line.index(b'"', 1)
            if line[end - 1:end] == b"\\":
                fail("an escaped quote", whole)
            word, line = line[1:end], line[end + 1:]
        elif line.startswith(b"("):
            stack.append(found)
            found, line = [], line[1:]
            continue
        elif line.startswith(b")"):
            inner, found = found, stack.pop()
            found.append(inner)
            line = line[1:]
            if line.startswith(b" "):
                line = line[1:]
                if not line:
                    fail("a blank at the end", whole)
            continue
        else:
            literal = re.fullmatch(rb"\{(\d+)\}", line)
            if literal:
                octets = file.read(int(literal[1]))
                line = next_line()
                whole = line
                found.append(octets)
                if line.startswith(b" "):
                    line = line[1:]
                continue
            end = re.search(rb"[ ()]|$", line).start()
            word, line = line[:end], line[end:]
        found.append(word)
        if line.startswith(b" "):
            line = line[1:]
            if not line:
                fail("a blank at the end", whole)
    if stack:
        fail("a list without its end", whole)
    return found


def command(words):
    """Sends a command; gives its untagged answers as tokens, and the tagged line."""
    global tags
    tags += 1
    tag = f"TAG{tags}".encode()
    stream.sendall(tag + b" " + words + b"\r\n")
    return answer(tag)


def answer(tag):
    lines = []
    while True:
        line = next_line()
        first, _, rest = line.partition(b" ")
        if first == tag:
            tokens(rest)
            if not rest.startswith(b"OK"):
                fail("refused", line)
            return lines
        if first != b"*":
            fail("neither untagged nor tagged", line)
        lines.append(tokens(rest))


def fetch(number, item):
    """The value of one item, found by its name as it was asked for."""
    for line in command(b"FETCH %d %s" % (number, item)):
        if len(line) > 2 and line[1] == b"FETCH" and line[0] == b"%d" % number:
            values = dict(zip(line[2][::2], line[2][1::2]))
            wanted = item.strip(b"()").split(b" ")
            if all(name in values for name in wanted):
                return [values[name] for name in wanted]
    fail("FETCH does not name what was asked for", item)


greeting = next_line()
if not greeting.startswith(b"* OK"):
    fail("the greeting", greeting)
tokens(greeting[2:])
command(b'LOGIN "%s" "%s"' % (user.encode(), password.encode()))
command(b"CAPABILITY")
names = []
for line in command(b'LIST "" "*"'):
    if len(line) != 4 or line[0] != b"LIST" or not isinstance(line[1], list):
        fail("not the four parts of LIST", line)
    names.append(line[3].decode())
exists = [line[0] for line in command(b'SELECT "INBOX"') if line[1:] == [b"EXISTS"]]
count = int(exists[-1])
found = [line[1:] for line in command(b"SEARCH ALL") if line[0] == b"SEARCH"]
if len(found[0]) != count:
    fail("SEARCH ALL", found)
for number in range(1, count + 1):
    flags, header = fetch(number, b"(FLAGS RFC822.HEADER)")
    [text] = fetch(number, b"RFC822.TEXT")
    [size] = fetch(number, b"RFC822.SIZE")
    if int(size) != len(header) + len(text):
        fail("size", size)
command(b"STORE 1 +FLAGS (\\Seen)")
command(b'COPY 1 "Trash"')
command(b"STORE 1 +FLAGS (\\Deleted)")
command(b"EXPUNGE")
command(b"NOOP")
message = b"Subject: from osTicket\r\n\r\nx\r\n"
tags += 1
tag = b"TAG%d" % tags
stream.sendall(tag + b' APPEND "Sent" (\\Seen) {%d}\r\n' % len(message))
line = next_line()
if not line.startswith(b"+ "):
    fail("the continuation", line)
stream.sendall(message + b"\r\n")
answer(tag)
command(b"LOGOUT")
print(json.dumps({"names": names, "count": count}))
