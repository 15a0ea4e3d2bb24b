//! A bridge that is killed in the middle of a renewal, at each of its moments and at random ones (rule R29).
//!
//! Where the provider lets replaced refresh tokens work on, no account may ever be locked out. Where it does not, an
//! answer that was lost with the bridge has ended the grant: that is counted, and nothing else may.

use crate::harness::{Bridge, CrmSettings, Dovecot, Exim, Lab, Oidc, Program, SmallDisk, Wire, until, words};
use std::{
    thread,
    time::{Duration, Instant},
};

/// Killed together, each in a renewal of its own.
const ACCOUNTS: usize = 5;
/// At random moments, each of them in a renewal of one account.
const KILLS: usize = 50;
/// Those of `failpoint`, and whether what the provider answered is lost there.
const MOMENTS: [(&str, bool); 5] = [
    ("before-request", false),
    ("before-answer", true),
    ("before-commit", true),
    ("before-use", false),
    ("after-use", false),
];

pub(crate) struct House {
    oidc: Oidc,
    pub(crate) bridge: Bridge,
    pub(crate) crms: Vec<(String, CrmSettings)>,
    _dovecot: Dovecot,
    _exim: Exim,
    _lab: Lab,
}

/// What became of the accounts after a kill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct After {
    signed_in: usize,
    need_consent: usize,
    /// Refresh tokens that the provider refused.
    spent_shown: usize,
}

impl std::ops::AddAssign for After {
    fn add_assign(&mut self, other: Self) {
        self.signed_in += other.signed_in;
        self.need_consent += other.need_consent;
        self.spent_shown += other.spent_shown;
    }
}

/// The entry of a provider whose replaced tokens are `valid` or `spent`.
fn entry(old_tokens: &str) -> String {
    let service =
        "host = \"mail.lab.test\"\nport = 993\nsecurity = \"tls\"\nmechanisms = [\"xoauth2\"]\nsource = \"lab\"\n";
    format!(
        "label = \"Lab\"\n[domains]\nnames = [\"lab.test\"]\nsource = \"lab\"\n[imap]\n{service}[smtp]\n{service}\
         [sign-in]\nuser = \"address\"\npassword = \"none\"\nsource = \"lab\"\n[sent]\nfiled = \"no\"\nsource = \"lab\"\n\
         [limits]\nsource = \"lab\"\n[oauth]\nauthorise = \"https://lab.test/auth\"\ntoken = \"https://lab.test/token\"\n\
         scopes = [\"openid\", \"offline_access\", \"mail\"]\nold-refresh-tokens = \"{old_tokens}\"\nsource = \"lab\"\n"
    )
}

impl House {
    fn start(old_tokens: &str) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim, Program::Oidc])?;
        let bridge = Bridge::prepare(&lab);
        Some(Self::of(lab, bridge, old_tokens))
    }

    /// With the bridge's state on a disk that can be filled.
    pub(crate) fn on_a_small_disk() -> Option<(Self, SmallDisk)> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim, Program::Oidc, Program::SmallDisk])?;
        let bridge = Bridge::prepare(&lab);
        let disk = SmallDisk::mount(&bridge.state());
        Some((Self::of(lab, bridge, "spent"), disk))
    }

    fn of(lab: Lab, bridge: Bridge, old_tokens: &str) -> Self {
        let oidc = Oidc::start(&lab, 600);
        let dovecot = Dovecot::with_tokens(&lab, oidc.port);
        let exim = Exim::submission(&lab, &dovecot);
        bridge.know_provider("lab", &entry(old_tokens));
        if old_tokens == "valid" {
            oidc.keeps_old_tokens();
        }
        let certificates = format!("ca={}", lab.certificates.ca.display());
        let at = [format!("localhost:{}", dovecot.imaps), format!("localhost:{}", exim.submissions)];
        let mut house = Self { oidc, bridge, crms: Vec::new(), _dovecot: dovecot, _exim: exim, _lab: lab };
        for number in 0..ACCOUNTS {
            let address = format!("user{number}@lab.test");
            house._dovecot.add_user(&address, "direct");
            let more = ["--imap", &at[0], "--smtp", &at[1], "--certificates", &certificates, "--json"];
            let answer = house.give_grant("add", &address, &more);
            let field = |name: &str| answer[name].as_str().expect("text").to_owned();
            house.crms.push((address, CrmSettings { login: field("login"), password: field("password") }));
        }
        house
    }

    /// How many refresh tokens were renewed so far.
    pub(crate) fn refreshes(&self) -> u32 {
        self.oidc.refreshes().0
    }

    /// `account add` or `set` with a refresh token that its owner has just consented to.
    fn give_grant(&self, verb: &str, address: &str, more: &[&str]) -> serde_json::Value {
        let endpoint = self.oidc.token_endpoint();
        let arguments =
            ["account", verb, address, "--provider", "lab", "--refresh-token-stdin", "--client-id", "bridge"];
        let token = ["--client-secret-stdin", "--token-endpoint", &endpoint];
        let input = format!("{}\nbridgesecret\n", self.oidc.grant(address));
        let output = self.bridge.cli(&[&arguments[..], &token[..], more].concat(), input.as_bytes());
        assert!(output.status.success(), "{}", words(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// All accounts sign in at once, each with a renewal, and the bridge is killed where it stops for all of them.
    fn crash_at(&mut self, moment: &str) {
        self.bridge.runs_under(&["env", &format!("PASSERELLE_FAILPOINT={moment}")]);
        let before = self.stopped();
        self.bridge.serve();
        self.bridge.runs_under(&[]);
        let _wires: Vec<_> = self.crms.iter().map(|(_, crm)| self.log_in(crm)).collect();
        let all = until(Duration::from_secs(20), || (self.stopped() >= before + ACCOUNTS).then_some(()));
        assert!(all.is_some(), "stopped {} of {ACCOUNTS}\n{}", self.stopped() - before, self.bridge.log());
        self.bridge.kill();
    }

    /// One account, whose token the bridge that runs has not asked for, signs in, and the bridge is killed so long after.
    /// Whether the renewal was under way then, as the provider and the client saw it.
    fn crash_after(&mut self, number: usize, wait: Duration) -> bool {
        let (before, _) = self.oidc.refreshes();
        let mut wire = self.log_in(&self.crms[number].1);
        thread::sleep(wait);
        self.bridge.kill();
        let told = wire.rest().windows(4).any(|text| text == b"a OK");
        self.oidc.refreshes().0 > before && !told
    }

    fn log_in(&self, crm: &CrmSettings) -> Wire {
        let mut wire = Wire::try_plain(self.bridge.imap).expect("the bridge listens");
        wire.line(&format!("a {}", crm.imap_login()));
        wire
    }

    fn stopped(&self) -> usize {
        self.bridge.log().matches("stopped at a moment that a test has named").count()
    }

    /// Whether each of these accounts still signs in at the bridge that was started again. Who needs it consents again.
    fn after(&self, crms: &[(String, CrmSettings)]) -> After {
        let (_, refused) = self.oidc.refreshes();
        let mut after = After::default();
        for (address, crm) in crms {
            let mut wire = Wire::plain(self.bridge.imap);
            wire.expect("* OK");
            let told = wire.imap(&crm.imap_login()).tagged;
            if told.starts_with("OK ") {
                after.signed_in += 1;
            } else {
                assert!(told.contains("sign in again"), "{told}\n{}", self.bridge.log());
                after.need_consent += 1;
                self.give_grant("set", address, &[]);
            }
        }
        let (_, now) = self.oidc.refreshes();
        after.spent_shown = usize::try_from(now - refused).expect("few");
        after
    }

    fn at_every_moment(&mut self, lost: impl Fn(bool) -> After) {
        for (moment, loses) in MOMENTS {
            self.crash_at(moment);
            self.bridge.serve();
            let after = self.after(&self.crms);
            self.bridge.kill();
            println!("killed {ACCOUNTS} renewals {moment}: {after:?}");
            assert_eq!(after, lost(loses), "{moment}");
        }
    }

    /// The bridge that is started to see what became of one account is killed in the renewal of the next.
    fn at_random(&mut self) -> After {
        let (mut sum, mut within, mut seed) = (After::default(), 0, 0x2545_f491_u32);
        self.bridge.serve();
        for kill in 0..KILLS {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = kill % ACCOUNTS;
            within += usize::from(self.crash_after(number, Duration::from_millis(u64::from(seed >> 24) / 2)));
            self.bridge.serve();
            sum += self.after(&self.crms[number..=number]);
        }
        self.bridge.kill();
        println!("killed {KILLS} times at random: {within} renewals were under way");
        assert!(within > 0, "no kill came within a renewal: nothing is shown by them");
        sum
    }
}

#[test]
fn r29_no_kill_locks_an_account_out_where_old_tokens_stay_valid() {
    let Some(mut house) = House::start("valid") else { return };
    let began = Instant::now();
    let all = After { signed_in: ACCOUNTS, ..After::default() };
    house.at_every_moment(|_| all);
    let sum = house.at_random();
    println!("old tokens stay valid: {} of {KILLS} sign in, in {:?}", sum.signed_in, began.elapsed());
    assert_eq!(sum, After { signed_in: KILLS, ..After::default() });
}

#[test]
fn r29_where_tokens_are_spent_only_a_lost_answer_wants_its_owner() {
    let Some(mut house) = House::start("spent") else { return };
    let began = Instant::now();
    house.at_every_moment(|loses| match loses {
        true => After { need_consent: ACCOUNTS, spent_shown: ACCOUNTS, ..After::default() },
        false => After { signed_in: ACCOUNTS, ..After::default() },
    });
    let sum = house.at_random();
    println!(
        "tokens are spent: {} of {KILLS} sign in, {} need consent, {} spent tokens were shown, in {:?}",
        sum.signed_in,
        sum.need_consent,
        sum.spent_shown,
        began.elapsed()
    );
    assert_eq!(sum.signed_in + sum.need_consent, KILLS);
    assert_eq!(sum.spent_shown, sum.need_consent, "each lost answer shows its spent token once, and nothing else does");
}
