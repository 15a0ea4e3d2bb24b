//! `passerelle account set`: changes settings, and says what the account is then.

use super::{device, grant, password, progress, words_of_shown};
use crate::cli::{Error, Place, arguments::AccountSet};
use passerelle::{
    control::{
        self, Manner,
        account::{self, Shown},
        consent, registration,
        settings::{self, Wish},
    },
    model::Address,
    provider::Table,
    store::{Credential, Store, unix_now},
};
use serde::Serialize;

#[derive(Serialize)]
struct SetJson<'a> {
    /// Whether the provider was asked, and let us in.
    signed_in: bool,
    #[serde(flatten)]
    account: &'a Shown,
}

pub(super) async fn run(place: &Place, arguments: AccountSet) -> Result<(), Error> {
    let table = place.providers()?;
    let (address, settings) = (arguments.address.0, arguments.settings);
    let mut wish = Wish {
        imap: settings.at.imap(),
        smtp: settings.at.smtp(),
        user: settings.at.user(),
        smtp_auth: settings.smtp_auth(),
        receives: settings.receives(),
        sends: settings.sends(),
        unread: settings.unread(),
        from: settings.from(),
        sent_copy: settings.sent_copy(),
        submission: settings.submission(),
        uncertain: settings.uncertain(),
        ..Wish::default()
    };
    let store = place.store().await?;
    // Nobody is asked for the password of an account that there is not.
    let account = account::by_address(&store, &address).await?;
    let provider = settings.at.provider.as_deref().unwrap_or(&account.settings.provider);
    if let Some(grant) =
        grant::of(&arguments.grant, table.named(provider), &address, place, Some(&store), wish.smtp_auth.as_ref())
            .await?
    {
        wish.credential = Some(Credential::Grant(grant));
        wish.consented = arguments.grant.device;
    } else if arguments.by_registration {
        wish.credential = Some(registration::wanted(&store, &address).await?);
    } else if arguments.crm_token {
        wish.credential = Some(Credential::OfClient);
    } else if arguments.password || arguments.password_stdin {
        wish.credential = Some(Credential::Password(password::of_mailbox(&address, arguments.password_stdin)?));
    }
    wish.smtp_password = password::of_submission(&settings)?;
    wish.provider = settings.at.provider;
    wish.certificates = settings.at.certificates;
    wish.display_name = settings.display_name;
    wish.sender = settings.sender.map(|sender| sender.0);
    wish.add_aliases = settings.aliases.into_iter().map(|alias| alias.0).collect();
    wish.remove_aliases = arguments.remove_aliases.into_iter().map(|alias| alias.0).collect();
    change(place, &store, &table, &address, wish, settings.unchecked).await
}

/// `passerelle account sign-in --device`, as this person.
pub(super) async fn sign_in(place: &Place, address: &Address, person: Option<&Address>) -> Result<(), Error> {
    let (store, table) = (place.store().await?, place.providers()?);
    let account = account::by_address(&store, address).await?;
    let provider = control::provider::named(&table, &account.settings.provider)?;
    let person = match person {
        Some(person) => person.to_string().to_lowercase(),
        None => consent::expected(&store, address, Some(&account.settings.smtp_auth), Some(&account)).await?,
    };
    let grant = device::grant(place, &store, provider, address, &person).await?;
    let wish = Wish { credential: Some(Credential::Grant(grant)), consented: true, ..Wish::default() };
    change(place, &store, &table, address, wish, false).await
}

async fn change(
    place: &Place,
    store: &Store,
    table: &Table,
    address: &Address,
    wish: Wish,
    unchecked: bool,
) -> Result<(), Error> {
    let manner = Manner { own: &place.own_listeners()?, report: &progress(place.json) };
    let signed_in = settings::set(store, table, address, wish, unchecked, manner, unix_now()).await?;
    let account = account::show(store, address).await?;
    let words = format!("the account is changed:\n\n{}", words_of_shown(&account));
    place.answer(&SetJson { signed_in, account: &account }, &words)
}
