//! The words of the pages, in one table: each in every language.

use axum::http::{HeaderMap, header};

/// A language of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    English,
    French,
}

impl Language {
    /// The one that a browser likes best; English where it likes neither.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut best = (Self::English, 0.0_f32);
        for part in wanted.split(',').take(20) {
            let mut fields = part.split(';');
            let name = fields.next().unwrap_or_default().trim().to_ascii_lowercase();
            let weight = fields.find_map(|field| field.trim().strip_prefix("q=")?.parse().ok()).unwrap_or(1.0_f32);
            let language = match name.split('-').next() {
                Some("en") => Self::English,
                Some("fr") => Self::French,
                _ => continue,
            };
            if weight > best.1 {
                best = (language, weight);
            }
        }
        best.0
    }

    pub(super) fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::French => "fr",
        }
    }
}

/// What the pages say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Say {
    Begin,
    Close,
    Denied,
    Done,
    Failed,
    Fault,
    Home,
    Kept,
    Moved,
    NotFound,
    NotReturned,
    OtherHost,
    OtherPerson,
    OtherSite,
    Paste,
    PasteButton,
    Start,
    TooLong,
    Unknown,
}

/// In English and French. `{}` stands for what the page fills in.
const WORDS: [(Say, &str, &str); 19] = [
    (Say::Begin, "Sign in at {}", "Se connecter chez {}"),
    (Say::Close, "You can close this window.", "Vous pouvez fermer cette fenêtre."),
    (
        Say::Denied,
        "The provider did not give the permission. Nothing was stored.",
        "Le fournisseur n’a pas accordé l’autorisation. Rien n’a été enregistré.",
    ),
    (Say::Done, "{} is connected.", "{} est connectée."),
    (
        Say::Failed,
        "The sign-in came to nothing. Nothing was stored.",
        "La connexion n’a pas abouti. Rien n’a été enregistré.",
    ),
    (
        Say::Fault,
        "The bridge has a trouble of its own; its log says more.",
        "La passerelle a un problème interne ; son journal en dit plus.",
    ),
    (
        Say::Home,
        "This is the mail bridge. An administrator begins a sign-in with passerelle account sign-in ADDRESS.",
        "Ceci est la passerelle de messagerie. Un administrateur commence une connexion avec passerelle account sign-in ADRESSE.",
    ),
    (
        Say::Kept,
        "Your sign-in is kept, but the mailbox does not open yet. You need not sign in again; tell your administrator.",
        "Votre connexion est conservée, mais la boîte ne s’ouvre pas encore. Inutile de vous reconnecter ; prévenez votre \
         administrateur.",
    ),
    (
        Say::Moved,
        "The mail of this address has moved since this sign-in was asked for. Nothing was stored. Ask your administrator for a \
         new link.",
        "Le courrier de cette adresse a changé de place depuis la demande de cette connexion. Rien n’a été enregistré. \
         Demandez un nouveau lien à votre administrateur.",
    ),
    (Say::NotFound, "There is no such page.", "Cette page n’existe pas."),
    (
        Say::NotReturned,
        "This is not the whole address at which a sign-in ends.",
        "Ce n’est pas l’adresse complète à laquelle une connexion se termine.",
    ),
    (Say::OtherHost, "The bridge is not known by this name.", "La passerelle n’est pas connue sous ce nom."),
    (
        Say::OtherPerson,
        "Somebody else signed in than who was asked to for this mailbox. Nothing was stored.",
        "Ce n’est pas la personne attendue pour cette boîte qui s’est connectée. Rien n’a été enregistré.",
    ),
    (Say::OtherSite, "This came from another site.", "Ceci vient d’un autre site."),
    (
        Say::Paste,
        "If your browser ends on an address that it cannot open, copy that whole address and paste it here:",
        "Si votre navigateur aboutit à une adresse qu’il ne peut ouvrir, copiez cette adresse entière et collez-la ici :",
    ),
    (Say::PasteButton, "Go on", "Continuer"),
    (
        Say::Start,
        "An administrator asks you to let the mail bridge use the mailbox {}.",
        "Un administrateur vous demande d’autoriser la passerelle de messagerie à utiliser la boîte {}.",
    ),
    (Say::TooLong, "This is longer than any address.", "C’est plus long que toute adresse."),
    (
        Say::Unknown,
        "This sign-in is not known: it was answered already, is too old, or began in another browser. If you were asked \
         to paste an address, paste the one of this page where you were asked.",
        "Cette connexion n’est pas connue : elle a déjà abouti, elle est trop ancienne, ou elle a commencé dans un autre \
         navigateur. Si l’on vous a demandé de coller une adresse, collez celle de cette page là où on vous l’a demandé.",
    ),
];

impl Say {
    pub(super) fn in_language(self, language: Language) -> &'static str {
        let found = WORDS.iter().find(|(say, ..)| *say == self);
        found.map_or("", |(_, english, french)| match language {
            Language::English => english,
            Language::French => french,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn every_word_stands_in_both_languages() {
        let all = [
            Say::Begin,
            Say::Close,
            Say::Denied,
            Say::Done,
            Say::Failed,
            Say::Fault,
            Say::Home,
            Say::Kept,
            Say::Moved,
            Say::NotFound,
            Say::NotReturned,
            Say::OtherHost,
            Say::OtherPerson,
            Say::OtherSite,
            Say::Paste,
            Say::PasteButton,
            Say::Start,
            Say::TooLong,
            Say::Unknown,
        ];
        assert_eq!(all.len(), WORDS.len());
        for say in all {
            let [english, french] = [Language::English, Language::French].map(|language| say.in_language(language));
            assert!(!english.is_empty() && !french.is_empty() && english != french, "{say:?}");
            assert_eq!(english.matches("{}").count(), french.matches("{}").count(), "{say:?}");
        }
    }

    #[test]
    fn a_browser_has_the_language_that_it_likes_best() {
        for (wanted, language) in [
            ("", Language::English),
            ("fr", Language::French),
            ("fr-CA, en;q=0.8", Language::French),
            ("en;q=0.3, fr;q=0.5", Language::French),
            ("de, en;q=0.9, fr;q=0.8", Language::English),
            ("fr;q=0", Language::English),
            ("fr;q=x", Language::French),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(wanted));
            assert_eq!(Language::of(&headers), language, "{wanted}");
        }
    }
}
