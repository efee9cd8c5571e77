//! Any interleaving of changes, runs, failures and kills converges to the truth of the source.
//!
//! ```text
//! a generated sequence       change ─ run, killed ─ change ─ run, server fails ─ … ─ settle
//!                              │                                                      │
//! World, what is true  <───────┘             two runs that nobody disturbs, then the tables are read
//!      └─ what may stand of each issue, in each stream <── and compared
//! ```
//!
//! Every run is the real program over real HTTP. A kill comes while the server holds the answer to a
//! certain request, or when a certain file is there. `PROPTEST_CASES` asks for more sequences.

#[path = "../support/mod.rs"]
mod support;
mod site;
mod world;

use proptest::{bool::weighted, collection::vec, prelude::*, test_runner::FileFailurePersistence};

use site::{Fault, Run, Site, Stop};
use world::{Access, Change};

/// What happens at the source, some minutes after what happened before.
#[derive(Debug, Clone)]
enum Step {
    AddIssue { day: u8 },
    Change { issue: usize, change: Change },
}

/// What happens before a run, the run, and whether everything must be right then.
#[derive(Debug, Clone)]
struct Night {
    steps: Vec<(u16, Step)>,
    run: Run,
    settles: bool,
}

/// Few, so that rows share partitions.
const DAYS: u8 = 5;

fn change() -> impl Strategy<Value = Change> {
    let log = 0..4usize;
    let access = prop_oneof![Just(Access::Forbidden), Just(Access::Hidden)];
    prop_oneof![
        3 => (0..DAYS).prop_map(|day| Change::Edit { day }),
        3 => (0..DAYS, 1..5u8).prop_map(|(day, count)| Change::AddLogs { day, count }),
        4 => (log.clone(), 0..DAYS).prop_map(|(log, day)| Change::EditLog { log, day }),
        3 => log.prop_map(|log| Change::DeleteLog { log }),
        1 => Just(Change::DeleteLogs),
        2 => (0..DAYS).prop_map(|day| Change::AddNote { day }),
        3 => access.prop_map(Change::Lose),
        2 => any::<bool>().prop_map(|is_touched| Change::Return { is_touched }),
    ]
}

fn run() -> impl Strategy<Value = Run> {
    // A run has five to thirty of them.
    let request = prop_oneof![2 => 1..8usize, 1 => 8..24usize];
    let broken = prop_oneof![
        2 => prop_oneof![Just("GET /issues?"), Just("/logs"), Just("/notes")].prop_map(str::to_owned),
        // Windows that start in an hour of the first day.
        3 => (0..6u8).prop_map(|hour| format!("since=2024-07-25T0{hour}")),
        3 => (1..4u8).prop_map(|issue| format!("/issues/{issue}/")),
    ];
    let fault = prop_oneof![
        3 => (request.clone(), 1..5usize).prop_map(|(from, count)| Fault::Busy { from, count }),
        1 => request.clone().prop_map(|at| Fault::Cut { at }),
        4 => broken.prop_map(|line| Fault::Broken { line }),
    ];
    let stop = prop_oneof![
        6 => request.clone().prop_map(Stop::KillAt),
        2 => request.prop_map(Stop::TermAt),
        1 => Just(Stop::KillWhenStaged),
        1 => Just(Stop::KillWhenCommitted),
        2 => Just(Stop::KillWhenPlaced),
    ];
    let faults = vec(fault, 1..3);
    let stop = stop.prop_map(Some);
    let disturbed = prop_oneof![
        1 => Just((Vec::new(), None)),
        3 => (faults.clone(), Just(None)),
        3 => (Just(Vec::new()), stop.clone()),
        1 => (faults, stop),
    ];
    (weighted(0.1), disturbed).prop_map(|(is_full, (faults, stop))| Run { is_full, faults, stop })
}

fn night() -> impl Strategy<Value = Night> {
    // At the same time, within the lookback of half an hour, and later.
    let later = prop_oneof![Just(0), 1..30u16, 30..200u16];
    let step = prop_oneof![
        1 => (0..DAYS).prop_map(|day| Step::AddIssue { day }),
        9 => (0..4usize, change()).prop_map(|(issue, change)| Step::Change { issue, change }),
    ];
    (vec((later, step), 0..5), run(), weighted(0.25)).prop_map(|(steps, run, settles)| Night {
        steps,
        run,
        settles,
    })
}

/// A sequence takes some half a second.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|it| it.parse().ok());
    asked.unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        max_shrink_iters: 200,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "proptest-regressions/converge.txt",
        ))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_interleaving_of_changes_runs_failures_and_kills_converges(nights in vec(night(), 1..8)) {
        let site = Site::new();
        for Night { steps, run, settles } in &nights {
            for (later, step) in steps {
                site.world(|it| it.wait(*later));
                site.world(|it| match step {
                    Step::AddIssue { day } => it.add_issue(*day),
                    Step::Change { issue, change } => it.change(*issue, change),
                });
            }
            site.run(run);
            if *settles {
                site.settle();
            }
        }
        site.settle();
    }
}
