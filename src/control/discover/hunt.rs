//! The hunt: one way after the other, each filling in what is missing, until both services are known.

use super::{By, Found, Located, Outcome, OwnListeners, Report, Terms, Tried};
use crate::{
    discovery::{self, Answer, HostTemplate, NAMES, Nonsense, Server, Servers, SignInName, Step, host, is_within},
    model::{Address, Endpoint, Host, UserFormat},
    provider::{GENERIC, Provider, Service, Table},
    relay::LaneUse,
    upstream::discovery::{Asker, Silence},
};
use std::sync::Arc;
use tokio::task::JoinSet;

/// What is wanted of a Microsoft Autodiscover server that a record names.
const AUTODISCOVER: &str = "/autodiscover/autodiscover.xml";
/// Led on by Autodiscover's own answers; what the web server does besides is counted apart.
pub(crate) const ELSEWHERE_MAX: u32 = 2;

pub(super) struct Hunt<'a> {
    table: &'a Table,
    terms: &'a Terms,
    address: &'a Address,
    /// In lower case.
    domain: String,
    asker: Asker,
    own: &'a OwnListeners,
    report: Report<'a>,
    tried: Vec<Tried>,
    provider: Option<&'a Provider>,
    others: Vec<String>,
    imap: Option<(Server, By)>,
    smtp: Option<(Server, By)>,
    /// What takes in the domain's mail, once that was asked.
    mx: Option<Result<Vec<String>, Silence>>,
}

impl<'a> Hunt<'a> {
    pub(super) fn new(
        table: &'a Table,
        terms: &'a Terms,
        address: &'a Address,
        asker: Asker,
        (own, report): (&'a OwnListeners, Report<'a>),
    ) -> Self {
        let domain = address.domain().to_ascii_lowercase();
        let (tried, others) = (Vec::new(), Vec::new());
        let (provider, imap, smtp, mx) = (None, None, None, None);
        Self { table, terms, address, domain, asker, own, report, tried, provider, others, imap, smtp, mx }
    }

    pub(super) async fn run(&mut self) {
        match self.table.of_domain(&self.domain) {
            Some(provider) => {
                self.tell(By::Table, &self.domain.clone(), provider.label.clone(), true);
                self.is_at(provider, By::Table);
            }
            None => self.tell(By::Table, &self.domain.clone(), "no provider has this domain".to_owned(), false),
        }
        for step in &self.terms.steps {
            if self.imap.is_some() && self.smtp.is_some() {
                return;
            }
            match step {
                Step::Mx => self.by_mx().await,
                Step::Autoconfig => self.by_autoconfig().await,
                Step::Srv => self.by_records().await,
                Step::Autodiscover => self.by_autodiscover().await,
                Step::Probe => self.by_probes().await,
            }
        }
    }

    pub(super) fn out_of_time(&mut self) {
        let by = self.tried.last().map_or(By::Table, |tried| tried.by);
        self.tell(by, &self.domain.clone(), "the time for all of this is over (timeouts.discovery)".to_owned(), false);
    }

    pub(super) fn outcome(self) -> Outcome {
        let Self { table, address, domain, tried, provider, others, imap, smtp, .. } = self;
        let found = imap.zip(smtp).map(|((imap, imap_by), (smtp, smtp_by))| {
            let provider = provider.or_else(|| table.named(GENERIC));
            let name = provider.map_or(GENERIC, |provider| provider.name.as_str());
            let foreign = |host: &&Host| !is_within(host, &domain) && table.of_host(host.as_str()).is_none();
            let mut outside: Vec<_> =
                [&imap.endpoint.host, &smtp.endpoint.host].into_iter().filter(foreign).cloned().collect();
            outside.dedup();
            Found {
                password: Found::takes_passwords(table, name, imap.password),
                provider: name.to_owned(),
                label: provider.map(|provider| provider.label.clone()).unwrap_or_default(),
                imap: Located { endpoint: imap.endpoint, by: imap_by },
                smtp: Located { endpoint: smtp.endpoint, by: smtp_by },
                user: imap.name,
                outside,
                others,
            }
        });
        Outcome { address: address.clone(), tried, found }
    }

    fn tell(&mut self, by: By, asked: &str, answer: String, found: bool) {
        let tried = Tried { by, asked: asked.to_owned(), answer, found };
        (self.report)(&tried);
        self.tried.push(tried);
    }

    /// The provider is known; where its hosts are the same for all customers, so are they.
    fn is_at(&mut self, provider: &'a Provider, by: By) {
        self.provider = Some(provider);
        let name = self.name_at(provider);
        let server = |endpoint| Server { endpoint, name: name.clone(), password: true };
        let [imap, smtp] = [&provider.imap, &provider.smtp].map(|service| service.endpoint().map(server));
        if let (Some(imap), Some(smtp)) = (imap, smtp) {
            (self.imap, self.smtp) = (Some((imap, by)), Some((smtp, by)));
        }
    }

    fn name_at(&self, provider: &Provider) -> SignInName {
        match provider.sign_in.user {
            UserFormat::MailboxName => {
                SignInName { format: UserFormat::MailboxName, name: self.address.local_part().to_owned() }
            }
            UserFormat::Address | UserFormat::Manual => SignInName::usual(self.address),
        }
    }

    /// Takes what is missing of these servers. Where the mailbox is at a host of the table, that knows more: how it is signed
    /// in to, and where its mail is sent. A host for sending alone tells nothing of the mailbox.
    fn take(&mut self, servers: &Servers, step: Step) {
        let by = By::Step(step);
        let imap = Servers::best(&servers.imap).filter(|_| self.imap.is_none());
        if let Some(imap) = imap {
            if let Some(provider) = self.table.of_host(imap.endpoint.host.as_str()) {
                self.is_at(provider, by);
            }
            let imap = self.as_known(imap, |provider| &provider.imap);
            self.imap.get_or_insert((imap, by));
        }
        if let Some(smtp) = Servers::best(&servers.smtp) {
            let smtp = self.as_known(smtp, |provider| &provider.smtp);
            self.smtp.get_or_insert((smtp, by));
        }
    }

    /// At a host of the table, which no person is asked to confirm, the port, the encryption and the user's name are the
    /// table's: a stranger could name another service there.
    fn as_known(&self, server: &Server, service: fn(&Provider) -> &Service) -> Server {
        let Some(provider) = self.table.of_host(server.endpoint.host.as_str()) else { return server.clone() };
        let Service { port, security, .. } = *service(provider);
        let endpoint = Endpoint { port, security, ..server.endpoint.clone() };
        Server { endpoint, name: self.name_at(provider), password: server.password }
    }

    async fn by_mx(&mut self) {
        let by = By::Step(Step::Mx);
        let hosts = match self.mx().await {
            Ok(hosts) => hosts,
            Err(silence) => return self.tell(by, &self.domain.clone(), silence.to_string(), false),
        };
        let shown = hosts.join(", ");
        let known = hosts.iter().find_map(|host| {
            let providers = self.table.of_mx(host);
            (!providers.is_empty()).then_some((host, providers))
        });
        let Some((mx, providers)) = known else {
            return self.tell(by, &self.domain.clone(), format!("{shown}: no provider that is known"), false);
        };
        let Some((provider, others)) = providers.split_first() else { return };
        self.tell(by, &self.domain.clone(), format!("{shown}: {}", provider.label), true);
        self.others = others.iter().map(|other| other.name.clone()).collect();
        self.is_at(provider, by);
        if let (None, Some(mx)) = (&self.imap, host(mx, &self.domain)) {
            self.by_own_host(provider, mx).await;
        }
    }

    /// A provider with a host for each customer may take in mail by that very host.
    async fn by_own_host(&mut self, provider: &Provider, mx: Host) {
        if !provider.is_at(mx.as_str()) {
            return;
        }
        let endpoint =
            |service: &Service| Endpoint { host: mx.clone(), port: service.port, security: service.security };
        let (imap, smtp) = (endpoint(&provider.imap), endpoint(&provider.smtp));
        self.greet(Step::Mx, vec![(imap, LaneUse::Imap), (smtp, LaneUse::Submission)]).await;
    }

    async fn mx(&mut self) -> Result<Vec<String>, Silence> {
        if let Some(known) = &self.mx {
            return known.clone();
        }
        let asked = self.asker.mx(&self.domain).await;
        let asked = asked.map(|hosts| {
            let hosts = hosts.iter().map(|host| host.trim_end_matches('.').to_ascii_lowercase());
            hosts.filter(|host| !host.is_empty()).collect::<Vec<_>>()
        });
        // A single dot says that the domain takes in no mail (RFC 7505).
        let asked = asked.and_then(|hosts| if hosts.is_empty() { Err(Silence::None) } else { Ok(hosts) });
        self.mx = Some(asked.clone());
        asked
    }

    async fn by_autoconfig(&mut self) {
        let urls: Vec<_> = self.terms.autoconfig.iter().map(|template| template.of(self.address)).collect();
        for url in urls {
            if self.has_file(&url).await {
                return;
            }
        }
        // Whoever takes in a domain's mail mostly has its mailboxes too.
        let mx = self.mx().await.unwrap_or_default();
        let domains =
            mx.first().and_then(|mx| host(mx, &self.domain)).map(|mx| discovery::domains_of_mx(&mx, &self.domain));
        for domain in domains.unwrap_or_default() {
            let urls: Vec<_> = self.terms.autoconfig.iter().map(|template| template.of_other(&domain)).collect();
            for url in urls {
                if self.has_file(&url).await {
                    return;
                }
            }
        }
    }

    /// Whether a file at this address tells both services, or all that was missing.
    async fn has_file(&mut self, url: &str) -> bool {
        let answer = self.asker.web(url, None, &self.domain).await;
        let servers = match answer {
            Ok(octets) => discovery::of_autoconfig(&octets, self.address),
            Err(silence) => {
                self.tell(By::Step(Step::Autoconfig), url, silence.to_string(), false);
                return false;
            }
        };
        self.read(Step::Autoconfig, url, servers);
        self.imap.is_some() && self.smtp.is_some()
    }

    fn read(&mut self, step: Step, asked: &str, servers: Result<Servers, Nonsense>) {
        match servers {
            Ok(servers) => {
                self.tell(By::Step(step), asked, words(&servers), !servers.is_empty());
                self.take(&servers, step);
            }
            Err(nonsense) => self.tell(By::Step(step), asked, nonsense.to_string(), false),
        }
    }

    async fn by_records(&mut self) {
        let mut records: [Vec<discovery::Record>; 4] = Default::default();
        for (name, records) in NAMES.iter().zip(&mut records) {
            let name = format!("{name}.{}", self.domain);
            match self.asker.srv(&name).await {
                Ok(found) => *records = found,
                Err(silence) => self.tell(By::Step(Step::Srv), &name, silence.to_string(), false),
            }
        }
        if records.iter().any(|records| !records.is_empty()) {
            let servers = discovery::of_records(&records, self.address);
            let asked = format!("records of {}", self.domain);
            self.read(Step::Srv, &asked, Ok(servers));
        }
    }

    /// The name server first: it may lead to a provider of the table, who need not be asked then.
    async fn by_autodiscover(&mut self) {
        let by = By::Step(Step::Autodiscover);
        let name = format!("autodiscover.{}", self.domain);
        let alias = self.asker.alias(&name).await;
        let known = alias.iter().find_map(|alias| Some((alias, self.table.of_autodiscover(alias)?)));
        if let Some((alias, provider)) = known {
            self.tell(by, &name, format!("{}: {}", alias.trim_end_matches('.'), provider.label), true);
            return self.is_at(provider, by);
        }
        let mut urls: Vec<_> = self.terms.autodiscover.iter().map(|template| template.of(self.address)).collect();
        urls.extend(self.autodiscover_of_records().await);
        for url in urls {
            self.ask_autodiscover(url).await;
            if self.imap.is_some() && self.smtp.is_some() {
                return;
            }
        }
    }

    /// The address is told to hosts of its own domain alone.
    async fn autodiscover_of_records(&mut self) -> Option<String> {
        let by = By::Step(Step::Autodiscover);
        let name = format!("_autodiscover._tcp.{}", self.domain);
        let records = match self.asker.srv(&name).await {
            Ok(records) => records,
            Err(silence) => {
                self.tell(by, &name, silence.to_string(), false);
                return None;
            }
        };
        let (host, port) =
            records.iter().min_by_key(|record| record.priority).and_then(|r| discovery::located(r, &self.domain))?;
        if is_within(&host, &self.domain) {
            return Some(format!("https://{host}:{port}{AUTODISCOVER}"));
        }
        self.leads_outside(&name, &host);
        None
    }

    /// Autodiscover leads to a host that is not the domain's own: it may be a provider's of the table, and is not asked.
    fn leads_outside(&mut self, asked: &str, host: &Host) {
        let by = By::Step(Step::Autodiscover);
        match self.table.of_autodiscover(host.as_str()) {
            Some(provider) => {
                self.tell(by, asked, format!("{host}: {}", provider.label), true);
                self.is_at(provider, by);
            }
            None => self.tell(by, asked, Silence::Outside(host.clone()).to_string(), false),
        }
    }

    async fn ask_autodiscover(&mut self, mut url: String) {
        let (by, question) = (By::Step(Step::Autodiscover), discovery::question(self.address));
        for _ in 0..=ELSEWHERE_MAX {
            let answer = match self.asker.web(&url, Some(&question), &self.domain).await {
                Ok(octets) => discovery::answer(&octets, self.address),
                Err(Silence::Status(401)) => {
                    return self.tell(by, &url, "it wants a password, and got none".to_owned(), false);
                }
                Err(Silence::Outside(host)) => return self.leads_outside(&url, &host),
                Err(silence) => return self.tell(by, &url, silence.to_string(), false),
            };
            match answer {
                Ok(Answer::Elsewhere(next)) => {
                    self.tell(by, &url, format!("asked on at {next}"), false);
                    url = next;
                }
                Ok(Answer::OtherAddress(other)) => {
                    return self.tell(by, &url, format!("it knows the mailbox by another address: {other}"), false);
                }
                Ok(Answer::Servers(servers)) => return self.read(Step::Autodiscover, &url, Ok(servers)),
                Err(nonsense) => return self.read(Step::Autodiscover, &url, Err(nonsense)),
            }
        }
    }

    async fn by_probes(&mut self) {
        let of = |templates: &[HostTemplate], purpose| -> Vec<_> {
            let endpoints = templates.iter().filter_map(|template| template.of(&self.domain));
            endpoints.map(|endpoint| (endpoint, purpose)).collect()
        };
        let mut places = Vec::new();
        if self.imap.is_none() {
            places.extend(of(&self.terms.imap, LaneUse::Imap));
        }
        if self.smtp.is_none() {
            places.extend(of(&self.terms.smtp, LaneUse::Submission));
        }
        self.greet(Step::Probe, places).await;
    }

    /// Sees at once who greets; the first of each service in the order of `places` is taken.
    async fn greet(&mut self, step: Step, places: Vec<(Endpoint, LaneUse)>) {
        let own: Arc<[_]> = self.own.addresses().into();
        let mut greetings = JoinSet::new();
        for (at, (endpoint, purpose)) in places.iter().cloned().enumerate() {
            let (asker, certificates, own) = (self.asker.clone(), self.terms.certificates.clone(), own.clone());
            greetings.spawn(async move { (at, asker.greeting(&endpoint, purpose, &certificates, &own).await) });
        }
        let mut greeted: Vec<_> = greetings.join_all().await;
        greeted.sort_by_key(|(at, _)| *at);
        let mut servers = Servers::default();
        for ((endpoint, purpose), (_, greeted)) in places.into_iter().zip(greeted) {
            let (service, list) = match purpose {
                LaneUse::Imap => ("IMAP", &mut servers.imap),
                LaneUse::Submission => ("SMTP", &mut servers.smtp),
            };
            let asked = format!("{service} {endpoint}");
            match greeted {
                Ok(()) => {
                    let name = SignInName::usual(self.address);
                    list.push(Server { endpoint, name, password: true });
                    self.tell(By::Step(step), &asked, "it greets".to_owned(), true);
                }
                Err(silence) => self.tell(By::Step(step), &asked, silence.to_string(), false),
            }
        }
        self.take(&servers, step);
    }
}

/// What an answer tells, for people.
fn words(servers: &Servers) -> String {
    let mut parts = Vec::new();
    for (service, servers) in [("IMAP", &servers.imap), ("SMTP", &servers.smtp)] {
        if let Some(best) = Servers::best(servers) {
            parts.push(format!("{service} {}", best.endpoint));
        }
    }
    if parts.is_empty() {
        parts.push("no server that could be used".to_owned());
    }
    if servers.in_clear > 0 {
        parts.push(format!("left out because they are not encrypted: {}", servers.in_clear));
    }
    if servers.unusable > 0 {
        parts.push(format!("left out for another reason: {}", servers.unusable));
    }
    parts.join(", ")
}
