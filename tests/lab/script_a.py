"""A CRM's day on Python's imaplib and smtplib: what Odoo and many scripts use.

    python3 script_a.py HOST IMAP_PORT SMTP_PORT SECURITY USER PASSWORD PREFIX DELIMITER [CA]

SECURITY is "tls" (from the first octet, verified by CA) or "none". Mailboxes are called here as the CRM calls them
("Sent", "Clients/Dupont SARL"); PREFIX and DELIMITER say how the server at hand does ("INBOX." and "."). The answer is
one JSON document, with names turned back, so that two runs against the same mail behind different names can be compared
as text. What may differ (UIDVALIDITY, capabilities) stands apart, under "apart". What must hold anywhere is asserted.

The mailbox is expected to hold the letters of tests/corpus; the test that runs this lays them out. Python 3.9 will do.
"""

import base64
import imaplib
import json
import re
import smtplib
import ssl
import sys
import time

HOST, IMAP_PORT, SMTP_PORT, SECURITY, USER, PASSWORD, PREFIX, DELIMITER = sys.argv[1:9]
CONTEXT = ssl.create_default_context(cafile=sys.argv[9]) if SECURITY == "tls" else None
PATIENCE = 20

steps = []
apart = []


def step(name, value):
    steps.append({"step": name, "result": plain(value)})
    return value


def plain(value):
    """Fit for JSON: octets that are not UTF-8 become base64."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return "base64:" + base64.b64encode(value).decode()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def wire(name):
    """The name as this server spells it: modified UTF-7, quoted."""
    if name != "INBOX":
        name = PREFIX + name.replace("/", DELIMITER)

    def shift(found):
        if found[0] == "&":
            return "&-"
        coded = base64.b64encode(found[0].encode("utf-16-be")).decode().rstrip("=")
        return "&" + coded.replace("/", ",") + "-"

    return '"' + re.sub("&|[^ -~]+", shift, name) + '"'


def local(name):
    """The name of a LIST or STATUS line as the CRM calls it."""

    def unshift(found):
        if not found[1]:
            return "&"
        coded = found[1].replace(",", "/")
        return base64.b64decode(coded + "=" * (-len(coded) % 4)).decode("utf-16-be")

    name = re.sub("&([^-]*)-", unshift, name.strip('"'))
    if name == "INBOX":
        return name
    if name.startswith(PREFIX):
        name = name[len(PREFIX):]
    return name.replace(DELIMITER, "/")


def connect():
    if SECURITY == "tls":
        return imaplib.IMAP4_SSL(HOST, int(IMAP_PORT), ssl_context=CONTEXT, timeout=PATIENCE)
    return imaplib.IMAP4(HOST, int(IMAP_PORT), timeout=PATIENCE)


def sign_in():
    session = connect()
    session.login(USER, PASSWORD)
    return session


def attempt(action, *arguments):
    """The answer, or BAD: not every server has SORT, keywords, or all mechanisms."""
    try:
        return action(*arguments)
    except imaplib.IMAP4.error:
        return ["BAD"]


def status(answer):
    """OK, NO, BAD: the words behind are the server's own."""
    return answer[0]


def untagged(answer):
    assert answer[0] == "OK", answer
    return [line for line in answer[1] if line is not None]


def listed(answer):
    """LIST lines as name, attributes that matter, and whether the delimiter is the one expected."""
    lines = []
    for line in untagged(answer):
        attributes, delimiter, name = re.fullmatch(rb'\(([^)]*)\) "(.)" (.*)', line).groups()
        name = local(name.decode())
        attributes = set(attributes.decode().split()) & {"\\HasChildren", "\\HasNoChildren", "\\Noselect"}
        # INBOX has children only where a prefix puts all mailboxes below it.
        lines.append([name, sorted(attributes) if name != "INBOX" else [], delimiter.decode() == DELIMITER])
    return sorted(lines)


def counts(session, name):
    line = untagged(session.status(wire(name), "(MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN)"))[0].decode()
    mailbox, items = re.fullmatch(r"(.*) \(([^)]*)\)", line).groups()
    words = items.split()
    items = dict(zip(words[::2], words[1::2]))
    apart.append({"uidvalidity of": name, "is": items.pop("UIDVALIDITY")})
    return [local(mailbox), sorted(items.items())]


def code(session, name):
    """A response code with a UIDVALIDITY before the UIDs: APPENDUID, COPYUID."""
    values = [value for value in session.response(name)[1] if value is not None]
    if not values:
        return None
    validity, *uids = values[-1].decode().split()
    apart.append({"uidvalidity in": name, "is": validity})
    return uids


def ways_to_sign_in():
    session = connect()
    apart.append({"capabilities before": session.capabilities})
    step("login", status(session.login(USER, PASSWORD)))
    step("logout", session.logout()[0])
    session = connect()
    step("authenticate plain", status(session.authenticate("PLAIN", lambda _: f"\0{USER}\0{PASSWORD}".encode())))
    session.logout()
    session = connect()
    step("with authorisation identity",
         status(session.authenticate("PLAIN", lambda _: f"{USER}\0{USER}\0{PASSWORD}".encode())))
    session.logout()
    session = connect()
    answers = iter([USER.encode(), PASSWORD.encode()])
    step("authenticate login", status(attempt(session.authenticate, "LOGIN", lambda _: next(answers))))
    session.logout()
    session = connect()
    try:
        session.login(USER, PASSWORD + "x")
        step("wrong password", "accepted")
    except imaplib.IMAP4.error:
        step("wrong password", "refused")
    step("and then the right one", status(session.login(USER, PASSWORD)))
    session.logout()


def the_tree(session):
    apart.append({"capabilities after": session.capability()[1]})
    namespace = untagged(session.namespace())[0].decode()
    assert namespace.startswith(f'(("{PREFIX}" "{DELIMITER}"))'), namespace
    step("list", listed(session.list('""', "*")))
    step("list by pattern", [line for line in listed(session.list('""', wire("Clients")[:-1] + '*"'))])
    step("list nothing", untagged(session.list('""', wire("Nothing"))))
    root = untagged(session.list('""', '""'))[0].decode()
    assert f'"{DELIMITER}"' in root, root
    step("lsub", sorted(name for name, _, _ in listed(session.lsub('""', "*"))))
    for name in ["INBOX", "Sent", "Kunden-Ärger", "Été 2024/Devis & co", "Clients/Dupont SARL"]:
        step(f"status {name}", counts(session, name))
    step("status of nothing", status(session.status(wire("Nothing"), "(MESSAGES)")))


def reading(session):
    step("select", session.select("INBOX", readonly=True))
    for name in ["FLAGS", "RECENT", "READ-ONLY"]:
        step(name, session.response(name)[1])
    apart.append({"uidvalidity selected": session.response("UIDVALIDITY")[1]})
    items = [
        "(RFC822.SIZE FLAGS INTERNALDATE RFC822.HEADER)", "RFC822", "(UID FLAGS)", "ENVELOPE", "BODYSTRUCTURE", "BODY",
        "FULL", "(BODY.PEEK[HEADER] BODY.PEEK[TEXT])", "BODY.PEEK[1]", "BODY.PEEK[1.1]", "BODY.PEEK[2.MIME]",
        "BODY.PEEK[3.1]", "BODY.PEEK[3.HEADER]", "BODY.PEEK[]<0.100>", "BODY.PEEK[]<100000.10>",
        "(BODY.PEEK[HEADER.FIELDS (SUBJECT FROM \"X-Absent\")])", "(BODY.PEEK[HEADER.FIELDS.NOT (Received Date)])",
        "RFC822.TEXT", "(rfc822.size body.peek[text])",
    ]
    for item in items:
        step(f"fetch {item}", session.fetch("1:*", item))
        step(f"uid fetch {item}", session.uid("FETCH", "1:*", item))
    step("fetch of a set", session.fetch("6,1,3:2,*", "(UID)"))
    step("bad item", refused(lambda: session.fetch("1", "(NO-SUCH-ITEM)")))
    # Messages read above are still unseen: the mailbox was examined.
    step("flags", session.fetch("1:*", "(FLAGS)"))


def refused(action):
    try:
        return action()[0]
    except imaplib.IMAP4.error:
        return "BAD"


def searching(session):
    session.select("INBOX", readonly=True)
    for keys in ["ALL", "(UNSEEN)", "FLAGGED", 'SUBJECT "Order"', 'HEADER Message-ID "<8bit@client.test>"', "UID 2:4",
                 "OR SEEN FROM kunde", "NOT (SEEN)", "SINCE 05-Mar-2024", "LARGER 600", "KEYWORD important", "6:1"]:
        step(f"search {keys}", attempt(session.search, None, keys))
        step(f"uid search {keys}", attempt(session.uid, "SEARCH", None, keys))
    for key, text in [("SUBJECT", "été"), ("BODY", "signé"), ("TEXT", "Grüße"), ("FROM", "Lefèvre"), ("TEXT", "{5}")]:
        session.literal = text.encode()
        step(f"search literal {key} {text}", attempt(session.uid, "SEARCH", "CHARSET", "UTF-8", key))
    step("search with parentheses in UTF-8", attempt(session.uid, "SEARCH", "CHARSET", "UTF-8", 'SUBJECT "été"'.encode()))
    step("unknown charset", refused(lambda: session.search("X-UNHEARD-OF", "ALL")))
    step("sort", attempt(session.sort, "(REVERSE DATE)", "UTF-8", "ALL"))
    step("uid sort", attempt(session.uid, "SORT", "(ARRIVAL)", "US-ASCII", "NOT SEEN"))
    step("thread", attempt(session.thread, "REFERENCES", "UTF-8", "ALL"))


LETTER = (
    "From: sales@ovh.test\r\nTo: c.martin@client.test\r\nSubject: =?UTF-8?Q?R=C3=A9ponse?=\r\n"
    "Date: Mon, 11 Mar 2024 10:00:00 +0100\r\nMessage-ID: <answer@ovh.test>\r\nMIME-Version: 1.0\r\n"
    "Content-Type: text/plain; charset=UTF-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
).encode()
BODY = "Voilà.\r\n.\r\n..\r\nA001 LOGOUT\r\n{10}\r\n".encode()
WHEN = '"11-Mar-2024 10:00:01 +0100"'


def writing(session):
    for name, flags in [("Sent", "(\\Seen)"), ("Drafts", "(\\Draft $label)"), ("Été 2024/Devis & co", "()")]:
        step(f"append to {name}", status(session.append(wire(name), flags, WHEN, LETTER + BODY)))
        step("APPENDUID", code(session, "APPENDUID"))
        step("select", status(session.select(wire(name))))
        stored = session.fetch("*", "(FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")
        step("stored", stored)
        assert stored[1][0][1] == LETTER + BODY, stored
    step("append of nothing", status(session.append(wire("Sent"), None, None, b"")))
    step("append nowhere", refused(lambda: session.append(wire("Nothing"), None, None, LETTER)))
    session.select("INBOX")
    for command, flags in [("+FLAGS", "(\\Seen)"), ("+FLAGS", "\\Flagged $label"), ("-FLAGS", "(\\Flagged)"),
                           ("FLAGS", "(\\Answered)"), ("+FLAGS.SILENT", "(\\Deleted)"), ("-FLAGS", "(\\DELETED)")]:
        step(f"store {command} {flags}", session.store("1:2", command, flags))
        step(f"uid store {command} {flags}", session.uid("STORE", "4", command, flags))
    step("flags", session.fetch("1:*", "(FLAGS)"))
    step("reading marks as seen", [session.fetch("5", item) for item in ["(FLAGS)", "BODY[TEXT]<0.5>", "(FLAGS)"]])


def moving(session):
    session.select("INBOX")
    step("copy", status(session.copy("1:2", wire("Clients/Dupont SARL"))))
    step("COPYUID", code(session, "COPYUID"))
    step("uid copy", status(session.uid("COPY", "3:4", wire("Kunden-Ärger"))))
    step("COPYUID", code(session, "COPYUID"))
    step("copy nowhere", refused(lambda: session.copy("1", wire("Nothing"))))
    offered = session.capability()[1][0].decode().split()
    assert {"MOVE", "UIDPLUS", "UNSELECT"} <= set(offered), offered
    step("uid move", status(session.uid("MOVE", "2,5", wire("Trash"))))
    step("COPYUID", code(session, "COPYUID"))
    step("left", session.fetch("1:*", "(UID FLAGS)"))
    step("uid expunge", [session.store("1:2", "+FLAGS", "(\\Deleted)"), session.uid("EXPUNGE", "1"),
                         session.response("EXPUNGE")])
    step("expunge", session.expunge())
    step("left", session.fetch("1:*", "(UID FLAGS)"))
    step("check", status(session.check()))
    step("unselect", status(session.unselect()))
    step("in trash", [session.select(wire("Trash")), session.fetch("1:*", "(UID FLAGS)")])
    step("close", status(session.close()))


def two_at_once(session):
    session.select("Inbox")
    other = sign_in()
    step("append by another session", status(other.append("INBOX", None, WHEN, LETTER + BODY)))
    step("seen by this one", [session.noop()[0], session.response("EXISTS")[1]])
    other.select("INBOX")
    other.store("*", "+FLAGS", "(\\Deleted)")
    other.expunge()
    step("and its end", [session.noop()[0], session.response("EXPUNGE")[1]])
    other.logout()


def folders(session):
    for name in ["Prospects", "Café & thé", "Größe", "Clients/Société Générale", "Æther — 日本"]:
        step(f"create {name}", status(session.create(wire(name))))
        step(f"subscribe {name}", status(session.subscribe(wire(name))))
        step(f"append to {name}", [status(session.append(wire(name), None, None, LETTER + BODY)),
                                   code(session, "APPENDUID")])
        step(f"status {name}", counts(session, name))
    step("create again", status(session.create(wire("Prospects"))))
    step("list", listed(session.list()))
    step("rename", status(session.rename(wire("Café & thé"), wire("Été 2024/Café"))))
    step("rename of nothing", status(session.rename(wire("Nothing"), wire("Something"))))
    step("unsubscribe", status(session.unsubscribe(wire("Café & thé"))))
    step("list", listed(session.list()))
    step("lsub", sorted(name for name, _, _ in listed(session.lsub())))
    for name in ["Prospects", "Été 2024/Café", "Größe", "Clients/Société Générale", "Æther — 日本"]:
        step(f"unsubscribe {name}", status(session.unsubscribe(wire(name))))
        step(f"delete {name}", status(session.delete(wire(name))))
    step("delete nothing", status(session.delete(wire("Nothing"))))
    step("list", listed(session.list()))


def submit():
    if SECURITY == "tls":
        session = smtplib.SMTP_SSL(HOST, int(SMTP_PORT), local_hostname="crm.test", context=CONTEXT, timeout=PATIENCE)
    else:
        session = smtplib.SMTP(HOST, int(SMTP_PORT), local_hostname="crm.test", timeout=PATIENCE)
    session.ehlo()
    session.user, session.password = USER, PASSWORD
    apart.append({"ehlo": sorted(session.esmtp_features)})
    return session


def sending(inbox):
    for mechanism in ["PLAIN", "LOGIN"]:
        for at_once in [True, False]:
            session = submit()
            authenticate = getattr(session, f"auth_{mechanism.lower()}")
            step(f"auth {mechanism} {at_once}", session.auth(mechanism, authenticate, initial_response_ok=at_once)[0])
            step("quit", session.quit()[0])
    session = submit()
    session.password = PASSWORD + "x"
    try:
        step("wrong password", session.auth("PLAIN", session.auth_plain)[0])
    except smtplib.SMTPAuthenticationError as error:
        step("wrong password", error.smtp_code)
    session.close()

    session = submit()
    session.login(USER, PASSWORD)
    step("noop", session.noop()[0])
    session.mail(USER)
    step("rset", session.rset()[0])
    letters = [
        ("dots", "\r\n".join([".", "..", ".a", "", ".", "a.", ". ", ""]).encode(), []),
        ("8-bit", "Voilà: été, Ærø, 日本.\r\n".encode() + b"\xff\xfe latin \xe9\r\n", ["BODY=8BITMIME"]),
        ("no line at all", b"", []),
        ("long lines", b"x" * 990 + b"\r\n" + b"." + b"y" * 980 + b"\r\n", []),
        ("large", b"0123456789 abcdefghijklmnopqrstuvwxyz\r\n" * 40_000, []),
    ]
    for title, body, options in letters:
        name = f"<{title.replace(' ', '-')}@crm.test>"
        head = f"From: {USER}\r\nTo: {USER}\r\nSubject: {title}\r\nMessage-ID: {name}\r\n\r\n".encode()
        step(f"send {title}", session.sendmail(USER, [USER], head + body, options))
        header, text = arrived(inbox, name)
        # Cyrus adds a date where there is none.
        assert head.removesuffix(b"\r\n") in header, header
        step(f"received {title}", [len(text), text == body])
    step("quit", session.quit()[0])


def arrived(inbox, name):
    """Header and text of the message of that name, once it is delivered."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        inbox.noop()
        found = untagged(inbox.uid("SEARCH", "HEADER", "Message-ID", f'"{name}"'))[0]
        if found:
            parts = inbox.uid("FETCH", found.decode(), "(BODY.PEEK[HEADER] BODY.PEEK[TEXT])")[1]
            # Cyrus says an empty text as "", which is no literal.
            return parts[0][1], parts[1][1] if isinstance(parts[1], tuple) else b""
        time.sleep(0.02)
    raise AssertionError(f"{name} was not delivered within {PATIENCE} s")


ways_to_sign_in()
for work in [the_tree, reading, searching, writing, moving, two_at_once, folders]:
    session = sign_in()
    work(session)
    session.logout()
inbox = sign_in()
inbox.select("INBOX")
sending(inbox)
inbox.logout()
print(json.dumps({"steps": steps, "apart": apart}, ensure_ascii=False, indent=1, default=str))
