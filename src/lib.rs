//! Declarative pipelines: a YAML file in, partitioned Parquet and CSV out.
//!
//! ```text
//!  pipelines/*.yaml
//!     |  config      parse, render templates, resolve       every mistake at once, with its place
//!     v
//!   Plan             validated; nothing below parses user text
//!     |  extract     slice -> request -> page bytes         auth, limits, retries, paging, totals
//!     v
//!  page bytes        {"total": 2, "issues": [{"id": 41, "spent": "P3W"}, …
//!     |  transform   bytes -> rows + rejects                one pass, no tree; P3W -> 432000 s
//!     v
//!  RecordBatch
//!     |  load        merge with what stands -> staged files nothing is visible yet
//!     v
//!  one journal record, then the files                       data and state are one commit
//! ```
//!
//! The modules below are listed in reading order. [`run`] is the only one that knows more than one
//! stage; [`config`], [`extract`], [`transform`], [`load`] and [`state`] name only [`plan`], never each
//! other.
//! [`infer`] proposes columns from saved pages, before there is a pipeline, and [`sql`] writes
//! statements that read its files by name. [`error`] wraps what the stages report, [`sim`] plays the source systems, and [`cli`] is what people type and read.
//!
//! # Invariants
//!
//! - What is wrong with a file is found before the first request is sent.
//! - A record is written, dropped by a rule that counts it, or in quarantine with a reason; where
//!   these do not add up, the run fails.
//! - A row that stands goes only if its slice was read to its end; a slice that could not be read is
//!   remembered, and read again by the next run.
//! - The cursor is what was *published*: it is part of the commit that publishes the data.
//! - The same input gives the same bytes on every host: its clock, zone and locale are never read,
//!   time is an argument.
//! - A [`Secret`](plan::Secret) prints as `***`; only what puts it on the wire reads it.
//! - Only `load::store` changes files, only `extract::send` names the HTTP client, and only `main`
//!   ends the process.
//!
//! `tests/architecture.rs` checks the directions and the places.
//!
//! # Example
//!
//! ```
//! use tracklake::{
//!     config::{self, Inputs},
//!     plan::ColumnType,
//! };
//!
//! let text = r#"
//! version: 1
//! pipeline: acme_time
//! vars:
//!   token: { env: ACME_TOKEN, secret: true }
//! source:
//!   base_url: https://time.example.com/api
//!   auth: { bearer: { token: "{{ vars.token }}" } }
//! streams:
//!   entries:
//!     request: { path: /v1/entries }
//!     records: items
//!     paginate: { offset: { size_param: limit, size: 200, total: total } }
//!     columns:
//!       id:        { from: id, type: int64 }
//!       work_date: { from: date, type: date }
//!     partition_by: { column: work_date }
//! "#;
//! let inputs = Inputs::new([("ACME_TOKEN".to_owned(), "t0ken".to_owned())]);
//!
//! let plan = config::load_text("acme_time.yaml".as_ref(), text, &inputs)?;
//!
//! let entries = &plan.streams[0];
//! assert_eq!(entries.columns[0].kind, ColumnType::Int64);
//! assert_eq!(entries.partition.name.as_str(), "date");
//! assert!(!format!("{plan:?}").contains("t0ken"));
//! # Ok::<(), config::ConfigError>(())
//! ```
//!
//! # What this crate does not do
//!
//! It does not schedule, does not run SQL, does not write to databases, does not load plugins, and
//! does not guess at run time: neither how an API pages nor what a column holds.

pub mod plan;
pub mod config;
pub mod extract;
pub mod transform;
pub mod load;
pub mod state;
pub mod run;
pub mod infer;
pub mod sql;
pub mod error;
pub mod sim;
pub mod cli;

pub use error::Error;
