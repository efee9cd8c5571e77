//! `infer`: what pages of an API look like as the columns of a stream.

use std::{
    io::{Read as _, Write},
    path::{Path, PathBuf},
};

use super::{
    args::{GlobalArgs, InferArgs, WishArgs},
    clock,
    export::stream_names,
    inputs, load, report, sample,
};
use crate::{
    error::Error,
    infer::{self, Proposal, Wishes},
    plan::{Name, RecordsShape},
    transform::Tree,
};

pub(super) fn infer(
    args: &InferArgs,
    global: &GlobalArgs,
    stdout: &mut dyn Write,
) -> Result<u8, Error> {
    let InferArgs { pipeline, stream, from, set, wishes } = args;
    let proposal = match (pipeline, stream) {
        (Some(pipeline), Some(name)) => {
            let mut wishes = wishes_of(wishes)?;
            let plan = load(pipeline, global, &inputs().set(set.clone()))?;
            let names = stream_names(&plan, std::slice::from_ref(name))?;
            let stream = plan.streams.iter().find(|it| names.contains(&it.name));
            let stream = stream.ok_or_else(|| Error::Internal("the stream is gone".to_owned()))?;
            wishes.stream = Some(stream.name.clone());
            // What the file says of records that are no array is what a run reads.
            if wishes.records.is_none() && stream.records.shape != RecordsShape::Records {
                wishes.records = Some(stream.records.path.clone());
                wishes.shape = Some(stream.records.shape.clone());
            }
            sample::propose(&plan, stream, &wishes, clock(global))?
        }
        _ => propose(from, wishes, None)?,
    };
    let records = report::counted(proposal.n_records() as u64, "record");
    report::line(
        stdout,
        format_args!("    # Proposed from {records}: a guess, to be read and corrected."),
    );
    report::line(stdout, format_args!("{}", proposal.yaml().trim_end()));
    Ok(0)
}

/// What the files propose together, for a stream of this name.
pub(super) fn propose(
    from: &[PathBuf],
    wishes: &WishArgs,
    stream: Option<Name>,
) -> Result<Proposal, Error> {
    let wishes = Wishes { stream, ..wishes_of(wishes)? };
    let samples: Vec<Tree> = from.iter().map(|it| saved(it)).collect::<Result<_, _>>()?;
    infer::propose(&samples, &wishes).map_err(Error::Infer)
}

fn saved(path: &Path) -> Result<Tree, Error> {
    let mut body = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut body).map(|_| ())
    } else {
        std::fs::read(path).map(|it| body = it)
    };
    read.map_err(|source| Error::ReadSample { path: path.to_owned(), source })?;
    Tree::parse(&body).map_err(|source| Error::Sample { path: path.to_owned(), source })
}

fn wishes_of(args: &WishArgs) -> Result<Wishes, Error> {
    let WishArgs { records, explode, zone } = args;
    let path = |option: &'static str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| Error::Argument {
            option,
            value: text.clone(),
            expected: "keys joined by dots, such as `result.items`, or `$` for the body itself",
        }),
    };
    let zone = zone.as_ref().map(|text| {
        text.parse().map_err(|_| Error::Argument {
            option: "--zone",
            value: text.clone(),
            expected: "a zone of the IANA database, such as `Europe/Berlin` or `UTC`",
        })
    });
    Ok(Wishes {
        records: path("--records", records)?,
        explode: path("--explode", explode)?,
        zone: zone.transpose()?,
        shape: None,
        stream: None,
    })
}
