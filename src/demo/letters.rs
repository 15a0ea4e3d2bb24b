//! The mail of the demo's mailbox: a dozen letters, made up, in French and English.

use crate::{engine::source::Flags, model::Role};

/// A letter, and where it lies.
pub(super) struct Laid {
    /// None: INBOX.
    pub(super) role: Option<Role>,
    pub(super) flags: Flags,
    /// In Unix seconds.
    pub(super) received: i64,
    pub(super) octets: Vec<u8>,
}

type Row = (Option<Role>, i64, bool, &'static str, &'static str, &'static str);

/// Where, how old in days, whether read; who, subject, text. Subjects and names are encoded words where they must be.
const LETTERS: [Row; 12] = [
    (
        None,
        30,
        true,
        "Claire Martin <c.martin@client.example>",
        "Order 2024-117",
        "Hello,\n\nplease confirm order 2024-117.\n\nClaire",
    ),
    (
        None,
        28,
        true,
        "=?UTF-8?Q?L=C3=A9a_Lef=C3=A8vre?= <lea@fournisseur.example>",
        "=?UTF-8?Q?Devis_d=E2=80=99=C3=A9t=C3=A9?=",
        "Bonjour,\n\nvoici le devis d’été. À bientôt.\n\nLéa",
    ),
    (
        None,
        21,
        true,
        "Accounts <accounts@supplier.example>",
        "Invoice 4711",
        "The invoice for March is due on the 30th.",
    ),
    (
        None,
        20,
        true,
        "Mairie <contact@mairie.example>",
        "=?UTF-8?Q?Rendez-vous_confirm=C3=A9?=",
        "Votre rendez-vous est confirmé pour mardi.",
    ),
    (
        None,
        14,
        true,
        "Support <support@hosting.example>",
        "Your mailbox moves to another host",
        "Nothing changes for you. We hope.",
    ),
    (
        None,
        9,
        false,
        "Claire Martin <c.martin@client.example>",
        "Re: Order 2024-117",
        "Thank you, received in good order.",
    ),
    (
        None,
        5,
        false,
        "=?UTF-8?Q?Soci=C3=A9t=C3=A9_Dupont?= <dupont@client.example>",
        "=?UTF-8?Q?R=C3=A9clamation?=",
        "Le colis est arrivé ouvert.",
    ),
    (None, 1, false, "Newsletter <news@press.example>", "What is new in IMAP", "Still IMAP4rev1, mostly."),
    (Some(Role::Sent), 29, true, "Vous <ME>", "Re: Order 2024-117", "Confirmed, with thanks."),
    (Some(Role::Sent), 27, true, "Vous <ME>", "=?UTF-8?Q?Re:_Devis_d=E2=80=99=C3=A9t=C3=A9?=", "C’est signé."),
    (Some(Role::Drafts), 2, true, "Vous <ME>", "=?UTF-8?Q?R=C3=A9ponse_=C3=A0_Dupont?=", "Monsieur,\n\nnous"),
    (Some(Role::Trash), 40, true, "Prince <prince@far.example>", "An inheritance", "You have been chosen."),
];

const DAY: i64 = 86_400;

/// The letters of the mailbox of this address, as they are at this Unix second.
pub(super) fn letters(address: &str, now: i64) -> Vec<Laid> {
    let laid = LETTERS.iter().enumerate().map(|(number, &(role, age, read, from, subject, text))| {
        let from = from.replace("ME", address);
        let received = now - age * DAY;
        let date = mail_parser::DateTime::from_timestamp(received).to_rfc822();
        let octets = format!(
            "Date: {date}\nFrom: {from}\nTo: {address}\nSubject: {subject}\nMessage-ID: <{number}@demo.example>\nMIME-Version: 1.0\n\
             Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n{text}\n"
        );
        let flags = read.then(|| Box::from("\\Seen")).into_iter().collect();
        Laid { role, flags, received, octets: octets.replace('\n', "\r\n").into_bytes() }
    });
    laid.collect()
}
