"""Odoo's mail fetch and its way to send, on imaplib and smtplib.

    python3 odoo.py IMAP_PORT SMTP_PORT USER PASSWORD BOUNCE RECIPIENT SENDER

Prints one JSON document: how many messages were fetched, and that one was sent with the bounce address as envelope
sender, as Odoo does.
"""

import imaplib
import json
import smtplib
import sys

imap_port, smtp_port, user, password, bounce, recipient, sender = sys.argv[1:]

imap = imaplib.IMAP4("127.0.0.1", int(imap_port), timeout=20)
imap.login(user, password)
# The "test connection" button closes what was never selected: imaplib refuses that by itself.
try:
    imap.close()
    closed = True
except imaplib.IMAP4.error:
    closed = False
imap.select()
_, data = imap.search(None, "(UNSEEN)")
fetched = 0
for number in data[0].split():
    _, parts = imap.fetch(number, "(RFC822)")
    assert b"RFC822 {" in parts[0][0], parts[0][0]
    imap.store(number, "-FLAGS", "\\Seen")
    imap.store(number, "+FLAGS", "\\Seen")
    fetched += 1
_, left = imap.search(None, "(UNSEEN)")
imap.close()
imap.logout()

smtp = smtplib.SMTP("127.0.0.1", int(smtp_port), timeout=20)
smtp.ehlo()
smtp.login(user, password)
# The test of the outgoing server: as far as DATA, then the line is dropped.
smtp.mail(user)
smtp.rcpt(recipient)
code, _ = smtp.docmd("DATA")
smtp.close()

smtp = smtplib.SMTP("127.0.0.1", int(smtp_port), timeout=20)
smtp.login(user, password)
message = f"From: {sender}\r\nTo: {recipient}\r\nMessage-ID: <odoo-1@crm.test>\r\nSubject: from Odoo\r\n\r\nx\r\n"
refused = smtp.sendmail(bounce, [recipient], message, mail_options=["SIZE=200"])
smtp.quit()

print(json.dumps({
    "closed": closed,
    "fetched": fetched,
    "left": len(left[0].split()),
    "data": code,
    "refused": refused,
}))
