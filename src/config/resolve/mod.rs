//! From the typed file to a plan, or to every problem found. Pure: the environment, the command line
//! and files come in as [`Inputs`].

mod source;
mod auth;
mod stream;
mod slices;
mod request;
mod paginate;
mod columns;
mod mask;
mod write;
mod expect;
mod value;

use std::{collections::HashSet, time::Duration};

use super::{
    Location, Tables,
    inputs::Inputs,
    node::Node,
    problem::{Problem, suggest},
    shape::Scalar,
    spec::{DestinationSpec, PipelineSpec, RequireSpec},
    template::{Checked, Scope, Secrecy, Variables},
};
use crate::plan::{
    CsvCompression, CsvPlan, DestinationPath, DestinationPlan, Escape, FormatPlan, LeasePlan, Name,
    Plan, Redactor, Secret, StreamPlan, Template, value_text,
};

pub(super) use value::parse_start;

/// The version of the file format that this program reads.
const VERSION: u32 = 1;

/// Collects problems while the parts of a file are resolved.
pub(super) struct Resolver<'a> {
    /// Where values from outside come from; only files are still asked for.
    inputs: &'a Inputs,
    node: &'a Node,
    /// Keys that were taken out because they could not be read; nobody complains about them again.
    removed: &'a HashSet<String>,
    vars: Variables,
    problems: Vec<Problem>,
    /// What variables put into a log-in, whether or not they say that they are credentials.
    of_log_in: Vec<Secret>,
}

/// Turns a parsed file into a plan.
pub(super) fn resolve(
    spec: PipelineSpec,
    node: &Node,
    removed: &HashSet<String>,
    inputs: &Inputs,
) -> Result<Plan, Vec<Problem>> {
    let mut resolver = Resolver::of(&spec, node, removed, inputs);

    let PipelineSpec {
        version,
        pipeline,
        description,
        vars: _,
        require,
        source,
        streams,
        destination,
    } = spec;
    if version != VERSION {
        resolver.problem(
            "version",
            format!("version {version} is not known; this program reads {VERSION}"),
            None,
        );
    }
    let pipeline = resolver.name("pipeline", &pipeline);
    for (i, rule) in require.iter().enumerate() {
        resolver.require(&format!("require.{i}"), rule);
    }
    let source = resolver.source(source);
    let source_envelope =
        source.as_ref().map(|it| stream::body_paths(&it.responses)).unwrap_or_default();
    let streams = resolver.streams(streams, &source_envelope);
    let destination = resolver.destination(destination);
    let of_auth = source.as_ref().map(|it| it.auth.secrets()).unwrap_or_default();
    let of_log_in = std::mem::take(&mut resolver.of_log_in);
    let redactor = Redactor::new(resolver.vars.secrets().chain(of_auth).chain(of_log_in));

    match (pipeline, source, destination) {
        (Some(pipeline), Some(source), Some(destination)) if resolver.problems.is_empty() => {
            let fingerprint = resolver.vars.fingerprint(node.fingerprint());
            let fingerprint = mask::salted(fingerprint, &streams);
            Ok(Plan { pipeline, description, source, streams, destination, redactor, fingerprint })
        }
        _ => {
            resolver.problems.sort_by_key(|it| it.place);
            Err(resolver.problems)
        }
    }
}

/// Finds out what a pipeline, its streams and its directory are called, and nothing more.
pub(super) fn locate(
    spec: PipelineSpec,
    node: &Node,
    removed: &HashSet<String>,
    inputs: &Inputs,
) -> Result<Location, Vec<Problem>> {
    let mut resolver = Resolver::of(&spec, node, removed, inputs);
    let pipeline = resolver.name("pipeline", &spec.pipeline);
    let names = spec.streams.keys();
    let streams = names.filter_map(|it| resolver.name(&format!("streams.{it}"), it)).collect();
    let path = spec.destination.path.clone();
    let destination = resolver.destination(spec.destination).map(|it| it.path);
    let destination = destination.filter(|_| resolver.knows_destination(path.as_ref()));
    match pipeline {
        Some(pipeline) if resolver.problems.is_empty() => {
            Ok(Location { pipeline, streams, destination })
        }
        _ => {
            resolver.problems.sort_by_key(|it| it.place);
            Err(resolver.problems)
        }
    }
}

/// Finds out what readers find of a pipeline: no request, no log-in and no slice is looked at.
pub(super) fn tables(
    spec: PipelineSpec,
    node: &Node,
    removed: &HashSet<String>,
    inputs: &Inputs,
) -> Result<Tables, Vec<Problem>> {
    let mut resolver = Resolver::of(&spec, node, removed, inputs);
    let pipeline = resolver.name("pipeline", &spec.pipeline);
    let streams = spec.streams.into_iter();
    let tables = streams.filter_map(|(name, it)| resolver.table(&name, it)).collect();
    let path = spec.destination.path.clone();
    let destination = resolver.destination(spec.destination);
    let knows_destination = resolver.knows_destination(path.as_ref());
    match (pipeline, destination) {
        (Some(pipeline), Some(destination)) if resolver.problems.is_empty() => Ok(Tables {
            pipeline,
            tables,
            formats: destination.formats,
            destination: knows_destination.then(|| destination.path.to_string()),
        }),
        _ => {
            resolver.problems.sort_by_key(|it| it.place);
            Err(resolver.problems)
        }
    }
}

impl<'a> Resolver<'a> {
    /// With the file's variables, and what is wrong with them.
    fn of(
        spec: &PipelineSpec,
        node: &'a Node,
        removed: &'a HashSet<String>,
        inputs: &'a Inputs,
    ) -> Self {
        let mut found = Vec::new();
        let vars = Variables::resolve(&spec.vars, inputs, &mut found);
        let (problems, of_log_in) = (Vec::new(), Vec::new());
        let mut resolver = Self { inputs, node, removed, vars, problems, of_log_in };
        for (path, message, suggestion) in found {
            resolver.problem(path, message, suggestion);
        }
        resolver
    }
}

impl Resolver<'_> {
    fn problem(
        &mut self,
        path: impl Into<String>,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        let path = path.into();
        let place = self.node.place_of(&path);
        self.problems.push(Problem { place, path, message: message.into(), suggestion });
    }

    /// Whether what stands at a path is gone because it, or all that is in it, could not be read, which
    /// has been reported.
    fn was_emptied(&self, path: &str, key: &str) -> bool {
        self.removed.contains(key) || self.node.has_entries(path)
    }

    /// Reports that `name` is none of the `known`, unless it was there and could not be read.
    fn unknown(&mut self, path: &str, what: &str, name: &str, known: &[&str]) {
        if self.removed.contains(name) {
            return;
        }
        let listed = match known {
            [] => "there are none".to_owned(),
            [only] => format!("there is `{only}`"),
            _ => format!("there are `{}`", known.join("`, `")),
        };
        let suggestion = suggest(name, known.iter().copied());
        self.problem(path, format!("no {what} is called `{name}`; {listed}"), suggestion);
    }

    fn name(&mut self, path: &str, text: &str) -> Option<Name> {
        match text.parse() {
            Ok(name) => Some(name),
            Err(err) => {
                self.problem(path, format!("{err}"), None);
                None
            }
        }
    }

    /// Checks a template; `None` if it has a problem or depends on a variable without a value.
    fn template(
        &mut self,
        path: &str,
        scalar: &Scalar,
        scope: &Scope,
        secrecy: Secrecy,
    ) -> Option<Checked> {
        self.template_escaped(path, scalar, scope, secrecy, Escape::Nothing)
    }

    fn template_escaped(
        &mut self,
        path: &str,
        scalar: &Scalar,
        scope: &Scope,
        secrecy: Secrecy,
        escape: Escape,
    ) -> Option<Checked> {
        match self.vars.check(scalar, scope, secrecy, escape) {
            Ok(checked) => checked,
            Err(mistakes) => {
                for (message, suggestion) in mistakes {
                    self.problem(path, message, suggestion);
                }
                None
            }
        }
    }

    /// The text of a value that depends on variables only.
    fn text(&mut self, path: &str, scalar: &Scalar, secrecy: Secrecy) -> Option<String> {
        let checked = self.template(path, scalar, &Scope::default(), secrecy)?;
        match checked.template {
            Template::Constant(value) => Some(value_text(&value)),
            Template::Expression(..) | Template::Text(..) => None,
        }
    }

    fn require(&mut self, path: &str, rule: &RequireSpec) {
        let (names, at_least) = match rule {
            RequireSpec::OneOf(names) => (names, 1),
            RequireSpec::AtMostOneOf(names) => (names, 0),
        };
        for name in names {
            if !self.vars.is_declared(name) {
                let known: Vec<String> = self.vars.names().map(str::to_owned).collect();
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                self.unknown(path, "variable", name, &known);
                return;
            }
        }
        if names.iter().any(|it| self.vars.is_missing(it)) {
            return;
        }
        let labels = |names: &mut dyn Iterator<Item = &String>, joint: &str| {
            names.map(|it| self.vars.label(it)).collect::<Vec<_>>().join(joint)
        };
        let set: Vec<&String> = names.iter().filter(|it| self.vars.is_set(it)).collect();
        if set.len() > 1 {
            let message = format!(
                "{} are set, but only one of them may be: unset all but one",
                labels(&mut set.into_iter(), " and ")
            );
            self.problem(path, message, None);
        } else if set.len() < at_least && !self.tolerant() {
            let message =
                format!("none of these is set: set {}", labels(&mut names.iter(), " or "));
            self.problem(path, message, None);
        }
    }

    /// Whether missing values are fine, because only the file is checked.
    fn tolerant(&self) -> bool {
        self.vars.is_tolerant()
    }

    /// Whether it is known where files go: that may depend on a variable without a value.
    fn knows_destination(&mut self, path: Option<&Scalar>) -> bool {
        // A mistake is reported once.
        let is_sound = self.problems.is_empty();
        path.is_none_or(|it| {
            is_sound && self.text("destination.path", it, Secrecy::Refused).is_some()
        })
    }

    fn destination(&mut self, spec: DestinationSpec) -> Option<DestinationPlan> {
        let DestinationSpec { path, formats, target_file_mb, single_writer, lease_secs } = spec;
        let path = match path {
            Some(path) => match self.text("destination.path", &path, Secrecy::Refused) {
                None if self.tolerant() => "output".to_owned(),
                text => text?,
            },
            None => "output".to_owned(),
        };
        let path: DestinationPath = match path.parse() {
            Ok(path) => path,
            Err(message) => {
                self.problem("destination.path", message, None);
                return None;
            }
        };
        let lease_secs = lease_secs.unwrap_or(LeasePlan::DEFAULT_SECS);
        if !(3..=3_600).contains(&lease_secs) {
            self.problem("destination.lease_secs", "a lease is from 3 to 3600 seconds long", None);
            return None;
        }
        let lease = LeasePlan { length: Duration::from_secs(lease_secs.into()), single_writer };
        let formats = match formats {
            None => vec![FormatPlan::Parquet, FormatPlan::Csv(CsvPlan::default())],
            Some(formats) => {
                let csv = formats.csv.map(|it| {
                    FormatPlan::Csv(CsvPlan {
                        compression: match it.compression {
                            super::spec::CompressionSpec::None => CsvCompression::None,
                            super::spec::CompressionSpec::Gzip => CsvCompression::Gzip,
                            super::spec::CompressionSpec::Zstd => CsvCompression::Zstd,
                        },
                        escape_formulas: it.escape_formulas,
                    })
                });
                formats.parquet.map(|_| FormatPlan::Parquet).into_iter().chain(csv).collect()
            }
        };
        if formats.is_empty() {
            self.problem(
                "destination.formats",
                "no format is listed: add `parquet: {}` or `csv: {}`",
                None,
            );
            return None;
        }
        let target_file_bytes = target_file_mb.unwrap_or(256).max(1) << 20;
        Some(DestinationPlan { path, lease, formats, target_file_bytes })
    }

    /// Resolves the streams and puts parents before their children.
    fn streams(
        &mut self,
        specs: indexmap::IndexMap<String, super::spec::StreamSpec>,
        source_envelope: &[crate::plan::JsonPath],
    ) -> Vec<StreamPlan> {
        if specs.is_empty() && !self.was_emptied("streams", "streams") {
            self.problem("streams", "a pipeline needs at least one stream", None);
        }
        let listed = specs.iter().map(|(name, spec)| {
            let masked = spec.columns.iter().filter(|(_, it)| it.mask.is_some());
            stream::Listed {
                stream: name.clone(),
                columns: spec.columns.keys().cloned().collect(),
                masked: masked.map(|(name, _)| name.clone()).collect(),
            }
        });
        let catalog: Vec<_> = listed.collect();
        let mut streams: Vec<StreamPlan> = Vec::new();
        for (name, spec) in specs {
            if let Some(stream) = self.stream(&name, spec, &catalog, source_envelope) {
                streams.push(stream);
            }
        }
        self.parents_first(streams)
    }

    fn parents_first(&mut self, mut waiting: Vec<StreamPlan>) -> Vec<StreamPlan> {
        let mut ordered: Vec<StreamPlan> = Vec::new();
        while !waiting.is_empty() {
            let blocked = |stream: &StreamPlan, waiting: &[StreamPlan]| {
                stream
                    .slices
                    .parent()
                    .is_some_and(|parent| waiting.iter().any(|it| it.name == parent.stream))
            };
            let Some(next) = waiting.iter().position(|it| !blocked(it, &waiting)) else {
                let path = format!("streams.{}.slices", waiting[0].name);
                self.problem(
                    path,
                    "the stream is its own parent, directly or through others",
                    None,
                );
                return ordered;
            };
            ordered.push(waiting.remove(next));
        }
        ordered
    }
}
