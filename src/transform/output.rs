//! What a page has given so far.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use arrow::datatypes::SchemaRef;
use serde_json::Value;

use super::{
    Notices, Reject,
    buffer::Buffer,
    cell::{Desk, Misfit},
    columns::{Columns, ContextSource},
    instant::{Irregular, Written},
    json::{Parser, Scalar},
    record::{found, reason},
};
use crate::plan::SliceContext;

/// How much a page is likely to give: as much as the last one did, in proportion to its length.
///
/// It sizes buffers and changes no result.
#[derive(Debug)]
pub(super) struct Likely {
    rows: Share,
    /// One a column of the schema: what does not stand in the page as it is.
    text: Vec<Share>,
}

impl Likely {
    /// A short page says little about a long one: no more than this is set aside unseen.
    const MOST_ROWS: usize = 1 << 16;

    pub(super) fn new(columns: usize) -> Self {
        let text = std::iter::repeat_with(Share::default).take(columns);
        Self { rows: Share::default(), text: text.collect() }
    }

    /// Remembers what a page has given.
    pub(super) fn learn(&self, output: &Output<'_>) {
        let body = output.page.len();
        self.rows.learn(output.rows, body);
        for (share, buffer) in self.text.iter().zip(&output.buffers) {
            share.learn(buffer.text_bytes(), body);
        }
    }
}

/// An amount a MiB of a body.
#[derive(Debug, Default)]
struct Share(AtomicUsize);

impl Share {
    fn of(&self, body: usize) -> usize {
        body.saturating_mul(self.0.load(Ordering::Relaxed)) >> 20
    }

    fn learn(&self, amount: usize, body: usize) {
        let share = amount.saturating_mul(1 << 20).div_ceil(body.max(1));
        // An eighth more, so that the usual page fits.
        self.0.store(share + share / 8, Ordering::Relaxed);
    }
}

/// Rows, rejects and counts of a page.
#[derive(Debug)]
pub(super) struct Output<'p> {
    pub(super) page: &'p str,
    /// One a column of the schema. Cells of the context are there once until the page ends.
    pub(super) buffers: Vec<Buffer>,
    desks: Vec<Desk>,
    pub(super) rows: usize,
    pub(super) irregular: Irregular,
    pub(super) notices: Notices,
    pub(super) rejects: Vec<Reject>,
    /// One a record.
    pub(super) identities: Vec<u64>,
    /// Set if a value of the context does not fit: then no record does.
    pub(super) context_misfit: Option<(Option<usize>, String)>,
}

impl<'p> Output<'p> {
    /// Nothing yet, with room for as many rows as are likely to come.
    pub(super) fn new(
        plan: &Columns,
        schema: &SchemaRef,
        context: &SliceContext,
        likely: &Likely,
        page: &'p str,
    ) -> Self {
        let body = page.len();
        let likely_rows = likely.rows.of(body).min(Likely::MOST_ROWS);
        let fields = schema.fields().iter().zip(&likely.text);
        let mut output = Self {
            page,
            buffers: fields
                .map(|(it, text)| Buffer::new(it.data_type(), likely_rows, text.of(body).min(body)))
                .collect(),
            desks: plan.declared.iter().map(|it| Desk::new(&it.kind)).collect(),
            rows: 0,
            irregular: Irregular::default(),
            notices: Notices::default(),
            rejects: Vec::new(),
            identities: Vec::with_capacity(likely_rows),
            context_misfit: None,
        };
        for (column, source) in &plan.context {
            let (values, name): (&BTreeMap<String, Value>, _) = match source {
                ContextSource::Parent(name) => (&context.parent, name),
                ContextSource::Slice(name) => (&context.slice, name),
            };
            output.context(plan, *column, values.get(name).unwrap_or(&Value::Null));
        }
        output
    }

    /// Adds the one cell of a column of the context; it goes through the same conversion as a value
    /// of a page.
    fn context(&mut self, plan: &Columns, column: usize, value: &Value) {
        let raw = value.to_string();
        let mut parser = Parser::new(&raw);
        let strategy = &plan.declared[column].strategy;
        let added = match parser.peek() {
            Ok(b'{' | b'[') => strategy
                .composite(&raw, &mut self.buffers[column])
                .unwrap_or(Err(Misfit::SHAPE))
                .map_err(|misfit| (strategy.name(), misfit))
                .map(|_| ()),
            Ok(first) => match parser.scalar(first) {
                Ok(scalar) => self.store(plan, column, &scalar, &mut None),
                Err(_) => Err((strategy.name(), Misfit::SHAPE)),
            },
            Err(_) => Err((strategy.name(), Misfit::SHAPE)),
        };
        if let Err((expected, misfit)) = added {
            self.buffers[column].null();
            let found = found(&raw, plan.declared[column].is_private);
            self.context_misfit
                .get_or_insert_with(|| (Some(column), reason(expected, &found, misfit)));
        }
    }

    /// Adds a cell, or says what type the column expected. `written` is kept from one column to the
    /// next that reads the same value.
    #[inline]
    pub(super) fn store(
        &mut self,
        plan: &Columns,
        column: usize,
        scalar: &Scalar<'_>,
        written: &mut Option<Written>,
    ) -> Result<(), (&'static str, Misfit)> {
        let strategy = &plan.declared[column].strategy;
        let (buffer, desk) = (&mut self.buffers[column], &mut self.desks[column]);
        strategy
            .scalar(scalar, buffer, desk, &mut self.irregular, written)
            .map_err(|misfit| (strategy.name(), misfit))
    }

    /// Takes back every row from `rows` on, as if their record had not been met.
    pub(super) fn take_back(&mut self, plan: &Columns, rows: usize, irregular: Irregular) {
        self.rows = rows;
        self.irregular = irregular;
        // Cells of the context stay: they are there once, whatever the number of rows.
        let extra = plan.declared.len()..self.buffers.len();
        for column in plan.by_level.iter().flatten().copied().chain(extra) {
            self.buffers[column].truncate(rows);
        }
    }
}
