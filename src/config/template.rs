//! The scopes that a template may name, checked at load; what depends on variables only is
//! rendered here, once.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use serde_json::Value;

use super::{
    inputs::{Inputs, UnreadableFile},
    problem::suggest,
    shape::Scalar,
    spec::VarSpec,
};
use crate::plan::{Escape, Secret, SliceContext, Template, Vars, value_text};

/// The variables of a pipeline with their values.
#[derive(Debug, Default)]
pub(super) struct Variables {
    values: BTreeMap<String, Value>,
    envs: BTreeMap<String, Option<String>>,
    secret: BTreeSet<String>,
    /// Required, but without a value.
    missing: BTreeSet<String>,
    tolerant: bool,
}

/// The names that the templates of one place may use beside `vars`.
#[derive(Debug, Default, Clone)]
pub(super) struct Scope {
    pub(super) parent: BTreeSet<String>,
    pub(super) slice: BTreeSet<String>,
    /// Those of `parent` that a parent given by variables does not have.
    pub(super) unnamed: BTreeSet<String>,
}

impl Scope {
    /// The names that are there also where variables give the parent.
    pub(super) fn always(&self) -> Self {
        let parent = self.parent.difference(&self.unnamed).cloned().collect();
        Self { parent, ..self.clone() }
    }
}

/// Whether a place may hold a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrecy {
    Allowed,
    Refused,
}

/// A checked template.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) template: Template,
    /// Whether it was written as a template, so that nothing rendered means "leave it out".
    pub(super) dynamic: bool,
}

/// What is wrong with a template, and what was probably meant.
type Mistake = (String, Option<String>);

impl Variables {
    /// Finds the value of each declared variable; `problems` gets those that have none.
    pub(super) fn resolve<'a>(
        specs: impl IntoIterator<Item = (&'a String, &'a VarSpec)>,
        inputs: &Inputs,
        problems: &mut Vec<(String, String, Option<String>)>,
    ) -> Self {
        let mut variables = Self { tolerant: inputs.tolerates_unset(), ..Self::default() };
        for (name, spec) in specs {
            variables.envs.insert(name.clone(), spec.env.clone());
            if spec.secret {
                variables.secret.insert(name.clone());
            }
            let given = match given(name, spec, inputs) {
                Ok(given) => given.map(Value::String),
                Err(err) => {
                    variables.missing.insert(name.clone());
                    problems.push((format!("vars.{name}"), err.to_string(), None));
                    continue;
                }
            };
            match given.or_else(|| spec.default.as_ref().map(plain)) {
                Some(value) => {
                    variables.values.insert(name.clone(), value);
                }
                None if inputs.tolerates_unset() => {
                    variables.missing.insert(name.clone());
                }
                None => {
                    variables.missing.insert(name.clone());
                    let message = format!(
                        "`{name}` needs a value: {}",
                        how_to_set(name, spec.env.as_deref())
                    );
                    problems.push((format!("vars.{name}"), message, None));
                }
            }
        }
        for name in inputs.set_names().filter(|it| !variables.envs.contains_key(*it)) {
            let message = format!("`--set {name}=…` names no variable of this pipeline");
            problems.push(("vars".to_owned(), message, suggest(name, variables.names())));
        }
        variables
    }

    pub(super) fn secrets(&self) -> impl Iterator<Item = Secret> + '_ {
        let values = self.secret.iter().filter_map(|name| self.values.get(name));
        values.map(|it| Secret::new(value_text(it)))
    }

    /// Extends a hash of the file by the values of the variables that are no credentials: those
    /// may change without changing what is exported.
    pub(super) fn fingerprint(&self, of_file: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        of_file.hash(&mut hasher);
        for (name, value) in &self.values {
            if !self.secret.contains(name) {
                (name, value.to_string()).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.envs.keys().map(String::as_str)
    }

    /// Whether missing values are fine, because only the file is checked.
    pub(super) fn is_tolerant(&self) -> bool {
        self.tolerant
    }

    pub(super) fn is_declared(&self, name: &str) -> bool {
        self.envs.contains_key(name)
    }

    /// Whether the variable has a value that is not empty.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|it| !value_text(it).is_empty())
    }

    pub(super) fn is_secret(&self, name: &str) -> bool {
        self.secret.contains(name)
    }

    pub(super) fn is_missing(&self, name: &str) -> bool {
        self.missing.contains(name)
    }

    /// How a person gives the variable a value.
    pub(super) fn how_to_set(&self, name: &str) -> String {
        how_to_set(name, self.envs.get(name).and_then(Option::as_deref))
    }

    /// The environment variable, or the name where there is none.
    pub(super) fn label(&self, name: &str) -> String {
        self.envs.get(name).and_then(Clone::clone).unwrap_or_else(|| name.to_owned())
    }

    /// Checks a value against its scopes and renders what depends on variables only.
    ///
    /// `Ok(None)` means that it depends on a variable that has no value, which has been reported.
    pub(super) fn check(
        &self,
        scalar: &Scalar,
        scope: &Scope,
        secrecy: Secrecy,
        escape: Escape,
    ) -> Result<Option<Checked>, Vec<Mistake>> {
        let Scalar::Text(text) = scalar else {
            return Ok(Some(Checked {
                template: Template::Constant(plain(scalar)),
                dynamic: false,
            }));
        };
        let template = Template::parse(text);
        let names = template.names().map_err(|err| vec![(err.to_string(), None)])?;
        let (mut only_vars, mut is_open) = (true, false);
        let mut mistakes = Vec::new();
        for name in &names {
            match self.scope_of(name, scope, secrecy) {
                Ok(NameScope::Var(var)) => is_open |= self.is_missing(var),
                Ok(NameScope::Context) => only_vars = false,
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        if is_open {
            return Ok(None);
        }
        let dynamic = !template.is_constant();
        let used = names.iter().filter_map(|it| it.strip_prefix("vars."));
        let used = used.filter_map(|it| Some((it.to_owned(), self.values.get(it)?.clone())));
        let template = template.with_vars(Vars::new(used.collect()));
        if only_vars && dynamic {
            let value = template
                .render(&SliceContext::default(), escape)
                .map_err(|err| vec![(err.to_string(), None)])?;
            return Ok(Some(Checked { template: Template::Constant(value), dynamic }));
        }
        Ok(Some(Checked { template, dynamic }))
    }

    fn scope_of<'a>(
        &self,
        name: &'a str,
        scope: &Scope,
        secrecy: Secrecy,
    ) -> Result<NameScope<'a>, Mistake> {
        let (root, rest) = name.split_once('.').unwrap_or((name, ""));
        let member = rest.split('.').next().unwrap_or_default();
        let unknown = |known: &mut dyn Iterator<Item = &str>| {
            let known: Vec<&str> = known.collect();
            let suggestion =
                suggest(member, known.iter().copied()).map(|it| format!("{root}.{it}"));
            let listed = if known.is_empty() {
                format!("there is no `{root}` here")
            } else {
                let verb = if known.len() == 1 { "is" } else { "are" };
                format!("there {verb} `{root}.{}`", known.join(&format!("`, `{root}.")))
            };
            (format!("the template names `{name}`, but {listed}"), suggestion)
        };
        match root {
            "vars" if !self.is_declared(member) => Err(unknown(&mut self.names())),
            "vars" if secrecy == Secrecy::Refused && self.secret.contains(member) => Err((
                format!(
                    "`{name}` is a secret and would be printed with the URL: use it in `auth`, \
                     `headers` or a request body"
                ),
                None,
            )),
            "vars" => Ok(NameScope::Var(member)),
            "parent" if !scope.parent.contains(member) => {
                Err(unknown(&mut scope.parent.iter().map(String::as_str)))
            }
            "slice" if !scope.slice.contains(member) => {
                Err(unknown(&mut scope.slice.iter().map(String::as_str)))
            }
            "parent" | "slice" => Ok(NameScope::Context),
            _ => {
                let message = format!(
                    "the template names `{name}`; names start with `vars.`, `parent.` or `slice.`"
                );
                Err((message, suggest(root, ["vars", "parent", "slice"])))
            }
        }
    }
}

/// The value from outside: the command line goes before the environment, and that before a file.
fn given(name: &str, spec: &VarSpec, inputs: &Inputs) -> Result<Option<String>, UnreadableFile> {
    if let Some(value) = inputs.value(name, spec.env.as_deref()) {
        return Ok(Some(value.to_owned()));
    }
    let of_environment = spec.env.as_deref().filter(|_| spec.secret);
    let file = of_environment.and_then(|it| inputs.file_for(it)).or(spec.file.as_deref());
    // Where values may be missing, a secret is none of our business.
    let Some(file) = file.filter(|_| !inputs.tolerates_unset()) else { return Ok(None) };
    let text = inputs.read(file)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Some(text.strip_suffix('\r').unwrap_or(text).to_owned()))
}

enum NameScope<'a> {
    Var(&'a str),
    Context,
}

/// A scalar as it stands, without reading templates in it.
pub(super) fn plain(scalar: &Scalar) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Bool(it) => Value::Bool(*it),
        Scalar::Int(it) => Value::from(*it),
        Scalar::Float(it) => Value::from(*it),
        Scalar::Text(it) => Value::String(it.clone()),
    }
}

fn how_to_set(name: &str, env: Option<&str>) -> String {
    match env {
        Some(env) => format!("set {env}, or pass `--set {name}=…`"),
        None => format!("pass `--set {name}=…`"),
    }
}

/// The variables that a value names, for choosing between ways to log in.
pub(super) fn vars_named(scalar: &Scalar) -> Vec<String> {
    let Scalar::Text(text) = scalar else { return Vec::new() };
    let names = Template::parse(text).names().unwrap_or_default();
    names.iter().filter_map(|it| it.strip_prefix("vars.")).map(str::to_owned).collect()
}
