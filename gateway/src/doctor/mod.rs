//! Looks at everything that a gateway needs, and says what is wrong with it and how to mend it.
//!
//! | file | holds |
//! |---|---|
//! | [`facts`] | what was found out: plain data |
//! | [`checks`] | what that means: pure functions in one table |
//! | [`probe`] | finding out: files, DNS, sockets, each with a timeout |
//! | [`checkup`] | the same while the gateway runs, for its own page |

pub mod checks;
pub mod checkup;
pub mod facts;
pub mod probe;

use checks::{Status, Told};
use serde::Serialize;

/// What all checks found.
#[derive(Debug)]
pub struct Report {
    /// Every check, in order.
    pub told: Vec<Told>,
    /// The grade of TLS.
    pub grade: Option<&'static str>,
}

impl Report {
    /// Judges facts.
    pub fn of(facts: &facts::Facts) -> Self {
        Self { told: checks::judge(facts), grade: checks::grade(facts).map(|(letter, _, _)| letter) }
    }

    /// Judges facts for a gateway that is to be started: everything but the gateway itself, its store, its certificate.
    pub fn before_start(facts: &facts::Facts) -> Self {
        const GROUPS: [&str; 5] = ["Configuration", "Machine", "Names", "Authority", "Ports"];
        let mut told = checks::judge(facts);
        told.retain(|told| GROUPS.contains(&told.group));
        Self { told, grade: None }
    }

    /// What there is to say when the configuration cannot be used.
    pub fn without(bad: &crate::config::BadConfig) -> Self {
        Self { told: checks::judge_without(bad), grade: None }
    }

    /// How many checks ended like this.
    pub fn count(&self, status: Status) -> usize {
        self.told.iter().filter(|told| told.finding.status == status).count()
    }

    /// The report for programs.
    pub fn json(&self) -> ReportView<'_> {
        let view = |told: &'_ Told| CheckView {
            id: told.id,
            group: told.group,
            title: told.title,
            status: told.finding.status.as_str(),
            text: told.finding.text.clone(),
            fix: told.finding.fix.clone(),
        };
        ReportView {
            checks: self.told.iter().map(view).collect(),
            problems: self.count(Status::Problem),
            warnings: self.count(Status::Warning),
            grade: self.grade,
        }
    }
}

/// `casement doctor --json`.
#[derive(Debug, Serialize)]
pub struct ReportView<'a> {
    checks: Vec<CheckView<'a>>,
    problems: usize,
    warnings: usize,
    grade: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct CheckView<'a> {
    id: &'a str,
    group: &'a str,
    title: &'a str,
    status: &'a str,
    text: String,
    fix: Option<String>,
}
